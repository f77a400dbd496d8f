"""Some of the last states of an asset, as columns: the last half hour, and the last day in coarser steps."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.clients.records import Asset, State

# How many states are kept, and how far they are apart at least, by the time in the plant.
FINE = 450, 4 * 10**9
COARSE = 720, 120 * 10**9

Column = NDArray[np.float32]


class Trend(NamedTuple):
    """A signal, or the sum of some, over the states that were kept."""

    time_ms: list[float]
    value: list[float]
    standard_deviation: list[float]


class Past:
    """What is kept of one asset, as it was described."""

    def __init__(self, asset: Asset) -> None:
        self.asset = asset
        self._rows = {signal.name: row for row, signal in enumerate(asset.signals)}
        self._fine, self._coarse = _Kept(*FINE), _Kept(*COARSE)

    def add(self, state: State) -> None:
        """Keep a state where it is time for one."""
        for kept in (self._fine, self._coarse):
            kept.add(state)

    def trend(self, signals: Sequence[str], *, is_long: bool) -> Trend | None:
        """See Hub.trend; standard deviations of a sum are those of parts that do not depend on each other."""
        rows = [self._rows.get(signal, -1) for signal in signals]
        if not rows or min(rows) < 0:
            return None
        return (self._coarse if is_long else self._fine).trend(rows)


class _Kept:
    """The newest states with some time between them."""

    def __init__(self, most: int, every_ns: int) -> None:
        self._every_ns = every_ns
        self._states: deque[tuple[int, Column, Column]] = deque(maxlen=most)

    def add(self, state: State) -> None:
        newest_ns = self._states[-1][0] if self._states else None
        if newest_ns is not None and state.plant_time_ns < newest_ns:
            self._states.clear()  # the plant began anew
        elif newest_ns is not None and state.plant_time_ns < newest_ns + self._every_ns:
            return
        columns = state.value.astype(np.float32), state.standard_deviation.astype(np.float32)
        self._states.append((state.plant_time_ns, *columns))

    def trend(self, rows: list[int]) -> Trend:
        values = [float(values[rows].sum(dtype=np.float64)) for _, values, _ in self._states]
        spreads = [float(np.sqrt(np.square(sds[rows], dtype=np.float64).sum())) for _, _, sds in self._states]
        return Trend([time_ns / 1e6 for time_ns, _, _ in self._states], values, spreads)
