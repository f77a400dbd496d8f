"""The publish loop against a real asyncua server, over a line that loses answers."""

import asyncio

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import struct_to_binary

from uem.hardware_adapters.base import Break
from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua import client, notifications
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.delivery import Delivery
from uem.hardware_adapters.opcua.publishing import Counts, Publisher
from uem.hardware_adapters.opcua.server.subscriptions import PointSubscription, PointSubscriptions
from uem.twin_core.measurements import GapReason

EPOCH_NS = 1_669_213_388_000_000_000
WRITES = 8


@pytest.fixture
def adapter(bindings, shared_pki):
    def made(endpoint):
        return OpcUaAdapter(endpoint, bindings, shared_pki.gateway, publish_interval_ms=50.0, silence_s=6.0)

    return made


@pytest.fixture
def lose(monkeypatch):
    """lose(value): the answer that brings this value is lost on its way, once."""
    answered = Publisher._answered
    lost = []

    def made(value):
        def on_a_bad_line(self, asked, answer):
            if not isinstance(answer, Exception) and value in notifications.decode(answer).value and not lost:
                lost.append(value)
                self._send(self._subscription, [], lambda later: on_a_bad_line(self, asked, later))
            else:
                answered(self, asked, answer)

        monkeypatch.setattr(Publisher, "_answered", on_a_bad_line)
        return lost

    return made


def subscriptions_of(hall):
    return list(hall.server._server.space.server.iserver.subscription_service.subscriptions.values())


async def write(hall, value):
    """One row, published by itself."""
    await hall.server.write(EPOCH_NS + int(value) * 10**9, [value] * 3, [0, 0, 0])
    end = asyncio.get_running_loop().time() + 60
    while any(each.monitored_item_srv.items.queued for each in subscriptions_of(hall)):
        assert asyncio.get_running_loop().time() < end, "the server publishes nothing"
        await asyncio.sleep(0.02)


def seconds(rows):
    return [(row[1] - EPOCH_NS) // 10**9 for row in rows]


async def test_a_notification_that_is_lost_is_asked_for_again_and_keeps_its_place(open_hall, adapter, lose):
    lost = lose(3.0)
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        for value in range(1, WRITES + 1):
            await write(hall, float(value))
        rows = await collected(opened, 3 * WRITES, 60)
        assert lost
        assert seconds(rows) == [value for value in range(1, WRITES + 1) for _ in range(3)]
        assert opened.dropped == 0


async def test_a_keep_alive_tells_that_the_last_notification_was_lost(open_hall, adapter, lose):
    lost = lose(2.0)
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        await write(hall, 1.0)
        await write(hall, 2.0)
        rows = await collected(opened, 6, 60)
        assert lost
        assert seconds(rows) == [1, 1, 1, 2, 2, 2]
        assert opened.dropped == 0


def says_nothing(self, number):
    """As asyncua's server answers when it no longer has a notification."""
    return ua.NotificationMessage()


def refuses(self, number):
    """As the standard asks for."""
    raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)


@pytest.mark.parametrize("republish", [says_nothing, refuses], ids=lambda each: each.__name__)
async def test_what_the_server_cannot_send_again_is_a_break_and_counted(
    open_hall, adapter, lose, until, monkeypatch, republish
):
    monkeypatch.setattr(PointSubscription, "republish", republish)
    lose(3.0)
    found = []
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        for value in range(1, 5):
            await write(hall, float(value))
        await until(lambda: opened.outages == 1 and opened.connected)
        for value in range(5, WRITES + 1):
            await write(hall, float(value))
        async with asyncio.timeout(60):
            async for each in opened.batches():
                found += [each] if isinstance(each, Break) else [row for row in each.rows() if row[1] > EPOCH_NS]
                if not isinstance(each, Break) and seconds(found[-1:]) == [WRITES]:
                    break
        assert opened.dropped == 1
    told = [each if isinstance(each, Break) else seconds([each])[0] for each in found]
    after = [value for value in range(5, WRITES + 1) for _ in range(3)]
    assert told[:7] == [1, 1, 1, 2, 2, 2, Break(GapReason.LINK_DOWN)]
    assert told[-len(after) :] == after
    assert set(told[7 : -len(after)]) <= {3, 4}  # a subscription begins with what is there now


async def test_a_session_that_is_gone_is_an_outage_and_no_loss(open_hall, adapter, lose, until, monkeypatch):
    again, asked = PointSubscription.republish, []

    def is_gone(self, number):
        asked.append(number)
        if len(asked) == 1:
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        return again(self, number)

    monkeypatch.setattr(PointSubscription, "republish", is_gone)
    lose(2.0)
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        await write(hall, 1.0)
        await write(hall, 2.0)
        rows = await collected(opened, 6, 60)
        assert seconds(rows) == [1, 1, 1, 2, 2, 2]
        assert (opened.outages, opened.dropped) == (1, 0)


async def test_acknowledgements_are_sent_until_the_server_confirms_them(open_hall, adapter, until, monkeypatch):
    acknowledge, refused = PointSubscriptions.publish, []

    def refuse_some(self, acknowledgements):
        asked = [each.SequenceNumber for each in acknowledgements]
        if asked and len(refused) < 3:
            refused.append(asked)
            count, _ = acknowledge(self, [])
            return count, [ua.StatusCode(ua.StatusCodes.BadOutOfMemory) for _ in asked]
        return acknowledge(self, acknowledgements)

    monkeypatch.setattr(PointSubscriptions, "publish", refuse_some)
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        for value in range(1, WRITES + 1):
            await write(hall, float(value))
        await collected(opened, 3 * WRITES, 60)
        await until(lambda: len(refused) == 3)
        (subscription,) = subscriptions_of(hall)
        await until(lambda: not subscription._not_acknowledged_results)


class Stingy:
    """A server that answers one request with a notification, refuses the others, then answers again."""

    def __init__(self):
        self.acknowledged = []  # numbers by request
        self.answered = 0

    def send(self, subscription, numbers, done):
        self.acknowledged.append(numbers)
        answer = self.answer(subscription, numbers)
        delay_s = 0.0 if isinstance(answer, Exception) else 0.001 * len(self.acknowledged)
        asyncio.get_running_loop().call_later(delay_s, done, answer)

    def answer(self, subscription, numbers):
        if numbers and sum(map(bool, self.acknowledged)) == 1:
            return ua.uaerrors.BadTooManyPublishRequests()
        self.answered += 1
        response = ua.PublishResponse()
        response.Parameters.SubscriptionId = subscription
        response.Parameters.Results = [ua.StatusCode() for _ in numbers]
        response.Parameters.NotificationMessage.SequenceNumber = self.answered
        response.Parameters.NotificationMessage.NotificationData = [ua.DataChangeNotification()]
        return struct_to_binary(response)


async def test_acknowledgements_of_a_request_that_was_one_too_many_go_with_the_next():
    server = Stingy()
    publisher = Publisher(server, server.send, 1, "here", Delivery(), Counts())
    async with asyncio.timeout(60):
        while not (server.acknowledged and sum(map(bool, server.acknowledged)) >= 3):
            await publisher.next()
    publisher.close()
    first, *later = filter(None, server.acknowledged)
    assert set(first) <= {number for numbers in later for number in numbers}


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_server_that_lets_fewer_requests_wait_gets_fewer(open_hall, adapter, monkeypatch, limit):
    made = []
    monkeypatch.setattr(client, "Publisher", lambda *given: made.append(Publisher(*given)) or made[-1])
    monkeypatch.setattr(UaProcessor, "publish_request_limit", lambda self, count: limit)
    async with open_hall() as hall, adapter(hall.server.endpoint) as opened:
        for value in range(1, WRITES + 1):
            await write(hall, float(value))
        rows = await collected(opened, 3 * WRITES, 60)
        assert seconds(rows) == [value for value in range(1, WRITES + 1) for _ in range(3)]
        assert [publisher._in_flight for publisher in made] == [limit]
        assert opened.dropped == 0
