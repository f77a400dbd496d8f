"""Fault 9: samples that are out of order, double, late, of the future, no number, bad, of another unit or stuck."""

import asyncio
import math
import time

import numpy as np
import pytest

from uem.hardware_adapters.checks import CLASSES
from uem.twin_core.measurements import BAD, BAD_OUT_OF_RANGE, BAD_SENSOR_FAILURE, Samples
from uem.twin_core.twin import make_twin

SEMANTICS_CHANGED = 0x4000
S = 10**9


@pytest.fixture
async def plant(live_plant, tmp_path, shared_pki, monkeypatch):
    async with live_plant(tmp_path, shared_pki, monkeypatch) as running:
        yield running


async def stored(plant):
    """Everything in the history, as samples in order of time."""
    twin_tags = make_twin(plant.territory.asset("washer")).tags
    read = await plant.client.history(twin_tags)
    rows = [
        (tag, t, v, q)
        for tag, found in read.items()
        for t, v, q in zip(found.source_time_ns.tolist(), found.value.tolist(), found.quality.tolist(), strict=True)
    ]
    return Samples.from_rows(sorted(rows, key=lambda row: row[1]))


def in_order(plant, samples, until_ns):
    """The snapshot of a twin that had all samples in order, as it is at a time."""
    twin = make_twin(plant.territory.asset("washer"))
    twin.take(samples)
    return next(snapshot for snapshot in twin.advance() if snapshot.plant_time_ns == until_ns)


async def test_each_class_is_counted_and_the_estimate_is_that_of_what_is_believed(plant):
    counts = plant.link.checks.counts
    await plant.play(2.0)

    base_ns = plant.now_ns()
    await plant.write(time_ns=base_ns)
    repeated = plant.link.repeated
    row = plant.row()
    for _ in range(2):  # double
        await plant.write(row, time_ns=base_ns + S // 20)
    await plant.write(plant.row(power=math.nan))
    await plant.write(plant.row(tank=math.inf))
    await plant.write(plant.row(tank=900.0))
    await plant.write(plant.row(), (0, BAD_SENSOR_FAILURE, 0, 0))
    await plant.write(plant.row(), (0, SEMANTICS_CHANGED, 0, 0))
    future_ns = (plant.now_ns() + 2 * 3600 * S) // 1000 * 1000
    await plant.write(time_ns=future_ns)
    await plant.until(lambda: counts["future"] and counts["unit_changed"] and counts["not_finite"] >= 2)
    await plant.play_rows(150)  # enough noise to know the sensor
    await plant.play_rows(150, power=3333.0)
    await plant.until(lambda: counts["stuck"])

    # Late: the twin has gone past these times when they come.
    late_ns = (base_ns + S) // 1000 * 1000  # servers give whole microseconds
    await plant.until(lambda: plant.states[-1].plant_time_ns > late_ns + 2 * S)
    for k in range(3, 0, -1):  # and in wrong order among themselves
        await plant.write(plant.row(power=9000.0), time_ns=late_ns + k * S // 50)
    before = plant.again()
    await plant.until(lambda: plant.again() > before)
    since = len(plant.states)
    await plant.until(lambda: len(plant.states) > since + 2)
    await asyncio.sleep(1.0)  # what was written is on disk

    assert all(counts[name] for name in CLASSES), counts
    assert plant.link.repeated >= repeated
    assert plant.link.bad_quality > 0
    state, samples = plant.states[-1], await stored(plant)
    found = {(tag, t): q for tag, t, _, q in samples.rows()}
    assert {("washer/power", late_ns + k * S // 50) for k in (1, 2, 3)} <= found.keys()
    qualities = set(found.values())
    assert {BAD, BAD_OUT_OF_RANGE, BAD_SENSOR_FAILURE} <= qualities
    assert ("washer/power", future_ns) in found
    believed = samples.take(samples.source_time_ns <= time.time_ns() + 60 * S)
    right = in_order(plant, believed, state.plant_time_ns)
    own = [i for i, signal in enumerate(state.asset.signals) if signal.source != "measured"]
    np.testing.assert_array_equal(state.value[own], right.value[own])
