"""Methods of objects of an OPC UA server, called by browse path with arguments that are checked first.

As a value that is written, a call goes out once. When no answer comes, nobody knows whether it was carried out, and
that is what is told. There is no command for this, for the reason given in `writing`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua
from asyncua.common.ua_utils import data_type_to_variant_type

from uem.hardware_adapters.opcua.channel import CONNECTION_ERRORS, Channel, text_of
from uem.hardware_adapters.opcua.services import browse_path
from uem.hardware_adapters.opcua.writing import UNSURE, encoded
from uem.hardware_adapters.writing import Refused
from uem.twin_core.errors import AdapterError, InvalidInput
from uem.twin_core.measurements import is_bad

_NUMBERS = range(1, 12)  # built-in types Boolean to Double
_TEXT = (ua.VariantType.String,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What came of a call."""

    is_known: bool  # False: no answer came, or none that tells; it may have been carried out or may yet be
    status: int = 0  # OPC UA StatusCode of the call
    values: dict[str, Any] = field(default_factory=dict)  # by the names of the output arguments
    argument_status: dict[str, int] = field(default_factory=dict)  # of arguments that the server refuses
    text: str = ""  # for people


async def call(
    channel: Channel, namespace: int, path: str, arguments: Mapping[str, Any], *, timeout_s: float = 10.0
) -> Called:
    """Call the method at `path`, names below Objects separated by "/" of which the last is the method.

    Args:
        channel: with a session.
        namespace: index of that of all names.
        path: such as "Plant/Pump/Start".
        arguments: by name; each is a number, a bool, a text, or a list of them where the method wants an array.
        timeout_s: for what is asked before, and again for the call itself.

    Raises:
        InvalidInput: the arguments are not those of the method; nothing was called.
        AdapterError: there is no such method, or the line is lost before it was called.
    """
    try:
        async with asyncio.timeout(timeout_s):
            target, method, inputs, outputs = await _described(channel, namespace, path)
            given = [await _variant(channel, path, each, arguments) for each in _matched(path, inputs, arguments)]
    except CONNECTION_ERRORS as error:
        raise AdapterError(f"method {path}: {text_of(error)}; it was not called") from None
    if not channel.is_open:
        raise AdapterError(f"method {path}: the plant is not connected; it was not called")
    request = ua.CallMethodRequest()
    request.ObjectId, request.MethodId, request.InputArguments = target, method, given
    try:
        async with asyncio.timeout(timeout_s):
            results = await channel.session.call([request])
    except ua.UaStatusCodeError as error:
        return _unknown() if error.code in UNSURE else Called(is_known=True, status=error.code, text=text_of(error))
    except CONNECTION_ERRORS:
        return _unknown()
    if not results or len(results) != 1:
        return _unknown("the answer is not one result")
    return _called(results[0], inputs, outputs)


async def _described(
    channel: Channel, namespace: int, path: str
) -> tuple[ua.NodeId, ua.NodeId, list[ua.Argument], list[ua.Argument]]:
    """Object, method, and what goes in and comes out."""
    names = path.split("/")
    paths = [browse_path(names[:-1], namespace), browse_path(names, namespace)]
    for arguments in ("InputArguments", "OutputArguments"):
        below = browse_path([*names, arguments], namespace)
        below.RelativePath.Elements[-1].TargetName = ua.QualifiedName(arguments, 0)
        paths.append(below)
    found = await channel.session.translate_browsepaths_to_nodeids(paths)
    nodes = [each.Targets[0].TargetId if each.StatusCode.is_good() and each.Targets else None for each in found]
    if len(names) < 2 or nodes[0] is None or nodes[1] is None:
        raise AdapterError(f"no method at {path!r} below Objects")
    there = [node for node in nodes[2:] if node is not None]
    read = iter(await channel.session.read_attributes(there, ua.AttributeIds.Value) if there else ())
    inputs, outputs = (_arguments(next(read)) if node is not None else [] for node in nodes[2:])
    return nodes[0], nodes[1], inputs, outputs


def _arguments(found: ua.DataValue) -> list[ua.Argument]:
    return list(found.Value.Value or ()) if found.Value is not None else []


def _matched(path: str, inputs: Sequence[ua.Argument], arguments: Mapping[str, Any]) -> Sequence[ua.Argument]:
    """The arguments of the method, when those that are given are the same."""
    wanted = [str(each.Name) for each in inputs]
    missing, unknown = [name for name in wanted if name not in arguments], sorted(set(arguments) - set(wanted))
    if missing or unknown:
        what = [f"{', '.join(missing)} missing"] * bool(missing) + [f"{', '.join(unknown)} unknown"] * bool(unknown)
        raise InvalidInput(f"method {path}: {'; '.join(what)}; it takes {', '.join(wanted) or 'nothing'}")
    return inputs


async def _variant(channel: Channel, path: str, argument: ua.Argument, arguments: Mapping[str, Any]) -> ua.Variant:
    """A value as the method wants it."""
    value = arguments[str(argument.Name)]
    kind = await data_type_to_variant_type(channel.client.get_node(argument.DataType))
    is_array = isinstance(value, list | tuple)
    if is_array != (argument.ValueRank >= 0) and argument.ValueRank not in (-2, -3):
        wanted = "an array" if argument.ValueRank >= 0 else "one value"
        raise InvalidInput(f"method {path}: argument {argument.Name} is {wanted}, not {value!r}")
    parts = [_checked(path, argument, kind, each) for each in (value if is_array else [value])]
    return ua.Variant(parts if is_array else parts[0], kind, is_array=is_array)


def _checked(path: str, argument: ua.Argument, kind: ua.VariantType, value: Any) -> Any:
    where = f"method {path}: argument {argument.Name}"
    if kind.value in _NUMBERS:
        is_bool, is_float = kind is ua.VariantType.Boolean, kind in (ua.VariantType.Float, ua.VariantType.Double)
        fits = isinstance(value, bool) if is_bool else isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or (isinstance(value, float) and not is_float and not value.is_integer()):
            raise InvalidInput(f"{where} is a {kind.name}, not {value!r}")
        try:
            return encoded(value, kind).Value
        except Refused as refused:
            raise InvalidInput(f"{where}: {refused}") from None
    if kind in _TEXT:
        if not isinstance(value, str):
            raise InvalidInput(f"{where} is a text, not {value!r}")
        return value
    raise InvalidInput(f"{where} is a {kind.name}; only numbers, truth values and texts can be given")


def _unknown(what: str = "no answer came") -> Called:
    return Called(is_known=False, text=f"it was sent and {what}: look at the plant before you try again")


def _called(result: ua.CallMethodResult, inputs: Sequence[ua.Argument], outputs: Sequence[ua.Argument]) -> Called:
    status = int(result.StatusCode.value)
    names = [str(each.Name) for each in outputs]
    values = [each.Value for each in result.OutputArguments or ()]
    refused = {
        str(argument.Name): int(each.value)
        for argument, each in zip(inputs, result.InputArgumentResults or (), strict=False)
        if is_bad(each.value)
    }
    text = f"the server refuses it: {result.StatusCode.name}" if is_bad(status) else ""
    return Called(
        is_known=True,
        status=status,
        values=dict(zip(names, values, strict=False)),
        argument_status=refused,
        text=text + "".join(f"; {name}: {ua.StatusCode(code).name}" for name, code in refused.items()),
    )
