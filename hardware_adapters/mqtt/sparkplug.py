"""What a host does with the messages of one Sparkplug B edge node (specification 3.0.0, 5 and 6): no I/O, no clock.

A node is born with all its metrics, then tells changes, counted from 0 to 255 and round again. A message out of this
order means that others are lost, so nothing more is believed until the node is born again, which it is asked for.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uem.hardware_adapters.base import Break
from uem.twin_core.measurements import (
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_SENSOR_FAILURE,
    BAD_WAITING_FOR_INITIAL_DATA,
    GOOD,
    UNCERTAIN_LAST_USABLE_VALUE,
    GapReason,
)

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
BIRTH_SEQUENCE = "bdSeq"
NS_PER_MS = 1_000_000
ASK_AGAIN_NS = 5_000_000_000  # a node is asked for its birth at most so often
_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}  # data types Int8 to Int64, which are sent as unsigned numbers
_QUALITY = {192: GOOD, 500: UNCERTAIN_LAST_USABLE_VALUE}  # of the property Quality (6.4.14); 0 is bad

Row = tuple[int, int, float, int]  # tag index, source time in ns, raw value, quality


@dataclass(slots=True)
class Told:
    """What comes of a message."""

    rows: list[Row] = field(default_factory=list)
    lost: Break | None = None  # before the rows
    ask_rebirth: bool = False


class EdgeNode:
    """One edge node with its devices, as far as its messages tell."""

    def __init__(self, tags: Mapping[tuple[str, str], Iterable[int]], names: Mapping[int, str]) -> None:
        """`tags` are the tag indices by (device, metric), device "" is the node itself; `names` the names of tags."""
        self._tags = {at: tuple(indices) for at, indices in tags.items()}
        self._all = frozenset(names[index] for indices in self._tags.values() for index in indices)
        self._alive = False
        self._sequence = 0
        self._birth: int | None = None  # bdSeq of the last birth
        self._was_dead = False  # since the last birth
        self._asked_ns: int | None = None
        self._aliases: dict[int, tuple[str, str]] = {}
        self._types: dict[tuple[str, str], int] = {}
        self._devices: set[str] = set()  # that are alive
        self._known: dict[str, set[str]] = {}  # metrics by device, of their last births

    @property
    def born(self) -> bool:
        """Whether the node and each device that tags are of have told their metrics at least once."""
        return all(device in self._known for device, _ in self._tags)

    def missing(self) -> dict[int, str]:
        """Tag indices whose metric no birth has told, with the reason."""
        return {
            index: "no birth of it so far" if device not in self._known else f"its birth has no metric {metric!r}"
            for (device, metric), indices in self._tags.items()
            if metric not in self._known.get(device, ())
            for index in indices
        }

    def ask(self, now_ns: int) -> bool:
        """Whether to ask for a birth now: not again while the last question is young."""
        if self._asked_ns is not None and 0 <= now_ns - self._asked_ns < ASK_AGAIN_NS:
            return False
        self._asked_ns = now_ns
        return True

    def receive(self, kind: str, device: str, payload: Any, now_ns: int) -> Told:
        """Take a message; `kind` is the third level of its topic, `payload` a decoded one, `now_ns` when it came."""
        match kind:
            case "NBIRTH":
                return self._node_birth(payload, now_ns)
            case "NDEATH":
                return self._node_death(payload, now_ns)
            case "NDATA" | "DBIRTH" | "DDATA" | "DDEATH":
                return self._counted(kind, device, payload, now_ns)
        return Told()  # commands, those of ours too

    def damaged(self, now_ns: int) -> Told:
        """Take a message that cannot be decoded: whatever it told is lost."""
        return self._lose_track(now_ns)

    # --- births and deaths ---

    def _node_birth(self, payload: Any, now_ns: int) -> Told:
        if payload.seq != 0:
            return self._lose_track(now_ns)
        birth = _birth_sequence(payload)
        restarted = "" in self._known and (self._was_dead or birth != self._birth)
        told = Told()
        if restarted:
            told.lost = Break(GapReason.SOURCE_RESTARTED, self._all)
        elif self._alive:  # the count begins anew, so that a message lost just before it cannot be seen
            told.lost = Break(GapReason.LINK_DOWN, self._all)
        self._alive, self._sequence, self._birth, self._was_dead = True, 0, birth, False
        self._asked_ns = None
        self._aliases.clear()
        self._types.clear()
        self._devices.clear()
        self._born("", payload)
        told.rows = self._rows("", payload, now_ns, is_birth=True) or []
        return told

    def _born(self, device: str, payload: Any) -> None:
        self._known[device] = {metric.name for metric in payload.metrics}
        for metric in payload.metrics:
            self._types[device, metric.name] = metric.datatype
            if metric.HasField("alias"):
                self._aliases[metric.alias] = device, metric.name

    def _node_death(self, payload: Any, now_ns: int) -> Told:
        if "" not in self._known or self._was_dead or _birth_sequence(payload) != self._birth:
            return Told()  # of a connection that the node has left already
        self._alive, self._was_dead = False, True
        self._devices.clear()
        # It was written when the node connected: only our clock knows when the node died.
        return Told([(i, now_ns, math.nan, BAD_NO_COMMUNICATION) for tags in self._tags.values() for i in tags])

    def _device_death(self, device: str, payload: Any, now_ns: int) -> Told:
        self._devices.discard(device)
        time_ns = _time_ns(payload, now_ns)
        dead = (i for (its, _), tags in self._tags.items() if its == device for i in tags)
        return Told([(i, time_ns, math.nan, BAD_NO_COMMUNICATION) for i in dead])

    # --- what is counted ---

    def _counted(self, kind: str, device: str, payload: Any, now_ns: int) -> Told:
        if not self._alive:  # what came before a birth cannot be understood, and a loss has been told
            return Told(ask_rebirth=self.ask(now_ns))
        expected = (self._sequence + 1) % 256
        if not payload.HasField("seq") or payload.seq != expected:
            return self._lose_track(now_ns)
        self._sequence = expected
        if kind == "DBIRTH":
            self._devices.add(device)
            self._born(device, payload)
        elif kind == "DDEATH":
            return self._device_death(device, payload, now_ns)
        elif kind == "DDATA" and device not in self._devices:
            return self._lose_track(now_ns)
        rows = self._rows(device if kind.startswith("D") else "", payload, now_ns, is_birth=kind == "DBIRTH")
        return self._lose_track(now_ns) if rows is None else Told(rows)

    def _lose_track(self, now_ns: int) -> Told:
        lost = Break(GapReason.LINK_DOWN, self._all) if self._alive else None
        self._alive = False
        return Told(lost=lost, ask_rebirth=self.ask(now_ns))

    def _rows(self, device: str, payload: Any, now_ns: int, *, is_birth: bool) -> list[Row] | None:
        """Values of the tags in a payload; None when it has a metric that no birth has told."""
        rows: list[Row] = []
        for metric in payload.metrics:
            at = (device, metric.name) if metric.HasField("name") else self._aliases.get(metric.alias)
            if at is None or at not in self._types or at[0] != device:
                return None
            if at not in self._tags:
                continue
            time_ns = _time_ns(metric, _time_ns(payload, now_ns))
            value, quality = _value(metric, self._types[at], is_birth=is_birth)
            rows += [(index, time_ns, value, quality) for index in self._tags[at]]
        return rows


def by_node(addresses: Iterable[tuple[int, str, str]]) -> dict[tuple[str, str], dict[tuple[str, str], list[int]]]:
    """(tag index, "group/node" or "group/node/device", metric) as tags by (device, metric) of each (group, node)."""
    found: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, topic, metric in addresses:
        group, node, *device = topic.split("/")
        found[group, node]["".join(device), metric].append(index)
    return found


def _birth_sequence(payload: Any) -> int | None:
    for metric in payload.metrics:
        if metric.name == BIRTH_SEQUENCE:
            return int(metric.int_value if metric.WhichOneof("value") == "int_value" else metric.long_value)
    return None


def _time_ns(told: Any, otherwise: int) -> int:
    """The time of a metric or payload, which is in ms; `otherwise` when it has none, or one that is no time."""
    time_ns = int(told.timestamp) * NS_PER_MS
    return time_ns if told.HasField("timestamp") and time_ns < 2**63 else otherwise


def _value(metric: Any, datatype: int, *, is_birth: bool) -> tuple[float, int]:
    """The number and its quality; NaN where it is bad."""
    which = metric.WhichOneof("value")
    if metric.is_null or which is None:
        return math.nan, BAD_WAITING_FOR_INITIAL_DATA if is_birth else BAD_SENSOR_FAILURE
    if which == "string_value":
        return math.nan, BAD_DECODING_ERROR
    quality = GOOD
    for key, its in zip(metric.properties.keys, metric.properties.values, strict=False):
        if key == "Quality":
            quality = _QUALITY.get(its.int_value, BAD_SENSOR_FAILURE)
    number = getattr(metric, which)
    bits = _SIGNED_BITS.get(datatype)
    if bits is not None and which in ("int_value", "long_value"):
        number &= (1 << bits) - 1
        number -= (number >> (bits - 1)) << bits
    value = float(number)
    if quality == BAD_SENSOR_FAILURE or not math.isfinite(value):
        return math.nan, BAD_SENSOR_FAILURE
    return value, quality
