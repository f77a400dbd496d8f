"""The seam behind which a database can be put. Services know `Store`; only `uem serve` knows which one it is."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from uem.twin_core.alarms import Alarm
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


class Commit(NamedTuple):
    """Rows that were committed together."""

    number: int  # counts up by one from 1
    samples: Samples
    behind: bool  # newer rows may have been committed before


GapKey = tuple[int, int]  # the start of a gap in ns, and its number


class KeptForecast(NamedTuple):
    """A forecast as bytes, by when it was issued and how far it reaches, in plant time."""

    asset: str
    issue_ns: int
    last_ns: int
    data: bytes


class KeptKnowledge(NamedTuple):
    """What a twin has learned until a plant time, as bytes, and of what."""

    asset: str
    fits: str
    time_ns: int
    data: bytes


class Past(Protocol):
    """What twins read of the samples on disk. Any thread may call any method."""

    def read(self, tags: Sequence[str], start_ns: int, end_ns: int, limit: int = 0) -> Samples:
        """Rows with start <= time < end, tag by tag in the given order, in order of time in each.

        Of rows of a tag with the same time only the one that came last. With `limit` only so many rows per tag, the
        newest. A name that nothing is stored of has no rows.
        """
        ...

    def tags(self, names: Sequence[str] | None = None) -> dict[str, TagStats]:
        """What is stored of each tag; those of `names` or all; names without samples are left out."""
        ...


class Store(Past, Protocol):
    """Samples on disk. Any thread may call any method."""

    def append(
        self,
        producer: str,
        sequence: int,
        samples: Samples,
        gaps: Sequence[Gap] = (),
        alarms: Sequence[Alarm] = (),
        behind: bool = False,
    ) -> "Future[Stored]":
        """Commit a batch, its gaps, its alarms and the sequence of its producer together; done when all are on disk.

        A sequence up to the last one is a duplicate and changes nothing. The future's errors: SequenceGap when a
        batch in between is missing (the first batch of a producer may have any sequence), StorageFull, StorageError.
        """
        ...

    def last_sequence(self, producer: str) -> int:
        """The last sequence of the producer that is on disk, 0 when there is none."""
        ...

    def commits(self, after: int, most_rows: int) -> list[Commit] | None:
        """The first commits above this number, if there are any: one at least, no more once they have `most_rows`.

        None when they are not there one by one any more: their rows are, for `read`.
        """
        ...

    def last_commit(self) -> int:
        """The number of the newest commit with rows, 0 when there was none."""
        ...

    def page(self, tag: str, start_ns: int, end_ns: int, most: int) -> Samples:
        """The first `most` rows of one tag with start <= time < end, as `read` gives them."""
        ...

    def gaps(
        self, tags: Sequence[str], start_ns: int, end_ns: int, most: int, after: GapKey | None = None
    ) -> list[tuple[GapKey, Gap]]:
        """At most `most` gaps that reach into start <= time < end, in order of their keys, those above `after`.

        Of `tags`, or of all when there are none. A gap that came twice is there once.
        """
        ...

    def alarms(self, plant: str, history: bool, most: int, after: int = 0) -> list[tuple[int, Alarm]]:
        """At most `most` alarms in the order in which they came, those with a number above `after`.

        Of one plant, or of all when it is empty. With `history` all reports, else the newest of each condition;
        branches that have ended are left out then.
        """
        ...

    def keep_forecast(self, forecast: KeptForecast) -> "Future[None]":
        """Commit a forecast; one that was issued at the same time before stays as it is."""
        ...

    def forecasts(
        self, asset: str, start_ns: int, end_ns: int, valid_ns: int, most: int, newest_first: bool = False
    ) -> list[KeptForecast]:
        """The first `most` forecasts with start <= issue time < end that reach `valid_ns`, in order of issue time.

        Or from the newest one back.
        """
        ...

    def keep_knowledge(self, knowledge: KeptKnowledge) -> "Future[None]":
        """Commit what a twin has learned, in the place of what was kept of its asset before: all of it or nothing."""
        ...

    def knowledge(self, asset: str) -> KeptKnowledge | None:
        """What was kept of an asset last, if anything; StorageError when it is damaged."""
        ...

    def problem(self) -> str | None:
        """Why the last commit failed, or that one does not end, None when all is well; a health check."""
        ...

    def close(self) -> None:
        """Commit what was appended and let go of everything."""
        ...
