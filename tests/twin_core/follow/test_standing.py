"""Where the water of a network nearly stands."""

import numpy as np
import pytest
from shipped import shipped

from uem.twin_core.follow.standing import CREEPS_M_S, SETTLE_S, Standing
from uem.twin_core.thermal.network import NetworkPlan

NETWORK = shipped("vallee").networks[0]
NODES = NetworkPlan(NETWORK).nodes
EDGES = (*NETWORK.pipes, *NETWORK.valves, *NETWORK.pumps, *NETWORK.units)
AREA_M2 = np.pi / 4 * NETWORK.pipe_class("dn80").inner_diameter_m ** 2
CREEPS_KG_S = AREA_M2 * 978.0 * CREEPS_M_S  # through a DN 80


@pytest.fixture
def standing():
    return Standing(NETWORK, NODES)


def flows(**by_name):
    """By edge, kg/s: 5 everywhere but in those that are named, with _ for -."""
    given = {name.replace("_", "-"): flow for name, flow in by_name.items()}
    return np.array([given.get(edge.name, 5.0) for edge in EDGES])


def names(mask):
    return {name for name, its in zip(NODES, mask.tolist(), strict=True) if its}


AROUND_TANK = {"tank": 30.0, "dump_cooler": 30.0}


def test_where_water_moves_nothing_is_in_doubt(standing):
    standing.see(flows(**AROUND_TANK), 60.0)
    assert names(standing.stands) == names(standing.in_doubt) == set()


def test_a_tank_that_neither_fills_nor_empties_has_standing_water_at_its_foot_alone(standing):
    standing.see(flows(tank=0.5, dump_cooler=0.0), 60.0)
    assert names(standing.stands) == {"tank-bottom"}


@pytest.mark.parametrize(("part", "stands"), [(0.9, True), (1.1, False)])
def test_water_stands_below_a_centimetre_per_second_in_the_largest_pipe(standing, part, stands):
    slow = part * CREEPS_KG_S
    standing.see(flows(C12_D12=slow, D12_E12=slow, to_houses_08=0.0, **AROUND_TANK), 60.0)
    assert ("D12" in names(standing.stands)) is stands


@pytest.mark.parametrize(("passes", "is_in_doubt"), [(9.0, True), (11.0, False)])
def test_water_is_in_doubt_where_a_creeping_pipe_may_bring_more_than_a_tenth_of_it(standing, passes, is_in_doubt):
    through = passes * CREEPS_KG_S
    standing.see(flows(C12_D12=through, D12_E12=0.0, to_houses_08=through, **AROUND_TANK), 60.0)
    assert names(standing.stands) == set()
    assert ("D12" in names(standing.in_doubt)) is is_in_doubt


def test_doubt_goes_with_the_water_to_a_customer_and_what_it_returns_but_not_upstream(standing):
    around = AROUND_TANK | {"C12_D12": 0.3, "D12_E12": 0.0, "to_houses_08": 0.3, "houses_08": 0.3}
    for _ in range(5):
        standing.see(flows(**around), 60.0)
    found = names(standing.in_doubt)
    assert {"D12", "houses-08", "houses-08-return"} <= found
    assert not {"C12", "plant", "hot-header"} & found


def test_what_stood_is_in_doubt_for_an_hour_more(standing):
    standing.see(flows(tank=0.0, dump_cooler=0.0), 60.0)
    before = standing.copy()
    for _ in range(round(SETTLE_S / 60.0)):
        standing.see(flows(**AROUND_TANK), 60.0)
        assert names(standing.shows_room) == names(standing.in_doubt) == {"tank-bottom"}
        assert names(standing.stands) == set()
    standing.see(flows(**AROUND_TANK), 60.0)
    assert names(standing.in_doubt) == set()
    assert names(before.stands) == {"tank-bottom"}
