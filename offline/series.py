"""Time series of tags in CSV files: SI columns in order of time, with every cell that cannot be read named.

The column `time` holds seconds or ISO times (UTC when they name no zone); every other column is a tag, in SI or in
the unit that stands behind it in brackets: `branch/1/temperature [Cel]`. An empty cell was not measured.
"""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uem.twin_core import units
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.measurements import BAD_NO_COMMUNICATION, GOOD, NS_PER_S, Samples
from uem.twin_core.plant.territory import Territory

TIME = "time"
_HEADER = re.compile(r"\s*(?P<tag>[^\[\]]+?)\s*(?:\[(?P<unit>[^\]]+)\])?\s*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Series:
    """`time_ns` int64 of shape (n,), strictly increasing; `value` (n, tags) SI, NaN where nothing was measured."""

    source: str  # where it is from, for messages
    tags: tuple[str, ...]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    is_iso: bool  # times were written as dates, not as seconds

    def rows(self) -> Iterator[tuple[int, Samples]]:
        """The rows as (time in ns, samples)."""
        index = np.arange(len(self.tags), dtype=np.uint32)
        for time_ns, value in zip(self.time_ns.tolist(), self.value, strict=True):
            quality = np.where(np.isfinite(value), GOOD, BAD_NO_COMMUNICATION).astype(np.uint32)
            yield time_ns, Samples(self.tags, index, np.full(len(index), time_ns, np.int64), value, quality)

    def with_tags(self, tags: Sequence[str]) -> "Series":
        """The same with a column for each of these tags; those that are not there were never measured."""
        absent = tuple(tag for tag in tags if tag not in self.tags)
        empty = np.full((len(self.time_ns), len(absent)), np.nan)
        return replace(self, tags=self.tags + absent, value=np.hstack([self.value, empty]))

    def time_text(self, time_ns: int) -> str:
        """A time as the file writes its times."""
        if not self.is_iso:
            return f"{time_ns / NS_PER_S:.15g}"
        return (_EPOCH + timedelta(microseconds=time_ns // 1000)).isoformat()


@dataclass(frozen=True, slots=True)
class _Column:
    """A column to read: si = scale * cell + offset."""

    tag: str
    header: str
    scale: float
    offset: float


def read_inputs(path: Path, territory: Territory) -> Series:
    """Read a file whose columns are tags of the territory, or those of one of its recordings.

    Raises:
        UnknownName: a column is no tag or names no unit that we know.
        InvalidInput: the file cannot be read, a unit does not fit the tag, a cell is no number, times do not increase.
    """
    header, rows = _read(path)
    recorded = _recorded_columns(header, territory)
    if recorded is not None:
        time_column, columns = recorded
        return _series(path, header, rows, time_column, columns)
    if TIME not in header:
        raise InvalidInput(f"{path}: no column {TIME!r}; columns are {', '.join(header)}")
    columns = [_column(path, name, territory) for name in header if name != TIME]
    return _series(path, header, rows, TIME, columns)


def _recorded_columns(header: Sequence[str], territory: Territory) -> tuple[str, list[_Column]] | None:
    """The column of time and those of tags when the header is that of a recording of the territory."""
    for plant in territory.plants:
        bindings = [b for b in territory.tags if b.plant == plant.name and b.column]
        if plant.recording is not None and bindings:
            needed = {plant.recording.time_column, *(b.column for b in bindings)}
            if needed <= set(header):
                columns = [_Column(b.tag.name, b.column, b.scale, b.offset) for b in bindings]
                return plant.recording.time_column, columns
    return None


def read_recording(territory: Territory, tags: Sequence[str]) -> Series:
    """Read the recording that the simulated plant of these tags plays.

    Raises:
        InvalidInput: the tags come from several plants or from one without a recording, or the file is wrong.
    """
    bindings = [territory.binding(tag) for tag in tags]
    plants = {binding.plant for binding in bindings}
    plant = next(plant for plant in territory.plants if plant.name == bindings[0].plant)
    if len(plants) > 1 or plant.recording is None:
        raise InvalidInput(f"plant {', '.join(sorted(plants))}: no single recording has all tags; give --inputs")
    path, time_column = Path(plant.recording.path), plant.recording.time_column
    header, rows = _read(path)
    missing = [name for name in (time_column, *(b.column for b in bindings)) if name not in header]
    if missing:
        raise InvalidInput(f"{path}: no column {', '.join(missing)}; columns are {', '.join(header)}")
    return _series(
        path, header, rows, time_column, [_Column(b.tag.name, b.column, b.scale, b.offset) for b in bindings]
    )


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows with their line numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not rows:
        raise InvalidInput(f"{path}: no rows below a header line")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidInput(f"{path}: column {', '.join(twice)} stands there more than once")
    return header, rows


def _column(path: Path, name: str, territory: Territory) -> _Column:
    match = _HEADER.fullmatch(name)
    if match is None:
        raise InvalidInput(f"{path}: column {name!r} is not written as a tag, or as a tag with its unit in brackets")
    known = {binding.tag.name: binding.tag for binding in territory.tags}
    tag = known.get(match["tag"])
    if tag is None:
        raise UnknownName(f"tag in {path.name}", match["tag"], known)
    unit = units.unit(match["unit"] or tag.unit)
    if unit.si != tag.unit:
        raise InvalidInput(f"{path}: column {name!r}: unit {match['unit']!r} does not measure {tag.unit!r}")
    return _Column(tag.name, name, unit.scale, unit.offset)


def _series(
    path: Path, header: list[str], rows: list[tuple[int, list[str]]], time_column: str, columns: list[_Column]
) -> Series:
    time_at, at = header.index(time_column), [header.index(column.header) for column in columns]
    time_ns, value, is_iso = np.empty(len(rows), np.int64), np.empty((len(rows), len(columns))), False
    for i, (line, row) in enumerate(rows):
        where = f"{path} line {line}"
        if len(row) != len(header):
            raise InvalidInput(f"{where}: {len(row)} cells, but {len(header)} columns")
        time_ns[i], iso = _time_ns(row[time_at], f"{where}, column {time_column}")
        is_iso = is_iso or iso
        if i and time_ns[i] <= time_ns[i - 1]:
            raise InvalidInput(f"{where}, column {time_column}: {row[time_at]!r} is not after the row before")
        for k, column in enumerate(columns):
            value[i, k] = _number(row[at[k]], where, column.header) * column.scale + column.offset
    return Series(str(path), tuple(column.tag for column in columns), time_ns, value, is_iso)


def seconds(cell: str, where: str) -> float:
    """A time cell in seconds (since 1970 where it is a date); InvalidInput when it is none."""
    return _time_ns(cell, where)[0] / NS_PER_S


def _time_ns(cell: str, where: str) -> tuple[int, bool]:
    try:
        seconds = float(cell)
    except ValueError:
        pass
    else:
        if not math.isfinite(seconds) or abs(seconds) > 9e9:
            raise InvalidInput(f"{where}: {cell!r} is no time in seconds")
        return round(seconds * NS_PER_S), False
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        raise InvalidInput(f"{where}: {cell!r} is neither seconds nor an ISO time") from None
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000, True


def _number(cell: str, where: str, column: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        raise InvalidInput(f"{where}, column {column}: {cell!r} is not a number") from None
    if not math.isfinite(number):
        raise InvalidInput(f"{where}, column {column}: {cell!r} is not finite; leave what was not measured empty")
    return number
