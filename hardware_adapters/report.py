"""Tells the server every few seconds how the gateway is, so that any client can ask for it there.

Nothing depends on a report: one that does not arrive is not sent again, the next one says more.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import grpc

from uem import __version__
from uem.hardware_adapters.clocks import ClockWatch
from uem.hardware_adapters.supervise import PlantLink
from uem.hardware_adapters.texts import readable
from uem.twin_core.errors import TwinError
from uem.v1 import status_pb2 as pb
from uem.v1 import status_pb2_grpc

GatewayStatus: TypeAlias = pb.GatewayStatus
Backlog: TypeAlias = pb.Backlog
_log = logging.getLogger(__name__)

EVERY_S = 2.0
RATE_OVER_S = 10.0
MOST_MISSING = 100  # missing tags, and those in another unit, that are named
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 2000))


class Rate:
    """How fast a count grows, over the last RATE_OVER_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: list[tuple[float, int]] = []

    def per_s(self, count: int) -> float:
        """The rate up to now, when the count has this value; 0 when it is asked for the first time."""
        now = self._clock()
        while len(self._seen) > 1 and self._seen[1][0] <= now - RATE_OVER_S:
            del self._seen[0]
        self._seen.append((now, count))
        (begin, first) = self._seen[0]
        return (count - first) / (now - begin) if now > begin else 0.0


def plant_status(link: PlantLink, dropped: int) -> pb.PlantStatus:
    """What is known of a plant; `dropped` is what the inbox had no room for."""
    return pb.PlantStatus(
        plant=link.plant,
        connected=link.connected,
        reconnect_count=link.reconnects,
        newest_sample_age_s=_known(link.newest_age_s),
        missing_tags=_texts(link.missing),
        received_count=link.received,
        dropped_count=link.dropped + dropped,
        repeated_count=link.repeated,
        bad_quality_count=link.bad_quality,
        gap_count=link.gaps,
        source_clock=_clock_status(link.source_clock),
        server_clock=_clock_status(link.server_clock),
        check_count={check: count for check, count in link.checks.counts.items() if count},
        unit_mismatches=_texts(link.unit_mismatches),
        usual_interval_s=_known(link.usual_interval_s),
    )


def _texts(by_tag: Mapping[str, str]) -> dict[str, str]:
    return {tag: readable(text) for tag, text in list(by_tag.items())[:MOST_MISSING]}


def _clock_status(clock: ClockWatch) -> pb.ClockStatus:
    return pb.ClockStatus(
        state=clock.state, offset_s=_known(clock.offset_s), drift_ppm=_known(clock.drift_ppm), jump_count=clock.jumps
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def gateway_status(
    name: str,
    plants: Sequence[pb.PlantStatus],
    backlog: pb.Backlog,
    *,
    delivered: int,
    rejected: Mapping[str, int],
    refused_batches: int,
    certificate_expiry_s: float,
    clock_jumps: int,
) -> pb.GatewayStatus:
    """All of it as it goes to the server."""
    return pb.GatewayStatus(
        name=name,
        version=__version__,
        plants=plants,
        backlog=backlog,
        delivered_count=delivered,
        rejected_count={reason: count for reason, count in rejected.items() if count},
        refused_batch_count=refused_batches,
        certificate_expiry_s=certificate_expiry_s,
        clock_jump_count=clock_jumps,
    )


async def report(address: str, status: Callable[[], pb.GatewayStatus], every_s: float | None = None) -> None:
    """Send reports to the server at `address` until cancelled."""
    is_silent, period_s = False, every_s or EVERY_S
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        stub = status_pb2_grpc.StatusServiceStub(channel)
        while True:
            try:
                await stub.ReportGateway(pb.ReportGatewayRequest(gateway=status()), timeout=period_s)
                is_silent = False
            except (grpc.aio.AioRpcError, TwinError, ValueError) as error:  # a broken spool has nothing to tell of
                if not is_silent:
                    why = error.code().name if isinstance(error, grpc.aio.AioRpcError) else error
                    _log.info("server at %s: no report: %s", address, why)
                is_silent = True
            await asyncio.sleep(period_s)
