"""What a twin publishes: its signals, and snapshots of their values.

A snapshot is a set of columns in the order of the twin's signals. Values are SI, times int64 nanoseconds UTC,
quality the 32-bit OPC UA StatusCode, the age the plant time passed since the measurement behind a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.measurements import BAD_WAITING_FOR_INITIAL_DATA, UNCERTAIN


class Source(Enum):
    """Where a published value comes from."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    FORECAST = "forecast"
    LEDGER = "ledger"  # a count or an integral kept by the twin


# The unit that people read, by SI unit.
DISPLAY_UNITS = {"K": "Cel", "W": "kW", "J": "kWh", "Pa": "bar", "1/s": "1/h"}


@dataclass(frozen=True, slots=True)
class Signal:
    """A published quantity. `compared_with` names the measured signal that an estimated one is held against."""

    name: str
    unit: str
    source: Source
    compared_with: str = ""
    state_names: Mapping[int, str] = field(default_factory=dict)
    is_difference: bool = False  # of two temperatures: read in K, not in degrees Celsius

    @property
    def display_unit(self) -> str:
        """The unit that people read."""
        return self.unit if self.is_difference else DISPLAY_UNITS.get(self.unit, self.unit)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one asset at one plant time; columns have shape (n_signals,) and are never written again."""

    asset: str
    tick: int  # counts up by one with every step of the twin
    plant_time_ns: int
    ledger_since_ns: int  # plant time at which the totals of the ledgers began
    value: NDArray[np.float64]
    standard_deviation: NDArray[np.float64]  # NaN where a value is measured
    quality: NDArray[np.uint32]
    age_s: NDArray[np.float64]

    def as_stale(self) -> "Snapshot":
        """The same state, with nothing better than Uncertain: the twin could not go on from it."""
        return replace(self, tick=self.tick + 1, quality=np.maximum(self.quality, np.uint32(UNCERTAIN)))


def places(signals: tuple[Signal, ...]) -> dict[str, int]:
    """The column of each signal, by its name."""
    return {signal.name: i for i, signal in enumerate(signals)}


class Columns:
    """Snapshot columns while they are filled: by name, each value with its uncertainty, quality and age."""

    def __init__(self, place: Mapping[str, int]) -> None:
        """All values start unknown (NaN, Bad) and must be put before `snapshot`. `place` is what `places` tells."""
        self._place = place
        n = len(place)
        self._value, self._sd, self._age_s = (np.full(n, np.nan) for _ in range(3))
        self._quality = np.full(n, BAD_WAITING_FOR_INITIAL_DATA, np.uint32)

    def put(self, name: str, value: float, standard_deviation: float, quality: int, age_s: float) -> None:
        """Write one signal."""
        i = self._place[name]
        self._value[i], self._sd[i], self._quality[i], self._age_s[i] = value, standard_deviation, quality, age_s

    def snapshot(self, asset: str, tick: int, plant_time_ns: int, ledger_since_ns: int) -> Snapshot:
        """The columns as a snapshot; this object is used up."""
        for column in (self._value, self._sd, self._quality, self._age_s):
            column.flags.writeable = False
        return Snapshot(asset, tick, plant_time_ns, ledger_since_ns, self._value, self._sd, self._quality, self._age_s)
