"""The planning kernel against exact solutions, its ledgers, its bounds and its NumPy oracle."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import Pipe, PipeClass
from uem.twin_core.thermal.geometry import pipe_geometry
from uem.twin_core.thermal.reference_rings import ReferenceRings
from uem.twin_core.thermal.rings import ENERGY_ZERO_K, HEAT_CAPACITY_J_KGK, MEMO_NUMBERS, Rings

STEEL = PipeClass(
    name="steel",
    inner_diameter_m=0.1,
    outer_diameter_m=0.107,
    wall_density_kg_m3=7800.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=3.0,
)
# No wall, no loss, no dispersion: pure transport.
IDEAL = replace(STEEL, wall_density_kg_m3=1e-9, loss_resistance_mk_w=1e15, dispersion_factor=0.0)
AMBIENT_K = 283.15
# A record: temperatures of both tanks, one more than there are plugs with the sense of the flow as sign, then mass,
# temperature, slope and steepness of every plug.
HEAD, PLUG = 3, 4


def geometry(length_m=100.0, pipe_class=STEEL, cells=None):
    return pipe_geometry(Pipe(name="p", start="a", end="b", length_m=length_m, pipe_class="steel"), pipe_class, cells)


class Bank:
    """Several pipes with one member and room for results."""

    def __init__(self, geometries, start_k=330.0, end_k=None):
        count = len(geometries)
        end_k = start_k if end_k is None else end_k
        self.rings = Rings(geometries)
        self.rows = np.zeros((1, self.rings.width))
        self.memos = np.full((1, count * MEMO_NUMBERS), np.nan)
        self.mass, self.heat = np.zeros((count, 1)), np.zeros((count, 1))
        self.loss, self.energy = np.zeros(1), np.zeros(1)
        self.tank_kg, self.ring_kg = self.rings.masses_kg()
        start, end = (np.broadcast_to(np.asarray(t, dtype=float), count)[:, None].copy() for t in (start_k, end_k))
        self.rings.fill(self.rows, start, end)

    def step(self, mass_kg, temp_k, dt_s, ambient_k=AMBIENT_K, in_halves=False):
        """Advance; the temperature that came out of every pipe (NaN where nothing did)."""
        shape = (self.rings.count, 1)
        mass = np.zeros(shape) + np.asarray(mass_kg, dtype=float).reshape(-1, 1)
        temps = np.zeros(shape) + np.asarray(temp_k, dtype=float).reshape(-1, 1)
        advance = self.rings.advance_in_halves if in_halves else self.rings.advance
        advance(self.rows, self.memos, mass, temps, dt_s, np.array([ambient_k]), self.mass, self.heat, self.loss)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.heat / self.mass)[:, 0]

    def whole_kg(self, pipe=0):
        return self.ring_kg[pipe] + 2.0 * self.tank_kg[pipe]

    def energy_j(self):
        self.rings.energy_j(self.rows, self.energy)
        return float(self.energy[0])


def heat_j(mass_kg, temp_k):
    return HEAT_CAPACITY_J_KGK * mass_kg * (temp_k - ENERGY_ZERO_K)


@pytest.mark.parametrize("sense", [1.0, -1.0])
@pytest.mark.parametrize("dt_s", [1.0, 7.0, 60.0, 900.0])
@pytest.mark.parametrize("flow_kg_s", [0.3, 1.0, 4.0])
def test_a_steady_stream_cools_exponentially(flow_kg_s, dt_s, sense):
    g = geometry(150.0)
    bank = Bank([g], 300.0)
    for _ in range(int(6 * bank.whole_kg() / (flow_kg_s * dt_s)) + 20):
        outlet = bank.step(sense * flow_kg_s * dt_s, 360.0, dt_s)[0]
    drop = exp(-g.cells * g.loss_w_k / (flow_kg_s * HEAT_CAPACITY_J_KGK))
    assert outlet == pytest.approx(AMBIENT_K + (360.0 - AMBIENT_K) * drop, abs=1e-6)
    assert bank.loss[0] == pytest.approx(flow_kg_s * dt_s * HEAT_CAPACITY_J_KGK * (360.0 - outlet), rel=1e-4)


@pytest.mark.parametrize("dt_s", [1.0, 60.0, 3600.0])
def test_water_at_rest_decays_with_the_time_constant_of_water_and_wall(dt_s):
    g = geometry()
    bank = Bank([g], 350.0)
    (rate,) = bank.rings.decays_per_s()
    water_j_k = bank.whole_kg() * HEAT_CAPACITY_J_KGK
    assert rate == pytest.approx(g.cells * g.loss_w_k / water_j_k)
    for _ in range(int(12 * 3600 / dt_s)):
        bank.step(0.0, 300.0, dt_s)
    expected = AMBIENT_K + (350.0 - AMBIENT_K) * exp(-12 * 3600 * rate)
    assert bank.energy_j() / water_j_k + ENERGY_ZERO_K == pytest.approx(expected, abs=1e-6)


def test_a_changing_ambient_is_followed_exactly_at_rest():
    bank = Bank([geometry()], 350.0)
    (rate,) = bank.rings.decays_per_s()
    expected = 350.0
    for k in range(500):
        ambient = 283.15 + 10.0 * np.sin(0.1 * k)
        bank.step(0.0, 300.0, 600.0, ambient)
        expected = ambient + (expected - ambient) * exp(-600.0 * rate)
    water_j_k = bank.whole_kg() * HEAT_CAPACITY_J_KGK
    assert bank.energy_j() / water_j_k + ENERGY_ZERO_K == pytest.approx(expected, abs=1e-6)


def test_a_front_without_wall_and_dispersion_arrives_in_its_step_and_not_before():
    bank = Bank([geometry(100.0, IDEAL, cells=128)], 300.0)
    mass = bank.whole_kg() / 50.5
    outlets = [bank.step(mass, 350.0, 10.0)[0] for _ in range(53)]
    assert max(outlets[:50]) == pytest.approx(300.0, abs=1e-6)
    assert outlets[50] == pytest.approx(325.0, abs=1e-3)
    assert min(outlets[51:]) == pytest.approx(350.0, abs=1e-6)


@pytest.mark.parametrize("sense", [1.0, -1.0])
def test_a_front_past_a_wall_is_delayed_by_water_and_wall_and_smeared_as_much_as_the_tanks_say(sense):
    steel = replace(STEEL, loss_resistance_mk_w=1e15)
    bank = Bank([geometry(200.0, steel, cells=128)], 300.0)
    mass = bank.whole_kg() / 500.0
    answer = np.array([bank.step(sense * mass, 301.0, 1.0)[0] - 300.0 for _ in range(1500)])
    pulse = np.diff(answer, prepend=0.0)
    times = np.arange(len(pulse)) * mass
    mean = float(pulse @ times)
    assert mean == pytest.approx(bank.whole_kg(), rel=2e-3)
    # Water is mixed within a plug when it comes and again when it leaves: the variance of a plug's length, twice.
    plug_kg = bank.ring_kg[0] / bank.rings.plugs()[0]
    assert float(pulse @ (times - mean) ** 2) == pytest.approx(2.0 * bank.tank_kg[0] ** 2 + plug_kg**2 / 6.0, rel=0.02)


def test_a_pulse_sent_half_way_and_back_keeps_its_heat():
    steel = replace(STEEL, loss_resistance_mk_w=1e15)
    bank = Bank([geometry(200.0, steel)], 300.0)
    mass = bank.whole_kg() / 100.0
    came = 0.0
    for k in range(400):
        forward = k < 50
        bank.step(mass if forward else -mass, 350.0 if k < 10 else 300.0, 10.0)
        came += float(bank.heat[0, 0] - 300.0 * bank.mass[0, 0])
    assert came == pytest.approx(10 * mass * 50.0, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_energy_closes_in_every_step_and_no_temperature_leaves_the_bounds(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    wild = data.draw(st.booleans())
    count = 4
    geometries = [
        geometry(
            10 ** rng.uniform(0, 3.3),
            replace(STEEL, loss_resistance_mk_w=10 ** rng.uniform(-1.5, 2), dispersion_factor=rng.choice([0.0, 10.0])),
            int(rng.integers(4, 33)),
        )
        for _ in range(count)
    ]
    start, end = rng.uniform(280, 360, (2, count))
    banks = [Bank([g], s, e) for g, s, e in zip(geometries, start, end, strict=True)]
    low, high = np.minimum(start, end), np.maximum(start, end)
    ambient = 283.15
    for _ in range(data.draw(st.integers(5, 80))):
        dt = float(rng.choice([1e-3, 1.0, 10.0, 60.0, 900.0]))
        if rng.random() < (0.5 if wild else 0.02):
            ambient = float(rng.uniform(255, 300))
        for i, bank in enumerate(banks):
            size = rng.choice([0.0, 5e-324, 1e-310, 1e-13, 1e-9, 1e-3, 0.3, 1.0, 1.0, 3.0, 100.0])
            mass = size * rng.choice([1.0, -1.0]) * bank.whole_kg() * rng.uniform(0.1, 1.0)
            temp = float(rng.choice([275.0, 300.0, 300.0, 360.0, rng.uniform(275, 380)]))
            before = bank.energy_j()
            outlet = bank.step(mass, temp, dt, ambient, in_halves=bool(rng.random() < 0.3))[0]
            after = bank.energy_j()
            moved = bank.mass[0, 0]
            entered = abs(mass) if moved > 0.0 else 0.0
            assert moved == pytest.approx(entered, abs=1e-11 * bank.whole_kg())
            came, went = (
                heat_j(entered, temp),
                heat_j(moved, ENERGY_ZERO_K) + HEAT_CAPACITY_J_KGK * (bank.heat[0, 0] - moved * ENERGY_ZERO_K),
            )
            throughput = abs(came) + abs(went) + abs(bank.loss[0])
            assert came - went - bank.loss[0] - (after - before) == pytest.approx(
                0.0, abs=1e-9 * throughput + 1e-12 * bank.whole_kg() * HEAT_CAPACITY_J_KGK * 100.0
            )
            low[i], high[i] = min(low[i], ambient, temp), max(high[i], ambient, temp)
            assert np.isfinite(bank.rows).all()
            if moved > 1e-8 * bank.whole_kg():
                assert low[i] - 1e-6 <= outlet <= high[i] + 1e-6


def test_the_kernel_is_the_numpy_reference_over_flows_reversals_standstill_and_all_steps():
    rng = np.random.default_rng(11)
    count = 40
    geometries = [
        geometry(
            10 ** rng.uniform(0.5, 3.3),
            replace(STEEL, loss_resistance_mk_w=10 ** rng.uniform(-1, 1), dispersion_factor=rng.choice([0.0, 10.0])),
            int(rng.integers(4, 33)),
        )
        for _ in range(count)
    ]
    start, end = rng.uniform(290, 360, (2, count))
    bank = Bank(geometries, start, end)
    oracle = ReferenceRings.at(geometries, start, end)
    whole = np.array([bank.whole_kg(i) for i in range(count)])
    for _ in range(400):
        dt = float(rng.choice([0.1, 1.0, 10.0, 60.0, 900.0]))
        mass = rng.choice([0.0, 1.0, 1.0, -1.0], count) * 10 ** rng.uniform(-5, 1.5, count) * whole
        temp, ambient = rng.uniform(275, 400, count), float(rng.uniform(250, 310))
        bank.step(mass, temp, dt, ambient)
        out_kg, heat, loss = oracle.step(mass, temp, dt, np.full(count, ambient))
        np.testing.assert_allclose(bank.mass[:, 0], out_kg, rtol=1e-10)
        np.testing.assert_allclose(bank.heat[:, 0], heat, rtol=1e-8)
        assert bank.loss[0] == pytest.approx(loss.sum(), rel=1e-7)
        assert bank.energy_j() == pytest.approx(oracle.energy_j().sum(), rel=1e-9)


def test_what_leaves_first_and_what_enters_after_are_the_same_step():
    rng = np.random.default_rng(5)
    whole, halves = (Bank([geometry(80.0)], 320.0) for _ in range(2))
    for _ in range(300):
        mass = rng.uniform(-1.0, 1.0) * whole.ring_kg[0]
        temp = rng.uniform(300, 360)
        np.testing.assert_array_equal(whole.step(mass, temp, 60.0), halves.step(mass, temp, 60.0, in_halves=True))
        assert whole.loss[0] == pytest.approx(halves.loss[0], rel=1e-12)
    np.testing.assert_array_equal(whole.rows, halves.rows)


def test_a_pipe_drawn_the_other_way_gives_the_same_answers():
    rng = np.random.default_rng(6)
    one, other = Bank([geometry(80.0)], 320.0, 340.0), Bank([geometry(80.0)], 340.0, 320.0)
    for _ in range(500):
        mass = rng.uniform(-1.0, 1.0) * 10 ** rng.uniform(-3, 1) * one.ring_kg[0]
        temp, dt = rng.uniform(300, 360), float(rng.choice([1.0, 60.0, 900.0]))
        np.testing.assert_allclose(one.step(mass, temp, dt), other.step(-mass, temp, dt), rtol=1e-12)
        assert one.loss[0] == pytest.approx(other.loss[0], rel=1e-9)


def test_the_size_of_the_step_hardly_matters_up_to_the_minute_that_networks_are_stepped_with():
    rng = np.random.default_rng(7)
    flows, temps = rng.uniform(0.5, 2.0, 96), 350.0 + np.cumsum(rng.uniform(-1, 1, 96))
    means = {}
    for dt in (1.0, 10.0, 60.0):
        bank = Bank([geometry(300.0)], 340.0)
        means[dt] = []
        for flow, temp in zip(flows, temps, strict=True):
            heat = mass = 0.0
            for _ in range(round(900.0 / dt)):
                bank.step(flow * dt, temp, dt)
                heat, mass = heat + bank.heat[0, 0], mass + bank.mass[0, 0]
            means[dt].append(heat / mass)
    np.testing.assert_allclose(means[10.0], means[1.0], rtol=0, atol=0.05)
    np.testing.assert_allclose(means[60.0], means[1.0], rtol=0, atol=0.05)


def test_nothing_becomes_a_denormal_in_years_without_flow_or_at_the_ambient_temperature():
    for temp in (AMBIENT_K, AMBIENT_K + 1e-9, 350.0):
        bank = Bank([geometry(20.0)], temp)
        for k in range(2000):
            bank.step(0.0 if k % 3 else 1e-3, AMBIENT_K, 86400.0)
        numbers = np.abs(bank.rows[bank.rows != 0.0])
        assert numbers.min() > 1e-300


def test_records_stay_small_when_the_flow_is_slow():
    bank = Bank([geometry(500.0)], 320.0)
    for k in range(5000):
        bank.step(1e-4 * bank.whole_kg() * (1.0 if k % 1700 < 1200 else -1.0), 320.0 + k % 40, 10.0)
    count = int(abs(bank.rows[0, 2])) - 1
    masses = bank.rows[0, HEAD : HEAD + PLUG * count : PLUG]
    assert count <= bank.rings.plugs()[0] + 3
    assert masses.sum() == pytest.approx(bank.ring_kg[0], rel=1e-12)


def test_arrays_that_do_not_fit_are_refused():
    bank = Bank([geometry()])
    with pytest.raises(InvalidInput, match="flows of 2 pipes, not 1"):
        bank.rings.advance(
            bank.rows, bank.memos, np.zeros((2, 1)), np.zeros((2, 1)), 1.0, np.zeros(1), bank.mass, bank.heat, bank.loss
        )
    with pytest.raises(InvalidInput, match="dt_s 0"):
        bank.step(0.0, 300.0, 0.0)
    with pytest.raises(InvalidInput, match="0 cells"):
        Rings([replace(geometry(), cells=0)])
