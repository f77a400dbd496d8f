"""The twins as nodes: what there is below Objects/Twins, and where the columns of a state go.

    Twins/<asset>                       title as its display name
        Energy/<metering point>         EnergyMeasurementType of OPC 34100, see `energy`
        State/<signal>                  AnalogUnitType with EngineeringUnits; a state by number MultiStateDiscreteType
            StandardDeviation           in the unit of the signal; BadNoData where it is not known
            Age                         plant time since the measurement behind the value, ms
            Source                      measured, estimated or ledger
        Forecast/<signal>               the central forecast
            IssueTime, Age, ValidTimes, Lower, Upper, LowerLevel, UpperLevel

Browse names and node ids are made of the names of assets and signals alone, in the namespace urn:uem:twins, so that
they stay from run to run. The steps of a signal's name are joined by dots: "node/2/flow" is "node.2.flow", since a
signal may have others below it, which a variable in OPC UA may not. Values are in the unit that people read.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from asyncua import Node, ua
from numpy.typing import NDArray

from uem.clients.records import Asset, Forecast, Series, Signal, State
from uem.hardware_adapters.opcua.engineering_units import engineering_units
from uem.hardware_adapters.opcua.server.server import AddressSpace
from uem.hardware_adapters.scada.energy import Meters
from uem.twin_core.measurements import UNCERTAIN_LAST_USABLE_VALUE, is_bad
from uem.twin_core.units import UNITS, unit

NAMESPACE = "urn:uem:twins"
BAD, BAD_NO_DATA = 0x80000000, 0x809B0000
VALUE, DEVIATION, AGE = range(3)  # columns of a state
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    """A point that shows a column of a signal as (si - offset) / scale."""

    signal: int
    column: int  # VALUE, DEVIATION or AGE
    point: int
    scale: float
    offset: float


class AssetNodes:
    """Where an asset's columns go."""

    def __init__(self, asset: Asset, rows: Sequence[Row]) -> None:
        signal, column, point, scale, offset = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        self.asset = asset
        self._signal = np.array(signal, np.int64)
        self._column = np.array(column, np.int64)
        self._point = np.array(point, np.int64)
        self._scale = np.array(scale, np.float64)
        self._offset = np.array(offset, np.float64)

    def rows(
        self, state: State
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint32], NDArray[np.int64]]:
        """Numbers of the points, values, qualities, source time of a state."""
        columns = np.stack([state.value, state.standard_deviation, state.age_s])
        shown = (columns[self._column, self._signal] - self._offset) / self._scale
        quality = np.where(self._column == VALUE, state.quality[self._signal], 0).astype(np.uint32)
        quality[np.isnan(shown) & (quality < BAD)] = BAD_NO_DATA
        return self._point, shown, quality, np.array([state.plant_time_ns])


class TwinNodes:
    """The nodes of all assets."""

    def __init__(self, assets: list[Asset]) -> None:
        self.assets = assets
        self.by_name: dict[str, AssetNodes] = {}
        self._forecasts: dict[tuple[str, str], dict[str, Node]] = {}

    async def describe(self, space: AddressSpace) -> None:
        """Make them."""
        index = await space.namespace(NAMESPACE)
        twins = await space.object(space.objects, "Twins", index, ua.ObjectIds.FolderType, "Twins")
        meters = await Meters.described(space, index)
        for asset in self.assets:
            node = await space.object(twins, asset.name, index, None, asset.name)
            await node.write_attribute(
                ua.AttributeIds.DisplayName, ua.DataValue(ua.Variant(ua.LocalizedText(asset.title)))
            )
            states = await space.object(node, "State", index, None, f"{asset.name}/State")
            await space.object(node, "Forecast", index, None, f"{asset.name}/Forecast")
            rows = []
            for number, signal in enumerate(asset.signals):
                scale, offset = _unit(signal)
                value, deviation, age = await self._signal(space, states, asset, signal, index)
                rows.append(Row(number, VALUE, value, scale, offset))
                rows.append(Row(number, DEVIATION, deviation, scale, 0.0))
                rows.append(Row(number, AGE, age, 1e-3, 0.0))  # ms
            for shown in await meters.of_asset(space, node, asset):
                rows.append(Row(shown.signal, VALUE, shown.value_point, shown.scale, 0.0))
                rows.append(Row(shown.signal, DEVIATION, shown.deviation_point, shown.scale, 0.0))
            self.by_name[asset.name] = AssetNodes(asset, rows)

    async def _signal(
        self, space: AddressSpace, parent: Node, asset: Asset, signal: Signal, index: int
    ) -> tuple[int, int, int]:
        identifier = f"{asset.name}/State/{signal.name}"
        is_state = bool(signal.state_names)
        value, node = await space.point(
            parent,
            _browse_name(signal.name),
            index,
            identifier=identifier,
            kind=ua.VariantType.UInt32 if is_state else ua.VariantType.Double,
            type_id=ua.ObjectIds.MultiStateDiscreteType if is_state else ua.ObjectIds.AnalogUnitType,
        )
        if is_state:
            names = [signal.state_names.get(i, str(i)) for i in range(max(signal.state_names) + 1)]
            texts = ua.Variant([ua.LocalizedText(text) for text in names], is_array=True)
            await space.constant(node, ua.QualifiedName("EnumStrings"), index, texts)
        else:
            units = ua.Variant(engineering_units(signal.display_unit))
            await space.constant(node, ua.QualifiedName("EngineeringUnits"), index, units)
        await space.constant(node, ua.QualifiedName("Source", index), index, ua.Variant(str(signal.source)))
        prop = ua.ObjectIds.PropertyType
        deviation, _ = await space.point(
            node, "StandardDeviation", index, identifier=f"{identifier}/StandardDeviation", type_id=prop
        )
        age, _ = await space.point(
            node, "Age", index, identifier=f"{identifier}/Age", type_id=prop, data_type=ua.ObjectIds.Duration
        )
        return value, deviation, age

    async def write_forecast(
        self, space: AddressSpace, forecast: Forecast, plant_time_ns: int, *, is_old: bool = False
    ) -> None:
        """Show a forecast; the nodes of a signal are made when its first one comes.

        Its age is counted up to `plant_time_ns`; one that `is_old`, since no other is to be had, is uncertain.
        """
        age_s = max(0.0, (plant_time_ns - forecast.issue_time_ns) / 1e9)
        index = await space.namespace(NAMESPACE)
        for series in forecast.series:
            key = forecast.asset, series.signal
            if key not in self._forecasts:
                self._forecasts[key] = await self._make_forecast(space, forecast.asset, series, index)
            quality = UNCERTAIN_LAST_USABLE_VALUE if is_old and not is_bad(series.quality) else series.quality
            await self._write_series(self._forecasts[key], forecast, series, quality, age_s)

    async def _make_forecast(self, space: AddressSpace, asset: str, series: Series, index: int) -> dict[str, Node]:
        twins = await space.object(space.objects, "Twins", index)
        parent = await space.object(await space.object(twins, asset, index), "Forecast", index)
        identifier = f"{asset}/Forecast/{series.signal}"
        doubles = ua.Variant([], ua.VariantType.Double, is_array=True)
        its_name = ua.QualifiedName(_browse_name(series.signal), index)
        node = await parent.add_variable(ua.NodeId(identifier, index), its_name, doubles)
        units = ua.Variant(engineering_units(series.display_unit))
        await space.constant(node, ua.QualifiedName("EngineeringUnits"), index, units)
        nodes = {"": node}
        times = ua.Variant([], ua.VariantType.DateTime, is_array=True)
        for part, start in (
            ("IssueTime", ua.Variant(_EPOCH, ua.VariantType.DateTime)),
            ("Age", ua.Variant(0.0, ua.VariantType.Double)),
            ("ValidTimes", times),
            ("Lower", doubles),
            ("Upper", doubles),
            ("LowerLevel", ua.Variant(0.0, ua.VariantType.Double)),
            ("UpperLevel", ua.Variant(0.0, ua.VariantType.Double)),
        ):
            its_id = ua.NodeId(f"{identifier}/{part}", index)
            nodes[part] = await node.add_property(its_id, ua.QualifiedName(part, index), start)
        return nodes

    async def _write_series(
        self, nodes: dict[str, Node], forecast: Forecast, series: Series, quality: int, age_s: float
    ) -> None:
        scale, offset = _affine(series.unit, series.display_unit)
        issued, now = _time(forecast.issue_time_ns), datetime.now(UTC)
        bands = {"Lower": series.quantile[:, 0], "Upper": series.quantile[:, -1]} if series.quantile.size else {}
        parts: dict[str, ua.Variant] = {
            part: ua.Variant(((column - offset) / scale).tolist(), ua.VariantType.Double, is_array=True)
            for part, column in {"": series.value, **bands}.items()
        }
        valid = [_time(int(t)) for t in series.valid_time_ns]
        parts["ValidTimes"] = ua.Variant(valid, ua.VariantType.DateTime, is_array=True)
        parts["Age"] = ua.Variant(age_s * 1e3, ua.VariantType.Double)
        parts["IssueTime"] = ua.Variant(issued, ua.VariantType.DateTime)
        if len(forecast.quantile_level):
            parts["LowerLevel"] = ua.Variant(float(forecast.quantile_level[0]), ua.VariantType.Double)
            parts["UpperLevel"] = ua.Variant(float(forecast.quantile_level[-1]), ua.VariantType.Double)
        for part, value in parts.items():
            status = ua.StatusCode(quality if part in ("", "Lower", "Upper") else 0)
            await nodes[part].write_value(ua.DataValue(value, status, issued, now))


def _browse_name(signal: str) -> str:
    return signal.replace("/", ".")


def _unit(signal: Signal) -> tuple[float, float]:
    return (1.0, 0.0) if signal.state_names else _affine(signal.unit, signal.display_unit)


def _affine(si: str, shown: str) -> tuple[float, float]:
    """Scale and offset of a display unit; an unknown one is shown as it comes, in SI."""
    if shown == si or shown not in UNITS:
        return 1.0, 0.0
    its = unit(shown)
    return its.scale, its.offset


def _time(t_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=t_ns // 1000)
