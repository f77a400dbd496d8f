"""StatusService: what gateways report and what the server knows of itself, for any client, without Prometheus."""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple

from uem import __version__
from uem.services.health import Checks
from uem.services.history.store import Store
from uem.services.status import Context, InvalidField, errors_as_status
from uem.twin_core.twin import AssetTwin
from uem.v1 import status_pb2 as pb
from uem.v1 import status_pb2_grpc

MOST_GATEWAYS = 100
LONGEST_NAME = 200
MOST_REPORT_BYTES = 128 * 1024  # so that all reports together fit into one message


class Known(NamedTuple):
    """Where the server looks to tell how it is; `twins` and `store` if they live in its process."""

    territory: str
    checks: Checks
    twins: Callable[[], Iterable[AssetTwin]] = tuple
    store: Store | None = None
    history_bytes: Callable[[], int] = int


class StatusServicer(status_pb2_grpc.StatusServiceServicer):
    """Keeps the newest report of each gateway, and looks at the server when it is asked."""

    def __init__(self, known: Known, clock: Callable[[], float] = monotonic) -> None:
        self._known = known
        self._clock = clock
        self._began = clock()
        self._reports: dict[str, tuple[pb.GatewayStatus, float]] = {}

    async def ReportGateway(self, request: pb.ReportGatewayRequest, context: Context) -> pb.ReportGatewayResponse:
        """Keep a report in the place of the one before."""
        async with errors_as_status(context):
            name = request.gateway.name
            if not 1 <= len(name) <= LONGEST_NAME:
                raise InvalidField("gateway.name", f"a name of {len(name)} characters; 1 to {LONGEST_NAME} are allowed")
            size = request.gateway.ByteSize()
            if size > MOST_REPORT_BYTES:
                raise InvalidField("gateway", f"{size} bytes; a report has at most {MOST_REPORT_BYTES}")
            self._reports.pop(name, None)
            self._reports[name] = request.gateway, self._clock()
            if len(self._reports) > MOST_GATEWAYS:
                del self._reports[next(iter(self._reports))]  # the one that was silent for longest
            return pb.ReportGatewayResponse()

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """The server as it is now, the gateways as they reported last."""
        async with errors_as_status(context):
            history = await asyncio.to_thread(_history, self._known)
            server = pb.ServerStatus(
                version=__version__,
                territory=self._known.territory,
                uptime_s=self._clock() - self._began,
                twins=[_twin(twin) for twin in self._known.twins()],
                history=history,
                problems=self._known.checks.reasons,
            )
            now = self._clock()
            gateways = [
                pb.ReportedGateway(gateway=gateway, age_s=now - came)
                for _, (gateway, came) in sorted(self._reports.items())
            ]
            return pb.GetStatusResponse(server=server, gateways=gateways)


def _history(known: Known) -> pb.HistoryStatus | None:
    if known.store is None:
        return None
    stats = known.store.tags().values()
    return pb.HistoryStatus(
        byte_count=known.history_bytes(),
        sample_count=sum(found.sample_count for found in stats),
        newest_sample_ns=max((found.last_ns for found in stats), default=0),
    )


def _twin(twin: AssetTwin) -> pb.TwinStatus:
    """What a twin tells; its thread may step it meanwhile, which only makes one of the numbers newer than another."""
    snapshot, failure = twin.snapshot, twin.failure
    return pb.TwinStatus(
        asset=twin.name,
        plant_time_ns=snapshot.plant_time_ns if snapshot is not None else 0,
        newest_sample_ns=twin.newest_ns or 0,
        waits_for=twin.waits_for if snapshot is None else (),
        late_count=twin.late_count,
        unusable_count=twin.unusable_count,
        failed_step_count=twin.failure_count,
        restart_count=twin.restart_count,
        failure=str(failure) if failure is not None else "",
    )
