"""The seam behind which a database can be put. Services know `Store`; only `uem serve` knows which one it is."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import Gap, Samples


class SequenceGap(InvalidInput):
    """A batch came before the one that precedes it; what is missing has to be sent first."""


class Stored(NamedTuple):
    """What became of an appended batch."""

    row_count: int
    duplicate: bool  # it had been committed before; nothing was stored now


class TagStats(NamedTuple):
    """What is stored of a tag."""

    sample_count: int
    first_ns: int
    last_ns: int


GapKey = tuple[int, int]  # the start of a gap in ns, and its number


class KeptForecast(NamedTuple):
    """A forecast as bytes, by when it was issued and how far it reaches, in plant time."""

    asset: str
    issue_ns: int
    last_ns: int
    data: bytes


class Store(Protocol):
    """Samples on disk. Any thread may call any method."""

    def append(self, producer: str, sequence: int, samples: Samples, gaps: Sequence[Gap] = ()) -> "Future[Stored]":
        """Commit a batch, its gaps and the sequence of its producer together; done when all are on disk.

        A sequence up to the last one is a duplicate and changes nothing. The future's errors: SequenceGap when a
        batch in between is missing (the first batch of a producer may have any sequence), StorageFull, StorageError.
        """
        ...

    def last_sequence(self, producer: str) -> int:
        """The last sequence of the producer that is on disk, 0 when there is none."""
        ...

    def read(self, tags: Sequence[str], start_ns: int, end_ns: int, limit: int = 0) -> Samples:
        """Rows with start <= time < end, tag by tag in the given order, in order of time in each.

        Of rows of a tag with the same time only the one that came last. With `limit` only so many rows per tag, the
        newest. A name that nothing is stored of has no rows.
        """
        ...

    def page(self, tag: str, start_ns: int, end_ns: int, most: int) -> Samples:
        """The first `most` rows of one tag with start <= time < end, as `read` gives them."""
        ...

    def tags(self, names: Sequence[str] | None = None) -> dict[str, TagStats]:
        """What is stored of each tag; those of `names` or all; names without samples are left out."""
        ...

    def gaps(
        self, tags: Sequence[str], start_ns: int, end_ns: int, most: int, after: GapKey | None = None
    ) -> list[tuple[GapKey, Gap]]:
        """At most `most` gaps that reach into start <= time < end, in order of their keys, those above `after`.

        Of `tags`, or of all when there are none. A gap that came twice is there once.
        """
        ...

    def keep_forecast(self, forecast: KeptForecast) -> "Future[None]":
        """Commit a forecast; of two that were issued at the same time the one that reaches farther stays."""
        ...

    def forecasts(self, asset: str, start_ns: int, end_ns: int, valid_ns: int, most: int) -> list[KeptForecast]:
        """The first `most` forecasts with start <= issue time < end that reach `valid_ns`, in order of issue time."""
        ...

    def problem(self) -> str | None:
        """Why the last commit failed, None when it did not; a health check."""
        ...

    def close(self) -> None:
        """Commit what was appended and let go of everything."""
        ...
