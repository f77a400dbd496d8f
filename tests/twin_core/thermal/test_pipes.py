"""The pipe kernel against its NumPy oracle, against exact solutions, and its ledgers."""

from dataclasses import replace
from importlib import import_module
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import Pipe, PipeClass
from uem.twin_core.thermal import reference, water
from uem.twin_core.thermal.geometry import MAX_CELLS, MIN_CELLS, pipe_geometry
from uem.twin_core.thermal.levels import LEVELS, vectors
from uem.twin_core.thermal.pipes import ENERGY_ZERO_K, HEAT_CAPACITY_J_KGK, MEMO_NUMBERS, Pipes

STEEL = PipeClass(
    name="steel",
    inner_diameter_m=0.1,
    outer_diameter_m=0.107,
    wall_density_kg_m3=7800.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=3.0,
)
# In foam of 50 mm that stores heat.
FOAMED = replace(
    STEEL,
    insulation_heat_capacity_j_m3k=8.4e4,
    insulation_conductivity_w_mk=0.04,
    insulation_diameter_m=0.207,
)
# No wall, no loss, no dispersion: pure transport.
IDEAL = replace(STEEL, wall_density_kg_m3=1e-9, loss_resistance_mk_w=1e15, dispersion_factor=0.0)
AMBIENT_K = 283.15
HEAD = 8  # numbers at the head of a record


def geometry(length_m=100.0, pipe_class=STEEL, cells=None):
    return pipe_geometry(Pipe(name="p", start="a", end="b", length_m=length_m, pipe_class="steel"), pipe_class, cells)


class Bank:
    """Several pipes with one member and room for results."""

    def __init__(self, geometries, start_k=330.0, end_k=330.0, kernel=None):
        count = len(geometries)
        self.geometries = geometries
        self.pipes = Pipes(geometries, kernel)
        self.rows = np.zeros((1, self.pipes.width))
        self.memos = np.full((1, count * MEMO_NUMBERS), np.nan)
        self.mass, self.heat, self.loss, self.energy = (
            np.zeros((count, 1)),
            np.zeros((count, 1)),
            np.zeros(1),
            np.zeros(1),
        )
        start, end = (np.broadcast_to(np.asarray(t, dtype=float), count)[:, None].copy() for t in (start_k, end_k))
        self.pipes.fill(self.rows, start, end)

    def step(self, flow_kg_s, temp_k, dt_s, ambient_k=AMBIENT_K, in_halves=False):
        """Advance; the temperature that came out of every pipe (NaN where nothing did)."""
        shape = (len(self.geometries), 1)
        mass = np.full(shape, 0.0) + np.asarray(flow_kg_s, dtype=float).reshape(-1, 1) * dt_s
        temps = np.full(shape, 0.0) + np.asarray(temp_k, dtype=float).reshape(-1, 1)
        given = (self.rows, self.memos, mass, temps, dt_s, np.array([ambient_k]), self.mass, self.heat, self.loss)
        if not (in_halves and self.pipes.release_and_admit(*given)):
            self.pipes.advance(*given)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.heat / self.mass)[:, 0]

    def energy_j(self):
        self.pipes.energy_j(self.rows, self.energy)
        return float(self.energy[0])

    def mass_kg(self):
        """Mass of the water of the first pipe."""
        n = self.geometries[0].cells
        parts = np.ones(n + 1)
        parts[0], parts[n] = self.rows[0, 0], 1.0 - self.rows[0, 0]
        volumes = self.rows[0, HEAD + n + 1 : HEAD + 2 * n + 2]
        return self.geometries[0].cell_volume_m3 * np.sum(parts / volumes)

    def record(self, pipe=0):
        """Temperatures of plugs and wall cells of a pipe."""
        n = self.geometries[pipe].cells
        offset = sum(HEAD + (5 if g.shell_capacity_j_k[0] else 3) * g.cells + 2 for g in self.geometries[:pipe])
        record = self.rows[0, offset : offset + HEAD + 3 * n + 2]
        return record[HEAD : HEAD + 1 + n], record[HEAD + 2 + 2 * n :]

    def shells(self):
        """Temperatures of inner and outer shell of the first pipe."""
        n = self.geometries[0].cells
        return self.rows[0, HEAD + 2 + 3 * n : HEAD + 2 + 5 * n].reshape(2, n)


@pytest.mark.parametrize("level", LEVELS[: vectors() + 1])
@pytest.mark.parametrize("in_halves", [False, True])
def test_the_kind_of_processor_changes_no_bit(level, in_halves):
    rng = np.random.default_rng(5)
    geometries = [geometry(rng.uniform(10.0, 300.0), rng.choice([STEEL, FOAMED])) for _ in range(12)]
    kernel = import_module(f"uem.twin_core.thermal.pipe_step_{level}").kernel()
    usual, other = Bank(geometries, 330.0, 340.0), Bank(geometries, 330.0, 340.0, kernel)
    for dt_s in (1.0, 5.0, 60.0, 900.0) * 10:
        flow = rng.uniform(-1.0, 4.0, 12) * rng.choice([0.0, 1.0, 1.0, 1.0], 12)
        temp = rng.uniform(300.0, 370.0, 12)
        usual.step(flow, temp, dt_s, in_halves=in_halves)
        other.step(flow, temp, dt_s, in_halves=in_halves)
        for one, same in ((usual.rows, other.rows), (usual.heat, other.heat), (usual.loss, other.loss)):
            assert one.tobytes() == same.tobytes()
        assert usual.energy_j() == other.energy_j()


def film_resistance_mk_w(g, flow_kg_s, temp_k):
    pipes = reference.Pipes.at([g], np.array([temp_k]), np.array([temp_k]))
    return g.cell_length_m / float(reference.film(pipes, np.array([flow_kg_s]))[0][0])


def heat_j(mass_kg, temp_k):
    return HEAT_CAPACITY_J_KGK * mass_kg * (temp_k - ENERGY_ZERO_K)


def transit_s(g, flow_kg_s, temp_k):
    """Time that water of one temperature needs through an ideal pipe."""
    return g.cells * g.cell_volume_m3 * water.density_kg_m3(temp_k) / flow_kg_s


@pytest.mark.parametrize("cells", [4, 7, 8, 19, 32])
def test_the_kernel_is_the_numpy_reference_over_flows_reversals_standstill_and_all_steps(cells):
    rng = np.random.default_rng(cells)
    count = 12
    geometries = [
        geometry(
            rng.uniform(5, 200),
            replace(
                STEEL,
                inner_diameter_m=(d := rng.uniform(0.02, 0.3)),
                outer_diameter_m=d + 0.006,
                loss_resistance_mk_w=rng.uniform(0.5, 6.0),
                dispersion_factor=rng.choice([0.0, 1.0, 10.0, 500.0]),
                insulation_heat_capacity_j_m3k=8.4e4 * (k % 2),
                insulation_conductivity_w_mk=2.0,
                insulation_diameter_m=d + 0.01 * (k + 2),
            ),
            cells,
        )
        for k in range(count)
    ]
    start, end = rng.uniform(290, 360, (2, count))
    bank = Bank(geometries, start, end)
    oracle = reference.Pipes.at(geometries, start, end)
    # Heat that a step moves is the difference of two contents, so that the temperature of very little water, with which
    # the next step begins, is known to their rounding over its mass.
    contents_kgk = np.array([400.0 * 1e3 * g.cell_volume_m3 * cells for g in geometries])
    known_k = np.zeros(count)
    for _ in range(60):
        dt = float(rng.choice([0.1, 1.0, 10.0, 60.0, 900.0]))
        flow = rng.choice([0.0, 1.0, 1.0, -1.0], count) * 10 ** rng.uniform(-5, 1.5, count)
        temp, ambient = rng.uniform(275, 400, count), float(rng.uniform(250, 310))
        bank.step(flow, temp, dt, ambient)
        mass, heat, loss = reference.step(oracle, flow * dt, temp, dt, np.full(count, ambient))
        np.testing.assert_allclose(bank.mass[:, 0], mass, rtol=1e-11, atol=1e-11)
        assert (np.abs(bank.heat[:, 0] - heat) <= 1e-11 * heat + 1e-8 + known_k * mass).all()
        moved = mass > 0.0
        known_k[moved] = 4.0 * np.finfo(float).eps * contents_kgk[moved] / mass[moved]
        np.testing.assert_allclose(bank.loss[0], loss.sum(), rtol=1e-10, atol=1e-3)
        for k in range(count):
            plugs, walls = bank.record(k)
            np.testing.assert_allclose(plugs, oracle.plug_temp_k[k], rtol=0, atol=1e-8)
            np.testing.assert_allclose(walls, oracle.wall_temp_k[k], rtol=0, atol=1e-8)
    np.testing.assert_allclose(bank.energy_j(), oracle.energy_j().sum(), rtol=1e-12)


flows = st.one_of(
    st.just(0.0), st.floats(-30.0, 30.0), st.floats(-1e-6, 1e-6), st.sampled_from([5e-324, -1e-300, 1e-15, 1e-12])
)
steps = st.tuples(flows, st.floats(273.15, 423.15), st.sampled_from([0.01, 1.0, 60.0, 900.0, 86400.0]))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(steps, min_size=1, max_size=25),
    st.floats(2.0, 500.0),
    st.floats(230.0, 330.0),
    st.booleans(),
    st.sampled_from([STEEL, FOAMED]),
)
def test_energy_and_mass_close_in_every_step_whatever_the_flow_does(script, length_m, ambient_k, in_halves, made):
    bank = Bank([geometry(length_m, made)], 340.0, 300.0)
    low, high = min(300.0, ambient_k), max(340.0, ambient_k)
    before, mass_before = bank.energy_j(), bank.mass_kg()
    content_kg = mass_before
    for flow, temp_k, dt_s in script:
        out = bank.step(flow, temp_k, dt_s, ambient_k, in_halves)[0]
        after, mass_in = bank.energy_j(), abs(flow) * dt_s
        came_in = heat_j(mass_in, temp_k)
        went_out = HEAT_CAPACITY_J_KGK * (bank.heat[0, 0] - bank.mass[0, 0] * ENERGY_ZERO_K)
        through = abs(came_in) + abs(went_out) + abs(bank.loss[0])
        rounding = 1e-13 * HEAT_CAPACITY_J_KGK * content_kg * 400.0  # of the sums over the content
        assert abs(came_in - went_out - bank.loss[0] - (after - before)) <= 1e-9 * through + rounding
        mass_after = bank.mass_kg()
        assert mass_in - bank.mass[0, 0] == pytest.approx(
            mass_after - mass_before, abs=1e-10 * mass_in + 1e-12 * content_kg
        )
        before, mass_before = after, mass_after
        low, high = min(low, temp_k), max(high, temp_k)
        plugs, walls = bank.record()
        assert np.isfinite(bank.rows).all()
        assert plugs.min() >= low - 1e-6
        assert plugs.max() <= high + 1e-6
        assert walls.min() >= low - 1e-6
        assert walls.max() <= high + 1e-6
        if bank.mass[0, 0] > 0.0:
            assert low - 1e-6 <= out <= high + 1e-6


@pytest.mark.parametrize("cells_per_step", [0.3, 1.0, 5.0])
def test_a_step_in_two_halves_sends_out_what_a_whole_one_does(cells_per_step):
    g = geometry(100.0, cells=16)
    whole, halves = Bank([g], 320.0, 320.0), Bank([g], 320.0, 320.0)
    dt = cells_per_step * transit_s(g, 2.0, 330.0) / 16
    outs = []
    for k in range(int(120 / cells_per_step)):
        temp = 340.0 if k * cells_per_step < 30 else 330.0
        flow = 2.0 if k * cells_per_step < 70 else -1.0
        outs.append([whole.step(flow, temp, dt)[0], halves.step(flow, temp, dt, in_halves=True)[0]])
    whole_k, halves_k = np.array(outs).T
    assert np.ptp(whole_k) > 9.0
    # The order of contact and movement differs: the same front of 20 K, resolved to the cells that a step covers.
    np.testing.assert_allclose(halves_k.mean(), whole_k.mean(), rtol=0, atol=0.05)
    assert np.abs(halves_k - whole_k).max() < (1.0 if cells_per_step <= 1.0 else 3.0)
    np.testing.assert_allclose(halves_k[-int(10 / cells_per_step) :], whole_k[-int(10 / cells_per_step) :], atol=0.02)


def test_what_is_released_does_not_know_what_will_come_in():
    hot, cold = Bank([geometry()], 340.0, 320.0), Bank([geometry()], 340.0, 320.0)
    flow = 0.8 * (geometry().cells - 2) * geometry().cell_volume_m3 * 980.0 / 60.0
    assert hot.step(flow, 400.0, 60.0, in_halves=True) == cold.step(flow, 280.0, 60.0, in_halves=True)
    assert hot.step(-flow, 400.0, 60.0, in_halves=True) != cold.step(-flow, 280.0, 60.0, in_halves=True)


def test_a_step_that_moves_nearly_the_whole_content_cannot_be_halved():
    bank = Bank([geometry()])
    flow = (geometry().cells - 1) * geometry().cell_volume_m3 * 1000.0 / 60.0
    nothing = (bank.mass, bank.heat, bank.loss)
    given = (np.full((1, 1), 330.0), 60.0, np.array([AMBIENT_K]))
    before = bank.rows.copy()
    assert not bank.pipes.release_and_admit(bank.rows, bank.memos, np.full((1, 1), flow * 60.0), *given, *nothing)
    np.testing.assert_array_equal(bank.rows, before)


@pytest.mark.parametrize(("made", "count"), [(STEEL, 3000), (FOAMED, 60_000)])
@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize(("length_m", "flow_kg_s", "dt_s"), [(100.0, 2.0, 1.0), (200.0, 4.0, 1.0), (50.0, 20.0, 900.0)])
def test_a_steady_outlet_is_the_exponential_drop(length_m, flow_kg_s, dt_s, direction, made, count):
    g = geometry(length_m, replace(made, dispersion_factor=0.0), cells=32)
    bank = Bank([g], 363.15, 363.15)
    outs = [bank.step(direction * flow_kg_s, 363.15, dt_s)[0] for _ in range(count)][-500:]
    resistance = STEEL.loss_resistance_mk_w + film_resistance_mk_w(g, flow_kg_s, 363.15)
    expected = AMBIENT_K + 80.0 * exp(-length_m / (resistance * flow_kg_s * HEAT_CAPACITY_J_KGK))
    assert 363.15 - expected > 0.01
    np.testing.assert_allclose(outs, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dt_s", [60.0, 900.0])
@pytest.mark.parametrize("cells", [None, 8])
def test_a_strong_steady_drop_is_exact_over_few_cells(cells, dt_s):
    g = geometry(1000.0, replace(STEEL, dispersion_factor=0.0), cells)
    bank = Bank([g], 363.15, 345.0)
    outs = [bank.step(0.3, 363.15, dt_s)[0] for _ in range(int(400_000 / dt_s))][-20:]
    resistance = STEEL.loss_resistance_mk_w + film_resistance_mk_w(g, 0.3, bank.rows[0, 1])
    expected = AMBIENT_K + 80.0 * exp(-1000.0 / (resistance * 0.3 * HEAT_CAPACITY_J_KGK))
    assert 18.0 < 363.15 - expected < 19.0
    np.testing.assert_allclose(outs, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dt_s", [1.0, 60.0, 3600.0])
def test_standing_water_cools_by_the_exact_exponential_of_water_and_wall(dt_s):
    # So near to the ambient that the film stays that of 350 K: the two capacities are a linear system.
    g = geometry(pipe_class=replace(STEEL, loss_resistance_mk_w=0.5))
    bank = Bank([g], 350.0, 350.0)
    for _ in range(int(12 * 3600 / dt_s)):
        bank.step(0.0, 300.0, dt_s, 349.55)
        assert bank.mass[0, 0] == 0.0
    film_w_k = g.cell_length_m / film_resistance_mk_w(g, 0.0, 350.0)
    water_j_k = HEAT_CAPACITY_J_KGK * water.density_kg_m3(350.0) * g.cell_volume_m3
    rates = np.array([[-film_w_k, film_w_k], [film_w_k, -film_w_k - g.loss_w_k]])
    expected = 349.55 + expm(rates / np.array([[water_j_k], [g.wall_capacity_j_k]]) * 43200.0) @ [0.45, 0.45]
    plugs, walls = bank.record()
    assert 0.05 < plugs[0] - 349.55 < 0.4
    np.testing.assert_allclose(plugs, expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(walls, expected[1], rtol=0, atol=1e-9)


def test_twelve_hours_of_standstill_follow_the_time_constant():
    bank = Bank([g := geometry()], 350.0, 350.0)
    for _ in range(720):
        bank.step(0.0, 300.0, 60.0)
    capacity = HEAT_CAPACITY_J_KGK * water.density_kg_m3(350.0) * g.cell_volume_m3 + g.wall_capacity_j_k
    film_w_k = g.cell_length_m / film_resistance_mk_w(g, 0.0, 340.0)
    loss_w_k = 1.0 / (1.0 / g.loss_w_k + 1.0 / film_w_k)
    expected = AMBIENT_K + (350.0 - AMBIENT_K) * exp(-43200.0 * loss_w_k / capacity)
    assert bank.record()[0] == pytest.approx(expected, abs=0.5)  # one time constant with the film in series


@pytest.mark.parametrize("dt_s", [1.0, 60.0, 900.0])
def test_standing_water_in_foam_cools_with_water_wall_and_two_shells(dt_s):
    bank = Bank([g := geometry(pipe_class=FOAMED)], 350.0, 350.0)
    for _ in range(int(6 * 3600 / dt_s)):
        bank.step(0.0, 300.0, dt_s, 349.0)
    water_j_k = HEAT_CAPACITY_J_KGK * water.density_kg_m3(350.0) * g.cell_volume_m3
    film_w_k = g.cell_length_m / film_resistance_mk_w(g, 0.0, 350.0)
    w_k = [film_w_k, *(g.loss_w_k / part for part in g.shell_resistance_parts)]
    capacities = [water_j_k, g.wall_capacity_j_k, *g.shell_capacity_j_k]
    rates = np.zeros((4, 4))
    for k, conductance in enumerate(w_k):
        rates[k, k] -= conductance
        if k < 3:
            rates[k, k + 1] = rates[k + 1, k] = conductance
            rates[k + 1, k + 1] -= conductance
    expected = 349.0 + expm(rates / np.array(capacities)[:, None] * 6 * 3600.0) @ np.ones(4)
    plugs, walls = bank.record()
    assert 0.05 < expected[0] - 349.0 < 0.95
    found = [plugs[0], walls[0], *bank.shells()[:, 0]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01 if dt_s < 900.0 else 0.03)  # of one kelvin


def test_two_shells_take_up_heat_like_a_fine_insulation():
    from_m, to_m, conductivity, capacity = FOAMED.outer_diameter_m, FOAMED.insulation_diameter_m, 0.04, 8.4e4
    edges = np.linspace(from_m, to_m, 101)
    middles = np.sqrt((edges[1:] ** 2 + edges[:-1] ** 2) / 2.0)
    capacities = capacity * np.pi / 4.0 * np.diff(edges**2)
    w_mk = 2.0 * np.pi * conductivity / np.diff(np.log([from_m, *middles, to_m]))
    outside = FOAMED.loss_resistance_mk_w - FOAMED.insulation_resistance_mk_w
    w_mk[-1] = 1.0 / (1.0 / w_mk[-1] + outside)
    temp, dt_s, fine = np.zeros(100), 0.05, {}
    for k in range(1, 72_001):
        through = w_mk * -np.diff([1.0, *temp, 0.0])
        temp += dt_s * -np.diff(through) / capacities
        if k in (36_000, 72_000):
            fine[k * dt_s] = float(capacities @ temp)
    g = geometry(pipe_class=FOAMED)
    for dt_s, stored in fine.items():
        # A wall so heavy that it keeps its temperature.
        heavy = replace(FOAMED, wall_heat_capacity_j_kgk=1e9)
        bank = Bank([geometry(pipe_class=heavy)], 300.0, 300.0)
        bank.record()[1][:] = 301.0
        for _ in range(600):
            bank.step(0.0, 300.0, dt_s / 600.0, 300.0)
        taken = np.array(g.shell_capacity_j_k) @ (bank.shells()[:, 0] - 300.0) / g.cell_length_m
        assert taken == pytest.approx(stored, rel=0.1), dt_s


@pytest.mark.parametrize("dt_s", [1.0, 7.0, 90.0])
def test_a_front_without_wall_arrives_in_time_and_never_overshoots(dt_s):
    g = geometry(100.0, IDEAL, cells=16)
    bank = Bank([g], 300.0, 300.0)
    outs = np.array([bank.step(2.0, 340.0, dt_s, 300.0)[0] for _ in range(int(1000 / dt_s))])
    assert outs.min() >= 300.0 - 1e-9
    assert outs.max() <= 340.0 + 1e-9
    assert (np.diff(outs) >= -1e-9).all()
    # Volume goes with the density at the inlet. Arrival is where the outflow has carried half of the jump.
    arrival = dt_s * np.sum(340.0 - outs) / 40.0
    plug_s = transit_s(g, 2.0, 340.0) / 16
    assert arrival == pytest.approx(transit_s(g, 2.0, 340.0), abs=max(plug_s, dt_s))
    early = outs[: int((transit_s(g, 2.0, 340.0) - 1.5 * plug_s) / dt_s)]
    np.testing.assert_allclose(early, 300.0, rtol=0, atol=1e-6)


def test_total_variation_never_grows_without_wall():
    rng = np.random.default_rng(5)
    bank = Bank([geometry(100.0, IDEAL, cells=16)], 300.0, 300.0)
    temps = 300.0 + 40.0 * rng.integers(0, 2, 60).repeat(9)
    outs = [bank.step(2.0, temp, 5.0, 300.0)[0] for temp in temps]
    outs += [bank.step(2.0, 300.0, 5.0, 300.0)[0] for _ in range(120)]
    assert np.abs(np.diff(outs)).sum() <= np.abs(np.diff([300.0, *temps, 300.0])).sum() + 1e-6


def test_a_heavy_wall_slows_the_front_by_its_share_of_the_heat():
    g = geometry(200.0, replace(STEEL, loss_resistance_mk_w=1e9, dispersion_factor=0.0), cells=32)
    bank = Bank([g], 300.0, 300.0)
    outs = np.array([bank.step(2.0, 340.0, 2.0, 300.0)[0] for _ in range(1500)])
    assert outs[-1] == pytest.approx(340.0, abs=1e-3)
    # All heat that water and wall take up came in before the front did: exact in the mean arrival.
    arrival = 2.0 * np.sum(340.0 - outs) / 40.0
    ratio = g.wall_capacity_j_k / (HEAT_CAPACITY_J_KGK * water.density_kg_m3(320.0) * g.cell_volume_m3)
    assert arrival == pytest.approx(transit_s(g, 2.0, 330.0) * (1.0 + ratio), rel=0.01)


def test_a_pulse_that_turns_round_half_way_comes_back_whole():
    g = geometry(100.0, IDEAL, cells=32)
    bank = Bank([g], 300.0, 300.0)
    pulse_kg = 0.0
    for k in range(80):  # 20 s warm, then cold behind it
        bank.step(4.0, 330.0 if 10 <= k < 50 else 300.0, 1.0, 300.0)
        pulse_kg += 4.0 * (30.0 if 10 <= k < 50 else 0.0)
    outs, area = [], 0.0
    for _ in range(200):
        outs.append(bank.step(-4.0, 300.0, 1.0, 300.0)[0])
        area += bank.heat[0, 0] - 300.0 * bank.mass[0, 0]
    assert max(outs) == pytest.approx(330.0, abs=0.05)
    assert max(outs) <= 330.0 + 1e-9
    assert area == pytest.approx(pulse_kg, rel=1e-9)


def test_a_step_of_many_contents_closes_and_ends_like_small_steps():
    small, large = Bank([geometry(20.0)], 320.0, 320.0), Bank([geometry(20.0)], 320.0, 320.0)
    before, came_in, lost, out_small = large.energy_j(), heat_j(10.0 * 900.0, 350.0), 0.0, 0.0
    for _ in range(900):
        small.step(10.0, 350.0, 1.0)
        out_small += small.heat[0, 0] - small.mass[0, 0] * ENERGY_ZERO_K
        lost += small.loss[0]
    large.step(10.0, 350.0, 900.0)
    out_large = large.heat[0, 0] - large.mass[0, 0] * ENERGY_ZERO_K
    assert out_large / (10.0 * 900.0) == pytest.approx(out_small / (10.0 * 900.0), abs=0.01)
    assert large.loss[0] == pytest.approx(lost, rel=0.01)
    gap = came_in - HEAT_CAPACITY_J_KGK * out_large - large.loss[0] - (large.energy_j() - before)
    assert abs(gap) <= 1e-12 * came_in


def test_more_dispersion_smears_a_front_more():
    spreads = []
    for factor in (0.0, 10.0, 100.0):
        bank = Bank([geometry(100.0, replace(IDEAL, dispersion_factor=factor), cells=32)], 300.0, 300.0)
        outs = np.array([bank.step(4.0, 340.0, 1.0, 300.0)[0] for _ in range(600)])
        share = np.diff((outs - 300.0) / 40.0)
        time = np.arange(len(share))
        mean = (share * time).sum() / share.sum()
        spreads.append((share * (time - mean) ** 2).sum())
    assert spreads[0] < spreads[1] < spreads[2]
    # The variance in time of a front is 2 D L / u^3.
    reynolds = 4.0 * 0.1 / (np.pi / 4 * 0.01 * water.viscosity_pa_s(320.0))
    speed = 4.0 / (water.density_kg_m3(330.0) * np.pi / 4 * 0.01)
    dispersion = 100.0 * 0.05 * speed * (3e7 * reynolds**-2.1 + 1.35 * reynolds**-0.125)
    assert spreads[2] - spreads[0] == pytest.approx(2.0 * dispersion * 100.0 / speed**3, rel=0.15)


def test_the_film_is_gnielinski_laminar_and_continuous_between():
    pipes = reference.Pipes.at([geometry()], np.array([333.0]), np.array([333.0]))
    mu, k = water.viscosity_pa_s(333.0), water.conductivity_w_mk(333.0)
    section, prandtl = np.pi / 4 * 0.01, HEAT_CAPACITY_J_KGK * mu / k

    def nusselt(re):
        conductance = reference.film(pipes, np.array([re * section * mu / 0.1]))[0][0]
        return conductance / (k * np.pi * geometry().cell_length_m)

    assert nusselt(0.0) == pytest.approx(3.66)
    assert nusselt(2299.9) == pytest.approx(3.66)
    assert nusselt(2300.1) == pytest.approx(3.66, abs=0.01)
    eighth = (0.79 * log(20000.0) - 1.64) ** -2 / 8
    expected = eighth * 19000 * prandtl / (1 + 12.7 * eighth**0.5 * (prandtl ** (2 / 3) - 1))
    assert nusselt(20000.0) == pytest.approx(expected)
    assert 3.66 < nusselt(3000.0) < nusselt(4000.0) < nusselt(4001.0)


def test_cells_follow_from_length_and_diameter():
    assert geometry(1.0).cells == MIN_CELLS
    assert geometry(160.0).cells == 20
    assert geometry(1e4).cells == MAX_CELLS
    g = geometry(80.0)
    assert g.cells * g.cell_volume_m3 == pytest.approx(np.pi / 4 * 0.1**2 * 80.0)
    assert g.cells * g.loss_w_k == pytest.approx(80.0 / 3.0)


def test_twice_the_loss_factor_doubles_the_exponent_of_the_steady_drop():
    # With a film that hardly resists, the exponent is L f / (R m cp).
    kind = replace(STEEL, dispersion_factor=0.0, loss_resistance_mk_w=30.0)
    assert geometry(pipe_class=replace(kind, loss_factor=2.0)).loss_w_k == 2.0 * geometry(pipe_class=kind).loss_w_k
    exponents = []
    for factor in (1.0, 2.0):
        bank = Bank([geometry(100.0, replace(kind, loss_factor=factor), cells=32)], 363.15, 363.15)
        out = [bank.step(2.0, 363.15, 1.0)[0] for _ in range(2000)][-1]
        exponents.append(-log((out - AMBIENT_K) / 80.0))
    assert exponents[1] == pytest.approx(2.0 * exponents[0], rel=2e-3)


def test_rows_that_do_not_fit_are_refused():
    bank = Bank([geometry(), geometry()])
    one, two = np.zeros((2, 1)), np.zeros((2, 1))
    ambient, loss = np.zeros(1), np.zeros(1)
    good = [bank.rows, bank.memos, one, two, 1.0, ambient, bank.mass, bank.heat, loss]
    for place, wrong in (
        (0, np.zeros((1, 5))),
        (1, np.zeros((1, 5))),
        (2, np.zeros((3, 1))),
        (3, np.zeros((2, 2))),
        (4, 0.0),
        (4, float("nan")),
        (5, np.zeros(2)),
        (8, np.zeros(2)),
    ):
        given = list(good)
        given[place] = wrong
        with pytest.raises(InvalidInput):
            bank.pipes.advance(*given)
    with pytest.raises(InvalidInput):
        bank.pipes.energy_j(np.zeros((1, 5)), loss)
    with pytest.raises(InvalidInput, match="cells"):
        Pipes([replace(geometry(), cells=3)])
