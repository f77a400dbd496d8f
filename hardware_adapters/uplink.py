"""Delivery: spool -> ingestion service, over as many connections as it takes.

A batch leaves the spool when the service has it on its disk; after any break everything unacknowledged is sent again.
A batch that the service refuses as a whole would be refused for ever: it is set aside and delivery goes on behind it.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from dataclasses import asdict
from typing import TypeAlias, cast

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from uem.hardware_adapters.spool import Spool
from uem.hardware_adapters.spooled import Batch
from uem.hardware_adapters.supervise import Backoff
from uem.hardware_adapters.tasks import end
from uem.twin_core.alarms import Alarm
from uem.twin_core.errors import NotReady, StorageError
from uem.twin_core.measurements import Gap
from uem.v1 import common_pb2, ingestion_pb2, ingestion_pb2_grpc
from uem.v1.columns import INGEST_REQUEST, Columnar, ingest

_log = logging.getLogger(__name__)

MOST_IN_FLIGHT = 8
LONGEST_WAIT_S = 2.0  # the service is on this machine: trying costs little, a late twin does
_READ_AT_ONCE = 16
_REASONS = ingestion_pb2.RejectionReason.values()  # 0: unspecified
_MOST_BYTES = 16 << 20  # of a message, here and at the service
_FRAME_BYTES, _ROW_BYTES = 1000, 24
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a fresh channel per try; the shared pool would keep its own back-off
    ("grpc.max_send_message_length", _MOST_BYTES),
)
_Stub: TypeAlias = "ingestion_pb2_grpc.IngestionServiceAsyncStub"
_Call: TypeAlias = "grpc.aio.StreamStreamCall[Columnar[ingestion_pb2.IngestRequest], ingestion_pb2.IngestResponse]"


class Uplink:
    """Sends what is in the spool and forgets what is acknowledged."""

    def __init__(self, address: str, spool: Spool, *, acknowledge_timeout_s: float = 30.0) -> None:
        """`address` is host:port of the ingestion service; without an acknowledgement in time the line is cut."""
        self.connected = False
        # Every reason from the start: a counter that appears with its first count shows no increase.
        self.rejected: Counter[str] = Counter(dict.fromkeys(map(_reason, filter(None, _REASONS)), 0))
        self.duplicate_batches = 0
        self.refused_batches = 0
        self._address = address
        self._spool = spool
        self._acknowledge_timeout_s = acknowledge_timeout_s
        self._work = asyncio.Event()
        self._in_flight: deque[tuple[int, float]] = deque()
        self.most_in_flight = MOST_IN_FLIGHT
        self.behind = False  # whether newer samples are sent beside
        self._most_in_flight = MOST_IN_FLIGHT  # less while it is found out what the service refuses
        self._room = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._named: set[tuple[str, str]] = set()
        self._problem = ""

    def notify(self) -> None:
        """There is something new in the spool."""
        self._work.set()

    async def drain(self, timeout_s: float) -> None:
        """Wait until the spool is empty, at most `timeout_s`, or not at all when nobody is there to take it."""
        if not self.connected:
            return
        try:
            async with asyncio.timeout(timeout_s):
                while self._spool.batch_count:
                    self._acknowledged.clear()
                    await self._acknowledged.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Deliver until cancelled, over as many connections as it takes."""
        backoff = Backoff(LONGEST_WAIT_S)
        while True:
            try:
                async with grpc.aio.insecure_channel(self._address, options=_OPTIONS) as channel:
                    await self._deliver(channel, backoff)
                    continue
            except grpc.aio.AioRpcError as error:
                self._report(f"{error.code().name}: {error.details()}")
            except (NotReady, StorageError) as error:
                self._report(str(error))
            finally:
                self.connected = False
            await asyncio.sleep(backoff.next_s())

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            waiting = self._spool.batch_count
            _log.warning("ingestion at %s: %s; %d batches wait in the spool", self._address, problem, waiting)
        self._problem = problem

    async def _deliver(self, channel: grpc.aio.Channel, backoff: Backoff) -> None:
        """One connection: agree on what is on disk there, then send and take acknowledgements until it breaks.

        Returns when the reason is mended and it is worth to connect again at once, else raises it.
        """
        stub = cast("_Stub", ingestion_pb2_grpc.IngestionServiceStub(channel))
        await self._agree(stub)
        call = ingest(channel)()
        self._in_flight.clear()
        self._room.set()
        tasks = [asyncio.create_task(self._send(call)), asyncio.create_task(self._receive(call))]
        try:
            self.connected = True
            _log.info("ingestion at %s: connected, %d batches wait", self._address, self._spool.batch_count)
            self._problem = ""
            backoff.reset()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except grpc.aio.AioRpcError as error:
            # The next batch goes alone until it is acknowledged: gRPC hides why the service ended the stream
            # when another batch is just being written.
            self._most_in_flight = 1
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT or not await self._mend(stub, error):
                raise
        finally:
            call.cancel()
            await end(tasks)

    async def _agree(self, stub: _Stub) -> None:
        """Forget what the service has; when it knows more than was ever sent, our spool is an old copy: be another."""
        last = await self._last_there(stub)
        if last <= self._spool.sent_sequence:
            await self._forget(last)
        else:
            await self._renew("the spool is older than what the service has")
        await asyncio.to_thread(self._spool.begin_to_send)

    async def _last_there(self, stub: _Stub) -> int:
        request = ingestion_pb2.GetProducerRequest(producer=self._spool.producer)
        return int((await stub.GetProducer(request, timeout=10)).last_sequence)

    async def _renew(self, why: str) -> None:
        """Go on as another producer, whose sequences may begin anywhere."""
        old, new = self._spool.producer, await asyncio.to_thread(self._spool.renew_producer)
        _log.warning("ingestion at %s: %s of producer %s: going on as %s", self._address, why, old, new)

    async def _mend(self, stub: _Stub, error: grpc.aio.AioRpcError) -> bool:
        """Do something about what the service will refuse each time; False when there is nothing to be done."""
        if _error_reason(error) == "SEQUENCE_GAP":
            await self._renew("the service has lost what it had acknowledged")
            return True
        # Acknowledgements may be lost together with the stream, so the service is asked how far it came.
        last = await self._last_there(stub)
        await self._forget(last)
        refused = next((sequence for sequence, _ in self._in_flight if sequence > last), 0)
        return await self._set_aside(refused, error.details() or "")

    async def _set_aside(self, sequence: int, reason: str) -> bool:
        """Keep a batch that the service will never take out of the way; False when there was nothing in it."""
        rows = await asyncio.to_thread(self._spool.refuse, sequence, reason)
        if rows:
            self.refused_batches += 1
            _log.error(
                "ingestion at %s refuses batch %d with %d rows: %s; it is kept in table `refused` of %s",
                *(self._address, sequence, rows, reason, self._spool.path),
            )
        return rows > 0

    async def _send(self, call: _Call) -> None:
        """Write batch after batch, a few beyond the acknowledged ones."""
        sent = 0
        while True:
            self._work.clear()
            batches = await asyncio.to_thread(self._spool.read, sent, _READ_AT_ONCE)
            if not batches:
                await self._work.wait()
            for batch in batches:
                while len(self._in_flight) >= self._most_in_flight:
                    self._room.clear()
                    await self._room.wait()
                try:
                    wire = request(self._spool.producer, batch, behind=self.behind)
                except ValueError as error:  # it could not be sent ever
                    await self._set_aside(batch.sequence, f"it cannot be sent: {error}")
                    break
                self._in_flight.append((batch.sequence, time.monotonic()))
                self._spool.sent_sequence = max(self._spool.sent_sequence, batch.sequence)
                try:
                    await call.write(wire)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return  # the call is over; reading from it says why
                sent = batch.sequence

    async def _receive(self, call: _Call) -> None:
        """Take acknowledgements until the stream ends, which is an error whatever the reason."""
        while True:
            response = await self._read(call)
            if not isinstance(response, ingestion_pb2.IngestResponse):
                raise NotReady("the service has closed the stream")
            self._count(response)
            while self._in_flight and self._in_flight[0][0] <= response.sequence:
                self._in_flight.popleft()
            self._most_in_flight = self.most_in_flight
            self._room.set()
            await self._forget(response.sequence)

    async def _forget(self, sequence: int) -> None:
        """Delete what is acknowledged; on a full disk that fails too, and delivering goes on all the same."""
        try:
            await asyncio.to_thread(self._spool.acknowledge, sequence)
        except StorageError as error:
            self._report(f"acknowledged, but still in the spool: {error}")
        self._acknowledged.set()

    async def _read(self, call: _Call) -> object:
        """The next response; NotReady when a batch stays unacknowledged for too long."""
        read = asyncio.ensure_future(call.read())
        try:
            while not read.done():
                await asyncio.wait({read}, timeout=min(1.0, self._acknowledge_timeout_s))
                oldest = self._in_flight[0][1] if self._in_flight else time.monotonic()
                if not read.done() and time.monotonic() - oldest > self._acknowledge_timeout_s:
                    raise NotReady(f"no acknowledgement for {self._acknowledge_timeout_s:g} s")
            return read.result()
        finally:
            read.cancel()

    def _count(self, response: ingestion_pb2.IngestResponse) -> None:
        self.duplicate_batches += response.duplicate
        if response.refused_gap_count:
            _log.error("ingestion refuses %d gaps of batch %d", response.refused_gap_count, response.sequence)
            self.rejected["gap"] += response.refused_gap_count
        if response.refused_alarm_count:
            _log.error("ingestion refuses %d alarms of batch %d", response.refused_alarm_count, response.sequence)
            self.rejected["alarm"] += response.refused_alarm_count
        for rejection in response.rejections:
            reason = _reason(rejection.reason)
            self.rejected[reason] += rejection.row_count
            for tag in rejection.tag_name:
                if (reason, tag) not in self._named:
                    self._named.add((reason, tag))
                    _log.warning("ingestion refuses samples of tag %s: %s (said once per tag)", tag, reason)


def request(producer: str, batch: Batch, *, behind: bool = False) -> Columnar[ingestion_pb2.IngestRequest]:
    """A batch as it goes over the wire.

    Raises:
        ValueError: it is too large, or a text in it cannot be sent.
    """
    message = ingestion_pb2.IngestRequest(
        producer=producer,
        sequence=batch.sequence,
        samples=common_pb2.Samples(tag_name=batch.samples.names),
        gaps=[_gap(gap) for gap in batch.gaps],
        behind=behind,
        alarms=[_alarm(alarm) for alarm in batch.alarms],
    )
    if (size := message.ByteSize() + _ROW_BYTES * len(batch.samples)) > _MOST_BYTES - _FRAME_BYTES:
        raise ValueError(f"{size} bytes in one message")
    return INGEST_REQUEST.columnar(message, batch.samples)


def _gap(gap: Gap) -> common_pb2.Gap:
    reason = common_pb2.GapReason.Value(f"GAP_REASON_{gap.reason.name}")
    return common_pb2.Gap(tag_name=gap.tag, start_time_ns=gap.start_ns, end_time_ns=gap.end_ns, reason=reason)


def _alarm(alarm: Alarm) -> common_pb2.Alarm:
    state = common_pb2.AlarmState.Value(f"ALARM_STATE_{alarm.state.name}")
    return common_pb2.Alarm(**{**asdict(alarm), "state": state})


def _reason(reason: int) -> str:
    """A RejectionReason as a label: not_finite."""
    try:
        name = ingestion_pb2.RejectionReason.Name(reason)  # type: ignore[arg-type]
    except ValueError:
        return f"reason_{reason}"
    return name.removeprefix("REJECTION_REASON_").lower()


def _error_reason(error: grpc.aio.AioRpcError) -> str:
    """The machine-readable reason of a failed call: SEQUENCE_GAP; empty when there is none."""
    status = next((value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"), b"")
    info = ErrorInfo()
    return next((info.reason for packed in Status.FromString(status).details if packed.Unpack(info)), "")
