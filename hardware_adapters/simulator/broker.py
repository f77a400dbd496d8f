"""A small MQTT broker, so that a simulated plant needs no other program: MQTT 3.1.1, as far as plants and gateways go.

Messages reach who listens at most once (QoS 0), over TCP without a loss. Nothing is retained, and no session outlives
its connection. What clients can make it hold is bounded. Numbers in brackets are sections of the standard.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = (
    *range(1, 5),
    *range(8, 15),
)
MOST_BYTES = 1 << 20  # of a packet
MOST_WAITING_BYTES = 4 << 20  # for one client, who is too slow then
MOST_CLIENTS = 64  # a plant and its gateways are a handful; one more is disconnected at once
MOST_FILTERS = 10_000  # of one client
CONNECT_S = 10.0  # to say who it is
PATIENCE = 1.5  # keep-alive times without a whole packet (3.1.2.10)
GOODBYE_S = 2.0  # at the end, for what was not sent yet


class Malformed(Exception):
    """A packet that is none, or of what is not done here; who sends it is disconnected."""


class Broker:
    """Takes messages from whoever connects and passes them on to those who subscribed to their topics."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Nothing is opened yet; port 0 takes a free one."""
        self._where = (host, port)
        self._clients: set[_Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, *self._where)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for client in self._clients:
            client.writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GOODBYE_S)
        for client in self._clients:  # who takes nothing
            client.writer.transport.abort()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, task = _Client(writer), asyncio.current_task()
        assert task is not None
        if len(self._clients) >= MOST_CLIENTS:
            writer.transport.abort()
            return
        self._tasks.add(task)
        self._clients.add(client)
        with suppress(asyncio.IncompleteReadError, OSError, Malformed):  # a timeout is an OSError
            async with asyncio.timeout(CONNECT_S):
                kind, flags, body = await _packet(reader)
            if kind != CONNECT:
                raise Malformed(kind)
            client.connect(body)
            while kind != DISCONNECT:
                async with asyncio.timeout(client.patience_s):
                    kind, flags, body = await _packet(reader)
                    self._take(client, kind, flags, body)
                    await writer.drain()
            client.will = None  # who says goodbye has no last words (3.14.4)
        self._clients.discard(client)
        self._tasks.discard(task)
        writer.close()
        if client.will is not None:
            self._pass_on(*client.will)

    def _take(self, client: "_Client", kind: int, flags: int, body: bytes) -> None:
        """A packet of a client that is connected."""
        if kind == PUBLISH:
            qos, (topic, rest) = flags >> 1 & 3, _string(body)
            if qos > 1 or not topic or b"+" in topic or b"#" in topic or len(rest) < 2 * qos:
                raise Malformed(kind)
            if qos:
                client.send(PUBACK, rest[:2])
                rest = rest[2:]
            self._pass_on(topic, rest)
        elif kind in (SUBSCRIBE, UNSUBSCRIBE) and flags != 2:  # (3.8.1)
            raise Malformed(kind)
        elif kind == SUBSCRIBE:
            filters = [*_filters(body[2:], with_qos=True)]
            client.filters.update(filters)
            if not filters or len(client.filters) > MOST_FILTERS:
                raise Malformed(kind)
            client.send(SUBACK, body[:2] + bytes(len(filters)))
        elif kind == UNSUBSCRIBE:
            client.filters.difference_update(_filters(body[2:], with_qos=False))
            client.send(UNSUBACK, body[:2])
        elif kind == PINGREQ:
            client.send(PINGRESP, b"")
        elif kind not in (PUBACK, DISCONNECT):
            raise Malformed(kind)

    def _pass_on(self, topic: bytes, message: bytes) -> None:
        packet = len(topic).to_bytes(2, "big") + topic + message
        for client in self._clients:
            if any(matches(each, topic) for each in client.filters):
                client.send(PUBLISH, packet)


class _Client:
    """Who is connected: what it listens to, and its last words (topic, message)."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.filters: set[bytes] = set()
        self.will: tuple[bytes, bytes] | None = None
        self.patience_s: float | None = None  # with it between two packets; None where it asked for no keep-alive

    def connect(self, body: bytes) -> None:
        """Its first packet (3.1); users and passwords are not asked for."""
        protocol, rest = _string(body)
        if len(rest) < 4:
            raise Malformed(body)
        if protocol != b"MQTT" or rest[0] != 4:
            self.send(CONNACK, b"\x00\x01")  # another version of the protocol
            raise Malformed(protocol)
        flags, keep_alive_s = rest[1], int.from_bytes(rest[2:4], "big")
        self.patience_s = PATIENCE * keep_alive_s or None
        _, rest = _string(rest[4:])  # its name
        if flags & 0x04:
            topic, rest = _string(rest)
            message, _ = _string(rest)
            self.will = topic, message
        self.send(CONNACK, b"\x00\x00")

    def send(self, kind: int, body: bytes) -> None:
        """Send a packet."""
        head, size = bytearray([kind << 4]), len(body)
        while size > 127:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        head.append(size)
        self.writer.write(bytes(head) + body)
        if self.writer.transport.get_write_buffer_size() > MOST_WAITING_BYTES:
            self.writer.transport.abort()


def matches(wanted: bytes, topic: bytes) -> bool:
    """Whether a topic is one of a filter, in which + stands for a level and # for all that follow (4.7)."""
    levels, its = wanted.split(b"/"), topic.split(b"/")
    if levels[-1] == b"#":
        levels, its = levels[:-1], its[: len(levels) - 1]
    return len(levels) == len(its) and all(level in (b"+", each) for level, each in zip(levels, its, strict=True))


async def _packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Kind, flags and body of the next packet (2.2)."""
    first, size = (await reader.readexactly(1))[0], 0
    for k in range(4):
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            break
    else:
        raise Malformed(first)
    if size > MOST_BYTES:
        raise Malformed(first)
    return first >> 4, first & 0x0F, await reader.readexactly(size)


def _string(body: bytes) -> tuple[bytes, bytes]:
    """A string with its length before it (1.5.3), and the rest."""
    size = int.from_bytes(body[:2], "big")
    if len(body) < 2 + size:
        raise Malformed(body)
    return body[2 : 2 + size], body[2 + size :]


def _filters(body: bytes, *, with_qos: bool) -> Iterator[bytes]:
    while body:
        found, body = _string(body)
        if not found or len(body) < with_qos:
            raise Malformed(body)
        body = body[with_qos:]
        yield found
