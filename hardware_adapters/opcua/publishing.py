"""The publish loop of one subscription: requests that wait at the server, acknowledgements, what is asked for again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from asyncua import ua
from asyncua.client.ua_session import UaSession

from uem.hardware_adapters.opcua import notifications
from uem.hardware_adapters.opcua.delivery import NUMBERS, Delivery
from uem.hardware_adapters.opcua.notifications import Notification

_log = logging.getLogger(__name__)

IN_FLIGHT = 3  # requests that wait at the server; one is answered, one on its way, one for a server in a hurry

_NOT_SENT_AGAIN = (
    ua.uaerrors.BadMessageNotAvailable,
    ua.uaerrors.BadSubscriptionIdInvalid,
    ua.uaerrors.BadServiceUnsupported,
    ua.uaerrors.BadNotImplemented,
)


class Lost:
    """Stands where notifications are missing that the server no longer has."""


LOST = Lost()


class Publisher:
    """Keeps requests waiting at the server and tells what the answers bring, nothing twice."""

    def __init__(
        self,
        session: UaSession,
        send: Callable[[ua.PublishRequest], Awaitable[bytes]],
        subscription: int,
        endpoint: str,
        delivery: Delivery,
    ) -> None:
        """Nothing is asked yet; `send` lets a request wait, `delivery` knows what came, `endpoint` is for warnings."""
        self._send = send
        self.lost = 0  # notifications that did not come and that the server no longer has
        self.decode_s = 0.0
        self._session = session
        self._subscription = subscription
        self._endpoint = endpoint
        self._in_flight = IN_FLIGHT
        self._waiting: dict[asyncio.Future[Any], list[int]] = {}
        self._answers: asyncio.Queue[tuple[bytes | Exception, list[int]]] = asyncio.Queue()
        self._delivery = delivery
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
        self.decode_s += perf_counter() - begin
        self._delivery.answered(sent, found.acknowledged)
        if found.subscription != self._subscription:  # one that was given up, and that the server has not ended yet
            return []
        arrived = await self._missed(found)
        if found.is_keep_alive:
            self._delivery.reached(found.sequence)
        elif self._delivery.came(found.sequence):
            arrived.append(found)
        return arrived

    async def close(self) -> None:
        """Let go of the requests; what they acknowledge has to be acknowledged again."""
        let_go, self._waiting = self._waiting, {}
        for waiting, acknowledgements in let_go.items():
            self._delivery.answered(acknowledgements, [])
            waiting.cancel()
        await asyncio.gather(*let_go, return_exceptions=True)

    async def _answer(self) -> tuple[bytes, list[int]]:
        """The next answer in the order of arrival, and what its request had acknowledged."""
        while True:
            while len(self._waiting) < self._in_flight:
                self._ask(self._delivery.acknowledgements())
            answer, sent = await self._answers.get()
            if isinstance(answer, ua.uaerrors.BadTooManyPublishRequests) and self._waiting:
                self._in_flight = len(self._waiting)
                self._delivery.answered(sent, [])
            elif isinstance(answer, Exception):
                raise answer
            else:
                return answer, sent

    def _ask(self, acknowledgements: list[int]) -> None:
        """Let one request wait at the server, and its answer or error be queued."""
        waiting = asyncio.ensure_future(self._publish(acknowledgements))
        self._waiting[waiting] = acknowledgements
        waiting.add_done_callback(self._answered)

    def _answered(self, waiting: "asyncio.Future[Any]") -> None:
        acknowledgements = self._waiting.pop(waiting, None)
        if acknowledgements is None or waiting.cancelled():
            return
        error = waiting.exception()
        if error is not None and not isinstance(error, Exception):
            return
        self._answers.put_nowait((waiting.result() if error is None else error, acknowledgements))

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
            self.lost += lost
            _log.warning("%s: %d notifications before number %d are lost", self._endpoint, lost, found.sequence)
        return arrived

    def _publish(self, acknowledgements: list[int]) -> Awaitable[bytes]:
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = [
            ua.SubscriptionAcknowledgement(self._subscription, number) for number in acknowledgements
        ]
        return self._send(request)

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
