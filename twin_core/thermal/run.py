"""Many steps of a network at once: what changes from step to step, and what is kept of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.errors import InvalidInput, UnknownName

Array = NDArray[np.float64]
# Array of the inputs, columns of commands or None for all rows, and values (steps, things or 1, members or 1).
Courses = list[tuple[int, tuple[int, ...] | None, Array]]
# Array of the state and row of it.
Columns = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where values of a name belong: an array, rows of it (all: None), and what they are of."""

    array: int
    rows: tuple[int, ...]
    things: tuple[str, ...]


class Records:
    """What a run keeps: `records[name]` is (kept steps, things asked for, members), of the network (kept, members).

    It is what the state tells after these steps: means or sums over one step, pressures at its end. Not a number where
    a member has not come to, because it failed. `step` (kept,): number of each kept step, from 1 on.
    """

    def __init__(self, slots: Mapping[str, Slot], steps: int, every: int, members: int) -> None:
        """Made by `NetworkPlan.records`."""
        self.steps: Final = steps
        self.step: Final = np.arange(every, steps + 1, every)
        self.things: Final = {name: slot.things for name, slot in slots.items()}
        self._slots: Final = dict(slots)
        self._out: Final = np.full((len(self.step), sum(len(s.rows) for s in slots.values()), members), np.nan)
        self._place: Final = np.full(steps, -1, dtype=np.intp)
        if slots:
            self._place[self.step - 1] = np.arange(len(self.step))
        self._columns: Final[Columns] = [(slot.array, row) for slot in slots.values() for row in slot.rows]

    def __getitem__(self, name: str) -> Array:
        first = 0
        for other, slot in self._slots.items():
            if other == name:
                found = self._out[:, first : first + len(slot.rows)]
                return found if slot.things else found[:, 0]
            first += len(slot.rows)
        raise UnknownName("record", name, self._slots)

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)


def chosen(name: str, slot: Slot, names: Sequence[str] | None) -> Slot:
    """The part of a slot that is about some things."""
    if names is None:
        return slot
    index = dict(zip(slot.things, slot.rows, strict=False))
    for one in names:
        if one not in index:
            raise UnknownName(name, one, index)
    return Slot(slot.array, tuple(index[one] for one in names), tuple(names))


def courses(
    slots: Mapping[str, Slot],
    bounds: Sequence[tuple[float, float]],
    given: Mapping[str, ArrayLike],
    steps: int,
    members: int,
) -> Courses:
    """Values by step as the kernel takes them: (array, columns or None, (steps, things or 1, members or 1)).

    Raises:
        UnknownName, InvalidInput: no such input, another shape, or a value out of range.
    """
    found: Courses = []
    for name, series in given.items():
        slot = slots.get(name)
        if slot is None:
            raise UnknownName("input", name, slots)
        low, high = bounds[slot.array]
        values = _steps_things_members(name, series, steps, max(len(slot.things), 1), members, bool(slot.things))
        if not (values.min(initial=high) >= low and values.max(initial=low) <= high):
            wrong = np.argwhere(~((values >= low) & (values <= high)))[0].tolist()
            raise InvalidInput(
                f"input {name}: {values[tuple(wrong)]} in step {wrong[0] + 1}; {low:g} to {high:g} is allowed"
            )
        found.append((slot.array, slot.rows or None, values))
    return found


def _steps_things_members(
    name: str, series: ArrayLike, steps: int, things: int, members: int, has_things: bool
) -> Array:
    """A series (steps,), (steps, things) or (steps, things, members), of the network (steps,) or (steps, members)."""
    values = np.asarray(series, dtype=np.float64)
    shape = values.shape
    if not has_things and values.ndim == 2:
        values = values[:, None, :]
    else:
        values = values.reshape(shape + (1,) * (3 - values.ndim)) if values.ndim in (1, 2, 3) else values
    fits = values.ndim == 3 and len(values) == steps and values.shape[1] in (1, things)
    if not (fits and values.shape[2] in (1, members)):
        wanted = f"({steps}, {things}, {members})" if has_things else f"({steps}, {members})"
        raise InvalidInput(f"input {name}: a series of shape {shape}; {wanted} or less at the end is needed")
    return np.ascontiguousarray(values)
