"""`uem gateway`: adapters of all plants of a territory -> spool -> ingestion service.

Each plant has a supervised adapter of its own. Samples are committed to the spool before they are sent, and leave it
when the service has them on its disk; after any break everything unacknowledged is sent again.
"""

import argparse
import asyncio
import ipaddress
import logging
from collections.abc import Iterable, Mapping
from functools import partial

from prometheus_client.core import Metric

from uem.hardware_adapters import process
from uem.hardware_adapters.inbox import Inbox
from uem.hardware_adapters.metrics import counter, gauge, histogram, info, served
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.protocols import PROTOCOLS, endpoints_of
from uem.hardware_adapters.spool import Spool
from uem.hardware_adapters.supervise import PlantLink
from uem.hardware_adapters.tasks import end
from uem.hardware_adapters.uplink import Uplink
from uem.twin_core.errors import InvalidInput, StorageError
from uem.twin_core.plant.territory import Territory

_log = logging.getLogger(__name__)

PROG = "uem gateway"
DRAIN_S = 5.0


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
        self.uplink = Uplink(server, spool)
        self.inbox = Inbox(spool, self.uplink.notify)
        self.links = []
        for plant in territory.plants:
            bindings = [binding for binding in territory.tags if binding.plant == plant.name]
            make = partial(PROTOCOLS[plant.protocol].make, plant, endpoints[plant.name], bindings, certificates)
            self.links.append(PlantLink(plant.name, make, self.inbox.put))

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`, then take in what is on its way and deliver what the service takes within DRAIN_S."""
        links = [asyncio.create_task(link.run()) for link in self.links]
        storing = asyncio.create_task(self.inbox.run())
        sending = asyncio.create_task(self.uplink.run())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({storing, sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (storing, sending):
                if task.done():
                    task.result()  # neither ends by itself: this raises its error
            await end(links)
            self.inbox.close()
            await storing
            await self.uplink.drain(DRAIN_S)
            _log.info("stopped; %d batches stay in the spool for the next start", self._spool.batch_count)
            if self.inbox.pending_rows:
                raise StorageError(f"{self.inbox.pending_rows} rows could not be stored in the spool and are lost")
        finally:
            await end([*links, storing, sending, stopped])

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
            (counter, "gaps_total", "Intervals of tags in which samples may be missing.", lambda k: k.gaps),
            (gauge, "connected", "Whether the plant is connected.", lambda k: k.connected),
            (counter, "reconnects_total", "How often the plant had to be connected again.", lambda k: k.reconnects),
            (gauge, "missing_tags", "Tags of the tag table that the plant does not have.", lambda k: len(k.missing)),
            (gauge, "newest_sample_age_seconds", "Time since samples came in last.", lambda k: k.newest_age_s),
            (
                counter,
                "decode_seconds_total",
                "Time that decoding messages of the plant took, where the protocol needs it.",
                lambda k: k.decode_s,
            ),
        ):
            yield make(name + key, text, ("plant",), [((k.plant,), float(of_link(k))) for k in self.links])
        yield histogram(
            name + "publish_lag_seconds",
            "Time from the newest source time of a batch until it was here, by both clocks.",
            ("plant",),
            [((k.plant,), k.lag_s) for k in self.links],
        )
        rejected = [((reason,), float(count)) for reason, count in sorted(self.uplink.rejected.items())]
        text = "Samples that ingestion refused, by reason."
        yield counter(name + "rejected_samples_total", text, ("reason",), rejected)
        spool, uplink = self._spool, self.uplink
        for make, key, text, value in (
            (
                counter,
                "samples_delivered_total",
                "Samples that ingestion acknowledged, rejected ones included.",
                spool.acknowledged_row_count,
            ),
            (
                counter,
                "refused_batches_total",
                "Batches that ingestion refused as a whole; they are set aside in the spool.",
                uplink.refused_batches,
            ),
            (gauge, "ingestion_connected", "Whether the ingestion service is connected.", uplink.connected),
            (gauge, "spool_batches", "Batches on disk that wait for their acknowledgement.", spool.batch_count),
            (gauge, "spool_bytes", "Bytes that the waiting batches take.", spool.byte_count),
            (gauge, "refused_samples", "Samples set aside in the spool with their batches.", spool.refused_row_count),
            (gauge, "pending_samples", "Samples in memory that wait for the spool.", self.inbox.pending_rows),
            (
                gauge,
                "certificate_expiry_seconds",
                "Time until our certificate expires.",
                self._certificates.seconds_to_expiry(),
            ),
        ):
            yield make(name + key, text, (), [((), float(value))])


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
    endpoints = endpoints_of(territory, process.named_values(options.endpoint, "--endpoint"))
    certificates = CertificateStore(pki, "gateway")
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
        metavar="PLANT=URL",
        help="endpoint of a plant, in place of the territory's; repeatable",
    )
    options = parser.parse_args(argv)
    return process.run(PROG, options, partial(_run, options))


if __name__ == "__main__":
    raise SystemExit(main())
