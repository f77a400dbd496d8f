"""The publish loop of one subscription: requests that wait at the server, acknowledgements, what is asked for again."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from asyncua import ua
from asyncua.client.ua_session import UaSession

from uem.hardware_adapters.opcua import notifications
from uem.hardware_adapters.opcua.delivery import NUMBERS, Delivery
from uem.hardware_adapters.opcua.line import Body, Done
from uem.hardware_adapters.opcua.notifications import Notification

_log = logging.getLogger(__name__)

IN_FLIGHT = 3  # requests that wait at the server; one is answered, one on its way, one for a server in a hurry

_NOT_SENT_AGAIN = (
    ua.uaerrors.BadMessageNotAvailable,
    ua.uaerrors.BadSubscriptionIdInvalid,
    ua.uaerrors.BadServiceUnsupported,
    ua.uaerrors.BadNotImplemented,
)

_TICKS_1601_TO_1970 = 116_444_736_000_000_000


class Lost:
    """Stands where notifications are missing that the server no longer has."""


LOST = Lost()


@dataclass
class Counts:
    """What all publishers of one adapter have counted."""

    lost: int = 0  # notifications that did not come and that the server no longer has
    decode_s: float = 0.0
    server_time_ns: int = 0  # of the newest answer


class Publisher:
    """Keeps requests waiting at the server and tells what the answers bring, nothing twice."""

    def __init__(
        self,
        session: UaSession,
        send: Callable[[int, list[int], Done], None],
        subscription: int,
        endpoint: str,
        delivery: Delivery,
        counts: Counts,
    ) -> None:
        """Nothing is asked yet.

        Args:
            session: on which what was missed is asked for again.
            send: lets a request wait at the server, as `Line.publish` says.
            subscription: its number.
            endpoint: for warnings.
            delivery: knows what came.
            counts: are counted on.
        """
        self._send = send
        self._session = session
        self._subscription = subscription
        self._endpoint = endpoint
        self._in_flight = IN_FLIGHT
        self._asked = 0
        self._waiting: dict[int, list[int]] = {}  # what each request acknowledges
        self._answers: deque[tuple[Body | Exception, list[int]]] = deque()
        self._arrived = asyncio.Event()
        self._delivery = delivery
        self._counts = counts
        self._columns = notifications.Columns()

    async def next(self) -> list[Notification | Lost]:
        """Wait for an answer: notifications that were missed, then its own, none for a keep-alive; LOST between them.

        The columns of the last one are valid until the next call.

        Raises:
            AdapterError: the answer is malformed, or the server refuses to publish.
            ua.UaError, OSError, TimeoutError: from the library, when the connection ends.
        """
        body, sent = await self._answer()
        begin = perf_counter()
        found = notifications.decode(body, self._columns)
        self._counts.decode_s += perf_counter() - begin
        self._counts.server_time_ns = _sent_ns(body)
        self._delivery.answered(sent, found.acknowledged)
        if found.subscription != self._subscription:  # one that was given up, and that the server has not ended yet
            return []
        arrived = await self._missed(found)
        if found.is_keep_alive:
            self._delivery.reached(found.sequence)
        elif self._delivery.came(found.sequence):
            arrived.append(found)
        return arrived

    def close(self) -> None:
        """Let go of the requests; what they acknowledge has to be acknowledged again."""
        let_go, self._waiting = self._waiting, {}
        for acknowledgements in let_go.values():
            self._delivery.answered(acknowledgements, [])

    async def _answer(self) -> tuple[Body, list[int]]:
        """The next answer in the order of arrival, and what its request had acknowledged."""
        while True:
            while len(self._waiting) < self._in_flight:
                self._ask(self._delivery.acknowledgements())
            if not self._answers:
                self._arrived.clear()
                await self._arrived.wait()
            answer, sent = self._answers.popleft()
            if not isinstance(answer, Exception):
                return answer, sent
            self._delivery.answered(sent, [])
            if not (isinstance(answer, ua.uaerrors.BadTooManyPublishRequests) and self._waiting):
                raise answer
            self._in_flight = len(self._waiting)

    def _ask(self, acknowledgements: list[int]) -> None:
        """Let one request wait at the server, and its answer or error be queued."""
        self._asked += 1
        self._waiting[self._asked] = acknowledgements
        self._send(self._subscription, acknowledgements, partial(self._answered, self._asked))

    def _answered(self, asked: int, answer: Body | Exception) -> None:
        acknowledgements = self._waiting.pop(asked, None)
        if acknowledgements is not None:
            self._answers.append((answer, acknowledgements))
            self._arrived.set()

    async def _missed(self, found: Notification) -> list[Notification | Lost]:
        """The notifications before this one that did not come, as far as the server still has them."""
        expected = self._delivery.expected
        numbers, lost = self._delivery.missing(found.sequence, found.available)
        arrived: list[Notification | Lost] = []
        for number in numbers:
            again = await self._republish(number)
            if again is None:
                lost += 1
                continue
            if number != expected:
                arrived.append(LOST)
            arrived.append(again)
            expected = number % NUMBERS + 1
        for each in arrived:  # only now: a line that breaks before this leaves nothing half noted
            if isinstance(each, Notification):
                self._delivery.came(each.sequence)
        if lost and found.sequence != expected:
            arrived.append(LOST)
        if lost:
            self._counts.lost += lost
            _log.warning("%s: %d notifications before number %d are lost", self._endpoint, lost, found.sequence)
        return arrived

    async def _republish(self, number: int) -> Notification | None:
        """A notification once more; None if the server has it no longer."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = self._subscription
        request.Parameters.RetransmitSequenceNumber = number
        try:
            body = bytes(await self._session._send_request(request))
        except _NOT_SENT_AGAIN as error:
            _log.debug("notification %d is not sent again: %s", number, error)
            return None
        found = notifications.decode_repeated(body, self._subscription)
        return found if found.sequence == number else None


def _sent_ns(body: Body) -> int:
    """When the server says that it sent a response: the first field of its header, behind a type of four bytes."""
    ticks = int.from_bytes(body[4:12], "little", signed=True)
    return (ticks - _TICKS_1601_TO_1970) * 100 if body[0] == 1 and ticks > 0 else 0
