"""Levels of buffers as counters tell them: what came in less what went out.

What was in a buffer at the beginning need not be known: it follows from limits, and from who waits.
"""

from collections.abc import Callable, Iterator

from uem.twin_core.follow.seen import BUSY, DOWN, WAITING, ShadowState
from uem.twin_core.plant.factory import FactorySite
from uem.twin_core.plant.production import OUT, Machine, flows


class CountedLevels:
    """Reckons from what a `ShadowState` has seen; its `level_offset` is what counters do not tell of a level."""

    def __init__(self, site: FactorySite, load: Callable[[str], int], level: Callable[[str], int]) -> None:
        """As predicted, `load`: parts on a machine, `level`: parts in a buffer."""
        self._machines = {machine.name: machine for machine in site.factory.machines}
        self._capacity = {buffer.name: buffer.capacity for buffer in site.factory.buffers}
        self._load, self._level = load, level

    def clipped(self, buffer: str, level: int) -> int:
        """As many parts as the buffer can hold."""
        capacity = self._capacity[buffer]
        return max(0, level if capacity is None else min(level, capacity))

    def begin(self, state: ShadowState, known: dict[str, int]) -> None:
        """Counters tell what goes on from these levels, of buffers all of whose neighbours count."""
        state.level_offset = {b: level - self._came(state, b) for b, level in known.items() if self._tells(state, b)}

    def level(self, state: ShadowState, buffer: str) -> int:
        """Of a buffer that has an offset."""
        return self.clipped(buffer, state.level_offset[buffer] + self._came(state, buffer))

    def begin_anew(self, state: ShadowState) -> None:
        """A counter began anew: levels stay as they are."""
        for buffer in state.level_offset:
            state.level_offset[buffer] = self._level(buffer) - self._came(state, buffer)

    def correct(self, state: ShadowState) -> None:
        """What was there at the beginning, as limits and those who wait now tell."""
        offset = state.level_offset
        for buffer in offset:
            level = offset[buffer] + self._came(state, buffer)
            offset[buffer] += self.clipped(buffer, level) - level
        for name, seen in state.seen.items():
            if seen.state not in WAITING:
                continue
            takes = [flow for flow in flows(self._machines[name].takes) if flow.buffer in offset]
            if len(takes) != 1 or self._must_be_blocked(state, name):
                continue
            level = self.level(state, takes[0].buffer)
            offset[takes[0].buffer] -= max(level - (takes[0].amount - 1), 0)

    def _neighbours(self, buffer: str) -> Iterator[tuple[Machine, int]]:
        """Machines at a buffer, with what one part of theirs adds to it."""
        for machine in self._machines.values():
            for flow in flows(machine.gives):
                if flow.buffer == buffer:
                    yield machine, flow.amount
            for flow in flows(machine.takes):
                if flow.buffer == buffer:
                    yield machine, -flow.amount

    def _tells(self, state: ShadowState, buffer: str) -> bool:
        """Whether counters tell what came and went: one way in and out of each machine, all of them counted."""
        return all(
            machine.name in state.seen
            and state.seen[machine.name].good is not None
            and (change < 0 or len(machine.gives) == 1 or machine.give_rule == "split")
            and (change > 0 or len(machine.takes) == 1 or machine.take_rule == "all")
            for machine, change in self._neighbours(buffer)
        )

    def _came(self, state: ShadowState, buffer: str) -> int:
        """Parts that came in minus those that went, by counters; a part on a machine has left its input."""
        came = 0
        for machine, change in self._neighbours(buffer):
            seen = state.seen[machine.name]
            assert seen.good is not None
            if change > 0:
                came += change * seen.good
            else:
                holds = seen.state in BUSY or (seen.state in DOWN and seen.left_s is not None)
                parts = max(self._load(machine.name), 1) if machine.batch[1] > 1 else 1
                came += change * (seen.good + seen.scrap + holds * parts)
        return came

    def _must_be_blocked(self, state: ShadowState, name: str) -> bool:
        for flow in flows(self._machines[name].gives):
            capacity = None if flow.buffer == OUT else self._capacity[flow.buffer]
            if capacity is None:
                continue
            counted = flow.buffer in state.level_offset
            level = self.level(state, flow.buffer) if counted else self._level(flow.buffer)
            if level + flow.amount + 1 > capacity:  # the blocked part itself is counted as in the buffer
                return True
        return False
