import math

import numpy as np
import pytest

from uem.twin_core.errors import ModelFailure
from uem.twin_core.follow.network import UNFLUSHED_SD_K, NetworkFollower
from uem.twin_core.measurements import (
    GOOD,
    NS_PER_S,
    UNCERTAIN,
    UNCERTAIN_SENSOR_NOT_ACCURATE,
    Samples,
    is_good,
)
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK
from uem.twin_core.twin import AssetTwin

PIPE = PipeClass(
    name="dn50",
    inner_diameter_m=0.05,
    outer_diameter_m=0.056,
    wall_density_kg_m3=7850.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=4.0,
)


def network(**options):
    """Source, a junction and a consumer in a row; with `balance` the junction takes the rest."""
    balance = options.pop("balance", False)
    return Network(
        name="row",
        nodes=(
            Node(name="plant", kind=NodeKind.SOURCE, temperature_tag="t0", flow_tag="m0" if balance else ""),
            Node(name="mid", kind=NodeKind.BALANCE if balance else NodeKind.JUNCTION),
            Node(name="house", kind=NodeKind.CONSUMER, temperature_tag="t2", flow_tag="m2", minimum_flow_kg_s=0.01),
        ),
        pipes=(
            Pipe(name="first", start="plant", end="mid", length_m=50.0, pipe_class="dn50"),
            Pipe(name="second", start="mid", end="house", length_m=50.0, pipe_class="dn50"),
        ),
        pipe_classes=(PIPE,),
        ambient_temperature_tag="ground",
        **options,
    )


def rows(seconds, **columns):
    return Samples.from_rows(
        (tag, s * NS_PER_S, float(value(s) if callable(value) else value), GOOD)
        for s in seconds
        for tag, value in columns.items()
    )


def run(plan, samples, **options):
    twin = AssetTwin(NetworkFollower(plan), **options)
    twin.take(samples)
    return twin, twin.advance()


def values(twin, snapshot):
    return dict(zip([s.name for s in twin.signals], snapshot.value.tolist(), strict=True))


def column(twin, snapshots, name, field="value"):
    i = [s.name for s in twin.signals].index(name)
    return np.array([getattr(s, field)[i] for s in snapshots])


STEADY = {"t0": 350.0, "m2": 0.5, "ground": 280.0, "t2": 349.0}


def test_the_steady_temperature_of_a_consumer_is_the_textbook_one():
    twin, snapshots = run(network(), rows(range(0, 7201, 60), **STEADY))
    conductance = 100.0 / PIPE.loss_resistance_mk_w
    expected = 280.0 + 70.0 * math.exp(-conductance / (0.5 * HEAT_CAPACITY_J_KGK))
    assert values(twin, snapshots[-1])["node/house/temperature/twin"] == pytest.approx(expected, abs=0.02)


def test_heat_loss_is_what_comes_in_less_what_goes_out_in_the_steady_state():
    twin, snapshots = run(network(), rows(range(0, 7201, 60), **STEADY))
    value = values(twin, snapshots[-1])
    heat_in = 0.5 * HEAT_CAPACITY_J_KGK * (350.0 - 273.15)
    assert value["heat_loss"] == pytest.approx(heat_in - value["node/house/heat"], rel=0.002)
    assert abs(value["energy/imbalance"]) <= 1e-9 * value["energy/in"]


def test_the_balance_node_takes_what_the_consumers_leave_over():
    twin, snapshots = run(network(balance=True), rows(range(0, 601, 60), m0=2.0, **STEADY))
    value = values(twin, snapshots[-1])
    assert value["pipe/first/flow"] == pytest.approx(2.0)
    assert value["pipe/second/flow"] == pytest.approx(0.5)
    twin, snapshots = run(network(balance=True), rows(range(0, 601, 60), m0=0.2, **STEADY))
    assert values(twin, snapshots[-1])["pipe/first/flow"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("flows", "contradictory"),
    [
        ({"m0": 2.0}, False),
        ({"m0": 0.48}, False),  # 0.02 less than the consumer takes: what two meters of 3 % may differ by
        ({"m0": 0.45}, True),
        ({"m0": 2.0, "m2": -0.005}, False),  # noise of a meter in standing water
        ({"m0": 2.0, "m2": -0.2}, True),
    ],
)
def test_flows_that_contradict_each_other_are_counted_and_make_the_estimates_uncertain(flows, contradictory):
    twin, snapshots = run(network(balance=True), rows(range(0, 7201, 60), **(STEADY | flows)))
    assert twin.contradiction_count == (len(snapshots) - 1) * contradictory
    for name in ("pipe/first/flow", "energy/in", "energy/imbalance"):
        assert column(twin, snapshots, name, "quality")[-1] == (UNCERTAIN if contradictory else GOOD)
    assert column(twin, snapshots, "node/plant/flow", "quality")[-1] == GOOD
    claimed = column(twin, snapshots, "energy/in", "standard_deviation")[-1]
    energy_j = column(twin, snapshots, "energy/in")[-1]
    assert (claimed > 0.9 * energy_j) == contradictory
    before = twin.contradiction_count
    twin.forecast()
    assert twin.contradiction_count == before


def test_the_first_profile_lies_between_the_measured_temperatures_and_is_uncertain_until_flushed():
    samples = rows(range(0, 3601, 60), **(STEADY | {"t2": lambda s: 349.0 if s else 320.0}))
    twin, snapshots = run(network(), samples)
    assert values(twin, snapshots[0])["node/house/temperature/twin"] == 320.0
    sd = column(twin, snapshots, "node/house/temperature/twin", "standard_deviation")
    quality = column(twin, snapshots, "node/house/temperature/twin", "quality")
    assert sd[0] == UNFLUSHED_SD_K
    assert quality[0] == UNCERTAIN
    assert sd[-1] < UNFLUSHED_SD_K
    assert is_good(int(quality[-1]))


def test_inputs_between_samples_lie_on_the_straight_line():
    twin, snapshots = run(network(), rows([0, 600], **(STEADY | {"m2": lambda s: 0.4 + s / 6000})))
    flow = column(twin, snapshots, "pipe/first/flow")
    np.testing.assert_allclose(flow[1:], 0.4 + (np.arange(10) + 0.5) * 0.01, rtol=1e-12)


def test_a_sensor_in_standing_water_is_not_judged_until_an_hour_after_the_water_moves_again():
    samples = rows(range(0, 12001, 60), **(STEADY | {"m2": lambda s: 0.001 if 2000 < s < 4000 else 0.5}))
    twin, snapshots = run(network(), samples)
    quality = column(twin, snapshots, "node/house/temperature", "quality")
    time_s = np.array([s.plant_time_ns / NS_PER_S for s in snapshots])
    unfit = time_s[quality == UNCERTAIN_SENSOR_NOT_ACCURATE]
    assert (unfit.min(), unfit.max()) == (2040.0, pytest.approx(7560.0, abs=60))
    assert column(twin, snapshots, "pipe/second/flow")[50] == 0.0


def test_a_forecast_shifts_by_the_bias_and_teaches_itself_nothing_from_standing_water():
    plan = network(forecast_horizon_s=1800.0, forecast_step_s=300.0)
    measured = STEADY | {"t2": 330.0}
    twin, snapshots = run(plan, rows(range(0, 14401, 60), **measured))
    bias = values(twin, snapshots[-1])["node/house/temperature/bias"]
    assert bias == pytest.approx(330.0 - values(twin, snapshots[-1])["node/house/temperature/twin"], abs=0.05)
    series = {s.signal: s for s in twin.forecast().series}
    np.testing.assert_allclose(series["node/house/temperature"].value, 330.0, atol=0.05)
    assert is_good(series["node/house/temperature"].quality)
    standing, _ = run(plan, rows(range(0, 14401, 60), **(measured | {"m2": 0.0})))
    series = {s.signal: s for s in standing.forecast().series}
    assert series["node/house/temperature"].residual_count == 0
    assert series["node/house/temperature"].quality == UNCERTAIN
    assert (series["node/house/flow"].quantile >= 0).all()


def test_what_the_twin_is_off_by_now_fades_from_lead_to_lead_into_the_bias():
    plan = network(forecast_horizon_s=3600.0, forecast_step_s=300.0)
    twin, snapshots = run(plan, rows(range(0, 14401, 60), **(STEADY | {"t2": lambda s: 345.0 + 4.0 * (s == 14400)})))
    value = values(twin, snapshots[-1])
    steady, bias = value["node/house/temperature/twin"], value["node/house/temperature/bias"]
    (series,) = [s for s in twin.forecast().series if s.signal == "node/house/temperature"]
    excess = 349.0 - steady - bias
    expected = steady + bias + excess * np.exp(-300.0 * np.arange(1, 13) / 1800.0)
    np.testing.assert_allclose(series.value, expected, atol=1e-3)


def test_a_forecast_temperature_is_that_of_its_valid_time_not_the_mean_of_the_step_before():
    plan = network(forecast_horizon_s=1800.0, forecast_step_s=600.0)
    samples = rows(range(0, 14401, 60), **(STEADY | {"t0": lambda s: 350.0 - 5.0 * (s > 14200)}))
    twin, _ = run(plan, samples)
    project, issue_ns = twin._follower.project, 14400 * NS_PER_S
    coarse, fine = (project(twin._intake, issue_ns, step_s, 1800 // step_s)[:, 0] for step_s in (600, 60))
    np.testing.assert_allclose(coarse, fine[9::10], atol=0.02)
    assert abs(coarse[0] - fine[4]) > 0.1  # the middle of the step is something else


def test_flows_that_fall_silent_make_the_ledgers_as_uncertain_as_the_network_is_large():
    samples = rows(range(0, 7201, 60), **STEADY)
    twin, snapshots = run(network(), samples)
    power_w = column(twin, snapshots, "energy/in")[-1] / 7200
    assert column(twin, snapshots, "energy/in", "standard_deviation")[-1] == pytest.approx(0.03 * 7200 * power_w)
    assert is_good(int(column(twin, snapshots, "energy/in", "quality")[-1]))
    silent = STEADY.copy()
    del silent["m2"]
    twin.take(rows(range(7260, 28801, 60), **silent))
    twin.take(rows(range(28860, 36001, 60), **STEADY))
    back = twin.advance()
    assert is_good(int(column(twin, back, "heat_loss", "quality")[-1]))
    unmeasured = column(twin, back, "pipe/first/flow", "quality") != GOOD
    assert 10_000 < 60 * unmeasured.sum() < 21_600
    for name, part in (("in", 0.03), ("out", 0.03), ("loss", 0.15)):
        total_j = column(twin, back, f"energy/{name}")[-1]
        sd_j = column(twin, back, f"energy/{name}", "standard_deviation")[-1]
        largest_w = np.abs(np.diff(column(twin, snapshots, f"energy/{name}"))).max() / 60
        assert sd_j == pytest.approx(part * total_j + 60 * unmeasured.sum() * largest_w, rel=0.02)
        assert column(twin, back, f"energy/{name}", "quality")[-1] == UNCERTAIN


def test_steps_that_fail_leave_no_residual_and_their_time_in_the_uncertainty_of_the_ledgers():
    class Failing(NetworkFollower):
        def write(self, intake, time_ns, columns):
            super().write(intake, time_ns, columns)
            if 6_000 <= time_ns // NS_PER_S < 6_600:
                raise ModelFailure("not finite")

    twins = [AssetTwin(kind(network())) for kind in (NetworkFollower, Failing)]
    for twin in twins:
        twin.take(rows(range(0, 9001, 60), **STEADY))
    healthy, failing = (twin.advance() for twin in twins)
    assert twins[1].failure_count == 10
    (well,), (after,) = (twin._follower._errors.values() for twin in twins)
    assert well.count - after.count == 10
    for name, part in (("in", 0.03), ("loss", 0.15)):
        total_j = column(twins[1], failing, f"energy/{name}")[-1]
        sd_j = column(twins[1], failing, f"energy/{name}", "standard_deviation")[-1]
        missing_j = column(twins[0], healthy, f"energy/{name}")[-1] - total_j
        assert sd_j == pytest.approx(part * total_j + missing_j, rel=0.02)
        assert column(twins[1], failing, f"energy/{name}", "quality")[-1] == UNCERTAIN


def test_heat_is_as_uncertain_as_its_flow_and_its_temperature_together():
    twin, snapshots = run(network(), rows(range(0, 7201, 60), **(STEADY | {"t2": 341.0})))
    heat_w = column(twin, snapshots, "node/house/heat")[-1]
    temperature_sd_k = column(twin, snapshots, "node/house/temperature/twin", "standard_deviation")[-1]
    of_temperature_w = 0.5 * HEAT_CAPACITY_J_KGK * temperature_sd_k
    assert of_temperature_w > 0.03 * heat_w
    sd_w = column(twin, snapshots, "node/house/heat", "standard_deviation")[-1]
    assert sd_w == pytest.approx(math.hypot(0.03 * heat_w, of_temperature_w))


BARS = {"2": 1.9, "3": 1.6, "4": 1.8}  # running, with data-sheet losses


WITHIN_ONE_SD = {"2": 0.59, "3": 0.64, "4": 0.67}  # as docs/models/twin.md tells it


def test_the_measured_branch_is_followed(pongau, recorded):
    twin, snapshots = run(pongau.asset("branch"), recorded("branch"), forecasts=False)
    time_s = np.array([(s.plant_time_ns - snapshots[0].plant_time_ns) / NS_PER_S for s in snapshots])
    for node, bar in BARS.items():
        name = f"node/{node}/temperature"
        rows = (time_s >= 10_000) & (time_s % 900 == 0) & (column(twin, snapshots, name, "quality") == GOOD)
        error = column(twin, snapshots, name + "/twin")[rows] - column(twin, snapshots, name)[rows]
        assert rows.sum() > 100
        assert np.sqrt(np.mean(error**2)) <= bar
        sd = column(twin, snapshots, name + "/twin", "standard_deviation")[rows]
        assert np.mean(np.abs(error) < sd) == pytest.approx(WITHIN_ONE_SD[node], abs=0.04)
    value = values(twin, snapshots[-1])
    assert abs(value["energy/imbalance"]) <= 1e-9 * value["energy/in"]
