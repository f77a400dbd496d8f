"""Members of an ensemble side by side in vectors: what they are one after the other, whatever the processor, the
company and the threads."""

import threading
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput, ModelFailure
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass, Valve, ValveKind
from uem.twin_core.plant.units import FlowControl, HeatLoad, HeatSource
from uem.twin_core.thermal import lanes, levels
from uem.twin_core.thermal import network as network_module
from uem.twin_core.thermal.geometry import pipe_geometry
from uem.twin_core.thermal.levels import vectors
from uem.twin_core.thermal.network import NetworkPlan
from uem.twin_core.thermal.rings import MEMO_NUMBERS, Rings

LEVELS = lanes.LEVELS[: vectors() + 1]
STEEL = PipeClass(
    name="steel",
    inner_diameter_m=0.05,
    outer_diameter_m=0.06,
    wall_density_kg_m3=7850.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=4.0,
)
SUPPLY_K = 353.15


def pipe(name, start, end, length_m=120.0):
    return Pipe(name=name, start=start, end=end, length_m=length_m, pipe_class="steel")


def ring(control=FlowControl.PUMPED, length_m=90.0, **more):
    """A plant, two rings of supply pipes with the return beside them, a dead end, and a customer at every node.

    With throttled customers there is no plant: water comes in under pressure at p and leaves at pr.
    """
    throttled = control is FlowControl.THROTTLED
    streets = [("p", "a"), ("a", "b"), ("b", "c"), ("c", "p"), ("b", "d"), ("d", "c"), ("d", "e")]
    names = ["p", "a", "b", "c", "d", "e"]
    parts = {
        "name": "ring",
        "nodes": (
            *(Node(name=name, pressure_pa=9e5 if throttled and name == "p" else None) for name in names),
            *(Node(name=f"{name}r", pressure_pa=6e5 if name == "p" else None) for name in names),
        ),
        "pipes": (
            *(pipe(f"s{k}", a, b, length_m + 7.0 * k) for k, (a, b) in enumerate(streets)),
            *(pipe(f"r{k}", f"{b}r", f"{a}r", length_m + 7.0 * k) for k, (a, b) in enumerate(streets)),
        ),
        "pipe_classes": (STEEL,),
        "units": (
            *(
                HeatSource(
                    name="plant",
                    start="pr",
                    end="p",
                    supply_temp_k=SUPPLY_K,
                    nominal_flow_kg_s=3.0,
                    nominal_pressure_drop_pa=2e4,
                )
                for _ in range(not throttled)
            ),
            *(
                HeatLoad(
                    name=f"load {name}",
                    start=name,
                    end=f"{name}r",
                    flow_control=control,
                    flow_kg_s=0.4,
                    temperature_drop_k=30.0,
                    nominal_flow_kg_s=1.0,
                )
                for name in names[1:]
            ),
        ),
        "ambient_temp_k": 281.15,
    }
    return Network(**{**parts, **more})


def branch():
    """A tree with given flows."""
    nodes = (Node(name="0", kind=NodeKind.SOURCE, temperature_tag="t"), *(Node(name=str(k)) for k in range(1, 6)))
    ends = [("0", "1"), ("2", "1"), ("1", "3"), ("3", "4"), ("5", "3")]
    pipes = tuple(pipe(f"p{k}", a, b, 30.0 + 20.0 * k) for k, (a, b) in enumerate(ends))
    return Network(name="branch", nodes=nodes, pipes=pipes, pipe_classes=(STEEL,), ambient_temperature_tag="a")


class Weather:
    """What an ensemble meets: flows of its own per member, some of them none or reversed, and new ones every time."""

    def __init__(self, network, members, seed=1, least=0.0):
        self.network, self.members, self.least = network, members, least
        self.rng = np.random.default_rng(seed)

    def fill(self, inputs, order=None):
        order = np.arange(self.members) if order is None else order
        rng = self.rng
        inputs.ambient_temp_k[:] = rng.uniform(265.0, 290.0, self.members)[order]
        inputs.node_supply_temp_k[:] = rng.uniform(340.0, 360.0, (len(self.network.nodes), self.members))[:, order]
        if self.network.flows_are_imposed:
            demand = rng.uniform(-0.3, 1.0, (len(self.network.nodes), self.members))
            inputs.node_demand_kg_s[:] = (demand * rng.integers(0, 2, demand.shape))[:, order]
        for unit in self.network.units:
            commands = inputs.unit_commands[unit.name]
            if isinstance(unit, HeatSource):
                commands["supply_temp_k"][:] = rng.uniform(340.0, 360.0, self.members)[order]
            else:
                flow = rng.uniform(self.least, 1.0, self.members) * rng.choice([0.0, 1.0, 1.0], self.members)
                commands["flow_kg_s"][:] = np.maximum(flow, self.least)[order]


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    """Every plan of the test is compiled for this kind of processor."""
    return use(request.param, monkeypatch)


def use(name, monkeypatch):
    module = import_module(f"uem.twin_core.thermal.lane_step_{name}")
    monkeypatch.setattr(network_module, "LaneGraph", module.LaneGraph)
    monkeypatch.setattr(network_module.lanes, "WIDTH", module.WIDTH)
    return module


def run(plan, weather, steps=20, dt_s=60.0, order=None, start=340.0):
    state, inputs = plan.initial_state(start), plan.inputs()
    for _ in range(steps):
        weather.fill(inputs, order)
        plan.step(state, dt_s, inputs)
    return state


def side_by_side(rows, width):
    """Rows (members, numbers) as blocks of `width` members, the last one filled up with its first."""
    blocks = -(-len(rows) // width)
    member = np.arange(blocks * width)
    member = np.where(member < len(rows), member, member - member % width)
    return rows[member].reshape(blocks, width, -1).transpose(0, 2, 1).reshape(blocks, -1).copy()


def test_pipes_in_lanes_are_bit_for_bit_pipes_alone_over_all_flows_and_steps(level):
    rng = np.random.default_rng(3)
    members, count = 13, 25
    geometries = [
        pipe_geometry(
            pipe("p", "a", "b", 10 ** rng.uniform(0.5, 3.3)),
            replace(STEEL, loss_resistance_mk_w=10 ** rng.uniform(-1, 1), dispersion_factor=rng.choice([0.0, 10.0])),
        )
        for _ in range(count)
    ]
    rings = Rings(geometries)
    rows, memos = np.zeros((members, rings.width)), np.zeros((members, count * MEMO_NUMBERS))
    start, end = rng.uniform(290, 360, (2, count, members))
    rings.fill(rows, start, end)
    blocks = side_by_side(rows, level.WIDTH)
    several = level.LaneRings(rings)
    whole = np.add(*np.multiply([[2.0], [1.0]], rings.masses_kg()))[:, None]
    mass, heat, heat_there = (np.zeros((count, members)) for _ in range(3))
    loss, loss_there = np.zeros((2, members))
    for _ in range(300):
        dt = float(rng.choice([0.1, 1.0, 10.0, 60.0, 900.0]))
        given = rng.choice([0.0, 1.0, 1.0, -1.0], mass.shape) * 10 ** rng.uniform(-5, 1.5, mass.shape) * whole
        temp, ambient = rng.uniform(275, 400, mass.shape), rng.uniform(250, 310, members)
        rings.advance(rows, memos, given, temp, dt, ambient, mass, heat, loss)
        several.advance(blocks, given, temp, dt, ambient, heat_there, loss_there)
        np.testing.assert_array_equal(heat, heat_there)
        np.testing.assert_array_equal(blocks, side_by_side(rows, level.WIDTH)[:, : blocks.shape[1]])
        np.testing.assert_allclose(loss, loss_there, rtol=1e-9)


@pytest.mark.parametrize(
    ("tolerance", "flow_kg_s", "temp_k", "pressure_pa"),
    # Flows that have settled agree far better than what is left to them otherwise: a part in a thousand of their sum.
    [(1e-10, 1e-10, 1e-8, 1e-6), (1e-3, 1e-2, 0.2, 10.0)],
    ids=["settled", "as it comes"],
)
@pytest.mark.parametrize(
    ("make", "steps", "dt_s"),
    [(branch, 40, 75.0), (ring, 30, 60.0), (lambda: ring(FlowControl.THROTTLED), 20, 60.0), (ring, 6, 900.0)],
    ids=["given flows", "rings", "throttled", "a quarter of an hour"],
)
def test_members_side_by_side_are_what_they_are_alone(
    level, monkeypatch, make, steps, dt_s, tolerance, flow_kg_s, temp_k, pressure_pa
):
    for name in ("Graph", "LaneGraph"):
        monkeypatch.setattr(network_module, name, partial(getattr(network_module, name), tolerance=tolerance))
    network, members = make(), 2 * level.WIDTH + 3
    together, alone = NetworkPlan(network, members, fidelity="planning"), NetworkPlan(network, fidelity="planning")
    several, weather = together.inputs(), Weather(network, members, least=0.05)
    state, inputs = together.initial_state(340.0), alone.inputs()
    singles = [alone.initial_state(340.0) for _ in range(members)]
    for _ in range(steps):
        weather.fill(several)
        together.step(state, dt_s, several)
        for m, single in enumerate(singles):
            inputs.node_supply_temp_k[:, 0] = several.node_supply_temp_k[:, m]
            inputs.node_demand_kg_s[:, 0] = several.node_demand_kg_s[:, m]
            inputs.ambient_temp_k[0] = several.ambient_temp_k[m]
            inputs._commands[0] = several._by_member[m]
            alone.step(single, dt_s, inputs)
    # Without flows, what stands at a node is told as it is after the step here, before or after it there.
    standing_k = 0.4 if network.flows_are_imposed else temp_k
    for name, most in (
        ("edge_flow_kg_s", flow_kg_s),
        ("node_temp_k", standing_k),
        ("pipe_outlet_temp_k", temp_k),
        ("node_pressure_pa", pressure_pa),
    ):
        found, expected = getattr(state, name), np.hstack([getattr(single, name) for single in singles])
        np.testing.assert_allclose(found, expected, rtol=0, atol=most, err_msg=name)
    for name in ("total_out_j", "total_loss_j"):
        found, expected = getattr(state, name), np.hstack([getattr(single, name) for single in singles])
        np.testing.assert_allclose(found, expected, rtol=1e-9 if tolerance < 1e-6 else 1e-3, err_msg=name)


@pytest.mark.parametrize("make", [branch, ring, lambda: ring(FlowControl.THROTTLED), lambda: ring(length_m=9.0)])
def test_members_in_another_order_give_the_same_bits_in_that_order(level, make):
    network, members = make(), 2 * level.WIDTH + 3
    plan = NetworkPlan(network, members, fidelity="planning")
    order = np.random.default_rng(5).permutation(members)
    one, other = run(plan, Weather(network, members)), run(plan, Weather(network, members), order=order)
    for name in ("node_temp_k", "edge_flow_kg_s", "pipe_outlet_temp_k", "node_pressure_pa", "_total_j", "_step_j"):
        np.testing.assert_array_equal(getattr(one, name)[..., order], getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one._unit_results[order], other._unit_results)
    for here, there in zip(one._members(), other._members(), strict=True):
        np.testing.assert_array_equal(here[order], there)


def test_every_kind_of_processor_gives_the_same_bytes(monkeypatch):
    network, found = ring(length_m=30.0), set()
    for name in LEVELS:
        use(name, monkeypatch)
        plan = NetworkPlan(network, 11, fidelity="planning")
        found.add(run(plan, Weather(network, 11)).to_bytes())
    assert len(found) == 1


def test_any_number_of_threads_and_any_parts_give_the_same_bits(level):
    network, members = ring(), 3 * level.WIDTH + 1
    plan = NetworkPlan(network, members, fidelity="planning")
    whole = run(plan, Weather(network, members), steps=10)
    weather = Weather(network, members)
    state, inputs = plan.initial_state(340.0), plan.inputs()
    ends = [0, 1, level.WIDTH + 1, 2 * level.WIDTH, members]
    for _ in range(10):
        weather.fill(inputs)
        threads = [
            threading.Thread(target=plan.step, args=(state, 60.0, inputs, first, last))
            for first, last in pairwise(ends)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert state.to_bytes() == whole.to_bytes()


def test_energy_closes_in_every_step_with_reversals_and_standstill(level):
    for network in (branch(), ring(), ring(length_m=9.0)):
        plan = NetworkPlan(network, 11, fidelity="planning")
        weather, state, inputs = Weather(network, 11), plan.initial_state(340.0), plan.inputs()
        for k in range(30):
            weather.fill(inputs)
            plan.step(state, (60.0, 1.0, 600.0)[k % 3], inputs)
            gap = state.energy_in_j - state.energy_out_j - state.energy_loss_j - state.energy_stored_change_j
            assert np.abs(gap).max() <= 1e-9 * (state.energy_in_j + state.energy_out_j + state._stored_j).max()
            np.testing.assert_allclose(plan.stored_energy_j(state), state._stored_j, rtol=1e-12)
            assert state.node_temp_k.min() > 265.0 - 1e-6
            assert state.node_temp_k.max() < 360.0 + 1e-6


def test_copies_bytes_and_forks_go_on_bit_for_bit(level):
    network = ring()
    plan = NetworkPlan(network, 5, fidelity="planning")
    state = run(plan, Weather(network, 5))
    twins = [state.copy(), plan.state_from_bytes(state.to_bytes()), plan.initial_state(300.0)]
    twins[2].restore(state)
    forks = [plan.fork(state, 3), plan.fork(state, 3)]
    inputs = plan.inputs()
    for one in (state, *twins, *forks):
        plan.step(one, 60.0, inputs)
    for twin in twins:
        assert twin.to_bytes() == state.to_bytes()
    for fork in forks:
        np.testing.assert_array_equal(fork.node_temp_k, np.repeat(state.node_temp_k[:, 3:4], 5, axis=1))


def test_an_ensemble_is_forked_from_one_member_and_one_from_it(level):
    network = ring()
    one, several = (NetworkPlan(network, members, fidelity="planning") for members in (1, 9))
    single = run(one, Weather(network, 1, least=0.2), steps=40)
    state = several.fork(single)
    np.testing.assert_allclose(several.stored_energy_j(state), single._stored_j[0], rtol=1e-12)
    for _ in range(30):
        one.step(single, 60.0, one.inputs())
        several.step(state, 60.0, several.inputs())
    back = one.fork(state, 4)
    np.testing.assert_allclose(back.node_temp_k, single.node_temp_k, rtol=0, atol=0.05)
    before = back.total_in_j[0]
    for _ in range(30):
        one.step(single, 60.0, one.inputs())
        one.step(back, 60.0, one.inputs())
    np.testing.assert_allclose(back.node_temp_k, single.node_temp_k, rtol=0, atol=0.02)
    assert back.total_in_j[0] > before


def test_a_member_that_fails_stays_as_it_was_and_the_others_go_on(level):
    network = ring()
    plan = NetworkPlan(network, 6, fidelity="planning")
    state, inputs = run(plan, Weather(network, 6, least=0.2)), plan.inputs()
    before = state.copy()
    inputs.unit_commands["plant"]["supply_temp_k"][2] = 600.0
    with pytest.raises(ModelFailure, match="member 2"):
        plan.step(state, 60.0, inputs)
    rows = [plan.state_from_bytes(one.to_bytes())._members() for one in (before, state)]
    np.testing.assert_array_equal(rows[0][1][2], rows[1][1][2])
    np.testing.assert_array_equal(before.node_temp_k[:, 2], state.node_temp_k[:, 2])
    others = [0, 1, 3, 4, 5]
    assert (before.node_temp_k[:, others] != state.node_temp_k[:, others]).any(axis=0).all()
    inputs.unit_commands["plant"]["supply_temp_k"][2] = SUPPLY_K
    plan.step(state, 60.0, inputs)


def test_networks_with_valves_are_solved_one_member_at_a_time_and_stepped_together():
    network = ring(
        valves=(Valve(name="v", start="a", end="c", kind=ValveKind.CONTROL, inner_diameter_m=0.04, opening=0.5),)
    )
    plan, alone = NetworkPlan(network, 9, fidelity="planning"), NetworkPlan(network, fidelity="planning")
    state, inputs = plan.initial_state(340.0), plan.inputs()
    single, given = alone.initial_state(340.0), alone.inputs()
    inputs.valve_opening[0] = np.linspace(0.0, 1.0, 9)
    given.valve_opening[0] = inputs.valve_opening[0, 6]
    for _ in range(30):
        plan.step(state, 60.0, inputs)
        alone.step(single, 60.0, given)
    assert state.valve_flow_kg_s[0, 0] == 0.0
    np.testing.assert_allclose(state.edge_flow_kg_s[:, 6], single.edge_flow_kg_s[:, 0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(state.node_temp_k[:, 6], single.node_temp_k[:, 0], rtol=0, atol=1e-6)


def test_a_part_without_supply_stays_so_when_only_flows_of_other_members_are_worked_out_again(level):
    valve = Valve(name="v", start="a", end="x", kind=ValveKind.CONTROL, inner_diameter_m=0.04, opening=1.0)
    network = Network(
        name="shut off",
        nodes=(
            Node(name="p", pressure_pa=6e5, supply_temp_k=340.0),
            Node(name="a", demand_kg_s=0.3),
            Node(name="x"),
            Node(name="y", demand_kg_s=0.2),
        ),
        pipes=(pipe("p a", "p", "a", 20.0), pipe("x y", "x", "y", 20.0)),
        valves=(valve,),
        pipe_classes=(STEEL,),
        ambient_temp_k=340.0,
    )
    plan = NetworkPlan(network, 3, fidelity="planning", inner_step_s=10.0)
    alone = NetworkPlan(network, fidelity="planning", inner_step_s=10.0)
    state, inputs = plan.initial_state(340.0), plan.inputs()
    single, given = alone.initial_state(340.0), alone.inputs()
    # Member 1 stays as it is, in the others water of another temperature comes in.
    inputs.valve_opening[0, 1] = given.valve_opening[0] = 0.0
    inputs.node_supply_temp_k[0] = (360.0, 340.0, 350.0)
    for _ in range(5):
        plan.step(state, 60.0, inputs)
        alone.step(single, 60.0, given)
        assert state.node_unsupplied.T.tolist() == [[0.0] * 4, [0.0, 0.0, 1.0, 1.0], [0.0] * 4]
        np.testing.assert_allclose(state.energy_out_j[1], single.energy_out_j[0], rtol=1e-9)
        gap = state.energy_in_j - state.energy_out_j - state.energy_loss_j - state.energy_stored_change_j
        assert np.abs(gap).max() <= 1e-9 * state.energy_in_j.max()


def test_the_processor_decides_and_the_environment_can_overrule_it(monkeypatch):
    monkeypatch.delenv("UEM_VECTORS", raising=False)
    assert levels._chosen() == LEVELS[-1]
    monkeypatch.setenv("UEM_VECTORS", LEVELS[0])
    assert levels._chosen() == LEVELS[0]
    monkeypatch.setenv("UEM_VECTORS", "v9")
    with pytest.raises(InvalidInput, match="UEM_VECTORS='v9'"):
        levels._chosen()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="this system does not tell what its processor has")
def test_a_level_is_what_the_processor_has_all_instructions_of():
    flags = next(
        (set(x.split()) for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("flags")), set()
    )
    v3 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
    v4 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    assert vectors() == (2 if flags >= v3 | v4 else 1 if flags >= v3 else 0)


@pytest.mark.parametrize("level", lanes.LEVELS[1:])
def test_vectors_that_the_processor_lacks_are_refused(monkeypatch, level):
    monkeypatch.setattr(levels, "vectors", lambda: 0)
    monkeypatch.setenv("UEM_VECTORS", level)
    with pytest.raises(InvalidInput, match=f"UEM_VECTORS='{level}'; this processor has v2"):
        levels._chosen()


def test_arrays_that_do_not_fit_are_refused():
    rings = Rings([pipe_geometry(pipe("p", "a", "b"), STEEL)])
    several = lanes.LaneRings(rings)
    rows = np.zeros((1, rings.width * lanes.WIDTH))
    one = np.zeros((1, 2))
    with pytest.raises(InvalidInput, match="flows of 2 pipes"):
        several.advance(rows, np.zeros((2, 2)), one, 1.0, np.zeros(2), one.copy(), np.zeros(2))
    with pytest.raises(InvalidInput, match="members"):
        several.advance(rows, one, one, 1.0, np.zeros(3), one.copy(), np.zeros(2))
    with pytest.raises(InvalidInput, match="do not fit"):
        several.advance(np.zeros((1, 3)), one, one, 1.0, np.zeros(2), one.copy(), np.zeros(2))
    with pytest.raises(InvalidInput, match="dt_s"):
        several.advance(rows, one, one, 0.0, np.zeros(2), one.copy(), np.zeros(2))
