"""Factories and the network that takes their heat: nothing is lost at the border, alarms come back, forks are exact."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shipped import shipped

from uem.twin_core.coupled import CoupledPlan
from uem.twin_core.errors import InvalidInput, TwinError, UnknownName
from uem.twin_core.plant.factory import MOST_TEMP_K, FactorySite, HeatStream
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.production import Buffer, Factory, batch_furnace
from uem.twin_core.plant.units import FlowControl, HeatPump
from uem.twin_core.production.plan import STATES

PLAIN = runpy.run_path(str(Path(__file__).with_name("production") / "furnaces.py"))["PLAIN"]
QUARTIER = shipped("quartier")
RING = QUARTIER.networks[0]
SHOP = QUARTIER.factories[0]
AT_SEVEN_S = 7 * 3600.0


@pytest.fixture(scope="module")
def plan():
    return CoupledPlan(RING, [SHOP])


def winter(plan):
    inputs = plan.inputs()
    inputs.set_commands("outdoor_temp_k", 268.15)
    return inputs


def begin(plan, seed=1):
    warm = [323.15 if name.endswith("-return") else 353.15 for name in plan.network.nodes]
    return plan.initial_state(np.array(warm), seed=seed)


def at_work(plan, seed=1):
    """A state at seven on Monday, when the shop works."""
    state = begin(plan, seed)
    for site, run in zip(plan.factories, state.runs, strict=True):
        site.run(run, AT_SEVEN_S)
    return state


def same(plan, one, other):
    return plan.to_bytes(one) == plan.to_bytes(other)


def with_loop(**changes):
    stream = SHOP.heat[0]
    return replace(SHOP, heat=(replace(stream, loop=replace(stream.loop, **changes)),))


def without_flow(network: Network):
    """The network with an exchanger that nearly nothing goes through."""
    units = tuple(
        replace(u, maximum_flow_kg_s=1e-3, minimum_flow_kg_s=0.0) if u.name == "waste-heat" else u
        for u in network.units
    )
    return replace(network, units=units)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_heat_that_leaves_the_factory_is_taken_thrown_away_or_in_the_loop(plan, seed):
    rng = np.random.default_rng(seed)
    state, inputs, taken_j = at_work(plan, seed), winter(plan), 0.0
    ledger = plan.factories[0].ledger(state.runs[0])
    before_j, elapsed_s = ledger.energy_j.sum(), 0.0
    for _ in range(120):
        dt_s = float(rng.choice([1.0, 10.0, 60.0, 37.3]))
        inputs.unit_commands["waste-heat"]["supply_temp_k"][:] = rng.choice([343.15, 353.15, 363.15])
        plan.set_limit(state, "hardening-shop", "cooling", float(rng.choice([0.0, 190.0, 400.0])))
        plan.step(state, dt_s, inputs)
        taken_j += plan.network.unit_results(state.heat)["waste-heat"]["heat_j"][0]
        elapsed_s += dt_s
    balance_j = state.produced_j - state.taken_j - state.dumped_j - plan.stored_j(state)
    np.testing.assert_allclose(balance_j / state.produced_j, 0.0, atol=1e-9)
    # What the factory tells itself, and what the network does.
    used_j = plan.factories[0].ledger(state.runs[0]).energy_j.sum() - before_j
    np.testing.assert_allclose(state.produced_j.sum() + state.hall_j.sum(), used_j, rtol=1e-9)
    np.testing.assert_allclose(taken_j, state.taken_j[0], rtol=1e-12)
    assert state.runs[0].now_s == pytest.approx(AT_SEVEN_S + elapsed_s, abs=1e-6)
    heat = state.heat
    through = heat.total_in_j - heat.total_out_j - heat.total_loss_j - heat.total_stored_change_j
    np.testing.assert_allclose(through / heat.total_in_j, 0.0, atol=1e-9)


def test_produced_heat_is_the_share_of_the_exact_integral_of_power(plan):
    state, inputs = at_work(plan), winter(plan)
    shares = SHOP.heat[0].shares
    alone = plan.factories[0].copy(state.runs[0])
    before = plan.factories[0].ledger(alone).energy_j[0]
    plan.factories[0].run(alone, AT_SEVEN_S + 3600.0)
    energy_j = plan.factories[0].ledger(alone).energy_j[0] - before
    machines = plan.factories[0].machines
    expected_j = sum(
        share * energy_j[machines.index(machine), STATES.index(name)]
        for machine, by_state in shares.items()
        for name, share in by_state.items()
    )
    for _ in range(60):
        plan.step(state, 60.0, inputs)
    np.testing.assert_allclose(state.produced_j, [expected_j], rtol=1e-12)
    np.testing.assert_array_equal(state.runs[0].block, alone.block)


def test_steps_of_any_length_give_the_same_production_and_nearly_the_same_heat(plan):
    inputs = winter(plan)
    ends = []
    for dt_s in (20.0, 60.0, 1800.0):
        state = at_work(plan)
        for _ in range(round(7200.0 / dt_s)):
            plan.step(state, dt_s, inputs)
        ends.append(state)
    for other in ends[1:]:
        np.testing.assert_allclose(other.produced_j, ends[0].produced_j, rtol=1e-12)
        np.testing.assert_allclose(other.taken_j, ends[0].taken_j, rtol=0.02)


def test_a_fork_and_saved_bytes_go_on_bit_by_bit_and_a_restored_state_does_it_again(plan):
    state, inputs = at_work(plan), winter(plan)
    for _ in range(20):
        plan.step(state, 60.0, inputs)
    fork, saved, kept = plan.copy(state), plan.to_bytes(state), plan.copy(state)
    read = plan.state_from_bytes(saved)
    for _ in range(40):
        for one in (state, fork, read):
            plan.step(one, 45.0, inputs)
    assert same(plan, state, fork)
    assert same(plan, state, read)
    end = plan.to_bytes(state)
    plan.restore(state, kept)
    assert plan.to_bytes(state) == saved
    for _ in range(40):
        plan.step(state, 45.0, inputs)
    assert plan.to_bytes(state) == end


def test_damaged_bytes_and_those_of_other_factories_are_refused(plan):
    saved = plan.to_bytes(begin(plan))
    with pytest.raises(InvalidInput, match="damaged"):
        plan.state_from_bytes(saved[:-1] + bytes([saved[-1] ^ 1]))
    with pytest.raises(InvalidInput, match="no state"):
        plan.state_from_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="other factories"):
        CoupledPlan(RING, []).state_from_bytes(saved)
    for other in (with_loop(utility=""), replace(SHOP, heat=(replace(SHOP.heat[0], name="other"),))):
        with pytest.raises(InvalidInput, match="other factories"):
            CoupledPlan(RING, [other]).state_from_bytes(saved)


def test_a_step_that_fails_leaves_everything_as_it_was(plan):
    state, inputs = at_work(plan), winter(plan)
    plan.step(state, 60.0, inputs)
    before = plan.to_bytes(state)
    inputs.ambient_temp_k[:] = np.nan
    with pytest.raises(TwinError):
        plan.step(state, 600.0, inputs)
    assert plan.to_bytes(state) == before
    with pytest.raises(InvalidInput, match="positive"):
        plan.step(state, -1.0, inputs)


def test_heat_that_the_network_cannot_take_is_thrown_away_by_the_recooler():
    plan = CoupledPlan(without_flow(RING), [SHOP])
    state, inputs = at_work(plan), winter(plan)
    for _ in range(180):
        plan.step(state, 60.0, inputs)
    assert state.taken_j[0] < 0.01 * state.produced_j[0]
    assert state.dumped_j[0] > 0.8 * state.produced_j[0]
    assert state.temp_k[0] <= SHOP.heat[0].loop.recool_temp_k + 1.0
    assert not state.alarm[0]


def test_the_recooler_takes_no_more_than_its_power_in_steps_of_any_length():
    plan = CoupledPlan(without_flow(RING), [with_loop(recool_w=50e3)])
    state, inputs = at_work(plan), winter(plan)
    state.temp_k[0] = SHOP.heat[0].loop.recool_temp_k + 3.0
    for dt_s in (1.0, 20.0, 60.0, 150.0):
        before_j = state.dumped_j[0]
        plan.step(state, dt_s, inputs)
        assert state.dumped_j[0] - before_j == pytest.approx(50e3 * dt_s, rel=1e-9)


def test_a_loop_that_nothing_cools_and_no_alarm_stops_ends_at_the_hottest_that_a_model_can_tell():
    plan = CoupledPlan(without_flow(RING), [with_loop(recool_w=0.0, utility="", temp_k=MOST_TEMP_K - 1.0)])
    state, inputs = at_work(plan), winter(plan)
    for _ in range(60):
        plan.step(state, 60.0, inputs)
        assert state.temp_k[0] <= MOST_TEMP_K * (1.0 + 1e-12)
    assert state.dumped_j[0] > 0.5 * state.produced_j[0]
    balance_j = state.produced_j - state.taken_j - state.dumped_j - plan.stored_j(state)
    assert abs(balance_j[0]) < 1e-9 * state.produced_j[0]


def test_without_any_cooling_the_alarm_stops_the_furnaces_until_the_loop_is_cool_again():
    site = with_loop(recool_w=120e3, clear_temp_k=97.0 + 273.15)
    plan = CoupledPlan(without_flow(RING), [site])
    state, inputs = at_work(plan), winter(plan)
    furnaces, short = plan.factories[0].machines.index("furnaces"), STATES.index("short")
    alarms = []
    for _ in range(600):
        plan.step(state, 60.0, inputs)
        alarms.append(bool(state.alarm[0]))
    assert any(alarms)
    stopped_s = plan.factories[0].ledger(state.runs[0]).time_s[0, furnaces, short]
    assert stopped_s > 0.9 * 60.0 * sum(alarms)
    # The furnaces that stand still give off less, but something: the loop goes little above the alarm and comes back.
    first = alarms.index(True)
    assert not all(alarms[first:])
    limit = state.runs[0].view["utility"]["limit"][0]
    assert limit == (0.0 if alarms[-1] else 400.0)


def test_a_shortage_from_outside_is_an_event_of_the_factory(plan):
    state, inputs = at_work(plan), winter(plan)
    free, short = plan.copy(state), plan.copy(state)
    plan.set_limit(short, "hardening-shop", "cooling", 0.0)
    for one in (free, short):
        for _ in range(120):
            plan.step(one, 60.0, inputs)
    assert short.produced_j[0] < 0.7 * free.produced_j[0]
    with pytest.raises(UnknownName, match="hardening-shop"):
        plan.set_limit(state, "bakery", "cooling", 0.0)
    with pytest.raises(UnknownName, match="cooling"):
        plan.set_limit(state, "hardening-shop", "steam", 0.0)


def test_a_shortage_outlasts_an_alarm_and_an_alarm_goes_on_through_the_end_of_a_shortage(plan):
    state, inputs = begin(plan), winter(plan)
    limit = state.runs[0].view["utility"]["limit"]
    state.temp_k[0] = 380.0
    plan.step(state, 1.0, inputs)
    assert state.alarm[0]
    assert limit[0] == 0.0
    plan.set_limit(state, "hardening-shop", "cooling", 190.0)
    assert limit[0] == 0.0
    ended = plan.state_from_bytes(plan.to_bytes(state))
    ended.temp_k[0] = 330.0
    plan.step(ended, 1.0, inputs)
    assert not ended.alarm[0]
    assert ended.runs[0].view["utility"]["limit"][0] == 190.0
    plan.set_limit(ended, "hardening-shop", "cooling", 400.0)
    assert ended.runs[0].view["utility"]["limit"][0] == 400.0


def test_of_two_alarms_the_one_that_leaves_less_counts_whichever_comes_first():
    network, exchanger = RING, next(unit for unit in RING.units if unit.name == "waste-heat")
    network = replace(network, units=(*network.units, replace(exchanger, name="second")))
    (stream,) = SHOP.heat
    loops = [
        replace(stream.loop, alarm_limit=limit, unit=unit) for limit, unit in ((50.0, "waste-heat"), (9.0, "second"))
    ]
    heat = (replace(stream, loop=loops[0]), replace(stream, name="other", shares={}, loop=loops[1]))
    plan = CoupledPlan(network, [replace(SHOP, heat=heat)])
    state, inputs = begin(plan), winter(plan)
    for temps_k, expected in (
        ((380.0, 330.0), 50.0),
        ((380.0, 380.0), 9.0),
        ((330.0, 380.0), 9.0),
        ((380.0, 380.0), 9.0),
        ((380.0, 330.0), 50.0),
        ((330.0, 330.0), 400.0),
    ):
        state.temp_k[:] = temps_k
        plan.step(state, 1.0, inputs)
        assert state.runs[0].view["utility"]["limit"][0] == expected, temps_k


def test_more_flow_than_a_loop_is_stepped_for_is_refused(plan):
    state, inputs = begin(plan), winter(plan)
    before = plan.to_bytes(state)
    inputs.unit_commands["waste-heat"]["stream_flow_kg_s"][:] = 1e4
    with pytest.raises(InvalidInput, match="waste-heat: stream_flow_kg_s 10000 is more than"):
        plan.step(state, 60.0, inputs)
    assert plan.to_bytes(state) == before


def test_a_loop_that_holds_next_to_nothing_is_refused_with_the_remedy():
    with pytest.raises(InvalidInput, match="content_m3"):
        CoupledPlan(RING, [with_loop(content_j_k=1e3)])


def test_two_streams_at_one_exchanger_are_refused_since_its_heat_would_be_counted_twice():
    (stream,) = SHOP.heat
    twice = replace(SHOP, heat=(stream, replace(stream, name="other", shares={})))
    with pytest.raises(InvalidInput, match="unit waste-heat takes heat quench-loop of hardening-shop already"):
        CoupledPlan(RING, [twice])


def test_fumes_of_a_furnace_warm_the_loop_and_none_of_it_is_lost():
    furnace = replace(PLAIN, heating="fuel", fumes_kg_per_j=4e-7, levels_k=(368.15,))
    works = Factory(
        machines=(batch_furnace("kiln", furnace, takes=("in",), batch=(10, 10)),),
        buffers=(Buffer(name="in", initial=500),),
    )
    fumes = HeatStream(name="fumes", shares={}, furnaces={"kiln": 368.15}, loop=replace(SHOP.heat[0].loop, utility=""))
    plan = CoupledPlan(RING, [FactorySite(factory=works, heat=(fumes,))])
    state, inputs = begin(plan), winter(plan)
    for _ in range(100):
        plan.step(state, 60.0, inputs)
    produced_j = plan.factories[0].ledger(state.runs[0]).furnaces.above_j("kiln", 368.15)
    np.testing.assert_allclose(state.produced_j, produced_j, rtol=1e-9)
    balance_j = state.produced_j - state.taken_j - state.dumped_j - plan.stored_j(state)
    np.testing.assert_allclose(balance_j / state.produced_j, 0.0, atol=1e-9)
    assert state.taken_j[0] > 0.3 * state.produced_j[0] > 0
    used_j = plan.factories[0].ledger(state.runs[0]).furnaces.fuel_j.sum()
    np.testing.assert_allclose(state.hall_j + state.produced_j, used_j, rtol=1e-9)
    again = plan.state_from_bytes(plan.to_bytes(state))
    plan.step(state, 600.0, inputs)
    plan.step(again, 600.0, inputs)
    assert same(plan, state, again)


def test_a_loop_is_the_source_of_a_heat_pump_and_gives_what_that_takes_from_it():
    pump = HeatPump(
        name="waste-heat",
        start="factory-return",
        end="factory",
        flow_control=FlowControl.PUMPED,
        nominal_heat_w=150e3,
        supply_temp_k=353.15,
        source_flow_kg_s=2.0,
        lowest_source_temp_k=293.15,
    )
    network = replace(RING, units=tuple(pump if unit.name == "waste-heat" else unit for unit in RING.units))
    plan = CoupledPlan(network, [with_loop(temp_k=318.15, recool_temp_k=323.15)])
    state, inputs = at_work(plan), winter(plan)
    taken_j = electricity_j = heat_j = 0.0
    for _ in range(60):
        plan.step(state, 60.0, inputs)
        results = plan.network.unit_results(state.heat)["waste-heat"]
        taken_j += results["source_heat_j"][0]
        electricity_j += results["electricity_j"][0]
        heat_j += results["heat_j"][0]
        assert inputs.unit_commands["waste-heat"]["source_temp_k"][0] == pytest.approx(state.temp_k[0], abs=5.0)
    assert taken_j > 100e6
    assert state.taken_j[0] == pytest.approx(taken_j, rel=1e-12)
    assert taken_j + electricity_j == pytest.approx(heat_j, rel=1e-9)
    balance_j = state.produced_j - state.taken_j - state.dumped_j - plan.stored_j(state)
    assert abs(balance_j[0]) < 1e-9 * state.produced_j[0]
    inputs.unit_commands["waste-heat"]["source_flow_kg_s"][:] = 3.0
    with pytest.raises(InvalidInput, match="source_flow_kg_s 3 is more than the 2 kg/s"):
        plan.step(state, 60.0, inputs)
