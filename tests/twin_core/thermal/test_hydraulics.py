"""Flows and pressures: held against the equations themselves, edge by edge and node by node."""

import ctypes
import importlib.util
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal.hydraulic_network import EdgeKind

_spec = importlib.util.spec_from_file_location("random_hydraulics", Path(__file__).parent / "random_hydraulics.py")
cases = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = cases
_spec.loader.exec_module(cases)
Solved, make_graph = cases.Solved, cases.make_graph

PIPE, VALVE, CHECK, FLOW, PUMPED, FREE = (
    EdgeKind.PIPE, EdgeKind.VALVE, EdgeKind.CHECK, EdgeKind.FLOW, EdgeKind.PUMPED, EdgeKind.FREE,
)  # fmt: skip
SPEED, PRESSURE, CRITICAL = EdgeKind.PUMP_SPEED, EdgeKind.PUMP_PRESSURE, EdgeKind.PUMP_CRITICAL


@pytest.mark.parametrize("law", ["colebrook", "swamee-jain", "nikuradse"])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(0, 15))
def test_pipes_balance_at_every_node_and_along_every_pipe(law, seed, nodes, loops):
    rng = np.random.default_rng(seed)
    ends = [(int(rng.integers(max(0, i - 5), i + 1)), i + 1) for i in range(nodes - 1)]
    ends += [tuple(rng.choice(nodes, 2, replace=False).tolist()) for _ in range(loops)]
    ends = [(a, b) if rng.random() < 0.5 else (b, a) for a, b in ends]
    graph = make_graph(
        nodes,
        ends,
        rng.choice(nodes, min(2, nodes), replace=False),
        elevation_m=rng.uniform(0, 20, nodes),
        length_m=rng.uniform(5, 300, len(ends)),
        diameter_m=rng.choice([0.03, 0.08, 0.2], len(ends)),
        roughness_m=rng.choice([1e-6, 1e-5, 5e-4], len(ends)),
        loss_coefficient=rng.choice([0.0, 3.0], len(ends)),
    )
    demand = rng.uniform(-0.5, 2.0, nodes) * rng.choice([0.0, 1e-4, 0.1, 1.0], nodes)
    found = Solved(graph, demand, 5e5, temp_k=rng.uniform(280.0, 400.0, len(ends)), law=law)
    assert list(found.problems()) == []
    np.testing.assert_allclose(found.imbalance, 0.0, atol=1e-11)
    assert not found.unsupplied.any()


def test_random_networks_of_everything_keep_to_every_law():
    assert {seed: wrong for seed in range(100) if (wrong := cases.try_case(seed))} == {}


def test_drawing_edges_the_other_way_changes_nothing():
    for seed in range(60):
        graph, steps = cases.random_case(seed)
        turned = graph.kind == PIPE
        flipped = make_graph(
            len(graph.nodes),
            [(b, a) if t else (a, b) for a, b, t in zip(graph.start, graph.end, turned, strict=True)],
            np.flatnonzero(graph.fixed),
            graph.kind,
            **{
                name: getattr(graph, name)
                for name in (
                    "elevation_m", "length_m", "diameter_m", "roughness_m", "loss_coefficient",
                    "resistance_pa_s2_kg2", "shutoff_head_m", "curve_m_s2_kg2", "parallel",
                    "critical_start", "critical_end",
                )
            },
        )  # fmt: skip
        one, other = Solved(graph, *steps[0]), Solved(flipped, *steps[0])
        scale = 1.0 + np.abs(one.flow).max()
        np.testing.assert_allclose(one.flow, np.where(turned, -other.flow, other.flow), atol=1e-7 * scale)
        np.testing.assert_array_equal(one.unsupplied, other.unsupplied)


def test_water_at_rest_stands_under_its_own_weight():
    graph = make_graph(3, [(0, 1), (1, 2), (2, 0)], [0], elevation_m=[0.0, 10.0, 30.0])
    found = Solved(graph, np.zeros(3), 6e5)
    np.testing.assert_allclose(found.flow, 0.0, atol=1e-9)
    np.testing.assert_allclose(found.pressure, 6e5 - found.density * 9.80665 * graph.elevation_m, rtol=1e-9)


def test_warm_water_rises_in_a_loop_of_its_own():
    graph = make_graph(4, [(0, 1), (1, 2), (2, 3), (3, 0)], [0], elevation_m=[0.0, 10.0, 10.0, 0.0])
    found = Solved(graph, np.zeros(4), 6e5, temp_k=[353.15, 353.15, 313.15, 313.15])
    assert found.flow[0] > 0.1
    assert list(found.problems()) == []


def test_a_closed_valve_cuts_off_what_lies_behind_it():
    graph = make_graph(4, [(0, 1), (1, 2), (2, 3)], [0], [PIPE, VALVE, PIPE])
    found = Solved(graph, [0.0, 1.0, 1.0, 1.0], 5e5, setting=[0, 0, 0])
    np.testing.assert_array_equal(found.unsupplied, [0, 0, 1, 1])
    np.testing.assert_allclose(found.flow, [1.0, 0.0, 0.0])
    found.again([0.0, 1.0, 1.0, 1.0], 5e5, setting=[0, 1, 0])
    np.testing.assert_array_equal(found.unsupplied, 0)
    np.testing.assert_allclose(found.flow, [3.0, 2.0, 1.0])


def test_what_would_have_to_come_through_a_check_valve_the_wrong_way_is_not_supplied():
    graph = make_graph(3, [(0, 1), (2, 1)], [0], [PIPE, CHECK])
    found = Solved(graph, [0.0, 1.0, 1.0], 5e5)
    np.testing.assert_array_equal(found.unsupplied, [0, 0, 1])
    np.testing.assert_allclose(found.flow, [1.0, 0.0])


def test_flow_valves_hold_their_flow_until_the_pressure_does_not_suffice():
    # Held pressures at both ends, 1 bar apart; the valve takes 0.2 bar at 1 kg/s, the pipe the rest.
    graph = make_graph(3, [(0, 1), (1, 2)], [0, 2], [PIPE, FLOW], resistance_pa_s2_kg2=[0.0, 2e4])
    for wanted in (0.0, 0.5, 1.5):
        found = Solved(graph, np.zeros(3), [5e5, 0, 4e5], setting=[0, wanted])
        np.testing.assert_allclose(found.flow, wanted, atol=1e-7)
        assert list(found.problems()) == []
    found = Solved(graph, np.zeros(3), [5e5, 0, 4e5], setting=[0, 100.0])
    assert found.flow[1] < 3.0
    assert found.drive.sum() == pytest.approx(1e5)
    assert list(found.problems()) == []
    assert Solved(graph, np.zeros(3), [4e5, 0, 5e5], setting=[0, 1.0]).flow[1] == pytest.approx(0.0, abs=1e-7)


def test_customers_far_out_take_what_is_left_when_the_pump_is_weak():
    # Supply 0-1-2, return 5-4-3, customers 1-4 and 2-3, a pump from return to supply.
    graph = make_graph(
        6,
        [(0, 1), (1, 2), (4, 5), (3, 4), (1, 4), (2, 3), (5, 0)],
        [5],
        [PIPE, PIPE, PIPE, PIPE, FLOW, FLOW, PRESSURE],
        resistance_pa_s2_kg2=[0, 0, 0, 0, 5e4, 5e4, 0],
        diameter_m=[0.05, 0.03, 0.05, 0.03, 0.05, 0.05, 0.05],
    )
    strong = Solved(graph, np.zeros(6), 2e5, setting=[0, 0, 0, 0, 1.0, 1.0, 1e6])
    np.testing.assert_allclose(strong.flow[4:], [1.0, 1.0, 2.0], atol=1e-9)
    strong.again(np.zeros(6), 2e5, setting=[0, 0, 0, 0, 1.0, 1.0, 1e5])
    assert strong.flow[4] == pytest.approx(1.0, abs=1e-6)
    assert 0.2 < strong.flow[5] < 0.99
    assert list(strong.problems()) == []
    strong.again(np.zeros(6), 2e5, setting=[0, 0, 0, 0, 1.0, 1.0, 1e6])
    np.testing.assert_allclose(strong.flow[4:], [1.0, 1.0, 2.0], atol=1e-9)


def test_pumps_in_parallel_share_the_flow_and_a_weak_one_is_held_shut():
    graph = make_graph(
        2, [(0, 1), (0, 1), (0, 1)], [0], [SPEED] * 3, shutoff_head_m=[50.0] * 3, curve_m_s2_kg2=[0.1, 0.1, 0.1]
    )
    found = Solved(graph, [0.0, 6.0], 2e5, setting=[1.0, 1.0, 0.0])
    np.testing.assert_allclose(found.flow, [3.0, 3.0, 0.0], atol=1e-9)
    lift = 50.0 - 0.1 * 9.0
    assert found.pressure[1] - found.pressure[0] == pytest.approx(found.density[0] * 9.80665 * lift, rel=1e-6)
    found.again([0.0, 6.0], 2e5, setting=[1.0, 0.5, 0.0])
    np.testing.assert_allclose(found.flow, [6.0, 0.0, 0.0], atol=1e-6)


def test_one_pump_of_two_counts_as_two_pumps():
    one = make_graph(2, [(0, 1)], [0], [SPEED], shutoff_head_m=[50.0], curve_m_s2_kg2=[0.1], parallel=[2.0])
    two = make_graph(2, [(0, 1)] * 2, [0], [SPEED] * 2, shutoff_head_m=[50.0] * 2, curve_m_s2_kg2=[0.1] * 2)
    a, b = Solved(one, [0, 6.0], 2e5, setting=[0.9]), Solved(two, [0, 6.0], 2e5, setting=[0.9, 0.9])
    np.testing.assert_allclose(a.pressure, b.pressure, atol=1.0)


def test_a_pump_holds_the_pressure_of_a_pair_far_out():
    # Supply 0-1-2, return 5-4-3 with valves that are no controllers, so that flows follow the pump.
    graph = make_graph(
        6,
        [(0, 1), (1, 2), (4, 5), (3, 4), (1, 4), (2, 3), (5, 0)],
        [5],
        [PIPE, PIPE, PIPE, PIPE, FREE, FREE, CRITICAL],
        resistance_pa_s2_kg2=[0, 0, 0, 0, 5e4, 5e4, 0],
        critical_start=[-1] * 6 + [2],
        critical_end=[-1] * 6 + [3],
    )
    found = Solved(graph, np.zeros(6), 2e5, setting=[0, 0, 0, 0, 0, 0, 6e4])
    assert found.pressure[2] - found.pressure[3] == pytest.approx(6e4, abs=0.1)
    assert found.flow[5] == pytest.approx(np.sqrt(6 / 5), rel=1e-5)
    found.again(np.zeros(6), 2e5, setting=[0, 0, 0, 0, 0, 0, 7e4])
    assert found.pressure[2] - found.pressure[3] == pytest.approx(7e4, abs=0.1)


def test_pumped_units_force_their_flow_either_way():
    graph = make_graph(3, [(0, 1), (1, 2), (2, 0)], [0], [PIPE, PUMPED, PIPE])
    for flow in (-2.0, 0.0, 3.0):
        found = Solved(graph, np.zeros(3), 5e5, setting=[0, flow, 0])
        np.testing.assert_allclose(found.flow, flow, atol=1e-12)


def test_the_same_solve_starts_from_any_flow():
    graph, steps = cases.random_case(11)
    found = Solved(graph, *steps[0])
    flow = found.flow.copy()
    found.flow[:] = np.random.default_rng(1).uniform(-5, 5, len(flow))
    found.again(*steps[0])
    np.testing.assert_allclose(found.flow, flow, atol=1e-7 * (1 + np.abs(flow).max()))


def test_a_wrong_shape_and_what_is_no_number_are_refused():
    graph = make_graph(2, [(0, 1)], [0])
    with pytest.raises(InvalidInput, match=r"demand of shape \(3,\); \(2,\) is needed"):
        Solved(graph, np.zeros(3), 1e5)
    with pytest.raises(InvalidInput, match="temperature nan is no number"):
        Solved(graph, np.zeros(2), 1e5, temp_k=np.nan)


def test_a_narrow_pipe_beside_a_wide_one_does_not_lend_it_its_rounding():
    # 680 bar in a pipe of DN 20, 28 Pa in the pipe of DN 300 that follows.
    graph = make_graph(3, [(0, 1), (1, 2)] * 2, [0, 2], diameter_m=[0.02, 0.3] * 2)
    found = Solved(graph, np.zeros(3), [6.8e7, 0.0, 5e5], tolerance=1e-6)
    assert list(found.problems()) == []


@pytest.mark.parametrize("seed", [1411, 1808, 2560, 3685, 2224, 3739, 3943, 517, 1001, 3632])
def test_networks_with_pumps_short_circuited_and_valves_at_the_corner_of_their_law_are_solved(seed):
    assert cases.try_case(seed) == []


@pytest.mark.parametrize("seed", [766, 1016, 1689, 2008, 3629, 4540, 5500, 5874, 5913, 7910, 8158, 8452, 8995, 9993])
def test_rounding_of_pressures_beyond_1e8_pa_and_critical_pairs_that_cannot_be_held_keep_nothing_from_settling(seed):
    assert cases.try_case(seed) == []


class Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def test_a_warm_solve_allocates_nothing():
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("this C library does not tell what it has allocated")
    libc.mallinfo2.restype = Mallinfo
    graph, steps = cases.random_case(11)
    found = Solved(graph, *steps[0])
    demand, fixed, setting, temp = (np.array(values, float) for values in steps[0])

    def solve():
        found.plan.solve(
            demand, fixed, setting, temp, found.flow, found.pressure, found.memory, found.unsupplied, found.room, 1e-6
        )

    for _ in range(10):
        solve()
    tracemalloc.start()
    try:
        solve()
        c_before = libc.mallinfo2()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for k in range(200):
            demand *= 1.02 if k % 2 else 1 / 1.02
            solve()
        after, peak = tracemalloc.get_traced_memory()
        c_after = libc.mallinfo2()
    finally:
        tracemalloc.stop()
    assert after - before < 500  # the numbers told themselves: nothing per solve
    assert peak - before < 4000  # views on the arrays, gone after each solve; no array
    assert c_after.uordblks - c_before.uordblks < 4096
    assert c_after.hblkhd == c_before.hblkhd
