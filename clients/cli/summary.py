"""What matters of a network or a factory with many signals, in few figures. Pure: numbers only, in SI."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from uem.clients.records import Asset, Floats, Layout, LinkKind, Side, Source, State

TAKES_W = 500.0  # a customer that takes less stands
BIASED_K = 2.0  # more than a sensor of class B may show wrong, and than the model of a settled twin mostly does
SILENT_S = 300.0  # of the plant: meters on a bus are read out once a minute
_SHOWS_THE_ROOM = 0x40930000  # UncertainSensorNotAccurate: no water passes the sensor, or has for less than an hour
_BAD = 2  # severities of an OPC UA StatusCode
_UNITS = (LinkKind.PRODUCER, LinkKind.STORAGE)
# PackML states that are neither running nor waiting for something.
_RUN = ("execute", "starting", "completing")
_OFF = ("stopped", "stopping")
_DOWN = ("aborted", "aborting", "clearing")


@dataclass(frozen=True, slots=True)
class Unit:
    """A producer or a store; its heat is what it gives to the water."""

    name: str
    heat_w: float
    is_good: bool


@dataclass(frozen=True, slots=True)
class Deviation:
    """Measured minus twin at a sensor, with the standard deviation of the twin's value; in SI."""

    signal: str
    display_unit: str
    value: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How many values are good, uncertain and bad, how many sensors are silent, and the age of the newest value."""

    good: int
    uncertain: int
    bad: int
    silent: int
    age_s: float


@dataclass(frozen=True, slots=True)
class NetworkSummary:
    """A heat network now, and what the ledger says since it began. NaN stands for what is not known.

    `beyond` counts the deviations of more than three standard deviations among those of `sensors`, `corrected` the
    sensors where the twin is corrected by a bias that says something and is more than BIASED_K.
    """

    customers: int
    taking: int
    taken_w: float
    fed_w: float
    supply_k: float
    return_k: float
    outdoor_k: float
    recovered_share: float
    lost_share: float
    curtailed_j: float
    co2_avoided_kg: float
    units: tuple[Unit, ...]
    sensors: int
    beyond: int
    worst: Deviation | None
    corrected: int
    most_corrected: Deviation | None
    quality: Quality


@dataclass(frozen=True, slots=True)
class FactorySummary:
    """A factory now: its machines by what they do, `down` by name.

    `output_per_s` is NaN as long as the twin is not sure of it and has counted no more than a part.
    """

    running: int
    waiting: int
    off: int
    down: tuple[str, ...]
    unknown: int
    output_per_s: float
    power_w: float
    heat_w: float
    is_parted: bool
    quality: Quality


class NetworkReader:
    """Knows where the figures of a network stand in its states; made once for an asset, since there are thousands."""

    def __init__(self, asset: Asset, layout: Layout) -> None:
        self._places = {signal.name: i for i, signal in enumerate(asset.signals)}
        self._asset = asset
        kinds = {link.name: link.kind for link in layout.links}
        heats = [(i, name.split("/")[1]) for name, i in self._places.items() if fnmatchcase(name, "unit/*/heat")]
        self._customers = np.array([i for i, u in heats if kinds.get(u) is LinkKind.CONSUMER], np.intp)
        self._units = [(i, name) for i, name in heats if kinds.get(name) in _UNITS]
        self._answers = [
            (i, name.split("/")[1]) for name, i in self._places.items() if fnmatchcase(name, "unit/*/answers")
        ]
        self.givers = {link.name: link.heat_from for link in layout.links if link.heat_from}  # factories, by unit
        self._mains = [self._pipes(layout, side) for side in (Side.SUPPLY, Side.RETURN)]
        self._pairs = _pairs(asset)
        self._biases = np.array([i for name, i in self._places.items() if name.endswith("/temperature/bias")], np.intp)
        self._measured = _measured(asset)

    def mute(self, state: State) -> list[str]:
        """Producers that do not answer though their heat is lacking."""
        return [name for i, name in self._answers if state.value[i] == 0.0]

    def _pipes(self, layout: Layout, side: Side) -> list[tuple[int, str, str]]:
        sides = {node.name: node.side for node in layout.nodes}
        return [
            (self._places[flow], link.start, link.end)
            for link in layout.links
            if sides.get(link.start) is side is sides.get(link.end)
            and (flow := f"pipe/{link.name}/flow") in self._places
        ]

    def summary(self, state: State) -> NetworkSummary:
        """The figures of one state of the asset."""
        taken_w = -state.value[self._customers]
        units = tuple(Unit(name, float(state.value[i]), _severity(state)[i] == 0) for i, name in self._units)
        produced_j = self._value(state, "indicator/produced")
        score = deviations(state, self._pairs)
        biased, clear = _biased(state, self._biases)
        return NetworkSummary(
            customers=len(taken_w),
            taking=int(np.sum(taken_w > TAKES_W)),
            taken_w=float(np.nansum(taken_w)),
            fed_w=math.fsum(unit.heat_w for unit in units if unit.heat_w > 0.0),
            supply_k=self._main_k(state, 0),
            return_k=self._main_k(state, 1),
            outdoor_k=self._value(state, "outdoor/temperature"),
            recovered_share=self._value(state, "indicator/recovered_share"),
            lost_share=self._value(state, "energy/loss") / produced_j if produced_j > 0 else math.nan,
            curtailed_j=self._value(state, "indicator/curtailed"),
            co2_avoided_kg=self._value(state, "indicator/co2_avoided"),
            units=tuple(sorted(units, key=lambda unit: -unit.heat_w if math.isfinite(unit.heat_w) else math.inf)),
            sensors=len(score),
            beyond=int(np.sum(score > 3.0)),
            worst=_worst(state, self._pairs, score),
            corrected=int(np.sum(clear)),
            most_corrected=_deviation(state, int(self._biases[np.argmax(biased)])) if biased.any() else None,
            quality=_quality(state, self._measured),
        )

    def _main_k(self, state: State, side: int) -> float:
        """Where the largest flow leaves the plant (supply, 0) or comes back to it (return, 1)."""
        pipes = self._mains[side]
        if not pipes:
            return math.nan
        flow = np.nan_to_num(state.value[[i for i, *_ in pipes]])
        largest = int(np.argmax(np.abs(flow)))
        _, start, end = pipes[largest]
        node = start if (flow[largest] >= 0) == (side == 0) else end
        measured_k = self._value(state, f"node/{node}/temperature")
        return measured_k if math.isfinite(measured_k) else self._value(state, f"node/{node}/temperature/twin")

    def _value(self, state: State, signal: str) -> float:
        return float(state.value[self._places[signal]]) if signal in self._places else math.nan


def factory_summary(state: State) -> FactorySummary:
    """The figures of a state of a factory."""
    now = {signal.name: (signal, float(v)) for signal, v in zip(state.asset.signals, state.value, strict=True)}
    doing = {
        name.split("/")[1]: signal.state_names.get(round(v)) if math.isfinite(v) else None
        for name, (signal, v) in now.items()
        if fnmatchcase(name, "machine/*/state")
    }
    heats = [v for name, (_, v) in now.items() if name.startswith("heat/")]
    running, off = (sum(what in kinds for what in doing.values()) for kinds in (_RUN, _OFF))
    unknown = sum(what is None for what in doing.values())
    down = tuple(name for name, what in doing.items() if what in _DOWN)

    def value(name: str) -> float:
        return now[name][1] if name in now else math.nan

    return FactorySummary(
        running=running,
        waiting=len(doing) - running - off - unknown - len(down),
        off=off,
        down=down,
        unknown=unknown,
        output_per_s=_output(state),
        power_w=value("power"),
        heat_w=math.fsum(heats) if heats else math.nan,
        is_parted=value("parted") == 1.0,
        quality=replace(_quality(state, _measured(state.asset)), silent=0),  # states and counters tell of changes only
    )


def _output(state: State) -> float:
    """Good parts per second; NaN where they are Uncertain and no more than a standard deviation."""
    k = next((k for k, signal in enumerate(state.asset.signals) if signal.name == "output"), None)
    if k is None:
        return math.nan
    value, is_good = float(state.value[k]), _severity(state)[k] == 0
    return value if is_good or value > state.standard_deviation[k] else math.nan


def _pairs(asset: Asset) -> NDArray[np.intp]:
    """Places of estimates that are held against a measured signal, and of that signal; shape (pairs, 2)."""
    places = {signal.name: i for i, signal in enumerate(asset.signals)}
    found = [(i, places[s.compared_with]) for i, s in enumerate(asset.signals) if s.compared_with in places]
    return np.array(found, np.intp).reshape(-1, 2)


def deviations(state: State, pairs: NDArray[np.intp] | None = None) -> Floats:
    """How many standard deviations each measured value is from the twin's.

    0 where that is not known or is bad, or where the sensor stands in water that does not pass: it shows the room.
    """
    twin, measured = (_pairs(state.asset) if pairs is None else pairs).T
    sigma = state.standard_deviation[twin]
    bad = (_severity(state)[twin] >= _BAD) | (_severity(state)[measured] >= _BAD) | ~(sigma > 0)
    bad |= state.quality[measured] == _SHOWS_THE_ROOM
    away = np.abs(state.value[measured] - state.value[twin]) / np.where(bad, 1.0, sigma)
    return np.where(bad, 0.0, np.nan_to_num(away))


def worst_signals(state: State, most: int) -> list[str]:
    """The estimates that are the most standard deviations away from what is measured, the worst first."""
    pairs = _pairs(state.asset)
    order = np.argsort(-deviations(state, pairs), kind="stable")[:most]
    return [state.asset.signals[i].name for i in pairs[order, 0]]


def _worst(state: State, pairs: NDArray[np.intp], score: Floats) -> Deviation | None:
    if not score.any():
        return None
    twin, measured = pairs[int(np.argmax(score))]
    signal = state.asset.signals[measured]
    away = float(state.value[measured] - state.value[twin])
    return Deviation(signal.name, signal.display_unit, away, float(state.standard_deviation[twin]))


def _biased(state: State, biases: NDArray[np.intp]) -> tuple[Floats, NDArray[np.bool_]]:
    """Standard deviations by which the twin is corrected at each sensor; where by more than one and than BIASED_K."""
    sigma = state.standard_deviation[biases]
    bad = (_severity(state)[biases] >= _BAD) | ~(sigma > 0)
    bias_k = np.where(bad, 0.0, np.nan_to_num(np.abs(state.value[biases])))
    score: Floats = bias_k / np.where(bad, 1.0, sigma)
    return score, (score > 1.0) & (bias_k > BIASED_K)


def _deviation(state: State, bias: int) -> Deviation:
    """What the twin is corrected by at a sensor, by the place of its bias."""
    signal = state.asset.signals[bias]
    value, sigma = float(state.value[bias]), float(state.standard_deviation[bias])
    return Deviation(signal.name.removesuffix("/bias"), signal.display_unit, value, sigma)


def _measured(asset: Asset) -> NDArray[np.intp]:
    return np.array([i for i, signal in enumerate(asset.signals) if signal.source is Source.MEASURED], np.intp)


def _severity(state: State) -> NDArray[np.uint32]:
    return state.quality >> np.uint32(30)


def _quality(state: State, measured: Sequence[int] | NDArray[np.intp]) -> Quality:
    severity = _severity(state)
    good, uncertain = int(np.sum(severity == 0)), int(np.sum(severity == 1))
    ages = state.age_s[measured]
    known = ages[np.isfinite(ages)]
    # The twin knows how often each of them usually tells: what it calls good is no more silent than usual.
    silent = int(np.sum((ages > SILENT_S) & (severity[measured] > 0)))
    newest_s = float(known.min()) if len(known) else math.nan
    return Quality(good, uncertain, len(severity) - good - uncertain, silent, newest_s)


def is_closed(state: State) -> bool:
    """Whether an asset is a network with units, which has a summary; an open branch is shown by its sensors."""
    return any(fnmatchcase(signal.name, "unit/*/heat") for signal in state.asset.signals)
