"""What is seen of a factory, and all that its shadow changes."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.production.indicators import PackML
from uem.twin_core.production.plan import FactoryPlan, FactoryRun

Array = NDArray[np.float64]

BUSY = (PackML.EXECUTE, PackML.COMPLETING)
DOWN = (PackML.ABORTING, PackML.ABORTED, PackML.CLEARING)
WAITING = (PackML.SUSPENDING, PackML.SUSPENDED, PackML.UNSUSPENDING, PackML.COMPLETE, PackML.IDLE)
# What a machine that is seen in a state counts as, where the prediction has another one.
COUNTS_AS = {
    PackML.EXECUTE: "busy",
    PackML.COMPLETING: "busy",
    PackML.COMPLETE: "starved",
    PackML.SUSPENDING: "starved",
    PackML.SUSPENDED: "starved",
    PackML.UNSUSPENDING: "starved",
    PackML.IDLE: "sleeping",
    PackML.HOLDING: "maintenance",
    PackML.HELD: "maintenance",
    PackML.UNHOLDING: "maintenance",
    PackML.ABORTING: "down",
    PackML.ABORTED: "waiting_for_crew",
    PackML.CLEARING: "down",
    PackML.RESETTING: "setup",
    PackML.STARTING: "warming_up",
}


def group(number: int) -> str:
    """What a PackML state asks of the prediction."""
    if number in BUSY:
        return "busy"
    return "waiting" if number in WAITING else "down" if number in DOWN else "stopped"


@dataclass(slots=True)
class Seen:
    """What was last seen of a machine."""

    state: int | None = None
    good: int | None = None
    scrap: int = 0
    left_s: float | None = None  # of the part that it held when it went down
    parted_s: float | None = None  # since when its state is another one than predicted
    power_w: float | None = None  # electricity, as its meter told; None: that of its state

    def copy(self) -> "Seen":
        """By itself from here on; `replace` would take ten times as long, and every step keeps a copy of each."""
        return Seen(self.state, self.good, self.scrap, self.left_s, self.parted_s, self.power_w)

    @property
    def made(self) -> int | None:
        """Parts counted, scrap included; None as long as there is no counter."""
        return None if self.good is None else self.good + self.scrap


@dataclass(slots=True)
class ShadowState:
    """All that changes; a copy of it goes on alike."""

    run: FactoryRun
    seen: dict[str, Seen]
    levels: dict[str, int] = field(default_factory=dict)  # seen, by buffer
    level_offset: dict[str, int] = field(default_factory=dict)  # level minus what counters say came and went
    resync_count: int = 0
    resynced_s: float = -math.inf
    energy_j: Array = field(default_factory=lambda: np.zeros((0, 0)))
    heat_j: Array = field(default_factory=lambda: np.zeros(0))  # by stream, as long as the shadow runs
    # Energy in all and heat by stream, as the file tells of the states seen, whatever meters show.
    believed_j: Array = field(default_factory=lambda: np.zeros(1))

    def copy(self, plan: FactoryPlan) -> "ShadowState":
        """A fork."""
        return replace(
            self,
            run=plan.copy(self.run),
            seen={name: seen.copy() for name, seen in self.seen.items()},
            levels=dict(self.levels),
            level_offset=dict(self.level_offset),
            energy_j=self.energy_j.copy(),
            heat_j=self.heat_j.copy(),
            believed_j=self.believed_j.copy(),
        )
