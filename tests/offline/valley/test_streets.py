"""Streets and lines: all customers joined, rings, and a short tree."""

import math
from random import Random

import pytest

from uem.offline.valley.streets import ACROSS, ALONG, Streets, centres, density, distances, lines, streets

ROOT = ACROSS * (ALONG // 2)


@pytest.fixture(params=[1, 2, 3])
def grid(request):
    return streets(Random(request.param))


def joined(ways, root):
    """Crossings that lines lead to."""
    beside = {}
    for a, b in ways:
        beside.setdefault(a, set()).add(b)
        beside.setdefault(b, set()).add(a)
    found, left = {root}, [root]
    while left:
        for other in beside[left.pop()] - found:
            found.add(other)
            left.append(other)
    return found


def test_every_crossing_can_be_reached_by_streets_as_long_as_they_are(grid):
    assert set(distances(grid.beside, ROOT)) == set(range(ALONG * ACROSS))
    for a, some in enumerate(grid.beside):
        for b, length in some.items():
            assert length == grid.beside[b][a] == pytest.approx(math.dist(grid.at[a], grid.at[b]))


def test_lines_lie_in_streets_join_all_customers_and_have_no_more_rings_than_wanted(grid):
    rng = Random(5)
    customers = {int(rng.random() * len(grid.at)) for _ in range(60)}
    tree = lines(grid, ROOT, customers, rings=0)
    crossings = {c for way in tree for c in way}
    assert len(tree) == len(crossings) - 1
    assert customers | {ROOT} <= joined(tree, ROOT) == crossings
    meshed = lines(grid, ROOT, customers, rings=6)
    assert tree.items() <= meshed.items()
    assert len(tree) < len(meshed) <= len(tree) + 6
    assert {c for way in meshed for c in way} == crossings
    for (a, b), length in meshed.items():
        assert length == grid.beside[a][b]


def test_the_tree_is_as_short_as_can_be_where_that_is_known():
    """Four corners of a square with a crossing in the middle: its four arms, not three sides."""
    at = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0), (1.0, 1.0)]
    beside = [{} for _ in at]
    for a, b in [(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (1, 4), (2, 4), (3, 4)]:
        length = 3.0 if 4 not in (a, b) else 1.5
        beside[a][b] = beside[b][a] = length
    found = lines(Streets(at, beside), 4, [0, 1, 2, 3], rings=0)
    assert sorted(found) == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_it_is_denser_in_towns():
    towns = centres(Random(3))
    width, length = 250.0 * ACROSS, 330.0 * ALONG
    for across, along in towns:
        middle = (width * across + 420.0 * math.sin(length * along / 2600.0), length * along)
        assert density(middle, towns) > 1.0
    assert density((-9000.0, 0.0), towns) == pytest.approx(0.12)
