"""A simulated Sparkplug B edge node with one device, which publishes raw values through a broker."""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

import aiomqtt

from uem.hardware_adapters.mqtt.payload import Payload
from uem.hardware_adapters.mqtt.sparkplug import BIRTH_SEQUENCE, NAMESPACE, NS_PER_MS, REBIRTH
from uem.hardware_adapters.simulator.broker import Broker
from uem.hardware_adapters.simulator.living import Told
from uem.hardware_adapters.simulator.raw import raw_rows
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError
from uem.twin_core.plant.addresses import MqttAddress
from uem.twin_core.plant.territory import Plant, TagBinding

_INT64, _DOUBLE, _BOOLEAN = 4, 10, 11


class SparkplugPlant:
    """An edge node whose device has the metrics given, as doubles; it is born when it is asked to be, too."""

    def __init__(
        self,
        port: int,
        metrics: Sequence[str],
        *,
        where: str = "plant/node/device",
        birth: int = 0,
        host: str = "127.0.0.1",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """`where` is group/node/device, `birth` the number of this connection (bdSeq), `clock` stamps its births."""
        self.births = 0
        self._clock = clock
        self._newest: dict[str, tuple[int, float | None]] = {}  # time and value of what was told
        self.metrics = tuple(metrics)
        self._alias = {name: alias for alias, name in enumerate(self.metrics)}
        self._group, self._node, self._device = where.split("/")
        self._birth = birth
        self._sequence = 0
        self._one_by_one = asyncio.Lock()  # messages are counted in the order in which they are sent
        will = aiomqtt.Will(self._topic("NDEATH"), self._death(), qos=1)
        self._client = aiomqtt.Client(host, port, will=will)
        self._listening: asyncio.Task[None] | None = None

    def _topic(self, kind: str) -> str:
        device = f"/{self._device}" if kind.startswith("D") else ""
        return f"{NAMESPACE}/{self._group}/{kind}/{self._node}{device}"

    def _death(self) -> bytes:
        payload = Payload(timestamp=self._clock() // NS_PER_MS)
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
            await end([self._listening])
        with suppress(aiomqtt.MqttError):
            await self._client.publish(self._topic("NDEATH"), self._death(), 1)
            await self._client.__aexit__(None, None, None)

    async def _listen(self) -> None:
        async for message in self._client.messages:
            if any(metric.name == REBIRTH and metric.boolean_value for metric in _metrics(message)):
                await self.bear()

    async def bear(self) -> None:
        """Tell all metrics, each with its newest value if it was told any."""
        async with self._one_by_one:
            self.births += 1
            self._sequence = 0
            now_ns = self._clock()
            payload = Payload(timestamp=now_ns // NS_PER_MS, seq=0)
            payload.metrics.add(name=BIRTH_SEQUENCE, datatype=_INT64, long_value=self._birth)
            payload.metrics.add(name=REBIRTH, datatype=_BOOLEAN, boolean_value=False)
            await self._publish("NBIRTH", payload)
            payload = self._next(now_ns)
            for alias, name in enumerate(self.metrics):
                time_ns, value = self._newest.get(name, (now_ns, None))
                metric = payload.metrics.add(name=name, alias=alias, datatype=_DOUBLE, timestamp=time_ns // NS_PER_MS)
                _put(metric, value)
            await self._publish("DBIRTH", payload)

    async def tell(self, time_ns: int, values: Mapping[str, float | None], *, is_historical: bool = False) -> None:
        """Publish values by metric, None where there is none; times are cut to milliseconds."""
        rows = [(name, time_ns, value) for name, value in values.items()]
        await self.tell_rows(time_ns, rows, is_historical=is_historical)

    async def tell_rows(
        self, time_ns: int, rows: Iterable[tuple[str, int, float | None]], *, is_historical: bool = False
    ) -> None:
        """Publish (metric, time, value) in one message of `time_ns`."""
        async with self._one_by_one:
            payload = self._next(time_ns)
            for name, its_ns, value in rows:
                metric = payload.metrics.add(alias=self._alias[name], timestamp=its_ns // NS_PER_MS)
                if is_historical:
                    metric.is_historical = True
                else:
                    self._newest[name] = its_ns, value
                _put(metric, value)
            await self._publish("DDATA", payload)

    def skip(self) -> None:
        """Lose a message."""
        self._sequence = (self._sequence + 1) % 256

    async def _publish(self, kind: str, payload: Any) -> None:
        await self._client.publish(self._topic(kind), payload.SerializeToString(), 1)


def _put(metric: Any, value: float | None) -> None:
    if value is None:
        metric.is_null = True
    else:
        metric.double_value = value


def _metrics(message: aiomqtt.Message) -> Any:
    return Payload.FromString(message.payload).metrics


class MqttServer:
    """A simulated plant behind MQTT: a broker, and a Sparkplug device that tells what its instruments show.

    All of its tags are metrics of one topic group/node/device, as `territories/crosscheck.py` asks for.
    """

    def __init__(
        self, plant: Plant, bindings: Sequence[TagBinding], clock: Callable[[], int], *, host: str, port: int
    ) -> None:
        """Nothing is opened yet; `clock` is the time of the plant."""
        self.plant = plant
        self.rows_written = 0
        self.lag_s = 0.0
        self._bindings = {binding.tag.name: binding for binding in bindings}
        self._clock = clock
        self._host = host
        self._broker = Broker(host, port)
        self._device: SparkplugPlant | None = None
        self._stack = AsyncExitStack()

    @property
    def endpoint(self) -> str:
        """Where its broker listens."""
        return f"mqtt://{self._host}:{self._broker.port}"

    async def __aenter__(self) -> Self:
        addresses = [b.address for b in self._bindings.values() if isinstance(b.address, MqttAddress)]
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._broker)
            except OSError as error:
                raise AdapterError(f"plant {self.plant.name}: {error.strerror}") from None
            if addresses:
                where, metrics = addresses[0].topic, dict.fromkeys(address.metric for address in addresses)
                device = SparkplugPlant(self._broker.port, [*metrics], where=where, host=self._host, clock=self._clock)
                self._device = await stack.enter_async_context(device)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def tell(self, told: Told, silent: Collection[str] = ()) -> None:
        """Publish what instruments of this plant show, in order of time; of others there is no word."""
        rows = []
        for binding, time_ns, raw in raw_rows(self._bindings, told):
            assert isinstance(binding.address, MqttAddress)
            rows.append((binding.address.metric, time_ns, raw if math.isfinite(raw) else None))
        if rows and self._device is not None:
            rows.sort(key=lambda row: row[1])
            await self._device.tell_rows(rows[-1][1], rows)
        self.rows_written += 1
