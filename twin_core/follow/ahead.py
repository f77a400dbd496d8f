"""What a followed network will do: a copy of its state goes on, and units dispatch themselves as they always do.

Customers take what is expected of them: by a forecast of their group, else what they usually take at the present
load. The stream of a factory brings what its forecast says, else what it brings now. Outdoor temperature is that of
the demand forecast, else that of now. Supply temperatures follow it by the heating curve that was learned; boilers that
do not answer stand. All else stays as it is.
"""

import heapq
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.follow.customers import Customers
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.follow.heating_curve import HeatingCurve
from uem.twin_core.follow.network import LOSS_CLASS
from uem.twin_core.follow.setpoints import SetPoints
from uem.twin_core.follow.told import Told
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.groups import alike
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.sides import Side, is_consumer, sides
from uem.twin_core.plant.units import Substation, Unit, WasteHeatExchanger, WasteIncinerator
from uem.twin_core.state import Signal
from uem.twin_core.thermal.network import NetworkInputs, NetworkPlan, NetworkState

FADES_S = 3 * 3600.0  # what a demand forecast is off by at first
INNER_STEP_S = 60.0  # as long as changes nothing: docs/models/forecast.md
STATIONS = 12  # of which temperatures are told: those that are hardest to reach
WEATHER_S = 6 * 3600.0  # ahead from where on supply temperatures are mostly off by the weather
PRIOR_TEMP_SD_K, PRIOR_PART = 2.0, 0.2  # until past forecasts tell: of temperatures, of a unit's nominal heat

Array = NDArray[np.float64]
Course = tuple[NDArray[np.int64], Array]  # valid times in ns, W or K


class Ahead:
    """The forecast of one network: of `signals`, in the order temperatures, heat of units, loss."""

    def __init__(
        self,
        network: Network,
        signals: Sequence[Signal],
        demands: Sequence[Told],
        sensors: Container[str],
        streams: Mapping[tuple[str, str], str],
    ) -> None:
        """`signals` of the follower; `demands`: what meters of customers tell; `sensors`: signals that have one.

        `streams`: by asset and signal of a factory's forecast of heat, the unit that it goes to.
        """
        self._network = network
        self._plan = NetworkPlan(network, inner_step_s=INNER_STEP_S)
        self._one_at_a_time = threading.Lock()  # futures that are asked for, and those that bands learn from
        self._demands = demands
        self._members = _members(network, demands, sensors)
        exchangers = {unit.name: unit for unit in network.units if isinstance(unit, WasteHeatExchanger)}
        self._exchangers = {key: exchangers[unit] for key, unit in streams.items() if unit in exchangers}
        self._outdoor = f"{network.name}/demand", "outdoor/temperature"
        self.heard_of = {*self._members, *self._exchangers, self._outdoor}
        named = {signal.name: signal for signal in signals}
        nodes = _places(network, named)
        self._rows = np.array([self._plan.nodes.index(node) for node in nodes], np.intp)
        self.units = [unit.name for unit in network.units if not is_consumer(unit)]
        self.temperatures = [_signal(node, named) for node in nodes]
        most_w = sum(unit.nominal_heat_w for unit in network.units if isinstance(unit, Substation))
        prior_w = {unit.name: PRIOR_PART * _nominal_w(unit, most_w) for unit in network.units}
        self.signals = (
            *(
                ForecastSignal(signal=named[name], prior_sd=PRIOR_TEMP_SD_K, weather_s=WEATHER_S)
                for name in self.temperatures
            ),
            *(ForecastSignal(signal=named[f"unit/{name}/heat"], prior_sd=prior_w[name]) for name in self.units),
            ForecastSignal(signal=named["heat_loss"], prior_sd=LOSS_CLASS * most_w, low=0.0),
        )

    def fork(
        self,
        state: NetworkState,
        now: NetworkInputs,
        customers: Customers,
        set_points: SetPoints,
        expected: Mapping[tuple[str, str], Course],
        time_ns: int,
        step_s: float,
        count: int,
    ) -> Callable[[], Array]:
        """Copies all that is needed; then, in any thread, gives (count, signals).

        Temperatures at the end of each step (means of its last minute), powers as means over it. `expected`: of
        `heard_of`, by asset and signal.
        """
        inputs = self._commanded(now, set_points)
        weather = self._weather(set_points.curve, expected, time_ns, step_s, count)
        heat_w = self._demand_w(customers, expected, time_ns, step_s, count)
        flows = self._stream_flows(expected, time_ns, step_s, count)
        return partial(self._run, state.copy(), inputs, weather, heat_w, flows, step_s)

    def _run(
        self,
        state: NetworkState,
        inputs: NetworkInputs,
        weather: "_Weather | None",
        heat_w: Array,
        flows: Mapping[str, Array],
        step_s: float,
    ) -> Array:
        plan, count = self._plan, len(heat_w)
        parts_s = (step_s - INNER_STEP_S, INNER_STEP_S) if step_s > INNER_STEP_S else (step_s,)
        out = np.empty((count, len(self.signals)))
        held_k = {
            unit: float(commands["supply_temp_k"][0])
            for unit, commands in inputs.unit_commands.items()
            if "supply_temp_k" in commands
        }
        with self._one_at_a_time:
            for k in range(count):
                if weather is not None:
                    weather.drive(inputs, held_k, k)
                for told, taken_w in zip(self._demands, heat_w[k].tolist(), strict=True):
                    inputs.unit_commands[told.unit][told.command][:] = taken_w
                for unit, flow_kg_s in flows.items():
                    inputs.unit_commands[unit]["stream_flow_kg_s"][:] = flow_kg_s[k]
                given_j = np.zeros(len(self.units) + 1)
                for part_s in parts_s:
                    plan.step(state, part_s, inputs)
                    results = plan.unit_results(state)
                    given_j += [*(results[name]["heat_j"][0] for name in self.units), state.energy_loss_j[0]]
                out[k] = np.concatenate([state.node_temp_k[self._rows, 0], given_j / step_s])
        return out

    def _commanded(self, now: NetworkInputs, set_points: SetPoints) -> NetworkInputs:
        inputs = self._plan.inputs()
        inputs.ambient_temp_k[:] = now.ambient_temp_k
        for unit, commands in now.unit_commands.items():
            for name, value in commands.items():
                inputs.unit_commands[unit][name][:] = value
        for boiler in set_points.boilers:
            inputs.unit_commands[boiler]["supply_temp_k"][:] = set_points.supply_k[boiler]
            inputs.unit_commands[boiler]["on"][:] = float(set_points.answers(boiler))
        return inputs

    def _weather(
        self,
        curve: HeatingCurve,
        expected: Mapping[tuple[str, str], Course],
        time_ns: int,
        step_s: float,
        count: int,
    ) -> "_Weather | None":
        """None where no sensor tells how it is."""
        if curve.outdoor_k is None:
            return None
        ahead_k = np.full(count, curve.outdoor_k[0])
        if self._outdoor in expected:
            ahead_k = _during(expected[self._outdoor], time_ns, step_s, count)
        return _Weather(ahead_k, curve.change_k(ahead_k, step_s))

    def _demand_w(
        self,
        customers: Customers,
        expected: Mapping[tuple[str, str], Course],
        time_ns: int,
        step_s: float,
        count: int,
    ) -> Array:
        """(count, meters): what each usually takes, times what its group is expected to over what that usually does.

        What a forecast is off by at first fades: one of a short history knows yesterday, not the present load.
        """
        usual_w, fading = customers.usual_w, np.exp(-step_s * np.arange(count) / FADES_S)
        found = np.tile(usual_w, (count, 1))
        for key, members in self._members.items():
            together_w = usual_w[members].sum()
            if key in expected and together_w > 0.0:
                course_w = _during(expected[key], time_ns, step_s, count)
                course_w = np.maximum(course_w + fading * (together_w - course_w[0]), 0.0)
                found[:, members] *= (course_w / together_w)[:, None]
        return found

    def _stream_flows(
        self,
        expected: Mapping[tuple[str, str], Course],
        time_ns: int,
        step_s: float,
        count: int,
    ) -> dict[str, Array]:
        """Of the streams of exchangers whose factories have a forecast, kg/s: what carries the heat."""
        found = {}
        for key, unit in self._exchangers.items():
            if key in expected:
                carried_j_kg = unit.stream_heat_capacity_j_kgk * (unit.stream_temp_k - unit.lowest_stream_temp_k)
                flow_kg_s = _during(expected[key], time_ns, step_s, count) / carried_j_kg
                found[unit.name] = np.clip(flow_kg_s, 0.0, unit.nominal_stream_flow_kg_s)
        return found


class _Weather(NamedTuple):
    """Of each step, (count,): outdoor temperature, and by how much supply temperatures differ from now."""

    outdoor_k: Array
    change_k: Array

    def drive(self, inputs: NetworkInputs, held_k: Mapping[str, float], step: int) -> None:
        """Set what it is in a step; `held_k`: supply temperatures now, by unit."""
        if "outdoor_temp_k" in inputs.units_with:
            inputs.set_commands("outdoor_temp_k", float(self.outdoor_k[step]))
        for unit, supply_k in held_k.items():
            inputs.unit_commands[unit]["supply_temp_k"][:] = supply_k + self.change_k[step]


def _during(course: Course, time_ns: int, step_s: float, count: int) -> Array:
    """Of each step from a time on; the nearest that there is beyond the ends."""
    ends_s = step_s * np.arange(1.0, count + 1.0)
    return np.interp(ends_s, (course[0] - time_ns) / NS_PER_S, course[1])


def _members(
    network: Network, demands: Sequence[Told], sensors: Container[str]
) -> dict[tuple[str, str], NDArray[np.intp]]:
    """By asset and signal of a demand forecast, the meters whose heat it is."""
    stations = [
        unit.name for unit in network.units if isinstance(unit, Substation) and f"unit/{unit.name}/heat" in sensors
    ]
    groups = {f"demand/{stem}": some for stem, some in alike(stations).items()}
    groups = groups or {"demand": list(range(len(stations)))}
    of = {signal: {stations[i] for i in some} for signal, some in groups.items()}
    return {
        (f"{network.name}/demand", signal): np.array(
            [k for k, told in enumerate(demands) if told.unit in some], np.intp
        )
        for signal, some in of.items()
    }


def _places(network: Network, named: Mapping[str, Signal]) -> list[str]:
    """Nodes at producers and tanks that have a sensor, where pumps end, and the supply of stations hard to reach."""
    at_plant = [node for unit in network.units if not is_consumer(unit) for node in (unit.start, unit.end)]
    found = [node for node in at_plant if f"node/{node}/temperature" in named]
    begin = [pump.end for pump in network.pumps]
    critical = [pump.critical_start for pump in network.pumps if pump.critical_start]
    way_m = _ways_m(network, begin)
    stations = {unit.start for unit in network.units if isinstance(unit, Substation)}
    sensed = [node for node in stations if f"node/{node}/temperature" in named]
    farthest = sorted(sensed, key=lambda node: (-way_m.get(node, 0.0), node))
    hardest = [*dict.fromkeys([*(node for node in critical if node in sensed), *farthest])][:STATIONS]
    return [*dict.fromkeys([*begin, *found, *hardest])]


def _ways_m(network: Network, begin: Sequence[str]) -> dict[str, float]:
    """Of each node, along the pipes of the supply from the nearest of `begin`."""
    side = sides(network)
    beside: dict[str, list[tuple[str, float]]] = {}
    for pipe in network.pipes:
        if side[pipe.start] is Side.SUPPLY:
            beside.setdefault(pipe.start, []).append((pipe.end, pipe.length_m))
            beside.setdefault(pipe.end, []).append((pipe.start, pipe.length_m))
    found: dict[str, float] = {}
    waiting = [(0.0, node) for node in begin]
    while waiting:
        so_far_m, node = heapq.heappop(waiting)
        if node not in found:
            found[node] = so_far_m
            for other, length_m in beside.get(node, ()):
                heapq.heappush(waiting, (so_far_m + length_m, other))
    return found


def _signal(node: str, named: Mapping[str, Signal]) -> str:
    """Measured where there is a sensor, else the twin's."""
    measured = f"node/{node}/temperature"
    return measured if measured in named else f"{measured}/twin"


def _nominal_w(unit: Unit, most_w: float) -> float:
    """Of one that has none of its own, what customers may take together is a quarter too much of."""
    if isinstance(unit, WasteIncinerator):
        return unit.nominal_waste_kg_s * unit.heating_value_j_kg * unit.heat_efficiency
    return float(getattr(unit, "nominal_heat_w", 0.25 * most_w))
