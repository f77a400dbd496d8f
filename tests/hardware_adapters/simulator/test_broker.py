"""The broker of simulated plants, by the client that everybody uses and by bytes that none would send."""

import asyncio

import aiomqtt
import pytest

from uem.hardware_adapters.simulator.broker import MOST_BYTES, Broker, matches


@pytest.mark.parametrize(
    ("wanted", "topic", "is_one"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("+/+/c", "a/b/c", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("a/b/#", "a", False),
    ],
)
def test_filters_stand_for_topics(wanted, topic, is_one):
    assert matches(wanted.encode(), topic.encode()) is is_one


async def test_messages_reach_who_listens_as_long_as_he_does():
    large = bytes(range(256)) * 1000
    async with (
        Broker() as broker,
        aiomqtt.Client("127.0.0.1", broker.port) as reader,
        aiomqtt.Client("127.0.0.1", broker.port) as other,
    ):
        await reader.subscribe([("a/+", 1), ("b", 0)])
        await other.subscribe("a/x")
        await other.unsubscribe("a/x")
        await other.publish("a/x", b"1", 1)
        await other.publish("c", b"2", 0)
        await other.publish("b", large, 1)
        async with asyncio.timeout(60):
            found = [await anext(reader.messages) for _ in range(2)]
    assert [(message.topic.value, message.payload) for message in found] == [("a/x", b"1"), ("b", large)]


async def test_last_words_are_those_of_who_does_not_say_goodbye():
    async with Broker() as broker, aiomqtt.Client("127.0.0.1", broker.port) as reader:
        await reader.subscribe("will/+")
        async with aiomqtt.Client("127.0.0.1", broker.port, will=aiomqtt.Will("will/polite", b"x")):
            pass
        dying = aiomqtt.Client("127.0.0.1", broker.port, will=aiomqtt.Will("will/dead", b"x"))
        await dying.__aenter__()
        dying._client._sock_close()
        async with asyncio.timeout(60):
            assert (await anext(reader.messages)).topic.value == "will/dead"


CONNECT = bytes.fromhex("100c 0004 4d515454 04 02 003c 0000".replace(" ", ""))


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\xc0\x00", b""),  # a ping before anything else
        (b"\x10\x06\x00\x04MQTT", b""),  # a connection that ends after its protocol
        (bytes.fromhex("100c00044d5154540502003c0000"), b"\x20\x02\x00\x01"),  # MQTT 5
        (CONNECT + b"\x30\x03\x00\x09a", b"\x20\x02\x00\x00"),  # a topic longer than its packet
        (CONNECT + b"\x34\x05\x00\x01a\x00\x01", b"\x20\x02\x00\x00"),  # QoS 2
        (CONNECT + b"\xf0\x00", b"\x20\x02\x00\x00"),  # no packet
        (CONNECT + b"\x30\xff\xff\xff\xff\x01", b"\x20\x02\x00\x00"),  # a length of five bytes
        (CONNECT + b"\x30\xff\xff\xff\x7f", b"\x20\x02\x00\x00"),  # longer than MOST_BYTES
        (CONNECT + CONNECT, b"\x20\x02\x00\x00"),
    ],
)
async def test_who_sends_what_is_no_packet_is_disconnected_and_nobody_else(sent, answer):
    assert MOST_BYTES < 0xFFFFFFF
    async with Broker() as broker, aiomqtt.Client("127.0.0.1", broker.port) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(sent)
        async with asyncio.timeout(60):
            assert await reader.read() == answer
        writer.close()
        await client.subscribe("a")
        await client.publish("a", b"1", 1)
        async with asyncio.timeout(60):
            assert (await anext(client.messages)).payload == b"1"
