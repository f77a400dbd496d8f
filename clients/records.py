"""What a client gets: frozen records with numpy columns. Values are in the SI unit of their signal, times in ns UTC.

Qualities are OPC UA StatusCodes: 0 is Good, the two highest bits are the severity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Qualities = NDArray[np.uint32]


class Source(StrEnum):
    """Where a published value comes from."""

    UNSPECIFIED = "unspecified"
    MEASURED = "measured"
    ESTIMATED = "estimated"
    FORECAST = "forecast"
    LEDGER = "ledger"


class Kind(StrEnum):
    """What an asset is."""

    UNSPECIFIED = "asset"
    HEAT_NETWORK = "heat network"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Signal:
    """One quantity of an asset. An estimated one may be `compared_with` a measured one of the same asset."""

    name: str
    unit: str
    display_unit: str
    source: Source
    compared_with: str
    state_names: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Asset:
    """A network or machine and the signals that its states have, in their order."""

    name: str
    kind: Kind
    title: str
    signals: tuple[Signal, ...]
    signals_revision: int = 0  # changes whenever the signals do


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A snapshot of an asset. Columns have shape (signals,), in the order of `asset.signals`.

    `standard_deviation` is NaN where a measured value's uncertainty is not known; `age_s` is plant time since the
    measurement behind the value; `missed` counts the states that this reader missed just before this one. The totals
    of ledgers began at `ledger_since_ns`; `tick` counts within one run of the server, `run_id`. Both are 0 or empty
    when the server does not tell.
    """

    asset: Asset
    tick: int
    plant_time_ns: int
    published_time_ns: int
    value: Floats
    standard_deviation: Floats
    quality: Qualities
    age_s: Floats
    missed: int = 0
    ledger_since_ns: int = 0
    run_id: str = ""

    def __getitem__(self, signal: str) -> float:
        """The value of a signal, SI."""
        return float(self.value[self.index(signal)])

    def index(self, signal: str) -> int:
        """The place of a signal in the columns; KeyError names the signals there are."""
        names = [s.name for s in self.asset.signals]
        if signal not in names:
            raise KeyError(f"{self.asset.name} has no signal {signal!r}; signals are {', '.join(names)}")
        return names.index(signal)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The forecast of one signal. `value` has shape (times,), `quantile` shape (times, levels)."""

    signal: str
    unit: str
    display_unit: str
    valid_time_ns: Times
    value: Floats
    quantile: Floats
    residual_count: int
    quality: int


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What an asset's twin expects from the state at `issue_time_ns` on. `quantile_level` has shape (levels,)."""

    asset: str
    issue_time_ns: int
    method: str
    quantile_level: Floats
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class TagInfo:
    """A measured tag and what is stored of it; times are 0 as long as nothing is."""

    name: str
    unit: str
    display_unit: str
    low: float
    high: float
    count: int
    first_time_ns: int
    last_time_ns: int


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval in which samples of a tag may be missing: between the source times of its neighbours.

    `reason` is one of "link_down", "source_restarted", "queue_overflow", "spool_full", "store_damaged".
    """

    tag: str
    start_ns: int
    end_ns: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """The stored samples of one tag, in order of source time. Columns have shape (samples,)."""

    tag: str
    source_time_ns: Times
    value: Floats
    quality: Qualities


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """The shape of a tag in few samples: of each interval of `resolution_ns` the least and the greatest good one.

    With a resolution of 0 they are all samples; `count` is how many are stored in the range.
    """

    history: History
    resolution_ns: int
    count: int
