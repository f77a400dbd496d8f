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


class Method(StrEnum):
    """How the samples of an overview are chosen."""

    MIN_MAX = "min-max"  # of each interval the least and the greatest good one
    LARGEST_TRIANGLE = "largest triangle"  # of each interval the good one that bends the line most


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
    FACTORY = "factory"


class Side(StrEnum):
    """Which part of a heat network a node belongs to; all of an open one is supply."""

    UNSPECIFIED = "neither"
    SUPPLY = "supply"
    RETURN = "return"


class LinkKind(StrEnum):
    """What lies between two nodes of a heat network."""

    UNSPECIFIED = "link"
    PIPE = "pipe"
    VALVE = "valve"
    PUMP = "pump"
    CONSUMER = "consumer"
    PRODUCER = "producer"
    STORAGE = "storage"


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


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a heat network and where it is drawn; its signals begin with "node/" and its name."""

    name: str
    east_m: float
    north_m: float
    side: Side


@dataclass(frozen=True, slots=True)
class Link:
    """What lies between two nodes; its signals begin with "pipe/" or "unit/" and its name.

    Length and diameter are those of a pipe, else 0; `unit_type` says what a unit is, as in territory files, and
    `heat_from` names the factories whose heat it takes.
    """

    name: str
    kind: LinkKind
    start: str
    end: str
    length_m: float = 0.0
    inner_diameter_m: float = 0.0
    unit_type: str = ""
    heat_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """How a heat network is laid out, for drawings."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]


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
class Alarm:
    """What a plant said of one of its alarms at one time.

    `state` is one of "normal", "unacknowledged", "acknowledged", "returned", "shelved", "suppressed",
    "out_of_service"; `priority` one of "low", "medium", "high", from the severity 1 to 1000. `branch` is empty but for
    an earlier state that still wants to be acknowledged.
    """

    plant: str
    condition: str
    branch: str
    source: str
    name: str
    message: str
    state: str
    severity: int
    priority: str
    time_ns: int
    quality: int


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
    """The shape of a tag in few samples, chosen from intervals of `resolution_ns`.

    With a resolution of 0 they are all samples; `count` is how many are stored in the range. The line through them
    breaks before each index in `line_start`: a gap or a bad sample lies there.
    """

    history: History
    resolution_ns: int
    count: int
    line_start: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """A clock at a plant against that of the gateway; NaN for what is not known."""

    state: str  # unknown, ok, drifting, jumped, future or recorded
    offset_s: float  # how far it is ahead, at least
    drift_ppm: float
    jumps: int


@dataclass(frozen=True, slots=True)
class PlantStatus:
    """A plant as its gateway sees it. Counts are since the start of the gateway; what is not known is NaN."""

    plant: str
    connected: bool
    reconnects: int
    newest_sample_age_s: float
    usual_interval_s: float  # between two samples of one tag, of those that come most often
    missing_tags: Mapping[str, str]  # with the reason of each
    received: int
    dropped: int  # lost because a queue or the spool was full
    repeated: int  # left out since they had come before
    bad_quality: int
    gaps: int
    source_clock: ClockStatus
    server_clock: ClockStatus  # of the plant's server, where its protocol tells it
    checks: Mapping[str, int]  # samples that a check found wrong, by what was wrong
    unit_mismatches: Mapping[str, str]  # tags read in another unit than the plant says, with both


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """A gateway as it reported `age_s` ago: its plants, and what waits for the acknowledgement of the server."""

    name: str
    version: str
    age_s: float
    plants: tuple[PlantStatus, ...]
    backlog_rows: int
    backlog_bytes: int
    oldest_age_s: float  # since the oldest of it was received; 0 when nothing waits
    drain_rows_per_s: float
    pending_rows: int  # in memory, not on the disk of the gateway yet
    delivered: int
    rejected: Mapping[str, int]  # samples that the server rejected, by reason
    refused_batches: int
    certificate_expiry_s: float
    clock_jumps: int  # of the gateway's own clock


@dataclass(frozen=True, slots=True)
class TwinStatus:
    """A twin; times are 0 as long as there is none."""

    asset: str
    plant_time_ns: int
    newest_sample_ns: int
    waits_for: tuple[str, ...]  # tags without which it cannot start
    late: int
    unusable: int
    failed_steps: int
    restarts: int
    failure: str  # why the last step failed; empty when it did not


@dataclass(frozen=True, slots=True)
class Status:
    """What a server knows of itself, and the gateways that report to it."""

    version: str
    territory: str
    uptime_s: float
    twins: tuple[TwinStatus, ...]
    history_bytes: int
    history_samples: int
    newest_sample_ns: int
    problems: Mapping[str, str]  # what is not well, by the name of the check
    gateways: tuple[GatewayStatus, ...]
