"""HistoryService: stored samples in frames of columns, and the tags of the territory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from threading import Event

from uem.services.bus import SampleBus, Subscription
from uem.services.history import convert
from uem.services.history.overview import Method, overview
from uem.services.history.store import Commit, Store
from uem.services.pages import page_of, page_size
from uem.services.status import Context, InvalidField, errors_as_status
from uem.twin_core.errors import NotReady, UnknownName
from uem.twin_core.measurements import Samples
from uem.twin_core.plant.territory import TagBinding
from uem.v1 import history_pb2 as pb
from uem.v1 import history_pb2_grpc
from uem.v1.columns import Columnar

FRAME_ROWS = 16_384
MOST_TAGS = 10_000
MOST_LIMIT = 1_000_000
MOST_PAGE = 10_000
USUAL_PAGE = 1_000
MOST_POINTS = 10_000
USUAL_POINTS = 2_000
END_OF_TIME_NS = 2**63 - 1
LOOK_EVERY_S = 0.5
MOST_FOLLOWED = 8  # streams of samples of one connection
NO_SAMPLES = Samples.from_rows(())


class HistoryServicer(history_pb2_grpc.HistoryServiceServicer):
    """Translates; the store knows."""

    def __init__(self, tags: Iterable[TagBinding], store: Store, bus: SampleBus) -> None:
        """`bus` tells when there is something new."""
        self._bindings = {binding.tag.name: binding for binding in tags}
        self._names = sorted(self._bindings)
        self._store = store
        self._bus = bus
        self._followers = Counter[str]()  # by connection

    async def ReadSamples(  # type: ignore[override]  # columns beside their message
        self, request: pb.ReadSamplesRequest, context: Context
    ) -> AsyncIterator[Columnar[pb.ReadSamplesResponse]]:
        """Frames of at most FRAME_ROWS rows, tag by tag; a tag may go on in the next frame."""
        async with errors_as_status(context):
            tags = self._checked_tags(request.tag_name)
            start_ns, end_ns = _range(request)
            if request.limit > MOST_LIMIT:
                raise InvalidField("limit", f"{request.limit}; at most {MOST_LIMIT} rows per tag, or 0 for all")
            async for samples in self._frames(tags, start_ns, end_ns, request.limit):
                yield convert.frame(samples)

    async def WatchSamples(  # type: ignore[override]  # columns beside their message
        self, request: pb.WatchSamplesRequest, context: Context
    ) -> AsyncIterator[Columnar[pb.WatchSamplesResponse]]:
        """Commits from the disk, so that a slow reader costs no memory; the bus only says when to look again."""
        async with errors_as_status(context):
            with self._followed_by(context.peer()), closing(self._bus.subscribe(1)) as news:
                newest = await asyncio.to_thread(self._store.last_commit)
                cursor = request.after_cursor if request.HasField("after_cursor") else newest
                yield convert.commit(Commit(cursor, NO_SAMPLES, False))
                while True:
                    found = await asyncio.to_thread(self._store.commits, min(cursor, END_OF_TIME_NS), FRAME_ROWS)
                    if found is None:
                        cursor = await asyncio.to_thread(self._store.last_commit)
                        yield convert.commit(Commit(cursor, NO_SAMPLES, False), missed=True)
                        continue
                    for commit in found:
                        cursor = commit.number
                        yield convert.commit(commit)
                    if not found:
                        await _anything_of(news)

    async def GetOverview(self, request: pb.GetOverviewRequest, context: Context) -> pb.GetOverviewResponse:
        """The shape of one tag in few points."""
        async with errors_as_status(context):
            (tag,) = self._checked_tags([request.tag_name])
            start_ns, end_ns = _range(request)
            method = convert.method(request.method)
            least = 3 if method is Method.LARGEST_TRIANGLE else 2
            if request.point_count and not least <= request.point_count <= MOST_POINTS:
                text = f"{request.point_count}; {least} to {MOST_POINTS}, or 0 for {USUAL_POINTS}"
                raise InvalidField("point_count", text)
            most = request.point_count or USUAL_POINTS
            given_up = Event()  # a thread is not cancelled with the call that waits for it
            try:
                found = await asyncio.to_thread(overview, self._store, tag, start_ns, end_ns, most, method, given_up)
            finally:
                given_up.set()
            return pb.GetOverviewResponse(
                samples=convert.whole(found.samples),
                resolution_ns=found.resolution_ns,
                sample_count=found.sample_count,
                line_start=found.line_start.tolist(),
            )

    async def ListGaps(self, request: pb.ListGapsRequest, context: Context) -> pb.ListGapsResponse:
        """Gaps in order of their start."""
        async with errors_as_status(context):
            tags = self._checked_tags(request.tag_name) if request.tag_name else []
            start_ns, end_ns = _range(request)
            size = page_size(request.page_size, usual=USUAL_PAGE, most=MOST_PAGE)
            after = convert.gap_key(request.page_token)
            # One more than asked for tells whether there is a next page.
            found = await asyncio.to_thread(self._store.gaps, tags, start_ns, end_ns, size + 1, after)
            following = convert.gap_token(found[size - 1][0]) if len(found) > size else ""
            return pb.ListGapsResponse(gaps=[convert.gap(gap) for _, gap in found[:size]], next_page_token=following)

    async def ListAlarms(self, request: pb.ListAlarmsRequest, context: Context) -> pb.ListAlarmsResponse:
        """Alarms in the order in which they came."""
        async with errors_as_status(context):
            size = page_size(request.page_size, usual=USUAL_PAGE, most=MOST_PAGE)
            after = convert.alarm_key(request.page_token)
            found = await asyncio.to_thread(self._store.alarms, request.plant, request.history, size + 1, after)
            following = str(found[size - 1][0]) if len(found) > size else ""
            return pb.ListAlarmsResponse(
                alarms=[convert.alarm(each) for _, each in found[:size]], next_page_token=following
            )

    async def ListTags(self, request: pb.ListTagsRequest, context: Context) -> pb.ListTagsResponse:
        """Tags in the order of their names."""
        async with errors_as_status(context):
            page, following = page_of(
                self._names, request.page_size, request.page_token, usual=USUAL_PAGE, most=MOST_PAGE
            )
            stats = await asyncio.to_thread(self._store.tags, page)
            response = pb.ListTagsResponse(next_page_token=following)
            for name in page:
                tag = self._bindings[name].tag
                count, first_ns, last_ns = stats.get(name, (0, 0, 0))
                response.tags.add(
                    name=name,
                    unit=tag.unit,
                    display_unit=self._bindings[name].display_unit,
                    low_limit=tag.low,
                    high_limit=tag.high,
                    sample_count=count,
                    first_time_ns=first_ns,
                    last_time_ns=last_ns,
                )
            return response

    @contextmanager
    def _followed_by(self, peer: str) -> Iterator[None]:
        """Each one who follows reads from the disk by himself: a connection has so many only."""
        if self._followers[peer] == MOST_FOLLOWED:
            raise NotReady(f"{MOST_FOLLOWED} streams of samples are open on this connection; end one of them first")
        self._followers[peer] += 1
        try:
            yield
        finally:
            self._followers[peer] -= 1
            self._followers += Counter()  # forgets those at 0

    def _checked_tags(self, names: Sequence[str]) -> list[str]:
        if not 1 <= len(names) <= MOST_TAGS:
            raise InvalidField("tag_name", f"{len(names)} tags; 1 to {MOST_TAGS} are allowed")
        for name in names:
            if name not in self._bindings:
                raise UnknownName("tag", name, self._bindings)
        return list(dict.fromkeys(names))

    async def _frames(self, tags: list[str], start_ns: int, end_ns: int, limit: int) -> AsyncIterator[Samples]:
        """Rows of many tags in frames that are full but for the last: few rows of many tags share one."""
        waiting: list[Samples] = []
        count = 0
        for tag in tags:
            async for rows in self._pages(tag, start_ns, end_ns, limit):
                waiting.append(rows)
                count += len(rows)
                if count >= FRAME_ROWS:
                    whole = Samples.concatenate(waiting)
                    for begin in range(0, count - FRAME_ROWS + 1, FRAME_ROWS):
                        yield whole.take(slice(begin, begin + FRAME_ROWS))
                    count %= FRAME_ROWS  # rows left over, all of this page
                    waiting = [rows.take(slice(len(rows) - count, None))]
        if count:
            yield Samples.concatenate(waiting)

    async def _pages(self, tag: str, start_ns: int, end_ns: int, limit: int) -> AsyncIterator[Samples]:
        """Rows of one tag; each page is read when the one before has been taken, so memory stays bounded."""
        if limit:
            yield await asyncio.to_thread(self._store.read, [tag], start_ns, end_ns, limit)
            return
        while True:
            rows = await asyncio.to_thread(self._store.page, tag, start_ns, end_ns, FRAME_ROWS)
            if len(rows):
                yield rows
            if len(rows) < FRAME_ROWS:
                return
            start_ns = int(rows.source_time_ns[-1]) + 1


async def _anything_of(news: Subscription) -> None:
    """Wait for a batch, or for a moment: one from a backlog is not told at once."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY_S):
            await anext(news)


def _range(request: pb.ReadSamplesRequest | pb.ListGapsRequest | pb.GetOverviewRequest) -> tuple[int, int]:
    start_ns, end_ns = request.start_time_ns, request.end_time_ns or END_OF_TIME_NS
    if start_ns > end_ns:
        raise InvalidField("start_time_ns", f"start {start_ns} is after end {end_ns}")
    return start_ns, end_ns
