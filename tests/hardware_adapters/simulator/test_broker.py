"""The broker of simulated plants, by the client that everybody uses and by bytes that none would send."""

import asyncio
import time

import aiomqtt
import pytest

from uem.hardware_adapters.simulator import broker as simulated
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
        (CONNECT + b"\x30\x03\x00\x01#", b"\x20\x02\x00\x00"),  # to all topics at once
        (CONNECT + b"\x32\x03\x00\x01a", b"\x20\x02\x00\x00"),  # QoS 1 without a number to acknowledge
        (CONNECT + b"\x80\x06\x00\x01\x00\x01a\x00", b"\x20\x02\x00\x00"),  # flags that it must not have
        (CONNECT + b"\x82\x02\x00\x01", b"\x20\x02\x00\x00"),  # to nothing
        (CONNECT + b"\x82\x05\x00\x01\x00\x00\x00", b"\x20\x02\x00\x00"),  # to an empty filter
        (CONNECT + b"\x82\x05\x00\x01\x00\x01a", b"\x20\x02\x00\x00"),  # a filter without its QoS
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


async def _connected(broker, sent=CONNECT):
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(sent)
    return reader, writer


async def _is_let_go(reader):
    """Whether the connection ends within seconds."""
    async with asyncio.timeout(30):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
    return True


async def test_who_connects_and_says_nothing_or_sends_a_packet_for_ever_is_let_go(monkeypatch):
    monkeypatch.setattr(simulated, "CONNECT_S", 0.2)
    impatient = CONNECT[:11] + b"\x01" + CONNECT[12:]  # keep-alive: 1 s
    async with Broker() as broker:
        mute, drips = await _connected(broker, b""), await _connected(broker, impatient + b"\x30\xff\xff\x3f\x00\x01a")
        patient = await _connected(broker)  # it asked for 60 s
        assert await _is_let_go(mute[0])
        assert await _is_let_go(drips[0])
        assert await patient[0].read(4) == b"\x20\x02\x00\x00"
        assert not patient[0].at_eof()
        for _, writer in (mute, drips, patient):
            writer.close()


async def test_one_client_more_than_it_serves_is_let_go_and_the_others_stay(monkeypatch):
    monkeypatch.setattr(simulated, "MOST_CLIENTS", 3)
    async with Broker() as broker:
        served = [await _connected(broker) for _ in range(3)]
        for reader, _ in served:
            assert await reader.read(4) == b"\x20\x02\x00\x00"
        surplus = await _connected(broker)
        assert await _is_let_go(surplus[0])
        served[0][1].write(b"\xc0\x00")
        assert await served[0][0].read(2) == b"\xd0\x00"
        served[0][1].close()
        surplus[1].close()
        async with asyncio.timeout(30):
            while True:  # there is room for another one
                reader, writer = await _connected(broker)
                served.append((reader, writer))
                try:
                    if await reader.read(4) == b"\x20\x02\x00\x00":
                        break
                except ConnectionError:
                    await asyncio.sleep(0.01)
        for _, writer in served:
            writer.close()


async def test_filters_of_a_client_are_bounded(monkeypatch):
    monkeypatch.setattr(simulated, "MOST_FILTERS", 2)
    three = b"".join(b"\x00\x01" + name + b"\x00" for name in (b"a", b"b", b"c"))
    async with Broker() as broker:
        reader, writer = await _connected(broker, CONNECT + b"\x82\x0e\x00\x01" + three)
        assert await _is_let_go(reader)
        writer.close()


async def test_it_ends_though_somebody_takes_nothing_of_what_waits_for_him(monkeypatch):
    monkeypatch.setattr(simulated, "GOODBYE_S", 0.1)
    async with Broker() as broker, aiomqtt.Client("127.0.0.1", broker.port) as sender:
        reader, writer = await _connected(broker, CONNECT + b"\x82\x06\x00\x01\x00\x01#\x00")
        assert await reader.readexactly(9) == b"\x20\x02\x00\x00" + b"\x90\x03\x00\x01\x00"
        writer.transport.pause_reading()
        large = bytes(1 << 19)
        for _ in range(12):  # more than sockets hold, less than MOST_WAITING_BYTES beside that
            await sender.publish("a", large, 1)
        began = time.monotonic()
    assert time.monotonic() - began < 20.0
    writer.close()
