"""A store with many samples: how fast it opens again, and reads one tag over one day out of all of them."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pytest

from uem.services.history.sqlite import SqliteStore
from uem.services.metrics import Metrics
from uem.twin_core.measurements import NS_PER_S, Samples

TAGS = tuple(f"plant/{i}/temperature" for i in range(1_000))
T0_NS = 1_700_000_000 * NS_PER_S
BATCH_S = 60  # a batch holds a minute, a sample per tag and second
DAY_S = 86_400


class Filled(NamedTuple):
    """A store on disk, and the rate at which it was filled."""

    path: Path
    samples: int
    seconds: int  # of plant time
    rate: float


def fill(path: Path, batches: int) -> float:
    """Samples per second, from the first to the last that is on disk."""
    rng = np.random.default_rng(7)
    tag = np.tile(np.arange(len(TAGS), dtype=np.uint32), BATCH_S)
    values = [np.round(350.0 + rng.normal(0.0, 0.1, len(tag)), 2) for _ in range(8)]
    quality = np.zeros(len(tag), np.uint32)
    began = perf_counter()
    with closing(SqliteStore(path, Metrics())) as store:
        waiting = deque[Any]()
        for i in range(batches):
            time = np.repeat(T0_NS + (i * BATCH_S + np.arange(BATCH_S)) * NS_PER_S, len(TAGS))
            waiting.append(store.append("bench", i + 1, Samples(TAGS, tag, time, values[i % 8], quality)))
            if len(waiting) > 4:
                waiting.popleft().result(60)
    return batches * len(tag) / (perf_counter() - began)


@pytest.fixture(scope="module")
def filled(short: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    path = tmp_path_factory.mktemp("history") / "history.db"
    batches = 50 if short else 1_667
    rate = fill(path, batches)
    yield Filled(path, batches * BATCH_S * len(TAGS), batches * BATCH_S, rate)
    path.unlink()


def test_restart(benchmark: Any, filled: Filled) -> None:
    """Until the store can be read and written; some 0.4 GB in the long form, with up to 10^5 rows in the tail."""

    def restart() -> int:
        with closing(SqliteStore(filled.path, Metrics())) as store:
            return store.last_sequence("bench")

    assert benchmark.pedantic(restart, rounds=5) == filled.seconds // BATCH_S
    benchmark.extra_info.update(figure=benchmark.stats.stats.median * 1e3, unit=f"ms, {filled.samples:.0e} samples")


def test_day_of_one_tag(benchmark: Any, filled: Filled) -> None:
    """Another tag each time, from a middle hour on."""
    begin = max(0, filled.seconds - DAY_S) // 2
    length = min(DAY_S, filled.seconds)
    start_ns = T0_NS + begin * NS_PER_S
    tags = iter(TAGS * 10)
    with closing(SqliteStore(filled.path, Metrics())) as store:
        found = benchmark.pedantic(
            lambda: store.read([next(tags)], start_ns, start_ns + length * NS_PER_S), rounds=100, warmup_rounds=1
        )
        assert len(found) == length
        assert np.all(np.diff(found.source_time_ns) == NS_PER_S)
    benchmark.extra_info.update(figure=benchmark.stats.stats.median * 1e3, unit=f"ms, of {filled.samples:.0e} samples")


def test_fill(benchmark: Any, filled: Filled) -> None:
    """The rate at which the store above was written, chunks included."""
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info.update(figure=filled.rate, unit="samples/s")
