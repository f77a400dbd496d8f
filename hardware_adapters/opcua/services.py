"""The requests of the state machine `desired` as calls of asyncua's services, in chunks that the server takes."""

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from asyncua import Client, ua
from asyncua.ua.ua_binary import struct_from_binary

from uem.hardware_adapters.opcua.channel import Channel
from uem.hardware_adapters.opcua.desired import MOST_PER_CALL, Ask, Limits, Refusal, What
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.territory import TagBinding

T = TypeVar("T")
R = TypeVar("R")

MOST_EXPLAINED = 10  # missing tags for which the neighbours are looked up
NEARLY_ALIKE_NS = 10 * NS_PER_S  # so much more is read rather than asked for apart
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HISTORY_READ = 0x04  # bit of AccessLevel

_WHY = {
    ua.StatusCodes.BadTooManyOperations: Refusal.TOO_MANY,
    ua.StatusCodes.BadRequestTooLarge: Refusal.TOO_MANY,
    ua.StatusCodes.BadResponseTooLarge: Refusal.TOO_MANY,
    ua.StatusCodes.BadEncodingLimitsExceeded: Refusal.TOO_MANY,
    ua.StatusCodes.BadSessionIdInvalid: Refusal.SESSION_GONE,
    ua.StatusCodes.BadSessionClosed: Refusal.SESSION_GONE,
    ua.StatusCodes.BadSessionNotActivated: Refusal.SESSION_GONE,
    ua.StatusCodes.BadSubscriptionIdInvalid: Refusal.SUBSCRIPTION_GONE,
    ua.StatusCodes.BadNoSubscription: Refusal.SUBSCRIPTION_GONE,
}
_FILTER_REFUSED = (
    ua.StatusCodes.BadMonitoredItemFilterUnsupported,
    ua.StatusCodes.BadMonitoredItemFilterInvalid,
    ua.StatusCodes.BadFilterNotAllowed,
    ua.StatusCodes.BadDeadbandFilterInvalid,
)


class Page(NamedTuple):
    """A part of a history by tag, and the tags of which it is the last part."""

    values: dict[int, list[ua.DataValue]]
    complete: frozenset[int]


def why(error: ua.UaStatusCodeError) -> Refusal:
    """The kind of a refusal."""
    return _WHY.get(error.code, Refusal.OTHER)


class Services:
    """What is asked for the tags of one plant, on one channel after the other."""

    def __init__(self, bindings: Sequence[TagBinding], publish_interval_ms: float, silence_s: float) -> None:
        """`silence_s` is how long the subscription may say nothing."""
        self.namespaces: list[str] = []
        self.start_time: datetime | None = None  # of the server
        self.keep_alive_s = silence_s
        self._bindings = bindings
        self._publish_interval_ms = publish_interval_ms
        self._silence_s = silence_s
        self._explained = 0
        self._most_read = self._most_history = MOST_PER_CALL

    def use(self, channel: Channel) -> None:
        """From now on this channel."""
        self.channel = channel
        self._session = channel.session

    async def make(self, ask: Ask, subscription: int, nodes: Mapping[int, Any]) -> object:
        """Make a request; what `Desired.done` wants to know.

        Raises:
            ua.UaStatusCodeError: the server refuses it as a whole.
            OSError, TimeoutError: the line is lost.
        """
        client = self.channel.client
        match ask.what:
            case What.CREATE_SESSION:
                await client.create_session()
            case What.ACTIVATE_SESSION:
                await client._activate_with_credentials()
            case What.CLOSE_SESSION:
                request = ua.CloseSessionRequest()
                request.DeleteSubscriptions = True
                await self._session._send_request(request)
            case What.TRANSFER:
                await self._transfer(subscription)
            case What.READ_SERVER:
                return await self._read_server()
            case What.RESOLVE:
                return await self._resolve(ask.tags)
            case What.CREATE_SUBSCRIPTION:
                return await self._subscribe()
            case What.MONITOR:
                return await self._monitor(ask, subscription, nodes)
        return None

    # --- set-up ---

    async def _transfer(self, subscription: int) -> None:
        parameters = ua.TransferSubscriptionsParameters()
        parameters.SubscriptionIds = [subscription]
        parameters.SendInitialValues = False
        (result,) = await self._session.transfer_subscriptions(parameters)
        result.StatusCode.check()

    async def _read_server(self) -> Limits:
        ids = ua.ObjectIds
        asked = [
            ids.Server_NamespaceArray,
            ids.Server_ServerStatus_StartTime,
            ids.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
            ids.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
            ids.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
            ids.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
        ]

        async def read(nodes: list[ua.NodeId]) -> list[ua.DataValue]:
            return list(await self._session.read_attributes(nodes, ua.AttributeIds.Value))

        found = await in_chunks([ua.NodeId(each) for each in asked], read, len(asked))
        namespaces, start, *limits = (each.Value.Value if each.Value is not None else None for each in found)
        self._explained = 0
        self.namespaces = list(namespaces or ())
        self.start_time = start
        resolve, monitor, self._most_read, self._most_history = (int(each or 0) or MOST_PER_CALL for each in limits)
        return Limits(min(resolve, MOST_PER_CALL), min(monitor, MOST_PER_CALL))

    async def _resolve(self, tags: Sequence[int]) -> list[object]:
        """Per tag its node, or the text of what is there instead."""
        answers: dict[int, object] = {}
        paths = {}
        for tag in tags:
            binding = self._bindings[tag]
            if binding.namespace_uri in self.namespaces:
                namespace = self.namespaces.index(binding.namespace_uri)
                paths[tag] = browse_path(binding.browse_path.split("/"), namespace)
            else:
                there = ", ".join(self.namespaces)
                answers[tag] = f"namespace {binding.namespace_uri!r} is not on the server; it has {there}"
        results = await self._session.translate_browsepaths_to_nodeids(list(paths.values())) if paths else []
        for tag, result in zip(paths, results, strict=True):
            if result.StatusCode.is_good() and result.Targets:
                answers[tag] = result.Targets[0].TargetId
            else:
                self._explained += 1
                there = await _neighbours(self.channel.client, paths[tag]) if self._explained <= MOST_EXPLAINED else ""
                answers[tag] = f"no node at {self._bindings[tag].browse_path!r} below Objects{there}"
        return [answers[tag] for tag in tags]

    async def _subscribe(self) -> int:
        request = ua.CreateSubscriptionRequest()
        parameters = request.Parameters
        parameters.RequestedPublishingInterval = self._publish_interval_ms
        keep_alives = max(1, int(self._silence_s * 1000 / 1.5 / self._publish_interval_ms))
        parameters.RequestedMaxKeepAliveCount = keep_alives
        lifetime_s = max(600.0, 9 * self._silence_s)  # the server keeps what an outage of ten minutes has left
        parameters.RequestedLifetimeCount = math.ceil(lifetime_s * 1000 / self._publish_interval_ms)
        parameters.MaxNotificationsPerPublish = 0
        parameters.PublishingEnabled = True
        # Not through the library's create_subscription: that would start its own publish loop.
        data = await self._session._send_request(request)
        response = struct_from_binary(ua.CreateSubscriptionResponse, data)
        response.ResponseHeader.ServiceResult.check()
        given = response.Parameters
        self.keep_alive_s = given.RevisedPublishingInterval * given.RevisedMaxKeepAliveCount / 1000
        return int(given.SubscriptionId)

    async def _monitor(self, ask: Ask, subscription: int, nodes: Mapping[int, Any]) -> list[object]:
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = subscription
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        parameters.ItemsToCreate = [self._item(tag, nodes[tag], ask.with_filter) for tag in ask.tags]
        results = await self._session.create_monitored_items(parameters)
        return [_problem(each.StatusCode) for each in results]

    def _item(self, tag: int, node: ua.NodeId, with_filter: bool) -> ua.MonitoredItemCreateRequest:
        binding = self._bindings[tag]
        sampling_ms = binding.sampling_ms
        enough = max(100, math.ceil(2 * self._publish_interval_ms / max(sampling_ms, 1.0)))
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = node
        item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        item.MonitoringMode = ua.MonitoringMode.Reporting
        item.RequestedParameters.ClientHandle = tag
        item.RequestedParameters.SamplingInterval = sampling_ms
        item.RequestedParameters.QueueSize = binding.queue_size or enough
        item.RequestedParameters.DiscardOldest = True
        if with_filter:
            item.RequestedParameters.Filter = _filter(binding)
        return item

    # --- history ---

    async def with_history(self, nodes: Mapping[int, Any]) -> set[int]:
        """The tags whose past can be read."""

        async def read(some: list[ua.NodeId]) -> list[ua.DataValue]:
            return list(await self._session.read_attributes(some, ua.AttributeIds.AccessLevel))

        levels = await in_chunks(list(nodes.values()), read, self._most_read)
        return {
            tag
            for tag, level in zip(nodes, levels, strict=True)
            if level.Value is not None and level.Value.Value is not None and int(level.Value.Value) & _HISTORY_READ
        }

    async def history(
        self, nodes: Mapping[int, Any], starts_ns: Mapping[int, int], ends_ns: Mapping[int, int]
    ) -> AsyncIterator[Page]:
        """Raw values of tags, each in its interval and maybe some around it, of a tag in the order of time.

        A page is what the server gives at once. A tag whose history cannot be read, or not to its end, is in no
        `complete`.
        """
        for tags in alike(starts_ns, ends_ns, self._most_history):
            details = ua.ReadRawModifiedDetails()
            details.IsReadModified = False
            details.StartTime = _EPOCH + timedelta(microseconds=min(starts_ns[tag] for tag in tags) // 1000)
            details.EndTime = _EPOCH + timedelta(microseconds=max(ends_ns[tag] for tag in tags) // 1000 + 1)
            details.NumValuesPerNode = 0
            details.ReturnBounds = False
            points: dict[int, bytes | None] = dict.fromkeys(tags)
            while points:
                page, points = await self._history_page(details, nodes, points)
                yield page

    async def _history_page(
        self, details: ua.ReadRawModifiedDetails, nodes: Mapping[int, Any], points: Mapping[int, bytes | None]
    ) -> tuple[Page, dict[int, bytes | None]]:
        """What the server gives at these continuation points, and those of the next page."""
        parameters = ua.HistoryReadParameters()
        parameters.HistoryReadDetails = details
        parameters.ReleaseContinuationPoints = False  # by default the library lets go of them
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        for tag, point in points.items():
            value = ua.HistoryReadValueId()
            value.NodeId = nodes[tag]
            value.ContinuationPoint = point
            parameters.NodesToRead.append(value)
        results = zip(points, await self._session.history_read(parameters), strict=True)
        good = {tag: each for tag, each in results if each.StatusCode.is_good() and each.HistoryData is not None}
        following = {tag: each.ContinuationPoint for tag, each in good.items() if each.ContinuationPoint}
        values = {tag: each.HistoryData.DataValues for tag, each in good.items()}
        return Page(values, frozenset(values.keys() - following.keys())), following


def alike(starts_ns: Mapping[int, int], ends_ns: Mapping[int, int], most: int) -> Iterator[list[int]]:
    """Tags to be read together: at most `most`, and of none much more than twice its own interval.

    A request has one interval for all its tags: a set point of last month must not make us read the month of all.
    """
    if not starts_ns:
        return
    end_ns = max(ends_ns.values())
    tags: list[int] = []
    for tag in sorted(starts_ns, key=lambda tag: starts_ns[tag]):
        if tags and (
            len(tags) == most or end_ns - starts_ns[tags[0]] > 2 * (end_ns - starts_ns[tag]) + NEARLY_ALIKE_NS
        ):
            yield tags
            tags = []
        tags.append(tag)
    yield tags


def _filter(binding: TagBinding) -> ua.DataChangeFilter:
    """What of a tag is told: every reading, also one that repeats the one before, or what leaves its deadband."""
    changes = ua.DataChangeFilter()
    changes.Trigger = ua.DataChangeTrigger.StatusValueTimestamp
    changes.DeadbandType = ua.DeadbandType.None_
    if has_deadband(binding):
        changes.Trigger = ua.DataChangeTrigger.StatusValue
        is_absolute = binding.deadband > 0
        changes.DeadbandType = ua.DeadbandType.Absolute if is_absolute else ua.DeadbandType.Percent
        changes.DeadbandValue = binding.deadband / abs(binding.scale) if is_absolute else binding.deadband_percent
    return changes


def has_deadband(binding: TagBinding) -> bool:
    """Whether small changes of a tag are not told."""
    return binding.deadband > 0 or binding.deadband_percent > 0


def _problem(status: ua.StatusCode) -> object:
    if status.is_good():
        return None
    return Refusal.FILTER if status.value in _FILTER_REFUSED else status.name


def browse_path(names: Sequence[str], namespace: int) -> ua.BrowsePath:
    """From Objects down along names of one namespace."""
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
        part = browse_path([e.TargetName.Name for e in elements[:length]], elements[0].TargetName.NamespaceIndex)
        (result,) = await client.uaclient.session.translate_browsepaths_to_nodeids([part])
        if result.StatusCode.is_good() and result.Targets:
            node, depth = result.Targets[0].TargetId, length
            break
    children = await client.get_node(node).get_children_descriptions()
    names = sorted(child.BrowseName.Name or "" for child in children)
    where = "/".join(str(e.TargetName.Name) for e in elements[:depth]) or "Objects"
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"; {where} has {', '.join(names[:12]) or 'nothing below it'}{more}"


async def in_chunks(
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
