"""A network as it really is: not quite as its twin believes, and told by instruments that are not quite right.

    truth = NetworkTruth(network, sensors, seed=1)     # sensors: tag by the signal that it measures
    truth.step(10.0)
    samples = Samples.from_rows(truth.rows(time_ns))   # what the instruments show now

All that differs is drawn once from the seed, with the magnitudes below; sources: docs/models/truth.md. The grid of
pipes and the step are finer than the twin's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, GOOD
from uem.twin_core.plant.network import Network, PipeClass
from uem.twin_core.plant.units import HeatDemand, HeatOnlyBoiler, Substation, Unit
from uem.twin_core.thermal.network import NetworkPlan, NetworkState
from uem.twin_core.thermal.water import density_kg_m3

Array = NDArray[np.float64]

CELLS = 40  # of every pipe
INNER_STEP_S = 2.0
# While it settles, which may take half a day; the grid is the same, so the state goes on with the finer step.
SETTLE_INNER_STEP_S = 300.0
# Of a unit, as far as it tells them.
POWERS = ("heat", "heating", "hot_water", "fuel", "electricity", "source_heat", "dumped")
COUNTERS = {"energy": "heat", "volume": "flow"}  # each with the gain of what it counts
SERVED = (
    *POWERS,
    *COUNTERS,
    "flow",
    "cop",
    "bypass",
    "fan_speed",
    "running",
    "outlet_temperature",
    "stream_outlet_temperature",
    "source_outlet_temperature",
    "mean_temperature",
    "top_temperature",
    "bottom_temperature",
    "secondary_supply_temperature",
    "secondary_return_temperature",
)
STOPS = ("on", "waste_kg_s", "stream_flow_kg_s")  # commands by which a unit stands, at 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """How much truth and instruments differ from what is believed; parts of the value unless the name has a unit."""

    insulation: float = 0.10  # heat loss by pipe class, evenly within +-
    roughness: float = 0.5  # a factor within 1 / (1 + this) and 1 + this
    wall_heat_capacity: float = 0.05
    boiler_efficiency: float = 0.03
    fouling: float = 0.10  # of a station's exchanger, from 0
    ground_k: float = 1.0  # standard deviation of the ground's temperature
    heating: float = 0.08  # standard deviation of a station's heating about what is believed
    heating_s: float = 3600.0  # how long that takes to change
    hot_water: float = 0.4
    hot_water_s: float = 600.0
    temperature_noise_k: float = 0.05
    temperature_bias_k: float = 0.2
    temperature_digit_k: float = 0.1
    drifting: float = 0.03  # of the temperature sensors
    drift_k_h: float = 0.05
    gain: float = 0.01  # of meters of heat
    noise: float = 0.005
    digit_w: float = 100.0
    digit_kg_s: float = 0.01
    digit_j: float = 3.6e6  # of counters
    digit_m3: float = 0.01
    pressure_bias_pa: float = 3000.0
    pressure_noise_pa: float = 300.0
    pressure_digit_pa: float = 1000.0
    lost_every_s: float = 6 * 3600.0  # a sensor fails
    lost_for_s: float = 120.0


_MAGNITUDES = [name for name in Unlike.__slots__ if not name.endswith("_s")]
EXACT = replace(Unlike(), lost_every_s=math.inf, **dict.fromkeys(_MAGNITUDES, 0.0))


def unlike(network: Network, how: Unlike, rng: np.random.Generator) -> Network:
    """The network with other pipes, boilers and stations."""

    def about(part: float) -> float:
        return float(rng.uniform(1.0 - part, 1.0 + part))

    def pipes(one: PipeClass) -> PipeClass:
        rough = math.log1p(how.roughness)
        return replace(
            one,
            loss_factor=one.loss_factor * about(how.insulation),
            roughness_m=one.roughness_m * math.exp(rng.uniform(-rough, rough)),
            wall_heat_capacity_j_kgk=one.wall_heat_capacity_j_kgk * about(how.wall_heat_capacity),
        )

    def unit(one: Unit) -> Unit:
        match one:
            case HeatOnlyBoiler():
                factor = about(how.boiler_efficiency)
                return replace(one, efficiency=tuple((load, factor * part) for load, part in one.efficiency))
            case Substation():
                return replace(one, fouling=one.fouling + float(rng.uniform(0.0, how.fouling)))
        return one

    classes, units = tuple(map(pipes, network.pipe_classes)), tuple(map(unit, network.units))
    ground_k = network.ambient_temp_k + float(rng.normal(0.0, how.ground_k))
    return replace(network, pipe_classes=classes, units=units, ambient_temp_k=ground_k)


class NetworkTruth:
    """A network that runs by itself, and its instruments."""

    def __init__(
        self, network: Network, sensors: Mapping[str, str | Sequence[str]], *, seed: int, how: Unlike | None = None
    ) -> None:
        """`sensors`: tag or tags by signal, such as node/N/temperature and unit/N/heat; no others are served."""
        self._how, self._rng = how or Unlike(), np.random.default_rng(seed)
        self.network = unlike(network, self._how, self._rng)
        self.plan = NetworkPlan(self.network, cells=CELLS, inner_step_s=INNER_STEP_S)
        self.inputs = self.plan.inputs()
        self.time_s = 0.0
        told = [u for u in network.units if isinstance(u, Substation) and u.demand is HeatDemand.COMMAND]
        self._stations = [unit.name for unit in told]
        # What stations want as their file says, and by how much more they want now, (2, stations).
        self.demand_w = np.array([[u.heating_w for u in told], [u.hot_water_w for u in told]])
        self._more = np.zeros_like(self.demand_w)
        self._last_s = 1.0
        self.state: NetworkState | None = None
        self.outdoor_k = told[0].outdoor_temp_k if told else math.nan  # at the sensor outside
        self._tripped: dict[str, dict[str, float]] = {}  # commands that came back by resuming, by unit
        self._metered = [unit.name for unit in network.units if isinstance(unit, Substation)]
        self._counted = np.zeros((len(COUNTERS), len(self._metered)))  # J and m3
        self._signals, self._tags = [], []
        for signal in self._served():
            tags = sensors.get(signal, ())
            for tag in (tags,) if isinstance(tags, str) else tags:
                self._signals.append(signal)
                self._tags.append(tag)
        self._instruments(self._signals)

    def _served(self) -> Iterator[str]:
        for what in ("temperature", "pressure"):
            yield from (f"node/{name}/{what}" for name in self.plan.nodes)
        for unit in self.network.units:
            yield from (f"unit/{unit.name}/{what}" for what in SERVED)
        yield "outdoor/temperature"

    def _instruments(self, signals: Sequence[str]) -> None:
        how, rng, count = self._how, self._rng, len(signals)
        what = np.array([signal.rpartition("/")[2] for signal in signals])
        temperature = np.char.endswith(what, "temperature") if count else np.zeros(0, bool)
        pressure, counter = what == "pressure", np.isin(what, [*COUNTERS])
        meter = np.isin(what, [*POWERS, *COUNTERS, "flow"])
        bias = temperature * how.temperature_bias_k + pressure * how.pressure_bias_pa
        self._bias = rng.normal(0.0, 1.0, count) * bias
        drifts = temperature & (rng.random(count) < how.drifting)
        self._drift_s = np.where(drifts, rng.choice([-1.0, 1.0], count) * how.drift_k_h / 3600.0, 0.0)
        self._gain = 1.0 + meter * how.gain * rng.normal(0.0, 1.0, count)
        where = {signal: k for k, signal in enumerate(signals)}
        for k in np.flatnonzero(counter).tolist():
            thing, _, quantity = signals[k].rpartition("/")
            self._gain[k] = self._gain[where.get(f"{thing}/{COUNTERS[quantity]}", k)]
        self._noise = temperature * how.temperature_noise_k + pressure * how.pressure_noise_pa
        self._relative_noise = (meter & ~counter) * how.noise
        digits = {"pressure": how.pressure_digit_pa, "flow": how.digit_kg_s}
        digits |= {"energy": how.digit_j, "volume": how.digit_m3, **dict.fromkeys(POWERS, how.digit_w)}
        self._digit = np.where(temperature, how.temperature_digit_k, [digits.get(name, 0.0) for name in what.tolist()])
        self._failed_until_s = np.zeros(count)

    def begin(self, temp_k: float | Array, settle_s: float = 0.0, step_s: float = 300.0) -> None:
        """Begin as warm as told (docs of `NetworkPlan.initial_state`); `settle_s` goes by before time counts."""
        self.fill(temp_k)
        for _ in range(round(settle_s / step_s)):
            self.step(step_s)
        self.start()

    def fill(self, temp_k: float | Array) -> None:
        """Begin as warm as told; steps until `start` settle, with longer inner steps."""
        self._settling = NetworkPlan(self.network, cells=CELLS, inner_step_s=SETTLE_INNER_STEP_S)
        self.state = self.plan.initial_state(temp_k)
        self._results = self.plan.unit_results(self.state)
        self._is_settling = True

    def start(self) -> None:
        """From here on time counts, and counters do."""
        self.time_s, self._is_settling = 0.0, False
        self._counted[:] = 0.0

    @property
    def able_to_trip(self) -> list[str]:
        """Units that can."""
        return [name for name, its in self.inputs.unit_commands.items() if not its.keys().isdisjoint(STOPS)]

    @property
    def tripped(self) -> list[str]:
        """Units that have, and stand."""
        return [*self._tripped]

    def trip(self, unit: str) -> None:
        """A unit stands until it is resumed; InvalidInput if there is none that can."""
        commands = self.inputs.unit_commands.get(unit, {})
        stopping = {name: float(commands[name][0]) for name in STOPS if name in commands}
        if not stopping:
            able = ", ".join(self.able_to_trip)
            raise InvalidInput(f"{unit!r} is no unit of {self.network.name} that can trip; they are {able}")
        self._tripped.setdefault(unit, stopping)

    def resume(self, unit: str) -> None:
        """What tripped goes on."""
        for command, value in self._tripped.pop(unit, {}).items():
            self.inputs.unit_commands[unit][command][:] = value

    def step(self, dt_s: float) -> None:
        """Go on; demands wander, each as an Ornstein-Uhlenbeck process, exact for any step."""
        if self.state is None:
            self.begin(self.network.ambient_temp_k)
        assert self.state is not None
        how = self._how
        spread = np.array([[how.heating], [how.hot_water]])
        keep = np.exp(-dt_s / np.array([[how.heating_s], [how.hot_water_s]]))
        self._more = keep * self._more + spread * np.sqrt(1.0 - keep**2) * self._rng.normal(size=self._more.shape)
        wanted = np.maximum(self.demand_w * (1.0 + self._more), 0.0)
        for name, heating_w, hot_water_w in zip(self._stations, *wanted.tolist(), strict=True):
            commands = self.inputs.unit_commands[name]
            commands["heating_w"][:], commands["hot_water_w"][:] = heating_w, hot_water_w
        for unit, stopping in self._tripped.items():
            for name in stopping:
                self.inputs.unit_commands[unit][name][:] = 0.0
        (self._settling if self._is_settling else self.plan).step(self.state, dt_s, self.inputs)
        self.time_s += dt_s
        self._last_s = dt_s
        self._count(dt_s)

    def _count(self, dt_s: float) -> None:
        """Heat meters of stations count heat, and the volume of the water that comes back."""
        assert self.state is not None
        flow_kg_s = dict(zip(self.plan.units, self.state.unit_flow_kg_s[:, 0].tolist(), strict=True))
        for k, name in enumerate(self._metered):
            result = self._results[name]
            self._counted[0, k] += abs(float(result["heat_j"][0]))
            self._counted[1, k] += abs(flow_kg_s[name]) * dt_s / density_kg_m3(float(result["outlet_temp_k"][0]))

    def taken_j(self, unit: str, result: str) -> float:
        """A result of a unit in the last step, such as heat_j."""
        return float(self._results[unit][result][0])

    def values(self) -> dict[str, float]:
        """By signal, what is really so: temperatures now, powers as means over the last step."""
        assert self.state is not None
        state = self.state
        found: dict[str, float] = {"outdoor/temperature": self.outdoor_k}
        for what, array in (("temperature", state.node_temp_k), ("pressure", state.node_pressure_pa)):
            found |= zip((f"node/{name}/{what}" for name in self.plan.nodes), array[:, 0].tolist(), strict=True)
        for unit, flow_kg_s in zip(self.plan.units, state.unit_flow_kg_s[:, 0].tolist(), strict=True):
            found[f"unit/{unit}/flow"] = flow_kg_s
        for unit, results in self._results.items():
            for name, value in results.items():
                found |= self._of_unit(f"unit/{unit}/", name, float(value[0]))
        for what, counted in zip(COUNTERS, self._counted.tolist(), strict=True):
            found |= zip((f"unit/{name}/{what}" for name in self._metered), counted, strict=True)
        return found

    def _of_unit(self, unit: str, name: str, value: float) -> Iterator[tuple[str, float]]:
        """A result of a unit as its instruments know it."""
        if name.endswith("_temp_k"):
            yield f"{unit}{name.removesuffix('_temp_k')}_temperature", value
        elif name.endswith("_j"):
            yield f"{unit}{name.removesuffix('_j')}", value / self._last_s
        elif name in ("running_s", "waste_kg"):
            yield f"{unit}running", float(value > 1e-3 * self._last_s)
        else:
            yield unit + name, value

    def rows(self, time_ns: int) -> Iterator[tuple[str, int, float, int]]:
        """(tag, time, SI value, quality) of every instrument; one that fails tells so, as control systems do."""
        how, rng, true = self._how, self._rng, self.values()
        noise = rng.normal(size=len(self._tags))
        falls = rng.random(len(self._tags)) < self._last_s / how.lost_every_s
        self._failed_until_s[falls] = self.time_s + rng.exponential(how.lost_for_s, int(falls.sum()))
        value = np.array([true.get(signal, math.nan) for signal in self._signals])
        value = value * self._gain * (1.0 + self._relative_noise * noise)
        value += self._bias + self._drift_s * self.time_s + self._noise * noise
        digit = np.where(self._digit > 0.0, self._digit, 1.0)
        value = np.where(self._digit > 0.0, digit * np.round(value / digit), value)
        failed = self.time_s < self._failed_until_s
        for tag, shown, fails in zip(self._tags, value.tolist(), failed.tolist(), strict=True):
            if math.isfinite(shown):
                yield (tag, time_ns, math.nan, BAD_SENSOR_FAILURE) if fails else (tag, time_ns, shown, GOOD)
