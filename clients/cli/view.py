"""States and forecasts as people read them: measured against twin, in display units. Pure: text and tables only."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rich.table import Table
from rich.text import Text

from uem.clients import display
from uem.clients.cli.common import line
from uem.clients.records import Forecast, Series, Signal, Source, State

HEADERS = ("signal", "measured", "twin", "deviation", "sigma", "unit", "quality", "age")
# Columns of the live view and the least width of each, so that all of them fit into 80 characters.
_PAIR_COLUMNS = (
    ("measured against twin", 0),
    ("measured", 8),
    ("twin", 6),
    ("deviation", 9),
    ("sigma", 5),
    ("kg/s", 6),
    ("quality", 9),
    ("age", 6),
)
_LEAST_NAME = 12
_BY_STATE = "state/"  # state/NUMBER/time and state/NUMBER/energy are the ledger of a machine
_REMARKABLE = 3.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a state in display units; NaN where there is no such value. `deviation` is measured minus twin."""

    signal: str
    measured: float
    twin: float
    deviation: float
    sigma: float
    unit: str
    quality: str
    age_s: float
    source: Source
    text: str = ""  # the name of a state, instead of a number

    @property
    def is_pair(self) -> bool:
        """Whether a twin's value is held against a measured one."""
        return self.text == "" and not math.isnan(self.deviation)

    @property
    def is_remarkable(self) -> bool:
        """Whether the deviation is more than three standard deviations."""
        return self.is_pair and self.sigma > 0 and abs(self.deviation) > _REMARKABLE * self.sigma

    def cells(self) -> tuple[str, ...]:
        """The texts under HEADERS. A remarkable deviation carries a mark, so that it needs no colour."""
        measured, twin = (display.number(v, self.unit) for v in (self.measured, self.twin))
        if self.text:
            measured, twin = (self.text if not math.isnan(v) else "-" for v in (self.measured, self.twin))
        deviation = display.difference(self.deviation, self.unit, sign=True)
        return (
            self.signal,
            measured,
            twin,
            f"! {deviation}" if self.is_remarkable and deviation.strip("+-0.") else deviation,
            display.difference(self.sigma, self.unit),
            display.unit_name(self.unit),
            self.quality,
            display.duration(self.age_s),
        )


def rows(state: State, pattern: str = "*") -> list[Row]:
    """The lines of a state: a signal that an estimate is held against stands in the line of that estimate.

    `pattern` chooses signals by their name, or the name of what they are held against, as file names in a shell.
    """
    signals = state.asset.signals
    places = {signal.name: i for i, signal in enumerate(signals)}
    paired = {signal.compared_with for signal in signals}
    return [
        _row(state, i, signal, places)
        for i, signal in enumerate(signals)
        if signal.name not in paired
        and (pattern == "*" or fnmatchcase(signal.name, pattern) or fnmatchcase(signal.compared_with, pattern))
    ]


def rows_of(state: State, names: Sequence[str]) -> list[Row]:
    """The lines of the signals of these names, in their order."""
    places = {signal.name: i for i, signal in enumerate(state.asset.signals)}
    return [_row(state, places[name], state.asset.signals[places[name]], places) for name in names]


def _row(state: State, i: int, signal: Signal, places: Mapping[str, int]) -> Row:
    unit = signal.display_unit
    own = display.shown(float(state.value[i]), unit)
    measured, twin = (own, math.nan) if signal.source is Source.MEASURED else (math.nan, own)
    quality, age_s = int(state.quality[i]), float(state.age_s[i])
    if signal.compared_with:
        other = places[signal.compared_with]
        measured = display.shown(float(state.value[other]), unit)
        quality, age_s = max(quality, int(state.quality[other])), float(state.age_s[other])
    return Row(
        signal.compared_with or signal.name,
        measured,
        twin,
        measured - twin,
        display.shown_difference(float(state.standard_deviation[i]), unit),
        unit,
        display.quality_name(quality),
        age_s,
        signal.source,
        signal.state_names.get(round(own), f"state {own:g}") if signal.state_names and math.isfinite(own) else "",
    )


def heading(state: State) -> str:
    """What and when: "branch (Buried branch), plant time 2009-01-23 00:01:00Z, step 1"."""
    asset = state.asset
    title = "" if asset.title == asset.name else f" ({asset.title})"
    missed = f", {state.missed} missed" if state.missed else ""
    return f"{asset.name}{title}, plant time {display.plant_time(state.plant_time_ns)}, step {state.tick}{missed}"


def ledger_since(state: State) -> str:
    """Since when the totals count: ", totals since 2009-01-23 00:00:00Z"; empty when the server does not tell."""
    return f", totals since {display.plant_time(state.ledger_since_ns)}" if state.ledger_since_ns else ""


def overview(state: State, found: Sequence[Row], shown: Collection[str] = ()) -> list[str]:
    """What matters beside the pairs, as short texts: measured values, totals, and a machine's ledger by state.

    Leaves out what is `shown` elsewhere and estimates at single places; `uem state` and --json have all of it.
    """
    names = next((signal.state_names for signal in state.asset.signals if signal.state_names), {})
    ledger = {row.signal: row for row in found if row.signal.startswith(_BY_STATE)}
    texts = [
        single(row)
        for row in found
        if not (row.is_pair or row.signal in shown or row.signal in ledger)
        and (row.source is not Source.ESTIMATED or "/" not in row.signal)
    ]
    for time in ledger.values():
        _, key, quantity = time.signal.split("/", 2)
        energy = ledger.get(f"{_BY_STATE}{key}/energy")
        if quantity == "time" and time.twin > 0:
            used = "" if energy is None else f" {display.number(energy.twin, energy.unit)} {energy.unit}"
            texts.append(f"{names.get(int(key), key) if key.isdecimal() else key} {display.duration(time.twin)}{used}")
    return texts


def single(row: Row) -> str:
    """A line without a pair as "name value unit", and its quality where it is not good."""
    value = row.twin if math.isnan(row.measured) else row.measured
    text = row.text or f"{display.number(value, row.unit)} {display.unit_name(row.unit)}".rstrip()
    return f"{row.signal} {text}" + ("" if row.quality == "good" else f" ({row.quality})")


def forecast_lines(forecast: Forecast, width: int = 12, most: int = 2) -> list[str]:
    """The first `most` forecasts in one line each: course over the horizon, value and band at its end."""
    return [_forecast_line(forecast, series, width) for series in forecast.series[:most] if len(series.value)]


def _forecast_line(forecast: Forecast, series: Series, width: int) -> str:
    unit = series.display_unit
    ahead = display.duration((int(series.valid_time_ns[-1]) - forecast.issue_time_ns) / 1e9)
    value = display.number(display.shown(float(series.value[-1]), unit), unit)
    notes = []
    if len(forecast.quantile_level):
        for i in (0, -1):
            edge = display.number(display.shown(float(series.quantile[-1, i]), unit), unit)
            notes.append(f"P{100 * forecast.quantile_level[i]:g} {edge}")
    if display.quality_name(series.quality) != "good":
        notes.append(display.quality_name(series.quality))
    band = f" ({', '.join(notes)})" if notes else ""
    name = series.signal.removesuffix("/twin")
    return f"{name} in {ahead} {display.sparkline(series.value, width)} {value} {display.unit_name(unit)}{band}"


def plain_lines(state: State, forecast: Sequence[str] = (), pattern: str = "*") -> Iterator[str]:
    """A state with its pairs in plain lines, for logs and pipes."""
    yield heading(state)
    found = rows(state, pattern)
    for row in found:
        if row.is_pair:
            name, measured, twin, deviation, sigma, unit, quality, _ = row.cells()
            bad = "" if quality == "good" else f", {quality}"
            yield f"  {name}: measured {measured} twin {twin} {unit}, deviation {deviation} sigma {sigma}{bad}"
    texts = overview(state, found) if pattern == "*" else [single(row) for row in found if not row.is_pair]
    if texts:
        yield "  " + ", ".join(texts)
    yield from (f"  forecast {text}" for text in forecast)


def detail(state: State, forecast: Sequence[str], width: int, pattern: str = "*") -> Iterator[Text | Table]:
    """A state for a terminal: its pairs as a table, the rest packed below, its forecast."""
    found = rows(state, pattern)
    pairs = [(row, _flow_beside(row, found)) for row in found if row.is_pair]
    beside = {flow.signal for _, flow in pairs if flow is not None}
    yield line(heading(state), "bold")
    if pairs:
        yield pairs_table(pairs, width)
    texts = (
        overview(state, found, beside)
        if pattern == "*"
        else [single(row) for row in found if not (row.is_pair or row.signal in beside)]
    )
    yield from (line(text) for text in packed(texts, width))
    yield from (line(f"forecast {text}", "cyan") for text in forecast)


def _flow_beside(row: Row, found: Sequence[Row]) -> Row | None:
    """The mass flow at the place of a row: a deviation in standing water means less than one in flowing water."""
    place = row.signal.rpartition("/")[0]
    return next((other for other in found if place and other.signal == f"{place}/flow"), None)


def pairs_table(pairs: Sequence[tuple[Row, Row | None]], width: int) -> Table:
    """Measured against twin, each with the flow beside it, if any, in columns that fit the width."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    count = len(_PAIR_COLUMNS)
    while count > 2 and _name_width(width, count) < _LEAST_NAME:
        count -= 1  # a narrow terminal does without the columns on the right, not without the names
    for i, (name, least) in enumerate(_PAIR_COLUMNS[:count]):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True, min_width=least)
    name_width = max(_name_width(width, count), 2)
    for row, flow in pairs:
        _, measured, twin, deviation, sigma, unit, quality, age = row.cells()
        name = f"{row.signal} {unit}".rstrip()
        name = name if len(name) <= name_width else name[: name_width - 1] + "…"
        flowing = "" if flow is None else display.number(flow.measured, flow.unit)
        style = "bold yellow" if row.is_remarkable else ""
        cells = (name, measured, twin, deviation, sigma, flowing, quality, age)
        table.add_row(*cells[:count], style=style)
    return table


def _name_width(width: int, count: int) -> int:
    """What the first `count` columns leave for the names."""
    return width - sum(least + 1 for _, least in _PAIR_COLUMNS[1:count]) - 1


def packed(texts: Sequence[str], width: int) -> list[str]:
    """Texts in as few lines as `width` allows, in aligned columns."""
    if not texts:
        return []
    column = max(len(text) for text in texts) + 2
    columns = max(1, (width + 2) // column)
    return [
        "".join(text.ljust(column) for text in texts[i : i + columns]).rstrip() for i in range(0, len(texts), columns)
    ]
