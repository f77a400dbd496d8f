"""Furnaces: closed forms against matrix exponentials and an ODE solver, the balance of heat, bits, events."""

import math
import runpy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.optimize import brentq

from uem.twin_core.errors import InvalidInput, InvalidTerritory, UnknownName
from uem.twin_core.plant.furnace import Furnace, Segment
from uem.twin_core.plant.production import (
    Buffer,
    Factory,
    Failure,
    Machine,
    Order,
    Sleep,
    batch_furnace,
    deterministic,
    exponential,
    order_book,
    source,
)
from uem.twin_core.production.indicators import SINKS, HeatSplit, heat_j, indicators
from uem.twin_core.production.plan import STATES, FactoryPlan

PLAIN = runpy.run_path(str(Path(__file__).with_name("furnaces.py")))["PLAIN"]
GAS_KG_PER_J = (1 + 1.1 * 17.2) / 50e6  # fumes of methane with a tenth more air than it needs

BURNT = replace(
    PLAIN,
    recipe=(*PLAIN.recipe, Segment(to_k=700.0, duration_s=3605.0, cooling=True)),
    heating="fuel",
    efficiency=0.95,
    fumes_kg_per_j=GAS_KG_PER_J,
    carrier_j_per_k=1e5,
    carrier_w_per_k=40.0,
    load_s=300.0,
    unload_s=200.0,
    door_w_per_k=400.0,
    vent_kg_s=0.05,
    recuperated=0.3,
    cooling_w_per_k=800.0,
    standby_k=900.0,
    levels_k=(333.15, 750.0),
)
HEATED = replace(
    BURNT,
    heating="electric",
    fumes_kg_per_j=0.0,
    recuperated=0.0,
    recipe=(Segment(to_k=900.0, duration_s=3000.0), Segment(to_k=900.0, duration_s=1800.0, hold=True)),
    standby_k=None,
    power_w=500e3,
)


def works(furnace, *, parts=40, batch=(10, 10), failures=(), **fields):
    """A furnace and the parts that wait for it."""
    machine = batch_furnace("furnace", furnace, takes=("in",), batch=batch, failures=failures, **fields)
    return Factory(machines=(machine,), buffers=(Buffer(name="in", initial=parts),))


def residual(found, furnace):
    """What is missing in the balance of heat, per joule that went through or is held by chamber and lining."""
    parts = [found.casing_j, found.stored_j, found.load_j, found.walls_j, found.doors_j, found.flue_j, found.cooled_j]
    used = found.heating_j.sum(axis=2)
    held = (found.temperature_k[:, :, :2] - furnace.hall_k) @ [furnace.chamber_j_per_k, furnace.lining_j_per_k]
    return np.abs(used - sum(parts)) / (used + sum(np.abs(part) for part in parts) + np.abs(held) + 1.0)


# ---- against plainer programs ----


class Reference:
    """One furnace by matrix exponentials: what the controller asks for is found by iteration, not in closed form."""

    def __init__(self, furnace, parts):
        self.f, self.parts, self.heat_j, self.kept = furnace, parts, {}, {}
        f = furnace
        chamber = (f.standby_k or f.hall_k) - f.hall_k
        lining = chamber * f.lining_w_per_k / (f.lining_w_per_k + f.wall_w_per_k)
        self.x = np.array([chamber, lining, 0.0])
        self.sums = dict.fromkeys(("heating", "walls", "doors", "flue", "flue_kg", "cooled", "above"), 0.0)

    def capacities(self, parts):
        f = self.f
        return np.array([f.chamber_j_per_k, f.lining_j_per_k, f.carrier_j_per_k + max(parts, 1) * f.part_j_per_k])

    def advance(self, parts, door, h):
        """Matrix from (state, net power) to (state, integral of the state) after h seconds."""
        key = parts, door, h
        if key not in self.kept:
            f = self.f
            g = f.carrier_w_per_k + parts * f.part_w_per_k if parts else 0.0
            conductance = np.array(
                [
                    [f.lining_w_per_k + g + door * f.door_w_per_k, -f.lining_w_per_k, -g],
                    [-f.lining_w_per_k, f.lining_w_per_k + f.wall_w_per_k, 0.0],
                    [-g, 0.0, g],
                ]
            )
            whole = np.zeros((7, 7))
            whole[:3, :3] = -conductance / self.capacities(parts)[:, None]
            whole[0, 3] = 1.0 / f.chamber_j_per_k
            whole[4:, :3] = np.eye(3)
            self.kept[key] = expm(whole * h)[np.ix_([0, 1, 2, 4, 5, 6], range(4))]
        return self.kept[key]

    def net(self, matrix, h, heat, cooled):
        """Net power whose mean chamber temperature takes just the exhaust and cooling that it needs."""
        f = self.f
        flue = (1 - f.recuperated) * f.exhaust_j_per_kgk * (f.vent_kg_s + f.fumes_kg_per_j * heat)

        def excess(q):
            mean = (matrix @ np.append(self.x, q))[3] / h
            return f.efficiency * heat - (flue + cooled) * mean - q

        low, high = excess(0.0), excess(1.0)  # linear
        return low / (low - high)

    def scan(self, parts, door, h, target, cools):
        """One scan: the power, or the cooling, that leads the chamber to its target at the end."""
        f = self.f
        matrix = self.advance(parts, door, h)

        def miss(heat, cooled):
            return (matrix @ np.append(self.x, self.net(matrix, h, heat, cooled)))[0] - target

        heat = cooled = 0.0
        if target is not None and miss(0.0, 0.0) < 0:
            heat = f.power_w
            if miss(f.power_w, 0.0) > 0:
                heat = brentq(lambda p: miss(p, 0.0), 0.0, f.power_w, xtol=1e-9, rtol=1e-15)
        elif target is not None and cools:
            cooled = f.cooling_w_per_k
            if miss(0.0, cooled) < 0:
                cooled = brentq(lambda g: miss(0.0, g), 0.0, cooled, xtol=1e-12, rtol=1e-15)
        end = matrix @ np.append(self.x, self.net(matrix, h, heat, cooled))
        self.x = end[:3]
        chamber, lining = end[3], end[4]
        flow = f.vent_kg_s + f.fumes_kg_per_j * heat
        exhaust = (1 - f.recuperated) * chamber / h
        sums = self.sums
        sums["heating"] += heat * h
        sums["walls"] += f.wall_w_per_k * lining
        sums["doors"] += door * f.door_w_per_k * chamber
        sums["flue"] += f.exhaust_j_per_kgk * flow * exhaust * h
        sums["above"] += f.exhaust_j_per_kgk * flow * max(0.0, exhaust + f.hall_k - f.levels_k[1]) * h
        sums["flue_kg"] += flow * h
        sums["cooled"] += cooled * chamber

    def piece(self, seconds, target_at, *, door=False, cools=False):
        """A segment, scan by scan; `target_at` tells the target after so many seconds."""
        done = 0.0
        while done < seconds - 1e-6:
            h = min(self.f.scan_s, seconds - done)
            self.scan(self.parts, door, h, target_at(done + h), cools)
            done += h

    def batch(self):
        f = self.f
        self.x[2] = 0.0
        self.piece(f.load_s, lambda _: None, door=True)
        for segment in f.recipe:
            origin, target = self.x[0], segment.to_k - f.hall_k
            slope = 0.0 if segment.hold else (target - origin) / segment.duration_s
            begin = target if segment.hold else origin
            self.piece(segment.duration_s, lambda t, a=begin, b=slope: a + b * t, cools=segment.cooling)
        self.piece(f.unload_s, lambda _: None, door=True)


WEAK = {"power_w": 130e3, "cooling_w_per_k": 100.0}


@pytest.mark.parametrize(
    "furnace",
    [BURNT, HEATED, replace(BURNT, **WEAK), replace(HEATED, **WEAK)],
    ids=["fuel", "electric", "weak fuel", "weak electric"],
)
def test_batches_are_those_of_matrix_exponentials_and_iterated_powers(furnace):
    plan = FactoryPlan(works(furnace))
    run = plan.initial_run()
    reference = Reference(furnace, parts=10)
    for batch in range(1, 4):
        reference.batch()
        plan.run(run, batch * furnace.seconds() - 1e-6)  # the load still in it
        found = plan.ledger(run).furnaces
        np.testing.assert_allclose(found.temperature_k[0, 0] - furnace.hall_k, reference.x, rtol=1e-8)
        for name, value in reference.sums.items():
            ours = {"heating": found.heating_j.sum(axis=2), "above": found.flue_above_j[:, :, 1]}
            ours = ours.get(name, getattr(found, f"{name}_kg" if name == "flue_kg" else f"{name}_j", found.flue_kg))
            assert np.ravel(ours)[0] == pytest.approx(value, rel=1e-8), name


def test_what_is_constant_over_a_scan_comes_near_the_ode_with_the_square_of_the_scan():
    """At full power, so that no controller matters: the exhaust leaves with the chamber's temperature at any time."""
    furnace = replace(BURNT, recipe=(Segment(to_k=1500.0, duration_s=7200.0, hold=True),), load_s=0.0, unload_s=0.0)
    c = np.array([furnace.chamber_j_per_k, furnace.lining_j_per_k, furnace.carrier_j_per_k + 10 * furnace.part_j_per_k])
    to_load = furnace.carrier_w_per_k + 10 * furnace.part_w_per_k
    flow = furnace.vent_kg_s + furnace.fumes_kg_per_j * furnace.power_w
    flue = (1 - furnace.recuperated) * furnace.exhaust_j_per_kgk * flow

    def slope(_, y):
        x = y[:3]
        to_lining, load = furnace.lining_w_per_k * (x[0] - x[1]), to_load * (x[0] - x[2])
        net = furnace.efficiency * furnace.power_w - flue * x[0]
        return [*([net - to_lining - load, to_lining - furnace.wall_w_per_k * x[1], load] / c), flue * x[0]]

    start = Reference(furnace, 10).x
    exact = solve_ivp(slope, (0.0, 7000.0), [*start, 0.0], rtol=1e-12, atol=1e-9, method="DOP853").y[:, -1]
    errors = []
    for scan_s in (70.0, 35.0, 17.5):
        plan = FactoryPlan(works(replace(furnace, scan_s=scan_s)))
        run = plan.initial_run()
        plan.run(run, 7000.0)
        found = plan.ledger(run).furnaces
        errors.append(np.abs([*(found.temperature_k[0, 0] - furnace.hall_k), found.flue_j[0, 0]] - exact) / exact)
    assert (np.array(errors[0]) < 2e-3).all()
    np.testing.assert_allclose(np.divide(errors[0], errors[1]), 4.0, rtol=0.2)
    np.testing.assert_allclose(np.divide(errors[1], errors[2]), 4.0, rtol=0.2)


def test_a_furnace_that_is_off_cools_as_an_ode_solver_says():
    furnace = replace(HEATED, standby_k=None)
    plan = FactoryPlan(works(furnace, parts=10))
    run = plan.initial_run()
    begin = furnace.seconds()
    plan.run(run, begin + 1.0)
    x = plan.ledger(run).furnaces.temperature_k[0, 0, :2] - furnace.hall_k

    def slope(_, x):
        to_lining = furnace.lining_w_per_k * (x[0] - x[1])
        return [
            -to_lining / furnace.chamber_j_per_k,
            (to_lining - furnace.wall_w_per_k * x[1]) / furnace.lining_j_per_k,
        ]

    for hours in (0.1, 3.0, 100.0):
        exact = solve_ivp(slope, (0.0, hours * 3600), x, rtol=1e-12, atol=1e-12, method="LSODA").y[:, -1]
        later = plan.copy(run)
        plan.run(later, begin + 1.0 + hours * 3600)
        found = plan.ledger(later).furnaces
        np.testing.assert_allclose(found.temperature_k[0, 0, :2] - furnace.hall_k, exact, rtol=1e-8)
        assert found.flue_kg_s[0, 0] == 0.0


# ---- what holds for any furnace ----


@st.composite
def furnaces(draw):
    """Any furnace that heats within its limits."""
    number = draw(st.sampled_from([1.0, 30.0, 400.0]))
    fuel = draw(st.booleans())
    segments = draw(
        st.lists(
            st.builds(
                Segment,
                to_k=st.floats(300.0, 1400.0),
                duration_s=st.floats(1.0, 5000.0),
                hold=st.booleans(),
                cooling=st.booleans(),
            ),
            min_size=1,
            max_size=4,
        )
    )
    return Furnace(
        recipe=tuple(segments),
        power_w=draw(st.floats(1e3, 1e6)),
        heating="fuel" if fuel else "electric",
        efficiency=draw(st.floats(0.5, 1.0)),
        chamber_j_per_k=draw(st.floats(3e5, 1e6)),
        lining_j_per_k=draw(st.floats(1e4, 1e8)),
        lining_w_per_k=draw(st.sampled_from([0.0, 10.0, 2000.0])),
        wall_w_per_k=draw(st.sampled_from([0.0, 50.0])),
        part_j_per_k=draw(st.floats(1e2, 1e5)),
        part_w_per_k=number,
        carrier_j_per_k=draw(st.sampled_from([0.0, 1e5])),
        brought_k=draw(st.sampled_from([None, 350.0, 800.0])),
        load_s=draw(st.sampled_from([0.0, 130.0])),
        unload_s=draw(st.sampled_from([0.0, 61.0])),
        door_w_per_k=draw(st.sampled_from([0.0, 700.0])),
        fumes_kg_per_j=GAS_KG_PER_J if fuel else 0.0,
        vent_kg_s=draw(st.sampled_from([0.0, 0.2])),
        recuperated=draw(st.sampled_from([0.0, 0.6])),
        cooling_w_per_k=900.0,
        standby_k=draw(st.sampled_from([None, 600.0])),
        levels_k=(333.15, 500.0),
        scan_s=draw(st.sampled_from([20.0, 60.0, 333.0])),
    )


@settings(max_examples=60, deadline=None)
@given(furnace=furnaces(), seed=st.integers(0, 2**32), least=st.integers(1, 3))
def test_heat_is_neither_made_nor_lost_whatever_happens(furnace, seed, least):
    failures = (Failure(to_fail=exponential(4000.0), to_repair=exponential(900.0)),)
    furnace_machine = batch_furnace(
        "f",
        furnace,
        takes=("in",),
        gives=("out",),
        batch=(least, 5),
        failures=failures,
        sleep=Sleep(after_s=300.0, warm_up=deterministic(200.0)),
    )
    factory = Factory(
        machines=(
            source("parts", exponential(700.0), ("in",)),
            furnace_machine,
            Machine(name="saw", cycle=exponential(600.0), takes=("out",)),
        ),
        buffers=(Buffer(name="in"), Buffer(name="out", capacity=2)),
    )
    plan = FactoryPlan(factory)
    run = plan.initial_run(seed=seed)
    for until_s in (1_000.0, 10_000.0, 60_000.0):
        plan.run(run, until_s)
        assert residual(plan.ledger(run).furnaces, furnace).max() < 1e-10
    before = plan.ledger(run)
    fork = plan.copy(run)
    plan.clear_ledger(fork)
    assert np.abs(plan.ledger(fork).furnaces.heating_j).max() < 1e-3
    plan.run(fork, 90_000.0)
    plan.run(run, 90_000.0)
    whole, rest = plan.ledger(run), plan.ledger(fork)
    assert residual(rest.furnaces, furnace).max() < 1e-10
    for name in ("heating_j", "walls_j", "flue_j", "flue_kg", "cooled_j", "load_j", "stored_j", "flue_above_j"):
        a, b, c = (getattr(ledger.furnaces, name) for ledger in (whole, before, rest))
        np.testing.assert_allclose(a - b, c, rtol=1e-9, atol=1e-9 * np.abs(a).max() + 1e-6)
    found = whole.furnaces
    longest = np.where(found.heating_j > 0, whole.time_s[:, 1:2] * furnace.power_w, 0.0)
    assert (found.heating_j <= longest * (1 + 1e-9) + 1e-6).all()
    assert (found.flue_above_j[:, :, 0] >= found.flue_above_j[:, :, 1]).all()
    parts = whole.made[0, 0] - whole.lost[0, 0]
    server = run.view["server"][:3]
    on_machines = np.where(server["phase"] > 0, server["load"], 0)
    assert parts == whole.delivered[0, 2] + whole.level_now[0].sum() + on_machines[1:].sum()


def test_a_copy_goes_on_bit_by_bit_and_reading_changes_nothing():
    failures = (Failure(to_fail=exponential(5000.0), to_repair=exponential(500.0)),)
    plan = FactoryPlan(works(BURNT, parts=100, batch=(3, 10), failures=failures))
    straight, read = plan.initial_run(seed=3), plan.initial_run(seed=3)
    plan.run(straight, 50_000.0)
    for until_s in np.linspace(0.0, 50_000.0, 777):
        plan.run(read, float(until_s))
        plan.ledger(read)
        read = plan.from_bytes(plan.to_bytes(read)) if until_s < 20_000.0 else plan.copy(read)
    assert read.block.tobytes() == straight.block.tobytes()
    snapshot = straight.block.copy()
    plan.run(straight, 80_000.0)
    later = straight.block.tobytes()
    plan.restore(straight, snapshot)
    plan.run(straight, 80_000.0)
    assert straight.block.tobytes() == later


def test_threads_change_no_bit():
    failures = (Failure(to_fail=exponential(5000.0), to_repair=exponential(500.0)),)
    plan = FactoryPlan(works(BURNT, parts=100, batch=(3, 10), failures=failures))
    alone = plan.replicate(20, 50_000.0)
    with ThreadPoolExecutor(3) as threads:
        together = plan.replicate(20, 50_000.0, workers=threads.map, slices=5)
    assert (alone.furnaces.flue_above_j == together.furnaces.flue_above_j).all()
    assert (alone.furnaces.temperature_k == together.furnaces.temperature_k).all()
    assert alone.furnaces.flue_j.std() > 0


# ---- conventions ----


def test_the_chamber_is_at_its_target_at_the_end_of_a_ramp_that_power_suffices_for():
    furnace = replace(HEATED, load_s=0.0, recipe=(Segment(to_k=600.0, duration_s=6000.0), *HEATED.recipe))
    plan = FactoryPlan(works(furnace))
    run = plan.initial_run()
    for until_s, chamber_k in ((3000.0, (600.0 + 293.15) / 2), (6000.0, 600.0), (9000.0, 900.0), (10_020.0, 900.0)):
        plan.run(run, until_s)
        assert plan.ledger(run).furnaces.temperature_k[0, 0, 0] == pytest.approx(chamber_k, abs=1e-9)


def test_a_ramp_that_is_entered_midway_can_be_led_on_from_where_the_chamber_is():
    furnace = replace(HEATED, load_s=300.0)
    plan = FactoryPlan(works(furnace))
    run = plan.initial_run()
    plan.run(run, 100.0)
    left_s = furnace.seconds() - 300.0 - 1000.0  # a third of the ramp of 3,000 s is behind
    plan.inject(
        run, machines={"furnace": "busy"}, left_s={"furnace": left_s}, temperatures_k={"furnace": (700, 500, 500)}
    )
    plan.lead_on(run, "furnace")
    assert plan.position_s(run, "furnace") == pytest.approx(1300.0)
    for further_s in (500.0, 1000.0, 2000.0):  # evenly to the end of the ramp
        plan.run(run, 100.0 + further_s)
        chamber_k = plan.temperatures_k(run, "furnace")[0]
        assert chamber_k == pytest.approx(700.0 + 200.0 * further_s / 2000.0, abs=3.0)
    assert residual(plan.ledger(run).furnaces, furnace).max() < 1e-11


@pytest.mark.parametrize(
    ("chamber_k", "reached_s"),
    [(200.0, 300.0), (593.15, 300.0 + 1500.0), (903.15, 300.0 + 3000.0 + 900.0), (1000.0, 300.0 + 3000.0 + 900.0)],
    ids=["colder than all", "on the ramp", "held", "hotter than all"],
)
def test_how_far_a_batch_is_follows_from_the_chamber(chamber_k, reached_s):
    rising = Segment(to_k=893.15, duration_s=3000.0)
    held = Segment(to_k=903.15, duration_s=1800.0, hold=True)
    falling = Segment(to_k=500.0, duration_s=600.0)  # as warm as on the ramp, but for a shorter time
    furnace = replace(HEATED, load_s=300.0, recipe=(rising, held, falling))
    assert furnace.reached_s(chamber_k) == pytest.approx(reached_s)


@pytest.mark.parametrize("scan_s", [1.0, 60.0, 600.0])
def test_the_power_of_a_hold_falls_smoothly(scan_s):
    """The load warms and takes less and less; a controller that swings would not look like that."""
    hold = Segment(to_k=900.0, duration_s=30 * 600.0, hold=True)
    furnace = replace(HEATED, recipe=(Segment(to_k=900.0, duration_s=6000.0), hold), load_s=0.0, scan_s=scan_s)
    plan = FactoryPlan(works(furnace))
    run = plan.initial_run()
    heat_w = []
    for until_s in np.arange(6000.0 + 0.5 * scan_s, 23_000.0, max(scan_s, 60.0)):
        plan.run(run, float(until_s))
        heat_w.append(run.view["furnace"]["heat"][0])
    assert 0 < heat_w[-1] < heat_w[0] < furnace.power_w
    assert (np.diff(heat_w) < 0).all()
    assert (np.diff(heat_w, n=2) > 0).all()  # slower and slower


def test_the_electricity_of_the_heating_is_in_the_energy_by_state_and_in_series():
    plan = FactoryPlan(works(HEATED, power_w={"busy": 1000.0, "starved": 200.0}))
    busy = STATES.index("busy")
    run = plan.initial_run()
    plan.run(run, 7000.0)
    found = plan.ledger(run)
    assert found.energy_j[0, 0, busy] == pytest.approx(
        7000.0 * 1000.0 + found.furnaces.heating_j[0, 0, busy], rel=1e-12
    )
    series = plan.series(2, np.arange(0.0, 40_001.0, 250.0))
    whole = plan.replicate(2, 40_000.0)
    np.testing.assert_allclose(series.energy_j[:, :, 0].sum(axis=1), whole.energy_j.sum(axis=(1, 2)), rtol=1e-9)
    assert (series.energy_j > 0).all()
    furnaces = whole.furnaces
    for ours, theirs in (
        (series.flue_j, furnaces.flue_j),
        (series.flue_above_j, furnaces.flue_above_j),
        (series.fuel_j, furnaces.fuel_j),
    ):
        np.testing.assert_allclose(ours.sum(axis=1), theirs, rtol=1e-9)
    assert (np.diff(series.flue_above_j, axis=3) <= 0).all()
    gas = FactoryPlan(works(BURNT)).replicate(1, 7000.0)
    assert gas.energy_j.sum() == 0.0
    assert gas.furnaces.fuel_j.sum() == gas.furnaces.heating_j.sum() > 0.0


@pytest.mark.parametrize("furnace", [BURNT, HEATED], ids=["fuel", "electric"])
def test_the_heat_of_a_furnace_goes_to_parts_coolant_hall_and_exhaust(furnace):
    factory = works(furnace, power_w={"busy": 1000.0, "starved": 200.0})
    ledger = FactoryPlan(factory).replicate(2, 30_000.0)
    heat = heat_j(ledger, {"busy": HeatSplit(hall=0.9, coolant=0.1)})
    energy_j = ledger.energy_j.sum(axis=2) + ledger.furnaces.fuel_j
    np.testing.assert_allclose(heat.sum(axis=2), energy_j - ledger.furnaces.stored_j, rtol=1e-10)
    np.testing.assert_allclose(heat[:, :, SINKS.index("exhaust")], ledger.furnaces.flue_j, rtol=1e-12)
    used = indicators(factory, ledger).energy_per_good_part_j
    np.testing.assert_allclose(used, energy_j / ledger.made, rtol=1e-12)


def test_fumes_are_counted_above_each_level_of_temperature():
    """In a long hold nothing changes but the lining, so one scan is a matter of multiplication."""
    plan = FactoryPlan(works(replace(BURNT, load_s=0.0)))
    run = plan.initial_run()
    plan.run(run, 9000.0)
    before = plan.ledger(run).furnaces
    plan.run(run, 9060.0)
    after = plan.ledger(run).furnaces
    fumes_k = 293.15 + 0.7 * (1173.0 - 293.15)
    assert before.flue_k[0, 0] == pytest.approx(fumes_k, rel=1e-5)
    kg = after.flue_kg - before.flue_kg
    assert before.flue_kg_s * 60.0 == pytest.approx(kg, rel=1e-9)
    for k, level_k in enumerate(BURNT.levels_k):
        heat_j = after.flue_above_j[0, 0, k] - before.flue_above_j[0, 0, k]
        assert heat_j == pytest.approx(1100.0 * kg[0, 0] * (before.flue_k[0, 0] - level_k), rel=1e-6)
    assert (after.flue_above_j[0, 0, 2:] == 0).all()


def test_what_a_network_can_use_of_a_furnace_is_told_by_level():
    found = FactoryPlan(works(BURNT)).replicate(1, 30_000.0).furnaces
    warm, hot = (found.above_j("furnace", level_k) for level_k in BURNT.levels_k)
    assert warm > hot > 0
    assert warm < found.flue_j[:, 0] + found.cooled_j[:, 0]
    np.testing.assert_array_equal(hot, found.flue_above_j[:, 0, 1] + found.cooled_above_j[:, 0, 1])
    with pytest.raises(UnknownName, match="oven"):
        found.above_j("oven", 333.15)
    with pytest.raises(UnknownName, match=r"333\.15 K"):
        found.above_j("furnace", 400.0)


def test_a_failure_stops_the_heating_and_the_recipe_goes_on_where_it_stopped():
    broken = (Failure(to_fail=deterministic(4000.0), to_repair=deterministic(1000.0)),)
    plan = FactoryPlan(works(HEATED, parts=10, failures=broken))
    run = plan.initial_run()
    plan.run(run, 4010.0)
    down = plan.ledger(run).furnaces
    assert down.flue_kg_s[0, 0] == 0.0
    plan.run(run, 4990.0)
    later = plan.ledger(run).furnaces
    assert later.heating_j.sum() == down.heating_j.sum()
    assert later.temperature_k[0, 0, 0] < down.temperature_k[0, 0, 0]
    assert run.view["furnace"]["position"][0] == pytest.approx(4000.0)
    plan.run(run, 1000.0 + HEATED.seconds() - 1.0)
    assert plan.ledger(run).made[0, 0] == 0
    plan.run(run, 1000.0 + HEATED.seconds() + 1.0)
    assert plan.ledger(run).made[0, 0] == 10


def test_more_parts_take_more_heat():
    heat_j = []
    for parts in (1, 5, 10):
        plan = FactoryPlan(works(HEATED, parts=parts, batch=(1, 10)))
        run = plan.initial_run()
        plan.run(run, HEATED.seconds() + 1.0)
        found = plan.ledger(run).furnaces
        capacity = HEATED.carrier_j_per_k + parts * HEATED.part_j_per_k
        assert 0 < found.load_j[0, 0] < capacity * (900.0 - HEATED.hall_k)
        heat_j.append(found.heating_j.sum())
    assert heat_j[0] < heat_j[1] < heat_j[2]


def test_each_product_has_its_recipe():
    furnace = replace(HEATED, recipes={"hard": (Segment(to_k=1100.0, duration_s=4000.0),)})
    orders = (Order(name="a", product="soft", quantity=5), Order(name="b", product="hard", quantity=5))
    factory = Factory(
        machines=(
            order_book("orders", orders, ("in",), between=deterministic(1.0)),
            batch_furnace("f", furnace, takes=("in",), batch=(5, 5)),
        ),
        buffers=(Buffer(name="in"),),
    )
    plan = FactoryPlan(factory)
    run = plan.initial_run()
    second = 5.0 + furnace.seconds("soft")
    plan.run(run, second - 1.0 - furnace.unload_s)
    assert plan.ledger(run).furnaces.temperature_k[0, 0, 0] == pytest.approx(900.0, abs=0.1)
    plan.run(run, second + furnace.seconds("hard") - furnace.unload_s)
    assert plan.ledger(run).furnaces.temperature_k[0, 0, 0] == pytest.approx(1100.0, abs=0.1)
    plan.run(run, second + furnace.seconds("hard") + 1.0)
    assert plan.ledger(run).made[0, 1] == 10


def test_a_measured_furnace_can_be_told():
    plan = FactoryPlan(works(HEATED))
    run = plan.initial_run()
    plan.run(run, 100.0)
    plan.inject(
        run, machines={"furnace": "busy"}, left_s={"furnace": 2000.0}, temperatures_k={"furnace": (900, 700, 650)}
    )
    found = plan.ledger(run).furnaces
    np.testing.assert_allclose(found.temperature_k[0, 0], [900.0, 700.0, 650.0])
    assert residual(found, HEATED).max() < 1e-12
    plan.run(run, 100.0 + 2000.0 - HEATED.unload_s)
    assert plan.ledger(run).furnaces.temperature_k[0, 0, 0] == pytest.approx(900.0)
    assert residual(plan.ledger(run).furnaces, HEATED).max() < 1e-11
    plan.run(run, 2101.0)
    assert plan.ledger(run).made[0, 0] > 0
    plan.inject(run, machines={"furnace": "busy"}, parts={"furnace": 7})  # nothing known of the rest: the whole recipe
    assert run.view["furnace"]["parts"][0] == run.view["server"]["load"][0] == 7
    assert run.view["server"]["left"][0] == HEATED.seconds()
    with pytest.raises(InvalidInput, match="at most 10"):
        plan.inject(run, machines={"furnace": "busy"}, parts={"furnace": 11})
    with pytest.raises(InvalidInput, match="temperatures"):
        plan.inject(run, temperatures_k={"furnace": (900.0, math.nan, 650.0)})
    with pytest.raises(UnknownName, match="oven"):
        plan.inject(run, temperatures_k={"oven": (900.0, 700.0, 650.0)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"power_w": 0.0}, "power_w"),
        ({"wall_w_per_k": -1.0}, "wall_w_per_k"),
        ({"chamber_j_per_k": math.nan}, "chamber_j_per_k"),
        ({"scan_s": 0.0}, "scan_s"),
        ({"scan_s": 3600.0}, "too long"),
        ({"efficiency": 1.2}, "efficiency"),
        ({"recuperated": 1.0}, "recuperated"),
        ({"heating": "steam"}, "steam"),
        ({"heating": "electric"}, "vent_kg_s"),
        ({"levels_k": (300.0,) * 5}, "levels_k"),
        ({"standby_k": -5.0}, "standby_k"),
        ({"recipe": ()}, "a segment"),
        ({"recipe": (Segment(to_k=900.0, duration_s=0.0),)}, "in 0.0 s"),
        ({"recipe": (Segment(to_k=3500.0, duration_s=10.0),)}, "all of the fuel"),
        ({"cooling_w_per_k": 0.0}, "cooling_w_per_k"),
    ],
)
def test_a_furnace_that_cannot_be_is_refused_with_its_reason(changes, said):
    with pytest.raises(InvalidTerritory, match=said):
        works(replace(BURNT, **changes))


def test_a_machine_keeps_the_time_of_its_furnace():
    machine = batch_furnace("f", HEATED, takes=("in",), batch=(1, 2))
    buffers = (Buffer(name="in"),)
    with pytest.raises(InvalidTerritory, match="batch_furnace"):
        Factory(machines=(replace(machine, cycle=deterministic(1.0)),), buffers=buffers)
    with pytest.raises(InvalidTerritory, match="one slot"):
        Factory(machines=(replace(machine, slots=2),), buffers=buffers)
