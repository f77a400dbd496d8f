"""The OPC UA client adapter: secure channel, tags bound by browse path, one subscription, samples as columns.

Transport, security and services are asyncua's; the publish loop (`publishing`) is ours, because "connected" as the
library sees it is no proof that data flows. What proves it is a publish response, and one comes at least every
keep-alive period.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

import numpy as np
from asyncua import Client, ua
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.ua_binary import struct_from_binary

from uem.hardware_adapters.base import Break, SampleQueue
from uem.hardware_adapters.opcua.certificates import CertificateStore, parse
from uem.hardware_adapters.opcua.notifications import NO_TIME, Notification
from uem.hardware_adapters.opcua.publishing import Publisher
from uem.hardware_adapters.tags import TagTable
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError, NotTrusted, UnknownTag
from uem.twin_core.measurements import Samples
from uem.twin_core.plant.territory import TagBinding

_log = logging.getLogger(__name__)
R = TypeVar("R")

POLICIES: dict[str, Any] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
MODE = ua.MessageSecurityMode.SignAndEncrypt
MOST_PER_CALL = 1000
MOST_EXPLAINED = 10  # missing tags for which the neighbours are looked up
CLOSE_TIMEOUT_S = 2.0

_CONNECTION_ERRORS = (OSError, TimeoutError, ua.UaError)
_FILTER_REFUSED = (
    ua.StatusCodes.BadMonitoredItemFilterUnsupported,
    ua.StatusCodes.BadMonitoredItemFilterInvalid,
    ua.StatusCodes.BadFilterNotAllowed,
)


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
        silence_s: float = 15.0,
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
            silence_s: without any publish response for so long, the plant counts as lost.
            most_queued_rows: rows kept for a slow reader before the oldest are dropped.
        """
        self.endpoint = endpoint
        self.missing: dict[str, str] = {}
        self._tags = TagTable(bindings)
        self._certificates = certificates
        self._policy = POLICIES[security_policy]
        self._publish_interval_ms = publish_interval_ms
        self._connect_timeout_s = connect_timeout_s
        self._silence_s = silence_s
        self._queue = SampleQueue(most_queued_rows)
        self._lost_at_server = 0
        self._client: Client | None = None
        self._publisher: Publisher | None = None
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the publish loop runs."""
        return self._loop_task is not None and not self._loop_task.done()

    @property
    def dropped(self) -> int:
        """Rows dropped here, and losses that the server reported (at least one row each)."""
        not_sent = self._publisher.lost if self._publisher is not None else 0
        return self._queue.dropped + self._lost_at_server + not_sent

    @property
    def decode_s(self) -> float:
        """Seconds that it took so far to decode what the server published."""
        return self._publisher.decode_s if self._publisher is not None else 0.0

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                server_certificate = await self._trusted_server_certificate()
                self._client = await self._connect(server_certificate)
                nodes = await self._resolve(self._client)
                subscription = await self._subscribe(self._client, nodes)
        except TimeoutError:
            await self._close()
            raise AdapterError(f"{self.endpoint}: no connection within {self._connect_timeout_s:g} s") from None
        except _CONNECTION_ERRORS as error:
            await self._close()
            raise AdapterError(f"{self.endpoint}: {_text(error)}") from None
        except BaseException:
            await self._close()
            raise
        self._publisher = Publisher(self._client.uaclient.session, subscription, self.endpoint)
        self._loop_task = asyncio.create_task(self._publish_loop(self._publisher))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    def batches(self) -> AsyncIterator[Samples | Break]:
        """Samples as the server publishes them; AdapterError when it is lost or silent for too long."""
        return self._queue.batches()

    # --- connect ---

    async def _trusted_server_certificate(self) -> bytes:
        """Ask for the endpoints on an open channel; the certificate of the right one, if it is trusted."""
        client = self._new_client()
        try:
            endpoints = await client.connect_and_get_server_endpoints()
        finally:
            client.disconnect_socket()
        for offered in endpoints:
            if offered.SecurityMode == MODE and offered.SecurityPolicyUri == self._policy.URI:
                certificate = offered.ServerCertificate
                self._certificates.check(certificate, offered.Server.ApplicationUri)
                return bytes(certificate)
        there = {f"{e.SecurityPolicyUri.rpartition('#')[2]}/{e.SecurityMode.name}" for e in endpoints}
        raise AdapterError(
            f"{self.endpoint}: the server does not offer {self._policy.URI.rpartition('#')[2]}/SignAndEncrypt; "
            f"it offers {', '.join(sorted(there)) or 'nothing'}: change security_policy of the plant or the server"
        )

    def _new_client(self) -> Client:
        client = Client(self.endpoint, timeout=min(10.0, self._connect_timeout_s), watchdog_intervall=self._silence_s)
        client.application_uri = self._certificates.application_uri
        client.name = client.description = "uem gateway"
        # The server may forget us soon after we are gone; a new connection opens a new session anyway.
        client.session_timeout = max(60_000, int(4000 * self._silence_s))
        return client

    async def _connect(self, server_certificate: bytes) -> Client:
        client = self._new_client()
        server = parse(server_certificate)
        assert server is not None
        await client.set_security(
            self._policy,
            self._certificates.certificate_path,
            self._certificates.key_path,
            server_certificate=CertProperties(server_certificate, "der"),
            mode=MODE,
        )
        try:
            await client.connect()
        except (
            ua.uaerrors.BadCertificateUntrusted,
            ua.uaerrors.BadSecurityChecksFailed,
            ua.uaerrors.BadUserAccessDenied,
        ) as error:
            client.disconnect_socket()
            raise NotTrusted(
                f"{self.endpoint}: the server refuses our certificate ({_text(error)}); copy "
                f"{self._certificates.certificate_path} into the trust list of the server"
            ) from None
        except BaseException:
            client.disconnect_socket()
            raise
        return client

    # --- tags ---

    async def _resolve(self, client: Client) -> dict[int, ua.NodeId]:
        """Node of each tag that the server has, by tag index; the others go to `missing`."""
        namespaces = await client.get_namespace_array()
        paths: dict[int, ua.BrowsePath] = {}
        for index, binding in enumerate(self._tags.bindings):
            if binding.namespace_uri in namespaces:
                paths[index] = _browse_path(binding.browse_path.split("/"), namespaces.index(binding.namespace_uri))
            else:
                self.missing[binding.tag.name] = (
                    f"namespace {binding.namespace_uri!r} is not on the server; it has {', '.join(namespaces)}"
                )
        results = await _in_chunks(list(paths.values()), client.uaclient.session.translate_browsepaths_to_nodeids)
        nodes = {}
        for index, result in zip(paths, results, strict=True):
            if result.StatusCode.is_good() and result.Targets:
                nodes[index] = result.Targets[0].TargetId
            else:
                binding = self._tags.bindings[index]
                explained = len(self.missing) < MOST_EXPLAINED
                there = await _neighbours(client, paths[index]) if explained else ""
                self.missing[binding.tag.name] = f"no node at {binding.browse_path!r} below Objects{there}"
        if not nodes:
            raise UnknownTag(
                f"{self.endpoint}: the server has none of the {len(self._tags)} tags: {self._first_missing()}"
            )
        return nodes

    def _first_missing(self) -> str:
        return "; ".join(f"{tag}: {reason}" for tag, reason in list(self.missing.items())[:3])

    # --- subscription ---

    async def _subscribe(self, client: Client, nodes: dict[int, ua.NodeId]) -> int:
        request = ua.CreateSubscriptionRequest()
        parameters = request.Parameters
        parameters.RequestedPublishingInterval = self._publish_interval_ms
        # Three keep-alives fit into the silence that we accept; the server keeps us for three times as long.
        keep_alives = max(1, int(self._silence_s * 1000 / 3 / self._publish_interval_ms))
        parameters.RequestedMaxKeepAliveCount = keep_alives
        parameters.RequestedLifetimeCount = 9 * keep_alives
        parameters.MaxNotificationsPerPublish = 0
        parameters.PublishingEnabled = True
        # Not through the library's create_subscription: that would start its own publish loop.
        data = await client.uaclient.session._send_request(request)
        response = struct_from_binary(ua.CreateSubscriptionResponse, data)
        response.ResponseHeader.ServiceResult.check()
        subscription = int(response.Parameters.SubscriptionId)
        refused = await self._monitor(client, subscription, nodes, with_filter=True)
        again = {index: nodes[index] for index, status in refused.items() if status.value in _FILTER_REFUSED}
        if again:
            _log.warning(
                "%s: the server does not report unchanged values of %d tags; equal readings in a row arrive once",
                self.endpoint,
                len(again),
            )
            refused = {i: s for i, s in refused.items() if i not in again}
            refused |= await self._monitor(client, subscription, again, with_filter=False)
        for index, status in refused.items():
            self.missing[self._tags.names[index]] = f"the server refuses to monitor it: {status.name}"
        if len(refused) == len(nodes):
            raise UnknownTag(f"{self.endpoint}: the server monitors none of the tags: {self._first_missing()}")
        return subscription

    async def _monitor(
        self, client: Client, subscription: int, nodes: dict[int, ua.NodeId], *, with_filter: bool
    ) -> dict[int, ua.StatusCode]:
        """Create the monitored items; the status of those that were refused."""

        async def create(items: list[ua.MonitoredItemCreateRequest]) -> list[ua.MonitoredItemCreateResult]:
            parameters = ua.CreateMonitoredItemsParameters()
            parameters.SubscriptionId = subscription
            parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
            parameters.ItemsToCreate = items
            return list(await client.uaclient.session.create_monitored_items(parameters))

        items = [self._item(index, node, with_filter) for index, node in nodes.items()]
        results = await _in_chunks(items, create)
        return {i: r.StatusCode for i, r in zip(nodes, results, strict=True) if not r.StatusCode.is_good()}

    def _item(self, index: int, node: ua.NodeId, with_filter: bool) -> ua.MonitoredItemCreateRequest:
        sampling_ms = self._tags.bindings[index].sampling_ms
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = node
        item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        item.MonitoringMode = ua.MonitoringMode.Reporting
        item.RequestedParameters.ClientHandle = index
        item.RequestedParameters.SamplingInterval = sampling_ms
        item.RequestedParameters.QueueSize = max(100, math.ceil(2 * self._publish_interval_ms / max(sampling_ms, 1.0)))
        item.RequestedParameters.DiscardOldest = True
        if with_filter:  # a reading that repeats the one before is still a reading
            changes = ua.DataChangeFilter()
            changes.Trigger = ua.DataChangeTrigger.StatusValueTimestamp
            changes.DeadbandType = ua.DeadbandType.None_
            item.RequestedParameters.Filter = changes
        return item

    # --- publish loop ---

    async def _publish_loop(self, publisher: Publisher) -> None:
        """Turn what the server publishes into samples, until the connection is lost."""
        try:
            while True:
                async with asyncio.timeout(self._silence_s):
                    arrived = await publisher.next()
                for notification in arrived:
                    self._check_status(notification)
                    self._take(notification)
        except TimeoutError:
            self._queue.end(AdapterError(f"{self.endpoint}: nothing heard for {self._silence_s:g} s"))
        except AdapterError as error:
            self._queue.end(AdapterError(f"{self.endpoint}: {error}"))
        except Exception as error:  # the library raises many kinds when a connection ends; the reader must not hang
            self._queue.end(AdapterError(f"{self.endpoint}: connection lost: {_text(error)}"))
        finally:
            await publisher.close()

    def _check_status(self, notification: Notification) -> None:
        for status in notification.status_changes:
            raise AdapterError(f"the server ends the subscription: {ua.StatusCode(status).name}")

    def _take(self, notification: Notification) -> None:
        """Queue the rows of a notification; a missing source time is replaced by the server's, then by ours."""
        known = notification.handle < len(self._tags)
        source = np.where(
            notification.source_time_ns != NO_TIME, notification.source_time_ns, notification.server_time_ns
        )
        source[source == NO_TIME] = time.time_ns()
        self._lost_at_server += notification.overflow_count
        samples = self._tags.samples(
            notification.handle[known], source[known], notification.value[known], notification.quality[known]
        )
        if len(samples):
            self._queue.put(samples)

    # --- close ---

    async def _close(self) -> None:
        """Leave politely within CLOSE_TIMEOUT_S, then cut the line."""
        if self._loop_task is not None:
            await end([self._loop_task])
            self._loop_task = None
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await client.disconnect()
        except _CONNECTION_ERRORS as error:
            _log.debug("%s: closing: %s", self.endpoint, _text(error))
        finally:
            client.disconnect_socket()


def _browse_path(names: Sequence[str], namespace: int) -> ua.BrowsePath:
    path = ua.BrowsePath()
    path.StartingNode = ua.NodeId(ua.ObjectIds.ObjectsFolder)
    for name in names:
        element = ua.RelativePathElement()
        element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        element.IsInverse = False
        element.IncludeSubtypes = True
        element.TargetName = ua.QualifiedName(name, namespace)
        path.RelativePath.Elements.append(element)
    return path


async def _neighbours(client: Client, path: ua.BrowsePath) -> str:
    """What lies below the deepest part of a path that exists, for a person to read."""
    elements = path.RelativePath.Elements
    node, depth = path.StartingNode, 0
    for length in range(len(elements) - 1, 0, -1):
        part = _browse_path([e.TargetName.Name for e in elements[:length]], elements[0].TargetName.NamespaceIndex)
        (result,) = await client.uaclient.session.translate_browsepaths_to_nodeids([part])
        if result.StatusCode.is_good() and result.Targets:
            node, depth = result.Targets[0].TargetId, length
            break
    children = await client.get_node(node).get_children_descriptions()
    names = sorted(child.BrowseName.Name or "" for child in children)
    where = "/".join(str(e.TargetName.Name) for e in elements[:depth]) or "Objects"
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"; {where} has {', '.join(names[:12]) or 'nothing below it'}{more}"


T = TypeVar("T")


async def _in_chunks(
    items: list[T], call: Callable[[list[T]], Coroutine[Any, Any, list[R]]], most: int = MOST_PER_CALL
) -> list[R]:
    """The results of `call` over all items; a server that calls a chunk too big gets halves of it."""
    results: list[R] = []
    while len(results) < len(items):
        try:
            results += await call(items[len(results) : len(results) + most])
        except ua.uaerrors.BadTooManyOperations:
            if most == 1:
                raise
            most //= 2
    return results


def _text(error: BaseException) -> str:
    """An error in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
