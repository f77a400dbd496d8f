"""Follows a factory: PackML states and counters in; states, parts, power, heat and what is learned out.

Every sample is taken in at its own time (`shadow.py`), so the step only says how often a state is published. What is
not watched is predicted. `resyncs` counts how often observation and prediction had parted and were brought together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
from uem.twin_core.follow.seen import BUSY, ShadowState
from uem.twin_core.follow.shadow import Shadow
from uem.twin_core.follow.watched import burning_on, foreseen
from uem.twin_core.follow.writer import Writer
from uem.twin_core.measurements import NS_PER_S, is_good
from uem.twin_core.plant.factory import FactorySite, slots_apart
from uem.twin_core.plant.production import lognormal
from uem.twin_core.production.indicators import PACKML, PackML
from uem.twin_core.production.learning import ExponentialBelief, LognormalBelief
from uem.twin_core.production.plan import STATES, FactoryPlan, FactoryRun, Ledger
from uem.twin_core.state import Columns, Signal, Source

Array = NDArray[np.float64]

REPLICATIONS = 32  # of a forecast
FURNACE_REPLICATIONS = 8  # where there are furnaces, which cost more and go by their recipes
METER_PART = 0.02  # of heat and power that a meter may be wrong by: class 2 of EN 1434
COUNTED_PARTS = 0.5  # that a count of a span may be off by, since parts are whole
# Measured power and heat over those of the file in the states seen are compared for about so long.
GAIN_S = 86_400.0
LEAST_GAIN, MOST_GAIN = 0.5, 2.0
PRIOR_CHAMBER_SD_K = 10.0  # of a furnace until residuals tell
CHAMBER_K = (223.15, 2273.15)  # that a sample of a chamber can be; furnaces of files end at 1,500 degC
EMPTIED_S = 1.0  # least time that a batch in work is given to its end
METER_CLASS = 0.1  # part of an energy from a table of powers that may be wrong
METERED_CLASS = 0.02  # of one that a meter tells, class 2 of EN 50470
SILENT_CYCLES = 3.0  # of the slowest machine: after them a value is stale
PAST_STEP_S = 60.0  # each count has its own time, whatever the step
METERED_WAIT_S = 2.0  # where every machine has a meter: what is told beside it comes with the next sample
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


def is_watched(site: FactorySite) -> bool:
    """Whether any of its machines tells what it does."""
    return any(tags.state_tag for tags in site.machine_tags.values())


class FactoryFollower:
    """A shadow of the factory and what is learned of its machines."""

    forecast_band = "band: how far these futures part, by factors learned from past forecasts at the same lead"
    forecast_fresh_s = 0.0

    def __init__(self, site: FactorySite, sensors: Mapping[str, str] | None = None) -> None:
        """`sensors`: tag by the signal that it measures; of them, those of heat are looked at.

        InvalidInput where no machine has a state_tag.
        """
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
        meters = [(sensors or {}).get(f"heat/{self.name}/{stream.name}/produced", "") for stream in site.heat]
        self._heat_tags = tuple(meters)  # of each stream, empty where there is no meter
        self.optional_tags: Sequence[str] = (*filter(None, meters),)
        self.discrete_tags: Mapping[str, Sequence[str]] = dict.fromkeys(self._levels.values(), ())
        for tags in self._tags.values():
            gauges = [tag for tag in (tags.power_tag, tags.temperature_tag) if tag]
            self.discrete_tags |= dict.fromkeys((tag for tag in tags.used if tag not in gauges), gauges)
        self.step_s = site.step_s
        self.forecast_horizon_s, self.forecast_step_s = site.forecast_horizon_s, site.forecast_step_s
        longest_s = max(self._shadow.machines[name].cycle.mean for name in self._shadow.watched)
        stale_s = max(PATIENCE.stale_s, SILENT_CYCLES * longest_s)  # a batch is told when it begins and when it ends
        self.is_metered = all(name in self._tags and self._tags[name].power_tag for name in self._shadow.machines)
        wait_s = METERED_WAIT_S if self.is_metered else PATIENCE.wait_s
        self.patience = replace(
            PATIENCE, memory_s=site.forecast_step_s, stale_s=stale_s, wait_s=wait_s, holds=self.is_metered
        )
        self.past_step_s = PAST_STEP_S if self.is_metered else 0.0
        gauges = [tag for tags in self._tags.values() for tag in (tags.power_tag, tags.temperature_tag)]
        self.meter_tags: Sequence[str] = (*filter(None, (*gauges, *meters)),)
        self.signals = _signals(site, self._shadow.watched)
        largest_w = sum(
            machine.slots * max([0.0, *machine.power_w.values()])
            + (machine.furnace.power_w if machine.furnace else 0.0)
            for machine in site.factory.machines
        )
        self._largest_w = max(largest_w, 1.0)
        named = {signal.name: signal for signal in self.signals}
        forecast = ("power", "output", *(f"heat/{stream.name}" for stream in site.heat))
        self.forecast_signals: tuple[ForecastSignal, ...] = tuple(
            ForecastSignal(signal=named[name], prior_sd=1.0, low=0.0) for name in forecast
        )
        with_furnace = any(machine.furnace is not None for machine in site.factory.machines)
        self._replications = FURNACE_REPLICATIONS if with_furnace else REPLICATIONS
        self.forecast_method = (
            f"Mean of {self._replications} simulated futures of the present state with shifts, orders, and learned "
            f"cycle, failure and repair times; power and heat by what meters showed of them in the last day"
        )

    @property
    def _state(self) -> ShadowState:
        return self._shadow.state

    # ---- what takes days to learn ----

    @property
    def learned_of(self) -> str:
        """See Learner: what the file says of the machines is what drift is told against."""
        return repr({name: self._prior(name) for name in self._tags})

    def learned(self) -> dict[str, Array]:
        """See Learner: of each watched machine."""
        return {f"machine/{name}": known.numbers() for name, known in self._learned.items()}

    def recall(self, arrays: Mapping[str, Array], time_ns: int) -> None:
        """See Learner."""
        self._learned |= {
            name: (self._learned.get(name) or self._prior(name)).knowing(arrays.get(f"machine/{name}", np.empty(0)))
            for name in self._tags
        }

    def _prior(self, name: str) -> Learned:
        return Learned.from_prior(self._shadow.machines[name], self.site.prior_worth)

    # ---- time ----

    def _seconds(self, time_ns: int) -> float:
        """Plant time in the time of the calendars, as small as it can be."""
        return (time_ns - self._origin_ns) / NS_PER_S

    def start(self, intake: Intake, time_ns: int) -> None:
        """Begin with what is measured; buffers without a tag as the file says."""
        self._origin_ns = self.site.period_begin_ns(time_ns)
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
            if tags.power_tag:
                self._shadow.see_power(name, intake.before(tags.power_tag, time_ns).value)
            if tags.batch_tag:
                self._shadow.begin_with_batch(name, number(tags.batch_tag))
            if tags.temperature_tag:
                temp_k = intake.before(tags.temperature_tag, time_ns).value
                if _is_of_a_chamber(temp_k):
                    self._shadow.begin_at_temperature(name, temp_k)
        for name, state in states.items():  # what was learned before the plant's time jumped stays
            known = self._learned.get(name) or self._prior(name)
            self._learned[name] = replace(known.lost_sight(), since_s=begin_s).saw_state(begin_s, state)
        self._times = LedgerTime()
        self._compared_at = begin_s, 0.0, self._state.believed_j.copy()
        # Of power and each stream: measured, and as the file tells of the states seen; forgotten in about a day.
        self._compared_j = np.zeros((2, 1 + len(self.site.heat)))
        self._step_j = self._state.energy_j.copy()
        self._heat_j = self._state.heat_j.copy()
        self._span_s = 0.0
        self._keep()

    def _keep(self) -> None:
        compared = self._compared_at, self._compared_j  # new ones take their place
        self._before = (self._state.copy(self._shadow.plan), dict(self._learned), self._times, compared)

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
        self._compare(intake, begin_ns, end_ns)
        good = all(is_good(intake.before(tags.state_tag, end_ns).quality) for tags in self._tags.values())
        self._times = self._times.plus(self._span_s, measured=good)

    def _compare(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """Hold what meters showed in a forecast step against what the file tells of the states that were seen in it."""
        every_ns = round(self.forecast_step_s * NS_PER_S)
        if end_ns // every_ns == begin_ns // every_ns:
            return
        state, (then_s, energy_j, believed_j) = self._state, self._compared_at
        span_s, now_j = self._shadow.now_s - then_s, float(state.energy_j.sum())
        self._compared_at = self._shadow.now_s, now_j, state.believed_j.copy()
        power_j = now_j - energy_j if self.is_metered else math.nan
        told_j = np.array([[power_j, *self._metered_w(intake, end_ns) * span_s], state.believed_j - believed_j])
        keep = math.exp(-span_s / GAIN_S)
        self._compared_j = np.where(np.isfinite(told_j[0]), keep * self._compared_j + told_j, self._compared_j)

    def _metered_w(self, intake: Intake, time_ns: int) -> Array:
        """Mean heat of each stream over the last forecast step by its meter; NaN without one that is good."""
        found = [
            intake.mean(tag, time_ns) if tag and is_good(intake.before(tag, time_ns).quality) else math.nan
            for tag in self._heat_tags
        ]
        return np.array(found)

    @property
    def _gain(self) -> Array:
        """Of power and each stream: measured over what the file tells, in about a day; 1 where nothing is compared."""
        measured_j, believed_j = self._compared_j
        gain = np.divide(measured_j, believed_j, out=np.ones_like(believed_j), where=believed_j > 0.0)
        return np.clip(gain, LEAST_GAIN, MOST_GAIN)

    def _events(self, intake: Intake, begin_ns: int, end_ns: int) -> list[_Event]:
        found: list[_Event] = []

        def add(tag: str, order: int, name: str) -> None:
            found.extend(
                _Event(sample.measured_ns, order, name, sample.value)
                for sample in (intake.samples(tag, begin_ns, end_ns) if tag else ())
            )

        for name, tags in self._tags.items():
            add(tags.power_tag, -1, name)
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
        if event.order == -1:
            shadow.see_power(name, event.value)
        elif event.order == 4:
            if not _is_of_a_chamber(event.value):  # the lining would never be rid of it
                self.contradiction_count += 1
                return
            shadow.go_to(time_s)
            self._chambers[name].add(shadow.see_temperature(name, event.value))
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
        self._shadow.state, learned, times, (self._compared_at, self._compared_j) = self._before
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
        machines = self._shadow.machines
        for m, name in enumerate(machines):
            if name in self._tags:
                self._write_machine(columns, time_ns, readings, name, float(state.energy_j[m].sum()))
        for name, tag in self._levels.items():
            everything.measured(f"buffer/{name}/level", readings[tag])
        for buffer in self.site.factory.buffers:
            everything.own(f"buffer/{buffer.name}/level/twin", self._shadow.level(buffer.name), 1.0)
        for order in self.site.factory.orders:
            everything.own(f"order/{order.name}/left", self._shadow.order_left(order.name), 1.0)
        power_w = float(self._step_j.sum()) / self._span_s if self._span_s else float(self._shadow.power_w().sum())
        everything.own("power", power_w, max(map(self._meter_class, machines)) * power_w)
        counts = self._times.total_s >= self.forecast_step_s
        everything.own("output", self._output(intake, time_ns), 1.0 / self._counted_s, settled=counts)
        for k, stream in enumerate(self.site.heat):
            heat_w = float(self._heat_j[k]) / self._span_s if self._span_s else 0.0
            everything.own(f"heat/{stream.name}", heat_w, METER_CLASS * heat_w)
        total_j = float(state.energy_j.sum())
        gap_j = self._times.unmeasured_s * self._largest_w
        unsure_j = sum(self._meter_class(name) * float(state.energy_j[m].sum()) for m, name in enumerate(machines))
        everything.own("energy", total_j, unsure_j + gap_j, settled=self._times.is_measured)
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
        if tags.power_tag:
            writer.measured(f"{prefix}/power", readings[tags.power_tag])
        writer.own(f"{prefix}/energy", energy_j, self._meter_class(name) * energy_j, settled=self._times.is_measured)

    def _meter_class(self, machine: str) -> float:
        """Part of its electricity that may be wrong."""
        return METERED_CLASS if machine in self._tags and self._tags[machine].power_tag else METER_CLASS

    # ---- forecasts ----

    def hear(self, asset: str, signal: str, valid_ns: NDArray[np.int64], values: Array) -> bool:
        """Nothing of others is of interest here."""
        return False

    def project(self, intake: Intake, time_ns: int, step_s: float, count: int) -> NDArray[np.float64]:
        """Means of power, output and heat over each step, over futures with the same random numbers every time."""
        return self.fork(intake, time_ns, step_s, count)()[0]

    def fork(self, intake: Intake, time_ns: int, step_s: float, count: int) -> Callable[[], tuple[Array, Array]]:
        """See ForkingFollower."""
        plan, start = self._foreseen(), self._shadow.plan.copy(self._state.run)
        future = plan.initial_run()
        plan.restore(future, start.block)
        plan.forget(future)
        left_s = self._left_of_batches()
        plan.inject(future, machines=dict.fromkeys(left_s, "busy"), left_s=left_s)
        for name in left_s:
            if self._was_found_burning(name):
                plan.lead_on(future, name)
        plan.clear_ledger(future)
        ends = [self._shadow.now_s + step_s * (k + 1) for k in range(count)]
        before = self._totals(plan.ledger(future))  # its furnaces have burned before
        return partial(self._futures, plan, future, ends, before, self._gain.copy(), step_s)

    def _futures(
        self, plan: FactoryPlan, start: FactoryRun, ends: list[float], before: Array, gain: Array, step_s: float
    ) -> tuple[Array, Array]:
        """Mean and spread of the rates of all futures; of this object only what never changes is used."""
        count, ledgers = len(ends), plan.chunks(self._replications, ends, start=start)
        totals = np.concatenate([self._totals(ledger).reshape(-1, count, before.shape[1]) for ledger in ledgers])
        rates = np.diff(totals, axis=1, prepend=np.broadcast_to(before, totals[:, :1].shape)).swapaxes(0, 1) / step_s
        rates[..., [0, *range(2, rates.shape[-1])]] *= gain
        mean = rates.mean(axis=1)
        least = METER_PART * mean
        least[:, 1] = np.where(mean[:, 1] > 0.0, COUNTED_PARTS / step_s, 0.0)
        return mean, np.hypot(rates.std(axis=1, ddof=1), least)

    def _totals(self, ledger: Ledger) -> Array:
        """Energy, parts and heat of the streams since the ledger began, (replications, forecast signals)."""
        energy_j = ledger.energy_j.sum(axis=(1, 2))
        return np.column_stack([energy_j, ledger.output, self._shadow.meter.totals_j(ledger)])

    def _left_of_batches(self) -> dict[str, float]:
        """Seconds until the batches in work end, by the mean that was learned and the time that they were worked on."""
        found = {}
        for name, learned in self._learned.items():
            machine = self._shadow.machines[name]
            busy = learned.state in BUSY and STATES[self._shadow.shown(name)] == "busy"
            if not busy or (machine.batch[1] == 1 and machine.furnace is None) or not self._tags[name].good_tag:
                continue
            worked_s = learned.worked_s if math.isfinite(learned.worked_s) else 0.0
            if self._was_found_burning(name):
                worked_s = self._shadow.recipe_s(name)
            found[name] = max(learned.belief.cycle.mean_s - worked_s, EMPTIED_S)
        return found

    def _was_found_burning(self, name: str) -> bool:
        """Whether a furnace has a batch whose beginning nobody saw, and a chamber that is measured."""
        has_chamber = self._shadow.machines[name].furnace is not None and bool(self._tags[name].temperature_tag)
        return has_chamber and math.isnan(self._learned[name].worked_s)

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
        """Power where all machines have meters, output as the counters of the last machines show, heat as meters do."""
        meters = [tags.power_tag for tags in self._tags.values()]
        power_w = sum(intake.mean(tag, time_ns) for tag in meters) if self.is_metered else math.nan
        output = self._output(intake, time_ns) if self._counts_output() else math.nan
        return np.array([power_w, output, *self._metered_w(intake, time_ns)])

    def _last_machines(self) -> list[str]:
        """Machines whose parts leave the factory."""
        return [m.name for m in self.site.factory.machines if not m.gives]

    def _counts_output(self) -> bool:
        return all(name in self._tags and self._tags[name].good_tag for name in self._last_machines())

    @property
    def _counted_s(self) -> float:
        """For how long of the last forecast step parts were counted: less at the beginning."""
        return min(max(self._times.total_s, self.step_s), self.forecast_step_s)

    def _output(self, intake: Intake, time_ns: int) -> float:
        """Good parts per second of the last machines over the last forecast step, as far as they are counted."""
        begin_ns = time_ns - round(self._counted_s * NS_PER_S)
        parts = 0.0
        for name in self._last_machines():
            tag = self._tags[name].good_tag if name in self._tags else ""
            if tag:
                parts += intake.before(tag, time_ns).value - _before(intake, tag, begin_ns, time_ns)
        return max(parts, 0.0) / self._counted_s


def _before(intake: Intake, tag: str, begin_ns: int, time_ns: int) -> float:
    """A counter at a time before; as it is now, where it was not known then."""
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
        if tags.power_tag:
            found.append(Signal(f"{prefix}/power", "W", Source.MEASURED))
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
