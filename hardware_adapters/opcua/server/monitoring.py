"""Monitored items of points: requests of the standard -> `Items`. Items of other nodes are left to the library."""

import time
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.server.address_space import AddressSpace
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.ua.uaprotocol_auto import DataChangeFilter  # what is decoded; `ua` has another of this name

from uem.hardware_adapters.opcua.server import points as kernel
from uem.hardware_adapters.opcua.server.points import Items, Points


@dataclass(frozen=True, slots=True)
class PointTable:
    """Which nodes are points. `span` (points,) is the width of each one's EURange, or NaN.

    With `samples`, a sampling interval that a client asks for is kept; without, every value that is written is offered,
    and clients are told so by a revised interval of 0.
    """

    points: Points
    number: dict[ua.NodeId, int]
    span: Any
    samples: bool = True
    most_queued: int = 10_000


class PointItems(MonitoredItemService):
    """The monitored items of one subscription."""

    def __init__(self, isub: Any, aspace: AddressSpace, table: PointTable) -> None:
        super().__init__(isub, aspace)
        self.items = Items(table.points)
        self._table = table
        self._mine: dict[int, tuple[int, int]] = {}  # item of `items` and point, by the id that the client knows
        table.points.subscribe(self.items)

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """A result per item."""
        results = []
        for request in params.ItemsToCreate:
            what = request.ItemToMonitor
            point = self._table.number.get(what.NodeId) if what.AttributeId == ua.AttributeIds.Value else None
            if point is not None:
                results.append(self._create(request, point, params.TimestampsToReturn))
            elif what.AttributeId == ua.AttributeIds.EventNotifier:
                results.append(self._create_events_monitored_item(request))
            else:
                results.append(await self._create_data_change_monitored_item(request))
        return results

    def _create(
        self, request: ua.MonitoredItemCreateRequest, point: int, times: ua.TimestampsToReturn
    ) -> ua.MonitoredItemCreateResult:
        asked, result = request.RequestedParameters, ua.MonitoredItemCreateResult()
        refused = _no_range(request.ItemToMonitor.IndexRange) or self._refused(asked.Filter, point)
        if refused:
            result.StatusCode = ua.StatusCode(refused)
            return result
        sampling_ms, size = self._revised(asked)
        trigger, deadband = self._filter(asked.Filter, point)
        item = self.items.add(
            point,
            asked.ClientHandle,
            mode=int(request.MonitoringMode),
            size=size,
            discard_oldest=bool(asked.DiscardOldest),
            trigger=trigger,
            deadband=deadband,
            sampling_ms=sampling_ms,
            times=int(times),
            now_ns=time.time_ns(),
        )
        self._monitored_item_counter += 1
        self._mine[self._monitored_item_counter] = item, point
        result.MonitoredItemId = self._monitored_item_counter
        result.RevisedSamplingInterval, result.RevisedQueueSize = sampling_ms, size
        return result

    def modify_monitored_items(self, params: ua.ModifyMonitoredItemsParameters) -> list[ua.MonitoredItemModifyResult]:
        """A result per item."""
        return [self._modify(request, params.TimestampsToReturn) for request in params.ItemsToModify]

    def _modify(
        self, request: ua.MonitoredItemModifyRequest, times: ua.TimestampsToReturn
    ) -> ua.MonitoredItemModifyResult:
        result = ua.MonitoredItemModifyResult()
        mine = self._mine.get(request.MonitoredItemId)
        if mine is None:
            if request.MonitoredItemId in self._monitored_items:
                return self._modify_monitored_item(request)
            result.StatusCode = ua.StatusCode(ua.StatusCodes.BadMonitoredItemIdInvalid)
            return result
        item, point = mine
        asked = request.RequestedParameters
        refused = self._refused(asked.Filter, point)
        if refused:
            result.StatusCode = ua.StatusCode(refused)
            return result
        sampling_ms, size = self._revised(asked)
        trigger, deadband = self._filter(asked.Filter, point)
        discard_oldest = bool(asked.DiscardOldest)
        self.items.change(item, asked.ClientHandle, size, discard_oldest, trigger, deadband, sampling_ms, int(times))
        result.RevisedSamplingInterval, result.RevisedQueueSize = sampling_ms, size
        return result

    async def set_monitoring_mode(self, mode: ua.MonitoringMode, ids: list[int]) -> list[ua.StatusCode]:
        """A status per item."""
        results = []
        for its_id in ids:
            if its_id in self._mine:
                self.items.set_mode(self._mine[its_id][0], int(mode), time.time_ns())
                results.append(ua.StatusCode())
            else:
                results.append(await self._set_monitoring_mode(mode, its_id))
        return results

    def delete_monitored_items(self, ids: list[int]) -> list[ua.StatusCode]:
        """A status per item."""
        return [self._delete(its_id) for its_id in ids]

    def _delete(self, its_id: int) -> ua.StatusCode:
        mine = self._mine.pop(its_id, None)
        if mine is None:
            return self._delete_monitored_items(its_id)
        self.items.remove(mine[0])
        return ua.StatusCode()

    def delete_all_monitored_items(self) -> None:
        """The end of the subscription."""
        self._table.points.unsubscribe(self.items)
        self.delete_monitored_items([*self._mine, *self._monitored_items])

    def send_initial_values(self) -> None:
        """Queue the newest value of every item once more, for a client that took the subscription over."""
        for item, _ in self._mine.values():
            self.items.repeat(item, time.time_ns())

    def _revised(self, asked: ua.MonitoringParameters) -> tuple[float, int]:
        """Sampling interval in ms and size of the queue as they will be (OPC 10000-4, 7.21)."""
        sampling_ms = asked.SamplingInterval
        if sampling_ms < 0:  # as often as is published
            sampling_ms = self.isub.data.RevisedPublishingInterval
        if not (self._table.samples and sampling_ms < float("inf")):
            sampling_ms = 0.0
        return min(sampling_ms, 3.6e6), min(max(asked.QueueSize, 1), self._table.most_queued)

    def _refused(self, asked: object, point: int) -> int:
        """Why a filter cannot be had, or 0."""
        if _is_null(asked):
            return 0
        if not isinstance(asked, DataChangeFilter):
            return int(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
        if not 0 <= int(asked.DeadbandType) <= int(ua.DeadbandType.Percent) or asked.DeadbandValue < 0:
            return int(ua.StatusCodes.BadDeadbandFilterInvalid)
        if asked.DeadbandType == ua.DeadbandType.Percent:
            if not 0 <= asked.DeadbandValue <= 100:
                return int(ua.StatusCodes.BadDeadbandFilterInvalid)
            if not self._table.span[point] > 0:  # a percentage of nothing
                return int(ua.StatusCodes.BadFilterNotAllowed)
        return 0

    def _filter(self, asked: Any, point: int) -> tuple[int, float]:
        """Trigger and absolute deadband."""
        if _is_null(asked):
            return kernel.STATUS_VALUE, 0.0
        deadband = 0.0
        if asked.DeadbandType == ua.DeadbandType.Absolute:
            deadband = asked.DeadbandValue
        elif asked.DeadbandType == ua.DeadbandType.Percent:
            deadband = asked.DeadbandValue / 100 * float(self._table.span[point])
        return int(asked.Trigger), deadband


def _is_null(asked: object) -> bool:
    """Whether no filter is asked for: what the library makes of the empty extension object of a request."""
    return asked is None or (isinstance(asked, ua.ExtensionObject) and asked.TypeId == ua.NodeId())


def _no_range(index_range: str | None) -> int:
    """Why an index range of a scalar cannot be had, or 0."""
    return int(ua.StatusCodes.BadIndexRangeNoData) if index_range else 0
