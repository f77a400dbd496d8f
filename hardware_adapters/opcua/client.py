"""The OPC UA client adapter: one subscription with all tags of a plant, kept through outages, samples as columns.

Transport, security and services are asyncua's; the publish loop (`publishing`), the way back after an outage
(`desired`, `connection`) and the judgement whether a line is alive (`channel`) are ours. What the server could not keep
during an outage is read from its history, else it is a break (`bridging`).
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from asyncua import ua

from uem.hardware_adapters.base import Break, SampleQueue, Written
from uem.hardware_adapters.opcua import methods
from uem.hardware_adapters.opcua.alarms import SESSION_TIMEOUT_S, AlarmWatch
from uem.hardware_adapters.opcua.bridging import Bridge
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.channel import CONNECTION_ERRORS, Opener, Superseded, text_of
from uem.hardware_adapters.opcua.connection import Connection
from uem.hardware_adapters.opcua.delivery import Delivery
from uem.hardware_adapters.opcua.desired import Desired, Refusal, Stuck
from uem.hardware_adapters.opcua.identity import Identity
from uem.hardware_adapters.opcua.methods import Called
from uem.hardware_adapters.opcua.notifications import NO_TIME, Notification
from uem.hardware_adapters.opcua.properties import Properties
from uem.hardware_adapters.opcua.publishing import Counts, Lost, Publisher
from uem.hardware_adapters.opcua.services import Services, has_deadband, why
from uem.hardware_adapters.opcua.writing import Writer
from uem.hardware_adapters.tags import TagTable
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError, UnknownTag
from uem.twin_core.measurements import GapReason, Samples, is_bad
from uem.twin_core.plant.territory import TagBinding

_log = logging.getLogger(__name__)

MOST_NAMED = 10  # tags in a warning
DEAD = 1.25  # times the silence after which a new line is tried: what cannot be replaced by then is gone


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
        identity: Identity | None = None,
        publish_interval_ms: float = 100.0,
        connect_timeout_s: float = 15.0,
        silence_s: float | None = None,
        most_queued_rows: int = 100_000,
        alarms: bool = False,
    ) -> None:
        """Nothing is opened yet.

        Args:
            endpoint: opc.tcp://host:port/path
            bindings: the tags of this plant.
            certificates: our own certificate and whom we trust.
            security_policy: Basic256Sha256 or Aes256Sha256RsaPss, messages are signed and encrypted; None only on a
                loopback address, and where `certificates` allow it.
            identity: as whom to log in; None: as nobody.
            publish_interval_ms: how often the server is asked to send.
            connect_timeout_s: wall time for everything up to the subscription.
            silence_s: without any message for so long a new line is tried; by default 1.5 publish intervals, at least
                0.6 s. The server is asked for keep-alives that fit into it.
            most_queued_rows: rows kept for a slow reader before the oldest are dropped.
            alarms: whether the alarms and conditions of the server are watched, over a session of their own.

        Raises:
            InvalidInput: the policy is not allowed at this endpoint.
        """
        self.endpoint = endpoint
        self.missing: dict[str, str] = {}
        self._connected = False
        self.outages = 0
        self._tags = TagTable(bindings)
        self._connect_timeout_s = connect_timeout_s
        self._silence_s = max(1.5 * publish_interval_ms / 1000, 0.6) if silence_s is None else silence_s
        timeout_s = min(10.0, connect_timeout_s)
        opener = partial(Opener, endpoint, certificates, security_policy, identity, timeout_s=timeout_s)
        services = Services(self._tags.bindings, publish_interval_ms, self._silence_s)
        lasting = opener(session_timeout_s=max(300.0, 4 * self._silence_s))
        self._connection = Connection(lasting, Desired(len(bindings)), services, connect_timeout_s)
        self._queue = SampleQueue(most_queued_rows)
        self._bridge = Bridge(self._tags, self._queue, services, endpoint)
        self._writer = Writer(self._tags)
        self._properties = Properties(endpoint, self._tags.bindings)
        self._generation = 0  # of the subscription
        self._delivery = Delivery()
        self._counts = Counts()
        self.alarms: AlarmWatch | None = None
        if alarms:
            self.alarms = AlarmWatch(opener(session_timeout_s=SESSION_TIMEOUT_S), self._queue.put)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connected(self) -> bool:
        """Whether the line stands, and is not silent for so long that it must be dead."""
        channel = self._connection.channel
        return self._connected and channel is not None and time.monotonic() - channel.heard_s <= DEAD * self._patience_s

    @property
    def _patience_s(self) -> float:
        """For how long nothing need be heard on a line that is well."""
        return max(self._silence_s, 1.5 * self._connection.services.keep_alive_s)

    @property
    def dropped(self) -> int:
        """Rows dropped here, and losses that the server reported (at least one row each)."""
        return self._queue.dropped + self._bridge.lost + self._counts.lost

    @property
    def decode_s(self) -> float:
        """Seconds that it took so far to decode what the server published."""
        return self._counts.decode_s

    @property
    def server_time_ns(self) -> int:
        """When the newest message was sent, by the clock of the server; 0 before the first."""
        return self._counts.server_time_ns

    @property
    def unit_mismatches(self) -> Mapping[str, str]:
        """See `TellsUnits`; empty until the plant was asked."""
        return self._properties.unit_mismatches

    @property
    def certificate_ends_s(self) -> float:
        """When the certificate of the server expires, in s since 1970; NaN before it was trusted."""
        peer = self._connection.opener.peer
        return math.nan if peer is None else peer.not_valid_after_utc.timestamp()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connection.open()
            self._begin_if_new()
        except TimeoutError:
            await self._close()
            raise AdapterError(f"{self.endpoint}: no connection within {self._connect_timeout_s:g} s") from None
        except (*CONNECTION_ERRORS, Stuck) as error:
            await self._close()
            raise AdapterError(f"{self.endpoint}: {text_of(error)}") from None
        except BaseException:
            await self._close()
            raise
        self._connected = True
        self._tasks = [asyncio.create_task(self._run())]
        if self.alarms is not None:
            self._tasks.append(asyncio.create_task(self.alarms.run()))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    def batches(self) -> AsyncIterator[Any]:
        """Samples as the server publishes them; AdapterError when it cannot be used any more."""
        return self._queue.batches()

    async def write(self, values: Mapping[str, float], *, timeout_s: float = 10.0) -> list[Written]:
        """See `Writes`."""
        channel = self._connection.channel if self.connected else None
        nodes = self._connection.desired.nodes
        return await self._writer.write(channel, self._generation, nodes, values, timeout_s)

    async def call(
        self, namespace_uri: str, path: str, arguments: Mapping[str, Any], *, timeout_s: float = 10.0
    ) -> Called:
        """Call the method at `path`; see `methods.call`."""
        channel = self._connection.channel
        if channel is None or not self.connected:
            raise AdapterError(f"{self.endpoint}: not connected; method {path} was not called")
        namespaces = self._connection.services.namespaces
        if namespace_uri not in namespaces:
            there = ", ".join(namespaces)
            raise AdapterError(f"{self.endpoint}: namespace {namespace_uri!r} is not on the server; it has {there}")
        return await methods.call(channel, namespaces.index(namespace_uri), path, arguments, timeout_s=timeout_s)

    # --- outages ---

    async def _run(self) -> None:
        """Read what the server publishes, through outages, until trying again does not help."""
        connection = self._connection
        try:
            while True:
                try:
                    await connection.guard(self._serve(), self._patience_s)
                except Superseded as newer:
                    self._lost(f"nothing heard for {self._silence_s:g} s")
                    connection.take_over(newer.newer)
                except _SubscriptionGone as error:
                    self._lost(text_of(error))
                    connection.desired.subscription_gone()
                except AdapterError:
                    raise
                except Exception as error:  # the library raises many kinds when a connection ends
                    self._lost(f"connection lost: {text_of(error)}")
                    connection.drop()
                await connection.recover()
                self._begin_if_new()
                _log.info("%s: connected again", self.endpoint)
                self._connected = True
        except AdapterError as error:
            self._end(str(error), type(error))
        except Exception as error:  # the reader must not hang
            _log.exception("%s: unexpected fault", self.endpoint)
            self._end(text_of(error))
        finally:
            self._connected = False

    def _end(self, problem: str, kind: type[AdapterError] = AdapterError) -> None:
        self._bridge.let_held_go()
        self._queue.end(kind(problem if problem.startswith(self.endpoint) else f"{self.endpoint}: {problem}"))

    def _lost(self, problem: str) -> None:
        self._connected = False
        self.outages += 1
        _log.warning("%s: %s", self.endpoint, problem)

    # --- subscriptions ---

    def _begin_if_new(self) -> None:
        """Note what the server has for a subscription that was made anew; UnknownTag when it has nothing."""
        desired = self._connection.desired
        if desired.generation == self._generation:
            return
        self.missing = {self._tags.names[tag]: text for tag, text in sorted(desired.missing.items())}
        if len(self.missing) == len(self._tags):
            first = "; ".join(f"{tag}: {reason}" for tag, reason in list(self.missing.items())[:3])
            what = f"{'monitors' if desired.nodes else 'has'} none of the {len(self._tags)} tags"
            raise UnknownTag(f"{self.endpoint}: the server {what}: {first}")
        self._tell_unfiltered()
        self._generation = desired.generation
        self._delivery = Delivery()
        self._bridge.begin(desired.nodes)

    def _tell_unfiltered(self) -> None:
        """Say which tags are monitored otherwise than the tag table asks for."""
        desired = self._connection.desired
        unfiltered = sorted(desired.unfiltered - desired.missing.keys())
        wide = [self._tags.names[tag] for tag in unfiltered if has_deadband(self._tags.bindings[tag])]
        if wide:
            _log.warning(
                "%s: the server refuses the deadband of %d tags, so that each change arrives: %s%s",
                self.endpoint,
                len(wide),
                ", ".join(wide[:MOST_NAMED]),
                ", ..." if len(wide) > MOST_NAMED else "",
            )
        if len(unfiltered) > len(wide):
            _log.warning(
                "%s: the server does not report unchanged values of %d tags; equal readings in a row arrive once",
                self.endpoint,
                len(unfiltered) - len(wide),
            )

    # --- samples ---

    async def _serve(self) -> None:
        """Take what the server publishes, until the line or the subscription is lost."""
        channel = self._connection.channel
        assert channel is not None
        subscription = self._connection.desired.subscription
        publisher = Publisher(
            channel.session, channel.publish, subscription, self.endpoint, self._delivery, self._counts
        )
        try:
            await self._bridge.put_held()
            self._properties.look(channel, self._generation, self._connection.desired.nodes)
            while True:
                try:
                    arrived = await publisher.next()
                except ua.UaStatusCodeError as error:
                    if why(error) is Refusal.SUBSCRIPTION_GONE and channel.is_open:
                        raise _SubscriptionGone(f"the server ends the subscription: {text_of(error)}") from None
                    raise
                for each in arrived:
                    if isinstance(each, Lost):
                        self._queue.put(Break(GapReason.LINK_DOWN))
                    else:
                        await self._take(each)
                if any(isinstance(each, Lost) for each in arrived):
                    raise _SubscriptionGone("notifications are lost")
        finally:
            publisher.close()
            self._properties.stop()

    async def _take(self, notification: Notification) -> None:
        """Queue the rows of a notification; a missing source time is replaced by the server's, then by ours."""
        for status in filter(is_bad, notification.status_changes):
            raise _SubscriptionGone(f"the server ends the subscription: {ua.StatusCode(status).name}")
        columns = notification.columns.scaled(self._tags.scale, self._tags.offset)
        if columns is not None:
            await self._bridge.put(Samples(self._tags.names, *columns), is_lossy=notification.columns.has_overflow)
            return
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
        await self._bridge.put(samples, is_lossy=notification.columns.has_overflow)

    async def _close(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        await self._connection.close()
