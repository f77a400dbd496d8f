"""Recordings in Parquet files: the same columns as in a CSV file, read by pyarrow.

The time column holds seconds from the recording's time zero, or timestamps of which the first is time zero. A null or a
NaN means that the sensor gave nothing, as an empty cell does.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from uem.hardware_adapters.simulator.recording import RecordedColumns, qualities
from uem.twin_core.errors import AdapterError, InvalidInput, UnknownName


def header(path: str | Path) -> list[str]:
    """Names of the columns; AdapterError when it is no Parquet file."""
    try:
        return list(parquet.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise AdapterError(f"recording {path}: {error}") from None


def read(path: str | Path, time_column: str, columns: Sequence[str]) -> RecordedColumns:
    """Read the named columns.

    Raises:
        UnknownName: the file has no such column.
        InvalidInput: a column holds no numbers, the times do not increase or there are no rows.
    """
    path, there = Path(path), header(path)
    for column in (time_column, *columns):
        if column not in there:
            raise UnknownName(f"column of {path.name}", column, there)
    try:
        table = parquet.read_table(path, columns=list(dict.fromkeys((time_column, *columns))))
        time_ns = _times(table[time_column])
        numbers = [table[column].cast(pa.float64()).to_numpy(zero_copy_only=False) for column in columns]
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"recording {path}: {error}") from None
    if not len(time_ns):
        raise InvalidInput(f"recording {path}: no rows")
    if (np.diff(time_ns) <= 0).any():
        row = int(np.flatnonzero(np.diff(time_ns) <= 0)[0]) + 2
        raise InvalidInput(f"{path.name} row {row}: its time does not come after the row before")
    value = np.column_stack(numbers).astype(np.float64)
    return RecordedColumns(tuple(columns), time_ns, value, qualities(np.isnan(value)))


def _times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Nanoseconds since time zero."""
    if column.null_count:
        raise pa.ArrowInvalid(f"{column.null_count} times are null")
    if pa.types.is_timestamp(column.type):
        stamps: NDArray[np.int64] = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64()).to_numpy()
        since: NDArray[np.int64] = stamps - stamps[:1].sum()
        return since
    seconds: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    microseconds: NDArray[np.int64] = np.round(seconds * 1e6).astype(np.int64)
    return microseconds * 1000
