"""`uem serve`: all services in one process, or `uem serve history|twin|prediction`: some of them, in one of several."""

import argparse
import asyncio
import contextlib
import json
import logging
import math
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple

from uem import __version__
from uem.services import logs, wiring
from uem.services.metrics import Metrics, serve_metrics
from uem.services.prediction.issuing import EVERY_S
from uem.services.server import Server
from uem.services.wiring import serving
from uem.territories.load import load
from uem.twin_core.errors import TwinError
from uem.twin_core.plant.territory import Territory

_LOG = logging.getLogger(__name__)


class Part(NamedTuple):
    """What one process is."""

    process: str
    description: str
    grpc_port: int  # the next one is for metrics
    serving: Callable[[Territory, Metrics, argparse.Namespace], AbstractAsyncContextManager[Server]]
    follows: bool = False  # the history of another process
    keeps: str = ""  # the file in the state folder
    forecasts: bool = False


def _state(territory: Territory, options: argparse.Namespace) -> Path:
    return options.state or Path(".uem") / territory.name


WHOLE = Part(
    "serve",
    "All services of a territory in one process; `uem serve history`, `twin` and `prediction` are its parts.",
    7650,
    lambda territory, metrics, o: serving(
        territory, _state(territory, o), metrics, o.host, o.port, o.keep_days, 60.0 * o.forecast_minutes
    ),
    keeps="history.db",
    forecasts=True,
)
PARTS = {
    "history": Part(
        "history",
        "What takes samples in, keeps them and gives them back. Gateways send to it; twin and prediction follow it.",
        7650,
        lambda territory, metrics, o: wiring.serving_history(
            territory, _state(territory, o), metrics, o.host, o.port, o.keep_days
        ),
        keeps="history.db",
    ),
    "twin": Part(
        "twin",
        "The twins of a territory and their states, by what the history process commits.",
        7660,
        lambda territory, metrics, o: wiring.serving_twin(territory, o.history, metrics, o.host, o.port),
        follows=True,
    ),
    "prediction": Part(
        "prediction",
        "Forecasts, by twins of its own that follow the history process, and those that were kept.",
        7670,
        lambda territory, metrics, o: wiring.serving_prediction(
            territory,
            o.history,
            _state(territory, o),
            metrics,
            o.host,
            o.port,
            o.keep_days,
            60.0 * o.forecast_minutes,
        ),
        follows=True,
        keeps="forecasts.db",
        forecasts=True,
    ),
}


async def serve(part: Part, options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    territory = load(options.territory)
    metrics = Metrics()
    metrics.gauge("uem_server_info", "Version of the process.", lambda: {(__version__,): 1.0}, ["version"])
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(part.serving(territory, metrics, options))
        ready = {"ready": True, "process": part.process, "address": running.address}
        if options.metrics_port >= 0:
            endpoint = stack.enter_context(serve_metrics(metrics, options.metrics_port, options.host))
            ready["metrics"] = endpoint.address
        print(json.dumps(ready), flush=True)
        kept = f", {part.keeps} in {_state(territory, options)}" if part.keeps else ""
        _LOG.info("serving %s of territory %s at %s%s", part.process, territory.name, running.address, kept)
        await stop.wait()
        _LOG.info("draining")


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value


def _parser(part: Part, prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=part.description)
    parser.add_argument("territory", nargs="?", default="vallee", help="shipped name, folder or file (default: vallee)")
    if part.follows:
        parser.add_argument(
            "--history",
            default=f"127.0.0.1:{PARTS['history'].grpc_port}",
            metavar="HOST:PORT",
            help="the history process, which may start later (default: %(default)s)",
        )
    if part.keeps:
        text = f"where {part.keeps} is kept (default: .uem/TERRITORY)"
        parser.add_argument("--state", type=Path, metavar="DIR", help=text)
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=part.grpc_port, help="gRPC; 0 takes a free port (default: %(default)s)"
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=part.grpc_port + 1,
        metavar="PORT",
        help="Prometheus endpoint; 0 takes a free port, -1 switches it off (default: %(default)s)",
    )
    if part.keeps:
        parser.add_argument(
            "--keep-days",
            type=_positive,
            default=math.inf,
            metavar="DAYS",
            help="delete what is so much older than the newest of its kind (default: nothing)",
        )
    if part.forecasts:
        parser.add_argument(
            "--forecast-minutes",
            type=_positive,
            default=EVERY_S / 60.0,
            metavar="MINUTES",
            help="plant time between the forecasts that are kept of each twin (default: %(default)g)",
        )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run `uem serve`; the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    part, prog = WHOLE, "uem serve"
    if arguments and arguments[0] in PARTS:
        part, prog = PARTS[arguments[0]], f"uem serve {arguments[0]}"
        arguments = arguments[1:]
    options = _parser(part, prog).parse_args(arguments)
    logs.set_up()
    try:
        asyncio.run(serve(part, options))
    except TwinError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
