"""Recordings of measurements: a CSV file by column, and when each row is due when it is played back.

The time column holds seconds from the recording's time zero, or ISO timestamps (UTC when they name no zone) of which
the first is time zero. An empty cell means that the sensor gave nothing: before its first value it is waiting for
initial data, after that it has failed.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, BAD_WAITING_FOR_INITIAL_DATA, NS_PER_S

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RecordedColumns:
    """A recording of `n` rows.

    `time_ns` (n,) int64 since time zero, strictly increasing; `value` (n, columns) raw, NaN where there is none;
    `quality` (n, columns) uint32 StatusCode.
    """

    columns: tuple[str, ...]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint32]

    @property
    def length_ns(self) -> int:
        """From the first row to where the next round begins: one usual step after the last row."""
        if len(self.time_ns) < 2:
            return NS_PER_S
        return int(self.time_ns[-1] - self.time_ns[0] + np.median(np.diff(self.time_ns)))


def read_recording(path: str | Path, time_column: str, columns: Sequence[str]) -> RecordedColumns:
    """Read the named columns of a CSV file with a header line.

    Raises:
        UnknownName: the file has no such column.
        InvalidInput: a cell is no number, the times do not increase or there are no rows; names file, line and column.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            for column in (time_column, *columns):
                if column not in header:
                    raise UnknownName(f"column of {path.name}", column, header)
            at = [header.index(column) for column in columns]
            time_at = header.index(time_column)
            times, values, is_iso = [], [], False
            for row in reader:
                where = f"{path.name} line {reader.line_num}"
                if len(row) != len(header):
                    raise InvalidInput(f"{where}: {len(row)} cells, {len(header)} columns")
                times.append(_time_ns(row[time_at], f"{where}, column {time_column}"))
                is_iso = is_iso or not _is_number(row[time_at])
                if len(times) > 1 and times[-1] <= times[-2]:
                    raise InvalidInput(f"{where}: time {row[time_at]} does not come after the row before")
                values.append([_number(row[i], f"{where}, column {header[i]}") for i in at])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"recording {path}: {error}") from None
    if not times:
        raise InvalidInput(f"recording {path}: no rows")
    time_ns = np.array(times, np.int64)
    if is_iso:
        time_ns -= time_ns[0]
    table = np.array([[math.nan if v is None else v for v in row] for row in values]).reshape(len(times), len(at))
    empty = np.array([[v is None for v in row] for row in values], bool).reshape(len(times), len(at))
    return RecordedColumns(tuple(columns), time_ns, table, qualities(empty))


def qualities(empty: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Of cells (n, columns) that may be empty: waiting before the first value of a column, failed after it."""
    waiting = np.logical_and.accumulate(empty, axis=0)
    return np.where(waiting, BAD_WAITING_FOR_INITIAL_DATA, np.where(empty, BAD_SENSOR_FAILURE, 0)).astype(np.uint32)


def schedule(recording: RecordedColumns, *, loop: bool) -> Iterator[tuple[int, int]]:
    """(plant time in ns since time zero, row) of every row to play; without end when looped, time always going on."""
    shift = 0
    while True:
        for row, time_ns in enumerate(recording.time_ns.tolist()):
            yield time_ns + shift, row
        if not loop:
            return
        shift += recording.length_ns


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _time_ns(text: str, where: str) -> int:
    if _is_number(text):
        return round(float(text) * 1e6) * 1000  # whole microseconds: what Python servers can write
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{where}: {text!r} is neither seconds nor an ISO time") from None
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000


def _number(text: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{where}: {text!r} is no number") from None
