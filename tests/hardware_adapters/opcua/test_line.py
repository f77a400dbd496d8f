"""Bytes of the short ways against asyncua's own."""

import struct

import pytest
from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import nodeid_to_binary, struct_from_binary

from uem.hardware_adapters.opcua import line
from uem.hardware_adapters.opcua.line import Line, publish_request


class Transport:
    closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def messages():
    """messages(*bodies): their bytes as a server sends them, in small chunks, answering requests 1, 2, ..."""

    def made(*bodies, chunk_bytes=100):
        sender = SecureConnection(SecurityPolicyNone(), TransportLimits(max_send_buffer=chunk_bytes))
        return b"".join(
            sender.message_to_binary(body, request_id=request) for request, body in enumerate(bodies, start=1)
        )

    return made


def received(kind, data, step):
    """What a connection makes of bytes that come in steps: answers by request, and whether it hung up."""
    connection, answers = kind(), {}
    connection.connection_made(Transport())
    connection._call_callback = lambda request, body: answers.setdefault(request, bytes(body))
    for at in range(0, len(data), step):
        if connection.transport.closed:
            break
        connection.data_received(data[at : at + step])
    return answers, connection.transport.closed


BODIES = [b"a", b"b" * 500, b"c" * 99]


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
def test_messages_in_pieces_are_what_asyncua_makes_of_them(messages, step):
    data = messages(*BODIES)
    ours = received(Line, data, step)
    assert ours == (dict(enumerate(BODIES, start=1)), False)
    assert ours == received(UASocketProtocol, data, 10_000)


@pytest.mark.parametrize(
    ("at", "what"), [(4, "a size that no chunk has"), (8, "another channel"), (16, "a number out of the row")]
)
def test_a_chunk_that_does_not_fit_ends_the_line(messages, at, what):
    data = bytearray(messages(b"first", b"second"))
    second = len(messages(b"first"))
    data[second + at : second + at + 4] = struct.pack("<I", 0xFFFFFF)
    assert received(Line, bytes(data), 10_000) == ({1: b"first"}, True), what


def test_a_message_without_end_ends_the_line(messages, monkeypatch):
    monkeypatch.setattr(line, "MOST_MESSAGE_BYTES", 300)
    assert received(Line, messages(b"x" * 1000), 10_000) == ({}, True)


@pytest.mark.parametrize("numbers", [[], [1], [7, 4_294_967_295, 9]])
def test_a_publish_request_is_read_by_asyncua_as_it_was_meant(numbers):
    token = ua.NodeId(bytes(range(32)), 1)
    data = Buffer(publish_request(nodeid_to_binary(token), 77, 3, numbers))
    read = struct_from_binary(ua.PublishRequest, data)
    assert len(data) == 0
    assert read.Parameters.SubscriptionAcknowledgements == [ua.SubscriptionAcknowledgement(3, n) for n in numbers]
    header = read.RequestHeader
    assert (header.AuthenticationToken, header.RequestHandle, header.TimeoutHint) == (token, 77, 0)
    assert abs((header.Timestamp - ua.PublishRequest().RequestHeader.Timestamp).total_seconds()) < 3600
