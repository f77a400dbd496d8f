"""Values written to tags of an OPC UA plant, and read back.

A value goes out once. When the line breaks behind it, nobody knows whether the plant has it, and that is what is told:
to try again is for who knows what the value does. Nothing is sent for a tag that the tag table does not mark as
writable, or that the server does not let this user write.

There is no command for this on purpose. It would be a way past roles, limits in time, approval and the audit line that
the commands of the services will have; those call `OpcUaAdapter.write`.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from asyncua import ua
from asyncua.common.ua_utils import data_type_to_variant_type

from uem.hardware_adapters.base import WriteOutcome, Written
from uem.hardware_adapters.opcua.channel import CONNECTION_ERRORS, Channel, text_of
from uem.hardware_adapters.tags import TagTable
from uem.hardware_adapters.writing import Refused, check
from uem.twin_core.errors import UnknownName
from uem.twin_core.measurements import is_bad, is_good
from uem.twin_core.plant.territory import TagBinding

CONFIRM_S = 2.0  # a controller takes a value over with its next cycles
_READ_AGAIN_S = 0.05
_MOST_PER_CALL = 100
_WRITE = 0x02  # bit of AccessLevel
_SCALAR_RANKS = (-1, -2, -3)  # scalar, any, scalar or one dimension
_FLOATS: dict[ua.VariantType, Any] = {ua.VariantType.Float: np.float32, ua.VariantType.Double: np.float64}
_INTEGERS = {
    ua.VariantType.Boolean: (0, 1),
    ua.VariantType.SByte: (-(2**7), 2**7 - 1),
    ua.VariantType.Byte: (0, 2**8 - 1),
    ua.VariantType.Int16: (-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: (0, 2**16 - 1),
    ua.VariantType.Int32: (-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: (0, 2**32 - 1),
    ua.VariantType.Int64: (-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: (0, 2**64 - 1),
}
_ABSTRACT = {26: ua.VariantType.Double, 27: ua.VariantType.Int64, 28: ua.VariantType.UInt64}  # Number, Integer, ...
# Faults that come after the request was on its way, and do not say whether it was carried out.
UNSURE = {
    ua.StatusCodes.BadTimeout,
    ua.StatusCodes.BadRequestTimeout,
    ua.StatusCodes.BadConnectionClosed,
    ua.StatusCodes.BadSecureChannelClosed,
    ua.StatusCodes.BadCommunicationError,
    ua.StatusCodes.BadRequestInterrupted,
    ua.StatusCodes.BadUnknownResponse,
    ua.StatusCodes.BadShutdown,
    ua.StatusCodes.BadInternalError,
    ua.StatusCodes.BadUnexpectedError,
}


@dataclass(frozen=True, slots=True)
class _Order:
    """A value on its way: the variant that says it, and the result so far."""

    binding: TagBinding
    node: ua.NodeId
    value: float
    variant: ua.Variant


class Writer:
    """Writes to the tags of one plant. The types of nodes are asked for once in a generation."""

    def __init__(self, tags: TagTable) -> None:
        self._tags = tags
        self._index = {name: number for number, name in enumerate(tags.names)}
        self._types: dict[int, ua.VariantType] = {}
        self._generation = 0

    async def write(
        self,
        channel: Channel | None,
        generation: int,
        nodes: Mapping[int, Any],
        values: Mapping[str, float],
        timeout_s: float,
    ) -> list[Written]:
        """See `Writes.write`; `nodes` are those of the tags in this generation, `channel` is None without a line."""
        for name in values:
            if name not in self._index:
                raise UnknownName("tag", name, self._index)
        if generation != self._generation:
            self._generation, self._types = generation, {}
        results: dict[str, Written] = {}
        wanted: dict[int, float] = {}
        for name, value in values.items():
            number = self._index[name]
            try:
                check(self._tags.bindings[number], value)
                if channel is None or not channel.is_open:
                    raise Refused(ua.StatusCodes.BadNotConnected, "the plant is not connected; nothing was sent")
                if number not in nodes:
                    raise Refused(ua.StatusCodes.BadNodeIdUnknown, "the plant does not have this tag")
            except Refused as refused:
                results[name] = _refused(name, value, refused)
            else:
                wanted[number] = float(value)
        if wanted:
            assert channel is not None
            results |= await self._send(channel, nodes, wanted, timeout_s)
        return [results[name] for name in values]

    async def _send(
        self, channel: Channel, nodes: Mapping[int, Any], wanted: Mapping[int, float], timeout_s: float
    ) -> dict[str, Written]:
        """Prepare, write, read back; `timeout_s` holds for each of the first two."""
        names, results = self._tags.names, {}
        try:
            async with asyncio.timeout(timeout_s):
                orders, refusals = await self._prepare(channel, nodes, wanted)
        except CONNECTION_ERRORS as error:
            status = getattr(error, "code", ua.StatusCodes.BadNotConnected)
            lost = Refused(status, f"{text_of(error)}; nothing was sent")
            return {names[tag]: _refused(names[tag], value, lost) for tag, value in wanted.items()}
        results = {names[tag]: _refused(names[tag], wanted[tag], refused) for tag, refused in refusals.items()}
        taken: list[_Order] = []
        waiting, most = orders, _MOST_PER_CALL
        while waiting:
            some, waiting = waiting[:most], waiting[most:]
            try:
                statuses = await _write(channel, some, timeout_s)
            except ua.uaerrors.BadTooManyOperations as error:
                if most > 1:
                    waiting, most = some + waiting, max(1, min(most, len(some)) // 2)
                    continue
                statuses = [error.code] * len(some)
            for order, status in zip(some, statuses, strict=True):
                if status is None:
                    text = "it was sent and no answer came: read the tag before you try again"
                    results[order.binding.tag.name] = _result(order, WriteOutcome.UNKNOWN, text=text)
                elif is_bad(status):
                    text = f"the server refuses it: {ua.StatusCode(status).name}"
                    results[order.binding.tag.name] = _result(order, WriteOutcome.REFUSED, status, text=text)
                else:
                    taken.append(order)
        return results | await _confirm(channel, taken)

    async def _prepare(
        self, channel: Channel, nodes: Mapping[int, Any], wanted: Mapping[int, float]
    ) -> tuple[list[_Order], dict[int, Refused]]:
        """What to send, and what is refused for its type or the rights of this user."""
        attributes = ua.AttributeIds
        asked = (attributes.UserAccessLevel, attributes.AccessLevel, attributes.DataType, attributes.ValueRank)
        found = await _read(channel, [(nodes[tag], each) for tag in wanted for each in (*asked, attributes.Value)])
        orders: list[_Order] = []
        refusals: dict[int, Refused] = {}
        for at, (tag, value) in enumerate(wanted.items()):
            user_level, level, data_type, rank, now = found[at * 5 : at * 5 + 5]
            binding = self._tags.bindings[tag]
            try:
                _check_access(user_level, level)
                if rank.Value is not None and rank.Value.Value not in (None, *_SCALAR_RANKS):
                    raise Refused(ua.StatusCodes.BadTypeMismatch, "the node holds an array")
                if tag not in self._types:
                    self._types[tag] = await _type_of(channel, data_type, now)
                variant = encoded((value - binding.offset) / binding.scale, self._types[tag])
                orders.append(_Order(binding, nodes[tag], value, variant))
            except Refused as refused:
                refusals[tag] = refused
        return orders, refusals


def encoded(raw: float, kind: ua.VariantType) -> ua.Variant:
    """A raw value as a scalar of this type, rounded to the nearest that it has.

    Raises:
        Refused: the type has no such value, or is no number.
    """
    if kind in _FLOATS:
        if not abs(raw) <= float(np.finfo(_FLOATS[kind]).max):
            raise Refused(ua.StatusCodes.BadOutOfRange, f"raw value {raw:g} is too large for a {kind.name}")
        return ua.Variant(float(_FLOATS[kind](raw)), kind)
    if kind not in _INTEGERS:
        raise Refused(ua.StatusCodes.BadTypeMismatch, f"the node is no number but a {kind.name}")
    low, high = _INTEGERS[kind]
    whole = round(raw) if math.isfinite(raw) else high + 1
    if not low <= whole <= high:
        raise Refused(ua.StatusCodes.BadOutOfRange, f"raw value {raw:g}; a {kind.name} has {low} to {high}")
    return ua.Variant(bool(whole) if kind is ua.VariantType.Boolean else whole, kind)


def tolerance(variant: ua.Variant) -> float:
    """By how much what is read back may differ: two steps of the type for a Float or Double, else nothing."""
    kind = _FLOATS.get(variant.VariantType)
    return 2.0 * float(np.spacing(kind(abs(variant.Value)))) if kind is not None else 0.0


def _check_access(user_level: ua.DataValue, level: ua.DataValue) -> None:
    for found, status, text in (
        (level, ua.StatusCodes.BadNotWritable, "the server does not let anybody write it"),
        (user_level, ua.StatusCodes.BadUserAccessDenied, "the server does not let this user write it"),
    ):
        if found.StatusCode is not None and is_bad(found.StatusCode.value):
            raise Refused(found.StatusCode.value, f"its access level cannot be read: {found.StatusCode.name}")
        if found.Value is None or not int(found.Value.Value or 0) & _WRITE:
            raise Refused(status, text)


async def _type_of(channel: Channel, data_type: ua.DataValue, now: ua.DataValue) -> ua.VariantType:
    """The built-in type of a node; for an abstract one that of the value it has now."""
    if data_type.Value is None or not isinstance(data_type.Value.Value, ua.NodeId):
        raise Refused(ua.StatusCodes.BadTypeMismatch, "its data type cannot be read")
    name = data_type.Value.Value
    try:
        kind = await data_type_to_variant_type(channel.client.get_node(name))
    except (ua.UaError, ValueError) as error:
        if isinstance(error, ua.UaError) and not channel.is_open:
            raise
        raise Refused(ua.StatusCodes.BadTypeMismatch, f"its data type {name} is not known: {text_of(error)}") from None
    if kind is not ua.VariantType.Variant:
        return kind
    has = now.Value.VariantType if now.Value is not None else ua.VariantType.Null
    return has if has in _FLOATS or has in _INTEGERS else _ABSTRACT.get(name.Identifier, kind)


async def _read(channel: Channel, asked: Sequence[tuple[ua.NodeId, ua.AttributeIds]]) -> list[ua.DataValue]:
    """Attributes of nodes in chunks that the server takes; ua.UaError when an answer has not one value for each."""
    found: list[ua.DataValue] = []
    most = _MOST_PER_CALL
    while len(found) < len(asked):
        parameters = ua.ReadParameters()
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
        for node, attribute in asked[len(found) : len(found) + most]:
            value = ua.ReadValueId()
            value.NodeId, value.AttributeId = node, attribute
            parameters.NodesToRead.append(value)
        try:
            answers = await channel.session.read(parameters) or []
        except ua.uaerrors.BadTooManyOperations:
            if most == 1:
                raise
            most //= 2
            continue
        if len(answers) != len(parameters.NodesToRead):
            raise ua.UaError(f"{len(answers)} answers to {len(parameters.NodesToRead)} reads")
        found += answers
    return found


async def _write(channel: Channel, orders: Sequence[_Order], timeout_s: float) -> list[int | None]:
    """A status per order, None when it is not known; raises BadTooManyOperations, which means that none was done."""
    parameters = ua.WriteParameters()
    for order in orders:
        value = ua.WriteValue()
        value.NodeId, value.AttributeId = order.node, ua.AttributeIds.Value
        # Without a status and times: few servers take those, and the plant knows better when it has the value.
        value.Value = ua.DataValue(order.variant, StatusCode=None)
        parameters.NodesToWrite.append(value)
    if not channel.is_open:
        return [ua.StatusCodes.BadNotConnected] * len(orders)
    try:
        async with asyncio.timeout(timeout_s):
            results = await channel.session.write(parameters)
    except ua.uaerrors.BadTooManyOperations:
        raise
    except ua.UaStatusCodeError as error:
        return [None if error.code in UNSURE else error.code] * len(orders)
    except CONNECTION_ERRORS:
        return [None] * len(orders)
    return [int(each.value) for each in results] if len(results or ()) == len(orders) else [None] * len(orders)


async def _confirm(channel: Channel, orders: Sequence[_Order]) -> dict[str, Written]:
    """Read back until every value is there, at most CONFIRM_S."""
    done: dict[str, Written] = {}
    waiting = list(orders)
    end = asyncio.get_running_loop().time() + CONFIRM_S
    while waiting:
        try:
            async with asyncio.timeout_at(end):
                found = await _read(channel, [(order.node, ua.AttributeIds.Value) for order in waiting])
        except CONNECTION_ERRORS as error:
            for order in waiting:
                known = done.get(order.binding.tag.name)
                text = f"the server took it; it could not be read back: {text_of(error)}"
                done[order.binding.tag.name] = known or _result(order, WriteOutcome.NOT_CONFIRMED, text=text)
            return done
        for order, value in zip(waiting, found, strict=True):
            done[order.binding.tag.name] = _compared(order, value)
        waiting = [order for order in waiting if done[order.binding.tag.name].outcome is not WriteOutcome.WRITTEN]
        if asyncio.get_running_loop().time() + _READ_AGAIN_S >= end:
            break
        if waiting:
            await asyncio.sleep(_READ_AGAIN_S)
    return done


def _compared(order: _Order, found: ua.DataValue) -> Written:
    status = int(found.StatusCode.value) if found.StatusCode is not None else 0
    raw = found.Value.Value if found.Value is not None else None
    if not isinstance(raw, bool | int | float):
        text = f"the server took it; reading it back gives {ua.StatusCode(status).name}"
        return _result(order, WriteOutcome.NOT_CONFIRMED, status, text=text)
    read = order.binding.scale * float(raw) + order.binding.offset
    if is_good(status) and abs(raw - order.variant.Value) <= tolerance(order.variant):
        return _result(order, WriteOutcome.WRITTEN, status, read)
    text = f"the server took it; it reads {read:g} {order.binding.tag.unit} ({ua.StatusCode(status).name})"
    return _result(order, WriteOutcome.NOT_CONFIRMED, status, read, text)


def _result(order: _Order, outcome: WriteOutcome, status: int = 0, read: float = math.nan, text: str = "") -> Written:
    name = order.binding.tag.name
    return Written(tag=name, outcome=outcome, value=order.value, status=status, read=read, text=text)


def _refused(name: str, value: float, refused: Refused) -> Written:
    return Written(tag=name, outcome=WriteOutcome.REFUSED, value=value, status=refused.status, text=str(refused))
