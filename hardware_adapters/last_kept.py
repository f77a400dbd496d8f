"""Up to when each tag is on disk: what a gateway did not see while it was stopped or dead begins there.

The spool writes it down together with each batch, so that it is true after kill -9 too, and keeps it when the batch is
acknowledged and gone.
"""

import json
import time
from sqlite3 import Connection

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.measurements import Samples

SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (number INTEGER NOT NULL, source_time_ns BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS kept_names (names TEXT NOT NULL);
"""
_NEVER = np.iinfo(np.int64).min


class LastKept:
    """The source time of the last sample of each tag. Spools may share one, and have it as of their last batch."""

    def __init__(
        self,
        number: int = 0,
        names: tuple[str, ...] = (),
        time_ns: NDArray[np.int64] | None = None,
        written_ns: int = 0,
    ) -> None:
        """`time_ns` belongs to `names`, in their order; `written_ns`: when that was, by our clock, 0 if not known."""
        self.written_ns = written_ns
        self.number = number  # of batches so far; of two the one with more knows better
        self._index = {name: at for at, name in enumerate(names)}
        self._time_ns = np.empty(0, np.int64) if time_ns is None else time_ns

    def times_ns(self) -> dict[str, int]:
        """By tag."""
        known = zip(self._index, self._time_ns.tolist(), strict=False)  # a name without a time was in a refused batch
        return {name: time_ns for name, time_ns in known if time_ns != _NEVER}

    def after(self, samples: Samples) -> NDArray[np.int64]:
        """The times when `samples` are on disk too; `take` them when they are."""
        at = np.array([self._index.setdefault(name, len(self._index)) for name in samples.names], np.intp)
        time_ns = np.full(len(self._index), _NEVER)
        time_ns[: len(self._time_ns)] = self._time_ns
        time_ns[at[samples.tag]] = samples.source_time_ns  # of many of a tag the last one stays
        return time_ns

    def take(self, time_ns: NDArray[np.int64]) -> None:
        """These are on disk now."""
        self._time_ns = time_ns
        self.number += 1

    def write(self, db: Connection, time_ns: NDArray[np.int64], names_there: int) -> int:
        """Write them down in the transaction of the batch; how many names are there now, `names_there` were before."""
        if names_there != len(self._index):
            db.execute("DELETE FROM kept_names")
            db.execute("INSERT INTO kept_names VALUES (?)", (json.dumps(list(self._index)),))
        db.execute("DELETE FROM kept")
        row = (self.number + 1, time_ns.astype("<i8").tobytes(), time.time_ns())
        db.execute("INSERT INTO kept (number, source_time_ns, written_ns) VALUES (?, ?, ?)", row)
        return len(self._index)


def read(db: Connection) -> LastKept:
    """What was written down last.

    Raises:
        ValueError: it is damaged.
    """
    names = db.execute("SELECT names FROM kept_names").fetchone()
    kept = db.execute("SELECT number, source_time_ns, written_ns FROM kept").fetchone()
    if names is None or kept is None:
        return LastKept()
    return LastKept(kept[0], tuple(json.loads(names[0])), np.frombuffer(kept[1], "<i8"), kept[2])
