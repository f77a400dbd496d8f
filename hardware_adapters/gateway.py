"""`uem gateway`: adapters of all plants of a territory -> spool -> ingestion service.

Each plant has a supervised adapter of its own. Samples are committed to the spool before they are sent, and leave it
when the service has them on its disk; after any break everything unacknowledged is sent again.
"""

import argparse
import asyncio
import ipaddress
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from prometheus_client.core import Metric

from uem.hardware_adapters import process
from uem.hardware_adapters.base import Adapter
from uem.hardware_adapters.clocks import ClockWatch, OurClock
from uem.hardware_adapters.inbox import Inbox
from uem.hardware_adapters.lanes import Lanes
from uem.hardware_adapters.metrics import counter, gauge, histogram, info, served
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.plant_time import PlantClock
from uem.hardware_adapters.protocols import PROTOCOLS, endpoints_of
from uem.hardware_adapters.report import Backlog, GatewayStatus, Rate, gateway_status, plant_status, report
from uem.hardware_adapters.spool import Spool
from uem.hardware_adapters.supervise import PlantLink
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import InvalidInput, StorageError
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.territory import Plant, TagBinding, Territory

_log = logging.getLogger(__name__)

PROG = "uem gateway"
DRAIN_S = 5.0

_CLOCK_METRICS: tuple[tuple[Callable[..., Metric], str, str, Callable[[ClockWatch], float]], ...] = (
    (gauge, "clock_offset_seconds", "How far a clock at the plant is ahead of ours.", lambda clock: clock.offset_s),
    (gauge, "clock_drift_ratio", "How much too fast a clock at the plant runs.", lambda clock: clock.drift_ppm / 1e6),
    (counter, "clock_jumps_total", "Jumps of a clock at the plant.", lambda clock: clock.jumps),
)


class Gateway:
    """All links of a territory, the spool and the uplink, and the metrics about them."""

    def __init__(
        self,
        territory: Territory,
        endpoints: Mapping[str, str],
        certificates: CertificateStore,
        spool: Spool,
        server: str,
    ) -> None:
        """`endpoints` by plant; `server` is host:port of the ingestion service."""
        self._spool = spool
        self._certificates = certificates
        self._server = server
        self._drain_rate = Rate()
        self.lanes = Lanes(spool, server)
        self.inbox = Inbox(self.lanes, self._stored)
        self.clock = OurClock()
        self.links: list[PlantLink] = []
        kept_ns, away_s = self.lanes.kept_ns, self.lanes.away_s
        for plant in territory.plants:
            bindings = [binding for binding in territory.tags if binding.plant == plant.name]
            make = partial(_adapter, plant, endpoints[plant.name], bindings, certificates, spool.path.parent)
            link = PlantLink(
                plant.name,
                make,
                self.inbox.put,
                ours=self.clock,
                tags=[binding.tag for binding in bindings],
                is_recorded=plant.has_own_time,
                tell=self.inbox.tell,
                alarms_path=spool.path.with_name(f"alarms-{plant.name}.json") if plant.alarms else None,
                kept_ns={b.tag.name: kept_ns[b.tag.name] for b in bindings if b.tag.name in kept_ns},
                away_s=math.nan if plant.has_own_time else away_s,  # a recording that begins anew has missed nothing
            )
            self.links.append(link)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`, then take in what is on its way and deliver what the service takes within DRAIN_S."""
        links = [asyncio.create_task(link.run()) for link in self.links]
        storing = asyncio.create_task(self.inbox.run())
        sending = asyncio.create_task(self.lanes.run())
        telling = asyncio.create_task(report(self._server, self.status))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({storing, sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (storing, sending):
                if task.done():
                    task.result()  # neither ends by itself: this raises its error
            await end(links)
            self.inbox.close()
            await storing
            await self.lanes.drain(DRAIN_S)
            _log.info("stopped; %d batches stay in the spool for the next start", self.lanes.batch_count)
            if self.inbox.pending_rows:
                raise StorageError(f"{self.inbox.pending_rows} rows could not be stored in the spool and are lost")
        finally:
            await end([*links, storing, sending, telling, stopped])
            self.lanes.close()

    def _stored(self) -> None:
        self.lanes.notify()
        if not self.inbox.pending_alarms:
            for link in self.links:
                link.open_alarms.settled()

    def status(self) -> GatewayStatus:
        """What the gateway tells the server of itself."""
        lanes, oldest_ns = self.lanes, self.lanes.oldest_received_ns
        backlog = Backlog(
            row_count=lanes.row_count,
            byte_count=lanes.byte_count if lanes.batch_count else 0,
            oldest_age_s=max(0.0, (time.time_ns() - oldest_ns) / NS_PER_S) if oldest_ns else 0.0,
            drain_rows_per_s=self._drain_rate.per_s(lanes.acknowledged_row_count),
            pending_row_count=self.inbox.pending_rows,
        )
        return gateway_status(
            self._spool.producer,
            [plant_status(link, self.inbox.dropped[link.plant]) for link in self.links],
            backlog,
            delivered=lanes.acknowledged_row_count,
            rejected=lanes.rejected,
            refused_batches=lanes.refused_batches,
            certificate_expiry_s=self._certificates.seconds_to_expiry(),
            clock_jumps=self.clock.jumps,
        )

    def families(self) -> Iterable[Metric]:
        """Everything that is exported."""
        name = "uem_gateway_"
        yield info(name + "info")
        for make, key, text, of_link in (
            (counter, "samples_received_total", "Samples that a plant sent.", lambda k: k.received),
            (
                counter,
                "samples_dropped_total",
                "Samples lost because a queue or the spool was full.",
                lambda k: k.dropped + self.inbox.dropped[k.plant],
            ),
            (
                counter,
                "samples_repeated_total",
                "Samples left out since the plant had sent them before.",
                lambda k: k.repeated,
            ),
            (counter, "bad_quality_samples_total", "Samples whose quality is bad.", lambda k: k.bad_quality),
            (counter, "alarms_total", "Reports of alarms of the plant that were new.", lambda k: k.alarms),
            (gauge, "open_alarms", "Alarms of the plant that are not normal.", lambda k: k.open_alarms.open_count),
            (counter, "gaps_total", "Intervals of tags in which samples may be missing.", lambda k: k.gaps),
            (gauge, "connected", "Whether the plant is connected.", lambda k: k.connected),
            (counter, "reconnects_total", "How often the plant had to be connected again.", lambda k: k.reconnects),
            (gauge, "missing_tags", "Tags of the tag table that the plant does not have.", lambda k: len(k.missing)),
            (
                gauge,
                "unit_mismatches",
                "Tags that the tag table reads in another unit than the plant says.",
                lambda k: len(k.unit_mismatches),
            ),
            (gauge, "newest_sample_age_seconds", "Time since samples came in last.", lambda k: k.newest_age_s),
            (
                counter,
                "decode_seconds_total",
                "Time that decoding messages of the plant took, where the protocol needs it.",
                lambda k: k.decode_s,
            ),
        ):
            yield make(name + key, text, ("plant",), [((k.plant,), float(of_link(k))) for k in self.links])
        problems = [((k.plant, kind), float(n)) for k in self.links for kind, n in sorted(k.problems.items())]
        text = "What went wrong with a plant without losing it, by kind."
        yield counter(name + "problems_total", text, ("plant", "kind"), problems)
        text = "Time until the certificate that a plant showed last expires."
        expiry = [((k.plant,), k.certificate_expiry_s) for k in self.links if not math.isnan(k.certificate_expiry_s)]
        yield gauge(name + "plant_certificate_expiry_seconds", text, ("plant",), expiry)
        yield histogram(
            name + "publish_lag_seconds",
            "Time from the newest source time of a batch until it was here, by both clocks.",
            ("plant",),
            [((k.plant,), k.lag_s) for k in self.links],
        )
        doubtful = [((k.plant, check), float(count)) for k in self.links for check, count in k.checks.counts.items()]
        text = "Samples that a check marked Bad or Uncertain, by what is wrong."
        yield counter(name + "doubtful_samples_total", text, ("plant", "check"), doubtful)
        clocks = [
            ((link.plant, of), clock)
            for link in self.links
            for of, clock in (("source", link.source_clock), ("server", link.server_clock))
        ]
        for make, key, text, of_clock in _CLOCK_METRICS:
            yield make(name + key, text, ("plant", "clock"), [(labels, of_clock(clock)) for labels, clock in clocks])
        rejected = [((reason,), float(count)) for reason, count in sorted(self.lanes.rejected.items())]
        text = "Samples that ingestion refused, by reason."
        yield counter(name + "rejected_samples_total", text, ("reason",), rejected)
        lanes = self.lanes
        for make, key, text, value in (
            (
                counter,
                "samples_delivered_total",
                "Samples that ingestion acknowledged, rejected ones included.",
                lanes.acknowledged_row_count,
            ),
            (
                counter,
                "refused_batches_total",
                "Batches that ingestion refused as a whole; they are set aside in the spool.",
                lanes.refused_batches,
            ),
            (gauge, "ingestion_connected", "Whether the ingestion service is connected.", lanes.connected),
            (gauge, "spool_batches", "Batches on disk that wait for their acknowledgement.", lanes.batch_count),
            (gauge, "spool_bytes", "Bytes that the waiting batches take.", lanes.byte_count),
            (gauge, "backlog_lanes", "Spools that drain beside what comes now.", lanes.backlog_lanes),
            (gauge, "refused_samples", "Samples set aside in the spool with their batches.", lanes.refused_row_count),
            (gauge, "pending_samples", "Samples in memory that wait for the spool.", self.inbox.pending_rows),
            (counter, "own_clock_jumps_total", "Jumps of the clock of this machine.", self.clock.jumps),
            (
                gauge,
                "certificate_expiry_seconds",
                "Time until our certificate expires.",
                self._certificates.seconds_to_expiry(),
            ),
        ):
            yield make(name + key, text, (), [((), float(value))])


def _adapter(
    plant: Plant, endpoint: str, bindings: Sequence[TagBinding], certificates: CertificateStore, state: Path
) -> Adapter:
    """A fresh adapter of a plant; AdapterError when it is simulated and nobody tells what time it is there."""
    protocol = PROTOCOLS[plant.protocol]
    clock = PlantClock(state) if plant.simulated and plant.protocol != "opcua" else time.time_ns
    return protocol.make(plant, endpoint, bindings, certificates, clock)


def checked_server(address: str) -> str:
    """The address of the ingestion service, which has to be on this machine as long as there is no mTLS."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise InvalidInput(
            f"--server {address}: only an address of this machine such as 127.0.0.1:7650 is allowed, "
            "since samples travel without encryption"
        )
    return address


async def _run(options: argparse.Namespace, territory: Territory, stop: asyncio.Event) -> None:
    state, pki = process.folders(options, territory)
    server = checked_server(options.server)
    allow_open = options.allow_insecure_loopback
    given = process.named_values(options.endpoint, "--endpoint")
    endpoints = endpoints_of(territory, given, allow_open=allow_open)
    certificates = CertificateStore(pki, "gateway", allow_insecure_loopback=allow_open)
    if certificates.ensure():
        _log.info("made a certificate in %s", certificates.folder / "own")
    with Spool(state / "spool.db") as spool:
        gateway = Gateway(territory, endpoints, certificates, spool, server)
        with served(gateway.families, options.host, options.metrics_port) as metrics:
            process.announce("gateway", plants=sorted(endpoints), server=server, metrics=metrics)
            await gateway.run(stop)


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = process.parser(PROG, "Run the adapters of all plants and send their samples to the services.", 7652)
    parser.add_argument(
        "--server", default="127.0.0.1:7650", metavar="HOST:PORT", help="ingestion service (default: %(default)s)"
    )
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="PLANT=URL[,URL]",
        help="endpoint of a plant, or those of a redundant set, in place of the territory's; repeatable",
    )
    options = parser.parse_args(argv)
    return process.run(PROG, options, partial(_run, options))


if __name__ == "__main__":
    raise SystemExit(main())
