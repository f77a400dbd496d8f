"""The valley served in one process: what its sensors say goes in, the state of its network comes out.

Faults that are injected into its plants are seen in states, forecasts, ledgers and alerts.
"""

import asyncio
import math
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
from shipped import shipped

from uem.clients.python import Client
from uem.hardware_adapters.simulator.faults import Faults
from uem.hardware_adapters.simulator.living import Living
from uem.hardware_adapters.simulator.truth import NetworkTruth
from uem.services.metrics import Metrics
from uem.services.standalone import serving
from uem.twin_core.follow.factory import is_watched
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.production.indicators import PackML
from uem.v1 import common_pb2, ingestion_pb2, ingestion_pb2_grpc

VALLEE = shipped("vallee")
SENSORS = {binding.column: binding.tag.name for binding in VALLEE.tags if binding.column}
STATIONS = [signal.split("/")[1] for signal in SENSORS if signal.endswith("/heating")]
EPOCH_NS = 1_705_500_000 * NS_PER_S
SECONDS = 40
MINUTE_NS = 60 * NS_PER_S
ROOT = Path(__file__).resolve().parents[2]
COLD_MORNING_NS = round(datetime(2026, 1, 7, 6, tzinfo=UTC).timestamp()) * NS_PER_S  # gas boilers run then


def batch(sequence, rows):
    samples = Samples.from_rows(rows)
    message = common_pb2.Samples(
        tag_name=samples.names,
        tag=samples.tag.tolist(),
        source_time_ns=samples.source_time_ns.tolist(),
        value=samples.value.tolist(),
        quality=samples.quality.tolist(),
    )
    return ingestion_pb2.IngestRequest(producer="truth", sequence=sequence, samples=message)


def batches(truth):
    """A row of samples for every second of the plant."""
    for k in range(1, SECONDS + 1):
        truth.step(1.0)
        yield batch(k, truth.rows(EPOCH_NS + k * NS_PER_S))


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        assert os.environ.get("CI") != "true", "promtool is missing; on Debian: apt-get install prometheus"
        pytest.skip("promtool is not installed; on Debian: apt-get install prometheus")
    return found


@pytest.fixture
async def running(tmp_path):
    async with serving(VALLEE, tmp_path, Metrics()) as server:
        yield server


async def test_the_served_network_is_followed_second_by_second_by_what_its_sensors_say(running):
    truth = NetworkTruth(VALLEE.networks[0], SENSORS, seed=1)
    truth.begin(343.15, settle_s=3600.0)
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with (
        grpc.aio.insecure_channel(running.address, options=options) as channel,
        Client(running.address) as client,
    ):
        stub = ingestion_pb2_grpc.IngestionServiceStub(channel)
        watching = client.watch()
        first = asyncio.create_task(anext(watching))
        acknowledged = [response async for response in stub.Ingest(batches(truth))]
        assert [response.sequence for response in acknowledged] == list(range(1, SECONDS + 1))
        assert not any(response.rejections for response in acknowledged)
        async with asyncio.timeout(120.0):
            state = await first
            while state.plant_time_ns < EPOCH_NS + (SECONDS - 6) * NS_PER_S:
                state = await anext(watching)
        await watching.aclose()
        layout = await client.layout("valley")
        assets = await client.assets()
    # The last sample holds the twin no longer than three of its intervals, where a sensor is silent.
    seconds = (state.plant_time_ns - EPOCH_NS) / NS_PER_S
    assert seconds == round(seconds)
    true = truth.values()
    pairs = {s.compared_with: s.name for s in state.asset.signals if s.compared_with}
    assert {f"node/{station}/temperature" for station in STATIONS} <= set(pairs)
    off_k = np.array([state[twin] - state[measured] for measured, twin in pairs.items()])
    assert np.median(np.abs(off_k)) < 1.0
    heat_w = np.array([state[f"unit/{station}/heat"] for station in STATIONS])
    np.testing.assert_allclose(heat_w.sum(), sum(true[f"unit/{station}/heat"] for station in STATIONS), rtol=0.03)
    assert {f"node/{node.name}/temperature/twin" for node in layout.nodes} <= {s.name for s in state.asset.signals}
    # Of the factories those have a twin whose machines tell what they do.
    watched = [site.name for site in VALLEE.factories if is_watched(site)]
    assert [asset.name for asset in assets] == ["valley", *watched]


def uem_metrics(metrics):
    """Value by name and labels of what alert rules look at."""
    wanted = ("uem_unit_heat_watts", "uem_machine_state_number")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in metrics.collect()
        if metric.name in wanted
        for sample in metric.samples
    }


def alerts(promtool, folder, scraped):
    """Alerts of the shipped rules that fire in the end, of metrics as they were scraped each minute of plant time."""
    series = []
    for name, labels in scraped[-1]:
        chosen = ",".join(f'{label}="{value}"' for label, value in labels)
        values = " ".join(f"{found.get((name, labels), math.nan):g}" for found in scraped)
        series += [f"      - series: '{name}{{{chosen}}}'", f"        values: '{values}'"]
    lines = [f"rule_files: [{ROOT / 'monitoring' / 'alerts.yml'}]", "evaluation_interval: 1m", "tests:"]
    lines += ["  - interval: 1m", "    input_series:", *series, "    promql_expr_test:"]
    lines += ["      - expr: ALERTS", f"        eval_time: {len(scraped) - 1}m", "        exp_samples: []"]
    (folder / "live.yml").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [promtool, "test", "rules", "live.yml"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    found = re.findall(r"\{__name__=\"ALERTS\", ([^}]*)\}", done.stdout + done.stderr)
    labels = [dict(re.findall(r'(\w+)="([^"]*)"', some)) for some in found]
    return {
        (each["alertname"], each.get("unit") or each.get("machine"))
        for each in labels
        if each["alertstate"] == "firing"
    }


async def pass_by(count, living, faults, stub, states, scrape):
    """The valley is told to a server minute by minute of plant time, and what metrics say then is scraped."""
    for _ in range(count):
        living.step(60.0)
        batches = [batch((living.time_ns - living.begin_ns) // MINUTE_NS, faults.told(living.rows()))]
        assert [response async for response in stub.Ingest(iter(batches))]
        async with asyncio.timeout(120.0):
            while (await anext(states)).plant_time_ns < living.time_ns:
                pass
        scrape()


async def test_a_boiler_that_trips_and_a_furnace_that_stops_are_seen_in_state_forecast_ledger_and_alerts(
    tmp_path, promtool
):
    living, metrics = Living(VALLEE, begin_ns=COLD_MORNING_NS), Metrics()
    living.begin()
    faults = Faults(VALLEE, living)
    async with (
        serving(VALLEE, tmp_path / "state", metrics) as running,
        grpc.aio.insecure_channel(running.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel,
        Client(running.address) as client,
    ):
        stub, scraped = ingestion_pb2_grpc.IngestionServiceStub(channel), []
        living.step(60.0)
        assert [response async for response in stub.Ingest(iter([batch(1, living.rows())]))]
        plant = living, faults, stub, client.watch(["valley"]), lambda: scraped.append(uem_metrics(metrics))
        await pass_by(8, *plant)
        before = {asset: await client.state(asset) for asset in ("valley", "graphite-works")}
        expected_before = await client.forecast("valley", 3600.0)
        works_before = await client.forecast("graphite-works")
        faults.inject("trip", "gas-1")
        faults.inject("stop", "graphite-works/furnace-2")
        await pass_by(32, *plant)
        middle = await client.state("graphite-works")
        await pass_by(3, *plant)
        after = {asset: await client.state(asset) for asset in ("valley", "graphite-works")}
        expected_works = await client.forecast("graphite-works")
        expected = await client.forecast("valley", 3600.0)
        await plant[3].aclose()
    valley, works = after["valley"], after["graphite-works"]
    # State: the other boiler has taken over, the furnace is down.
    assert before["valley"]["unit/gas-1/heat"] > 1e6
    assert valley["unit/gas-1/heat"] == 0.0
    assert (valley["unit/gas-1/running"], valley["unit/gas-1/answers"], valley["unit/gas-2/answers"]) == (0.0, 0.0, 1.0)
    true_w = living.networks["valley"].values()["unit/gas-2/heat"]
    assert true_w > 3e6
    # What filled the pipes at the start is there yet.
    assert valley["unit/gas-2/heat"] == pytest.approx(true_w, rel=0.3)
    assert works["machine/furnace-2/state"] == works["machine/furnace-2/state/twin"]
    assert works["machine/furnace-2/state"] in (PackML.ABORTED, PackML.CLEARING)
    # Forecast: it stays so.
    heat_w = {series.signal: np.array(series.value) for series in expected.series}
    assert heat_w["unit/gas-1/heat"].max() < 1e3
    assert heat_w["unit/gas-2/heat"].min() > 1.5e6
    assert np.max({s.signal: s.value for s in expected_before.series}["unit/gas-1/heat"]) > 1e6
    power_w = [
        {s.signal: np.mean(s.value[:4]) for s in found.series}["power"] for found in (works_before, expected_works)
    ]
    assert power_w[1] < power_w[0]
    assert "graphite-works" in expected.method  # the network has heard of it
    # Ledger: neither counts any more, and it closes.
    gained_j = {
        unit: valley[f"unit/{unit}/energy"] - before["valley"][f"unit/{unit}/energy"] for unit in ("gas-1", "gas-2")
    }
    assert 0.0 <= gained_j["gas-1"] < 0.1 * gained_j["gas-2"]
    assert abs(valley["energy/imbalance"]) < 1e-9 * valley["energy/in"]
    taken_j = [works[f"machine/furnace-{k}/energy"] - middle[f"machine/furnace-{k}/energy"] for k in (1, 2)]
    assert taken_j[1] < 0.15 * taken_j[0]  # what its meter shows while it stands
    # Alerts: the shipped rules on what was scraped.
    found = alerts(promtool, tmp_path, scraped)
    assert found == {("UemUnitStopped", "gas-1"), ("UemMachineDown", "furnace-2")}
    assert alerts(promtool, tmp_path, scraped[:8]) == set()
