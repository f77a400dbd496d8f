"""One plant behind a real OPC UA server: nodes from the tag table, values from a recording.

Only signed and encrypted sessions of trusted applications are let in. The library by itself would accept a session on
the open channel that exists for discovery; `_ChannelUsers` refuses it, since such a channel has no certificate.
"""

import asyncio
import dataclasses
import gc
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.simulator.overflow import tell_of_overflows
from uem.hardware_adapters.simulator.recording import RecordedColumns, schedule
from uem.twin_core.errors import AdapterError, InvalidInput, NotTrusted
from uem.twin_core.measurements import BAD_WAITING_FOR_INITIAL_DATA, NS_PER_S, is_bad
from uem.twin_core.plant.territory import Plant, TagBinding

_log = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POLICIES = {
    "Basic256Sha256": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    "Aes256Sha256RsaPss": ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
}


class PlantServer:
    """An OPC UA server with the tags of one plant."""

    def __init__(
        self,
        plant: Plant,
        bindings: Sequence[TagBinding],
        certificates: CertificateStore,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Nothing is opened yet. `bindings` are the tags of this plant; `port` 0 takes a free one."""
        self.plant = plant
        self.bindings = tuple(bindings)
        self.endpoint = ""
        self.rows_written = 0
        self.lag_s = 0.0
        self._certificates = certificates
        self._address = (host, port)
        self._server: Server | None = None
        self._nodes: list[ua.NodeId] = []

    async def __aenter__(self) -> Self:
        """Open the port; AdapterError when it is taken."""
        host, port = self._address
        users = _ChannelUsers(self._certificates)
        server = Server(user_manager=users)
        with _collector_paused():
            await server.init()
        tell_of_overflows(server)
        server.set_server_name(f"uem plant {self.plant.name}")
        await server.set_application_uri(self._certificates.application_uri)
        server.set_endpoint(f"opc.tcp://{host}:{port}/uem/{self.plant.name}")
        server.set_security_policy([_POLICIES[self.plant.security_policy]])
        server.set_identity_tokens([ua.AnonymousIdentityToken])  # the application's certificate says who it is
        await server.load_certificate(self._certificates.certificate_path)
        await server.load_private_key(self._certificates.key_path)
        server.iserver.certificate_validator = self._let_in
        # Tell the time when asked, in place of a task that writes it every second and delays the stop by as much.
        server.disable_clock()
        clock = ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)
        server.set_attribute_value_callback(clock, lambda node, attribute: ua.DataValue(datetime.now(UTC)))
        await self._make_nodes(server)
        try:
            await server.start()
        except OSError as error:
            raise AdapterError(
                f"plant {self.plant.name}: cannot listen on {host}:{port}: {error.strerror or error}; "
                "choose another --port, or 0 for any free one"
            ) from None
        assert server.bserver is not None
        self._server = server
        self.endpoint = f"opc.tcp://{host}:{server.bserver.port}/uem/{self.plant.name}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    async def play(self, recording: RecordedColumns) -> None:
        """Write every row when it is due at the plant's speed, late ones at once and in order, until the end if any.

        `recording` has the columns of `bindings` in their order.
        """
        source = self.plant.recording
        if source is None:
            raise InvalidInput(f"plant {self.plant.name} has no recording to play")
        clock = asyncio.get_running_loop().time
        start, first_ns = clock(), int(recording.time_ns[0])
        for plant_ns, row in schedule(recording, loop=source.loop):
            due = start + (plant_ns - first_ns) / NS_PER_S / source.speed
            await asyncio.sleep(max(0.0, due - clock()))  # 0 when late: the server gets its turn between rows
            values, qualities = recording.value[row].tolist(), recording.quality[row].tolist()
            await self.write(source.epoch_ns + plant_ns, values, qualities)
            self.lag_s = max(0.0, clock() - due)
        _log.info("plant %s: the recording has ended", self.plant.name)

    async def write(self, source_time_ns: int, raw: Sequence[float], quality: Sequence[int]) -> None:
        """Write one row, a raw value and a StatusCode per binding, all with the same source time."""
        assert self._server is not None
        write = self._server.iserver.write_attribute_value
        source = _EPOCH + timedelta(microseconds=source_time_ns // 1000)
        now = datetime.now(UTC)
        for node, value, status in zip(self._nodes, raw, quality, strict=True):
            await write(node, _data_value(value, status, source, now))
        self.rows_written += 1

    async def _make_nodes(self, server: Server) -> None:
        """A Double per binding below Objects, with an object per step of its browse path."""
        folders: dict[tuple[int, tuple[str, ...]], Any] = {}
        epoch_ns = self.plant.recording.epoch_ns if self.plant.recording else time.time_ns()
        start = _EPOCH + timedelta(microseconds=epoch_ns // 1000)
        for binding in self.bindings:
            namespace = await server.register_namespace(binding.namespace_uri)
            *path, name = binding.browse_path.split("/")
            parent = server.nodes.objects
            for depth in range(1, len(path) + 1):
                key = (namespace, tuple(path[:depth]))
                if key not in folders:
                    folders[key] = await parent.add_object(namespace, path[depth - 1])
                parent = folders[key]
            identifier = ua.NodeId(binding.browse_path, namespace)
            node = await parent.add_variable(identifier, ua.QualifiedName(name, namespace), 0.0, ua.VariantType.Double)
            initial = _data_value(0.0, BAD_WAITING_FOR_INITIAL_DATA, start, start)
            await server.iserver.write_attribute_value(node.nodeid, initial)
            self._nodes.append(node.nodeid)

    async def _let_in(self, certificate: x509.Certificate, application: ua.ApplicationDescription) -> None:
        """The library asks here when a session is created."""
        try:
            self._certificates.check(certificate.public_bytes(Encoding.DER), application.ApplicationUri)
        except NotTrusted as error:
            _log.warning("plant %s: refused: %s", self.plant.name, error)
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted) from None


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


class _ChannelUsers(UserManager):
    """Lets in who holds the key of a trusted certificate: the one that the secure channel was opened with."""

    def __init__(self, certificates: CertificateStore) -> None:
        self._certificates = certificates

    def get_user(
        self, iserver: object, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """The user of a session that is being activated; None refuses it."""
        try:
            self._certificates.check(certificate)
        except NotTrusted as error:
            _log.warning("refused a session: %s", error)
            return None
        return User(role=UserRole.User)


def _data_value(raw: float, status: int, source: datetime, server: datetime) -> ua.DataValue:
    return ua.DataValue(
        Value=None if is_bad(status) else ua.Variant(raw, ua.VariantType.Double),
        StatusCode=ua.StatusCode(status),
        SourceTimestamp=source,
        ServerTimestamp=server,
    )


def columns_of(bindings: Sequence[TagBinding], plant: str) -> list[str]:
    """The column of the recording of each binding; InvalidInput when one has none."""
    without = [binding.tag.name for binding in bindings if not binding.column]
    if without:
        raise InvalidInput(
            f"plant {plant}: tags {', '.join(without)} have no column in the tag table; simulated plants need one each"
        )
    return [binding.column for binding in bindings]


def with_speed(plant: Plant, factor: float) -> Plant:
    """The plant with its recording `factor` times as fast."""
    if plant.recording is None:
        return plant
    recording = dataclasses.replace(plant.recording, speed=plant.recording.speed * factor)
    return dataclasses.replace(plant, recording=recording)
