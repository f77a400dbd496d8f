"""The checks of the gateway on a batch of good samples, next to copying the batch, per row."""

from collections.abc import Callable

import numpy as np
import pytest

from uem.hardware_adapters.checks import Checks
from uem.twin_core.measurements import Samples, Tag

NAMES = tuple(f"tag/{i}" for i in range(50))
NOW_NS = 10**18
Compare = Callable[..., None]


@pytest.mark.parametrize("rows", [4096, 1000, 50])
def test_batch_checked(compare: Compare, rows: int) -> None:
    value = np.random.default_rng(7).normal(350.0, 0.1, rows)
    tag, time = np.arange(rows, dtype=np.uint32) % 50, NOW_NS + np.arange(rows, dtype=np.int64)
    samples = Samples(NAMES, tag, time, value, np.zeros(rows, np.uint32))
    checks = Checks([Tag(name=name, unit="K", low=250.0, high=450.0) for name in NAMES])
    everything = np.arange(rows)
    assert checks.look_at(samples, NOW_NS) is samples
    compare(
        lambda: checks.look_at(samples, NOW_NS),
        lambda: samples.take(everything),
        peer="copying",
        unit="ns/row",
        scale=1e9 / rows,
    )
