"""What a twin reads of the past when it starts or is estimated again, in order of time: no more than it makes use of.

A twin that is followed each second goes through its past in longer steps (`past_step_s`). Of its gauges and meters the
newest sample of each such step is enough, and the first of all; states and counters are read as they are. The last step
is read as it is.

A state that is told when it changes may have been told last before that past: a shop stands for a weekend. So a twin
that begins gets the last one from before, as if it had been told just then.
"""

from dataclasses import replace

import numpy as np

from uem.services.history.store import Past
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.twin import AssetTwin

TAGS_AT_ONCE = 64  # so that memory does not grow with what is left out


def read_past(store: Past, twin: AssetTwin, begin_ns: int, end_ns: int) -> Samples:
    """Samples with begin <= time < end; StorageError when they cannot be read."""
    every_ns = round(twin.past_step_s * NS_PER_S)
    standing = _standing(store, twin, begin_ns)
    if not every_ns:
        return by_time(Samples.concatenate([standing, store.read(list(twin.tags), begin_ns, end_ns)]))
    thinned = [tag for tag in twin.tags if tag in twin.meter_tags]
    found = [standing, store.read([tag for tag in twin.tags if tag not in twin.meter_tags], begin_ns, end_ns)]
    for first in range(0, len(thinned), TAGS_AT_ONCE):
        rows = store.read(thinned[first : first + TAGS_AT_ONCE], begin_ns, end_ns)
        found.append(_newest_of_each(rows, every_ns, end_ns - every_ns))
    return by_time(Samples.concatenate(found))


def _standing(store: Past, twin: AssetTwin, begin_ns: int) -> Samples:
    """What states and counts were before a time, stamped with the instant before it; nothing once the twin knows."""
    if twin.snapshot is not None or begin_ns <= 0:
        return Samples.from_rows(())
    last = store.read([tag for tag in twin.tags if tag in twin.discrete_tags], 0, begin_ns, limit=1)
    return replace(last, source_time_ns=np.full(len(last), begin_ns - 1, np.int64))


def by_time(samples: Samples) -> Samples:
    """In order of time, of one time as they were."""
    return samples.take(np.argsort(samples.source_time_ns, kind="stable"))


def _newest_of_each(rows: Samples, every_ns: int, until_ns: int) -> Samples:
    """Of rows tag by tag in order of time, the first, the newest of each interval up to a time, and all after it."""
    if not len(rows):
        return rows
    interval, tag = rows.source_time_ns // every_ns, rows.tag
    is_other = tag[1:] != tag[:-1]
    is_last = np.append((interval[1:] != interval[:-1]) | is_other, True)
    is_first = np.append(True, is_other)  # or the twin would begin up to a step later
    return rows.take(is_first | is_last | (rows.source_time_ns >= until_ns))
