"""Live states as binary frames: only what changed since the frame before.

Little endian, every column contiguous. A head of 32 bytes:

    uint16 number of the asset in the last `hello`   uint16 1 if the frame stands alone, else 0
    uint32 states missed by this reader              float64 time in the plant, ms since 1970
    float64 time of publication, ms                  uint32 number of rows      uint32 0

then the columns of the rows: float64 value, float64 time of the measurement behind the value (ms), float32 standard
deviation (NaN: not known), uint32 number of the signal, uint32 quality (OPC UA StatusCode).
"""

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uem.clients.records import State

HEAD = struct.Struct("<HHIddII")
_NS_PER_MS = 1e6
_MS_PER_S = 1e3


class Columns(NamedTuple):
    """What a browser shows of a state."""

    value: NDArray[np.float64]
    measured_ms: NDArray[np.float64]
    standard_deviation: NDArray[np.float32]
    quality: NDArray[np.uint32]


def columns(state: State) -> Columns:
    """The columns of a state; times of measurements instead of ages, which would change with every state."""
    measured_ms = np.round(state.plant_time_ns / _NS_PER_MS - state.age_s * _MS_PER_S)
    return Columns(state.value, measured_ms, state.standard_deviation.astype(np.float32), state.quality)


def frame(number: int, state: State, before: State | None) -> bytes:
    """A state for a browser that has `before`; None: that has nothing of this asset."""
    new = columns(state)
    if before is None or _is_another(state, before):
        rows, missed, stands_alone = np.arange(len(state.value)), 0, True
    else:
        rows, missed, stands_alone = _changed(new, columns(before)), max(state.tick - before.tick - 1, 0), False
    times = state.plant_time_ns / _NS_PER_MS, state.published_time_ns / _NS_PER_MS
    head = HEAD.pack(number, stands_alone, min(missed, 2**32 - 1), *times, len(rows), 0)
    parts = (
        new.value[rows].astype("<f8"),
        new.measured_ms[rows].astype("<f8"),
        new.standard_deviation[rows].astype("<f4"),
        rows.astype("<u4"),
        new.quality[rows].astype("<u4"),
    )
    return head + b"".join(part.tobytes() for part in parts)


def _is_another(state: State, before: State) -> bool:
    """Whether the server was started anew or describes the asset anew."""
    return state.run_id != before.run_id or state.asset.signals_revision != before.asset.signals_revision


def _changed(new: Columns, old: Columns) -> NDArray[np.intp]:
    """Rows in which anything differs, bit by bit, so that NaN equals NaN."""
    different = np.zeros(len(new.value), bool)
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = list(zip(new, old, strict=True))
    for one, other in pairs:
        bits = f"u{one.dtype.itemsize}"
        different |= one.view(bits) != other.view(bits)
    return np.flatnonzero(different)
