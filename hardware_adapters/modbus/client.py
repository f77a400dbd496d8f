"""The Modbus TCP adapter: blocks of registers, asked for in the period of their tags.

The source time of a value is when its poll began, by our clock: Modbus has no times. An exception of a device makes
the tags of that block bad, and nothing else.
"""

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from uem.hardware_adapters.base import Written
from uem.hardware_adapters.modbus.registers import BITS, Block, Decoder, blocks
from uem.hardware_adapters.modbus.writing import ModbusWriter
from uem.hardware_adapters.polling import Silence, due_periods
from uem.hardware_adapters.tags import TagTable
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import (
    BAD_CONFIGURATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_NO_COMMUNICATION,
    BAD_SENSOR_FAILURE,
    Samples,
)
from uem.twin_core.plant.addresses import ModbusAddress
from uem.twin_core.plant.territory import TagBinding

PORT = 502
_NOT_THERE = (ExcCodes.ILLEGAL_FUNCTION, ExcCodes.ILLEGAL_ADDRESS, ExcCodes.ILLEGAL_VALUE)
_QUALITY: dict[int, int] = {
    ExcCodes.GATEWAY_PATH_UNAVIABLE: BAD_NO_COMMUNICATION,
    ExcCodes.GATEWAY_NO_RESPONSE: BAD_NO_COMMUNICATION,
    **dict.fromkeys(_NOT_THERE, BAD_CONFIGURATION_ERROR),
}


class ModbusAdapter:
    """One TCP connection to one Modbus server, behind which there may be several devices."""

    def __init__(
        self,
        endpoint: str,
        bindings: Sequence[TagBinding],
        *,
        response_timeout_s: float = 3.0,
        ask_silent_s: float = 10.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is opened yet; `endpoint` is modbus.tcp://host:port.

        A device that does not answer within `response_timeout_s` is bad until it does again, and is asked at most every
        `ask_silent_s`; when none answers, the plant counts as lost. `clock` gives the source times in ns.
        """
        self.endpoint = endpoint
        self.missing: dict[str, str] = {}
        self.dropped = 0  # there is no queue: a plant is asked when its answer is wanted
        # exception: a device answers that it cannot; silent: it did not answer in time; short: too few registers
        self.problems = Counter(exception=0, silent=0, short=0)
        self._tags = TagTable(bindings)
        self._writer = ModbusWriter(self._tags)
        self._timeout_s = response_timeout_s
        self._clock = clock
        address = urlsplit(endpoint)
        self._client = AsyncModbusTcpClient(
            address.hostname or "",
            port=address.port or PORT,
            timeout=response_timeout_s,
            retries=0,
            reconnect_delay=0,
        )
        self._client.set_max_no_responses(1_000_000)  # whether it is lost is decided here
        self._silence = Silence(ask_silent_s)
        self._devices: set[int] = set()
        self._groups: dict[float, list[tuple[Block, Decoder]]] = {}

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return bool(self._client.connected)

    async def __aenter__(self) -> Self:
        try:
            if not await self._client.connect():
                raise AdapterError(f"{self.endpoint}: no connection within {self._timeout_s:g} s")
            await self._find_tags()
        except BaseException:
            self._client.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._client.close()

    async def batches(self) -> AsyncIterator[Samples]:
        """One batch per poll; AdapterError when the connection is lost or no device answers any more."""
        async for periods in due_periods(self._groups):
            yield await self._poll([part for period in periods for part in self._groups[period]])

    async def write(self, values: Mapping[str, float], *, timeout_s: float = 10.0) -> list[Written]:
        """Write SI values to tags that the tag table marks as writable, each once, and read them back."""
        return await self._writer.write(self._client, self.missing, values, timeout_s)

    # --- tags ---

    async def _find_tags(self) -> None:
        """Read everything once: which tags are there, and in which blocks the devices give them."""
        addresses = [b.address for b in self._tags.bindings]
        by_period: dict[float, list[tuple[int, ModbusAddress]]] = defaultdict(list)
        for index, address in enumerate(addresses):
            assert isinstance(address, ModbusAddress)
            self._devices.add(address.device)
            by_period[self._tags.bindings[index].sampling_ms].append((index, address))
        for period, tags in by_period.items():
            readable = [block for block in blocks(tags) for block in await self._readable(block)]
            if readable:
                self._groups[period] = [(block, Decoder(block)) for block in readable]
        if not self._groups:
            first = "; ".join(f"{tag}: {why}" for tag, why in list(self.missing.items())[:3])
            raise UnknownTag(f"{self.endpoint}: none of the {len(self._tags)} tags can be read: {first}")

    async def _readable(self, block: Block) -> list[Block]:
        """The block as it is, or in parts without the registers that the device does not have."""
        answer = await self._read(block)
        if answer is None or not (isinstance(answer, ExceptionResponse) and answer.exception_code in _NOT_THERE):
            return [block]
        if len(block.tags) > 1:
            tight = blocks(block.tags, bridged=0)
            parts = tight if len(tight) > 1 else [part for tag in block.tags for part in blocks([tag])]
            return [there for part in parts for there in await self._readable(part)]
        self.missing[self._tags.names[block.tags[0][0]]] = f"{block}: {_text(answer)}"
        return []

    # --- polling ---

    async def _poll(self, parts: Iterable[tuple[Block, Decoder]]) -> Samples:
        now_ns = self._clock()
        tag, value, quality = [], [], []
        for block, decoder in parts:
            answer = await self._read(block)
            its_value, its_quality = _decoded(block, decoder, answer)
            self.problems["exception"] += isinstance(answer, ExceptionResponse)
            self.problems["short"] += bool((its_quality == BAD_DECODING_ERROR).all())
            tag.append(decoder.tag)
            value.append(its_value)
            quality.append(its_quality)
        tags = np.concatenate(tag)
        times = np.full(len(tags), now_ns, np.int64)
        return self._tags.samples(tags, times, np.concatenate(value), np.concatenate(quality))

    async def _read(self, block: Block) -> ModbusPDU | None:
        """What the device says; None when it says nothing in time.

        Raises:
            AdapterError: the connection is lost, or no device of this plant answers any more.
        """
        if self._silence.rests(block.device):
            return None
        read = {
            "holding": self._client.read_holding_registers,
            "input": self._client.read_input_registers,
            "coil": self._client.read_coils,
            "discrete": self._client.read_discrete_inputs,
        }[block.table]
        try:
            answer = await read(block.start, count=block.count, device_id=block.device)
        except (ModbusException, OSError) as error:
            if not self._client.connected:
                raise AdapterError(f"{self.endpoint}: connection lost: {error}") from None
            self.problems["silent"] += 1
            self._silence.begin(block.device)
            if self._silence.is_of(self._devices):
                raise AdapterError(f"{self.endpoint}: no answer within {self._timeout_s:g} s from {block}") from None
            return None
        self._silence.end(block.device)
        return answer


def _decoded(
    block: Block, decoder: Decoder, answer: ModbusPDU | None
) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """Values and qualities of the tags of a block, whatever came back."""
    count = len(decoder.tag)
    if answer is None:
        code = BAD_NO_COMMUNICATION
    elif isinstance(answer, ExceptionResponse):
        code = _QUALITY.get(answer.exception_code, BAD_DEVICE_FAILURE)
    else:
        read = answer.bits if block.table in BITS else answer.registers
        if len(read) >= block.count:
            value = decoder.values(read)
            return value, np.where(np.isnan(value), BAD_SENSOR_FAILURE, 0).astype(np.uint32)
        code = BAD_DECODING_ERROR
    return np.full(count, np.nan), np.full(count, code, np.uint32)


def _text(answer: ModbusPDU) -> str:
    assert isinstance(answer, ExceptionResponse)
    code = answer.exception_code
    return f"the device answers {ExcCodes(code).name.replace('_', ' ').lower()} ({code})"
