import numpy as np
import pytest

from uem.twin_core.follow.machine import MachineFollower
from uem.twin_core.measurements import GOOD, NS_PER_S, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE, Samples
from uem.twin_core.plant.machine import Bath, Machine, MachineState
from uem.twin_core.twin import AssetTwin

PRESS = Machine(
    name="press",
    states=(MachineState(number=1, name="ready", power_w=100.0), MachineState(number=2, name="run", power_w=1000.0)),
    state_tag="state",
    power_tag="power",
    forecast_horizon_s=20.0,
    forecast_step_s=5.0,
)
WASHER = Machine(
    name="washer",
    states=(MachineState(number=1, name="ready", power_w=100.0),),
    state_tag="state",
    power_tag="power",
    bath=Bath(
        volume_m3=0.1,
        density_kg_m3=1000.0,
        heat_capacity_j_kgk=4000.0,
        heater_w=4000.0,
        loss_w_per_k=0.0,
        temperature_tag="tank",
        hall_temperature_tag="hall",
    ),
)


def rows(seconds, **columns):
    """One row per second; a column is a number or a function of the second."""
    return Samples.from_rows(
        (tag, s * NS_PER_S, float(value(s) if callable(value) else value), GOOD)
        for s in seconds
        for tag, value in columns.items()
    )


def run(machine, samples):
    twin = AssetTwin(MachineFollower(machine))
    twin.take(samples)
    snapshots = twin.advance()
    return twin, snapshots, dict(zip([s.name for s in twin.signals], snapshots[-1].value.tolist(), strict=True))


def test_time_and_energy_are_booked_on_the_state_of_the_sample_at_the_end_of_each_second():
    samples = rows(range(11), state=lambda s: 2 if 3 <= s < 7 else 1, power=500.0)
    _, snapshots, value = run(PRESS, samples)
    assert len(snapshots) == 11
    assert (value["state/1/time"], value["state/2/time"], value["state/unknown/time"]) == (6.0, 4.0, 0.0)
    assert (value["state/1/energy"], value["state/2/energy"]) == (600.0, 4000.0)
    assert value["energy/twin"] == 4600.0
    assert value["energy"] == 5000.0


def test_measured_power_tells_that_the_heater_is_on():
    samples = rows(range(101), state=1, power=4100.0, tank=330.0, hall=293.15)
    _, _, value = run(WASHER, samples)
    assert value["tank/temperature/twin"] == pytest.approx(330.0 + 100 * 4000.0 / 4e5)
    assert value["power/twin"] == 4100.0
    assert value["tank/temperature/bias"] == pytest.approx(-0.5, abs=0.1)


def test_a_gap_holds_the_last_state_and_ages():
    samples = rows([0, 1, 2, 9], state=lambda s: 2 if s < 9 else 1, power=1000.0)
    _, snapshots, value = run(PRESS, samples)
    assert len(snapshots) == 10
    assert value["state/2/time"] == 8.0
    assert snapshots[8].age_s[0] == 6.0


def test_a_stale_state_makes_everything_uncertain():
    twin, _, _ = run(PRESS, rows(range(3), state=1, power=100.0))
    twin.take(rows(range(3, 60), power=100.0))
    late = twin.advance()[-1]
    own = [i for i, s in enumerate(twin.signals) if s.name in ("state", "power/twin", "energy")]
    assert (late.quality[own] == UNCERTAIN_LAST_USABLE_VALUE).all()
    power = next(i for i, s in enumerate(twin.signals) if s.name == "power")
    assert late.quality[power] == GOOD


def figures(twin, snapshot, name):
    i = next(i for i, s in enumerate(twin.signals) if s.name == name)
    return snapshot.value[i], snapshot.standard_deviation[i], snapshot.quality[i]


def test_a_silent_meter_makes_the_energy_as_uncertain_as_the_machine_is_large():
    twin, _, _ = run(PRESS, rows(range(901), state=1, power=100.0))
    twin.take(rows(range(901, 7201), state=1))
    silent = twin.advance()[-1]
    silent_s = 7200 - 5 - 900  # silence is waited for 5 s
    held_s = silent_s - 15  # its first 15 s are what a server that reports by exception does
    energy_j, sd_j, quality = figures(twin, silent, "energy")
    assert energy_j == (900 + silent_s) * 100.0
    assert sd_j == pytest.approx(0.01 * energy_j + held_s * 1000.0)
    assert quality != GOOD
    twin.take(rows(range(7201, 7301), state=1, power=100.0))
    back = twin.advance()[-1]
    assert figures(twin, back, "power/twin")[2] == GOOD
    assert figures(twin, back, "energy")[2] == UNCERTAIN
    assert figures(twin, back, "energy/twin")[2] == UNCERTAIN
    assert figures(twin, back, "state/1/time")[1] >= held_s


def test_one_second_in_a_hundred_may_be_missing_from_a_good_ledger():
    samples = [(tag, s * NS_PER_S, v, GOOD) for s in range(101) for tag, v in (("state", 1.0), ("power", 100.0))]
    for bad, expected in (([50], GOOD), ([50, 60], UNCERTAIN)):
        found = [(t, s, v, 0x80000000 if t == "power" and s // NS_PER_S in bad else q) for t, s, v, q in samples]
        twin, snapshots, _ = run(PRESS, Samples.from_rows(found))
        assert figures(twin, snapshots[-1], "energy")[2] == expected


def test_the_uncertainty_of_the_twins_energy_grows_with_its_bias():
    twin, snapshots, value = run(PRESS, rows(range(101), state=1, power=130.0))
    assert value["power/bias"] == 30.0
    energy_j, sd_j, _ = figures(twin, snapshots[-1], "energy/twin")
    assert energy_j == 100 * 100.0
    assert sd_j == pytest.approx(30.0 * 100 + 0.01 * energy_j)


def test_measured_energy_is_power_times_the_length_of_the_step():
    twin = AssetTwin(MachineFollower(PRESS), step_s=5.0)
    twin.take(rows(range(101), state=1, power=130.0))
    assert figures(twin, twin.advance()[-1], "energy")[0] == 100 * 130.0


def test_a_forecast_holds_the_state_and_names_its_prior():
    twin, _, _ = run(PRESS, rows(range(3), state=2, power=1000.0))
    forecast = twin.forecast()
    assert forecast.issue_time_ns == 2 * NS_PER_S
    (power,) = forecast.series
    assert power.signal == "power"
    np.testing.assert_array_equal(power.valid_time_ns, [(2 + 5 * k) * NS_PER_S for k in (1, 2, 3, 4)])
    np.testing.assert_array_equal(power.value, 1000.0)
    assert (np.diff(power.quantile, axis=1) >= 0).all()
    assert (power.quantile >= 0).all()
    assert power.residual_count == 0


def test_forecasts_of_power_are_judged_by_the_mean_that_was_measured_in_their_step():
    duty = rows(range(2001), state=1, power=lambda s: 400.0 if s % 5 < 2 else 50.0)
    twin, _, _ = run(PRESS, duty)
    (power,) = twin.forecast().series
    assert power.residual_count == 200
    mean_w = (2 * 400.0 + 3 * 50.0) / 5
    np.testing.assert_allclose(power.quantile, mean_w)
    twin.take(Samples.from_rows([("power", 2001 * NS_PER_S, 50.0, 0x80000000), ("state", 2001 * NS_PER_S, 1.0, GOOD)]))
    twin.take(rows(range(2002, 2006), state=1, power=1e6))
    twin.advance()
    np.testing.assert_allclose(twin.forecast().series[0].quantile, mean_w)  # with a hole a mean is none


def test_the_measured_cleaning_machine_is_followed(pongau, recorded):
    twin, snapshots, value = run(pongau.asset("washer"), recorded("washer"))
    values = np.array([s.value for s in snapshots])
    at = {s.name: i for i, s in enumerate(twin.signals)}
    error = values[:, at["tank/temperature/twin"]] - values[:, at["tank/temperature"]]
    assert np.sqrt(np.mean(error**2)) <= 0.2
    assert abs(value["energy/twin"] / value["energy"] - 1) <= 0.02
    assert value["state/3/time"] == pytest.approx(600, abs=5)
    assert sum(v for k, v in value.items() if k.endswith("/time")) == pytest.approx(len(snapshots) - 1)
