"""A server that has followed the valley's network for days is killed: the next one knows what it has learned."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest
from shipped import shipped

from uem.hardware_adapters.simulator.season import Season
from uem.hardware_adapters.simulator.truth import NetworkTruth
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.v1 import ingestion_pb2, ingestion_pb2_grpc, prediction_pb2, prediction_pb2_grpc, twin_pb2, twin_pb2_grpc

pytestmark = pytest.mark.slow
VALLEE = shipped("vallee")
STEP_S = 900.0
STEP_NS = round(STEP_S * NS_PER_S)
DAYS, LEADS = 2, 96
SETTLE = 16  # steps of the plant before the first row
LONGEST_S = 600.0
LOW, HIGH = 0.1, 0.9


def requests(days):
    """Rows of the plant in quarter hours, as a gateway would send them."""
    network = VALLEE.networks[0]
    sensors = {binding.column: binding.tag.name for binding in VALLEE.tags if binding.column}
    truth = NetworkTruth(network, sensors, seed=3)
    season = Season(VALLEE.simulation, truth)
    truth.fill(343.15)
    time_ns = VALLEE.simulation.epoch_ns // STEP_NS * STEP_NS
    for number in range(SETTLE + days * LEADS):
        season.drive(time_ns)
        truth.step(STEP_S)
        time_ns += STEP_NS
        if number >= SETTLE:
            rows = Samples.from_rows(truth.rows(time_ns))
            request = ingestion_pb2.IngestRequest(producer="test", sequence=number - SETTLE + 1)
            request.samples.tag_name.extend(rows.names)
            for field in ("tag", "source_time_ns", "value", "quality"):
                getattr(request.samples, field).extend(getattr(rows, field).tolist())
            yield request


@contextlib.contextmanager
def serving(state, how=signal.SIGKILL):
    """A running `uem serve vallee`, which ends by a signal, and a channel to it."""
    command = [sys.executable, "-m", "uem.services.standalone", "vallee", "--state", str(state), "--port", "0"]
    with (
        (state.parent / "log").open("a") as log,
        subprocess.Popen([*command, "--metrics-port", "-1"], stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            ready = json.loads(process.stdout.readline())
            options = (("grpc.use_local_subchannel_pool", 1),)
            with grpc.insecure_channel(ready["address"], options=options) as channel:
                yield channel
            process.send_signal(how)
            assert process.wait(60) == (0 if how == signal.SIGTERM else -how)
        finally:
            process.kill()


def come_to(channel, time_ns):
    """Wait until the twin has."""
    request = twin_pb2.WatchStateRequest(assets=["valley"])
    for response in twin_pb2_grpc.TwinServiceStub(channel).WatchState(request, timeout=LONGEST_S):
        if response.state.plant_time_ns >= time_ns:
            return
    raise AssertionError("the stream ended")


def hear_of_demand(channel, time_ns):
    """Let the network's twin know the demand forecast of now, as it does each quarter of an hour."""
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    deadline = time.monotonic() + 60.0
    while True:
        with contextlib.suppress(grpc.RpcError):  # it reads its past
            told = stub.GetForecast(prediction_pb2.GetForecastRequest(asset="valley/demand"), timeout=60).forecast
            if told.issue_time_ns >= time_ns - STEP_NS:  # the newest quarter of an hour is not at its end
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def foreseen(channel):
    """The forecast of the network once its twin has heard of its demand."""
    stub = prediction_pb2_grpc.PredictionServiceStub(channel)
    deadline = time.monotonic() + 60.0
    while True:
        told = stub.GetForecast(prediction_pb2.GetForecastRequest(asset="valley"), timeout=60).forecast
        if "forecasts of valley/demand" in told.method:
            return told
        assert time.monotonic() < deadline
        time.sleep(0.2)


def bands(channel):
    """By signal: how far quantiles lie from the forecast, (leads, levels), and how many residuals they rest on."""
    told = foreseen(channel)
    levels = [list(told.quantile_level).index(level) for level in (LOW, HIGH)]
    return {
        series.signal: (
            np.reshape(series.quantile, (-1, len(told.quantile_level)))[:, levels] - np.array(series.value)[:, None],
            series.residual_count,
        )
        for series in told.series
        if series.signal.startswith(("node/", "unit/"))
    }


def kept_ns(state):
    with contextlib.closing(sqlite3.connect(f"file:{state / 'history.db'}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT time_ns FROM knowledge WHERE asset = 'valley'").fetchone()
    return row[0] if row else 0


def off(before, after):
    """How far quantiles lie apart, as a part of the band, (signals, leads)."""
    assert before.keys() == after.keys()
    return np.array(
        [
            np.abs(after[name][0] - offsets).max(axis=1) / (offsets[:, 1] - offsets[:, 0])
            for name, (offsets, _) in before.items()
        ]
    )


def test_what_was_learned_in_days_outlives_a_kill_and_a_stop(tmp_path):
    state = tmp_path / "state"
    last_ns = VALLEE.simulation.epoch_ns // STEP_NS * STEP_NS + (SETTLE + DAYS * LEADS) * STEP_NS
    with serving(state) as channel:
        stub = ingestion_pb2_grpc.IngestionServiceStub(channel)
        assert not any(response.rejections for response in stub.Ingest(requests(DAYS), timeout=LONGEST_S))
        come_to(channel, last_ns)
        deadline = time.monotonic() + 60.0
        while kept_ns(state) < last_ns - STEP_NS and time.monotonic() < deadline:
            time.sleep(0.5)
        hear_of_demand(channel, last_ns)
        before = bands(channel)
    began = time.monotonic()
    with serving(state, signal.SIGTERM) as channel:
        come_to(channel, last_ns)
        ready_s = time.monotonic() - began
        killed = bands(channel)
    with serving(state) as channel:
        come_to(channel, last_ns)
        stopped = bands(channel)
    parts = off(before, killed)
    print(f"back in {ready_s:.1f} s; after the kill off by {parts.mean():.4f} of the band, {(parts > 0.05).mean():.4f}")
    assert "learns anew" not in (tmp_path / "log").read_text()
    # What was judged since it was kept last is lost: one forecast in each lead at most.
    assert all(before[name][1] - killed[name][1] in (0, 1) for name in before)
    assert parts.mean() < 0.01
    assert off(killed, stopped).max() < 1e-9
    assert len(before) > 20
    assert max(count for _, count in before.values()) > 20
