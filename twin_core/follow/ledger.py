"""How much of a ledger's time rests on measurements.

Time in which a measurement behind a ledger was held, and time that the model did not live through since its step
failed, counts as unmeasured: the ledger may be off by as much as the asset could have turned over in it.
"""

from typing import NamedTuple

UNMEASURED_SHARE = 0.01  # of a ledger's time: beyond it the ledger is Uncertain


class LedgerTime(NamedTuple):
    """Seconds of plant time since a ledger began, and those of them that were not measured."""

    total_s: float = 0.0
    unmeasured_s: float = 0.0

    def plus(self, dt_s: float, *, measured: bool) -> "LedgerTime":
        """After a step of `dt_s`."""
        return LedgerTime(self.total_s + dt_s, self.unmeasured_s + (0.0 if measured else dt_s))

    @property
    def is_measured(self) -> bool:
        """Whether no more than `UNMEASURED_SHARE` is missing."""
        return self.unmeasured_s <= UNMEASURED_SHARE * self.total_s
