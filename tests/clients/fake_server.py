"""A real grpc server on port 0 that answers like a twin process, from data that a test can change."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_status import rpc_status

from uem.v1 import (
    common_pb2,
    history_pb2,
    history_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
    status_pb2_grpc,
    twin_pb2,
    twin_pb2_grpc,
)
from uem.v1.status_pb2 import GetStatusResponse

START_NS = 1_232_668_800 * 10**9  # 2009-01-23 00:00:00 UTC
MEASURED, ESTIMATED, LEDGER = common_pb2.SOURCE_MEASURED, common_pb2.SOURCE_ESTIMATED, common_pb2.SOURCE_LEDGER


def signal(name, unit, display_unit, source, compared_with="", states=None):
    return twin_pb2.Signal(
        name=name,
        unit=unit,
        display_unit=display_unit,
        source=source,
        compared_with=compared_with,
        state_names=states or {},
    )


BRANCH = twin_pb2.Asset(
    name="branch",
    kind=twin_pb2.ASSET_KIND_HEAT_NETWORK,
    title="Buried branch",
    signals=[
        signal("node/1/temperature", "K", "Cel", MEASURED),
        signal("node/2/temperature/twin", "K", "Cel", ESTIMATED, "node/2/temperature"),
        signal("node/2/temperature", "K", "Cel", MEASURED),
        signal("node/2/flow", "kg/s", "kg/s", MEASURED),
        signal("loss", "W", "kW", ESTIMATED),
        signal("heat_lost", "J", "kWh", LEDGER),
    ],
)
WASHER = twin_pb2.Asset(
    name="washer",
    kind=twin_pb2.ASSET_KIND_MACHINE,
    title="Cleaning machine",
    signals=[
        signal("state", "1", "1", MEASURED, states={2: "operational"}),
        signal("power/twin", "W", "kW", ESTIMATED, "power"),
        signal("power", "W", "kW", MEASURED),
        signal("state/2/time", "s", "s", LEDGER),
        signal("state/2/energy", "J", "kWh", LEDGER),
        signal("state/unknown/time", "s", "s", LEDGER),
    ],
)
NAN = float("nan")


def branch_state(tick=1):
    return twin_pb2.State(
        asset="branch",
        ledger_since_ns=START_NS,
        run_id="first",
        tick=tick,
        plant_time_ns=START_NS + tick * 60 * 10**9,
        published_time_ns=1_800_000_000 * 10**9,
        value=[363.15, 362.15, 361.65, 0.05, 1500.0, 3.6e6],
        standard_deviation=[NAN, 0.5, NAN, NAN, 100.0, NAN],
        quality=[0, 0, 0x40900000, 0, 0, 0],
        age_s=[0.0, 60.0, 60.0, 0.0, 0.0, 0.0],
    )


def washer_state(tick=1):
    return twin_pb2.State(
        asset="washer",
        tick=tick,
        plant_time_ns=START_NS + tick * 10**9,
        published_time_ns=1_800_000_000 * 10**9,
        value=[2.0, 240.0, 10_240.0, 300.0, 7.2e6, 0.0],
        standard_deviation=[NAN, 20.0, NAN, NAN, NAN, NAN],
        quality=[0, 0, 0x80000000, 0, 0, 0],
        age_s=[0.0] * 6,
    )


STATUS = GetStatusResponse(
    server={
        "version": "1.2",
        "territory": "quarter",
        "uptime_s": 600.0,
        "twins": [
            {"asset": "branch", "plant_time_ns": START_NS, "newest_sample_ns": START_NS, "late_count": 3},
            {"asset": "washer", "waits_for": ["washer/power", "washer/state"]},
        ],
        "history": {"byte_count": 1_500_000, "sample_count": 4000, "newest_sample_ns": START_NS},
        "problems": {"store": "no space left"},
    },
    gateways=[
        {
            "age_s": 30.0,
            "gateway": {
                "name": "0123456789abcdef",
                "version": "1.2",
                "plants": [
                    {
                        "plant": "hall",
                        "connected": True,
                        "reconnect_count": 2,
                        "newest_sample_age_s": 1.5,
                        "missing_tags": {"hall/flow": "no node Hall/Flow"},
                        "received_count": 500,
                        "dropped_count": 7,
                        "repeated_count": 6,
                        "bad_quality_count": 5,
                        "gap_count": 4,
                        "source_clock": {"state": "jumped", "offset_s": -3600.0, "jump_count": 2},
                        "server_clock": {"state": "drifting", "offset_s": 0.5, "drift_ppm": 500.0},
                        "check_count": {"not_finite": 3, "out_of_range": 1},
                        "unit_mismatches": {"hall/power": "the plant says kW, the tag table W"},
                    },
                    {"plant": "yard"},
                ],
                "backlog": {
                    "row_count": 900,
                    "byte_count": 22_000,
                    "oldest_age_s": 7200.0,
                    "drain_rows_per_s": 250.0,
                    "pending_row_count": 100,
                },
                "delivered_count": 12_345,
                "rejected_count": {"bad_time": 2},
                "refused_batch_count": 1,
                "certificate_expiry_s": 1e6,
            },
        }
    ],
)


def rich_error(code, message, *details):
    packed = []
    for detail in details:
        any_detail = any_pb2.Any()
        any_detail.Pack(detail)
        packed.append(any_detail)
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=packed))


def forecast(asset, issue_time_ns, count):
    """A forecast of `count` quarters of an hour."""
    value = 360.15 + np.arange(count)
    return prediction_pb2.Forecast(
        asset=asset,
        issue_time_ns=issue_time_ns,
        method="Inputs held.",
        quantile_level=[0.05, 0.95],
        series=[
            prediction_pb2.ForecastSeries(
                signal="node/2/temperature",
                unit="K",
                display_unit="Cel",
                valid_time_ns=[issue_time_ns + (i + 1) * 900 * 10**9 for i in range(count)],
                value=value,
                quantile=np.stack([value - 1, value + 2], axis=1).ravel(),
                residual_count=4,
                quality=0x40000000,
            )
        ],
    )


class FakeServer(
    twin_pb2_grpc.TwinServiceServicer,
    prediction_pb2_grpc.PredictionServiceServicer,
    history_pb2_grpc.HistoryServiceServicer,
    status_pb2_grpc.StatusServiceServicer,
):
    def __init__(self):
        self.assets = {"branch": BRANCH, "washer": WASHER}
        self.states = {"branch": branch_state(), "washer": washer_state()}
        self.page = 1
        self.well = True
        self.ticks = 1000
        self.revision = 0
        self.delay_s = 0.0
        self.break_after = 0  # states or forecasts after which a watch breaks, once
        self.kept_hours = [0, 1, 2]  # after the start: issue times of the kept forecasts

    async def GetAsset(self, request, context):
        await asyncio.sleep(self.delay_s)
        if request.asset not in self.assets:
            info = error_details_pb2.ErrorInfo(reason="UNKNOWN_NAME", domain="uem")
            await context.abort_with_status(
                rich_error(code_pb2.NOT_FOUND, f"unknown asset {request.asset!r}; known: branch, washer", info)
            )
        return twin_pb2.GetAssetResponse(asset=self.assets[request.asset], state=self.states.get(request.asset))

    async def ListAssets(self, request, context):
        names = list(self.assets)
        start = int(request.page_token or 0)
        end = start + self.page
        return twin_pb2.ListAssetsResponse(
            assets=[self.assets[name] for name in names[start:end]],
            next_page_token=str(end) if end < len(names) else "",
        )

    async def WatchState(self, request, context):
        sent = 0
        for tick in range(1, self.ticks):
            for name, make in (("branch", branch_state), ("washer", washer_state)):
                if name not in (request.assets or self.assets):
                    continue
                if self.break_after and sent >= self.break_after:
                    self.break_after = 0
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
                sent += 1
                state = make(tick)
                state.signals_revision = self.revision
                yield twin_pb2.WatchStateResponse(state=state, missed_count=2 if tick == 2 else 0)
            await asyncio.sleep(0.02)

    async def GetForecast(self, request, context):
        if request.asset not in self.assets:
            violation = error_details_pb2.BadRequest.FieldViolation(field="asset", description="no such asset")
            await context.abort_with_status(
                rich_error(
                    code_pb2.INVALID_ARGUMENT,
                    "bad request",
                    error_details_pb2.BadRequest(field_violations=[violation]),
                )
            )
        horizon_s = request.horizon.ToTimedelta().total_seconds() if request.HasField("horizon") else 1800.0
        return prediction_pb2.GetForecastResponse(forecast=forecast(request.asset, START_NS, int(horizon_s // 900)))

    async def ListForecasts(self, request, context):
        """A page has two."""
        issued = self.issued()
        end_ns = request.end_issue_time_ns or 2**62
        issued = [time for time in issued if request.start_issue_time_ns <= time < end_ns]
        if request.newest_first:
            issued.reverse()
        begin = int(request.page_token or 0)
        page = issued[begin : begin + min(2, request.page_size or 2)]
        following = str(begin + 2) if begin + 2 < len(issued) else ""
        found = [forecast(request.asset, time, 2) for time in page]
        return prediction_pb2.ListForecastsResponse(forecasts=found, next_page_token=following)

    def issued(self):
        return [START_NS + hour * 3600 * 10**9 for hour in self.kept_hours]

    async def WatchForecast(self, request, context):
        if request.asset not in self.assets:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown asset {request.asset!r}; known: branch, washer")
        last_ns, sent = request.after_issue_time_ns or self.issued()[-1] - 1, 0
        while True:
            for time in [time for time in self.issued() if time > last_ns]:
                if self.break_after and sent >= self.break_after:
                    self.break_after = 0
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
                last_ns, sent = time, sent + 1
                yield prediction_pb2.WatchForecastResponse(forecast=forecast(request.asset, time, 2))
            await asyncio.sleep(0.02)

    async def ReadSamples(self, request, context):
        for name in request.tag_name:
            if not name.startswith("branch/"):
                await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown tag {name!r}")
        times = START_NS + np.arange(10) * 900 * 10**9
        if request.start_time_ns:
            times = times[times >= request.start_time_ns]
        if request.end_time_ns:
            times = times[times < request.end_time_ns]
        if request.limit:
            times = times[-request.limit :]
        known = [name for name in request.tag_name if name != "branch/silent"]
        for half in np.array_split(times, 2):  # two frames of interleaved tags
            rows = [(i, t) for i in range(len(known)) for t in half.tolist()]
            yield history_pb2.ReadSamplesResponse(
                samples=common_pb2.Samples(
                    tag_name=known,
                    tag=[i for i, _ in rows],
                    source_time_ns=[t for _, t in rows],
                    value=[363.15 + i for i, _ in rows],
                    quality=[0 for _ in rows],
                )
            )

    async def ListTags(self, request, context):
        tags = [
            history_pb2.TagInfo(
                name=f"branch/{i}/temperature",
                unit="K",
                display_unit="Cel",
                low_limit=263.15,
                high_limit=423.15,
                sample_count=10 if i == 1 else 0,
                first_time_ns=START_NS if i == 1 else 0,
                last_time_ns=START_NS + 9 * 900 * 10**9 if i == 1 else 0,
            )
            for i in (1, 2)
        ]
        start = int(request.page_token or 0)
        return history_pb2.ListTagsResponse(tags=tags[start : start + 1], next_page_token="1" if start == 0 else "")

    async def GetOverview(self, request, context):
        samples = common_pb2.Samples(
            tag_name=[request.tag_name],
            tag=[0, 0],
            source_time_ns=[START_NS, START_NS + 10**9],
            value=[363.15, 364.15 if request.method == history_pb2.OVERVIEW_METHOD_LARGEST_TRIANGLE else 360.15],
            quality=[0, 0],
        )
        return history_pb2.GetOverviewResponse(
            samples=samples, resolution_ns=60 * 10**9, sample_count=999, line_start=[1]
        )

    async def GetStatus(self, request, context):
        return STATUS

    alarm_states = (1, 4, 9)

    async def ListAlarms(self, request, context):
        alarms = [
            common_pb2.Alarm(
                plant="hall",
                condition=f"c{i}",
                branch="b" * (i == 9),
                source="pump",
                name=f"alarm {i}",
                message="hot",
                state=i,
                severity=100 * i,
                time_ns=START_NS,
                quality=0,
            )
            for i in self.alarm_states
        ]
        alarms = [alarm for alarm in alarms if request.plant in ("", alarm.plant)][: None if request.history else 2]
        start = int(request.page_token or 0)
        following = str(start + 1) if start + 1 < len(alarms) else ""
        return history_pb2.ListAlarmsResponse(alarms=alarms[start : start + 1], next_page_token=following)

    async def ListGaps(self, request, context):
        gaps = [
            common_pb2.Gap(
                tag_name=f"branch/{i}/temperature", start_time_ns=START_NS, end_time_ns=START_NS + i * 10**9, reason=i
            )
            for i in (1, 4, 9)
        ]
        if request.tag_name:
            gaps = [gap for gap in gaps if gap.tag_name in request.tag_name]
        start = int(request.page_token or 0)
        following = str(start + 1) if start + 1 < len(gaps) else ""
        return history_pb2.ListGapsResponse(gaps=gaps[start : start + 1], next_page_token=following)


@asynccontextmanager
async def serving(servicer, port=0):
    """The address of a running server; it is stopped at the end."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    twin_pb2_grpc.add_TwinServiceServicer_to_server(servicer, server)
    prediction_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(servicer, server)
    status_pb2_grpc.add_StatusServiceServicer_to_server(servicer, server)
    health_servicer = health.aio.HealthServicer()
    await health_servicer.set("", HealthCheckResponse.SERVING if servicer.well else HealthCheckResponse.NOT_SERVING)
    add_HealthServicer_to_server(health_servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(None)
