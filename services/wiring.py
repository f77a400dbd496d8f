"""Which services a process has and how they are put together: all in one around one bus and one store, or apart."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from uem.services import server
from uem.services.bus import LatestBus, SampleBus
from uem.services.feed import Feed
from uem.services.health import Checks
from uem.services.history.servicer import HistoryServicer
from uem.services.history.sqlite import SqliteStore, Tuning
from uem.services.history.store import Past, Store
from uem.services.ingestion import worker as ingestion
from uem.services.ingestion.servicer import IngestionServicer
from uem.services.metrics import Metrics
from uem.services.prediction.demand import DemandWorker
from uem.services.prediction.issuing import EVERY_S, Issuer
from uem.services.prediction.servicer import PredictionServicer
from uem.services.reports.servicer import Known, StatusServicer
from uem.services.server import Server, Service
from uem.services.twin import energy
from uem.services.twin import worker as twin
from uem.services.twin.knowledge import Keeper
from uem.services.twin.servicer import TwinServicer
from uem.twin_core.errors import UnknownName
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.plant.territory import Territory
from uem.twin_core.state import Snapshot
from uem.twin_core.twin import AssetTwin, make_twins
from uem.v1 import history_pb2_grpc, ingestion_pb2_grpc, prediction_pb2_grpc, status_pb2_grpc, twin_pb2_grpc

_LOG = logging.getLogger(__name__)

NEEDS_DEADLINE = (
    "/uem.v1.HistoryService/GetOverview",
    "/uem.v1.PredictionService/GetForecast",
    "/uem.v1.PredictionService/ListForecasts",
)


class Followed(NamedTuple):
    """Twins that follow the plant, and their states."""

    twins: twin.Worker
    states: LatestBus[twin.Published]


class _Process:
    """Services while they are put together; what they hold is let go of when `stack` ends."""

    def __init__(self, territory: Territory, metrics: Metrics, stack: contextlib.AsyncExitStack) -> None:
        self.checks = Checks(metrics)
        self._territory = territory
        self._metrics = metrics
        self._stack = stack
        self._services: list[Service] = []

    def store(self, path: Path, keep_days: float) -> SqliteStore:
        """The store in a file."""
        made = SqliteStore(path, self._metrics, Tuning(keep_s=keep_days * 86_400))
        self._stack.callback(made.close)
        self.checks.register("store", made.problem)
        return made

    def feed(self, address: str) -> Feed:
        """The history of another process. Where it is away, our services still have what came before."""
        made = Feed(address, self._metrics)
        self._stack.callback(made.close)
        self._run("feed", made.run(), ["uem.v1.HistoryService"])
        self.checks.register("history", made.problem, ["uem.v1.HistoryService"])
        return made

    def followed(
        self, past: Past, bus: SampleBus, begun: asyncio.Event | None = None, kept: Store | None = None
    ) -> Followed:
        """Twins that read the past, then follow the bus; not before it has `begun`.

        What they learn over days is in the store `kept`.
        """
        states = LatestBus[twin.Published]()
        make = partial(make_twins, self._territory)
        recorded = _recorded_tags(self._territory)
        keeper = None if kept is None else Keeper(kept, self._territory.name, self._metrics)
        twins = twin.Worker(make(), past, bus, states, self._metrics, make=make, recorded_tags=recorded, keeper=keeper)
        self._stack.callback(twins.close)
        if keeper is not None:
            self._keep(keeper, twins)
        twins.register(self.checks)
        self._run("twins", twins.run() if begun is None else _after(begun, twins.run), twin.SERVICES)
        return Followed(twins, states)

    def _keep(self, keeper: Keeper, twins: twin.Worker) -> None:
        """While twins run, and once more when they have ended."""
        assets = [one.name for one in twins.twins]
        self._stack.push_async_callback(keeper.keep, assets, twins.knowledge, 1)
        self._run("what twins learn", keeper.run(assets, twins.knowledge), twin.SERVICES)

    def add_history(self, store: Store, bus: SampleBus) -> None:
        """What takes samples in and gives them back."""
        tags = self._territory.tags
        worker = ingestion.Worker([binding.tag for binding in tags], store, bus, self._metrics)
        add = ingestion_pb2_grpc.add_IngestionServiceServicer_to_server
        self._add("Ingestion", add, IngestionServicer(worker))
        self._add("History", history_pb2_grpc.add_HistoryServiceServicer_to_server, HistoryServicer(tags, store, bus))

    def add_twin(self, followed: Followed) -> None:
        """What gives the states."""
        servicer = TwinServicer(self._territory, followed.twins.twins, followed.states)
        assets = [_asset(one, followed.states) for one in followed.twins.twins]
        energy.export(self._territory, assets, self._metrics)
        self._add("Twin", twin_pb2_grpc.add_TwinServiceServicer_to_server, servicer)

    def add_prediction(self, followed: Followed, demands: Sequence[DemandWorker], store: Store, every_s: float) -> None:
        """What gives forecasts of twins and of demand, and keeps one for every `every_s` of plant time."""
        twins, by_name = followed.twins, {one.name: one for one in demands}
        names = [*(one.name for one in twins.twins), *by_name]

        async def forecast(asset: str, horizon_s: float | None) -> Forecast:
            if asset not in names:
                raise UnknownName("asset", asset, names)
            found = await (by_name[asset].forecast(horizon_s) if asset in by_name else twins.forecast(asset, horizon_s))
            if horizon_s is None:  # what customers and factories will do matters to their network
                twins.hear(found)
            return found

        servicer = PredictionServicer(forecast, self._metrics, store, names)
        self._add("Prediction", prediction_pb2_grpc.add_PredictionServiceServicer_to_server, servicer)
        issuer = Issuer(forecast, names, twins.hear, store, self._metrics, every_s)
        self._run("forecasts kept", issuer.run(_times(followed.states)), ["uem.v1.PredictionService"])
        for one in demands:
            self._run(f"forecasts kept of {one.name}", issuer.run(one.times()), ["uem.v1.PredictionService"])

    def demands(self, past: Past, bus: SampleBus, begun: asyncio.Event | None = None) -> list[DemandWorker]:
        """The demand forecast of each network whose customers are measured, by the past and then by the bus."""
        sensors = {binding.column: binding.tag.name for binding in self._territory.tags if binding.column}
        made = [DemandWorker(network, sensors, past, bus) for network in self._territory.networks]
        found = [one for one in made if one.stations]
        for one in found:
            self._stack.callback(one.close)
            self._run(one.name, one.run(begun), ["uem.v1.PredictionService"])
        return found

    def add_status(self, followed: Followed | None = None, store: Store | None = None, path: Path = Path()) -> None:
        """What tells how the process is, its twins, and its store in the file `path`."""
        known = Known(
            self._territory.name,
            self.checks,
            tuple if followed is None else lambda: followed.twins.twins,
            store,
            lambda: path.stat().st_size,
        )
        self._add("Status", status_pb2_grpc.add_StatusServiceServicer_to_server, StatusServicer(known))

    async def start(self, host: str, port: int) -> Server:
        """Serve what was added."""
        running = await server.start(
            self._services,
            metrics=self._metrics,
            checks=self.checks,
            host=host,
            port=port,
            needs_deadline=NEEDS_DEADLINE,
        )
        self._stack.push_async_callback(running.drain)
        return running

    def _add(self, name: str, add: Callable[[Any, grpc.aio.Server], None], servicer: object) -> None:
        self._services.append(Service(name=f"uem.v1.{name}Service", add=add, servicer=servicer))

    def _run(self, name: str, work: Coroutine[Any, Any, None], services: Collection[str]) -> None:
        """Work that should go on for ever, with a health check."""
        task = asyncio.create_task(work)
        task.add_done_callback(partial(_tell_failure, name))
        self._stack.push_async_callback(_cancel, task)
        self.checks.register(name, lambda: _ended(task), services)


@contextlib.asynccontextmanager
async def serving(
    territory: Territory,
    state: Path,
    metrics: Metrics,
    host: str = "127.0.0.1",
    port: int = 0,
    keep_days: float = math.inf,
    forecast_every_s: float = EVERY_S,
) -> AsyncIterator[Server]:
    """All services of a territory while the block runs; then they drain. The history is in the folder `state`.

    Of each tag `keep_days` before its newest sample are kept. A forecast of each twin is kept for every
    `forecast_every_s` of plant time.

    Raises:
        InvalidInput: the host is not loopback, or the port is in use.
        StorageError: the folder cannot be written, or another process has the history.
    """
    async with contextlib.AsyncExitStack() as stack:
        process, bus, path = _Process(territory, metrics, stack), SampleBus(), state / "history.db"
        store = process.store(path, keep_days)
        followed = process.followed(store, bus, kept=store)
        process.add_history(store, bus)
        process.add_twin(followed)
        process.add_prediction(followed, process.demands(store, bus), store, forecast_every_s)
        process.add_status(followed, store, path)
        yield await process.start(host, port)


@contextlib.asynccontextmanager
async def serving_history(
    territory: Territory,
    state: Path,
    metrics: Metrics,
    host: str = "127.0.0.1",
    port: int = 0,
    keep_days: float = math.inf,
) -> AsyncIterator[Server]:
    """What takes samples in, keeps them and gives them back; for `serving_twin` and `serving_prediction` to follow.

    Arguments and errors are those of `serving`.
    """
    async with contextlib.AsyncExitStack() as stack:
        process, bus, path = _Process(territory, metrics, stack), SampleBus(), state / "history.db"
        store = process.store(path, keep_days)
        process.add_history(store, bus)
        process.add_status(None, store, path)
        yield await process.start(host, port)


@contextlib.asynccontextmanager
async def serving_twin(
    territory: Territory, history: str, metrics: Metrics, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """The twins of a territory and their states, by what the process at the address `history` commits.

    Raises:
        InvalidInput: the host is not loopback, or the port is in use.
    """
    async with contextlib.AsyncExitStack() as stack:
        process = _Process(territory, metrics, stack)
        feed = process.feed(history)
        followed = process.followed(feed, feed.bus, feed.begun)
        process.add_twin(followed)
        process.add_status(followed)
        yield await process.start(host, port)


@contextlib.asynccontextmanager
async def serving_prediction(
    territory: Territory,
    history: str,
    state: Path,
    metrics: Metrics,
    host: str = "127.0.0.1",
    port: int = 0,
    keep_days: float = math.inf,
    forecast_every_s: float = EVERY_S,
) -> AsyncIterator[Server]:
    """Forecasts, by twins of its own that follow what the process at the address `history` commits.

    Forecasts are kept in the folder `state`. Arguments and errors are those of `serving`.
    """
    async with contextlib.AsyncExitStack() as stack:
        process = _Process(territory, metrics, stack)
        feed = process.feed(history)
        store = process.store(state / "forecasts.db", keep_days)
        followed = process.followed(feed, feed.bus, feed.begun, kept=store)
        demands = process.demands(feed, feed.bus, feed.begun)
        process.add_prediction(followed, demands, store, forecast_every_s)
        process.add_status()
        yield await process.start(host, port)


def _recorded_tags(territory: Territory) -> frozenset[str]:
    """Tags of plants whose time is that of a recording or of a simulation."""
    recorded = {plant.name for plant in territory.plants if plant.has_own_time}
    return frozenset(binding.tag.name for binding in territory.tags if binding.plant in recorded)


def _asset(one: AssetTwin, states: LatestBus[twin.Published]) -> energy.Asset:
    def newest() -> Snapshot | None:
        published = states.latest(one.name)
        return published.snapshot if published is not None else None

    return energy.Asset(one.name, one.signals, newest)


async def _times(states: LatestBus[twin.Published]) -> AsyncIterator[tuple[str, int]]:
    """Each asset and its plant time, whenever it has gone on."""
    with contextlib.closing(states.subscribe()) as subscription:
        async for update in subscription:
            yield update.key, update.value.snapshot.plant_time_ns


async def _after(begun: asyncio.Event, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await begun.wait()
    await work()


def _ended(task: "asyncio.Task[None]") -> str | None:
    """The health of a task that should run for ever."""
    if not task.done():
        return None
    return f"ended: {None if task.cancelled() else task.exception()}"


def _tell_failure(name: str, task: "asyncio.Task[None]") -> None:
    """The health tells in a line that it ended; where the fault lies, the log."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("%s: ended by a fault", name, exc_info=error)


async def _cancel(task: "asyncio.Task[None]") -> None:
    """Also one that has failed, which must not keep the others from ending in order."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
