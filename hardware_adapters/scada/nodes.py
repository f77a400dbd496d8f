"""The twins as nodes: what there is below Objects/Twins, and where the columns of a state go.

    Twins/<asset>                       title as its display name
        State/<signal>                  AnalogUnitType with EngineeringUnits; a state by number MultiStateDiscreteType
            StandardDeviation           in the unit of the signal; BadNoData where it is not known
            Age                         plant time since the measurement behind the value, ms
            Source                      measured, estimated or ledger
        Forecast/<signal>               the central forecast
            IssueTime, ValidTimes, Lower, Upper, LowerLevel, UpperLevel

Browse names and node ids are made of the names of assets and signals alone, in the namespace urn:uem:twins, so that
they stay from run to run. The steps of a signal's name are joined by dots: "node/2/flow" is "node.2.flow", since a
signal may have others below it, which a variable in OPC UA may not. Values are in the unit that people read.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from asyncua import Node, ua
from numpy.typing import NDArray

from uem.clients.records import Asset, Forecast, Series, Signal, State
from uem.hardware_adapters.opcua.server.server import AddressSpace
from uem.hardware_adapters.scada.engineering_units import engineering_units
from uem.twin_core.units import UNITS, unit

NAMESPACE = "urn:uem:twins"
BAD_NO_DATA = 0x809B0000
_COLUMNS = 3  # points per signal: value, standard deviation, age
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AssetNodes:
    """Where an asset's columns go: shown value = (si - offset) / scale, by signal."""

    asset: Asset
    point: NDArray[np.int64]  # (signals, 3): value, standard deviation, age
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def rows(
        self, state: State
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.uint32], NDArray[np.int64]]:
        """Numbers of the points, values, qualities, source time of a state."""
        value = (state.value - self.offset) / self.scale
        deviation = state.standard_deviation / self.scale
        columns = np.stack([value, deviation, state.age_s * 1e3], axis=1)
        quality = np.zeros(columns.shape, np.uint32)
        quality[:, 0] = state.quality
        quality[np.isnan(columns) & (quality == 0)] = BAD_NO_DATA
        return self.point.ravel(), columns.ravel(), quality.ravel(), np.array([state.plant_time_ns])


class TwinNodes:
    """The nodes of all assets."""

    def __init__(self, assets: list[Asset]) -> None:
        self.assets = assets
        self.by_name: dict[str, AssetNodes] = {}
        self._forecasts: dict[tuple[str, str], dict[str, Node]] = {}

    async def describe(self, space: AddressSpace) -> None:
        """Make them."""
        index = await space.namespace(NAMESPACE)
        twins = await space.object(space.objects, "Twins", index, ua.ObjectIds.FolderType)
        for asset in self.assets:
            node = await space.object(twins, asset.name, index)
            await node.write_attribute(
                ua.AttributeIds.DisplayName, ua.DataValue(ua.Variant(ua.LocalizedText(asset.title)))
            )
            states = await space.object(node, "State", index)
            points = [await self._signal(space, states, asset, signal, index) for signal in asset.signals]
            units = [_unit(signal) for signal in asset.signals]
            self.by_name[asset.name] = AssetNodes(
                asset,
                np.array(points, np.int64).reshape(-1, _COLUMNS),
                np.array([scale for scale, _ in units]),
                np.array([offset for _, offset in units]),
            )

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
            await _constant(node, "EnumStrings", [ua.LocalizedText(text) for text in names])
        else:
            await _constant(node, "EngineeringUnits", engineering_units(signal.display_unit))
        await _constant(node, "Source", str(signal.source), index)
        prop = ua.ObjectIds.PropertyType
        deviation, _ = await space.point(
            node, "StandardDeviation", index, identifier=f"{identifier}/StandardDeviation", type_id=prop
        )
        age, _ = await space.point(
            node, "Age", index, identifier=f"{identifier}/Age", type_id=prop, data_type=ua.ObjectIds.Duration
        )
        return value, deviation, age

    async def write_forecast(self, space: AddressSpace, forecast: Forecast) -> None:
        """Show a forecast; the nodes of a signal are made when its first one comes."""
        index = await space.namespace(NAMESPACE)
        for series in forecast.series:
            key = forecast.asset, series.signal
            if key not in self._forecasts:
                self._forecasts[key] = await self._make_forecast(space, forecast.asset, series, index)
            await self._write_series(self._forecasts[key], forecast, series)

    async def _make_forecast(self, space: AddressSpace, asset: str, series: Series, index: int) -> dict[str, Node]:
        twins = await space.object(space.objects, "Twins", index)
        parent = await space.object(await space.object(twins, asset, index), "Forecast", index)
        identifier = f"{asset}/Forecast/{series.signal}"
        doubles = ua.Variant([], ua.VariantType.Double, is_array=True)
        its_name = ua.QualifiedName(_browse_name(series.signal), index)
        node = await parent.add_variable(ua.NodeId(identifier, index), its_name, doubles)
        await _constant(node, "EngineeringUnits", engineering_units(series.display_unit))
        nodes = {"": node}
        times = ua.Variant([], ua.VariantType.DateTime, is_array=True)
        for part, start in (
            ("IssueTime", ua.Variant(_EPOCH, ua.VariantType.DateTime)),
            ("ValidTimes", times),
            ("Lower", doubles),
            ("Upper", doubles),
            ("LowerLevel", ua.Variant(0.0, ua.VariantType.Double)),
            ("UpperLevel", ua.Variant(0.0, ua.VariantType.Double)),
        ):
            its_id = ua.NodeId(f"{identifier}/{part}", index)
            nodes[part] = await node.add_property(its_id, ua.QualifiedName(part, index), start)
        return nodes

    async def _write_series(self, nodes: dict[str, Node], forecast: Forecast, series: Series) -> None:
        scale, offset = _affine(series.unit, series.display_unit)
        issued, now = _time(forecast.issue_time_ns), datetime.now(UTC)
        bands = {"Lower": series.quantile[:, 0], "Upper": series.quantile[:, -1]} if series.quantile.size else {}
        parts: dict[str, ua.Variant] = {
            part: ua.Variant(((column - offset) / scale).tolist(), ua.VariantType.Double, is_array=True)
            for part, column in {"": series.value, **bands}.items()
        }
        valid = [_time(int(t)) for t in series.valid_time_ns]
        parts["ValidTimes"] = ua.Variant(valid, ua.VariantType.DateTime, is_array=True)
        parts["IssueTime"] = ua.Variant(issued, ua.VariantType.DateTime)
        if len(forecast.quantile_level):
            parts["LowerLevel"] = ua.Variant(float(forecast.quantile_level[0]), ua.VariantType.Double)
            parts["UpperLevel"] = ua.Variant(float(forecast.quantile_level[-1]), ua.VariantType.Double)
        for part, value in parts.items():
            status = ua.StatusCode(series.quality if part in ("", "Lower", "Upper") else 0)
            await nodes[part].write_value(ua.DataValue(value, status, issued, now))


def _browse_name(signal: str) -> str:
    return signal.replace("/", ".")


async def _constant(node: Node, name: str, value: object, namespace: int = 0) -> None:
    """A property that does not change."""
    its_id = ua.NodeId(f"{node.nodeid.Identifier}/{name}", node.nodeid.NamespaceIndex)
    await node.add_property(its_id, ua.QualifiedName(name, namespace), value)


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
