"""A network as it really is, and what its instruments show of it."""

import numpy as np
import pytest
from shipped import shipped

from uem.hardware_adapters.simulator.truth import EXACT, NetworkTruth, Unlike, unlike
from uem.twin_core.measurements import is_bad

QUARTIER = shipped("quartier").networks[0]
SENSORS = {f"node/{node.name}/temperature": f"T-{node.name}" for node in QUARTIER.nodes}
SENSORS |= {f"unit/{unit.name}/heat": f"Q-{unit.name}" for unit in QUARTIER.units}


def rows(seed, how=None, steps=20):
    truth = NetworkTruth(QUARTIER, SENSORS, seed=seed, how=how)
    truth.begin(333.15)
    found = []
    for k in range(steps):
        truth.step(60.0)
        found.append({tag: value for tag, _, value, _ in truth.rows(k)})
    return truth, found


def test_the_same_seed_tells_the_same_and_another_one_something_else():
    (_, one), (_, again), (_, other) = rows(1), rows(1), rows(2)
    assert one == again
    assert one != other


def test_exact_instruments_show_what_is_so():
    truth, found = rows(1, EXACT)
    true = truth.values()
    assert {SENSORS[signal]: true[signal] for signal in SENSORS} == found[-1]


def test_instruments_are_off_by_what_is_stated():
    how = Unlike(drifting=0.0, lost_every_s=np.inf)
    off = []
    for seed in range(20):
        truth, found = rows(seed, how, steps=2)
        true = truth.values()
        off += [found[-1][tag] - true[s] for s, tag in SENSORS.items() if s.startswith("node") and tag in found[-1]]
    sd_k = np.hypot(np.hypot(how.temperature_bias_k, how.temperature_noise_k), how.temperature_digit_k / np.sqrt(12))
    assert np.std(off) == pytest.approx(sd_k, rel=0.1)


def test_sensors_fail_tell_so_and_come_back():
    how, tag = Unlike(lost_every_s=1800.0), next(iter(SENSORS.values()))
    truth, _ = rows(1, how, steps=0)
    failed = []
    for k in range(720):
        truth.step(10.0)
        ((value, quality),) = [row[2:] for row in truth.rows(k) if row[0] == tag]
        failed.append(is_bad(quality))
        assert np.isnan(value) == failed[-1]
    assert 0 < sum(failed) < len(failed) / 2
    assert not all(failed[failed.index(True) :])


def test_pipes_and_ground_differ_within_their_bounds_and_not_at_all_when_told_so():
    rng = np.random.default_rng(1)
    other, how = unlike(QUARTIER, Unlike(), rng), Unlike()
    for one, another in zip(QUARTIER.pipe_classes, other.pipe_classes, strict=True):
        assert 0.0 < abs(another.loss_factor / one.loss_factor - 1.0) <= how.insulation
        assert 1 / (1 + how.roughness) <= another.roughness_m / one.roughness_m <= 1 + how.roughness
    assert other.ambient_temp_k != QUARTIER.ambient_temp_k
    assert unlike(QUARTIER, EXACT, rng) == QUARTIER
