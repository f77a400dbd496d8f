"""asyncua's connection, with the ways that every notification goes written short: opening a chunk, asking to publish.

What asyncua does in general, with an object for each header, is here the same in a few steps: between two messages the
processor forgets us, so that every line of code and every copy is dearer than it looks. Everything but messages of an
open channel (hello, opening, errors) takes asyncua's way.
"""

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.utils import Buffer
from asyncua.crypto.uacrypto import InvalidSignature
from asyncua.ua.ua_binary import nodeid_to_binary

from uem.hardware_adapters.opcua.sealing import HEAD_BYTES, PREFIX, SECURITY, Sealer, Unsealer

MOST_CHUNK_BYTES = 65_535  # as asyncua tells the server
MOST_MESSAGE_BYTES = 64 * 2**20

_SEQUENCE = struct.Struct("<II")  # number, request
_REQUEST = struct.Struct(
    "<qIIiI3xi"
)  # time, handle, no diagnostics, no audit, no time limit, nothing more; then a count
_PUBLISH_REQUEST = b"\x01\x00\x3a\x03"  # node 826 of namespace 0
_SERVICE_FAULT = b"\x01\x00\x8d\x01"  # node 397
_CHUNKS = (b"MSGF", b"MSGC")
_TICKS_1601_TO_1970 = 116_444_736_000_000_000
_LAST_NUMBERS = (1 << 32) - 1024  # after one of these the numbers may begin anew (OPC 10000-6, 6.7.2)

Body: TypeAlias = bytes | memoryview
Done: TypeAlias = Callable[[Body | Exception], None]


class Line(UASocketProtocol):
    """A connection that also tells when something was heard on it last."""

    heard_s: float
    _parts: list[Body]
    _parts_of = 0  # the request that they answer
    _publishing: dict[int, Done]
    _token: tuple[ua.NodeId | None, bytes] = (None, b"")  # of the session, and encoded
    _unsealers: dict[object, Unsealer]  # by asyncua's own: the keys of now and those before
    _sealer: tuple[object, Sealer] | None = None

    async def open_secure_channel(self, params: ua.OpenSecureChannelParameters) -> Any:
        """Also after one whose answer did not come in time; the library refuses all others from then on."""
        self._open_secure_channel_exchange = None
        return await super().open_secure_channel(params)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The socket is open."""
        self.heard_s = time.monotonic()
        self._parts = []
        self._publishing = {}
        self._unsealers = {}
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on whole messages; what is left over waits for the rest of its chunk."""
        self.heard_s = time.monotonic()
        if self.receive_buffer:
            data = self.receive_buffer + data
            self.receive_buffer = None
        at = 0
        while len(data) - at >= PREFIX.size:
            kind, size = PREFIX.unpack_from(data, at)
            if not PREFIX.size <= size <= MOST_CHUNK_BYTES:
                self.logger.error("a chunk of %d bytes", size)
                self.disconnect_socket()
                return
            if len(data) - at < size:
                break
            if kind in _CHUNKS:
                if not self._take(kind, data[at : at + size]):
                    return
            else:
                self._parts = []
                self._process_received_data(data[at : at + size])
            at += size
        if at < len(data):
            self.receive_buffer = data[at:]

    def _take(self, kind: bytes, chunk: bytes) -> bool:
        """Open a chunk and pass the message on when it is whole; False when the line had to be given up."""
        try:
            body: Body
            request, body = self._opened(chunk)
            if self._parts and request != self._parts_of:
                raise ua.UaError(f"a chunk for request {request} inside of the answer to {self._parts_of}")
            if kind == b"MSGC" or self._parts:
                self._parts.append(body)
                self._parts_of = request
                if sum(map(len, self._parts)) > MOST_MESSAGE_BYTES:
                    raise ua.UaError(f"a message of more than {MOST_MESSAGE_BYTES} bytes")
            if kind == b"MSGF":
                body, self._parts = b"".join(self._parts) if self._parts else body, []
                self._answer(request, body)
        except Exception as error:  # the library raises many kinds
            self.logger.error("a message that cannot be read: %s", error)
            self.disconnect_socket()
            return False
        return True

    def _answer(self, request: int, body: Body) -> None:
        """Pass a message on: to a publish request as bytes, to any other as asyncua does."""
        done = self._publishing.pop(request, None)
        if done is None:
            self._call_callback(request, Buffer(bytes(body)))
            return
        try:
            if body[: len(_SERVICE_FAULT)] == _SERVICE_FAULT:
                self.check_answer(Buffer(bytes(body)), " in response to PublishRequest")
        except ua.UaError as fault:
            done(fault)
        else:
            done(body)

    def _fail_all_pending(self, exc: Exception) -> None:
        publishing, self._publishing = self._publishing, {}
        for done in publishing.values():
            done(exc)
        super()._fail_all_pending(exc)

    def _opened(self, chunk: bytes) -> tuple[int, memoryview]:
        """Decrypt a chunk, check its signature and its place in the row; the request it answers and what it carries."""
        connection = self._connection
        channel, token = SECURITY.unpack_from(chunk, PREFIX.size)
        if channel != connection.security_token.ChannelId:
            raise ua.UaError(f"channel {channel} instead of {connection.security_token.ChannelId}")
        if token != connection.security_token.TokenId:
            connection._check_sym_header(ua.SymmetricAlgorithmHeader(token))
        try:
            plain = self._verified(chunk, with_last_key=False)
        except InvalidSignature:
            plain = self._verified(chunk, with_last_key=True)
        number, request = _SEQUENCE.unpack_from(plain)
        last = connection._peer_sequence_number
        begins_anew = last is not None and last >= _LAST_NUMBERS and number < 1024
        if last is not None and number != last + 1 and not begins_anew:
            raise ua.UaError(f"chunk {number} after {last}")
        connection._peer_sequence_number = number
        return request, plain[_SEQUENCE.size :]

    def _verified(self, chunk: bytes, *, with_last_key: bool) -> memoryview:
        """The plain bytes of a chunk behind its headers; InvalidSignature when they are not from the server."""
        crypto: Any = self._connection.security_policy.symmetric_cryptography
        if not hasattr(crypto, "Verifier"):
            return memoryview(chunk)[HEAD_BYTES:]
        crypto.revolved_expired_key()
        decryptor = crypto.Prev_Decryptor if with_last_key else crypto.Decryptor
        if decryptor is None:
            raise InvalidSignature
        unsealer = self._unsealers.get(decryptor)
        if unsealer is None:
            verifier = crypto.Prev_Verifier if with_last_key else crypto.Verifier
            unsealer = Unsealer(decryptor.cipher, verifier.key)
            self._unsealers = {**dict(list(self._unsealers.items())[-1:]), decryptor: unsealer}
        return unsealer.unseal(chunk)

    def _sealed(self, body: bytes, request: int) -> bytes:
        """The chunk of a message that fits into one, signed and encrypted."""
        connection = self._connection
        crypto: Any = connection.security_policy.symmetric_cryptography
        connection._sequence_number = connection._sequence_number % 0xFFFF_FFFF + 1
        plain = _SEQUENCE.pack(connection._sequence_number, request) + body
        token = connection.security_token
        if not hasattr(crypto, "Signer"):
            head = PREFIX.pack(_CHUNKS[0], HEAD_BYTES + len(plain)) + SECURITY.pack(token.ChannelId, token.TokenId)
            return head + plain
        if self._sealer is None or self._sealer[0] is not crypto.Encryptor:
            self._sealer = crypto.Encryptor, Sealer(crypto.Encryptor.cipher, crypto.Signer.key)
        return self._sealer[1].seal(_CHUNKS[0], token.ChannelId, token.TokenId, plain)

    def publish(self, subscription: int, acknowledged: Sequence[int], done: Done) -> None:
        """Send a publish request; `done` gets the body of its response, or ConnectionError, or the fault as ua.UaError.

        Raises:
            ConnectionError: the line is closed.
        """
        if self.transport is None:
            raise ConnectionError("Connection is closed")
        self._request_handle += 1
        self._request_id += 1
        if self._token[0] is not self.authentication_token:
            self._token = self.authentication_token, nodeid_to_binary(self.authentication_token)
        body = publish_request(self._token[1], self._request_handle, subscription, acknowledged)
        self.revolve_security_token()
        self._publishing[self._request_id] = done
        self.transport.write(self._sealed(body, self._request_id))


def publish_request(token: bytes, handle: int, subscription: int, acknowledged: Sequence[int]) -> bytes:
    """The bytes of a publish request without a time limit; `token` is the encoded authentication token."""
    ticks = time.time_ns() // 100 + _TICKS_1601_TO_1970
    parts = [_PUBLISH_REQUEST, token, _REQUEST.pack(ticks, handle, 0, -1, 0, len(acknowledged))]
    parts += [_SEQUENCE.pack(subscription, number) for number in acknowledged]
    return b"".join(parts)
