"""`uem simulator`: an OPC UA server for each plant of a territory that has a recording."""

import argparse
import asyncio
import logging
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial

from prometheus_client.core import Metric

from uem.hardware_adapters import process
from uem.hardware_adapters.metrics import counter, gauge, info, served
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.simulator.recording import RecordedColumns, read_recording
from uem.hardware_adapters.simulator.server import PlantServer, columns_of, with_speed
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.territory import Territory

_log = logging.getLogger(__name__)

PROG = "uem simulator"


def prepare(
    territory: Territory, certificates: CertificateStore, *, host: str, port: int, speed: float
) -> list[tuple[PlantServer, RecordedColumns]]:
    """A server and its recording for each plant that has one; ports count up from `port` unless it is 0."""
    prepared: list[tuple[PlantServer, RecordedColumns]] = []
    for plant in territory.plants:
        if plant.recording is None or plant.protocol != "opcua":
            continue
        bindings = [binding for binding in territory.tags if binding.plant == plant.name]
        columns = columns_of(bindings, plant.name)
        recording = read_recording(plant.recording.path, plant.recording.time_column, columns)
        its_port = port + len(prepared) if port else 0
        server = PlantServer(with_speed(plant, speed), bindings, certificates, host=host, port=its_port)
        prepared.append((server, recording))
    if not prepared:
        raise InvalidInput(f"territory {territory.name}: no plant has a recording to play")
    return prepared


def trust_each_other(simulator: CertificateStore, gateway: CertificateStore) -> None:
    """Make what is missing and let the simulated plants and the gateway trust each other.

    For demonstrations only; with real plants a person copies the certificates.
    """
    for store in (simulator, gateway):
        if store.ensure():
            _log.info("made a certificate for %s in %s", store.application, store.folder / "own")
    simulator.trust(gateway.certificate)
    gateway.trust(simulator.certificate)
    _log.info("demonstration: simulator and gateway trust each other by %s", simulator.folder.parent)


def families(servers: list[PlantServer], certificates: CertificateStore) -> Iterable[Metric]:
    """Everything that is exported."""
    plant, name = ("plant",), "uem_simulator_"
    yield info(name + "info")
    rows = [((s.plant.name,), float(s.rows_written)) for s in servers]
    yield counter(name + "rows_written_total", "Rows of the recording that were written.", plant, rows)
    lags = [((s.plant.name,), s.lag_s) for s in servers]
    yield gauge(name + "lag_seconds", "How late the newest row was written.", plant, lags)
    expiry = certificates.seconds_to_expiry()
    text = "Time until the certificate of the servers expires."
    yield gauge(name + "certificate_expiry_seconds", text, (), [((), expiry)])


async def _run(options: argparse.Namespace, territory: Territory, stop: asyncio.Event) -> None:
    _, pki = process.folders(options, territory)
    if not 0 < options.speed < float("inf"):
        raise InvalidInput(f"--speed {options.speed}: must be positive")
    certificates = CertificateStore(pki, "simulator")
    prepared = prepare(territory, certificates, host=options.host, port=options.port, speed=options.speed)
    trust_each_other(certificates, CertificateStore(pki, "gateway"))
    servers = [server for server, _ in prepared]
    async with AsyncExitStack() as stack:
        exported = served(partial(families, servers, certificates), options.host, options.metrics_port)
        metrics = stack.enter_context(exported)
        for server in servers:
            await stack.enter_async_context(server)
        endpoints = {server.plant.name: server.endpoint for server in servers}
        process.announce("simulator", endpoints=endpoints, metrics=metrics)
        async with asyncio.TaskGroup() as group:
            playing = [group.create_task(server.play(recording)) for server, recording in prepared]
            await stop.wait()
            for task in playing:
                task.cancel()


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = process.parser(PROG, "Play the recordings of a territory through real OPC UA servers.", 7653)
    parser.add_argument(
        "--port",
        type=int,
        default=4840,
        help="port of the first plant, the others follow; 0 takes free ports (default: %(default)s)",
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="times each recording's own speed (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    return process.run(PROG, options, partial(_run, options))


if __name__ == "__main__":
    raise SystemExit(main())
