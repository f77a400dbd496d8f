"""Takes a batch the whole way: sift its rows, commit them, tell the bus, count."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from uem.services.bus import SampleBus
from uem.services.clock import now_ns
from uem.services.history.store import Store, Stored
from uem.services.ingestion.checks import Checker, Refused
from uem.services.ingestion.convert import Reason, reason_name
from uem.services.metrics import Metrics
from uem.twin_core.alarms import Alarm
from uem.twin_core.measurements import BAD, NS_PER_S, Gap, Samples, Tag
from uem.v1.ingestion_pb2 import RejectionReason

MOST_IN_FLIGHT = 64  # batches of all streams together that wait for their commit
LOG_EVERY_NS = 60 * NS_PER_S
_LOG = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A batch on disk, and what was refused of it."""

    sequence: int
    stored: Stored
    refused: list[Refused]
    refused_gaps: int
    refused_alarms: int


class Worker:
    """Ingestion behind the servicer; lives in one event loop."""

    def __init__(
        self, tags: Iterable[Tag], store: Store, bus: SampleBus, metrics: Metrics, clock: Callable[[], int] = now_ns
    ) -> None:
        self._checker = Checker(tags)
        self._store = store
        self._bus = bus
        self._clock = clock
        self._room = asyncio.Semaphore(MOST_IN_FLIGHT)
        self._in_flight = 0
        self._newest_ns = 0
        self._logged_ns: dict[Reason, int] = {}
        name = "uem_ingestion_"
        self._samples = metrics.counter(name + "stored_samples_total", "Samples committed.")
        self._bad = metrics.counter(name + "bad_quality_samples_total", "Committed samples whose quality is bad.")
        self._batches = metrics.counter(name + "batches_total", "Batches committed.")
        self._duplicates = metrics.counter(name + "duplicate_batches_total", "Batches that had been committed before.")
        self._refused = metrics.counter(name + "refused_samples_total", "Samples refused, by reason.", ["reason"])
        for reason in filter(None, RejectionReason.values()):
            self._refused.add(0, reason_name(reason))  # a counter that appears with its first count shows no increase
        self._gaps = metrics.counter(name + "gaps_total", "Intervals in which samples may be missing, committed.")
        self._alarms = metrics.counter(name + "alarms_total", "Reports of alarms of plants, committed.")
        self._refused_alarms = metrics.counter(
            name + "refused_alarms_total", "Reports of alarms refused, wrong in form."
        )
        self._refused_gaps = metrics.counter(name + "refused_gaps_total", "Gaps refused, wrong in form or tag.")
        metrics.gauge(
            name + "newest_source_time_seconds",
            "Source time of the newest committed sample, seconds since 1970.",
            lambda: self._newest_ns / 1e9,
        )
        metrics.gauge(name + "batches_in_flight", "Batches that wait for their commit.", lambda: self._in_flight)

    def last_sequence(self, producer: str) -> int:
        """The last sequence of a producer that is on disk."""
        return self._store.last_sequence(producer)

    async def submit(
        self,
        producer: str,
        sequence: int,
        samples: Samples,
        gaps: Sequence[Gap | None] = (),
        alarms: Sequence[Alarm | None] = (),
        behind: bool = False,
    ) -> "asyncio.Future[Taken]":
        """Hand a batch to the store; waits only for room. The future is done when the batch is on disk.

        `behind`: newer samples may have come before. In `gaps` and `alarms` stands None for each that is wrong as it
        is.

        What was committed is published also when nobody awaits the future any more: a client that breaks off
        between commit and acknowledgement sends again, and a duplicate is not published.
        """
        await self._room.acquire()
        self._in_flight += 1
        accepted, refused = self._checker.sift(samples, self._clock())
        told = self._checker.sift_gaps(gaps, self._clock())
        said = self._checker.sift_alarms(alarms, self._clock())
        commit = asyncio.wrap_future(self._store.append(producer, sequence, accepted, told, said, behind))
        taken: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        taken.add_done_callback(_retrieve)

        def committed(done: "asyncio.Future[Stored]") -> None:
            self._room.release()
            self._in_flight -= 1
            error = done.exception()
            if error is not None:
                if not taken.done():
                    taken.set_exception(error)
                return
            self._note(done.result(), accepted, refused, behind)
            if not done.result().duplicate:
                self._gaps.add(len(told))
                self._refused_gaps.add(len(gaps) - len(told))
                self._alarms.add(len(said))
                self._refused_alarms.add(len(alarms) - len(said))
            if not taken.done():
                wrong = len(gaps) - len(told), len(alarms) - len(said)
                taken.set_result(Taken(sequence, done.result(), refused, *wrong))

        commit.add_done_callback(committed)
        return taken

    def _note(self, stored: Stored, samples: Samples, refused: list[Refused], behind: bool) -> None:
        """Count and publish a batch that is on disk."""
        if stored.duplicate:
            self._duplicates.add()
            return
        for refusal in refused:
            self._refused.add(refusal.row_count, reason_name(refusal.reason))
            self._log(refusal)
        self._batches.add()
        if len(samples):
            self._samples.add(len(samples))
            self._bad.add(int((samples.quality & BAD != 0).sum()))
            self._newest_ns = max(self._newest_ns, int(samples.source_time_ns.max()))
            self._bus.publish(samples, behind=behind)

    def _log(self, refusal: Refused) -> None:
        """One line per reason and minute; the counter has them all."""
        now = self._clock()
        if now - self._logged_ns.get(refusal.reason, 0) >= LOG_EVERY_NS:
            self._logged_ns[refusal.reason] = now
            text = "refused %d samples of a batch: %s, as in %s"
            _LOG.warning(text, refusal.row_count, reason_name(refusal.reason), ", ".join(refusal.tags))


def _retrieve(taken: "asyncio.Future[Taken]") -> None:
    """Look at the error, so that asyncio does not complain when the stream that waited for it is gone."""
    if not taken.cancelled():
        taken.exception()
