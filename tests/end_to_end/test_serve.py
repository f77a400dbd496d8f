"""`uem serve` as a process: rows of the recording go in by gRPC, states and forecasts come out, a restart goes on."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from uem.clients.display import iso_time
from uem.offline.series import read_recording
from uem.territories.load import load
from uem.twin_core.measurements import Samples
from uem.twin_core.twin import make_twin
from uem.v1 import (
    history_pb2,
    history_pb2_grpc,
    ingestion_pb2,
    ingestion_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
    twin_pb2,
    twin_pb2_grpc,
)

EPOCH_NS = 1_232_668_800_000_000_000
ROWS = 60


def batches():
    """A batch per row of the branch, as the gateway would send them."""
    pongau = load("pongau")
    made = []
    rows = list(read_recording(pongau, make_twin(pongau.asset("branch")).tags).rows())[: ROWS + 10]
    for sequence, (_, row) in enumerate(rows, start=1):
        row = Samples(row.names, row.tag, row.source_time_ns + EPOCH_NS, row.value, row.quality)
        request = ingestion_pb2.IngestRequest(producer="test", sequence=sequence)
        request.samples.tag_name.extend(row.names)
        for field in ("tag", "source_time_ns", "value", "quality"):
            getattr(request.samples, field).extend(getattr(row, field).tolist())
        made.append(request)
    return made


@pytest.fixture(scope="module")
def requests():
    return batches()


@contextlib.contextmanager
def serve(state, stop=signal.SIGTERM, port=0):
    """A running `uem serve`; at the end it gets `stop` and must exit with 0."""
    arguments = ["pongau", "--state", str(state), "--port", str(port), "--metrics-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uem.services.standalone", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] is True
        assert ready["process"] == "serve"
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(ready["address"], options=options) as channel:
            yield ready, channel
        process.send_signal(stop)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        assert "Traceback" not in log
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def ingest(channel, requests):
    acknowledged = list(ingestion_pb2_grpc.IngestionServiceStub(channel).Ingest(iter(requests), timeout=60))
    assert [response.sequence for response in acknowledged] == [request.sequence for request in requests]
    assert not any(response.rejections for response in acknowledged)


def state_at(channel, time_ns):
    """The state of the branch once it has come that far."""
    stub = twin_pb2_grpc.TwinServiceStub(channel)
    for response in stub.WatchState(twin_pb2.WatchStateRequest(assets=["branch"]), timeout=60):
        if response.state.plant_time_ns >= time_ns:
            return response.state
    raise AssertionError("the stream ended")


def row_time(row):
    return EPOCH_NS + row * 900 * 10**9


def test_rows_go_in_states_and_forecasts_come_out_and_a_restart_goes_on(tmp_path, requests):
    with serve(tmp_path) as (ready, channel):
        ingest(channel, requests[:ROWS])
        before = state_at(channel, row_time(ROWS - 1))
        asset = twin_pb2_grpc.TwinServiceStub(channel).GetAsset(twin_pb2.GetAssetRequest(asset="branch")).asset
        value = dict(zip([signal.name for signal in asset.signals], before.value, strict=True))
        assert abs(value["node/2/temperature/twin"] - value["node/2/temperature"]) < 6.0
        forecasts = prediction_pb2_grpc.PredictionServiceStub(channel)
        request = prediction_pb2.GetForecastRequest(asset="branch", horizon=Duration(seconds=3600))
        forecast = forecasts.GetForecast(request, timeout=60).forecast
        assert forecast.issue_time_ns == before.plant_time_ns
        for series in forecast.series:
            assert len(series.valid_time_ns) == len(series.value) == 4
            assert (np.diff(np.reshape(series.quantile, (4, -1)), axis=1) >= 0).all()
        with urllib.request.urlopen(f"http://{ready['metrics']}/metrics", timeout=60) as response:
            metrics = response.read().decode()
        assert 'uem_twin_steps_total{asset="branch"}' in metrics
        assert 'uem_rpc_handled_total{code="OK",method="/uem.v1.PredictionService/GetForecast"}' in metrics

    with serve(tmp_path, signal.SIGINT) as (_, channel):
        again = state_at(channel, row_time(ROWS - 1))
        assert list(again.value) == list(before.value)
        ingest(channel, requests[ROWS:])
        later = state_at(channel, row_time(ROWS + 9))
        assert later.tick > again.tick
        history = history_pb2_grpc.HistoryServiceStub(channel)
        request = history_pb2.ReadSamplesRequest(tag_name=["branch/2/temperature"])
        frames = list(history.ReadSamples(request, timeout=60))
        assert sum(len(frame.samples.value) for frame in frames) == ROWS + 10


def test_a_stop_ends_within_seconds_although_somebody_watches(tmp_path):
    with serve(tmp_path) as (_, channel):
        watching = twin_pb2_grpc.TwinServiceStub(channel).WatchState(twin_pb2.WatchStateRequest())
        begin = time.monotonic()
    assert time.monotonic() - begin < 60
    with pytest.raises(grpc.RpcError) as caught:
        next(watching)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@contextlib.contextmanager
def consumer(address, last):
    """A running examples/consumer; it is killed at the end, as a crash would."""
    arguments = ["branch", "node/2/temperature", "--margin", "0.1", "--server", address, "--last", str(last)]
    process = subprocess.Popen(
        [sys.executable, "-m", "uem.examples.consumer.dispatch", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def issued_until(process, end):
    """Issue times that the consumer prints up to `end`."""
    found = []
    for line in process.stdout:
        if line.startswith("issued "):
            found.append(line.split()[1])
            if found[-1] == end:
                return found
    raise AssertionError(f"the consumer ended after {found}")


def newest_kept(channel, time_ns):
    """The issue time of the forecast of a row once it is kept, as it is printed.

    Whoever keeps them rests nineteen times as long as the last one took: a slow machine's minute.
    """
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    request = prediction_pb2.WatchForecastRequest(asset="branch", after_issue_time_ns=time_ns - 1)
    for response in stub.WatchForecast(request, timeout=240):
        return iso_time(response.forecast.issue_time_ns)
    raise AssertionError("the stream ended")


def all_kept(channel):
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    request = prediction_pb2.ListForecastsRequest(asset="branch", page_size=100)
    return [iso_time(one.issue_time_ns) for one in stub.ListForecasts(request, timeout=60).forecasts]


@pytest.mark.timeout(900)
def test_a_consumer_gets_each_forecast_once_over_restarts_of_the_server_and_of_itself(tmp_path, requests):
    last, seen = tmp_path / "last", []
    with contextlib.ExitStack() as stack:
        with serve(tmp_path) as (ready, channel):
            ingest(channel, requests[:ROWS])
            end = newest_kept(channel, row_time(ROWS - 1))
            process = stack.enter_context(consumer(ready["address"], last))
            seen += issued_until(process, end)
        with serve(tmp_path, port=int(ready["address"].rsplit(":", 1)[1])) as (_, channel):
            ingest(channel, requests[ROWS : ROWS + 5])
            seen += issued_until(process, newest_kept(channel, row_time(ROWS + 4)))
            while not last.exists() or iso_time(int(last.read_text())) != seen[-1]:
                time.sleep(0.05)
            stack.close()  # the consumer is away
            ingest(channel, requests[ROWS + 5 :])
            end = newest_kept(channel, row_time(ROWS + 9))
            with consumer(ready["address"], last) as process:
                seen += issued_until(process, end)
            kept = all_kept(channel)
            assert seen == kept[kept.index(seen[0]) :]
            assert len(seen) >= 3
