"""Values written to registers and coils, and read back.

A value goes out once, all registers of a number in one request. When no answer comes nobody knows whether the device
has it, and that is what is told. One bit of a register is not written: the others could change between read and write.
"""

import asyncio
import math
import struct
from collections.abc import Mapping, Sequence

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse

from uem.hardware_adapters.base import WriteOutcome, Written
from uem.hardware_adapters.modbus.registers import BITS, Block, Decoder, width
from uem.hardware_adapters.tags import TagTable
from uem.hardware_adapters.writing import BAD_NOT_CONNECTED, BAD_NOT_WRITABLE, Refused, check
from uem.twin_core.errors import UnknownName
from uem.twin_core.measurements import BAD_DEVICE_FAILURE, BAD_NO_COMMUNICATION, BAD_OUT_OF_RANGE
from uem.twin_core.plant.addresses import ModbusAddress
from uem.twin_core.plant.territory import TagBinding

CONFIRM_S = 2.0  # a controller takes a value over with its next cycles
_READ_AGAIN_S = 0.05
_FORMATS = {
    "uint16": ">H",
    "int16": ">h",
    "uint32": ">I",
    "int32": ">i",
    "uint64": ">Q",
    "int64": ">q",
    "float32": ">f",
    "float64": ">d",
}


def words(raw: float, address: ModbusAddress) -> list[int]:
    """A raw value as the registers of the wire, or as one bit, rounded to the nearest that it can be.

    Raises:
        Refused: its type has no such value.
    """
    if address.table in BITS:
        if round(raw) not in (0, 1):
            raise Refused(BAD_OUT_OF_RANGE, f"raw value {raw:g}; a coil has 0 and 1")
        return [round(raw)]
    kind = address.data_type
    try:
        packed = struct.pack(_FORMATS[kind], raw if kind.startswith("float") else round(raw))
    except (struct.error, OverflowError):
        raise Refused(BAD_OUT_OF_RANGE, f"raw value {raw:g} is none of a {kind}") from None
    found = [packed[i : i + 2] for i in range(0, len(packed), 2)]
    if address.byte_order in ("CDAB", "DCBA"):
        found.reverse()
    swapped = address.byte_order in ("BADC", "DCBA")
    return [int.from_bytes(word, "little" if swapped else "big") for word in found]


class ModbusWriter:
    """Writes to the tags of one plant."""

    def __init__(self, tags: TagTable) -> None:
        self._bindings = dict(zip(tags.names, tags.bindings, strict=True))

    async def write(
        self, client: AsyncModbusTcpClient, missing: Mapping[str, str], values: Mapping[str, float], timeout_s: float
    ) -> list[Written]:
        """See `Writes.write`; `missing` are the tags that the plant does not have."""
        for name in values:
            if name not in self._bindings:
                raise UnknownName("tag", name, self._bindings)
        found = []
        for name, value in values.items():  # one after the other, as the line has it anyway
            found.append(await self._one(client, self._bindings[name], missing, value, timeout_s))
        return found

    async def _one(
        self,
        client: AsyncModbusTcpClient,
        binding: TagBinding,
        missing: Mapping[str, str],
        value: float,
        timeout_s: float,
    ) -> Written:
        address = binding.address
        assert isinstance(address, ModbusAddress)

        def told(outcome: WriteOutcome, status: int, text: str, read: float = math.nan) -> Written:
            return Written(tag=binding.tag.name, outcome=outcome, value=value, status=status, read=read, text=text)

        try:
            check(binding, value)
            if address.table not in ("holding", "coil") or address.bit is not None:
                what = "one bit of a register" if address.bit is not None else f"the table {address.table}"
                raise Refused(BAD_NOT_WRITABLE, f"{what} cannot be written; nothing was sent")
            if not client.connected:
                raise Refused(BAD_NOT_CONNECTED, "the plant is not connected; nothing was sent")
            if binding.tag.name in missing:
                raise Refused(BAD_NOT_WRITABLE, missing[binding.tag.name])
            sent = words((value - binding.offset) / binding.scale, address)
        except Refused as refused:
            return told(WriteOutcome.REFUSED, refused.status, str(refused))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await _send(client, address, sent)
        except (ModbusException, OSError, TimeoutError):
            text = "it was sent and no answer came: read the tag before you try again"
            return told(WriteOutcome.UNKNOWN, BAD_NO_COMMUNICATION, text)
        if isinstance(answer, ExceptionResponse):
            code = ExcCodes(answer.exception_code).name.replace("_", " ").lower()
            return told(WriteOutcome.REFUSED, BAD_DEVICE_FAILURE, f"the device refuses it: {code}")
        found = await _read_back(client, address, sent)
        if found is None:
            text = "the device took it; it could not be read back"
            return told(WriteOutcome.NOT_CONFIRMED, BAD_NO_COMMUNICATION, text)
        block = Block(address.device, address.table, address.address, width(address), ((0, address),))
        read = binding.scale * float(Decoder(block).values(found)[0]) + binding.offset
        if found == sent:
            return told(WriteOutcome.WRITTEN, 0, "", read)
        return told(WriteOutcome.NOT_CONFIRMED, 0, f"the device took it; it reads {read:g} {binding.tag.unit}", read)


async def _send(client: AsyncModbusTcpClient, address: ModbusAddress, sent: Sequence[int]) -> object:
    if address.table in BITS:
        return await client.write_coil(address.address, bool(sent[0]), device_id=address.device)
    if len(sent) == 1:
        return await client.write_register(address.address, sent[0], device_id=address.device)
    return await client.write_registers(address.address, list(sent), device_id=address.device)


async def _read_back(client: AsyncModbusTcpClient, address: ModbusAddress, sent: Sequence[int]) -> list[int] | None:
    """What the device has after at most CONFIRM_S: what was sent as soon as it has that; None if it does not say."""
    is_bit = address.table in BITS
    read = client.read_coils if is_bit else client.read_holding_registers
    found: list[int] | None = None
    end_s = asyncio.get_running_loop().time() + CONFIRM_S
    while found != sent and asyncio.get_running_loop().time() < end_s:
        if found is not None:
            await asyncio.sleep(_READ_AGAIN_S)
        try:
            answer = await read(address.address, count=len(sent), device_id=address.device)
        except (ModbusException, OSError):
            return found
        if isinstance(answer, ExceptionResponse):
            return found
        got = answer.bits if is_bit else answer.registers
        found = [int(word) for word in got[: len(sent)]]
    return found
