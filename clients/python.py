"""The typed client of a uem server.

    async with Client("127.0.0.1:7650") as client:
        state = await client.state("branch")
        print(state["node/2/temperature"])

`BlockingClient` is the same without `await`. Values are SI; every failure is a ClientError.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from uem.clients import convert
from uem.clients.errors import ClientError, clear_errors
from uem.clients.records import Asset, Forecast, Gap, History, Kind, Overview, Series, Signal, Source, State, TagInfo
from uem.v1.columns import read_samples, watch_state
from uem.v1.history_pb2 import GetOverviewRequest, ListGapsRequest, ListTagsRequest, ReadSamplesRequest
from uem.v1.history_pb2_grpc import HistoryServiceStub
from uem.v1.prediction_pb2 import GetForecastRequest
from uem.v1.prediction_pb2_grpc import PredictionServiceStub
from uem.v1.twin_pb2 import GetAssetRequest, ListAssetsRequest, WatchStateRequest
from uem.v1.twin_pb2 import State as StateMessage
from uem.v1.twin_pb2_grpc import TwinServiceStub

__all__ = [
    "Asset",
    "BlockingClient",
    "Client",
    "ClientError",
    "Forecast",
    "Gap",
    "History",
    "Kind",
    "Overview",
    "Series",
    "Signal",
    "Source",
    "State",
    "TagInfo",
]

DEFAULT_ADDRESS = "127.0.0.1:7650"
_PAGE = 1000
_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment must not come between us and a plant's server
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)
T = TypeVar("T")


class Client:
    """An asynchronous connection to a uem server; every call ends within `deadline_s` seconds."""

    def __init__(self, address: str = DEFAULT_ADDRESS, *, deadline_s: float = 10.0) -> None:
        if not (math.isfinite(deadline_s) and deadline_s > 0):
            raise ValueError(f"deadline of {deadline_s} s must be positive")
        self.address = address
        self.deadline_s = deadline_s
        self._assets: dict[str, Asset] = {}

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        self._twin = TwinServiceStub(self._channel)
        self._prediction = PredictionServiceStub(self._channel)
        self._history = HistoryServiceStub(self._channel)
        self._health = HealthStub(self._channel)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channel.close()

    async def is_serving(self) -> bool:
        """Whether the server as a whole calls itself well, by the standard gRPC health service."""
        async with self._errors("ask for its health"):
            answer = await self._health.Check(HealthCheckRequest(), timeout=self.deadline_s)
        return bool(answer.status == HealthCheckResponse.SERVING)

    async def assets(self) -> list[Asset]:
        """All networks and machines that have a twin here."""
        found: list[Asset] = []
        token = ""
        async with self._errors("list the assets"):
            while True:
                request = ListAssetsRequest(page_size=_PAGE, page_token=token)
                page = await self._twin.ListAssets(request, timeout=self.deadline_s)
                found += [convert.asset(message) for message in page.assets]
                token = page.next_page_token
                if not token:
                    break
        self._assets = {asset.name: asset for asset in found}
        return found

    async def state(self, asset: str) -> State:
        """The newest state of an asset; ClientError UNAVAILABLE as long as it waits for its first measurements."""
        async with self._errors(f"read the state of {asset}"):
            answer = await self._twin.GetAsset(GetAssetRequest(asset=asset), timeout=self.deadline_s)
            its_asset = self._assets[asset] = convert.asset(answer.asset)
            if not answer.HasField("state"):
                raise ClientError(f"{asset} has no state yet: it waits for its first measurements", "UNAVAILABLE")
            return convert.state(answer.state, its_asset)

    async def watch(self, assets: Sequence[str] = (), *, reconnect_s: float = 30.0) -> AsyncGenerator[State, None]:
        """The state now and each new one, of the named assets or of all.

        A reader that is too slow gets the newest state and `missed`, the count of those in between. A connection that
        breaks is made again for up to `reconnect_s` seconds; ClientError when that fails, or at once when the first
        connection does.
        """
        loop = asyncio.get_running_loop()
        connected, lost_at, pause_s = False, math.inf, 0.1
        while True:
            try:
                async with aclosing(self._watch_once(assets)) as states:
                    async for state in states:
                        connected, lost_at, pause_s = True, math.inf, 0.1
                        yield state
                raise ClientError(f"the server at {self.address} ended the stream", "UNAVAILABLE")
            except ClientError as error:
                lost_at = min(lost_at, loop.time())
                if not connected or error.code != "UNAVAILABLE" or loop.time() + pause_s > lost_at + reconnect_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)

    async def _watch_once(self, assets: Sequence[str]) -> AsyncGenerator[State, None]:
        await self.assets()  # a server that was started anew may describe its assets anew
        async with self._errors("watch the states"):
            stream = watch_state(self._channel)(WatchStateRequest(assets=assets))
            try:
                async for answer in stream:
                    yield convert.update(answer, await self._asset_of(answer.message.state))
            finally:
                stream.cancel()

    async def _asset_of(self, state: StateMessage) -> Asset:
        """The asset of a state; listed again when its signals have changed."""
        known = self._assets.get(state.asset)
        if known is None or known.signals_revision != state.signals_revision:
            await self.assets()
        return self._assets[state.asset]

    async def forecast(self, asset: str, horizon_s: float | None = None) -> Forecast:
        """What the twin expects of an asset over the next `horizon_s` seconds, by default the asset's own horizon."""
        horizon = None
        if horizon_s is not None:
            if not 0 < horizon_s <= 86_400:
                raise ClientError(f"horizon of {horizon_s} s: more than 0, at most 24 h", "INVALID_ARGUMENT")
            horizon = Duration(seconds=int(horizon_s), nanos=round(horizon_s % 1 * 1e9))
        async with self._errors(f"forecast {asset}"):
            request = GetForecastRequest(asset=asset, horizon=horizon)
            answer = await self._prediction.GetForecast(request, timeout=self.deadline_s)
            return convert.forecast(answer.forecast)

    async def tags(self) -> list[TagInfo]:
        """All measured tags and what is stored of each."""
        found: list[TagInfo] = []
        token = ""
        async with self._errors("list the tags"):
            while True:
                request = ListTagsRequest(page_size=_PAGE, page_token=token)
                page = await self._history.ListTags(request, timeout=self.deadline_s)
                found += [convert.tag_info(message) for message in page.tags]
                token = page.next_page_token
                if not token:
                    return found

    async def history(
        self, tags: Sequence[str], start_ns: int = 0, end_ns: int = 0, limit: int = 0
    ) -> dict[str, History]:
        """The stored samples of tags with start <= source time < end (0: up to the newest), by tag.

        `limit` keeps the newest so many rows of each tag; 0 keeps all. A tag without a sample in the range is there
        with empty columns.
        """
        _check_range(start_ns, end_ns, limit)
        parts: dict[str, list[tuple[Any, Any, Any]]] = {tag: [] for tag in tags}
        request = ReadSamplesRequest(tag_name=tags, start_time_ns=start_ns, end_time_ns=end_ns, limit=limit)
        async with self._errors("read the history"):
            async for answer, columns in read_samples(self._channel)(request, timeout=60 * self.deadline_s):
                for number in np.unique(columns["tag"]):
                    mine = columns["tag"] == number
                    time, value, quality = (columns[name][mine] for name in ("source_time_ns", "value", "quality"))
                    parts[answer.samples.tag_name[number]].append((time, value, quality))
        return {tag: _joined(tag, found) for tag, found in parts.items()}

    async def overview(self, tag: str, start_ns: int = 0, end_ns: int = 0, points: int = 0) -> Overview:
        """The shape of a tag over start <= source time < end (0: all), in at most `points` samples (0: 2,000)."""
        _check_range(start_ns, end_ns, points)
        request = GetOverviewRequest(tag_name=tag, start_time_ns=start_ns, end_time_ns=end_ns, point_count=points)
        async with self._errors(f"read an overview of {tag}"):
            answer = await self._history.GetOverview(request, timeout=self.deadline_s)
        rows = answer.samples
        part = (np.array(rows.source_time_ns), np.array(rows.value), np.array(rows.quality))
        return Overview(_joined(tag, [part]), answer.resolution_ns, answer.sample_count)

    async def gaps(self, tags: Sequence[str] = (), start_ns: int = 0, end_ns: int = 0) -> list[Gap]:
        """Intervals in which samples may be missing, in order of their start; of `tags` or of all.

        Those that reach into start <= time < end (0: without end).
        """
        _check_range(start_ns, end_ns)
        found: list[Gap] = []
        token = ""
        async with self._errors("list the gaps"):
            while True:
                request = ListGapsRequest(
                    tag_name=tags, start_time_ns=start_ns, end_time_ns=end_ns, page_size=_PAGE, page_token=token
                )
                page = await self._history.ListGaps(request, timeout=self.deadline_s)
                found += [convert.gap(message) for message in page.gaps]
                token = page.next_page_token
                if not token:
                    return found

    def _errors(self, what: str) -> Any:
        return clear_errors(self.address, what, self.deadline_s)


def _check_range(start_ns: int, end_ns: int, limit: int = 0) -> None:
    for name, number, most in (
        ("start_ns", start_ns, _INT64),
        ("end_ns", end_ns, _INT64),
        ("limit", limit, _INT32),
    ):
        if not 0 <= number <= most:
            raise ClientError(f"{name} {number}: 0 to {most} are possible", "INVALID_ARGUMENT")


def _joined(tag: str, parts: list[tuple[Any, Any, Any]]) -> History:
    time, value, quality = zip(*parts, strict=True) if parts else ((), (), ())
    return History(
        tag,
        np.concatenate([np.empty(0, np.int64), *time]).astype(np.int64),
        np.concatenate([np.empty(0), *value]).astype(np.float64),
        np.concatenate([np.empty(0, np.uint32), *quality]).astype(np.uint32),
    )


class BlockingClient:
    """The client without `await`: for scripts and notebooks. Not to be used inside a running event loop."""

    def __init__(self, address: str = DEFAULT_ADDRESS, *, deadline_s: float = 10.0) -> None:
        self._client = Client(address, deadline_s=deadline_s)

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._run(self._client.__aenter__())
        return self

    def __exit__(self, *exc: object) -> None:
        self._run(self._client.__aexit__())
        self._runner.close()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def is_serving(self) -> bool:
        """See Client.is_serving."""
        return self._run(self._client.is_serving())

    def assets(self) -> list[Asset]:
        """See Client.assets."""
        return self._run(self._client.assets())

    def state(self, asset: str) -> State:
        """See Client.state."""
        return self._run(self._client.state(asset))

    def watch(self, assets: Sequence[str] = (), *, reconnect_s: float = 30.0) -> Iterator[State]:
        """See Client.watch."""
        states = self._client.watch(assets, reconnect_s=reconnect_s)
        while (state := self._run(_next(states))) is not None:
            yield state

    def forecast(self, asset: str, horizon_s: float | None = None) -> Forecast:
        """See Client.forecast."""
        return self._run(self._client.forecast(asset, horizon_s))

    def tags(self) -> list[TagInfo]:
        """See Client.tags."""
        return self._run(self._client.tags())

    def history(self, tags: Sequence[str], start_ns: int = 0, end_ns: int = 0, limit: int = 0) -> dict[str, History]:
        """See Client.history."""
        return self._run(self._client.history(tags, start_ns, end_ns, limit))

    def overview(self, tag: str, start_ns: int = 0, end_ns: int = 0, points: int = 0) -> Overview:
        """See Client.overview."""
        return self._run(self._client.overview(tag, start_ns, end_ns, points))

    def gaps(self, tags: Sequence[str] = (), start_ns: int = 0, end_ns: int = 0) -> list[Gap]:
        """See Client.gaps."""
        return self._run(self._client.gaps(tags, start_ns, end_ns))


async def _next(states: AsyncIterator[State]) -> State | None:
    return await anext(states, None)
