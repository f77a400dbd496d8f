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
from dataclasses import replace
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from uem.clients import convert
from uem.clients.addresses import DEFAULT_ADDRESS, addresses
from uem.clients.errors import ClientError, clear_errors
from uem.clients.records import (
    Alarm,
    Asset,
    ClockStatus,
    Forecast,
    Gap,
    GatewayStatus,
    History,
    Kind,
    Layout,
    Method,
    Overview,
    PlantStatus,
    Series,
    Signal,
    Source,
    State,
    Status,
    TagInfo,
    TwinStatus,
)
from uem.v1.columns import read_samples, watch_state
from uem.v1.history_pb2 import (
    GetOverviewRequest,
    ListAlarmsRequest,
    ListGapsRequest,
    ListTagsRequest,
    ReadSamplesRequest,
)
from uem.v1.history_pb2_grpc import HistoryServiceStub
from uem.v1.prediction_pb2 import GetForecastRequest, ListForecastsRequest, WatchForecastRequest
from uem.v1.prediction_pb2_grpc import PredictionServiceStub
from uem.v1.status_pb2 import GetStatusRequest
from uem.v1.status_pb2_grpc import StatusServiceStub
from uem.v1.twin_pb2 import GetAssetRequest, GetNetworkRequest, ListAssetsRequest, WatchStateRequest
from uem.v1.twin_pb2 import State as StateMessage
from uem.v1.twin_pb2_grpc import TwinServiceStub

__all__ = [
    "DEFAULT_ADDRESS",
    "Alarm",
    "Asset",
    "BlockingClient",
    "Client",
    "ClientError",
    "ClockStatus",
    "Forecast",
    "Gap",
    "GatewayStatus",
    "History",
    "Kind",
    "Layout",
    "Method",
    "Overview",
    "PlantStatus",
    "Series",
    "Signal",
    "Source",
    "State",
    "Status",
    "TagInfo",
    "TwinStatus",
]

_PAGE = 1000
_WELL_S = 5.0  # a stream that held so long counts as made: what breaks it then is a new break
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
        """`address` is that of the server, or of its processes: "HOST:PORT,twin=HOST:PORT,prediction=HOST:PORT".

        Raises:
            ClientError: INVALID_ARGUMENT, it is neither.
            ValueError: the deadline is not positive.
        """
        if not (math.isfinite(deadline_s) and deadline_s > 0):
            raise ValueError(f"deadline of {deadline_s} s must be positive")
        self.address = address
        self._at = addresses(address)
        self.deadline_s = deadline_s
        self._assets: dict[str, Asset] = {}

    async def __aenter__(self) -> Self:
        self._channels = {at: grpc.aio.insecure_channel(at, options=_OPTIONS) for at in set(self._at)}
        self._twin = TwinServiceStub(self._channels[self._at.twin])
        self._prediction = PredictionServiceStub(self._channels[self._at.prediction])
        self._history = HistoryServiceStub(self._channels[self._at.history])
        return self

    async def __aexit__(self, *exc: object) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def is_serving(self) -> bool:
        """Whether the server as a whole calls itself well, by the standard gRPC health service."""
        return all([await self._is_serving(address) for address in self._channels])

    async def _is_serving(self, address: str) -> bool:
        async with self._errors("ask for its health", address):
            health = HealthStub(self._channels[address])
            answer = await health.Check(HealthCheckRequest(), timeout=self.deadline_s)
        return bool(answer.status == HealthCheckResponse.SERVING)

    async def status(self) -> Status:
        """What the server knows of itself and of the gateways that report to it.

        Of several processes the one with the history has to answer; that another one does not is one of the problems.
        """
        found = await self._status_of(self._at.history)
        problems = dict(found.problems)
        twins = list(found.twins)
        others = {address: name for name, address in self._at._asdict().items() if address != self._at.history}
        for address, name in others.items():
            try:
                part = await self._status_of(address)
            except ClientError as error:
                problems[name] = str(error)
                continue
            twins += part.twins
            problems |= {f"{name}: {check}": reason for check, reason in part.problems.items()}
        return replace(found, twins=tuple(twins), problems=problems)

    async def _status_of(self, address: str) -> Status:
        async with self._errors("ask for its status", address):
            stub = StatusServiceStub(self._channels[address])
            return convert.status(await stub.GetStatus(GetStatusRequest(), timeout=self.deadline_s))

    async def assets(self) -> list[Asset]:
        """All networks and machines that have a twin here."""
        found: list[Asset] = []
        token = ""
        async with self._errors("list the assets", self._at.twin):
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
        async with self._errors(f"read the state of {asset}", self._at.twin):
            answer = await self._twin.GetAsset(GetAssetRequest(asset=asset), timeout=self.deadline_s)
            its_asset = self._assets[asset] = convert.asset(answer.asset)
            if not answer.HasField("state"):
                raise ClientError(f"{asset} has no state yet: it waits for its first measurements", "UNAVAILABLE")
            return convert.state(answer.state, its_asset)

    async def layout(self, network: str) -> Layout:
        """How a heat network is laid out, for drawings; ClientError NOT_FOUND for any other asset."""
        async with self._errors(f"read the layout of {network}", self._at.twin):
            request = GetNetworkRequest(asset=network)
            return convert.layout(await self._twin.GetNetwork(request, timeout=self.deadline_s))

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
                raise ClientError(f"the server at {self._at.twin} ended the stream", "UNAVAILABLE")
            except ClientError as error:
                lost_at = min(lost_at, loop.time())
                if not connected or error.code != "UNAVAILABLE" or loop.time() + pause_s > lost_at + reconnect_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)

    async def _watch_once(self, assets: Sequence[str]) -> AsyncGenerator[State, None]:
        await self.assets()  # a server that was started anew may describe its assets anew
        async with self._errors("watch the states", self._at.twin):
            stream = watch_state(self._channels[self._at.twin])(WatchStateRequest(assets=assets))
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
        async with self._errors(f"forecast {asset}", self._at.prediction):
            request = GetForecastRequest(asset=asset, horizon=horizon)
            answer = await self._prediction.GetForecast(request, timeout=self.deadline_s)
            return convert.forecast(answer.forecast)

    async def forecasts(self, asset: str, start_ns: int = 0, end_ns: int = 0, valid_ns: int = 0) -> list[Forecast]:
        """The kept forecasts with start <= issue time < end (0: without end), in order of issue time.

        Each as it was given then; with `valid_ns` only those that say something for that time or a later one.
        """
        _check_range(start_ns, end_ns)
        found: list[Forecast] = []
        token = ""
        async with self._errors(f"list the forecasts of {asset}", self._at.prediction):
            while True:
                request = ListForecastsRequest(
                    asset=asset,
                    start_issue_time_ns=start_ns,
                    end_issue_time_ns=end_ns,
                    valid_time_ns=valid_ns,
                    page_token=token,
                )
                page = await self._prediction.ListForecasts(request, timeout=self.deadline_s)
                found += [convert.forecast(message) for message in page.forecasts]
                token = page.next_page_token
                if not token:
                    return found

    async def forecast_as_of(self, asset: str, time_ns: int) -> Forecast | None:
        """What was known at a plant time: the newest kept forecast that had been issued by then, if there is one."""
        _check_range(time_ns, 0)
        request = ListForecastsRequest(
            asset=asset, end_issue_time_ns=min(time_ns + 1, _INT64), page_size=1, newest_first=True
        )
        async with self._errors(f"look up the forecast of {asset}", self._at.prediction):
            page = await self._prediction.ListForecasts(request, timeout=self.deadline_s)
            return convert.forecast(page.forecasts[0]) if page.forecasts else None

    async def watch_forecast(
        self, asset: str, after: int = 0, *, reconnect_s: float = 30.0
    ) -> AsyncGenerator[Forecast, None]:
        """Each kept forecast of an asset that was issued later than `after`, then each new one, in order of issue time.

        `after` is the issue time in ns of the last one that is known; 0 begins with the newest one that is kept. A
        connection that breaks is made again for up to `reconnect_s` seconds and goes on behind the last one given: none
        comes twice, none that is kept is left out. ClientError when that fails, or at once when the first connection
        does or the asset does not exist.
        """
        _check_range(after, 0)
        loop = asyncio.get_running_loop()
        connected, lost_at, pause_s = False, math.inf, 0.1
        while True:
            well_at = math.inf
            try:
                await self._is_serving(
                    self._at.prediction
                )  # a stream may be silent for a quarter of an hour: is anybody there?
                connected, well_at = True, loop.time() + _WELL_S
                async with aclosing(self._watch_forecast_once(asset, after)) as forecasts:
                    async for forecast in forecasts:
                        after, well_at = forecast.issue_time_ns, -math.inf
                        yield forecast
                raise ClientError(f"the server at {self._at.prediction} ended the stream", "UNAVAILABLE")
            except ClientError as error:
                if loop.time() > well_at:
                    lost_at, pause_s = math.inf, 0.1
                lost_at = min(lost_at, loop.time())
                if not connected or error.code != "UNAVAILABLE" or loop.time() + pause_s > lost_at + reconnect_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)

    async def _watch_forecast_once(self, asset: str, after: int) -> AsyncGenerator[Forecast, None]:
        async with self._errors(f"watch the forecasts of {asset}", self._at.prediction):
            stream = self._prediction.WatchForecast(WatchForecastRequest(asset=asset, after_issue_time_ns=after))
            try:
                async for answer in stream:
                    yield convert.forecast(answer.forecast)
            finally:
                stream.cancel()

    async def tags(self) -> list[TagInfo]:
        """All measured tags and what is stored of each."""
        found: list[TagInfo] = []
        token = ""
        async with self._errors("list the tags", self._at.history):
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
        parts: dict[str, list[tuple[Any, Any, Any]]] = {tag: [] for tag in tags}
        async for part in self.history_parts(tags, start_ns, end_ns, limit):
            parts[part.tag].append((part.source_time_ns, part.value, part.quality))
        return {tag: _joined(tag, found) for tag, found in parts.items()}

    async def history_parts(
        self, tags: Sequence[str], start_ns: int = 0, end_ns: int = 0, limit: int = 0
    ) -> AsyncGenerator[History, None]:
        """What `history` reads, part by part as it comes: for more than memory holds. A tag may have many parts."""
        _check_range(start_ns, end_ns, limit)
        request = ReadSamplesRequest(tag_name=tags, start_time_ns=start_ns, end_time_ns=end_ns, limit=limit)
        async with self._errors("read the history", self._at.history):
            async for answer, columns in read_samples(self._channels[self._at.history])(
                request, timeout=60 * self.deadline_s
            ):
                for number in np.unique(columns["tag"]):
                    mine = columns["tag"] == number
                    time, value, quality = (columns[name][mine] for name in ("source_time_ns", "value", "quality"))
                    yield History(answer.samples.tag_name[number], time, value, quality)

    async def overview(
        self, tag: str, start_ns: int = 0, end_ns: int = 0, points: int = 0, method: Method = Method.MIN_MAX
    ) -> Overview:
        """The shape of a tag over start <= source time < end (0: all), in at most `points` samples (0: 2,000)."""
        _check_range(start_ns, end_ns, points)
        request = GetOverviewRequest(
            tag_name=tag,
            start_time_ns=start_ns,
            end_time_ns=end_ns,
            point_count=points,
            method=convert.overview_method(method),
        )
        async with self._errors(f"read an overview of {tag}", self._at.history):
            answer = await self._history.GetOverview(request, timeout=self.deadline_s)
        rows = answer.samples
        part = (np.array(rows.source_time_ns), np.array(rows.value), np.array(rows.quality))
        starts = np.array(answer.line_start, np.uint32)
        return Overview(_joined(tag, [part]), answer.resolution_ns, answer.sample_count, starts)

    async def alarms(self, plant: str = "", *, history: bool = False) -> list[Alarm]:
        """The newest report of each alarm of a plant or of all, in the order in which they came; or all reports."""
        found: list[Alarm] = []
        token = ""
        async with self._errors("list the alarms", self._at.history):
            while True:
                request = ListAlarmsRequest(plant=plant, history=history, page_size=_PAGE, page_token=token)
                page = await self._history.ListAlarms(request, timeout=self.deadline_s)
                found += [convert.alarm(message) for message in page.alarms]
                token = page.next_page_token
                if not token:
                    return found

    async def gaps(self, tags: Sequence[str] = (), start_ns: int = 0, end_ns: int = 0) -> list[Gap]:
        """Intervals in which samples may be missing, in order of their start; of `tags` or of all.

        Those that reach into start <= time < end (0: without end).
        """
        _check_range(start_ns, end_ns)
        found: list[Gap] = []
        token = ""
        async with self._errors("list the gaps", self._at.history):
            while True:
                request = ListGapsRequest(
                    tag_name=tags, start_time_ns=start_ns, end_time_ns=end_ns, page_size=_PAGE, page_token=token
                )
                page = await self._history.ListGaps(request, timeout=self.deadline_s)
                found += [convert.gap(message) for message in page.gaps]
                token = page.next_page_token
                if not token:
                    return found

    def _errors(self, what: str, address: str) -> Any:
        return clear_errors(address, what, self.deadline_s)


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

    def status(self) -> Status:
        """See Client.status."""
        return self._run(self._client.status())

    def assets(self) -> list[Asset]:
        """See Client.assets."""
        return self._run(self._client.assets())

    def state(self, asset: str) -> State:
        """See Client.state."""
        return self._run(self._client.state(asset))

    def layout(self, network: str) -> Layout:
        """See Client.layout."""
        return self._run(self._client.layout(network))

    def watch(self, assets: Sequence[str] = (), *, reconnect_s: float = 30.0) -> Iterator[State]:
        """See Client.watch."""
        states = self._client.watch(assets, reconnect_s=reconnect_s)
        while (state := self._run(_next(states))) is not None:
            yield state

    def forecast(self, asset: str, horizon_s: float | None = None) -> Forecast:
        """See Client.forecast."""
        return self._run(self._client.forecast(asset, horizon_s))

    def forecasts(self, asset: str, start_ns: int = 0, end_ns: int = 0, valid_ns: int = 0) -> list[Forecast]:
        """See Client.forecasts."""
        return self._run(self._client.forecasts(asset, start_ns, end_ns, valid_ns))

    def forecast_as_of(self, asset: str, time_ns: int) -> Forecast | None:
        """See Client.forecast_as_of."""
        return self._run(self._client.forecast_as_of(asset, time_ns))

    def watch_forecast(self, asset: str, after: int = 0, *, reconnect_s: float = 30.0) -> Iterator[Forecast]:
        """See Client.watch_forecast."""
        forecasts = self._client.watch_forecast(asset, after, reconnect_s=reconnect_s)
        while (forecast := self._run(_next(forecasts))) is not None:
            yield forecast

    def tags(self) -> list[TagInfo]:
        """See Client.tags."""
        return self._run(self._client.tags())

    def history(self, tags: Sequence[str], start_ns: int = 0, end_ns: int = 0, limit: int = 0) -> dict[str, History]:
        """See Client.history."""
        return self._run(self._client.history(tags, start_ns, end_ns, limit))

    def overview(
        self, tag: str, start_ns: int = 0, end_ns: int = 0, points: int = 0, method: Method = Method.MIN_MAX
    ) -> Overview:
        """See Client.overview."""
        return self._run(self._client.overview(tag, start_ns, end_ns, points, method))

    def alarms(self, plant: str = "", *, history: bool = False) -> list[Alarm]:
        """See Client.alarms."""
        return self._run(self._client.alarms(plant, history=history))

    def gaps(self, tags: Sequence[str] = (), start_ns: int = 0, end_ns: int = 0) -> list[Gap]:
        """See Client.gaps."""
        return self._run(self._client.gaps(tags, start_ns, end_ns))


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)
