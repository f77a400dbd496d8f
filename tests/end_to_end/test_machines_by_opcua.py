"""Machines behind real OPC UA servers: a line, a shop with batches and a furnace, the measured cleaning machine."""

import asyncio
import runpy
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.simulator.recording import read_recording
from uem.hardware_adapters.simulator.server import PlantServer, columns_of, with_speed
from uem.offline.validate.production import read_recording as read_measured
from uem.territories.load import load
from uem.twin_core.measurements import is_good
from uem.twin_core.production.plan import STATES
from uem.twin_core.twin import make_twin

_FOLLOW = Path(__file__).resolve().parents[1] / "twin_core" / "follow"
_SHOPS = runpy.run_path(str(_FOLLOW / "shops.py"))
line, plant, territory, columns, value = (_SHOPS[k] for k in ("line", "plant", "territory", "columns", "value"))
NAMES = _SHOPS["NAMES"]

HOURS = 3.0
# What the plant is in truth: another seed than any forecast, a slower mill, other failures and repairs.
TRUTH = line(cycles_s=(50.0, 72.0, 55.0, 52.0), to_fail_s=2400.0, to_repair_s=450.0, scrap=0.03)


async def followed(known, plant_name, asset, speed, pki):
    """The twin of an asset that followed the recording of a plant through OPC UA, once, and its snapshots."""
    described = next(plant for plant in known.plants if plant.name == plant_name)
    described = replace(described, recording=replace(described.recording, loop=False))
    bindings = [binding for binding in known.tags if binding.plant == plant_name]
    recording = read_recording(
        described.recording.path, described.recording.time_column, columns_of(bindings, plant_name)
    )
    last_ns = described.recording.epoch_ns + int(recording.time_ns[-1])
    twin, snapshots = make_twin(known.asset(asset)), []
    async with (
        PlantServer(with_speed(described, speed), bindings, pki.simulator) as server,
        OpcUaAdapter(server.endpoint, bindings, pki.gateway, publish_interval_ms=50.0) as adapter,
        asyncio.timeout(300),
    ):
        playing = asyncio.create_task(server.play(recording))
        async for samples in adapter.batches():
            twin.take(samples)
            snapshots += twin.advance()
            if samples.source_time_ns[-1] >= last_ns:
                break
        assert adapter.dropped == 0
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing
    assert twin.failure is None
    return twin, snapshots


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(folder of the territory, plan of the true plant)."""
    folder = tmp_path_factory.mktemp("shop")
    rows, plan, _ = plant(TRUTH, seed=11, until_s=HOURS * 3600.0)
    territory(folder, rows)
    return folder, plan


async def test_a_line_is_followed_by_its_packml_states_and_counters_and_learned_from(shop, shared_pki):
    folder, plan = shop
    twin, snapshots = await followed(load(folder), "hall", "line", HOURS * 3600.0 / 8.0, shared_pki)
    end_s = (snapshots[-1].plant_time_ns - snapshots[0].plant_time_ns) / 1e9
    assert end_s > HOURS * 3600.0 - 120.0
    told = plan.initial_run(seed=11)
    plan.run(told, end_s)
    ledger = plan.ledger(told)
    for m, name in enumerate(NAMES):
        assert value(twin, f"machine/{name}/good") == ledger.made[0, m] - ledger.scrapped[0, m]
        assert value(twin, f"machine/{name}/energy") == pytest.approx(ledger.energy_j[0, m].sum(), rel=0.005)
        true_s = TRUTH.machines[m].cycle.mean
        assert value(twin, f"machine/{name}/cycle_time") == pytest.approx(true_s, rel=0.03)
        assert (int(value(twin, f"machine/{name}/drift")) & 1) == (name == "mill")
    # In the plant's own states 95 % of the time, nothing had to be brought together by force.
    assert value(twin, "resyncs") == 0.0
    for name in NAMES:
        seen, predicted = (columns(snapshots, twin, f"machine/{name}/state{end}") for end in ("", "/twin"))
        assert (seen == predicted).mean() > 0.95
    k = [s.name for s in twin.signals].index("power")
    assert is_good(int(twin.snapshot.quality[k]))
    assert 0.0 <= twin.snapshot.age_s[k] < 600.0
    assert ledger.time_s[0, :, STATES.index("down")].sum() > 0.0


async def test_slots_batches_and_a_furnace_are_followed_by_what_their_controllers_tell(shared_pki):
    recorded = runpy.run_path(str(_FOLLOW / "recorded.py"))
    hours = 4.0
    twin, snapshots = await followed(load("quartier"), "shop", "hardening-shop", hours * 3600.0 / 8.0, shared_pki)
    assert (snapshots[-1].plant_time_ns - snapshots[0].plant_time_ns) / 1e9 > hours * 3600.0 - 120.0
    plan, run = recorded["true_run"](hours)
    ledger = plan.ledger(run)
    for m, name in enumerate(plan.machines):
        assert value(twin, f"machine/{name}/good") == pytest.approx(ledger.made[0, m] - ledger.scrapped[0, m], abs=3)
        # How much heat the lining of the furnace holds at the beginning is seen by nobody.
        error = 0.08 if name == "tempering" else 0.02
        assert value(twin, f"machine/{name}/energy") == pytest.approx(ledger.energy_j[0, m].sum(), rel=error), name
        seen, predicted = (columns(snapshots, twin, f"machine/{name}/state{end}") for end in ("", "/twin"))
        assert (seen == predicted).mean() > 0.95, name
    for name in ("furnaces-1", "furnaces-2", "tempering"):
        works = columns(snapshots, twin, f"machine/{name}/state") == 4.0
        parts, own = (columns(snapshots, twin, f"machine/{name}/batch{end}") for end in ("", "/twin"))
        assert (parts == own)[works].mean() > 0.95, name
    chamber_k, own_k = (columns(snapshots, twin, f"machine/tempering/temperature{end}") for end in ("", "/twin"))
    assert np.sqrt(np.mean((chamber_k - own_k) ** 2)) < 5.0  # the recording tells it once a minute
    assert value(twin, "resyncs") <= 3.0


async def test_the_cleaning_machine_is_within_2_percent_by_state_and_its_bath_within_0_3_k(shared_pki):
    pongau = load("pongau")
    twin, snapshots = await followed(pongau, "machine", "washer", 10.0, shared_pki)
    recording = next(plant.recording for plant in pongau.plants if plant.name == "machine")
    measured = read_measured(Path(recording.path))
    assert len(snapshots) > 0.99 * len(measured.time_s)
    # What came through OPC UA in each step, by the state that it came with.
    dt_s = np.diff([s.plant_time_ns for s in snapshots]) / 1e9
    state, power_w = columns(snapshots, twin, "state")[1:], columns(snapshots, twin, "power")[1:]
    for known in pongau.asset("washer").states:
        true_j = (power_w * dt_s)[state == known.number].sum()
        if true_j > 0.0:
            assert value(twin, f"state/{known.number}/energy") == pytest.approx(true_j, rel=0.02), known.name
    assert value(twin, "energy/twin") == pytest.approx(float(measured.power_w @ measured.dt_s), rel=0.02)
    error_k = columns(snapshots, twin, "tank/temperature/twin") - columns(snapshots, twin, "tank/temperature")
    assert np.sqrt(np.mean(error_k**2)) <= 0.3
