"""Follows a factory: PackML states and counters in; states, parts, power, heat and what is learned out.

Every sample is taken in at its own time (`shadow.py`), so the step only says how often a state is published. What is
not watched is predicted. `resyncs` counts how often observation and prediction had parted and were brought together.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.residuals import RunningResiduals
from uem.twin_core.estimation.timeline import Reading
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.follow.learned import DRIFTS, Learned
from uem.twin_core.follow.ledger import LedgerTime
from uem.twin_core.follow.shadow import BUSY, Shadow, ShadowState, burning_on, foreseen
from uem.twin_core.follow.writer import Writer
from uem.twin_core.measurements import NS_PER_S, is_good
from uem.twin_core.plant.factory import FactorySite, slots_apart
from uem.twin_core.plant.production import lognormal
from uem.twin_core.production.indicators import PACKML, PackML
from uem.twin_core.production.learning import ExponentialBelief, LognormalBelief
from uem.twin_core.production.plan import STATES, FactoryPlan
from uem.twin_core.state import Columns, Signal, Source

Array = NDArray[np.float64]

REPLICATIONS = 32  # of a forecast
PRIOR_POWER_PART = 0.3  # of the largest power
PRIOR_RATE_PART = 0.5  # of the fastest output
PRIOR_CHAMBER_SD_K = 10.0  # of a furnace until residuals tell
CHAMBER_K = (223.15, 2273.15)  # that a sample of a chamber can be; furnaces of files end at 1,500 degC
EMPTIED_S = 1.0  # least time that a batch in work is given to its end
METER_CLASS = 0.1  # part of an energy from a table of powers that may be wrong
SILENT_CYCLES = 3.0  # of the slowest machine: after them a value is stale
PATIENCE = Patience(wait_s=10.0, stale_s=3600.0, restart_s=120.0, gap_s=86_400.0, memory_s=0.0, warm_up_s=86_400.0)
PACKML_NAMES = {int(state): state.name.lower() for state in PackML}
_DRIFT_NAMES = {
    code: ", ".join(name for k, name in enumerate(DRIFTS) if code & 1 << k) or "none"
    for code in range(1 << len(DRIFTS))
}


class _Event(NamedTuple):
    """A sample: counters come before states at the same time, so that a finished part is one."""

    time_ns: int
    order: int
    name: str
    value: float


class FactoryFollower:
    """A shadow of the factory and what is learned of its machines."""

    forecast_method = (
        f"Mean of {REPLICATIONS} simulated futures of the present state with learned cycle, failure and repair times"
    )

    def __init__(self, site: FactorySite) -> None:
        """InvalidInput where no machine has a state_tag."""
        site = slots_apart(site)
        self.name = site.name
        self.contradiction_count = 0  # resyncs, and samples that no chamber of a furnace can have
        self._learned: dict[str, Learned] = {}
        self.site = site
        self._shadow = Shadow(site)
        if not self._shadow.watched:
            raise InvalidInput(
                f"factory {site.name}: no machine has a state_tag, so there is nothing to follow; "
                f"`uem run` lets it run by itself"
            )
        self._tags = {name: site.machine_tags[name] for name in self._shadow.watched}
        self._levels = dict(site.level_tags)
        found = [tag for tags in self._tags.values() for tag in tags.used]
        self._chambers = {
            name: RunningResiduals(PRIOR_CHAMBER_SD_K) for name, tags in self._tags.items() if tags.temperature_tag
        }
        self.required_tags: Sequence[str] = (*found, *self._levels.values())
        self.optional_tags: Sequence[str] = ()
        self.step_s = site.step_s
        self.forecast_horizon_s, self.forecast_step_s = site.forecast_horizon_s, site.forecast_step_s
        longest_s = max(self._shadow.machines[name].cycle.mean for name in self._shadow.watched)
        stale_s = max(PATIENCE.stale_s, SILENT_CYCLES * longest_s)  # a batch is told when it begins and when it ends
        self.patience = replace(PATIENCE, memory_s=site.forecast_step_s, stale_s=stale_s)
        self.signals = _signals(site, self._shadow.watched)
        largest_w = sum(
            machine.slots * max([0.0, *machine.power_w.values()])
            + (machine.furnace.power_w if machine.furnace else 0.0)
            for machine in site.factory.machines
        )
        self._largest_w = max(largest_w, 1.0)
        fastest = min(machine.cycle.mean for machine in site.factory.machines)
        named = {signal.name: signal for signal in self.signals}
        self.forecast_signals: tuple[ForecastSignal, ...] = (
            ForecastSignal(signal=named["power"], prior_sd=PRIOR_POWER_PART * self._largest_w, low=0.0),
            ForecastSignal(signal=named["output"], prior_sd=PRIOR_RATE_PART / fastest, low=0.0),
        )

    @property
    def _state(self) -> ShadowState:
        return self._shadow.state

    # ---- time ----

    def _seconds(self, time_ns: int) -> float:
        """Plant time in the time of the calendars, as small as it can be."""
        return (time_ns - self._origin_ns) / NS_PER_S

    def start(self, intake: Intake, time_ns: int) -> None:
        """Begin with what is measured; buffers without a tag as the file says."""
        periods = [round(calendar.period_s * 1000) for calendar in self.site.factory.calendars]
        period_ns = math.lcm(*(periods or [604_800_000])) * 1_000_000
        self._origin_ns = time_ns - (time_ns - self.site.calendar_epoch_ns) % period_ns
        begin_s = self._seconds(time_ns)

        def number(tag: str) -> int:
            return round(intake.before(tag, time_ns).value)

        states = {name: number(tags.state_tag) for name, tags in self._tags.items()}
        made = {
            name: (number(tags.good_tag), number(tags.scrap_tag) if tags.scrap_tag else 0)
            for name, tags in self._tags.items()
            if tags.good_tag
        }
        levels = {buffer: number(tag) for buffer, tag in self._levels.items()}
        self._shadow.begin(begin_s, states, made, levels)
        for name, tags in self._tags.items():
            if tags.batch_tag:
                self._shadow.see_batch(name, number(tags.batch_tag))
            if tags.temperature_tag:
                temp_k = intake.before(tags.temperature_tag, time_ns).value
                if _is_of_a_chamber(temp_k):
                    self._shadow.begin_at_temperature(name, temp_k)
        worth = self.site.prior_worth
        for name, state in states.items():  # what was learned before the plant's time jumped stays
            known = self._learned.get(name) or Learned.from_prior(self._shadow.machines[name], worth)
            self._learned[name] = replace(known.lost_sight(), since_s=begin_s).saw_state(begin_s, state)
        self._times = LedgerTime()
        self._step_j = self._state.energy_j.copy()
        self._heat_j = self._state.heat_j.copy()
        self._span_s = 0.0
        self._keep()

    def _keep(self) -> None:
        self._before = (self._state.copy(self._shadow.plan), dict(self._learned), self._times)

    def step(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """Take every sample in at its time, predict in between."""
        self._keep()
        energy_before_j, resyncs_before = self._state.energy_j.copy(), self._state.resync_count
        heat_before_j = self._state.heat_j.copy()
        for event in self._events(intake, begin_ns, end_ns):
            self._take(event, intake)
        self._shadow.go_to(self._seconds(end_ns))
        self._shadow.check()
        self.contradiction_count += self._state.resync_count - resyncs_before
        self._learned = {name: learned.at(self._seconds(end_ns)) for name, learned in self._learned.items()}
        self._shadow.believe({name: learned.belief.cycle.mean_s for name, learned in self._learned.items()})
        self._step_j = self._state.energy_j - energy_before_j
        self._heat_j = self._state.heat_j - heat_before_j
        self._span_s = (end_ns - begin_ns) / NS_PER_S
        good = all(is_good(intake.before(tags.state_tag, end_ns).quality) for tags in self._tags.values())
        self._times = self._times.plus(self._span_s, measured=good)

    def _events(self, intake: Intake, begin_ns: int, end_ns: int) -> list[_Event]:
        found: list[_Event] = []

        def add(tag: str, order: int, name: str) -> None:
            found.extend(
                _Event(sample.measured_ns, order, name, sample.value)
                for sample in (intake.samples(tag, begin_ns, end_ns) if tag else ())
            )

        for name, tags in self._tags.items():
            add(tags.good_tag, 0, name)
            add(tags.scrap_tag, 0, name)
            add(tags.state_tag, 1, name)
            add(tags.batch_tag, 3, name)
            add(tags.temperature_tag, 4, name)
        for buffer, tag in self._levels.items():
            add(tag, 2, buffer)
        # Of one time and kind the machines from the end of the line on: a part leaves before the next one comes.
        order = {name: -m for m, name in enumerate(self._shadow.machines)}
        return sorted(found, key=lambda event: (event.time_ns, event.order, order.get(event.name, 0)))

    def _take(self, event: _Event, intake: Intake) -> None:
        """What is news moves the shadow to its time and changes it there."""
        shadow, name, time_s = self._shadow, event.name, self._seconds(event.time_ns)
        if event.order == 4:
            if not _is_of_a_chamber(event.value):  # the lining would never be rid of it
                self.contradiction_count += 1
                return
            shadow.go_to(time_s)
            self._chambers[name].add(event.value - shadow.chamber_k(name))
            shadow.see_temperature(name, event.value)
        elif event.order == 3:
            shadow.go_to(time_s)
            shadow.see_batch(name, round(event.value))
        elif event.order == 2:
            level = round(event.value)
            if level != self._state.levels.get(name):
                shadow.go_to(time_s)
                shadow.see_level(name, level)
        elif event.order == 1:
            state = round(event.value)
            if state != self._state.seen[name].state:
                shadow.go_to(time_s)
                self._learned[name] = self._learned[name].saw_state(time_s, state)
                shadow.see_state(name, state)
        else:
            tags, seen = self._tags[name], self._state.seen[name]
            good = round(intake.before(tags.good_tag, event.time_ns).value)
            scrap = round(intake.before(tags.scrap_tag, event.time_ns).value) if tags.scrap_tag else 0
            if (good, scrap) == (seen.good, seen.scrap):
                return
            shadow.go_to(time_s)
            count = 0 if seen.made is None else good + scrap - seen.made
            if count > 0:
                cycles = 1 if shadow.machines[name].batch[1] > 1 else count
                self._learned[name] = self._learned[name].saw_parts(time_s, cycles)
            shadow.see_made(name, good, scrap)

    def roll_back(self, dt_s: float) -> None:
        """Undo the last step; its time is booked as not lived through, and what machines did in it as not seen."""
        self._shadow.state, learned, times = self._before
        self._learned = {name: known.lost_sight() for name, known in learned.items()}
        self._times = times.plus(dt_s, measured=False)
        self._step_j, self._heat_j, self._span_s = np.zeros_like(self._step_j), np.zeros_like(self._heat_j), 0.0
        self._keep()

    # ---- beside a network ----

    @property
    def heat_j(self) -> Array:
        """What its streams gave in the last step, (streams,)."""
        return self._heat_j

    def set_limit(self, utility: str, limit: float) -> None:
        """What a utility can give from the present moment on; unwatched machines stop if it is too little."""
        self._shadow.set_limit(utility, limit)

    # ---- what is published ----

    def write(self, intake: Intake, time_ns: int, columns: Columns) -> None:
        """Power and heat are means over the step."""
        readings = {tag: intake.before(tag, time_ns) for tag in self.required_tags}
        state, since_s = self._state, self._shadow.now_s - self._state.resynced_s
        everything = Writer(columns, time_ns, readings.values())
        for m, name in enumerate(self._shadow.machines):
            if name in self._tags:
                self._write_machine(columns, time_ns, readings, name, float(state.energy_j[m].sum()))
        for name, tag in self._levels.items():
            everything.measured(f"buffer/{name}/level", readings[tag])
        for buffer in self.site.factory.buffers:
            everything.own(f"buffer/{buffer.name}/level/twin", self._shadow.level(buffer.name), 1.0)
        for order in self.site.factory.orders:
            everything.own(f"order/{order.name}/left", self._shadow.order_left(order.name), 1.0)
        power_w = float(self._step_j.sum()) / self._span_s if self._span_s else float(self._shadow.power_w().sum())
        everything.own("power", power_w, METER_CLASS * power_w)
        everything.own("output", self._output(intake, time_ns), 1.0 / self.forecast_step_s)
        for k, stream in enumerate(self.site.heat):
            heat_w = float(self._heat_j[k]) / self._span_s if self._span_s else 0.0
            everything.own(f"heat/{stream.name}", heat_w, METER_CLASS * heat_w)
        total_j = float(state.energy_j.sum())
        gap_j = self._times.unmeasured_s * self._largest_w
        everything.own("energy", total_j, METER_CLASS * total_j + gap_j, settled=self._times.is_measured)
        everything.own("resyncs", state.resync_count, 0.0)
        everything.own("parted", float(since_s <= self.forecast_step_s), 0.0)

    def _write_machine(
        self, columns: Columns, time_ns: int, readings: dict[str, Reading], name: str, energy_j: float
    ) -> None:
        tags, learned, prefix = self._tags[name], self._learned[name], f"machine/{name}"
        mine = [readings[tag] for tag in tags.used]
        writer = Writer(columns, time_ns, mine)
        writer.measured(f"{prefix}/state", readings[tags.state_tag])
        writer.own(f"{prefix}/state/twin", PACKML[STATES[self._shadow.shown(name)]], 0.0)
        if tags.good_tag:
            writer.measured(f"{prefix}/good", readings[tags.good_tag])
            belief = learned.belief.cycle
            writer.own(f"{prefix}/cycle_time", belief.mean_s, _sd_of_cycle(belief))
        if tags.scrap_tag:
            writer.measured(f"{prefix}/scrap", readings[tags.scrap_tag])
        if tags.batch_tag:
            writer.measured(f"{prefix}/batch", readings[tags.batch_tag])
        if self._shadow.machines[name].batch[1] > 1:
            writer.own(f"{prefix}/batch/twin", self._shadow.load(name), 1.0)
        if self._shadow.machines[name].furnace is not None:
            error = self._chambers.get(name)
            sd_k = PRIOR_CHAMBER_SD_K if error is None else error.standard_deviation
            if tags.temperature_tag:
                writer.measured(f"{prefix}/temperature", readings[tags.temperature_tag])
            writer.own(f"{prefix}/temperature/twin", self._shadow.chamber_k(name), sd_k)
        if self._shadow.machines[name].failures:
            for signal, times in (
                ("time_to_failure", learned.belief.failure),
                ("time_to_repair", learned.belief.repair),
            ):
                writer.own(f"{prefix}/{signal}", times.mean_s, _sd_of_times(times))
        writer.own(f"{prefix}/drift", learned.drifted, 0.0)
        writer.own(f"{prefix}/energy", energy_j, METER_CLASS * energy_j, settled=self._times.is_measured)

    # ---- forecasts ----

    def project(self, intake: Intake, time_ns: int, step_s: float, count: int) -> NDArray[np.float64]:
        """Means of power and output over each step, over futures with the same random numbers every time."""
        plan, start = self._foreseen(), self._shadow.plan.copy(self._state.run)
        future = plan.initial_run()
        plan.restore(future, start.block)
        plan.forget(future)
        left_s = self._left_of_batches()
        plan.inject(future, machines=dict.fromkeys(left_s, "busy"), left_s=left_s)
        plan.clear_ledger(future)
        ends = [self._shadow.now_s + step_s * (k + 1) for k in range(count)]
        ledgers = plan.replicate(REPLICATIONS, ends, start=future)
        energy_j = np.array([ledger.energy_j.sum(axis=(1, 2)).mean() for ledger in ledgers])
        parts = np.array([ledger.output.mean() for ledger in ledgers])
        return np.stack([np.diff(energy_j, prepend=0.0), np.diff(parts, prepend=0.0)], axis=1) / step_s

    def _left_of_batches(self) -> dict[str, float]:
        """Seconds until the batches in work end, by the mean that was learned and the time that they were worked on."""
        found = {}
        for name, learned in self._learned.items():
            machine = self._shadow.machines[name]
            busy = learned.state in BUSY and STATES[self._shadow.shown(name)] == "busy"
            if not busy or (machine.batch[1] == 1 and machine.furnace is None) or not self._tags[name].good_tag:
                continue
            worked_s = learned.worked_s if math.isfinite(learned.worked_s) else 0.0
            found[name] = max(learned.belief.cycle.mean_s - worked_s, EMPTIED_S)
        return found

    def _foreseen(self) -> FactoryPlan:
        """The factory with what was learned."""
        machines = []
        for name, machine in self._shadow.machines.items():
            if machine.furnace is not None and name in self._learned and self._tags[name].good_tag:
                machine = burning_on(machine, max(machine.furnace.unload_s, EMPTIED_S))
            if name in self._learned:
                belief = self._learned[name].belief
                cycle = lognormal(belief.cycle.mean_s, max(belief.cycle.scv, 1e-9))
                machine = foreseen(machine, cycle, belief.failure.mean_s, belief.repair.mean_s)
            machines.append(machine)
        return FactoryPlan(replace(self.site.factory, machines=tuple(machines)))

    def observe(self, intake: Intake, time_ns: int) -> NDArray[np.float64]:
        """Power is not measured; output is what the counters of the last machines show."""
        return np.array([math.nan, self._output(intake, time_ns) if self._counts_output() else math.nan])

    def _last_machines(self) -> list[str]:
        """Machines whose parts leave the factory."""
        return [m.name for m in self.site.factory.machines if not m.gives]

    def _counts_output(self) -> bool:
        return all(name in self._tags and self._tags[name].good_tag for name in self._last_machines())

    def _output(self, intake: Intake, time_ns: int) -> float:
        """Good parts per second of the last machines over the last forecast step, as far as they are counted."""
        begin_ns = time_ns - round(self.forecast_step_s * NS_PER_S)
        parts = 0.0
        for name in self._last_machines():
            tag = self._tags[name].good_tag if name in self._tags else ""
            if tag:
                parts += intake.before(tag, time_ns).value - _before(intake, tag, begin_ns, time_ns)
        return max(parts, 0.0) / self.forecast_step_s


def _before(intake: Intake, tag: str, begin_ns: int, time_ns: int) -> float:
    """A counter at a time before; what it began with, where it was not known then."""
    value = intake.before(tag, begin_ns).value
    return value if math.isfinite(value) else intake.before(tag, time_ns).value


def _is_of_a_chamber(temp_k: float) -> bool:
    return CHAMBER_K[0] <= temp_k <= CHAMBER_K[1]


def _sd_of_cycle(belief: LognormalBelief) -> float:
    return belief.mean_s * math.sqrt(belief.log_variance / belief.worth)


def _sd_of_times(belief: ExponentialBelief) -> float:
    """Of the mean time; where few events make it infinite, the mean itself."""
    return belief.mean_s / math.sqrt(belief.events - 2.0) if belief.events > 2.5 else belief.mean_s


def _signals(site: FactorySite, watched: Sequence[str]) -> tuple[Signal, ...]:
    found: list[Signal] = []
    failing = {machine.name for machine in site.factory.machines if machine.failures}
    machines = {machine.name: machine for machine in site.factory.machines}
    for name in watched:
        tags, prefix = site.machine_tags[name], f"machine/{name}"
        found.append(Signal(f"{prefix}/state", "1", Source.MEASURED, state_names=PACKML_NAMES))
        found.append(Signal(f"{prefix}/state/twin", "1", Source.ESTIMATED, state_names=PACKML_NAMES))
        if tags.good_tag:
            found.append(Signal(f"{prefix}/good", "1", Source.MEASURED))
            found.append(Signal(f"{prefix}/cycle_time", "s", Source.ESTIMATED))
        if tags.scrap_tag:
            found.append(Signal(f"{prefix}/scrap", "1", Source.MEASURED))
        if name in failing:
            found += [
                Signal(f"{prefix}/{times}", "s", Source.ESTIMATED) for times in ("time_to_failure", "time_to_repair")
            ]
        machine = machines[name]
        if tags.batch_tag:
            found.append(Signal(f"{prefix}/batch", "1", Source.MEASURED))
        if machine.batch[1] > 1:
            compared = f"{prefix}/batch" if tags.batch_tag else ""
            found.append(Signal(f"{prefix}/batch/twin", "1", Source.ESTIMATED, compared_with=compared))
        if machine.furnace is not None:
            temperature = f"{prefix}/temperature"
            if tags.temperature_tag:
                found.append(Signal(temperature, "K", Source.MEASURED))
            compared = temperature if tags.temperature_tag else ""
            found.append(Signal(f"{temperature}/twin", "K", Source.ESTIMATED, compared_with=compared))
        found.append(Signal(f"{prefix}/drift", "1", Source.ESTIMATED, state_names=_DRIFT_NAMES))
        found.append(Signal(f"{prefix}/energy", "J", Source.LEDGER))
    for buffer in site.factory.buffers:
        twin = f"buffer/{buffer.name}/level/twin"
        if buffer.name in site.level_tags:
            found.append(Signal(f"buffer/{buffer.name}/level", "1", Source.MEASURED))
            found.append(Signal(twin, "1", Source.ESTIMATED, compared_with=f"buffer/{buffer.name}/level"))
        else:
            found.append(Signal(twin, "1", Source.ESTIMATED))
    found += [Signal(f"order/{order.name}/left", "1", Source.ESTIMATED) for order in site.factory.orders]
    found += [Signal("power", "W", Source.ESTIMATED), Signal("output", "1/s", Source.ESTIMATED)]
    found += [Signal(f"heat/{stream.name}", "W", Source.ESTIMATED) for stream in site.heat]
    found += [Signal("energy", "J", Source.LEDGER), Signal("resyncs", "1", Source.LEDGER)]
    found.append(Signal("parted", "1", Source.ESTIMATED, state_names={0: "in step", 1: "parted"}))
    return tuple(found)
