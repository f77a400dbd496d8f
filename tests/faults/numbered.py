"""Batches that tell by themselves what they have to hold: for stores that are cut off, damaged or refused writes."""

import numpy as np

from uem.services.history.sqlite import Tuning
from uem.twin_core.measurements import Gap, GapReason, Samples

TAGS = ("hall/a", "hall/b", "yard/c")
ROWS = 20  # of a tag in a batch
EAGER = Tuning(linger_s=0.0, tail_rows=300, tail_rows_per_tag=1, tail_commits=9, move_s=0.0)
EVERYTHING = (-(2**63), 2**63 - 1)


def times(sequence):
    """Source times of a batch, the same for each tag."""
    return np.arange(sequence * ROWS, (sequence + 1) * ROWS) * 1000


def values(tag, sequence):
    """Values of a tag in a batch."""
    return times(sequence) * 0.5 + TAGS.index(tag)


def batch(sequence):
    """The samples of a batch and its gap."""
    samples = Samples(
        TAGS,
        np.repeat(np.arange(len(TAGS), dtype=np.uint32), ROWS),
        np.tile(times(sequence), len(TAGS)),
        np.concatenate([values(tag, sequence) for tag in TAGS]),
        np.full(len(TAGS) * ROWS, sequence, np.uint32),
    )
    return samples, [Gap(TAGS[sequence % 3], sequence * 10, sequence * 10 + 5, GapReason.LINK_DOWN)]


def assert_holds(store, last):
    """The store has the batches 1 to `last`, each row and gap once, and nothing else."""
    for tag in TAGS:
        found = store.read([tag], *EVERYTHING)
        expected = range(1, last + 1)
        np.testing.assert_array_equal(found.source_time_ns, _joined([times(i) for i in expected]))
        np.testing.assert_array_equal(found.value, _joined([values(tag, i) for i in expected]))
        np.testing.assert_array_equal(found.quality, np.repeat(np.array(expected, np.uint32), ROWS))
        assert store.tags([tag]).get(tag, (0,))[0] == last * ROWS
    assert [gap for _, gap in store.gaps((), *EVERYTHING, last + 1)] == [batch(i)[1][0] for i in range(1, last + 1)]


def _joined(parts):
    return np.concatenate([np.empty(0), *parts])
