"""`uem simulator`: a server for each plant of a territory that has a recording or is simulated."""

import argparse
import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol, Self

from prometheus_client.core import Metric

from uem.hardware_adapters import process
from uem.hardware_adapters.metrics import counter, gauge, info, served
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.plant_time import PlantTime
from uem.hardware_adapters.protocols import PROTOCOLS
from uem.hardware_adapters.simulator.alarms import Watched, watched
from uem.hardware_adapters.simulator.faults import Faults
from uem.hardware_adapters.simulator.injecting import taking
from uem.hardware_adapters.simulator.living import Living, Told
from uem.hardware_adapters.simulator.recording import RecordedColumns, read_recording
from uem.hardware_adapters.simulator.server import PlantServer, columns_of, with_speed
from uem.territories.importers.extras import needs
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.territory import Plant, TagBinding, Territory

_log = logging.getLogger(__name__)

PROG = "uem simulator"


class Server(Protocol):
    """One plant behind its protocol, as a context: open from entering to leaving."""

    plant: Plant
    rows_written: int
    lag_s: float

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def tell(self, told: Told, silent: Collection[str] = ()) -> None:
        """Show what instruments show now; rows of other plants are left out, `silent` tags have no value to show."""
        ...


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
    return prepared


def living_servers(
    territory: Territory, living: Living, certificates: CertificateStore, begun: PlantTime, *, host: str, port: int
) -> Iterator[Server]:
    """A server for each simulated plant, behind its protocol; ports count up from `port` unless it is 0.

    InvalidInput when the package of a protocol is missing.
    """
    things = watched(territory, living)
    for plant in territory.plants:
        if plant.simulated:
            bindings = [binding for binding in territory.tags if binding.plant == plant.name]
            its = things.get(plant.name, [])
            yield _living_server(plant, bindings, its, certificates, begun, host=host, port=port)
            port += port > 0


def _living_server(
    plant: Plant,
    bindings: Sequence[TagBinding],
    things: Sequence[Watched],
    certificates: CertificateStore,
    begun: PlantTime,
    *,
    host: str,
    port: int,
) -> Server:
    protocol = PROTOCOLS[plant.protocol]
    if protocol.package:
        needs(protocol.package, protocol.extra)
    match plant.protocol:
        case "modbus":
            from uem.hardware_adapters.simulator.modbus import ModbusServer

            return ModbusServer(plant, bindings, host=host, port=port)
        case "mbus":
            from uem.hardware_adapters.simulator.mbus import MbusServer

            return MbusServer(plant, bindings, host=host, port=port)
        case "mqtt":
            from uem.hardware_adapters.simulator.mqtt import MqttServer

            return MqttServer(plant, bindings, begun.now_ns, host=host, port=port)
    return PlantServer(plant, bindings, certificates, host=host, port=port, start_ns=begun.epoch_ns, watched=things)


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


def families(servers: Sequence[Server], certificates: CertificateStore) -> Iterable[Metric]:
    """Everything that is exported."""
    plant, name = ("plant",), "uem_simulator_"
    yield info(name + "info")
    rows = [((s.plant.name,), float(s.rows_written)) for s in servers]
    yield counter(
        name + "rows_written_total",
        "Rows that were written: of the recording, or of what instruments show.",
        plant,
        rows,
    )
    lags = [((s.plant.name,), s.lag_s) for s in servers]
    yield gauge(name + "lag_seconds", "How late the newest row was written.", plant, lags)
    expiry = certificates.seconds_to_expiry()
    text = "Time until the certificate of the servers expires."
    yield gauge(name + "certificate_expiry_seconds", text, (), [((), expiry)])


async def _run(options: argparse.Namespace, territory: Territory, stop: asyncio.Event) -> None:
    state, pki = process.folders(options, territory)
    if not 0 < options.speed < float("inf"):
        raise InvalidInput(f"--speed {options.speed}: must be positive")
    certificates = CertificateStore(pki, "simulator", allow_insecure_loopback=options.allow_insecure_loopback)
    prepared = prepare(territory, certificates, host=options.host, port=options.port, speed=options.speed)
    trust_each_other(certificates, CertificateStore(pki, "gateway"))
    servers: list[Server] = [server for server, _ in prepared]
    living, since_s = None, 0.0
    if any(plant.simulated for plant in territory.plants):
        living = Living(territory, options.speed, _begin_ns(territory, PlantTime.read(state)))
        await asyncio.to_thread(living.begin)
        since_s = asyncio.get_running_loop().time()
        begun = PlantTime(living.time_ns, time.time_ns(), options.speed)
        begun.write(state)  # before anybody can ask a plant
        port = options.port + len(prepared) if options.port else 0
        servers += living_servers(territory, living, certificates, begun, host=options.host, port=port)
    if not servers:
        raise InvalidInput(f"territory {territory.name}: no plant has a recording to play or is simulated")
    async with AsyncExitStack() as stack:
        exported = served(partial(families, servers, certificates), options.host, options.metrics_port)
        metrics = stack.enter_context(exported)
        for server in servers:
            await stack.enter_async_context(server)
        endpoints = {server.plant.name: server.endpoint for server in servers}
        process.announce("simulator", endpoints=endpoints, metrics=metrics)
        async with asyncio.TaskGroup() as group:
            playing = [group.create_task(server.play(recording)) for server, recording in prepared]
            if living is not None:
                faults = Faults(territory, living)
                await stack.enter_async_context(taking(faults, state))
                tell = partial(_tell, servers[len(prepared) :], living, faults)
                playing.append(group.create_task(living.run(tell, since_s)))
            await stop.wait()
            for task in playing:
                task.cancel()


def _begin_ns(territory: Territory, before: PlantTime | None) -> int:
    """When plant time begins: at the epoch, or where it has come to since a simulator was started in this folder."""
    assert territory.simulation is not None
    epoch_ns = territory.simulation.epoch_ns
    now_ns = epoch_ns if before is None else max(epoch_ns, before.now_ns())
    return epoch_ns + -((epoch_ns - now_ns) // NS_PER_S) * NS_PER_S  # whole seconds after the epoch


async def _tell(servers: Sequence[Server], living: Living, faults: Faults, rows: Told) -> None:
    faults.expire()
    told, silent, failed = [*faults.told(rows)], faults.silent, living.failed()
    for server in servers:
        await server.tell(told, silent)
        if isinstance(server, PlantServer):
            await server.warn(failed, living.time_ns, silent)


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = process.parser(
        PROG, "Play the recordings of a territory, or simulate its plants, behind servers of their protocols.", 7653
    )
    parser.add_argument(
        "--port",
        type=int,
        default=4840,
        help="port of the first plant, the others follow; 0 takes free ports (default: %(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="times each recording's own speed, or real time (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    return process.run(PROG, options, partial(_run, options))


if __name__ == "__main__":
    raise SystemExit(main())
