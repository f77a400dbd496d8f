"""What is learned of a watched machine: time to failure, time to repair, cycle time; alarms when they drift.

States are told as they change, counters as they count. The busy time between two counts is a cycle; the busy time
between two failures ages the machine; a repair lasts from the failure until the machine is in order again, without the
wait for a crew where the machine tells that (Aborted, then Clearing).
"""

import math
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.follow.seen import BUSY, DOWN
from uem.twin_core.plant.production import Machine
from uem.twin_core.production.indicators import PackML
from uem.twin_core.production.learning import DriftAlarm, ExponentialBelief, LognormalBelief, MachineBelief, Spell

MEMORY = 200.0  # observations that a belief is worth at most
WORTH_AFTER_DRIFT = 3.0
LEAST_CYCLE_SCV = 1e-4
LEAST_LOG_SD = 0.05  # of cycle times, for the alarm: what clocks and hands scatter
CYCLE_FACTOR = 1.15
TIMES_FACTOR = 2.0
CYCLES_BETWEEN_FALSE_ALARMS = 1e5
NO_FAILURE_S = 1e9  # the prior of a machine that is not known to fail
NO_REPAIR_S = 600.0
DRIFTS = ("cycle time", "time to failure", "time to repair")
_FIELDS = ("cycle", "failure", "repair")  # of a belief, likewise
_NUMBERS = 15


@dataclass(frozen=True, slots=True)
class Learned:
    """Beliefs, alarms and what has been seen of the spell that goes on."""

    belief: MachineBelief
    alarms: tuple[DriftAlarm, ...]  # as DRIFTS
    state: int | None = None
    since_s: float = 0.0
    worked_s: float = 0.0  # since the last part was counted; NaN: not all of it was seen
    aged_s: float = 0.0  # since the last failure
    repaired_s: float = 0.0
    waited_s: float = 0.0

    @classmethod
    def from_prior(cls, machine: Machine, worth: float) -> "Learned":
        """What the file says, worth so many observations."""
        sudden = [f for f in machine.failures if f.kind in ("operating", "calendar")]
        rate = sum(1.0 / f.to_fail.mean for f in sudden)
        to_fail_s = 1.0 / rate if rate > 0 else NO_FAILURE_S
        to_repair_s = sum(f.to_repair.mean / f.to_fail.mean for f in sudden) / rate if rate > 0 else NO_REPAIR_S
        belief = MachineBelief(
            failure=ExponentialBelief.from_mean(to_fail_s, worth),
            repair=ExponentialBelief.from_mean(to_repair_s, worth),
            cycle=LognormalBelief.from_mean(machine.cycle.mean, max(machine.cycle.scv, LEAST_CYCLE_SCV), worth),
        )
        sd = max(math.sqrt(belief.cycle.log_variance), LEAST_LOG_SD)
        alarms = (
            DriftAlarm(
                mean_s=belief.cycle.mean_s,
                log_sd=sd,
                factor=CYCLE_FACTOR,
                events_between_false_alarms=CYCLES_BETWEEN_FALSE_ALARMS,
            ),
            DriftAlarm.of_exponential(belief.failure, factor=TIMES_FACTOR),
            DriftAlarm.of_exponential(belief.repair, factor=TIMES_FACTOR),
        )
        return cls(belief, alarms, worked_s=math.nan)

    @property
    def drifted(self) -> int:
        """The alarms that are given, bit by bit in the order of DRIFTS; they stay."""
        return sum(1 << k for k, alarm in enumerate(self.alarms) if alarm.drifted)

    def at(self, time_s: float) -> "Learned":
        """With the time of the present spell booked until `time_s`."""
        dt_s = time_s - self.since_s
        if self.state is None or dt_s <= 0.0:
            return replace(self, since_s=time_s)
        if self.state in BUSY:
            belief = self.belief.after([Spell("busy", dt_s)])
            return replace(
                self, belief=belief, since_s=time_s, worked_s=self.worked_s + dt_s, aged_s=self.aged_s + dt_s
            )
        if self.state == PackML.CLEARING:
            return replace(self, since_s=time_s, repaired_s=self.repaired_s + dt_s)
        if self.state in DOWN:
            return replace(self, since_s=time_s, waited_s=self.waited_s + dt_s)
        return replace(self, since_s=time_s)

    def saw_state(self, time_s: float, state: int) -> "Learned":
        """The machine went into a state."""
        told = self.at(time_s)
        was_down = told.state in DOWN if told.state is not None else state in DOWN
        if state in DOWN and not was_down:
            told = replace(told._judged(1, told.aged_s), aged_s=0.0, repaired_s=0.0, waited_s=0.0)
        elif was_down and state not in DOWN and told.state is not None:
            told = told._repaired()
        return replace(told, state=state)

    def saw_parts(self, time_s: float, count: int) -> "Learned":
        """So many parts were counted; only a single one tells its cycle."""
        told = self.at(time_s)
        if count == 1 and told.worked_s > 0.0:
            belief = told.belief.after([], [told.worked_s]).faded(MEMORY)
            told = replace(told, belief=belief)._judged(0, told.worked_s)
        return replace(told, worked_s=0.0)

    def lost_sight(self) -> "Learned":
        """What the machine did is not known for a while: the spell and the cycle that go on tell nothing."""
        return replace(self, state=None, worked_s=math.nan, aged_s=0.0, repaired_s=0.0, waited_s=0.0)

    def numbers(self) -> NDArray[np.float64]:
        """What takes days to learn, (15,): beliefs, the sums of the alarms and how long the machine has aged.

        NaN for an alarm that is given: whether it still is, the newest past tells by itself.
        """
        belief = [number for field in _FIELDS for number in astuple(getattr(self.belief, field))]
        sums = [(math.nan, math.nan) if alarm.drifted else (alarm.longer, alarm.shorter) for alarm in self.alarms]
        return np.array([*belief, *np.ravel(sums), self.aged_s])

    def knowing(self, numbers: NDArray[np.float64]) -> "Learned":
        """The same spell of the same machine with other `numbers`; InvalidInput when they cannot be."""
        if numbers.shape != (_NUMBERS,) or not (numbers[-1] >= 0.0 and np.isfinite(numbers[[*range(8), -1]]).all()):
            raise InvalidInput(f"{numbers.tolist()[:_NUMBERS]}: not what was learned of a machine")
        known = iter(numbers.tolist())
        beliefs = ((name, getattr(self.belief, name)) for name in _FIELDS)
        told = {name: replace(one, **{each.name: next(known) for each in fields(one)}) for name, one in beliefs}
        sums = [(next(known), next(known)) for _ in self.alarms]
        alarms = tuple(
            replace(alarm, longer=longer, shorter=shorter) if longer >= 0.0 and shorter >= 0.0 else alarm
            for alarm, (longer, shorter) in zip(self.alarms, sums, strict=True)
        )
        return replace(self, belief=MachineBelief(**told), alarms=alarms, aged_s=next(known))

    def _repaired(self) -> "Learned":
        seconds = self.repaired_s if self.repaired_s > 0.0 else self.waited_s
        belief = self.belief.after([Spell("down", seconds)]).faded(MEMORY)
        return replace(self, belief=belief, repaired_s=0.0, waited_s=0.0)._judged(2, seconds)

    def _judged(self, which: int, seconds: float) -> "Learned":
        """The alarm with one more time; what was learned before a drift counts little from then on."""
        before = self.alarms[which]
        if before.drifted:
            return self
        after = before.after([seconds])
        alarms = tuple(after if k == which else alarm for k, alarm in enumerate(self.alarms))
        belief = self.belief
        if after.drifted:
            forgotten = getattr(belief, _FIELDS[which]).faded(WORTH_AFTER_DRIFT)
            belief = replace(belief, **{_FIELDS[which]: forgotten})
        return replace(self, belief=belief, alarms=alarms)
