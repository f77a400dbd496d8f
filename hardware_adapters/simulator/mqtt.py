"""A simulated Sparkplug B edge node with one device, which publishes raw values through a broker."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import aiomqtt

from uem.hardware_adapters.mqtt.payload import Payload
from uem.hardware_adapters.mqtt.sparkplug import BIRTH_SEQUENCE, NAMESPACE, NS_PER_MS, REBIRTH

_INT64, _DOUBLE, _BOOLEAN = 4, 10, 11


class SparkplugPlant:
    """An edge node whose device has the metrics given, as doubles; it is born when it is asked to be, too."""

    def __init__(self, port: int, metrics: Sequence[str], *, where: str = "plant/node/device", birth: int = 0) -> None:
        """`where` is group/node/device, `birth` the number of this connection (bdSeq)."""
        self.births = 0
        self.metrics = tuple(metrics)
        self._group, self._node, self._device = where.split("/")
        self._birth = birth
        self._sequence = 0
        will = aiomqtt.Will(self._topic("NDEATH"), self._death(), qos=1)
        self._client = aiomqtt.Client("127.0.0.1", port, will=will)
        self._listening: asyncio.Task[None] | None = None

    def _topic(self, kind: str) -> str:
        device = f"/{self._device}" if kind.startswith("D") else ""
        return f"{NAMESPACE}/{self._group}/{kind}/{self._node}{device}"

    def _death(self) -> bytes:
        payload = Payload(timestamp=time.time_ns() // NS_PER_MS)
        payload.metrics.add(name=BIRTH_SEQUENCE, datatype=_INT64, long_value=self._birth)
        sent: bytes = payload.SerializeToString()
        return sent

    def _next(self, time_ns: int) -> Any:
        self._sequence = (self._sequence + 1) % 256
        return Payload(timestamp=time_ns // NS_PER_MS, seq=self._sequence)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.subscribe(self._topic("NCMD"), 1)
        await self.bear()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        with suppress(aiomqtt.MqttError):
            await self._client.publish(self._topic("NDEATH"), self._death(), 1)
            await self._client.__aexit__(None, None, None)

    async def _listen(self) -> None:
        async for message in self._client.messages:
            if any(metric.name == REBIRTH and metric.boolean_value for metric in _metrics(message)):
                await self.bear()

    async def bear(self) -> None:
        """Tell all metrics, without values."""
        self.births += 1
        self._sequence = 0
        now_ns = time.time_ns()
        payload = Payload(timestamp=now_ns // NS_PER_MS, seq=0)
        payload.metrics.add(name=BIRTH_SEQUENCE, datatype=_INT64, long_value=self._birth)
        payload.metrics.add(name=REBIRTH, datatype=_BOOLEAN, boolean_value=False)
        await self._publish("NBIRTH", payload)
        payload = self._next(now_ns)
        for alias, name in enumerate(self.metrics):
            payload.metrics.add(name=name, alias=alias, datatype=_DOUBLE, is_null=True)
        await self._publish("DBIRTH", payload)

    async def tell(self, time_ns: int, values: Mapping[str, float | None], *, is_historical: bool = False) -> None:
        """Publish values by metric, None where there is none; times are cut to milliseconds."""
        payload = self._next(time_ns)
        for name, value in values.items():
            metric = payload.metrics.add(alias=self.metrics.index(name), timestamp=time_ns // NS_PER_MS)
            if is_historical:
                metric.is_historical = True
            if value is None:
                metric.is_null = True
            else:
                metric.double_value = value
        await self._publish("DDATA", payload)

    def skip(self) -> None:
        """Lose a message."""
        self._sequence = (self._sequence + 1) % 256

    async def _publish(self, kind: str, payload: Any) -> None:
        await self._client.publish(self._topic(kind), payload.SerializeToString(), 1)


def _metrics(message: aiomqtt.Message) -> Any:
    return Payload.FromString(message.payload).metrics
