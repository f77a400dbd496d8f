"""A recording, CSV or Parquet, as an adapter: its rows in order and without waiting, to load history and for tests."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from uem.hardware_adapters.simulator.recording import RecordedColumns, read_recording
from uem.hardware_adapters.tags import TagTable
from uem.territories.importers.extras import needs
from uem.twin_core.errors import AdapterError, InvalidInput, UnknownName, UnknownTag
from uem.twin_core.measurements import Samples
from uem.twin_core.plant.territory import Recording, TagBinding


class ReplayAdapter:
    """Plays a recording once, without a server."""

    def __init__(self, recording: Recording, bindings: Sequence[TagBinding], *, rows_per_batch: int = 64) -> None:
        """Nothing is read yet; a batch holds `rows_per_batch` rows of the recording with all their tags."""
        self.missing: dict[str, str] = {}
        self.dropped = 0
        self.connected = True
        self._recording = recording
        self._bindings = tuple(bindings)
        self._rows_per_batch = rows_per_batch
        self._columns: RecordedColumns | None = None
        self._tags = TagTable(())

    async def __aenter__(self) -> Self:
        read, header = _reader(self._recording.path)
        there = header(self._recording.path)
        self.missing = {
            b.tag.name: f"no column {b.column!r} in {self._recording.path}; it has {', '.join(there)}"
            for b in self._bindings
            if b.column not in there
        }
        bound = [b for b in self._bindings if b.tag.name not in self.missing]
        if not bound:
            raise UnknownTag(f"{self._recording.path}: none of the tags: {'; '.join(self.missing.values())}")
        self._tags = TagTable(bound)
        try:
            columns = [b.column for b in bound]
            self._columns = read(self._recording.path, self._recording.time_column, columns)
        except (InvalidInput, UnknownName) as error:
            raise AdapterError(str(error)) from None
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._columns = None

    async def batches(self) -> AsyncIterator[Samples]:
        """All rows, then the end."""
        columns = self._columns
        assert columns is not None
        width = len(self._tags)
        for start in range(0, len(columns.time_ns), self._rows_per_batch):
            part = slice(start, start + self._rows_per_batch)
            time_ns = np.repeat(columns.time_ns[part] + self._recording.epoch_ns, width)
            tag = np.tile(np.arange(width, dtype=np.uint32), len(time_ns) // width)
            yield self._tags.samples(tag, time_ns, columns.value[part].ravel(), columns.quality[part].ravel())


def _reader(path: str) -> tuple[Callable[[str, str, Sequence[str]], RecordedColumns], Callable[[str], list[str]]]:
    """What reads the columns and what their names, by the ending of the file."""
    if not path.endswith(".parquet"):
        return read_recording, _header
    try:
        needs("pyarrow", "parquet")
    except InvalidInput as error:
        raise AdapterError(f"recording {path}: {error}") from None
    from uem.hardware_adapters import parquet

    return parquet.read, parquet.header


def _header(path: str) -> list[str]:
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n").split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"recording {path}: {error}") from None
