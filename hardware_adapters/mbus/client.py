"""The M-Bus adapter: meters behind a level converter with a TCP port, read out one after the other.

The source time of a value is when its meter was asked, by our clock. A meter that fails makes its own tags bad, and
nothing else.
"""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self
from urllib.parse import urlsplit

import numpy as np

from uem.hardware_adapters.mbus.frames import ACKNOWLEDGEMENT, FRAME_COUNT, REQUEST, RESET, Garbled, short, take
from uem.hardware_adapters.mbus.records import Key, Reading, Unreadable, key_of, readings
from uem.hardware_adapters.polling import Silence, due_periods
from uem.hardware_adapters.tags import TagTable
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import BAD_DECODING_ERROR, BAD_NO_COMMUNICATION, BAD_SENSOR_FAILURE, Samples
from uem.twin_core.plant.addresses import MbusAddress
from uem.twin_core.plant.territory import TagBinding

PORT = 10001
MOST_TELEGRAMS = 32  # of one readout
_ATTEMPTS = 3  # to have an answer that is not garbled

Answer = dict[Key, Reading]
Tags = list[tuple[int, Key]]  # index and record of each


class MbusAdapter:
    """One TCP connection to one converter, on whose bus there are meters with primary addresses."""

    def __init__(
        self,
        endpoint: str,
        bindings: Sequence[TagBinding],
        *,
        response_timeout_s: float = 3.0,
        ask_silent_s: float = 60.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is opened yet; `endpoint` is mbus.tcp://host:port.

        A meter of which no whole telegram comes within `response_timeout_s` is bad until it answers again, and is asked
        at most every `ask_silent_s`; when none answers, the plant counts as lost. `clock` gives the source times in ns.
        """
        self.endpoint = endpoint
        self.missing: dict[str, str] = {}
        self.dropped = 0  # there is no queue: a meter is asked when its answer is wanted
        # garbled: answers that were none, such as with a wrong checksum; silent: a whole telegram did not come in time;
        # unreadable: telegrams that are not read here
        self.problems = Counter(garbled=0, silent=0, unreadable=0)
        self._tags = TagTable(bindings)
        self._timeout_s = response_timeout_s
        self._clock = clock
        self._line = _Line()
        self._silence = Silence(ask_silent_s)
        self._meters: set[int] = set()
        self._groups: dict[float, dict[int, Tags]] = {}  # by period and meter

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._line.open

    async def __aenter__(self) -> Self:
        address = urlsplit(self.endpoint)
        self._line = _Line()
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: self._line, address.hostname or "", address.port or PORT
                )
        except OSError as error:  # TimeoutError is one
            why = str(error) or f"nothing within {self._timeout_s:g} s"
            raise AdapterError(f"{self.endpoint}: no connection: {why}") from None
        try:
            await self._find_tags()
        except BaseException:
            self._line.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._line.close()

    async def batches(self) -> AsyncIterator[Samples]:
        """One batch per readout of a meter; AdapterError when the connection is lost or no meter answers any more."""
        async for periods in due_periods(self._groups):
            due: dict[int, Tags] = defaultdict(list)
            for period in periods:
                for meter, tags in self._groups[period].items():
                    due[meter] += tags
            for meter, tags in due.items():
                now_ns = self._clock()
                yield self._samples(now_ns, tags, await self._read_out(meter))

    # --- tags ---

    async def _find_tags(self) -> None:
        """Read every meter once: which of its tags it tells. One that is silent now may do so later."""
        by_meter: dict[int, list[tuple[int, Key, float]]] = defaultdict(list)
        for index, binding in enumerate(self._tags.bindings):
            assert isinstance(binding.address, MbusAddress)
            by_meter[binding.address.meter].append((index, key_of(binding.address), binding.sampling_ms))
        self._meters = set(by_meter)
        for meter, tags in by_meter.items():
            try:
                answer = await self._telegrams(meter)
                said = f"tells {', '.join(map(str, answer or ())) or 'nothing that tags can be'}"
            except Unreadable as error:
                answer, said = {}, f"cannot be read: {error}"
            except Garbled:
                answer, said = None, ""
            for index, key, period in tags:
                if answer is None or key in answer:
                    self._groups.setdefault(period, {}).setdefault(meter, []).append((index, key))
                else:
                    self.missing[self._tags.names[index]] = f"meter {meter}, {key}: the meter {said}"
        if not self._groups:
            first = "; ".join(f"{tag}: {why}" for tag, why in list(self.missing.items())[:3])
            raise UnknownTag(f"{self.endpoint}: none of the {len(self._tags)} tags can be read: {first}")

    def _samples(self, now_ns: int, tags: Tags, answer: Answer | int) -> Samples:
        """Rows of all tags of a meter from its answer, or from the quality that it leaves instead of one."""
        otherwise = Reading(math.nan, BAD_SENSOR_FAILURE if isinstance(answer, dict) else answer)
        found = [answer.get(key, otherwise) if isinstance(answer, dict) else otherwise for _, key in tags]
        return self._tags.samples(
            np.array([index for index, _ in tags], np.uint32),
            np.full(len(tags), now_ns, np.int64),
            np.array([reading.value for reading in found], np.float64),
            np.array([reading.quality for reading in found], np.uint32),
        )

    # --- reading ---

    async def _read_out(self, meter: int) -> Answer | int:
        """What a meter says, or the quality of its tags when that cannot be had."""
        try:
            answer = await self._telegrams(meter)
        except (Garbled, Unreadable):
            return BAD_DECODING_ERROR
        return BAD_NO_COMMUNICATION if answer is None else answer

    async def _telegrams(self, meter: int) -> Answer | None:
        """All telegrams of a meter; None when it says nothing in time.

        Raises:
            AdapterError: the connection is lost, or no meter of this plant answers any more.
            Garbled: what it says is no frame, however often it is asked.
            Unreadable: it says what is not read here.
        """
        if self._silence.rests(meter):
            return None
        try:
            await self._ask(RESET, meter, wanted=lambda frame: frame == ACKNOWLEDGEMENT)
            found: Answer = {}
            control = REQUEST | FRAME_COUNT
            for _ in range(MOST_TELEGRAMS):
                telegram = await self._ask(
                    control, meter, wanted=lambda frame: frame != ACKNOWLEDGEMENT and frame[5] == meter
                )
                its, more = readings(telegram)
                for key, reading in its.items():
                    found.setdefault(key, reading)
                control ^= FRAME_COUNT
                if not more:
                    break
        except TimeoutError:
            self.problems["silent"] += 1
            self._silence.begin(meter)
            if self._silence.is_of(self._meters):
                raise AdapterError(
                    f"{self.endpoint}: no answer within {self._timeout_s:g} s from meter {meter}"
                ) from None
            return None
        except (Garbled, Unreadable) as error:
            self.problems["unreadable"] += isinstance(error, Unreadable)
            self._silence.end(meter)
            raise
        self._silence.end(meter)
        return found

    async def _ask(self, control: int, meter: int, *, wanted: Callable[[bytes], bool]) -> bytes:
        """The wanted frame that answers a request, which is repeated when the answer is garbled.

        Raises:
            TimeoutError: nothing came. Garbled: what came was none, each time. AdapterError: the connection is lost.
        """
        why: Exception = Garbled()
        for _ in range(_ATTEMPTS):
            line = self._line
            line.send(short(control, meter))
            try:
                async with asyncio.timeout(self._timeout_s):
                    while True:
                        frame = take(line.received)
                        if frame is not None and wanted(frame):
                            return frame
                        if frame is None and not await line.more():
                            raise AdapterError(f"{self.endpoint}: connection lost")
            except Garbled as error:
                why = error
                await self._until_quiet()
            except TimeoutError:
                if not line.received:
                    raise
                why = Garbled("a frame that does not end")
            self.problems["garbled"] += 1
        raise why

    async def _until_quiet(self) -> None:
        """Let the rest of a garbled answer come, which would be taken for the next one."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    async with asyncio.timeout(min(0.1, self._timeout_s)):
                        if not await self._line.more():
                            return
        except TimeoutError:
            return


class _Line(asyncio.Protocol):
    """Bytes of the connection as they come."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.open = True

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._changed.set()

    def send(self, request: bytes) -> None:
        """Send a request; what is left of earlier answers is forgotten."""
        self.received.clear()
        self._changed.clear()
        if self._transport is not None and self.open:
            self._transport.write(request)

    async def more(self) -> bool:
        """Wait for more bytes; False when the connection is lost."""
        if self.open:
            await self._changed.wait()
            self._changed.clear()
        return self.open

    def close(self) -> None:
        """Close the connection, now."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()
