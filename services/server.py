"""The gRPC server of a process: services, health, reflection, counted calls, deadlines, graceful drain.

Every call passes one interceptor. It turns errors into statuses, counts what started and how it ended, refuses
costly calls without a deadline, and at the drain ends the open streams with UNAVAILABLE and a RetryInfo.
"""

import asyncio
import contextlib
import inspect
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from uem.services import health as checks_of
from uem.services.metrics import Metrics
from uem.services.status import Context, Draining, InvalidField, errors_as_status
from uem.twin_core.errors import InvalidInput
from uem.v1 import columns

MAX_RECEIVE_BYTES = 16 * 1024 * 1024
MAX_CALLS = 1000
MAX_CALLS_OF_A_CLIENT = 250  # of one connection; further ones wait or are refused, those of others are not
LONGEST_UNARY_S = 60.0
_NOTICE_S = 0.1  # between "not serving" and the end of the streams, so that those who watch health can read it
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # two servers must not share a port in silence
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.max_concurrent_streams", MAX_CALLS_OF_A_CLIENT),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A client may ping every 10 s, also between calls, without being sent away.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 9_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A servicer and how it is put on a server."""

    name: str  # full name of the service, as in "uem.v1.TwinService"
    add: Callable[[Any, grpc.aio.Server], None]  # the generated add_...Servicer_to_server
    servicer: object


class Server:
    """A started server; made by `start`."""

    def __init__(
        self,
        server: grpc.aio.Server,
        gate: "_Gate",
        checks: checks_of.Checks,
        health_servicer: health.aio.HealthServicer,
        names: Sequence[str],
        address: str,
    ) -> None:
        self.checks = checks
        self.address = address  # host:port that clients connect to
        self._server = server
        self._gate = gate
        self._health = health_servicer
        self._polling = asyncio.create_task(checks_of.poll(checks, health_servicer, names))

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return int(self.address.rpartition(":")[2])

    async def drain(self, grace_s: float = 5.0) -> None:
        """Go down in order: not serving, streams ended with UNAVAILABLE, running unary calls finished.

        What the services keep (store, twin) is for their owner to close afterwards.
        """
        self._polling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._polling
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(_NOTICE_S)
        self._gate.close()
        await self._server.stop(grace_s)

    async def wait(self) -> None:
        """Wait until the server has stopped."""
        await self._server.wait_for_termination()


async def start(
    services: Sequence[Service],
    *,
    metrics: Metrics,
    checks: checks_of.Checks | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    needs_deadline: Collection[str] = (),
) -> Server:
    """Start serving; port 0 takes a free one.

    `needs_deadline` holds the methods ("/uem.v1.PredictionService/GetForecast") that are too costly to run for a
    client that does not say how long it waits.

    Raises:
        InvalidInput: the host is not loopback, or the port is in use.
    """
    _refuse_other_hosts(host)
    _refuse_busy_port(host, port)
    gate = _Gate(metrics, frozenset(needs_deadline))
    server = grpc.aio.server(interceptors=[gate], options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
    for service in services:
        service.add(service.servicer, server)
    names = [service.name for service in services]
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection([*names, health_name, reflection.SERVICE_NAME], server)
    bound = server.add_insecure_port(_address(host, port))
    checks = checks or checks_of.Checks(metrics)
    await checks_of.publish(checks, health_servicer, names)
    await server.start()
    return Server(server, gate, checks, health_servicer, names, _address(host, bound))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refuse_other_hosts(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidInput(f"host {host}: gRPC without certificates listens on this machine only; use --host 127.0.0.1")


def _refuse_busy_port(host: str, port: int) -> None:
    """Try the port before gRPC does, which would say it in lines of its own on stderr."""
    if not 0 <= port <= 65_535:
        raise InvalidInput(f"port {port} does not exist; choose one from 1 to 65535 with --port (0: any free port)")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on port {port} of {host}: {error}; choose another with --port (0: any free port)"
        ) from None


Behaviour = Callable[[Any, Context], Any]


def _read(parse: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return parse(data)
    except DecodeError:
        raise InvalidInput(f"{len(data)} bytes that are no request of this method") from None


async def _read_each(parse: Callable[[bytes], Any], stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in stream:
        yield _read(parse, data)


class _Gate(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """What every call passes."""

    def __init__(self, metrics: Metrics, needs_deadline: frozenset[str]) -> None:
        self._needs_deadline = needs_deadline
        self._closed = False
        self._streams: set[asyncio.Task[Any]] = set()
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        self._started = metrics.counter("uem_rpc_started_total", "Calls that began.", ["method"])
        self._handled = metrics.counter("uem_rpc_handled_total", "Calls that ended, by status.", ["method", "code"])
        self._seconds = metrics.histogram(
            "uem_rpc_duration_seconds", "Time from begin to end of a unary call.", labels=["method"]
        )
        metrics.gauge("uem_rpc_open_streams", "Streams that are open now.", lambda: len(self._streams))

    def close(self) -> None:
        """End every stream and refuse new calls, with UNAVAILABLE."""
        self._closed = True
        for task in self._streams:
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """The handler of the method, wrapped once per method."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None:  # no such method; grpc answers UNIMPLEMENTED
                return None
            self._handlers[method] = self._wrap(method, handler)
        return self._handlers[method]

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        # Requests are read in here, so that bytes that are no message are refused as every other wrong request is.
        codec = (None, columns.WRITERS.get(method, handler.response_serializer))
        parse = columns.READERS.get(method, handler.request_deserializer)
        read = partial(_read_each if handler.request_streaming else _read, parse)
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(method, handler.stream_stream, read), *codec)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(method, handler.unary_stream, read), *codec)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._unary(method, handler.stream_unary, read), *codec)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary, read), *codec)

    def _unary(self, method: str, behaviour: Behaviour, read: Callable[[Any], Any]) -> Behaviour:
        async def call(request: Any, context: Context) -> Any:
            begin = perf_counter()
            try:
                async with self._counted(method, context), errors_as_status(context):
                    self._admit(method, context)
                    async with asyncio.timeout(LONGEST_UNARY_S):
                        return await behaviour(read(request), context)
            finally:
                self._seconds.observe(perf_counter() - begin, method)

        return call

    def _streaming(self, method: str, behaviour: Behaviour, read: Callable[[Any], Any]) -> Behaviour:
        generates = inspect.isasyncgenfunction(behaviour)

        async def call(request: Any, context: Context) -> None:
            async with self._counted(method, context), errors_as_status(context), self._ended_by_drain():
                self._admit(method, context)
                if not generates:
                    await behaviour(read(request), context)
                    return
                # Written here and not yielded: so a cancellation always arrives in this frame.
                async with contextlib.aclosing(behaviour(read(request), context)) as responses:
                    async for response in responses:
                        try:
                            await context.write(response)
                        except grpc.aio.InternalError:  # the client left while this waited for room in its window
                            raise asyncio.CancelledError from None

        return call

    def _admit(self, method: str, context: Context) -> None:
        if self._closed:
            raise Draining("the server is going down; try again")
        if method in self._needs_deadline and context.time_remaining() is None:
            raise InvalidField("deadline", f"{method} needs a deadline; set a timeout on the call")

    @contextlib.asynccontextmanager
    async def _ended_by_drain(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._closed:
                raise
            task.uncancel()
            raise Draining("the server is going down; connect again") from None
        finally:
            self._streams.discard(task)

    @contextlib.asynccontextmanager
    async def _counted(self, method: str, context: Context) -> AsyncIterator[None]:
        self._started.add(1, method)
        code = "CANCELLED"
        try:
            yield
            code = "OK"
        except grpc.aio.AbortError:
            code = context.code().name
            raise
        finally:
            self._handled.add(1, method, code)
