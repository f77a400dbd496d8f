"""The OPC UA client adapter: one subscription with all tags of a plant, kept through outages, samples as columns.

Transport, security and services are asyncua's; the publish loop (`publishing`), the way back after an outage
(`desired`) and the judgement whether a line is alive (`channel`) are ours. What the server could not keep during an
outage is read from its history, else it is a break.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from uem.hardware_adapters.base import Break, SampleQueue
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.channel import CONNECTION_ERRORS, PACE_S, Channel, Opener, Superseded, text_of
from uem.hardware_adapters.opcua.delivery import Delivery
from uem.hardware_adapters.opcua.desired import Ask, Desired, Refusal, Stuck
from uem.hardware_adapters.opcua.notifications import BAD_TYPE_MISMATCH, NO_TIME, Notification
from uem.hardware_adapters.opcua.publishing import Lost, Publisher
from uem.hardware_adapters.opcua.services import Services, why
from uem.hardware_adapters.tags import TagTable
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import OVERFLOW, GapReason, Samples, is_bad, is_overflow
from uem.twin_core.plant.territory import TagBinding

_log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0
FIRST_PATIENCE_S = 0.5  # with a server that sets up; doubled each time that it was too short
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = np.iinfo(np.int64).min


class _SubscriptionGone(Exception):
    """The subscription has to be made anew."""


class OpcUaAdapter:
    """One subscription on one OPC UA server, with all tags of a plant."""

    def __init__(
        self,
        endpoint: str,
        bindings: Sequence[TagBinding],
        certificates: CertificateStore,
        *,
        security_policy: str = "Basic256Sha256",
        publish_interval_ms: float = 100.0,
        connect_timeout_s: float = 15.0,
        silence_s: float | None = None,
        give_up_s: float = math.inf,
        most_queued_rows: int = 100_000,
    ) -> None:
        """Nothing is opened yet.

        Args:
            endpoint: opc.tcp://host:port/path
            bindings: the tags of this plant.
            certificates: our own certificate and whom we trust.
            security_policy: key of POLICIES; messages are always signed and encrypted.
            publish_interval_ms: how often the server is asked to send.
            connect_timeout_s: wall time for everything up to the subscription.
            silence_s: without any message for so long a new line is tried; by default 1.5 publish intervals, at least
                0.6 s. The server is asked for keep-alives that fit into it.
            give_up_s: how long an outage may last before the adapter ends with an error.
            most_queued_rows: rows kept for a slow reader before the oldest are dropped.
        """
        self.endpoint = endpoint
        self.missing: dict[str, str] = {}
        self.connected = False
        self.outages = 0
        self._tags = TagTable(bindings)
        self._connect_timeout_s = connect_timeout_s
        self._silence_s = max(1.5 * publish_interval_ms / 1000, 0.6) if silence_s is None else silence_s
        self._give_up_s = give_up_s
        self._queue = SampleQueue(most_queued_rows)
        self._opener = Opener(
            endpoint,
            certificates,
            security_policy,
            timeout_s=min(10.0, connect_timeout_s),
            session_timeout_s=max(300.0, 4 * self._silence_s),
        )
        self._desired = Desired(len(bindings))
        self._delivery = Delivery()
        self._generation = 0
        self._channel: Channel | None = None
        self._newest_channel: Channel | None = None  # for its session, also when its line is cut
        self._services = Services(self._tags.bindings, publish_interval_ms, self._silence_s)
        self._keep_alive_s = self._silence_s
        self._start_time: datetime | None = None
        self._newest = np.full(len(bindings), _NEVER)  # source time by tag
        self._bridging: set[int] = set()  # tags whose first sample after a break has not come
        self._break_reason = GapReason.LINK_DOWN
        self._held: list[tuple[int, Samples]] = []  # with the generation that brought them
        self._lost_at_server = self._not_sent = 0
        self._publisher: Publisher | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> int:
        """Rows dropped here, and losses that the server reported (at least one row each)."""
        not_sent = self._publisher.lost if self._publisher is not None else 0
        return self._queue.dropped + self._lost_at_server + self._not_sent + not_sent

    @property
    def decode_s(self) -> float:
        """Seconds that it took so far to decode what the server published."""
        return self._publisher.decode_s if self._publisher is not None else 0.0

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                self._take_over(await self._opener.open())
                await self._set_up()
        except TimeoutError:
            await self._close()
            raise AdapterError(f"{self.endpoint}: no connection within {self._connect_timeout_s:g} s") from None
        except (*CONNECTION_ERRORS, Stuck) as error:
            await self._close()
            raise AdapterError(f"{self.endpoint}: {text_of(error)}") from None
        except BaseException:
            await self._close()
            raise
        self.connected = True
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    def batches(self) -> AsyncIterator[Any]:
        """Samples as the server publishes them; AdapterError when it is lost for too long or cannot be used."""
        return self._queue.batches()

    # --- outages ---

    async def _run(self) -> None:
        """Read what the server publishes, through outages, until it is lost for good."""
        problem = ""
        try:
            while True:
                try:
                    assert self._channel is not None
                    await self._guarded(self._serve(), max(self._silence_s, 1.5 * self._keep_alive_s))
                except Superseded as newer:
                    problem = f"nothing heard for {self._silence_s:g} s"
                    self._end_if_impatient(problem)
                    self._lost(problem)
                    self._take_over(newer.newer)
                except _SubscriptionGone as error:
                    problem = text_of(error)
                    self._end_if_impatient(problem)
                    self._lost(problem)
                    self._desired.subscription_gone()
                except AdapterError:
                    raise
                except Exception as error:  # the library raises many kinds when a connection ends
                    problem = f"connection lost: {text_of(error)}"
                    self._end_if_impatient(problem)
                    self._lost(problem)
                    self._drop()
                async with asyncio.timeout(None if math.isinf(self._give_up_s) else self._give_up_s):
                    await self._recover()
                _log.info("%s: connected again", self.endpoint)
                self.connected = True
        except TimeoutError:
            self._end(f"{problem}; no way back for {self._give_up_s:g} s")
        except AdapterError as error:
            self._end(str(error))
        except Exception as error:  # the reader must not hang
            _log.exception("%s: unexpected fault", self.endpoint)
            self._end(text_of(error))
        finally:
            self.connected = False

    def _end(self, problem: str) -> None:
        self._let_held_go()
        self._queue.end(AdapterError(problem if problem.startswith(self.endpoint) else f"{self.endpoint}: {problem}"))

    def _end_if_impatient(self, problem: str) -> None:
        if self._give_up_s <= 0:
            raise AdapterError(problem)

    def _lost(self, problem: str) -> None:
        self.connected = False
        self.outages += 1
        _log.warning("%s: %s", self.endpoint, problem)

    async def _recover(self) -> None:
        """Until everything is as desired again, however often that is interrupted."""
        patience_s = FIRST_PATIENCE_S
        while True:
            if self._channel is None:
                self._take_over(await self._opener.race())
            try:
                await self._guarded(self._set_up(), patience_s)
            except Superseded as newer:
                patience_s = min(2 * patience_s, self._connect_timeout_s)
                self._take_over(newer.newer)
            except (*CONNECTION_ERRORS, Stuck) as error:
                _log.debug("%s: set-up broken off: %s", self.endpoint, text_of(error))
                self._drop()
                if isinstance(error, Stuck):
                    await asyncio.sleep(PACE_S)
            else:
                return

    async def _guarded(self, work: Any, patience_s: float) -> None:
        """Work on the channel; Superseded when it fell silent, or at once when nobody is to wait for a newer one."""
        assert self._channel is not None
        if self._give_up_s > 0:
            await self._opener.guard(work, self._channel, patience_s)
            return
        doing = asyncio.create_task(work)
        try:
            while not doing.done():
                left_s = self._channel.heard_s + patience_s - time.monotonic()
                if left_s <= 0:
                    raise AdapterError(f"nothing heard for {self._silence_s:g} s")
                await asyncio.wait([doing], timeout=left_s)
            await doing
        finally:
            await end([doing])

    def _take_over(self, channel: Channel) -> None:
        """Go on with another channel, and on it with the session."""
        channel.adopt(self._newest_channel)
        self._drop()
        self._channel = self._newest_channel = channel
        self._services.use(channel)
        self._desired.line_opened()

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.drop()
        self._channel = None

    # --- set-up ---

    async def _set_up(self) -> None:
        """Ask for what is desired until it is there."""
        desired, services = self._desired, self._services
        asked: dict[asyncio.Task[object], Ask] = {}
        try:
            while not desired.is_live:
                while (ask := desired.next()) is not None:
                    asked[asyncio.create_task(services.make(ask, desired.subscription, desired.nodes))] = ask
                if not asked:
                    raise Stuck("nothing is left to ask")
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._note(asked.pop(task), task)
        finally:
            await end(asked)
        if desired.generation != self._generation:
            self._begin(services)

    def _note(self, ask: Ask, task: asyncio.Task[object]) -> None:
        """Tell the state machine what came of a request; CONNECTION_ERRORS when the line is lost."""
        assert self._channel is not None
        try:
            answer = task.result()
        except ua.UaStatusCodeError as error:
            if not self._channel.is_open:
                raise ConnectionError(text_of(error)) from None
            try:
                self._desired.refused(ask, why(error), ua.StatusCode(error.code).name)
            except Stuck as stuck:
                raise self._opener.refused(error) or stuck from None
        else:
            self._desired.done(ask, answer)

    def _begin(self, services: Services) -> None:
        """A subscription that was made anew: nobody knows what came between the old one and this."""
        self.missing = {self._tags.names[tag]: text for tag, text in sorted(self._desired.missing.items())}
        if len(self.missing) == len(self._tags):
            first = "; ".join(f"{tag}: {reason}" for tag, reason in list(self.missing.items())[:3])
            what = (
                f"monitors none of the {len(self._tags)} tags"
                if self._desired.nodes
                else (f"has none of the {len(self._tags)} tags")
            )
            raise UnknownTag(f"{self.endpoint}: the server {what}: {first}")
        if self._desired.unfiltered:
            _log.warning(
                "%s: the server does not report unchanged values of %d tags; equal readings in a row arrive once",
                self.endpoint,
                len(self._desired.unfiltered),
            )
        if self._generation:
            restarted = services.start_time != self._start_time
            self._break_reason = GapReason.SOURCE_RESTARTED if restarted else GapReason.LINK_DOWN
            self._bridging = {tag for tag in self._desired.nodes if self._newest[tag] != _NEVER}
        self._generation = self._desired.generation
        self._start_time = services.start_time
        self._keep_alive_s = services.keep_alive_s
        self._delivery = Delivery()

    # --- samples ---

    async def _serve(self) -> None:
        """Take what the server publishes, until the line or the subscription is lost."""
        assert self._channel is not None
        publisher = Publisher(
            self._channel.session,
            self._channel.publish,
            self._desired.subscription,
            self.endpoint,
            self._delivery,
        )
        self._publisher = publisher
        try:
            await self._deliver_held()
            while True:
                try:
                    arrived = await publisher.next()
                except ua.UaStatusCodeError as error:
                    if why(error) is Refusal.SUBSCRIPTION_GONE and self._channel.is_open:
                        raise _SubscriptionGone(f"the server ends the subscription: {text_of(error)}") from None
                    raise
                for each in arrived:
                    if isinstance(each, Lost):
                        self._queue.put(Break(GapReason.LINK_DOWN))
                    else:
                        await self._take(each)
                if any(isinstance(each, Lost) for each in arrived) and self._give_up_s > 0:
                    raise _SubscriptionGone("notifications are lost")
        finally:
            self._not_sent += publisher.lost
            self._publisher = None
            await publisher.close()

    async def _take(self, notification: Notification) -> None:
        """Queue the rows of a notification; a missing source time is replaced by the server's, then by ours."""
        for status in filter(is_bad, notification.status_changes):
            raise _SubscriptionGone(f"the server ends the subscription: {ua.StatusCode(status).name}")
        handle = notification.handle
        source = notification.source_time_ns
        if len(source) and source.min() == NO_TIME:
            source = np.where(source != NO_TIME, source, notification.server_time_ns)
            source[source == NO_TIME] = time.time_ns()
        value, quality = notification.value, notification.quality
        if len(handle) and int(handle.max()) >= len(self._tags):
            known = handle < len(self._tags)
            handle, source, value, quality = handle[known], source[known], value[known], quality[known]
        if not len(handle):
            return
        samples = self._tags.samples(handle, source, value, quality)
        await self._deliver(samples)

    async def _deliver(self, samples: Samples) -> None:
        """Queue samples, behind what the history has before them; if the line breaks meanwhile they are held back."""
        lossy = is_overflow(samples.quality)
        if self._bridging or lossy.any():
            try:
                await self._bridge(samples, lossy)
            except BaseException:
                self._held.append((self._generation, samples))
                raise
            self._lost_at_server += int(np.count_nonzero(is_overflow(samples.quality)))
        self._newest[samples.tag] = samples.source_time_ns
        self._queue.put(samples)

    async def _deliver_held(self) -> None:
        """What was held back, now that a line stands again."""
        while self._held:
            generation, samples = self._held.pop(0)
            before = self._held
            self._held = []
            try:
                await self._deliver(samples)
            finally:
                self._held += before
            if generation != self._generation:  # the break that made this one is behind these samples
                self._bridging |= set(samples.tag.tolist())

    def _let_held_go(self) -> None:
        """No line will stand again: what was held back has a break before it."""
        for _, samples in self._held:
            self._queue.put(Break(self._break_reason, frozenset(samples.names[tag] for tag in samples.tag.tolist())))
            self._queue.put(samples)
        self._held = []

    async def _bridge(self, samples: Samples, lossy: NDArray[np.bool_]) -> None:
        """Fill what lies before samples after a break or an overflow from the server's history, else tell of it.

        A row whose overflow is filled loses that bit. Nothing is changed when the line breaks.
        """
        first: dict[int, tuple[int, int]] = {}
        rows: dict[int, int] = {}
        seen: set[int] = set()
        for row, (tag, time_ns) in enumerate(zip(samples.tag.tolist(), samples.source_time_ns.tolist(), strict=True)):
            if tag not in seen and (tag in self._bridging or lossy[row]):
                first[tag], rows[tag] = (int(self._newest[tag]), time_ns), row
            seen.add(tag)
        behind = {tag: ends for tag, ends in first.items() if _NEVER < ends[0] < ends[1]}
        filled = await self._history(behind) if behind else {}
        broken = self._bridging & first.keys()
        self._bridging -= broken
        untold = (broken & behind.keys()) - filled.keys()
        if untold:
            self._queue.put(Break(self._break_reason, frozenset(self._tags.names[tag] for tag in untold)))
        rows_between = self._between(filled, behind)
        if broken & filled.keys() and self._break_reason is GapReason.SOURCE_RESTARTED and self._start_time:
            # No history has what was measured while the server was down.
            start_us = _microseconds(self._start_time)
            self._put_rows([row for row in rows_between if row[1] < start_us * 1000])
            names = frozenset(self._tags.names[tag] for tag in broken & filled.keys())
            self._queue.put(Break(self._break_reason, names))
            rows_between = [row for row in rows_between if row[1] >= start_us * 1000]
        self._put_rows(rows_between)
        for tag in filled:
            if lossy[rows[tag]]:
                samples.quality[rows[tag]] &= ~np.uint32(OVERFLOW)

    async def _history(self, behind: dict[int, tuple[int, int]]) -> dict[int, list[Any]]:
        """What the server has of tags between two times each; nothing when it refuses."""
        services = self._services
        assert self._channel is not None
        there = {tag: self._desired.nodes[tag] for tag in sorted(behind) if tag in self._desired.nodes}
        try:
            readable = await services.with_history(there)
            if not readable:
                return {}
            nodes = {tag: node for tag, node in there.items() if tag in readable}
            start_ns = min(behind[tag][0] for tag in readable)
            return await services.history(nodes, start_ns, max(behind[tag][1] for tag in readable))
        except ua.UaStatusCodeError as error:
            if not self._channel.is_open:
                raise
            _log.info("%s: no history: %s", self.endpoint, text_of(error))
            return {}

    def _between(
        self, filled: dict[int, list[Any]], ends: dict[int, tuple[int, int]]
    ) -> list[tuple[int, int, float, int]]:
        """What the history has strictly between two samples of each tag; asyncua's times are whole microseconds."""
        rows = []
        for tag, found in filled.items():
            start_us, end_us = ends[tag][0] // 1000, ends[tag][1] // 1000
            for each in found:
                when = each.SourceTimestamp or each.ServerTimestamp
                if when is not None and start_us < (us := _microseconds(when)) < end_us:
                    rows.append((tag, us * 1000, *_number(each)))
        return rows

    def _put_rows(self, rows: list[tuple[int, int, float, int]]) -> None:
        """Queue rows of tag, time, raw value and quality."""
        if not rows:
            return
        tags, times, values, qualities = zip(*rows, strict=True)
        columns = np.array(tags, np.uint32), np.array(times, np.int64), np.array(values), np.array(qualities, np.uint32)
        self._queue.put(self._tags.samples(*columns))

    # --- close ---

    async def _close(self) -> None:
        """Leave politely within CLOSE_TIMEOUT_S, then cut the line."""
        if self._running is not None:
            await end([self._running])
            self._running = None
        channel = self._channel
        if channel is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await channel.client.uaclient.close_session(True)
                await channel.client.close_secure_channel()
        except CONNECTION_ERRORS as error:
            _log.debug("%s: closing: %s", self.endpoint, text_of(error))
        finally:
            self._drop()


def _microseconds(when: datetime) -> int:
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _number(value: Any) -> tuple[float, int]:
    """Value and quality of one of asyncua's data values, as the decoder gives them."""
    quality = int(value.StatusCode.value) if value.StatusCode is not None else 0
    content = value.Value.Value if value.Value is not None else None
    if isinstance(content, (bool, int, float)):
        return float(content), quality
    return math.nan, quality if is_bad(quality) or content is None else BAD_TYPE_MISMATCH
