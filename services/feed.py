"""The history of another process: what it has stored, and what it commits from now on, on a bus of our own.

The stream goes on where it was after any break and any restart of the other side. What it has of commits in between is
delivered one by one; what it has not, the subscribers of the bus are told to have missed, and read.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import grpc

from uem.services.bus import SampleBus
from uem.services.history.store import TagStats
from uem.services.metrics import Metrics
from uem.twin_core.errors import InvalidInput, StorageError
from uem.twin_core.measurements import Samples
from uem.v1 import history_pb2 as pb
from uem.v1 import history_pb2_grpc
from uem.v1.columns import Columnar, read_samples, watch_samples

PAUSE_S = 0.5  # before the other process is tried again
MOST_TAGS = 10_000  # of a request
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)
T = TypeVar("T")
_LOG = logging.getLogger(__name__)


class Feed:
    """A `Past` in another process and the commits that follow it; `run` lives in one event loop."""

    def __init__(self, address: str, metrics: Metrics) -> None:
        """`address` is that of the history process, which may come later."""
        self.bus = SampleBus()
        self.begun = asyncio.Event()  # what is committed from now on comes over the bus
        self._address = address
        self._cursor: int | None = None
        self._problem: str | None = f"history at {address}: not reached yet"
        self._closed = threading.Event()
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)  # for threads
        self._commits = metrics.counter("uem_feed_commits_total", "Commits that came from the history process.")
        self._missed = metrics.counter(
            "uem_feed_missed_total", "Times that commits were not there one by one any more and were read again."
        )

    def problem(self) -> str | None:
        """Why nothing comes from the history process, None when all is well; a health check."""
        return self._problem

    async def run(self) -> None:
        """Follow the commits until cancelled."""
        async with grpc.aio.insecure_channel(self._address, options=_OPTIONS) as channel:
            while True:
                try:
                    await self._follow(channel)
                    problem = "ended the stream"
                except (grpc.aio.AioRpcError, InvalidInput) as error:
                    problem = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
                if self._problem is None:
                    _LOG.warning("history at %s: %s", self._address, problem)
                self._problem = f"history at {self._address}: {problem}"
                await asyncio.sleep(PAUSE_S)

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        stream = watch_samples(channel)(pb.WatchSamplesRequest(after_cursor=self._cursor))
        try:
            async for response in stream:
                self._take(response)
        finally:
            stream.cancel()

    def _take(self, response: Columnar[pb.WatchSamplesResponse]) -> None:
        message = response.message
        samples = Samples(tuple(message.samples.tag_name), **response.columns)
        if self._problem is not None:
            _LOG.info("history at %s: followed from commit %d on", self._address, message.cursor)
        self._problem = None
        self._cursor = message.cursor
        self.begun.set()
        if message.missed:
            self._missed.add()
            self.bus.lose()
        if len(samples):
            self._commits.add()
            self.bus.publish(samples, behind=message.behind)

    # A `Past`, for threads: waits for a history process that is away.

    def read(self, tags: Sequence[str], start_ns: int, end_ns: int, limit: int = 0) -> Samples:
        """See Past."""
        if start_ns >= end_ns:
            return Samples.from_rows(())
        requests = [
            pb.ReadSamplesRequest(
                tag_name=tags[begin : begin + MOST_TAGS], start_time_ns=start_ns, end_time_ns=end_ns, limit=limit
            )
            for begin in range(0, len(tags), MOST_TAGS)
        ]
        return Samples.concatenate([self._patiently(partial(self._rows, request)) for request in requests])

    def _rows(self, request: pb.ReadSamplesRequest) -> Samples:
        found = read_samples(self._channel)(request)
        return Samples.concatenate([Samples(tuple(m.samples.tag_name), **columns) for m, columns in found])

    def tags(self, names: Sequence[str] | None = None) -> dict[str, TagStats]:
        """See Past."""
        found = self._patiently(lambda: list(self._infos()))
        wanted = None if names is None else set(names)
        return {
            info.name: TagStats(info.sample_count, info.first_time_ns, info.last_time_ns)
            for info in found
            if info.sample_count and (wanted is None or info.name in wanted)
        }

    def _infos(self) -> Iterator[pb.TagInfo]:
        stub, token = history_pb2_grpc.HistoryServiceStub(self._channel), ""
        while True:
            page = stub.ListTags(pb.ListTagsRequest(page_size=MOST_TAGS, page_token=token), timeout=60.0)
            yield from page.tags
            token = page.next_page_token
            if not token:
                return

    def _patiently(self, ask: Callable[[], T]) -> T:
        while not self._closed.is_set():
            try:
                return ask()
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise StorageError(f"history at {self._address}: {error.details()}") from None
            self._closed.wait(PAUSE_S)
        raise StorageError(f"history at {self._address}: not read to its end; this process goes down")

    def close(self) -> None:
        """Let go of who waits."""
        self._closed.set()
        self._channel.close()
