"""Samples into files as they come from the server: memory does not grow with their number.

A file appears under its name when it is whole; what was written of one that is broken off is removed.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from uem.clients import display
from uem.clients.cli import parquet
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import History, TagInfo

TAGS_AT_ONCE = 50  # of a request; so often progress is shown
ROWS_AT_ONCE = 1_000_000  # of a row group


def rows_of(info: TagInfo, read: History) -> Iterator[tuple[str, str, str, str, str]]:
    """Tag, time, value, unit and quality of each sample, the value in the display unit."""
    unit = info.display_unit
    values = display.shown_column(read.value, unit).tolist()
    for time_ns, value, quality in zip(read.source_time_ns.tolist(), values, read.quality.tolist(), strict=True):
        yield read.tag, display.iso_time(time_ns), f"{value:.6g}", unit, display.quality_name(quality)


class CsvFile:
    """Rows as text, values in display units."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(("tag", "time", "value", "unit", "quality"))

    def write(self, info: TagInfo, read: History) -> None:
        """Add samples of a tag."""
        self._writer.writerows(rows_of(info, read))

    def close(self) -> None:
        """Write what waits."""
        self._file.close()


class ParquetFile:
    """Columns as they are stored: time in ns UTC, SI values with their unit, the 32-bit quality."""

    def __init__(self, path: Path) -> None:
        self._pyarrow = pyarrow = parquet.library()
        names = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        time = pyarrow.timestamp("ns", "UTC")
        fields = {"tag": names, "time": time, "value": pyarrow.float64(), "unit": names, "quality": pyarrow.uint32()}
        self._schema = pyarrow.schema(list(fields.items()))
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[tuple[TagInfo, History]] = []
        self._rows = 0

    def write(self, info: TagInfo, read: History) -> None:
        """Add samples of a tag."""
        self._waiting.append((info, read))
        self._rows += len(read.value)
        if self._rows >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, [], 0
        index = np.repeat(np.arange(len(waiting), dtype=np.int32), [len(read.value) for _, read in waiting])

        def column(name: str) -> Any:
            return np.concatenate([getattr(read, name) for _, read in waiting])

        def by_tag(texts: list[str]) -> Any:
            known = sorted(set(texts))
            number = np.array([known.index(text) for text in texts], np.int32)
            return self._pyarrow.DictionaryArray.from_arrays(number[index], self._pyarrow.array(known))

        columns = [
            by_tag([info.name for info, _ in waiting]),
            self._pyarrow.array(column("source_time_ns"), self._schema.field("time").type),
            column("value"),
            by_tag([info.unit for info, _ in waiting]),
            column("quality"),
        ]
        self._writer.write_table(self._pyarrow.table(columns, schema=self._schema))


class Export:
    """A file that takes samples: `with Export(path, CsvFile) as file: file.write(info, samples)`."""

    def __init__(self, path: Path, kind: type[CsvFile] | type[ParquetFile]) -> None:
        self.rows = 0
        self._path, self._part = path, path.with_name(f".{path.name}.part")
        try:
            self._file = kind(self._part)
        except OSError as error:
            raise self._error(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if error is None:
                self._part.replace(self._path)
                print(f"{self.rows} rows in {self._path}", file=sys.stderr)
        except OSError as wrong:
            if error is None:
                raise self._error(wrong) from None
        finally:
            self._part.unlink(missing_ok=True)

    def write(self, info: TagInfo, read: History) -> None:
        """Add samples of a tag; ClientError when the disk does not take them."""
        self.rows += len(read.value)
        try:
            self._file.write(info, read)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> ClientError:
        return ClientError(f"cannot write {self._path}: {error.strerror or error}")


async def export(
    client: Client, file: Export, infos: Sequence[TagInfo], start_ns: int, end_ns: int, limit: int
) -> None:
    """Write the samples of tags, in their order; progress goes to a terminal."""
    shows = sys.stderr.isatty()
    known = {info.name: info for info in infos}
    for begin in range(0, len(infos), TAGS_AT_ONCE):
        if shows:
            print(f"\r{begin} of {len(infos)} tags, {file.rows} rows ", end="", file=sys.stderr, flush=True)
        tags = [info.name for info in infos[begin : begin + TAGS_AT_ONCE]]
        async with aclosing(client.history_parts(tags, start_ns, end_ns, limit)) as parts:
            async for read in parts:
                file.write(known[read.tag], read)
    if shows:
        print("\r\x1b[K", end="", file=sys.stderr)
