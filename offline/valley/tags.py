"""What is measured in the valley: a row of the tag table per quantity.

`column` names the column of `uem run` that is the same quantity, where there is one, so that a simulated plant knows
what to show.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from uem.territories.schema_tags import OpcUaRow

_FIRST = ("tag", "plant", "browse_path", "namespace_uri")
HEADER = (*_FIRST, *(key for key in OpcUaRow.model_fields if key not in (*_FIRST, "scale", "offset")))


class _Measured(NamedTuple):
    """A quantity of a thing: last part of the tag, its units, its range, the column it is."""

    what: str
    unit: str
    shown: str
    low: float
    high: float
    column: str = ""


_K, _W, _PA, _KG_S, _J = ("K", "Cel"), ("W", "kW"), ("Pa", "bar"), ("kg/s", "kg/s"), ("J", "kWh")
_STATION = (
    _Measured("supply_temperature", *_K, 263.15, 433.15, "node/{0}/temperature"),
    _Measured("return_temperature", *_K, 263.15, 433.15, "node/{0}-return/temperature"),
    _Measured("flow", *_KG_S, -50.0, 50.0, "unit/{0}/flow"),
    _Measured("heat", *_W, -1e7, 1e7, "unit/{0}/heat"),
    _Measured("energy", *_J, 0.0, 1e18),
    _Measured("volume", "m3", "m3", 0.0, 1e12),
    _Measured("supply_pressure", *_PA, -1e5, 2.5e6, "node/{0}/pressure"),
    _Measured("return_pressure", *_PA, -1e5, 2.5e6, "node/{0}-return/pressure"),
    _Measured("heating", *_W, 0.0, 1e7, "unit/{0}/heating"),
    _Measured("hot_water", *_W, 0.0, 1e7, "unit/{0}/hot_water"),
    _Measured("secondary_supply_temperature", *_K, 263.15, 403.15, "unit/{0}/secondary_supply_temperature"),
    _Measured("secondary_return_temperature", *_K, 263.15, 403.15, "unit/{0}/secondary_return_temperature"),
    _Measured("hot_water_temperature", *_K, 263.15, 403.15),
    _Measured("valve_position", "1", "%", 0.0, 1.0),
)
_UNIT = (
    _Measured("inlet_temperature", *_K, 263.15, 433.15, "node/{start}/temperature"),
    _Measured("outlet_temperature", *_K, 263.15, 433.15, "unit/{0}/outlet_temperature"),
    _Measured("flow", *_KG_S, -2000.0, 2000.0, "unit/{0}/flow"),
    _Measured("heat", *_W, -2e8, 2e8, "unit/{0}/heat"),
)
_BURNER = (
    _Measured("fuel", *_W, 0.0, 2e8, "unit/{0}/fuel"),
    _Measured("electricity", *_W, -1e8, 1e8, "unit/{0}/electricity"),
    _Measured("running", "1", "1", 0.0, 1.0),
)
_OF_KIND = {
    "heat_only_boiler": _BURNER,
    "waste_incinerator": (*_BURNER, _Measured("dumped", *_W, 0.0, 2e8, "unit/{0}/dumped")),
    "heat_pump": (
        _Measured("electricity", *_W, 0.0, 1e8, "unit/{0}/electricity"),
        _Measured("source_heat", *_W, 0.0, 1e8, "unit/{0}/source_heat"),
        _Measured("source_outlet_temperature", *_K, 263.15, 403.15, "unit/{0}/source_outlet_temperature"),
        _Measured("cop", "1", "1", 0.0, 20.0, "unit/{0}/cop"),
        _Measured("running", "1", "1", 0.0, 1.0),
    ),
    "waste_heat_exchanger": (
        _Measured("stream_outlet_temperature", *_K, 263.15, 673.15, "unit/{0}/stream_outlet_temperature"),
        _Measured("bypass", "1", "%", 0.0, 1.0, "unit/{0}/bypass"),
    ),
    "storage_tank": tuple(
        _Measured(f"{where}_temperature", *_K, 263.15, 433.15, f"unit/{{0}}/{where}_temperature")
        for where in ("bottom", "mean", "top")
    ),
    "dump_cooler": (
        _Measured("electricity", *_W, 0.0, 1e7, "unit/{0}/electricity"),
        _Measured("fan_speed", "1", "%", 0.0, 1.0, "unit/{0}/fan_speed"),
    ),
}
_PLACE = (
    _Measured("temperature", *_K, 263.15, 433.15, "node/{0}/temperature"),
    _Measured("pressure", *_PA, -1e5, 2.5e6, "node/{0}/pressure"),
)
_MACHINE = (
    _Measured("state", "1", "1", 0.0, 100.0),
    _Measured("good", "1", "1", 0.0, 1e12),
    _Measured("scrap", "1", "1", 0.0, 1e12),
    _Measured("power", *_W, 0.0, 1e8),
)
_FURNACE = (_Measured("chamber_temperature", *_K, 263.15, 1773.15), _Measured("fuel", *_W, 0.0, 1e8))
_STREAM = (
    _Measured("temperature", *_K, 263.15, 673.15, "heat/{0}/temperature"),
    _Measured("taken", *_W, -1e8, 1e8, "heat/{0}/taken"),
    _Measured("dumped", *_W, 0.0, 1e8, "heat/{0}/dumped"),
)
_OUTDOOR = _Measured("temperature", *_K, 223.15, 323.15)


def rows(
    stations: Iterable[str],
    places: Iterable[str],
    units: Iterable[Mapping[str, Any]],
    factories: Sequence[Mapping[str, Any]],
) -> Iterator[list[str]]:
    """Rows of the tag table, the header first; `places` are nodes with an instrument, supply and return."""
    yield list(HEADER)
    yield _row("energy-plant", "outdoor", "outdoor", _OUTDOOR)
    for unit in units:
        for measured in (*_UNIT, *_OF_KIND[unit["kind"]]):
            yield _row("energy-plant", f"unit/{unit['name']}", unit["name"], measured, start=unit["start"])
    for place in places:
        for measured in _PLACE:
            yield _row("energy-plant", f"node/{place}", place, measured)
    for station in stations:
        for measured in _STATION:
            yield _row("stations", f"station/{station}", station, measured)
    for factory in factories:
        yield from _factory(factory)


def _factory(factory: Mapping[str, Any]) -> Iterator[list[str]]:
    name = factory["name"]
    for machine in factory["machines"]:
        for measured in (*_MACHINE, *(_FURNACE if "furnace" in machine else ())):
            yield _row(name, f"{name}/{machine['name']}", "", measured)
    for buffer in factory["buffers"]:
        level = _Measured("level", "1", "1", 0.0, 1e9, f"factory/{name}/level/{buffer['name']}")
        yield _row(name, f"{name}/{buffer['name']}", "", level)
    for stream in factory["heat"]:
        coupled = "unit" in stream
        for measured in _STREAM:
            yield _row(name, f"{name}/{stream['name']}", f"{name}/{stream['name']}" if coupled else "", measured)


def _row(plant: str, thing: str, name: str, measured: _Measured, start: str = "") -> list[str]:
    cells = {
        "tag": f"{thing}/{measured.what}",
        "plant": plant,
        "browse_path": "/".join(_title(part) for part in (*thing.split("/"), measured.what)),
        "namespace_uri": f"urn:uem:plant:{plant}",
        "unit": measured.unit,
        "raw_unit": measured.shown,
        "display_unit": measured.shown,
        "low": f"{measured.low:g}",
        "high": f"{measured.high:g}",
        "sampling_ms": "1000",
        "column": measured.column.format(name, start=start) if name or "{" not in measured.column else "",
    }
    return [cells[key] for key in HEADER]


def _title(part: str) -> str:
    """As automation engineers name things: supply_temperature is SupplyTemperature, boiler-1 stays."""
    return "".join(piece[:1].upper() + piece[1:] for piece in part.split("_"))
