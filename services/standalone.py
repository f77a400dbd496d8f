"""`uem serve`: all services in one process around one bus and one store."""

import argparse
import asyncio
import contextlib
import json
import logging
import math
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from uem import __version__
from uem.services import logs, server
from uem.services.bus import LatestBus, SampleBus
from uem.services.health import Checks
from uem.services.history.servicer import HistoryServicer
from uem.services.history.sqlite import SqliteStore, Tuning
from uem.services.ingestion import worker as ingestion
from uem.services.ingestion.servicer import IngestionServicer
from uem.services.metrics import Metrics, serve_metrics
from uem.services.prediction.servicer import PredictionServicer
from uem.services.server import Server, Service
from uem.services.twin import worker as twin
from uem.services.twin.servicer import TwinServicer
from uem.territories.load import load
from uem.twin_core.errors import TwinError
from uem.twin_core.plant.territory import Territory
from uem.twin_core.twin import make_twins
from uem.v1 import history_pb2_grpc, ingestion_pb2_grpc, prediction_pb2_grpc, twin_pb2_grpc

GRPC_PORT = 7650
METRICS_PORT = 7651
NEEDS_DEADLINE = ("/uem.v1.PredictionService/GetForecast",)
_LOG = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def serving(
    territory: Territory,
    state: Path,
    metrics: Metrics,
    host: str = "127.0.0.1",
    port: int = 0,
    keep_days: float = math.inf,
) -> AsyncIterator[Server]:
    """All services of a territory while the block runs; then they drain. The history is in the folder `state`.

    Of each tag `keep_days` before its newest sample are kept.

    Raises:
        InvalidInput: the host is not loopback, or the port is in use.
        StorageError: the folder cannot be written, or another process has the history.
    """
    bus, states, checks = SampleBus(), LatestBus[twin.Published](), Checks(metrics)
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(
            contextlib.closing(SqliteStore(state / "history.db", metrics, Tuning(keep_s=keep_days * 86_400)))
        )
        checks.register("store", store.problem)
        twins = twin.Worker(make_twins(territory), store, bus, states, metrics)
        stack.callback(twins.close)
        twins.register(checks)
        ingesting = ingestion.Worker([binding.tag for binding in territory.tags], store, bus, metrics)
        services = [
            Service(
                name="uem.v1.IngestionService",
                add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
                servicer=IngestionServicer(ingesting),
            ),
            Service(
                name="uem.v1.HistoryService",
                add=history_pb2_grpc.add_HistoryServiceServicer_to_server,
                servicer=HistoryServicer(territory.tags, store),
            ),
            Service(
                name="uem.v1.TwinService",
                add=twin_pb2_grpc.add_TwinServiceServicer_to_server,
                servicer=TwinServicer(territory, twins.twins, states),
            ),
            Service(
                name="uem.v1.PredictionService",
                add=prediction_pb2_grpc.add_PredictionServiceServicer_to_server,
                servicer=PredictionServicer(twins.forecast, metrics, store),
            ),
        ]
        following = asyncio.create_task(twins.run())
        stack.push_async_callback(_cancel, following)
        checks.register("twins", lambda: _ended(following), twin.SERVICES)
        running = await server.start(
            services, metrics=metrics, checks=checks, host=host, port=port, needs_deadline=NEEDS_DEADLINE
        )
        stack.push_async_callback(running.drain)
        yield running


def _ended(task: "asyncio.Task[None]") -> str | None:
    """The health of a task that should run for ever."""
    if not task.done():
        return None
    return f"ended: {None if task.cancelled() else task.exception()}"


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    territory = load(options.territory)
    state = options.state or Path(".uem") / territory.name
    metrics = Metrics()
    metrics.gauge("uem_server_info", "Version of the process.", lambda: {(__version__,): 1.0}, ["version"])
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            serving(territory, state, metrics, options.host, options.port, options.keep_days)
        )
        ready = {"ready": True, "process": "serve", "address": running.address}
        if options.metrics_port >= 0:
            endpoint = stack.enter_context(serve_metrics(metrics, options.metrics_port, options.host))
            ready["metrics"] = endpoint.address
        print(json.dumps(ready), flush=True)
        _LOG.info("serving territory %s at %s, history in %s", territory.name, running.address, state)
        await stop.wait()
        _LOG.info("draining")


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value


def main(argv: list[str] | None = None) -> int:
    """Run `uem serve`; the exit code."""
    parser = argparse.ArgumentParser(prog="uem serve", description="All services of a territory in one process.")
    parser.add_argument("territory", nargs="?", default="pongau", help="shipped name, folder or file (default: pongau)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where history.db is kept (default: .uem/TERRITORY)")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=GRPC_PORT, help="gRPC; 0 takes a free port (default: %(default)s)")
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=METRICS_PORT,
        metavar="PORT",
        help="Prometheus endpoint; 0 takes a free port, -1 switches it off (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-days",
        type=_positive,
        default=math.inf,
        metavar="DAYS",
        help="delete what is so much older than the newest sample of its tag (default: nothing)",
    )
    options = parser.parse_args(argv)
    logs.set_up()
    try:
        asyncio.run(serve(options))
    except TwinError as error:
        print(f"uem serve: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
