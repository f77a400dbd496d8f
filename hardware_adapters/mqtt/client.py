"""The MQTT adapter: one connection to a broker, to plain topics and to Sparkplug B edge nodes.

A lost connection is an AdapterError; the gateway opens a new one and tells the gap. What a Sparkplug node lost while
the broker is there is a `Break` of the tags of that node.
"""

import asyncio
import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Self

import aiomqtt
import numpy as np
from google.protobuf.message import DecodeError

from uem.hardware_adapters.base import Alarms, Break, SampleQueue
from uem.hardware_adapters.mqtt.payload import Payload
from uem.hardware_adapters.mqtt.plain import parsed, reading
from uem.hardware_adapters.mqtt.security import Access, Credentials
from uem.hardware_adapters.mqtt.sparkplug import NAMESPACE, REBIRTH, EdgeNode, Row, by_node
from uem.hardware_adapters.tags import TagTable
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError
from uem.twin_core.measurements import BAD_DECODING_ERROR, Samples
from uem.twin_core.plant.addresses import MqttAddress
from uem.twin_core.plant.territory import TagBinding

KEEPALIVE_S = 10


class MqttAdapter:
    """The tags of one plant behind a broker."""

    def __init__(
        self,
        endpoint: str,
        bindings: Sequence[TagBinding],
        credentials: Credentials,
        *,
        birth_timeout_s: float = 5.0,
        most_queued_rows: int = 1_000_000,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is opened yet; `endpoint` is mqtt://host:port or mqtts://host:port.

        Sparkplug nodes that are not born within `birth_timeout_s` are missing until they are. `clock` gives the source
        times in ns of what comes without one.
        """
        self.endpoint = endpoint
        self.connected = False
        # garbled: messages that cannot be read; lost: messages of a Sparkplug node that did not come
        self.problems = Counter(garbled=0, lost=0)
        self._tags = TagTable(bindings)
        self._credentials = credentials
        self._birth_timeout_s = birth_timeout_s
        self._clock = clock
        self._queue = SampleQueue(most_queued_rows)
        self._client: aiomqtt.Client | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._born = asyncio.Event()
        self._topics: dict[str, list[tuple[int, MqttAddress]]] = defaultdict(list)
        metrics = []
        for index, binding in enumerate(self._tags.bindings):
            its = binding.address
            assert isinstance(its, MqttAddress)
            if its.metric:
                metrics.append((index, its.topic, its.metric))
            else:
                self._topics[its.topic].append((index, its))
        names = dict(enumerate(self._tags.names))
        self._nodes = {at: EdgeNode(tags, names) for at, tags in by_node(metrics).items()}

    @property
    def missing(self) -> dict[str, str]:
        """Metrics that their nodes do not have, or nodes that were not born so far; a plain topic may be silent."""
        return {
            self._tags.names[index]: f"{group}/{node}: {why}"
            for (group, node), its in self._nodes.items()
            for index, why in its.missing().items()
        }

    @property
    def dropped(self) -> int:
        """Samples lost because the queue was full."""
        return self._queue.dropped

    async def __aenter__(self) -> Self:
        complaints = _Complaints()
        client = _client(self._credentials.access(self.endpoint), complaints)
        try:
            await client.__aenter__()
        except aiomqtt.MqttError as error:
            raise self._credentials.explained(self.endpoint, error, complaints.last) from None
        self._client, self.connected = client, True
        try:
            self._receiving = asyncio.create_task(self._receive(client))
            filters = [(topic, 1) for topic in self._topics]
            for group, node in self._nodes:
                filters += [(f"{NAMESPACE}/{group}/+/{node}", 1), (f"{NAMESPACE}/{group}/+/{node}/+", 1)]
            granted = await client.subscribe(filters)
            refused = [topic for (topic, _), code in zip(filters, granted, strict=True) if _is_refused(code)]
            if refused:
                raise AdapterError(f"{self.endpoint}: the broker refuses {', '.join(refused)}")
            for (group, node), its in self._nodes.items():
                if its.ask(self._clock()):
                    await self._ask_rebirth(client, group, node)
            if self._nodes:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._born.wait(), self._birth_timeout_s)
        except BaseException as error:
            await self.__aexit__()
            if isinstance(error, aiomqtt.MqttError):
                raise self._credentials.explained(self.endpoint, error) from None
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.connected = False
        if self._receiving is not None:
            await end([self._receiving])
            self._receiving = None
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    def batches(self) -> AsyncIterator[Samples | Break | Alarms]:
        """One batch per message; AdapterError when the broker is lost."""
        return self._queue.batches()

    # --- what comes in ---

    async def _receive(self, client: aiomqtt.Client) -> None:
        error = AdapterError(f"{self.endpoint}: no longer receiving")
        try:
            async for message in client.messages:
                await self._take(client, message)
        except aiomqtt.MqttError as lost:
            error = AdapterError(f"{self.endpoint}: connection lost: {lost}")
        finally:
            self.connected = False
            self._queue.end(error)

    async def _take(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        payload = message.payload
        assert isinstance(payload, bytes)  # aiomqtt types what is sent and what is received alike
        topic = message.topic.value
        if topic in self._topics:
            self._put(self._plain(topic, payload, is_old=message.retain))
        if not topic.startswith(f"{NAMESPACE}/"):
            return
        levels = topic.split("/")
        its = self._nodes.get((levels[1], levels[3])) if len(levels) in (4, 5) else None
        if its is None:
            return
        _, group, kind, node, *device = levels
        now_ns = self._clock()
        try:
            told = its.receive(kind, "".join(device), Payload.FromString(payload), now_ns)
        except DecodeError:
            self.problems["garbled"] += 1
            told = its.damaged(now_ns)
        if told.lost is not None:
            self.problems["lost"] += 1
            self._queue.put(told.lost)
        self._put(told.rows)
        if told.ask_rebirth:
            await self._ask_rebirth(client, group, node)
        if all(each.born for each in self._nodes.values()):
            self._born.set()

    def _plain(self, topic: str, payload: bytes, *, is_old: bool) -> list[Row]:
        now_ns = self._clock()
        try:
            message = parsed(payload)
        except ValueError:
            self.problems["garbled"] += 1
            return [(index, now_ns, math.nan, BAD_DECODING_ERROR) for index, _ in self._topics[topic]]
        told = ((index, reading(message, its, now_ns, is_old=is_old)) for index, its in self._topics[topic])
        return [(index, *read) for index, read in told if read is not None]

    def _put(self, rows: list[Row]) -> None:
        if rows:
            tag, time_ns, raw, quality = zip(*rows, strict=True)
            columns = np.array(tag, np.uint32), np.array(time_ns, np.int64), np.array(raw), np.array(quality, np.uint32)
            self._queue.put(self._tags.samples(*columns))

    async def _ask_rebirth(self, client: aiomqtt.Client, group: str, node: str) -> None:
        payload = Payload(timestamp=time.time_ns() // 1_000_000)
        payload.metrics.add(name=REBIRTH, datatype=11, boolean_value=True)
        await client.publish(f"{NAMESPACE}/{group}/NCMD/{node}", payload.SerializeToString())


class _Complaints(logging.Handler):
    """Keeps the last error that the library logs, which it tells in no other way."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _client(access: Access, complaints: logging.Handler) -> aiomqtt.Client:
    logger = logging.Logger("mqtt")  # of this connection alone
    logger.addHandler(complaints)
    return aiomqtt.Client(
        access.host,
        access.port,
        username=access.user,
        password=access.password,
        tls_context=access.tls,
        logger=logger,
        keepalive=KEEPALIVE_S,
        timeout=10.0,
    )


def _is_refused(code: Any) -> bool:
    """Whether an answer to a subscription says no: 128 or more (MQTT 3.1.1, 3.9.3; MQTT 5, 3.9.3)."""
    return int(getattr(code, "value", code)) >= 128
