"""The newest values of an OPC UA server's points, for clients that were away (OPC 10000-11, HistoryRead of raw data).

Rows lie in a ring of columns in the order in which they were written. A continuation point is the number of the first
row that did not fit, so that the server keeps nothing for a client that never comes back.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from asyncua import ua
from asyncua.server.history import HistoryManager
from numpy.typing import NDArray

from uem.hardware_adapters.opcua.server.points import history_data

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS_1601_TO_1970 = 116_444_736_000_000_000
_HISTORY_DATA = ua.NodeId(ua.ObjectIds.HistoryData_Encoding_DefaultBinary)
MOST_ROWS_PER_ANSWER = 100_000


class RecentRows:
    """The last `most` rows that were written to any point."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.written = 0
        self._point = np.empty(most, np.int64)
        self._value = np.empty(most)
        self._quality = np.empty(most, np.uint32)
        self._source = np.empty(most, np.int64)
        self._server = np.empty(most, np.int64)
        self._sorted = (-1, np.empty(0, np.int64), np.empty(0, np.int64))

    def append(
        self,
        point: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint32],
        source_time_ns: NDArray[np.int64],
        now_ns: int,
    ) -> None:
        """Keep rows, columns as in `Points.write`."""
        n = len(point)
        newest = slice(max(0, n - self.most), n)
        at = np.arange(self.written + newest.start, self.written + n) % self.most
        self._point[at], self._value[at], self._quality[at] = point[newest], value[newest], quality[newest]
        self._source[at] = source_time_ns if len(source_time_ns) == 1 else source_time_ns[newest]
        self._server[at] = now_ns
        self.written += n

    def rows_of(self, point: int) -> NDArray[np.int64]:
        """Numbers of the rows of a point that are still there, the oldest first."""
        written, order, points = self._sorted
        if written != self.written:  # once for all points of a request
            first = max(0, self.written - self.most)
            numbers = np.arange(first, self.written)
            order = np.argsort(self._point[numbers % self.most], kind="stable")
            points = self._point[(numbers % self.most)[order]]
            order = numbers[order]
            self._sorted = (self.written, order, points)
        begin, end = np.searchsorted(points, [point, point + 1])
        rows: NDArray[np.int64] = order[begin:end]
        return rows

    def columns(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
        """Value, quality, source time and server time in ns."""
        at = rows % self.most
        return self._value[at], self._quality[at], self._source[at], self._server[at]


class RecentHistory(HistoryManager):
    """Answers HistoryRead for points from what was written last, and for other nodes as the library does."""

    def __init__(
        self, iserver: Any, recent: RecentRows, points: dict[ua.NodeId, int], kinds: NDArray[np.uint8]
    ) -> None:
        super().__init__(iserver)
        self._recent = recent
        self._points = points
        self._kinds = kinds

    async def read_history(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        """A result per node."""
        details = params.HistoryReadDetails
        results = []
        for node in params.NodesToRead:
            point = self._points.get(node.NodeId)
            if point is None or not isinstance(details, ua.ReadRawModifiedDetails):
                results.append(await self._read_history(details, node))
            elif params.ReleaseContinuationPoints:
                results.append(ua.HistoryReadResult())
            else:
                results.append(self._read_point(details, node, point, params.TimestampsToReturn))
        return results

    def _read_point(
        self, details: ua.ReadRawModifiedDetails, node: ua.HistoryReadValueId, point: int, times: ua.TimestampsToReturn
    ) -> ua.HistoryReadResult:
        if details.IsReadModified:
            return _failed(ua.StatusCodes.BadHistoryOperationUnsupported)
        start, end, most = _ns(details.StartTime), _ns(details.EndTime), details.NumValuesPerNode
        if (start is None) + (end is None) + (most == 0) > 1:
            return _failed(ua.StatusCodes.BadHistoryOperationInvalid)
        rows = self._recent.rows_of(point)
        source = self._recent.columns(rows)[2]
        has_bounds = start is not None and end is not None
        backward = start is None or (end is not None and start > end)
        if start is None:  # back from the end
            start, end = end, None
        low, high = (end, start) if backward else (start, end)
        inside = np.ones(len(rows), bool)
        if low is not None:  # what is at the start belongs to it, what is at the end does not; one instant does
            inside &= source > low if backward and low != high else source >= low
        if high is not None:
            inside &= source <= high if backward or low == high else source < high
        rows = rows[inside]
        # By time, and what has the same time in the order in which it was written.
        rows = rows[np.argsort(self._recent.columns(rows)[2], kind="stable")]
        if backward:
            rows = rows[::-1]
        if node.ContinuationPoint:
            at = np.flatnonzero(rows == int.from_bytes(node.ContinuationPoint, "little"))
            if len(at) == 0:
                return _failed(ua.StatusCodes.BadContinuationPointInvalid)
            rows = rows[at[0] :]
        if most and not has_bounds:  # so many from there on: nothing is left to be continued
            rows, most = rows[:most], 0
        most = min(most or MOST_ROWS_PER_ANSWER, MOST_ROWS_PER_ANSWER)
        return self._answer(rows, most, int(self._kinds[point]), times)

    def _answer(
        self, rows: NDArray[np.int64], most: int, kind: int, times: ua.TimestampsToReturn
    ) -> ua.HistoryReadResult:
        value, quality, source, server = self._recent.columns(rows[:most])
        body = history_data(kind, value, quality, _ticks(source), _ticks(server), int(times))
        result = ua.HistoryReadResult()
        result.HistoryData = ua.ExtensionObject(TypeId=_HISTORY_DATA, Body=body)
        if len(rows) > most:
            result.ContinuationPoint = int(rows[most]).to_bytes(8, "little")
        elif len(rows) == 0:
            result.StatusCode = ua.StatusCode(ua.StatusCodes.GoodNoData)
        return result


def _failed(status: int) -> ua.HistoryReadResult:
    return ua.HistoryReadResult(StatusCode=ua.StatusCode(status))


def _ns(time: datetime | None) -> int | None:
    """Whole microseconds as ns since 1970; None for "no time", which OPC UA writes as the year 1601 or before."""
    if time is None:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return None if time.year <= 1601 else (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _ticks(time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """100 ns ticks since 1601, in whole microseconds as everywhere in this server."""
    ticks: NDArray[np.int64] = time_ns // 1000 * 10 + _TICKS_1601_TO_1970
    return ticks
