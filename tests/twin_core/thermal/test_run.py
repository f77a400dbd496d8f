"""Many steps in one call: what they are one by one, to the last bit, whoever asks for what."""

import runpy
import signal
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput, ModelFailure, UnknownName
from uem.twin_core.plant.network import Network, Node, Valve, ValveKind
from uem.twin_core.plant.units import FlowControl, HeatLoad, StorageTank
from uem.twin_core.thermal import network as network_module
from uem.twin_core.thermal.network import NetworkPlan

NETWORKS = runpy.run_path(str(Path(__file__).with_name("test_lanes.py")))
ring, branch, pipe, STEEL = (NETWORKS[name] for name in ("ring", "branch", "pipe", "STEEL"))
STEPS = 30


def with_a_valve():
    valve = Valve(name="v", start="a", end="c", kind=ValveKind.CONTROL, inner_diameter_m=0.04, opening=0.5)
    return ring(valves=(valve,))


def with_a_tank():
    """Customers by heat, and a tank between return and supply, whose state goes with it."""
    network = ring()
    tank = StorageTank(name="tank", start="dr", end="d", volume_m3=50.0, height_m=6.0)
    loads = tuple(
        replace(unit, flow_kg_s=None, heat_w=3e4) if isinstance(unit, HeatLoad) else unit for unit in network.units
    )
    return ring(units=(*loads, tank))


MADE = {
    "given flows": branch,
    "rings": ring,
    "throttled": lambda: ring(FlowControl.THROTTLED),
    "short pipes": lambda: ring(length_m=9.0),
    "valves": with_a_valve,
    "tank": with_a_tank,
}


def weather(plan, steps=STEPS, seed=1, least=0.05):
    """A course of every input that makes a difference, some of it in common."""
    rng, inputs, members = np.random.default_rng(seed), plan.inputs(), plan.members
    found = {"ambient_temp_k": rng.uniform(265.0, 290.0, (steps, members))}
    if plan._network.flows_are_imposed:
        found["node_supply_temp_k"] = rng.uniform(340.0, 360.0, steps)
        found["node_demand_kg_s"] = rng.uniform(-0.3, 1.0, (steps, len(plan.nodes), members))
        return found
    if inputs.units_with.get("supply_temp_k"):
        found["supply_temp_k"] = rng.uniform(340.0, 360.0, (steps, 1, members))
    if "flow_kg_s" in inputs.units_with:
        count = len(inputs.units_with["flow_kg_s"])
        found["flow_kg_s"] = np.maximum(rng.uniform(-0.2, 1.0, (steps, count, members)), least)
    found["fixed_pressure_pa"] = 6e5 + rng.uniform(0.0, 1e4, (steps, 1)) + np.zeros(len(plan.nodes))
    if not inputs.units_with.get("supply_temp_k"):
        found["fixed_pressure_pa"][:, 0] += 3e5
    if plan.valves:
        found["valve_opening"] = rng.uniform(0.0, 1.0, (steps, 1, members))
    return found


def stepped(plan, course, dt_s, steps=STEPS, start=340.0, records=None):
    """The same by single steps."""
    state, inputs = plan.initial_state(start), plan.inputs()
    states = []
    for k in range(steps):
        for name, series in course.items():
            values = np.asarray(series)[k]
            if name == "ambient_temp_k":
                inputs.ambient_temp_k[:] = values
            elif name in inputs.units_with:
                inputs.set_commands(name, np.broadcast_to(values, (len(inputs.units_with[name]), plan.members)))
            else:
                array = getattr(inputs, name)
                array[:] = np.reshape(values, np.shape(values) + (1,) * (2 - np.ndim(values)))
        plan.step(state, dt_s, inputs)
        states.append(state.copy())
    return states


@pytest.fixture(params=NETWORKS["LEVELS"])
def level(request, monkeypatch):
    return NETWORKS["use"](request.param, monkeypatch)


@pytest.mark.parametrize("dt_s", [60.0, 600.0])
@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_run_is_its_steps_to_the_last_bit(level, make, dt_s):
    plan = NetworkPlan(make(), 2 * level.WIDTH + 3, fidelity="planning")
    course = weather(plan)
    expected = stepped(plan, course, dt_s)[-1]
    state, inputs = plan.initial_state(340.0), plan.inputs()
    plan.run(state, dt_s, inputs, STEPS, course)
    assert state.to_bytes() == expected.to_bytes()
    for mine, others in zip(inputs._values(), plan.inputs()._values(), strict=True):
        np.testing.assert_array_equal(mine, others)


@pytest.mark.parametrize(("members", "fidelity"), [(1, "full"), (1, "planning"), (3, "full")])
def test_plans_without_vectors_run_too(members, fidelity):
    plan = NetworkPlan(ring(), members, fidelity=fidelity)
    course = weather(plan)
    states = stepped(plan, course, 60.0)
    state, records = (
        plan.initial_state(340.0),
        plan.records(STEPS, {"node_temp_k": None, "heat_j": ["plant"]}, every=10),
    )
    plan.run(state, 60.0, plan.inputs(), STEPS, course, records)
    assert state.to_bytes() == states[-1].to_bytes()
    np.testing.assert_array_equal(records["node_temp_k"], [states[k].node_temp_k for k in (9, 19, 29)])
    heat = [plan.unit_results(states[k])["plant"]["heat_j"] for k in (9, 19, 29)]
    np.testing.assert_array_equal(records["heat_j"][:, 0], heat)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_records_are_what_the_state_tells_after_those_steps(level, make):
    plan = NetworkPlan(make(), level.WIDTH + 3, fidelity="planning")
    course = weather(plan)
    states = stepped(plan, course, 60.0)
    nodes = [plan.nodes[3], plan.nodes[1]]
    keep = {
        "node_temp_k": nodes,
        "node_pressure_pa": nodes,
        "node_unsupplied": nodes,
        "pipe_flow_kg_s": None,
        "pipe_outlet_temp_k": [plan.pipes[2]],
        "energy_loss_j": None,
    }
    if plan.units:
        keep |= {"unit_flow_kg_s": [plan.units[-1]], "heat_j": None}
    records = plan.records(STEPS, keep, every=7)
    state = plan.initial_state(340.0)
    plan.run(state, 60.0, plan.inputs(), STEPS, course, records)
    assert state.to_bytes() == states[-1].to_bytes()
    assert records.step.tolist() == [7, 14, 21, 28]
    kept = [states[k - 1] for k in records.step]
    for name in ("node_temp_k", "node_pressure_pa", "node_unsupplied"):
        np.testing.assert_array_equal(records[name], [getattr(one, name)[[3, 1]] for one in kept], err_msg=name)
    np.testing.assert_array_equal(records["pipe_flow_kg_s"], [one.pipe_flow_kg_s for one in kept])
    np.testing.assert_array_equal(records["pipe_outlet_temp_k"], [one.pipe_outlet_temp_k[[2]] for one in kept])
    np.testing.assert_array_equal(records["energy_loss_j"], [one.energy_loss_j for one in kept])
    if plan.units:
        np.testing.assert_array_equal(records["unit_flow_kg_s"], [one.unit_flow_kg_s[-1:] for one in kept])
        heat = [[some["heat_j"] for some in plan.unit_results(one).values()] for one in kept]
        np.testing.assert_array_equal(records["heat_j"], heat)


def test_pieces_and_threads_give_the_same_bits(level, monkeypatch):
    plan = NetworkPlan(ring(), 3 * level.WIDTH + 1, fidelity="planning")
    course = weather(plan)
    whole, shared = plan.initial_state(340.0), plan.initial_state(340.0)
    plan.run(whole, 60.0, plan.inputs(), STEPS, course)
    monkeypatch.setattr(network_module, "MEMBER_PIPES_OF_A_PIECE", 0)
    ends, inputs = [0, 1, level.WIDTH + 1, 2 * level.WIDTH, plan.members], plan.inputs()
    kept, apart = (plan.records(STEPS, {"node_temp_k": None}) for _ in range(2))
    threads = [
        threading.Thread(target=plan.run, args=(shared, 60.0, inputs, STEPS, course, apart, first, last))
        for first, last in pairwise(ends)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = plan.initial_state(340.0)
    plan.run(again, 60.0, inputs, STEPS, course, kept)
    assert shared.to_bytes() == whole.to_bytes() == again.to_bytes()
    np.testing.assert_array_equal(kept["node_temp_k"], apart["node_temp_k"])


@pytest.mark.parametrize("make", [ring, with_a_tank], ids=["rings", "tank"])
def test_a_member_that_fails_stops_before_that_step_and_no_other_notices(level, make, monkeypatch):
    monkeypatch.setattr(network_module, "MEMBER_PIPES_OF_A_PIECE", 0)  # pieces of 8 steps
    plan = NetworkPlan(make(), level.WIDTH + 4, fidelity="planning")
    course = weather(plan, least=0.2)
    right = plan.initial_state(340.0)
    plan.run(right, 60.0, plan.inputs(), STEPS, course)
    expected = stepped(plan, course, 60.0, steps=12)[10]  # eleven steps done
    course["supply_temp_k"][11, 0, 2] = 600.0
    course["supply_temp_k"][20:, 0, 5] = 600.0
    state, records = plan.initial_state(340.0), plan.records(STEPS, {"node_temp_k": None})
    with pytest.raises(ModelFailure, match="unit plant, member 2, step 12 would"):
        plan.run(state, 60.0, plan.inputs(), STEPS, course, records)
    others = [m for m in range(plan.members) if m not in (2, 5)]
    for here, there in zip(state._members(), right._members(), strict=True):
        np.testing.assert_array_equal(here[others], there[others])
    for here, there in zip(state._members(), expected._members(), strict=True):
        np.testing.assert_array_equal(here[2], there[2])
    for name in (*state.BY_MEMBER, "node_pressure_pa"):
        np.testing.assert_array_equal(getattr(state, name)[..., others], getattr(right, name)[..., others])
        np.testing.assert_array_equal(getattr(state, name)[..., 2], getattr(expected, name)[..., 2], err_msg=name)
    np.testing.assert_array_equal(state._unit_results[2], expected._unit_results[2])
    gone = np.isnan(records["node_temp_k"]).all(axis=1)
    assert gone.any(axis=0).nonzero()[0].tolist() == [2, 5]
    assert gone.argmax(axis=0)[[2, 5]].tolist() == [11, 20]


def test_a_block_whose_members_have_all_failed_is_left_alone_by_a_last_piece_of_one_step(level, monkeypatch):
    monkeypatch.setattr(network_module, "MEMBER_PIPES_OF_A_PIECE", 0)  # pieces of 8 steps and one of 1
    plan = NetworkPlan(ring(), 2 * level.WIDTH, fidelity="planning")
    course = weather(plan, steps=9, least=0.2)
    failed, well = range(level.WIDTH, 2 * level.WIDTH), range(level.WIDTH)
    course["supply_temp_k"][2:, 0, level.WIDTH :] = 600.0
    states = stepped(plan, {name: np.asarray(series)[:2] for name, series in course.items()}, 60.0, steps=2)
    state, records = plan.initial_state(340.0), plan.records(9, {"node_temp_k": None})
    with pytest.raises(ModelFailure, match=f"member {level.WIDTH}, step 3 would"):
        plan.run(state, 60.0, plan.inputs(), 9, course, records)
    np.testing.assert_array_equal(state.node_temp_k[:, failed], states[1].node_temp_k[:, failed])
    assert np.isnan(records["node_temp_k"][2:, :, failed]).all()
    assert np.isfinite(records["node_temp_k"][:, :, well]).all()


def test_a_member_of_the_full_scheme_that_fails_stops_too():
    plan = NetworkPlan(ring(), 3)
    course = weather(plan, least=0.2)
    right, expected = stepped(plan, course, 60.0)[-1], stepped(plan, course, 60.0, steps=11)[-1]
    course["supply_temp_k"][11, 0, 1] = 600.0
    state = plan.initial_state(340.0)
    with pytest.raises(ModelFailure, match="member 1, step 12 would"):
        plan.run(state, 60.0, plan.inputs(), STEPS, course)
    np.testing.assert_array_equal(state.node_temp_k[:, [0, 2]], right.node_temp_k[:, [0, 2]])
    np.testing.assert_array_equal(state.node_temp_k[:, 1], expected.node_temp_k[:, 1])


def test_an_interrupt_ends_a_long_run_with_all_members_at_the_same_step(monkeypatch):
    monkeypatch.setattr(network_module, "MEMBER_PIPES_OF_A_PIECE", 0)
    plan = NetworkPlan(ring(), 19, fidelity="planning")
    state, inputs = plan.initial_state(340.0), plan.inputs()
    main = threading.get_ident()

    def interrupt():
        for _ in range(1000):
            if state.total_loss_j[0] > 0.0:
                break
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        plan.run(state, 60.0, inputs, 1_000_000)  # minutes
    thread.join()
    for one in (state._total_j, state.node_temp_k, state.edge_flow_kg_s):
        np.testing.assert_array_equal(one, np.repeat(one[..., :1], 19, axis=-1))
    assert state.total_loss_j[0] > 0.0


def test_what_does_not_fit_is_refused():
    plan = NetworkPlan(ring(), 5, fidelity="planning")
    state, inputs = plan.initial_state(340.0), plan.inputs()
    before = state.to_bytes()
    for course, error, message in (
        ({"flow": [1.0]}, UnknownName, "unknown input 'flow'; known: .*flow_kg_s"),
        ({"flow_kg_s": np.ones(3)}, InvalidInput, r"flow_kg_s: a series of shape \(3,\); \(4, 5, 5\) or less"),
        ({"flow_kg_s": np.ones((4, 2))}, InvalidInput, r"shape \(4, 2\)"),
        ({"ambient_temp_k": np.ones((4, 6))}, InvalidInput, r"shape \(4, 6\); \(4, 5\)"),
        ({"ambient_temp_k": [280.0, 281.0, np.nan, 280.0]}, InvalidInput, "ambient_temp_k: nan in step 3"),
        ({"flow_kg_s": np.full((4, 5), 1e13)}, InvalidInput, "1e.12 is allowed"),
    ):
        with pytest.raises(error, match=message):
            plan.run(state, 60.0, inputs, 4, course)
    with pytest.raises(InvalidInput, match="run of 0 steps"):
        plan.run(state, 60.0, inputs, 0)
    with pytest.raises(InvalidInput, match="records are of another run"):
        plan.run(state, 60.0, inputs, 4, records=plan.records(5, {}))
    with pytest.raises(UnknownName, match="quantity 'temperature'"):
        plan.records(4, {"temperature": None})
    with pytest.raises(UnknownName, match="unknown node_temp_k 'x'"):
        plan.records(4, {"node_temp_k": ["x"]})
    with pytest.raises(InvalidInput, match="after every 0"):
        plan.records(4, {}, every=0)
    with pytest.raises(UnknownName, match="record 'heat_j'"):
        plan.records(4, {"node_temp_k": None})["heat_j"]
    assert state.to_bytes() == before


def test_a_network_without_units_or_elements_runs():
    network = Network(
        name="two",
        nodes=(Node(name="p", pressure_pa=6e5, supply_temp_k=350.0), Node(name="a", demand_kg_s=0.3)),
        pipes=(pipe("p a", "p", "a"),),
        pipe_classes=(STEEL,),
        ambient_temp_k=280.0,
    )
    plan = NetworkPlan(network, 3, fidelity="planning")
    state, records = plan.initial_state(300.0), plan.records(200, {"node_temp_k": ["a"]}, every=100)
    plan.run(state, 60.0, plan.inputs(), 200, {"node_demand_kg_s": np.full(200, 0.5)}, records)
    assert records["node_temp_k"].shape == (2, 1, 3)
    np.testing.assert_allclose(records["node_temp_k"][1], 349.0, atol=1.0)
