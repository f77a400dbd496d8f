"""The order in which kernels have nodes and edges: nobody sees it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from uem.twin_core.thermal.numbering import along_the_water


def order(nodes, ends, lengths, outwards=(0,), homewards=()):
    found = along_the_water(nodes, np.array(ends).reshape(-1, 2), lengths, outwards, homewards)
    return [numbers.tolist() for numbers in found]


def test_water_goes_out_branch_by_branch_and_comes_home_from_the_ends_of_the_branches():
    # Supply 0, 1 and then 2 and 3, return 5 and 4 to 6, 7; customers from 2 to 5 and 3 to 4, a producer from 7 to 0.
    ends = [(2, 1), (0, 1), (1, 3), (4, 6), (6, 7), (5, 6), (2, 5), (3, 4), (7, 0)]
    nodes, edges = order(8, ends, [1.0] * 6, homewards=[7])
    assert nodes == [0, 1, 3, 4, 2, 5, 6, 7]
    assert edges == [1, 8, 0, 2, 7, 3, 6, 5, 4]


def test_a_node_comes_after_all_that_feed_it_and_water_takes_the_shorter_way_there():
    nodes, edges = order(3, [(2, 1), (1, 0), (2, 0)], [1.0, 1.0, 3.0])
    assert nodes == [0, 1, 2]
    assert edges == [1, 2, 0]


def test_what_is_joined_by_a_pump_has_its_place_along_the_water_too():
    assert order(4, [(2, 3), (0, 1), (2, 1)], [1.0, 1.0, 0.0]) == [[0, 1, 2, 3], [1, 2, 0]]


@given(st.integers(2, 12), st.data())
def test_every_node_and_every_edge_has_one_place_whatever_the_network(nodes, data):
    node = st.integers(0, nodes - 1)
    ends = data.draw(st.lists(st.tuples(node, node).filter(lambda pair: pair[0] != pair[1]), max_size=20))
    lengths = data.draw(st.lists(st.floats(0.0, 10.0), max_size=len(ends)))
    found = order(nodes, ends, lengths, data.draw(st.lists(node)), data.draw(st.lists(node)))
    assert [sorted(numbers) for numbers in found] == [[*range(nodes)], [*range(len(ends))]]
