"""Units of an energy plant and its customers: what takes water in at one node and gives it back at another."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What every unit has: water enters at node `start` and leaves at node `end` (some may run the other way too)."""

    name: str
    start: str
    end: str
