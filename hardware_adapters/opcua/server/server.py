"""One OPC UA server of ours: nodes that its owner describes, points among them, behind the security of `security`."""

import gc
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np
from asyncua import Node, Server, ua
from numpy.typing import NDArray

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.policies import check
from uem.hardware_adapters.opcua.server.conditions import Conditions
from uem.hardware_adapters.opcua.server.history import RecentHistory, RecentRows
from uem.hardware_adapters.opcua.server.monitoring import PointTable
from uem.hardware_adapters.opcua.server.points import Points
from uem.hardware_adapters.opcua.server.security import ChannelUsers, secure
from uem.hardware_adapters.opcua.server.standard import OwnInternalServer
from uem.hardware_adapters.opcua.server.subscriptions import PointSubscriptions
from uem.hardware_adapters.opcua.server.users import UserFile
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import BAD_WAITING_FOR_INITIAL_DATA, is_bad

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Point:
    node: ua.NodeId
    kind: int
    span: float


class AddressSpace:
    """What the owner of a server describes its nodes with, before the server listens."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.points: list[_Point] = []
        self._folders: dict[tuple[ua.NodeId, int, str], Node] = {}

    @property
    def objects(self) -> Node:
        """The folder Objects."""
        return self.server.nodes.objects

    async def namespace(self, uri: str) -> int:
        """The index of a namespace."""
        return int(await self.server.register_namespace(uri))

    async def object(
        self,
        parent: Node,
        name: str,
        namespace: int,
        type_id: int | ua.NodeId | None = None,
        identifier: str = "",
    ) -> Node:
        """The object called `name` below `parent`, made when it is new: as `identifier`, or as any free number."""
        key = (parent.nodeid, namespace, name)
        if key not in self._folders:
            its_id = ua.NodeId(identifier, namespace) if identifier else ua.NodeId(0, namespace)
            its_name = ua.QualifiedName(name, namespace)
            self._folders[key] = await parent.add_object(its_id, its_name, objecttype=type_id)
        return self._folders[key]

    async def point(
        self,
        parent: Node,
        name: str,
        namespace: int,
        *,
        identifier: str,
        kind: ua.VariantType = ua.VariantType.Double,
        type_id: int | ua.NodeId = ua.ObjectIds.BaseDataVariableType,
        data_type: int = 0,
        span: float = math.nan,
        browse_namespace: int | None = None,
        reference: ua.NodeId | None = None,
    ) -> tuple[int, Node]:
        """A variable whose values come in columns: its number, in the order of the calls, and its node.

        `type_id` is its type; one of PropertyType becomes a property of `parent`. `data_type` is a subtype of `kind`,
        such as Duration. `span` is the width of its EURange, which a deadband in percent refers to. `name` is of
        `browse_namespace` where that is not the namespace of the node; `reference` leads to it from `parent`.
        """
        its_name = ua.QualifiedName(name, namespace if browse_namespace is None else browse_namespace)
        node = await self._variable(
            parent,
            its_name,
            ua.NodeId(identifier, namespace),
            ua.Variant(0, kind),
            ua.NodeId(data_type or int(kind)),
            ua.NodeId(type_id) if isinstance(type_id, int) else type_id,
            reference,
        )
        self.points.append(_Point(node.nodeid, int(kind), span))
        return len(self.points) - 1, node

    async def constant(
        self,
        parent: Node,
        name: ua.QualifiedName,
        namespace: int,
        value: ua.Variant,
        type_id: int = ua.ObjectIds.PropertyType,
    ) -> Node:
        """A variable below `parent` whose value stays; its identifier is that of the parent, a slash and its name."""
        its_id = ua.NodeId(f"{parent.nodeid.Identifier}/{name.Name}", namespace)
        one = value.Value[0] if value.is_array else value.Value
        is_structure = value.VariantType == ua.VariantType.ExtensionObject
        data_type = one.data_type if is_structure else ua.NodeId(int(value.VariantType))
        return await self._variable(parent, name, its_id, value, data_type, ua.NodeId(type_id), None)

    async def _variable(
        self,
        parent: Node,
        name: ua.QualifiedName,
        its_id: ua.NodeId,
        value: ua.Variant,
        data_type: ua.NodeId,
        type_id: ua.NodeId,
        reference: ua.NodeId | None,
    ) -> Node:
        item, attributes = ua.AddNodesItem(), ua.VariableAttributes()
        is_property = type_id == ua.NodeId(ua.ObjectIds.PropertyType)
        item.RequestedNewNodeId = its_id
        item.BrowseName = name
        item.NodeClass = ua.NodeClass.Variable
        item.ParentNodeId = parent.nodeid
        usual = ua.NodeId(ua.ObjectIds.HasProperty if is_property else ua.ObjectIds.HasComponent)
        item.ReferenceTypeId = usual if reference is None else reference
        item.TypeDefinition = type_id
        attributes.DisplayName = ua.LocalizedText(name.Name)
        attributes.DataType = data_type
        attributes.Value = value
        attributes.ValueRank = ua.ValueRank.OneDimension if value.is_array else ua.ValueRank.Scalar
        attributes.ArrayDimensions = None
        attributes.WriteMask = attributes.UserWriteMask = 0
        attributes.Historizing = False
        attributes.AccessLevel = attributes.UserAccessLevel = ua.AccessLevel.CurrentRead.mask
        item.NodeAttributes = attributes
        (result,) = await self.server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        return self.server.get_node(result.AddedNodeId)


class PointServer:
    """An OPC UA server; `async with` opens its port."""

    def __init__(
        self,
        name: str,
        describe: Callable[[AddressSpace], Awaitable[None]],
        certificates: CertificateStore,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str = "",
        policies: Sequence[str] = ("Basic256Sha256",),
        users: UserFile | None = None,
        samples: bool = True,
        history_rows: int = 0,
        start_ns: int | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            name: what the server calls itself.
            describe: makes the nodes.
            certificates: the own one, and whom it trusts.
            host: where it listens.
            port: 0 takes a free one.
            path: of the endpoint's address.
            policies: security policies that are offered; "None" on a loopback address only, and if allowed.
            users: who has to log in besides; None or none of them: the certificate of the application is enough.
            samples: whether the sampling intervals that clients ask for are kept; else each value written is offered.
            history_rows: how many of the newest rows HistoryRead can give.
            start_ns: source time of the values before the first are written; None is now.
            conditions: alarms that it may raise; None: it knows of no such thing.
        """
        check(policies, host, allow_open=certificates.allow_insecure_loopback, who=name)
        self.name = name
        self.endpoint = ""
        self._describe = describe
        self._certificates = certificates
        self._address = (host, port, path)
        self._policies = tuple(policies)
        self._users = users
        self._samples = samples
        self._recent = RecentRows(history_rows) if history_rows else None
        self._start_ns = time.time_ns() if start_ns is None else start_ns
        self._conditions = conditions
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        """Open the port; AdapterError when it is taken."""
        host, port, path = self._address
        users = ChannelUsers(self._certificates, self._policies, self._users)
        server = Server(OwnInternalServer(user_manager=users))
        with _collector_paused():
            await server.init()
            server.set_server_name(f"uem {self.name}")
            server.set_endpoint(f"opc.tcp://{host}:{port}{path}")
            await secure(server, self._certificates, self._policies, self._users)
            # Tell the time when asked, in place of a task that writes it every second and delays the stop by as much.
            server.disable_clock()
            clock = ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)
            server.set_attribute_value_callback(clock, lambda node, attribute: ua.DataValue(datetime.now(UTC)))
            self.space = AddressSpace(server)
            await self._describe(self.space)
            self._install(server, self.space.points)
            if self._conditions is not None:
                await self._conditions.describe(server)
        try:
            await server.start()
        except OSError as error:
            raise AdapterError(
                f"{self.name}: cannot listen on {host}:{port}: {error.strerror or error}; "
                "choose another --port, or 0 for any free one"
            ) from None
        assert server.bserver is not None
        self._server = server
        self.endpoint = f"opc.tcp://{host}:{server.bserver.port}{path}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    def write(
        self,
        value: Sequence[float] | NDArray[np.float64],
        quality: Sequence[int] | NDArray[np.uint32],
        source_time_ns: int | NDArray[np.int64],
        point: NDArray[np.int64] | None = None,
    ) -> None:
        """Write a tick: columns (points,), or (rows,) of the numbers `point`; one source time, or one each.

        A value whose quality is bad is not told to anyone.
        """
        point = self._all if point is None else point
        value, quality = np.ascontiguousarray(value, np.float64), np.ascontiguousarray(quality, np.uint32)
        times = np.atleast_1d(np.asarray(source_time_ns, np.int64))
        now_ns = time.time_ns()
        self._points.write(point, value, quality, times, now_ns)
        if self._recent is not None:
            self._recent.append(point, value, quality, times, now_ns)

    def _install(self, server: Server, described: list[_Point]) -> None:
        kinds = np.array([point.kind for point in described], np.uint8)
        self._points = Points(kinds, self._start_ns, BAD_WAITING_FOR_INITIAL_DATA, time.time_ns())
        self._all = np.arange(len(described))
        numbers = {point.node: number for number, point in enumerate(described)}
        iserver = server.iserver
        table = PointTable(self._points, numbers, [point.span for point in described], self._samples)
        iserver.subscription_service = iserver.isession.subscription_service = PointSubscriptions(
            iserver.aspace, iserver, table
        )
        if self._recent is not None:
            iserver.history_manager = RecentHistory(iserver, self._recent, numbers, kinds)
        for number, point in enumerate(described):
            self._bind(iserver.aspace[point.node], number, ua.VariantType(point.kind))

    def _bind(self, node: Any, number: int, kind: ua.VariantType) -> None:
        """Let reads and writes of a node go to its point."""
        whole = kind in (ua.VariantType.Int32, ua.VariantType.UInt32)
        convert = bool if kind == ua.VariantType.Boolean else int if whole else float

        def read(node_id: ua.NodeId, attribute: ua.AttributeIds) -> ua.DataValue:
            value, quality, source_us, server_us = self._points.read(number)
            return ua.DataValue(
                Value=None if is_bad(quality) else ua.Variant(convert(value), kind),
                StatusCode=ua.StatusCode(quality),
                SourceTimestamp=_EPOCH + source_us * _US,
                ServerTimestamp=_EPOCH + server_us * _US,
            )

        def write(node_data: Any, attribute: ua.AttributeIds, written: ua.DataValue) -> None:
            status = written.StatusCode.value if written.StatusCode else 0
            raw = written.Value.Value if written.Value is not None else None
            time_ns = time.time_ns()
            if written.SourceTimestamp is not None:
                time_ns = (written.SourceTimestamp - _EPOCH) // _US * 1000
            self.write([0.0 if raw is None else float(raw)], [status], time_ns, np.array([number]))

        value = node.attributes[ua.AttributeIds.Value]
        value.value_callback, value.value_setter = read, write
        if self._recent is not None:
            level = ua.AccessLevel.CurrentRead.mask | ua.AccessLevel.HistoryRead.mask
            for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
                node.attributes[attribute].value = ua.DataValue(ua.Variant(level, ua.VariantType.Byte))
            node.attributes[ua.AttributeIds.Historizing].value = ua.DataValue(True)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare the garbage collector the 100,000 objects of the standard address space; starting takes half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
