"""The shape of a million samples in 2,000 points: the largest triangles, beside the same in NumPy, by interval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import interleaved
from uem.twin_core.decimation import LargestTriangles

POINTS = 2_000
ROWS = (POINTS - 2) * 500 + 1


def reference(x: NDArray[np.float64], value: NDArray[np.float64], number: NDArray[np.int64]) -> NDArray[np.intp]:
    """Indexes of what is kept of one line without breaks."""
    begins = np.searchsorted(number, np.arange(POINTS + 1))
    kept = np.zeros(POINTS, np.intp)
    for k in range(1, POINTS - 1):
        here, behind = slice(begins[k], begins[k + 1]), slice(begins[k + 1], begins[k + 2])
        a, (cx, c) = kept[k - 1], (x[behind].mean(), value[behind].mean())
        area = np.abs((x[a] - cx) * (value[here] - value[a]) - (x[a] - x[here]) * (c - value[a]))
        kept[k] = begins[k] + int(np.argmax(area))
    kept[-1] = len(x) - 1
    return kept


def test_largest_triangles(benchmark: Any, short: bool) -> None:
    """Both readings of all samples."""
    value = np.cumsum(np.random.default_rng(1).normal(size=ROWS))
    time = np.arange(ROWS, dtype=np.int64)
    length = -(-(ROWS - 1) // (POINTS - 2))
    number = 1 + time // length
    number[0], number[-1] = 0, POINTS - 1
    x = time / length + 1.0
    quality, bad, line = np.zeros(ROWS, np.uint32), np.zeros(ROWS, np.uint8), np.zeros(ROWS, np.int64)

    def ours() -> NDArray[np.int64]:
        triangles = LargestTriangles(POINTS)
        triangles.survey(number, x, value, bad, line)
        triangles.begin_choice()
        triangles.choose(number, x, time, value, quality, bad, line)
        return triangles.time

    np.testing.assert_array_equal(ours(), reference(x, value, number))
    benchmark.pedantic(ours, rounds=3)
    found = interleaved(ours, lambda: reference(x, value, number), rounds=3 if short else 7)
    benchmark.extra_info.update(
        figure=found.ours_s * 1e3,
        unit="ms per 999,001 samples",
        peer="NumPy, interval by interval",
        peer_figure=found.theirs_s * 1e3,
        ratio=found.ratio,
    )
