"""Faults that people put into living plants: of machines and units, and of the instruments that tell of them.

What is done is done in the truth (a unit stands) or between it and its servers (an instrument tells something else).
"""

import asyncio
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from uem.hardware_adapters.simulator.living import Living, Row
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.territory import Territory

KINDS = {
    "trip": "a unit of a network stands",
    "stop": "a machine of a factory (FACTORY/MACHINE) stands",
    "offset": "a tag is told with a value added, in its SI unit",
    "freeze": "a tag stays as it was told last",
    "silence": "a tag, or all of a plant, tells nothing",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One of KINDS; it ends at a plant time, or by `clear`."""

    kind: str
    what: str
    value: float = 0.0
    until_ns: int | None = None


class Faults:
    """The faults of living plants now."""

    def __init__(self, territory: Territory, living: Living) -> None:
        self._living = living
        self._plant = {binding.tag.name: binding.plant for binding in territory.tags}
        self._plants = {plant.name for plant in territory.plants if plant.simulated}
        self._faults: dict[tuple[str, str], Fault] = {}
        self._last: dict[str, float] = {}  # what each tag told when nothing was wrong with it

    @property
    def at_rest(self) -> asyncio.Lock:
        """To be held while faults come and go, where plants live in a thread."""
        return self._living.at_rest

    @property
    def now(self) -> tuple[Fault, ...]:
        """Those that there are, in the order in which they came."""
        return (*self._faults.values(),)

    def inject(self, kind: str, what: str, value: float = 0.0, for_s: float | None = None) -> None:
        """Begin one, for so much plant time; InvalidInput or UnknownName when there is no such thing."""
        if kind not in KINDS:
            raise InvalidInput(f"fault {kind!r}: there are {', '.join(KINDS)}")
        if not math.isfinite(value) or not (for_s is None or 0.0 < for_s < math.inf):
            raise InvalidInput(
                f"{kind} {what!r}: value {value} for {for_s} s; both must be finite, and the time positive"
            )
        if kind in ("offset", "freeze", "silence"):
            if what not in self._plant and not (kind == "silence" and what in self._plants):
                raise InvalidInput(f"{kind} {what!r}: no tag" + (" and no simulated plant" * (kind == "silence")))
        else:
            self._at_the_plant(kind, what, begin=True)
        until_ns = None if for_s is None else self._living.time_ns + round(for_s * NS_PER_S)
        self._faults[kind, what] = Fault(kind, what, value, until_ns)

    @property
    def silent(self) -> frozenset[str]:
        """Tags that tell nothing, those of silent plants among them."""
        silent = {what for kind, what in self._faults if kind == "silence"}
        if not silent:
            return frozenset()
        return frozenset(tag for tag, plant in self._plant.items() if tag in silent or plant in silent)

    def clear(self) -> None:
        """End all of them."""
        self._end(self.now)

    def expire(self) -> None:
        """End those whose time is over."""
        now_ns = self._living.time_ns
        self._end(fault for fault in self.now if fault.until_ns is not None and fault.until_ns <= now_ns)

    def _end(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            del self._faults[fault.kind, fault.what]
            if fault.kind in ("trip", "stop"):
                self._at_the_plant(fault.kind, fault.what, begin=False)

    def _at_the_plant(self, kind: str, what: str, *, begin: bool) -> None:
        """Let a unit or a machine stand, or go on."""
        if kind == "stop":
            name, _, machine = what.partition("/")
            factory = self._living.factories.get(name)
            if factory is None:
                raise InvalidInput(f"stop {what!r}: factories are {', '.join(self._living.factories) or 'none'}")
            (factory.stop if begin else factory.resume)(machine)
            return
        if not self._living.networks:
            raise InvalidInput(f"trip {what!r}: no network is simulated")
        owners = [truth for truth in self._living.networks.values() if what in truth.inputs.unit_commands]
        for truth in owners or self._living.networks.values():
            (truth.trip if begin else truth.resume)(what)

    def told(self, rows: Iterable[Row]) -> Iterator[Row]:
        """What instruments tell with these faults."""
        silent = self.silent
        frozen = {what for kind, what in self._faults if kind == "freeze"}
        for tag, time_ns, value, quality in rows:
            if tag in frozen:
                value = self._last.setdefault(tag, value)
            else:
                self._last[tag] = value
            if tag in silent:
                continue
            offset = self._faults.get(("offset", tag))
            yield tag, time_ns, value + (offset.value if offset else 0.0), quality
