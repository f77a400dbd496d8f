"""Fault 8: a plant whose clock steps by an hour in both directions, as by a wrong summer time, and repeats a second."""

import re
import time
from itertools import pairwise

import numpy as np
import pytest

from uem.twin_core.measurements import UNCERTAIN

HOUR_S = 3600.0


@pytest.fixture
async def plant(live_plant, tmp_path, shared_pki, monkeypatch):
    async with live_plant(tmp_path, shared_pki, monkeypatch) as running:
        yield running


def ledgers(plant):
    """Of all states in order: the count that they are of, time, and the ledgers as a table."""
    columns = [i for i, signal in enumerate(plant.states[0].asset.signals) if signal.source == "ledger"]
    return [
        ((state.ledger_since_ns, plant.estimate(state)), state.plant_time_ns, state.value[columns])
        for state in plant.states
    ]


async def test_no_energy_interval_is_negative_both_times_are_kept_and_it_is_told(plant):
    await plant.play(3.0)
    for step, shift_s in enumerate((HOUR_S, 0.0, -HOUR_S, 0.0), start=1):
        plant.shift_s = shift_s
        began_ns = time.time_ns()
        times = await plant.play(1.0)
        await plant.until(lambda step=step: plant.link.source_clock.jumps == step)
        if shift_s > 0:
            ahead = times[0], began_ns
    plant.shift_s = -1.0  # a second that is there twice
    await plant.play(3.0)
    seen = len(plant.states)
    await plant.until(lambda: len(plant.states) > seen + 2)

    # Time and ledgers of the twin: never back, never into the future. An hour ago is late, so it was counted again.
    rows, held = ledgers(plant), 0
    assert all(time_ns <= time.time_ns() + 10**9 for _, time_ns, _ in rows)
    for (count_before, time_before_ns, before), (count, time_ns, values) in pairwise(rows):
        assert time_ns >= time_before_ns
        if count == count_before:
            assert (np.nan_to_num(values - before) >= -1e-9).all()
            held += 1
    assert held > 2
    assert np.isfinite(plant.states[-1]["energy"])

    # Both times: the stamp of the plant is in the history, doubtful where it cannot be; when it came is our time.
    tags = [tag.name for tag in await plant.client.tags()]
    read = (await plant.client.history(tags, ahead[0], ahead[0] + 60 * 10**9))["washer/power"]
    assert len(read.value)
    assert set(read.quality.tolist()) == {UNCERTAIN}
    assert abs(ahead[0] - ahead[1] - HOUR_S * 1e9) < 10e9

    # It is told.
    status = await plant.client.status()
    clock = status.gateways[0].plants[0].source_clock
    assert (clock.state, clock.jumps) == ("jumped", 4)
    assert status.gateways[0].plants[0].server_clock.jumps == 0
    assert status.gateways[0].plants[0].checks["future"] > 0
    exported = [sample for family in plant.gateway.families() for sample in family.samples]
    (jumps,) = [s.value for s in exported if re.search("clock_jumps", s.name) and s.labels.get("clock") == "source"]
    assert jumps == 4
