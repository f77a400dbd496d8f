import numpy as np
import pytest

from uem.twin_core.decimation import LargestTriangles


def column(*numbers, kind=np.int64):
    return np.array(numbers, kind)


def survey(triangles, number, rows=None):
    n = len(number) if rows is None else rows
    triangles.survey(column(*number), np.zeros(n), np.zeros(n), np.zeros(n, np.uint8), np.zeros(n, np.int64))


@pytest.mark.parametrize("number", [[-1, 0], [0, 3], [1, 0]])
def test_intervals_that_do_not_exist_or_fall_are_refused(number):
    with pytest.raises(ValueError, match="interval"):
        survey(LargestTriangles(3), number)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="columns of 2, 1"):
        survey(LargestTriangles(3), [0, 1], rows=1)
    triangles = LargestTriangles(3)
    numbers = (np.zeros(2, np.int64), np.zeros(2))
    rest = (np.zeros(2), np.zeros(2, np.uint32), np.zeros(2, np.uint8), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="columns of 2, 1 and 2"):
        triangles.choose(*numbers, np.zeros(1, np.int64), *rest)


@pytest.mark.parametrize("value", [1e308, np.inf, -1e308])
def test_values_beyond_all_bounds_still_give_one_sample_per_interval(value):
    number = np.arange(4, dtype=np.int64)
    x, values = number.astype(float), np.array([value, -value, value, value])
    rest = (np.zeros(4, np.uint8), np.zeros(4, np.int64))
    triangles = LargestTriangles(4)
    triangles.survey(number, x, values, *rest)
    triangles.begin_choice()
    triangles.choose(number, x, number * 10, values, np.zeros(4, np.uint32), *rest)
    assert triangles.is_kept.all()
    assert triangles.time.tolist() == [0, 10, 20, 30]
