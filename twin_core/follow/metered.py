"""Follows a closed network by the sensors of its stations and plants.

What meters tell of customers and producers (heat, temperatures that they give, whether they run) are the commands of
the model's units (`told.py`); what the water does between them is the model's own. Nothing is added to its water, so
its ledger closes as it does without sensors: what a sensor corrects is heat of a unit. Storage tanks alone are set
right (`tank.py`), and the energy of that is told. A temperature that is measured
and not told is compared: what the model is off by there is a bias that follows it and is added to what is published,
not to the water; how large biases are says how wrong the model is where nothing is measured. Of each station one number
is learnt from its return temperature: how much its exchanger is fouled, by a constant gain and within bounds.

Sensors die. A customer whose meter does is believed to take its usual part of what the others take (`customers.py`), a
producer keeps what it was told last: both are Uncertain by themselves, everything only if more than `UNTOLD_PART` of
the heat is not told.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, ModelFailure, NotReady
from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.timeline import Reading
from uem.twin_core.follow import tank
from uem.twin_core.follow.ahead import INNER_STEP_S, Ahead
from uem.twin_core.follow.compared import PRIOR_SD_K, Compared, follows
from uem.twin_core.follow.customers import LEAST_PART, Customers
from uem.twin_core.follow.energy import energy_signals, write_energy
from uem.twin_core.follow.factory import METER_CLASS
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.follow.heating_curve import LAGS_S, HeatingCurve
from uem.twin_core.follow.ledger import LedgerTime
from uem.twin_core.follow.network import LOSS_CLASS, UNFLUSHED_SD_K
from uem.twin_core.follow.setpoints import Now, SetPoints
from uem.twin_core.follow.standing import Standing
from uem.twin_core.follow.told import RUNS_FROM, Told, most_w, tell, told_by
from uem.twin_core.follow.unit_ledger import UnitLedger
from uem.twin_core.follow.writer import Writer
from uem.twin_core.measurements import (
    GOOD,
    NS_PER_S,
    UNCERTAIN_LAST_USABLE_VALUE,
    UNCERTAIN_SENSOR_NOT_ACCURATE,
    is_bad,
    is_good,
)
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.sides import Side, is_consumer, sides
from uem.twin_core.plant.units import LOWEST_WATER_K, Producer, StorageTank, Substation, Unit, WasteIncinerator
from uem.twin_core.state import Columns, Signal, Source
from uem.twin_core.thermal.network import NetworkInputs, NetworkPlan
from uem.twin_core.thermal.units.compile import RUNNING

Array = NDArray[np.float64]

# An exchanger that is fouled by 1, twice its clean resistance, returns about this much warmer; a wrong figure only
# makes learning slower or quicker. A residual is worked off in about LEARNING_S.
RETURN_K_PER_FOULING = 15.0
LEARNING_S = 1800.0
MOST_FOULING = 1.0
SETTLE_S = 3600.0  # what filled the pipes at the start has left by then
LEAST_MEASURED_K, MOST_MEASURED_K = 273.15, 473.15  # a network begins with no other temperatures
UNTOLD_PART = 0.1  # of the heat of customers, or of producers: if more of it is not told, nothing is Good
HELD_CLASS = 0.3  # part of a producer's heat that may be wrong while it is not told
HOLD_S = 3600.0  # for which what was told last says something of what a producer does
WEATHER_S = 3600.0  # for which an outdoor temperature is good enough
DEMANDS = ("heating_w", "hot_water_w")
OF_UNITS = ("heat", "running")  # of producers and tanks, that are compared or passed on
FRESH_S = 60.0  # for which a forecast is given again: one takes as much time as hundreds of steps
SMOOTHINGS = 500  # Gauss-Jacobi sweeps over the nodes; measured ones stand no more than a few apart
PATIENCE = Patience(
    wait_s=2.0, stale_s=300.0, restart_s=120.0, gap_s=86_400.0, memory_s=0.0, warm_up_s=7200.0, holds=True
)

PAST_STEP_S = 60.0  # water and biases forget in minutes how finely they were followed


class MeteredFollower:
    """A closed network, its state, and what was measured beside it."""

    forecast_fresh_s = FRESH_S
    forecast_band = "band: quantiles tracked over past forecasts at the same lead"
    patience = PATIENCE
    past_step_s = PAST_STEP_S

    def __init__(
        self, network: Network, sensors: Mapping[str, str], streams: Mapping[tuple[str, str], str] | None = None
    ) -> None:
        """`sensors`: tag by the signal that it measures; others than the network's are not looked at.

        `streams`: by asset and signal of a factory's forecast of heat, the unit that it goes to.

        InvalidInput where they tell nothing of the heat of any unit.
        """
        self.name = network.name
        self._network = network
        self._plan = NetworkPlan(network)
        self._node = {f"node/{node}/temperature": i for i, node in enumerate(self._plan.nodes)}
        every = told_by(network, sensors)
        if not every:
            raise InvalidInput(
                f"network {network.name}: no tag tells what a unit of it does, so nothing can be followed"
            )
        self._demands = tuple(told for told in every if told.command in DEMANDS)
        self._told = tuple(told for told in every if told.command not in DEMANDS)
        told = dict.fromkeys(signal for each in every for signal in each.signals)
        self._tag = {signal: sensors[signal] for signal in told}
        self._tag |= {signal: sensors[signal] for signal in self._node if signal in sensors}
        burns = {unit.name: f"unit/{unit.name}/fuel" for unit in network.units if isinstance(unit, WasteIncinerator)}
        self._fires = {name: signal for name, signal in burns.items() if signal in self._tag}
        self._tanks = [unit for unit in network.units if isinstance(unit, StorageTank)]
        places = (tank.signal(unit, place) for unit in self._tanks for place in ("top", "bottom", "mean"))
        self._tag |= {signal: sensors[signal] for signal in places if signal in sensors}
        for kind in ("ambient", "outdoor"):
            if tag := getattr(network, f"{kind}_temperature_tag"):
                self._tag[f"{kind}/temperature"] = tag
        own = [f"unit/{unit.name}/{what}" for unit in network.units for what in OF_UNITS if not is_consumer(unit)]
        self._tag |= {signal: sensors[signal] for signal in own if signal in sensors}
        self._runs = [signal for signal in own if signal.endswith("/running") and signal in sensors]
        self._sensed = [signal for signal in self._node if signal in self._tag]
        self._sensed_row = np.array([self._node[signal] for signal in self._sensed], np.intp)
        returns = {f"node/{unit.end}/temperature": unit.name for unit in network.units if isinstance(unit, Substation)}
        self._returns = {k: returns[signal] for k, signal in enumerate(self._sensed) if signal in returns}
        self._meters = [self._tag[signal] for told in self._demands for signal in told.signals]
        self._tags_of = self._tags_by_unit(every)
        self._most_w = {unit.name: most_w(unit) for unit in network.units if unit.name in self._tags_of}
        self.required_tags: Sequence[str] = ()  # none is so dear that without it nothing were known
        self.optional_tags: Sequence[str] = (*dict.fromkeys(self._tag.values()),)
        self.discrete_tags: Mapping[str, Sequence[str]] = {
            self._tag[signal]: self._tags_of.get(signal.split("/")[1], ()) for signal in self._runs
        }
        self.step_s = network.step_s
        self.forecast_horizon_s, self.forecast_step_s = network.forecast_horizon_s, network.forecast_step_s
        self.signals = self._signals()
        rows = enumerate(network.units)
        start = {node: i for i, node in enumerate(self._plan.nodes)}
        self._producers = [(unit.name, i, start[unit.start]) for i, unit in rows if not is_consumer(unit)]
        self._ahead = Ahead(network, self.signals, self._demands, sensors, streams or {})
        self.forecast_signals: tuple[ForecastSignal, ...] = self._ahead.signals
        self._expected: dict[tuple[str, str], tuple[NDArray[np.int64], Array]] = {}
        self._set_points = SetPoints(network.units)
        self._curve_ns: int | None = None  # until when its heating curve was seen
        self.contradiction_count = 0

    @property
    def meter_tags(self) -> Sequence[str]:
        """See CoarseFollower."""
        return self.optional_tags

    def _tags_by_unit(self, every: tuple[Told, ...]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for told in every:
            found.setdefault(told.unit, []).extend(self._tag[signal] for signal in told.signals)
        return found

    def _signals(self) -> tuple[Signal, ...]:
        network = self._network
        found = [Signal(name, "K", Source.MEASURED) for name in ("ambient/temperature", "outdoor/temperature")]
        found = [signal for signal in found if signal.name in self._tag]
        for name in self._node:
            compared = name if name in self._tag else ""
            if compared:
                found.append(Signal(name, "K", Source.MEASURED))
            found.append(Signal(f"{name}/twin", "K", Source.ESTIMATED, compared_with=compared))
            if compared:
                found.append(Signal(f"{name}/bias", "K", Source.ESTIMATED, is_difference=True))
        found += [Signal(f"pipe/{pipe.name}/flow", "kg/s", Source.ESTIMATED) for pipe in network.pipes]
        found += [Signal(f"unit/{name}/fouling", "1", Source.ESTIMATED) for name in self._returns.values()]
        found += [Signal(f"unit/{unit.name}/heat", "W", Source.ESTIMATED) for unit in network.units]
        found += [Signal(name, "1", Source.MEASURED, state_names={0: "stands", 1: "runs"}) for name in self._runs]
        answers = {0: "does not answer", 1: "answers"}
        boilers = SetPoints(network.units).boilers
        found += [Signal(f"unit/{name}/answers", "1", Source.ESTIMATED, state_names=answers) for name in boilers]
        found.append(Signal("heat_loss", "W", Source.ESTIMATED))
        if self._tanks:
            found.append(Signal("energy/correction", "J", Source.LEDGER))
        return (*found, *energy_signals(network))

    # ---- time ----

    def start(self, intake: Intake, time_ns: int) -> None:
        """Pipes go linearly between measured temperatures; a node without one begins as its side is in the mean.

        NotReady while less than half of what customers take is metered.
        """
        units = {unit.name: unit for unit in self._network.units}
        usual_w = [float(getattr(units[told.unit], told.command)) for told in self._demands]
        self._customers = Customers([told.command for told in self._demands], usual_w)
        self._set_points = SetPoints(self._network.units, self._curve_at(time_ns))
        self._inputs = self._plan.inputs()
        self._fill(self._inputs, intake, time_ns, 0.0)
        if self._customers.told_part < LEAST_PART:
            raise NotReady(
                f"meters of {LEAST_PART:.0%} of what the customers take; {self._customers.told_part:.0%} have spoken"
            )
        self._standing = Standing(self._network, self._plan.nodes)
        self._compared = Compared(self._sensed, time_ns)
        self._state = self._plan.initial_state(self._measured_k(intake, time_ns))
        self._fill_tanks(intake, time_ns)
        self._light_units(intake, time_ns)
        self._corrected_j = 0.0
        self._unclear: list[str] = []  # tanks whose foot shows warmer than their top
        self._times, self._dt_s = LedgerTime(), self.step_s
        self._units = UnitLedger(self._network.units)
        self._untold_j = dict.fromkeys(self._tags_of, 0.0)
        self._heat_w = {unit.name: 0.0 for unit in self._network.units}  # in the last step
        self._origin_ns = time_ns
        # What meters showed in this forecast step, and for how long.
        self._metered_j = np.zeros((2, len(self._ahead.units)))
        self._untold_w = self._untold(intake, time_ns)
        self._is_enough = self._is_told(intake, time_ns)
        self._keep()

    def _curve_at(self, time_ns: int) -> HeatingCurve:
        """The heating curve, when a twin begins: what was learned stays."""
        known = self._curve_ns is not None and self._curve_ns <= time_ns
        unseen_s = (time_ns - (self._curve_ns or 0)) / NS_PER_S if known else math.inf
        return self._set_points.curve.after(unseen_s)

    def _keep(self) -> None:
        fouling = self._inputs.unit_commands
        learnt = {name: float(fouling[name]["fouling"][0]) for name in self._returns.values()}
        books = self._times, self._units.copy(), self._untold_j, self._corrected_j
        believed = self._customers.copy(), self._set_points.copy(), self._metered_j, self._standing.copy()
        self._before = self._state.copy(), books, learnt, believed
        self._compared.keep()

    def _light_units(self, intake: Intake, time_ns: int) -> None:
        """Producers give what their meters show: a ramp that began at nothing would take many minutes to get there."""
        numbers = self._plan.unit_states(self._state)
        for unit in self._network.units:
            shown_w = self._shown(f"unit/{unit.name}/heat", intake, time_ns)
            if isinstance(unit, Producer) and "stage" in numbers[unit.name] and math.isfinite(shown_w):
                runs = shown_w > RUNS_FROM * unit.nominal_heat_w
                burner = {"stage": RUNNING if runs else 0.0, "start_remaining_s": 0.0}
                burner |= dict.fromkeys(("heat_w", "next_heat_w"), shown_w if runs else 0.0)
                for name, value in burner.items():
                    numbers[unit.name][name][:] = value

    def _set_fires(self, intake: Intake, time_ns: int) -> None:
        """An incinerator burns what its meter shows: a fire that followed that as its feed would lag behind twice."""
        numbers = self._plan.unit_states(self._state)
        for name, signal in self._fires.items():
            if math.isfinite(fuel_w := self._shown(signal, intake, time_ns)):
                numbers[name]["fire_w"][:] = max(fuel_w, 0.0)

    def _fill_tanks(self, intake: Intake, time_ns: int) -> None:
        """Tanks as warm as their sensors say, else as their file does."""
        numbers = self._plan.unit_states(self._state)
        for unit in self._tanks:
            bottom_k, top_k, mean_k = self._tank_k(unit, intake, 0, time_ns)
            if tank.contradict(bottom_k, top_k):
                bottom_k = top_k = mean_k = math.nan
            top_k = unit.top_temp_k if math.isnan(top_k) else top_k
            bottom_k = min(unit.bottom_temp_k if math.isnan(bottom_k) else bottom_k, top_k)
            tank.fill(unit, numbers[unit.name], bottom_k, top_k, mean_k)

    def _set_tanks_right(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """As far as their sensors agree about which end is the warm one; else what they give is Uncertain."""
        now_k = {
            unit.name: [self._shown(tank.signal(unit, place), intake, end_ns) for place in ("bottom", "top")]
            for unit in self._tanks
        }
        self._unclear = [name for name, shown_k in now_k.items() if tank.contradict(*shown_k)]
        self.contradiction_count += bool(self._unclear)
        numbers = self._plan.unit_states(self._state) if self._tanks else {}
        for unit in self._tanks:
            if unit.name not in self._unclear:
                bottom_k, top_k, _ = self._tank_k(unit, intake, begin_ns, end_ns)
                self._corrected_j += tank.hold_between(unit, numbers[unit.name], bottom_k, top_k)

    def _tank_k(self, unit: StorageTank, intake: Intake, begin_ns: int, end_ns: int) -> Iterator[float]:
        """Of its sensors at the bottom, at the top, and of the mean; NaN without a believable sample in that time."""
        for place in ("bottom", "top", "mean"):
            tag = self._tag.get(tank.signal(unit, place))
            reading = intake.before(tag, end_ns) if tag else None
            is_new = reading is not None and reading.measured_ns > begin_ns
            believed = is_new and reading is not None and tank.LEAST_K < reading.value < tank.MOST_K
            yield reading.value if believed and reading is not None else math.nan

    def _measured_k(self, intake: Intake, time_ns: int) -> Array:
        side = sides(self._network)
        temps = np.full(len(self._node), math.nan)
        for signal in self._sensed:
            temps[self._node[signal]] = intake.before(self._tag[signal], time_ns).value
        temps[~((temps > LEAST_MEASURED_K) & (temps < MOST_MEASURED_K))] = math.nan
        returns = np.array([side[node.name] is Side.RETURN for node in self._network.nodes])
        unknown = ~np.isfinite(temps)
        for some in (returns, ~returns):
            known = temps[some & ~unknown]
            temps[some & unknown] = known.mean() if len(known) else self._network.ambient_temp_k
        return self._smoothed(temps, unknown)

    def _smoothed(self, temps: Array, unknown: NDArray[np.bool_]) -> Array:
        """`temps` with each unknown one between those of its neighbours: the nearer, the more."""
        index = {name: i for i, name in enumerate(self._plan.nodes)}
        pipes = self._network.pipes
        ends = np.array([(index[pipe.start], index[pipe.end]) for pipe in pipes]).T
        start, end = np.concatenate([ends, ends[::-1]], axis=1)
        weight = np.tile([1.0 / pipe.length_m for pipe in pipes], 2)
        total = np.bincount(end, weight, len(temps))
        moves = unknown & (total > 0.0)
        for _ in range(SMOOTHINGS):
            near = np.bincount(end, weight * temps[start], len(temps))
            temps[moves] = near[moves] / total[moves]
        return temps

    def _fill(self, inputs: NetworkInputs, intake: Intake, time_ns: int, dt_s: float) -> None:
        """What is told at a time; `dt_s`: for so long meters of customers have shown it."""
        tell(inputs, self._told, lambda signal: intake.before(self._tag[signal], time_ns).value)
        for boiler in self._set_points.lacking:  # sensors that are off by a little would let it give some heat
            inputs.unit_commands[boiler]["supply_temp_k"][:] = LOWEST_WATER_K
        self._customers.take(np.array([_living(intake.before(tag, time_ns)) for tag in self._meters]), dt_s)
        for told, heat_w in zip(self._demands, self._customers.heat_w.tolist(), strict=True):
            inputs.unit_commands[told.unit][told.command][:] = heat_w
        ambient_k, outdoor_k = (self._weather(kind, intake, time_ns).value for kind in ("ambient", "outdoor"))
        if math.isfinite(ambient_k):
            inputs.ambient_temp_k[:] = ambient_k
        if math.isfinite(outdoor_k) and "outdoor_temp_k" in inputs.units_with:
            inputs.set_commands("outdoor_temp_k", outdoor_k)

    def _weather(self, kind: str, intake: Intake, time_ns: int) -> Reading:
        """Where no tag is named nothing needs to be told: the file says it, for good."""
        tag = self._tag.get(f"{kind}/temperature")
        return intake.at(tag, time_ns) if tag else Reading(math.nan, GOOD, time_ns)

    def step(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """Step with what meters said at its end, of the time that it spans; then learn and judge by new samples."""
        self._keep()
        self._dt_s = (end_ns - begin_ns) / NS_PER_S
        self._fill(self._inputs, intake, end_ns, self._dt_s)
        self._set_fires(intake, end_ns)
        self._plan.step(self._state, self._dt_s, self._inputs)
        if not np.isfinite(self._state.node_temp_k).all():
            raise ModelFailure(f"network {self.name}: temperatures are not finite after a step")
        self._set_tanks_right(intake, begin_ns, end_ns)
        self._results = self._plan.unit_results(self._state)
        self._heat_w = {name: float(result["heat_j"][0]) / self._dt_s for name, result in self._results.items()}
        self._units.add(self._results)
        self._watch(intake, begin_ns, end_ns)
        self._untold_w = self._untold(intake, end_ns)
        self._untold_j = {unit: j + self._dt_s * self._untold_w[unit] for unit, j in self._untold_j.items()}
        self._is_enough = self._is_told(intake, end_ns)
        self._times = self._times.plus(self._dt_s, measured=self._is_enough)
        self._standing.see(self._state.edge_flow_kg_s[:, 0], self._dt_s)
        self._learn(*self._compare(intake, begin_ns, end_ns))

    def _watch(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """What producers do: their set points, and the means that their forecasts are held against."""
        shown_w = np.array([self._shown(f"unit/{name}/heat", intake, end_ns) for name in self._ahead.units])
        told = np.isfinite(shown_w)
        given_w = np.where(told, shown_w, [self._heat_w[name] for name in self._ahead.units]).tolist()
        flow_kg_s = self._state.unit_flow_kg_s[:, 0]
        self._set_points.see(
            {
                name: Now(
                    inlet_k=self._inlet_k(start, intake, end_ns),
                    outlet_k=float(self._results[name]["outlet_temp_k"][0]),
                    flow_kg_s=float(flow_kg_s[row]),
                    heat_w=heat_w,
                )
                for (name, row, start), heat_w in zip(self._producers, given_w, strict=True)
            },
            self._dt_s,
            self._shown("outdoor/temperature", intake, end_ns),
        )
        self._curve_ns = end_ns
        if (begin_ns - self._origin_ns) % round(self.forecast_step_s * NS_PER_S) == 0:
            self._metered_j = np.zeros_like(self._metered_j)
        self._metered_j = self._metered_j + self._dt_s * np.array([np.where(told, shown_w, 0.0), told])

    def _inlet_k(self, node: int, intake: Intake, time_ns: int) -> float:
        measured_k = self._shown(f"node/{self._plan.nodes[node]}/temperature", intake, time_ns)
        return measured_k if math.isfinite(measured_k) else float(self._state.node_temp_k[node, 0])

    def _shown(self, signal: str, intake: Intake, time_ns: int) -> float:
        """By its sensor; NaN where that is dead, or there is none."""
        tag = self._tag.get(signal)
        return _living(intake.before(tag, time_ns)) if tag else math.nan

    def _untold(self, intake: Intake, time_ns: int) -> dict[str, float]:
        """By how much the heat of each unit may be wrong since sensors of it are dead, W."""
        metered = {told.unit for told in self._demands}
        found = {
            unit: 0.0
            if unit in metered or all(is_good(intake.before(tag, time_ns).quality) for tag in tags)
            else self._may_be_off_w(unit, intake, time_ns, HELD_CLASS)
            for unit, tags in self._tags_of.items()
        }
        for told, sd_w in zip(self._demands, self._customers.standard_deviation_w.tolist(), strict=True):
            found[told.unit] = math.hypot(found[told.unit], sd_w)
        return found

    def _may_be_off_w(self, unit: str, intake: Intake, time_ns: int, part: float) -> float:
        """Of a unit whose commands are held: `part` of its heat; after `HOLD_S`, whatever it can do or not do."""
        heat_w = abs(self._heat_w[unit])
        if all(_is_recent(intake.before(tag, time_ns), time_ns, HOLD_S) for tag in self._tags_of[unit]):
            return part * heat_w
        return max(heat_w, self._most_w[unit] - heat_w)

    def _is_told(self, intake: Intake, time_ns: int) -> bool:
        """Whether enough is told for what is computed from all of it to be Good."""

        def is_recent(tag: str) -> bool:
            reading = intake.before(tag, time_ns)
            return is_good(reading.quality) or _is_recent(reading, time_ns, PATIENCE.stale_s)

        metered = {told.unit for told in self._demands}
        producers_w = {unit: abs(self._heat_w[unit]) for unit in self._tags_of if unit not in metered}
        held_w = sum(
            self._may_be_off_w(unit, intake, time_ns, 1.0)
            for unit in producers_w
            if not all(map(is_recent, self._tags_of[unit]))
        )
        return (
            self._customers.told_part >= 1.0 - UNTOLD_PART
            and held_w <= UNTOLD_PART * sum(producers_w.values())
            and _is_recent(self._weather("outdoor", intake, time_ns), time_ns, WEATHER_S)
        )

    def _compare(self, intake: Intake, begin_ns: int, end_ns: int) -> tuple[Array, Array]:
        """See Compared.take, of the sensors that have a new sample."""
        warmer_k, measured_ns = np.full(len(self._sensed), math.nan), np.zeros(len(self._sensed), np.int64)
        for k, signal in enumerate(self._sensed):
            reading = intake.before(self._tag[signal], end_ns)
            if reading.measured_ns > begin_ns:
                warmer_k[k], measured_ns[k] = reading.value, reading.measured_ns
        rows = self._sensed_row
        return self._compared.take(
            warmer_k - self._state.node_temp_k[rows, 0],
            measured_ns,
            explained_k=self._fouling_explains_k(),
            in_doubt=self._standing.in_doubt[rows],
            stands=self._standing.stands[rows],
            judged_at_ns=end_ns if self._is_settled else None,
        )

    def _fouling_explains_k(self) -> tuple[Array, Array]:
        """From where to where another fouling would move the temperature at each sensor; 0 but at returns."""
        least_k, most_k = np.zeros(len(self._sensed)), np.zeros(len(self._sensed))
        for k, name in self._returns.items():
            fouling = float(self._inputs.unit_commands[name]["fouling"][0])
            least_k[k], most_k[k] = (RETURN_K_PER_FOULING * (bound - fouling) for bound in (0.0, MOST_FOULING))
        return least_k, most_k

    def _learn(self, warmer_k: Array, since_s: Array) -> None:
        """Fouling, from returns that gave a new sample."""
        step = follows(since_s, LEARNING_S) / RETURN_K_PER_FOULING * warmer_k
        for k, name in self._returns.items():
            if not math.isnan(step[k]):
                fouling = self._inputs.unit_commands[name]["fouling"]
                fouling[:] = min(max(float(fouling[0] + step[k]), 0.0), MOST_FOULING)

    @property
    def _is_settled(self) -> bool:
        return self._times.total_s > SETTLE_S

    def roll_back(self, dt_s: float) -> None:
        """Undo the last step; its time is booked as not lived through."""
        self._state, books, learnt, believed = self._before
        self._compared.roll_back()
        self._customers, self._set_points, self._metered_j, self._standing = believed
        times, self._units, self._untold_j, self._corrected_j = books
        for name, fouling in learnt.items():
            self._inputs.unit_commands[name]["fouling"][:] = fouling
        self._times = times.plus(dt_s, measured=False)
        self._keep()

    # ---- what takes days to learn ----

    @property
    def learned_of(self) -> str:
        """See Learner."""
        return f"heating curve behind lags of {LAGS_S} s"

    def learned(self) -> dict[str, Array]:
        """See Learner: the heating curve. Fouling and biases are learned within the past that is read again."""
        return {f"curve/{name}": array for name, array in self._set_points.curve.record().items()}

    def recall(self, arrays: Mapping[str, Array], time_ns: int) -> None:
        """See Learner."""
        found = {name.removeprefix("curve/"): array for name, array in arrays.items() if name.startswith("curve/")}
        self._set_points.curve, self._curve_ns = HeatingCurve.recalled(found), time_ns

    # ---- what is published ----

    def write(self, intake: Intake, time_ns: int, columns: Columns) -> None:
        """Temperatures and flows at the end of the step, heat of units as means over it."""
        readings = {tag: intake.before(tag, time_ns) for tag in self._tag.values()}
        told = {unit: [readings[tag] for tag in tags] for unit, tags in self._tags_of.items()}
        living = [reading for some in told.values() for reading in some if is_good(reading.quality)]
        every = living or readings.values()
        writer = Writer(columns, time_ns, every, consistent=self._is_enough)
        # What the sensors of a unit do not tell makes its own signals Uncertain.
        writers = dict.fromkeys((unit.name for unit in self._network.units), writer)
        unsure = {unit: some for unit, some in told.items() if not all(is_good(r.quality) for r in some)}
        writers |= {unit: Writer(columns, time_ns, every, consistent=False) for unit in self._unclear}
        writers |= {unit: Writer(columns, time_ns, some) for unit, some in unsure.items()}
        for name in ("ambient/temperature", "outdoor/temperature"):
            if name in self._tag:
                writer.measured(name, readings[self._tag[name]])
        doubted = [unit for unit in self._network.units if writers[unit.name] is not writer]
        ends = {end: writers[unit.name] for unit in doubted for end in _ends(unit)}
        self._write_nodes(writer, ends, readings)
        for pipe, flow in zip(self._network.pipes, self._state.pipe_flow_kg_s[:, 0].tolist(), strict=True):
            writer.own(f"pipe/{pipe.name}/flow", flow, METER_CLASS * abs(flow))
        for k, name in self._returns.items():
            sd = self._compared.errors[k].standard_deviation / RETURN_K_PER_FOULING
            fouling = float(self._inputs.unit_commands[name]["fouling"][0])
            writers[name].own(f"unit/{name}/fouling", fouling, sd, settled=self._is_settled)
        for name, heat_w in self._heat_w.items():
            sd_w = math.hypot(METER_CLASS * heat_w, self._untold_w.get(name, 0.0))
            writers[name].own(f"unit/{name}/heat", heat_w, sd_w, settled=self._is_settled)
        settled = self._times.is_measured
        write_energy(
            writer,
            self._network,
            self._state,
            self._units,
            dumped_j=0.0,
            unsure=METER_CLASS,
            settled=settled,
            untold_j=self._untold_j,
        )
        for signal in self._runs:
            writer.measured(signal, readings[self._tag[signal]])
        for name in self._set_points.boilers:
            writers[name].own(f"unit/{name}/answers", float(self._set_points.answers(name)), 0.0)
        loss_w = float(self._state.energy_loss_j[0]) / self._dt_s if self._times.total_s else 0.0
        writer.own("heat_loss", loss_w, LOSS_CLASS * abs(loss_w), settled=self._is_settled)
        if self._tanks:
            writer.own("energy/correction", self._corrected_j, METER_CLASS * abs(self._corrected_j))

    def _write_nodes(self, writer: Writer, others: Mapping[str, Writer], readings: Mapping[str, Reading]) -> None:
        """Where a sensor is, with what the model is off by there; elsewhere sensors tell how wrong a model may be.

        `others`: writers of nodes beside units whose sensors are dead, or contradict each other.
        """
        compared, in_doubt = self._compared, self._standing.in_doubt
        sds_k, model_sd_k = compared.standard_deviation_k, compared.model_sd_k(in_doubt[self._sensed_row])
        model_sd_k = model_sd_k if self._is_settled else max(model_sd_k, PRIOR_SD_K)
        sensed = {name: k for k, name in enumerate(self._sensed)}
        of_nodes = (self._state.node_temp_k[:, 0], in_doubt, self._standing.shows_room)
        columns = (column.tolist() for column in of_nodes)
        for name, temp_k, is_doubtful, shows_room in zip(self._node, *columns, strict=True):
            k, own, settled = sensed.get(name), others.get(name, writer), self._is_settled and not is_doubtful
            if k is None:
                own.own(f"{name}/twin", temp_k, UNFLUSHED_SD_K if is_doubtful else model_sd_k, settled=settled)
                continue
            bias_k, is_far = float(compared.bias_k[k]), bool(compared.is_far[k])
            sd_k = UNFLUSHED_SD_K if is_doubtful else model_sd_k if is_far else float(sds_k[k])
            settled = settled and not is_far
            reading = readings[self._tag[name]]
            if shows_room and is_good(reading.quality):
                reading = reading._replace(quality=UNCERTAIN_SENSOR_NOT_ACCURATE)
            own.measured(name, reading)
            own.own(f"{name}/twin", temp_k + bias_k, sd_k, settled=settled)
            own.own(f"{name}/bias", bias_k, sd_k, settled=settled)

    # ---- forecasts ----

    @property
    def forecast_method(self) -> str:
        """See Follower."""
        known = tuple(self._expected)  # more may be heard meanwhile
        heard = ", ".join(sorted({asset for asset, _ in known}))
        told = (
            f"what forecasts of {heard} say" if heard else "what they usually take, and waste heat, at the present load"
        )
        told_of = {signal for _, signal in known}
        weather = "as the demand forecast has it" if "outdoor/temperature" in told_of else "as now"
        return (
            f"A copy of the twin goes on in steps of {INNER_STEP_S:.0f} s and its units dispatch themselves; customers "
            f"and waste heat: {told}; outdoor temperature: {weather}; supply temperatures follow it by the heating "
            "curve that was learned; all else as now"
        )

    def hear(self, asset: str, signal: str, valid_ns: NDArray[np.int64], values: Array) -> bool:
        """What is expected of customers, of the weather or of a factory, as far as it matters here."""
        key = asset, signal
        if key not in self._ahead.heard_of:
            return False
        is_new = key not in self._expected
        self._expected[key] = valid_ns, values
        return is_new

    def project(self, intake: Intake, time_ns: int, step_s: float, count: int) -> Array:
        """See Ahead; temperatures where sensors are with what the model is off by there now."""
        return self.fork(intake, time_ns, step_s, count)()[0]

    def fork(self, intake: Intake, time_ns: int, step_s: float, count: int) -> Callable[[], tuple[Array, Array]]:
        """One future; how wrong it may be past forecasts must tell."""
        given = self._customers, self._set_points, self._expected
        run = self._ahead.fork(self._state, self._inputs, *given, time_ns, step_s, count)
        bias_k = dict(zip(self._sensed, self._compared.bias_k.tolist(), strict=True))
        biases_k = [bias_k.get(name, 0.0) for name in self._ahead.temperatures]

        def futures() -> tuple[Array, Array]:
            values = run()
            values[:, : len(biases_k)] += biases_k
            spread = np.tile([signal.prior_sd for signal in self.forecast_signals], (count, 1))
            spread[:, -1] = LOSS_CLASS * values[:, -1]  # no sensor will tell of losses
            return values, spread

        return futures

    def observe(self, intake: Intake, time_ns: int) -> Array:
        """Temperatures of sensors, and what heat meters of producers showed in the present forecast step."""
        temps_k = [self._shown(name, intake, time_ns) for name in self._ahead.temperatures]
        metered_j, told_s = self._metered_j
        mean_w = np.divide(metered_j, told_s, out=np.full(len(told_s), math.nan), where=told_s > 0.0)
        return np.array([*temps_k, *mean_w, math.nan])


def _living(reading: Reading) -> float:
    """What a sensor shows; NaN where that is an old value."""
    is_held = is_bad(reading.quality) or reading.quality == UNCERTAIN_LAST_USABLE_VALUE
    return math.nan if is_held else reading.value


def _is_recent(reading: Reading, time_ns: int, longest_s: float) -> bool:
    """Whether a value, held or not, was measured not longer ago than that."""
    return not is_bad(reading.quality) and time_ns - reading.measured_ns <= longest_s * NS_PER_S


def _ends(unit: Unit) -> tuple[str, str]:
    return f"node/{unit.start}/temperature", f"node/{unit.end}/temperature"
