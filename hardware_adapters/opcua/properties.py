"""Whether the plant says the same unit and range of a variable as the tag table (OPC 10000-8, 5.3.2).

The plant is asked once for each subscription that was made anew, in the background after samples began to come.
Nothing waits for the answers: a line that is lost before they are there is asked again when it is back.
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from asyncua import ua

from uem.hardware_adapters.opcua.channel import Channel, text_of
from uem.hardware_adapters.opcua.engineering_units import unit_of
from uem.hardware_adapters.opcua.services import in_chunks
from uem.twin_core.plant.territory import TagBinding
from uem.twin_core.units import UNITS

_log = logging.getLogger(__name__)

WAIT_S = 1.0  # so that the first samples come before
LONGEST_S = 120.0
MOST_NAMED = 10  # tags in a message
_MOST_PER_CALL = 100
_NAMES = ("EngineeringUnits", "EURange")
# What a binding may add to the bare conversion: the correction of a sensor, or the pressure of the air to that of a
# gauge. The units of one quantity lie further apart.
_LARGEST_FACTOR = 2.0
_LARGEST_SHIFT_K = 100.0


class Properties:
    """What the plant says of its variables, held against the tag table."""

    def __init__(self, endpoint: str, bindings: Sequence[TagBinding]) -> None:
        self.unit_mismatches: dict[str, str] = {}
        self._endpoint = endpoint
        self._bindings = bindings
        self._generation = 0  # that was asked last
        self._told: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self._task: asyncio.Task[None] | None = None

    def look(self, channel: Channel, generation: int, nodes: Mapping[int, Any]) -> None:
        """Ask in the background, unless it was done in this generation of `nodes`."""
        self.stop()
        if generation != self._generation:
            self._task = asyncio.create_task(self._look(channel, generation, dict(nodes)))

    @property
    def is_asking(self) -> bool:
        """Whether answers are still to come."""
        return self._task is not None and not self._task.done()

    def stop(self) -> None:
        """Ask no more on this line."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _look(self, channel: Channel, generation: int, nodes: Mapping[int, Any]) -> None:
        try:
            await asyncio.sleep(WAIT_S)
            async with asyncio.timeout(LONGEST_S):
                units, ranges = await _read(channel, nodes)
            self._compare(units, ranges)
            self._generation = generation
        except Exception as error:  # nothing hangs on it, and the line is judged elsewhere
            _log.info("%s: units and ranges could not be read: %s", self._endpoint, text_of(error))

    def _compare(self, units: Mapping[int, object], ranges: Mapping[int, object]) -> None:
        wrong = {tag: unit_mismatch(self._bindings[tag], found) for tag, found in units.items()}
        wide = {tag: range_mismatch(self._bindings[tag], found) for tag, found in ranges.items()}
        self.unit_mismatches = {self._bindings[tag].tag.name: text for tag, text in sorted(wrong.items()) if text}
        outside = {self._bindings[tag].tag.name: text for tag, text in sorted(wide.items()) if text}
        if self.unit_mismatches and self.unit_mismatches != self._told[0]:
            _log.warning(
                "%s: the units of %d tags are others than the tag table says; correct unit, scale and offset there, or "
                "EngineeringUnits at the plant: %s",
                self._endpoint,
                len(self.unit_mismatches),
                _named(self.unit_mismatches),
            )
        if outside and outside != self._told[1]:
            _log.info("%s: the ranges of %d tags: %s", self._endpoint, len(outside), _named(outside))
        self._told = (self.unit_mismatches, outside)


def unit_mismatch(binding: TagBinding, found: object) -> str:
    """What is wrong when the plant says this EUInformation; empty when it fits, or says nothing that is known.

    It fits when scale and offset of the binding lead from that unit to the SI unit of the tag, but for corrections. The
    sign is free, as directions are. "One" says nothing: a count of pulses has it whatever a pulse stands for.
    """
    name = unit_of(found)
    if name is None or name == "1":
        return ""
    unit = UNITS[name]
    factor = abs(binding.scale) / unit.scale
    fits = unit.si == binding.tag.unit and 1 / _LARGEST_FACTOR < factor < _LARGEST_FACTOR
    if fits and unit.si == "K":
        fits = abs(binding.offset - unit.offset) < _LARGEST_SHIFT_K
    if fits:
        return ""
    return f"the plant says {name}, the tag table {_read_as(binding)}"


def _read_as(binding: TagBinding) -> str:
    """The unit that a binding reads, else its conversion."""
    for name, unit in UNITS.items():
        if unit.si == binding.tag.unit and unit.scale == abs(binding.scale) and unit.offset == binding.offset:
            return name
    return f"{binding.tag.unit} by scale {binding.scale:g} and offset {binding.offset:g}"


def range_mismatch(binding: TagBinding, found: object) -> str:
    """In which way the EURange of the plant goes beyond the limits of the tag; empty when it does not."""
    if not isinstance(found, ua.Range) or not all(isinstance(end, int | float) for end in (found.Low, found.High)):
        return ""
    low, high = sorted(binding.scale * float(end) + binding.offset for end in (found.Low, found.High))
    tag = binding.tag
    slack = 1e-9 * max(abs(low), abs(high))
    if not low < high or not math.isfinite(high - low) or (low >= tag.low - slack and high <= tag.high + slack):
        return ""
    return f"the plant has {low:g} to {high:g} {tag.unit}, the tag table {tag.low:g} to {tag.high:g}"


async def _read(channel: Channel, nodes: Mapping[int, Any]) -> tuple[dict[int, object], dict[int, object]]:
    """EngineeringUnits and EURange of the tags that have them."""
    asked = [(tag, name) for tag in nodes for name in _NAMES]
    paths = [_property_path(nodes[tag], name) for tag, name in asked]

    async def resolve(some: list[ua.BrowsePath]) -> list[Any]:
        return list(await channel.session.translate_browsepaths_to_nodeids(some))

    async def read(some: list[Any]) -> list[Any]:
        return list(await channel.session.read_attributes(some, ua.AttributeIds.Value))

    targets = await in_chunks(paths, resolve, _MOST_PER_CALL)
    there = [
        (each, target.Targets[0].TargetId)
        for each, target in zip(asked, targets, strict=True)
        if target.StatusCode.is_good() and target.Targets
    ]
    values = await in_chunks([node for _, node in there], read, _MOST_PER_CALL)
    found: tuple[dict[int, object], dict[int, object]] = ({}, {})
    for ((tag, name), _), value in zip(there, values, strict=True):
        found[_NAMES.index(name)][tag] = value.Value.Value if value.Value is not None else None
    return found


def _property_path(node: Any, name: str) -> ua.BrowsePath:
    path = ua.BrowsePath()
    path.StartingNode = node
    element = ua.RelativePathElement()
    element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasProperty)
    element.IsInverse = False
    element.IncludeSubtypes = True
    element.TargetName = ua.QualifiedName(name, 0)
    path.RelativePath.Elements.append(element)
    return path


def _named(found: Mapping[str, str]) -> str:
    first = "; ".join(f"{tag}: {text}" for tag, text in list(found.items())[:MOST_NAMED])
    return first + ("; ..." if len(found) > MOST_NAMED else "")
