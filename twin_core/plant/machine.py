"""Machines as they are built: states with their power, and a heated bath."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """An operating state: its number on the machine's controller, its name and its electric power without heater."""

    number: int
    name: str
    power_w: float  # mean over the state, without the bath heater
    # Largest power of the state without the bath heater, where another load cycles inside of it; 0: `power_w`.
    # A measured power that is half a heater above it means that the bath heater is on.
    peak_power_w: float = 0.0
    bath_heat_w: float = 0.0  # part of `power_w` that warms the bath: pumps
    load_exchange_w_per_k: float = 0.0  # between bath and load: spraying, immersion
    new_pieces: bool = False  # entering this state, the cleaned pieces leave and pieces as cold as the hall come in


@dataclass(frozen=True, slots=True, kw_only=True)
class Bath:
    """A heated liquid bath and the load that it cleans.

    The bath loses heat to the hall and, in states that bring them together, to the load: the pieces and all else that
    the liquid wets only then (basket, chamber, cold liquid in the pipes). A load of 0 J/K means there is none.
    """

    volume_m3: float
    density_kg_m3: float
    heat_capacity_j_kgk: float
    heater_w: float
    loss_w_per_k: float
    temperature_tag: str
    hall_temperature_tag: str
    # The heater switches itself on below one temperature and off above the other; as it stands: never on.
    thermostat_on_k: float = 0.0
    thermostat_off_k: float = 0.0
    load_heat_capacity_j_k: float = 0.0
    load_loss_w_per_k: float = 0.0
    pieces_heat_capacity_j_k: float = 0.0  # the part of the load that is exchanged

    @property
    def content_j_k(self) -> float:
        """Heat capacity of the liquid."""
        return self.volume_m3 * self.density_kg_m3 * self.heat_capacity_j_kgk

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with it."""
        for key in ("volume_m3", "density_kg_m3", "heat_capacity_j_kgk"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value > 0):
                yield f"bath: {key} {value} must be positive"
        for key in (
            "heater_w",
            "loss_w_per_k",
            "thermostat_on_k",
            "thermostat_off_k",
            "load_heat_capacity_j_k",
            "load_loss_w_per_k",
            "pieces_heat_capacity_j_k",
        ):
            value = getattr(self, key)
            if not (math.isfinite(value) and value >= 0):
                yield f"bath: {key} {value} must not be negative"
        if self.thermostat_on_k > self.thermostat_off_k:
            text = "bath.thermostat_on_k: {thermostat_on_k} must not exceed thermostat_off_k {thermostat_off_k}"
            yield Problem.of(self, text)
        if self.pieces_heat_capacity_j_k > self.load_heat_capacity_j_k:
            yield (
                f"bath: pieces_heat_capacity_j_k {self.pieces_heat_capacity_j_k} is a part of "
                f"load_heat_capacity_j_k {self.load_heat_capacity_j_k} and must not exceed it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine whose state is known from its controller."""

    name: str
    title: str = ""
    states: tuple[MachineState, ...]
    state_tag: str
    power_tag: str
    bath: Bath | None = None
    forecast_horizon_s: float = 900.0
    forecast_step_s: float = 15.0

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidTerritory(f"machine {self.name}", problems)

    def _problems(self) -> Iterator[str]:
        if not self.states:
            yield "a machine needs at least one state"
        for number, count in Counter(state.number for state in self.states).items():
            if count > 1:
                yield f"state number {number} is defined {count} times"
        for state in self.states:
            yield from self._state_problems(state)
        if self.bath is not None:
            yield from self.bath.problems()

    def _state_problems(self, state: MachineState) -> Iterator[str]:
        for key in ("power_w", "peak_power_w", "bath_heat_w", "load_exchange_w_per_k"):
            value = getattr(state, key)
            if not (math.isfinite(value) and value >= 0):
                yield f"state {state.name}: {key} {value} must not be negative"
        if 0 < state.peak_power_w < state.power_w:
            yield (
                f"state {state.name}: peak_power_w {state.peak_power_w} must not be below the mean, "
                f"power_w {state.power_w}"
            )
        if state.bath_heat_w > max(0.0, state.power_w):
            yield (
                f"state {state.name}: bath_heat_w {state.bath_heat_w} is a part of power_w {state.power_w} "
                "and must not exceed it"
            )
        if self.bath is None and (state.bath_heat_w or state.load_exchange_w_per_k or state.new_pieces):
            yield f"state {state.name}: bath_heat_w, load_exchange_w_per_k and new_pieces need a bath"
        elif self.bath is not None and state.load_exchange_w_per_k and not self.bath.load_heat_capacity_j_k:
            yield f"state {state.name}: load_exchange_w_per_k needs bath.load_heat_capacity_j_k"
