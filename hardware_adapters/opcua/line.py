"""asyncua's connection, with the ways that every notification goes written short: opening a chunk, asking to publish.

What asyncua does in general, with an object for each header, is here the same in a few steps. Everything but messages
of an open channel (hello, opening, errors) takes asyncua's way.
"""

import asyncio
import struct
import time
from typing import Any

from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.utils import Buffer
from asyncua.crypto.uacrypto import InvalidSignature
from asyncua.ua.ua_binary import nodeid_to_binary

MOST_CHUNK_BYTES = 65_535  # as asyncua tells the server
MOST_MESSAGE_BYTES = 64 * 2**20

_PREFIX = struct.Struct("<4sI")  # kind, size
_SECURITY = struct.Struct("<II")  # channel, token
_SEQUENCE = struct.Struct("<II")  # number, request
_REQUEST = struct.Struct(
    "<qIIiI3xi"
)  # time, handle, no diagnostics, no audit, no time limit, nothing more; then a count
_PUBLISH_REQUEST = b"\x01\x00\x3a\x03"  # node 826 of namespace 0
_SERVICE_FAULT = b"\x01\x00\x8d\x01"  # node 397
_CHUNKS = (b"MSGF", b"MSGC")
_TICKS_1601_TO_1970 = 116_444_736_000_000_000
_LAST_NUMBERS = (1 << 32) - 1024  # after one of these the numbers may begin anew (OPC 10000-6, 6.7.2)


class Line(UASocketProtocol):
    """A connection that also tells when something was heard on it last."""

    heard_s: float
    _parts: list[bytes]
    _publishing: dict[int, asyncio.Future[bytes]]
    _parts_of = 0  # the request that they answer

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The socket is open."""
        self.heard_s = time.monotonic()
        self._parts = []
        self._publishing = {}
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on whole messages; what is left over waits for the rest of its chunk."""
        self.heard_s = time.monotonic()
        if self.receive_buffer:
            data = self.receive_buffer + data
            self.receive_buffer = None
        at = 0
        while len(data) - at >= _PREFIX.size:
            kind, size = _PREFIX.unpack_from(data, at)
            if not _PREFIX.size <= size <= MOST_CHUNK_BYTES:
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

    def _answer(self, request: int, body: bytes) -> None:
        """Pass a message on: to a publish request as bytes, to any other as asyncua does."""
        answer = self._publishing.pop(request, None)
        if answer is None:
            self._call_callback(request, Buffer(body))
            return
        del self._callbackmap[request]
        if answer.done():  # nobody waits for it any more
            return
        try:
            if body.startswith(_SERVICE_FAULT):
                self.check_answer(Buffer(body), " in response to PublishRequest")
        except ua.UaError as fault:
            answer.set_exception(fault)
        else:
            answer.set_result(body)

    def _opened(self, chunk: bytes) -> tuple[int, bytes]:
        """Decrypt a chunk, check its signature and its place in the row; the request it answers and what it carries."""
        connection = self._connection
        channel, token = _SECURITY.unpack_from(chunk, _PREFIX.size)
        if channel != connection.security_token.ChannelId:
            raise ua.UaError(f"channel {channel} instead of {connection.security_token.ChannelId}")
        if token != connection.security_token.TokenId:
            connection._check_sym_header(ua.SymmetricAlgorithmHeader(token))
        try:
            plain = self._verified(chunk, use_prev_key=False)
        except InvalidSignature:
            plain = self._verified(chunk, use_prev_key=True)
        number, request = _SEQUENCE.unpack_from(plain)
        last = connection._peer_sequence_number
        begins_anew = last is not None and last >= _LAST_NUMBERS and number < 1024
        if last is not None and number != last + 1 and not begins_anew:
            raise ua.UaError(f"chunk {number} after {last}")
        connection._peer_sequence_number = number
        return request, plain[_SEQUENCE.size :]

    def _verified(self, chunk: bytes, *, use_prev_key: bool) -> bytes:
        """The plain bytes of a chunk behind its headers; InvalidSignature when they are not from the server."""
        crypto: Any = self._connection.security_policy.symmetric_cryptography
        crypto.use_prev_key = use_prev_key
        head = _PREFIX.size + _SECURITY.size
        plain: bytes = crypto.decrypt(chunk[head:])
        size = crypto.vsignature_size()
        if size:
            plain, signature = plain[:-size], plain[-size:]
            crypto.verify(chunk[:head] + plain, signature)
        unpadded: bytes = crypto.remove_padding(plain)
        return unpadded

    def publish(self, request: ua.PublishRequest) -> "asyncio.Future[bytes]":
        """Send a publish request; the body of its response, ConnectionError or ua.UaStatusCodeError for a fault."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if self.transport is None:
            answer.set_exception(ConnectionError("Connection is closed"))
            return answer
        self._request_handle += 1
        self._request_id += 1
        body = publish_request(nodeid_to_binary(self.authentication_token), self._request_handle, request)
        self.revolve_security_token()
        message = self._connection.message_to_binary(body, request_id=self._request_id)
        self._callbackmap[self._request_id] = self._publishing[self._request_id] = answer
        self.transport.write(message)
        return answer


def publish_request(token: bytes, handle: int, request: ua.PublishRequest) -> bytes:
    """The bytes of a publish request without a time limit; `token` is the encoded authentication token."""
    acknowledged = request.Parameters.SubscriptionAcknowledgements
    ticks = time.time_ns() // 100 + _TICKS_1601_TO_1970
    parts = [_PUBLISH_REQUEST, token, _REQUEST.pack(ticks, handle, 0, -1, 0, len(acknowledged))]
    parts += [_SEQUENCE.pack(each.SubscriptionId, each.SequenceNumber) for each in acknowledged]
    return b"".join(parts)
