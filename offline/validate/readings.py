"""When the readings in the rows of a recording were taken.

A poller that goes round its meters in longer than a row leaves the last reading in the row: as old as a round at most,
and repeated exactly in every row in which no new one came. Those repeats come in a rhythm that tells the round and,
for each meter, its place in it. Nothing but the readings themselves is looked at.
"""

from collections.abc import Mapping
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LONGEST_ROUND: Final = 2.0  # rows; above it more rows repeat than not, and there is less to tell by
BIN: Final = 1.0 / 180.0  # of a row: how finely places in the round are told apart
REPEATS: Final = 0.97  # how often a row without a new reading repeats: a clock slips now and then
# Logarithm of the likelihood of the rhythm against repeats by chance. Columns of noise reach 14.
LEAST_EVIDENCE: Final = 25.0


def reading_times(time_s: Array, columns: Mapping[str, Array]) -> dict[str, Array]:
    """When the reading in each row was taken, by column; `time_s` and columns (rows,), result in s of the same clock.

    `columns`: one quantity of each meter of one poller. Where rows are not equally spaced, or repeats have no rhythm,
    readings count as taken at the times of their rows. Where a clock slipped, two readings have one time.
    """
    row_s = float(time_s[1] - time_s[0]) if len(time_s) > 1 else 1.0
    rows = (time_s - time_s[0]) / row_s
    if not np.allclose(np.diff(rows), 1.0, rtol=1e-6):
        return dict.fromkeys(columns, time_s)
    gains = {name: _gains(column) for name, column in columns.items()}
    most, found = LEAST_EVIDENCE, (0.0, dict.fromkeys(columns, 0.0))
    for period in np.arange(1.0 + BIN, LONGEST_ROUND, 0.1 * BIN).tolist():
        best = {name: _best_place(rows % period, gain, period) for name, gain in gains.items()}
        evidence = sum(score for score, _ in best.values())
        if evidence > most:
            most, found = evidence, (period, {name: place for name, (_, place) in best.items()})
    period, places = found
    if not period:
        return dict.fromkeys(columns, time_s)
    numbers = {name: np.floor((rows - place) / period) for name, place in places.items()}
    return {name: time_s[0] + row_s * (places[name] + period * number) for name, number in numbers.items()}


def _gains(column: Array) -> Array:
    """What each row adds to the evidence if it got no new reading: less than nothing when it does not repeat."""
    repeats = np.zeros(len(column), dtype=bool)
    repeats[1:] = column[1:] == column[:-1]
    by_chance = float(np.sum(repeats)) / max(1, len(column) - 1)
    if not 0.0 < by_chance < REPEATS:
        return np.zeros(len(column))
    gains = np.where(repeats, log(REPEATS / by_chance), log((1.0 - REPEATS) / (1.0 - by_chance)))
    gains[0] = 0.0  # nothing to repeat
    return gains


def _best_place(within: Array, gains: Array, period: float) -> tuple[float, float]:
    """The most evidence for a round of `period` rows, and when in it a meter is then read; `within`: rows in the round.

    A row gets no new reading when the last is older than a row: when it lies in the last `period - 1` before the next.
    """
    by_bin = np.bincount((within / BIN).astype(np.intp), weights=gains, minlength=int(period / BIN) + 1)
    width = round((period - 1.0) / BIN)
    running = np.cumsum(np.concatenate(([0.0], by_bin, by_bin[:width])))
    scores = running[width:] - running[:-width]
    most = float(scores.max())
    alike = np.flatnonzero(scores > most - 1e-9)
    return most, (int(alike[len(alike) // 2]) + width) * BIN % period
