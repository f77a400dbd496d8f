"""What is measured in the valley: a row of the tag table per quantity.

`column` names the signal that it measures, where there is one, so that a simulated plant knows what to show: a column
of `uem run`, or one of its own such as the power of a machine.

Control systems speak OPC UA. Boilers have controllers of their own with Modbus, houses have nothing but a heat meter
on an M-Bus beside their controller, and the dairy, which is far, tells its metrics to a broker (Sparkplug B).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

ENERGY_PLANT, STATIONS, BOILERS, METERS = "energy-plant", "stations", "boilers", "heat-meters"
REMOTE = "dairy"
HEADER = (
    "tag",
    "plant",
    "browse_path",
    "namespace_uri",
    "unit",
    "raw_unit",
    "display_unit",
    "low",
    "high",
    "sampling_ms",
    "column",
    "device",
    "table",
    "address",
    "data_type",
    "meter",
    "quantity",
    "topic",
    "metric",
)


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
    _Measured("energy", *_J, 0.0, 1e18, "unit/{0}/energy"),
    _Measured("volume", "m3", "m3", 0.0, 1e12, "unit/{0}/volume"),
    _Measured("supply_pressure", *_PA, -1e5, 2.5e6, "node/{0}/pressure"),
    _Measured("return_pressure", *_PA, -1e5, 2.5e6, "node/{0}-return/pressure"),
    _Measured("heating", *_W, 0.0, 1e7, "unit/{0}/heating"),
    _Measured("hot_water", *_W, 0.0, 1e7, "unit/{0}/hot_water"),
    _Measured("secondary_supply_temperature", *_K, 263.15, 403.15, "unit/{0}/secondary_supply_temperature"),
    _Measured("secondary_return_temperature", *_K, 263.15, 403.15, "unit/{0}/secondary_return_temperature"),
)
# What of it a heat meter tells, by its quantity.
_METERED = {
    "supply_temperature": "flow_temperature",
    "return_temperature": "return_temperature",
    "flow": "mass_flow",
    "heat": "power",
    "energy": "energy",
    "volume": "volume",
}
_METERED_EVERY_MS = 10_000
_UNIT = (
    _Measured("inlet_temperature", *_K, 263.15, 433.15, "node/{start}/temperature"),
    _Measured("outlet_temperature", *_K, 263.15, 433.15, "unit/{0}/outlet_temperature"),
    _Measured("flow", *_KG_S, -2000.0, 2000.0, "unit/{0}/flow"),
    _Measured("heat", *_W, -2e8, 2e8, "unit/{0}/heat"),
)
_BURNER = (
    _Measured("fuel", *_W, 0.0, 2e8, "unit/{0}/fuel"),
    _Measured("electricity", *_W, -1e8, 1e8, "unit/{0}/electricity"),
    _Measured("running", "1", "1", 0.0, 1.0, "unit/{0}/running"),
)
_OF_KIND = {
    "heat_only_boiler": _BURNER,
    "waste_incinerator": (*_BURNER, _Measured("dumped", *_W, 0.0, 2e8, "unit/{0}/dumped")),
    "heat_pump": (
        _Measured("electricity", *_W, 0.0, 1e8, "unit/{0}/electricity"),
        _Measured("source_heat", *_W, 0.0, 1e8, "unit/{0}/source_heat"),
        _Measured("source_outlet_temperature", *_K, 263.15, 403.15, "unit/{0}/source_outlet_temperature"),
        _Measured("cop", "1", "1", 0.0, 20.0, "unit/{0}/cop"),
        _Measured("running", "1", "1", 0.0, 1.0, "unit/{0}/running"),
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
_MACHINE = {
    "state_tag": _Measured("state", "1", "1", 0.0, 100.0),  # PackML
    "good_tag": _Measured("good", "1", "1", 0.0, 1e12),
    "scrap_tag": _Measured("scrap", "1", "1", 0.0, 1e12),
    "batch_tag": _Measured("batch", "1", "1", 0.0, 1e6),
    "temperature_tag": _Measured("chamber_temperature", *_K, 263.15, 1773.15),
    "power_tag": _Measured("power", *_W, 0.0, 1e8, "factory/{0}"),
}
_FUEL = _Measured("fuel", *_W, 0.0, 1e8, "factory/{0}")
_LEVEL = _Measured("level", "1", "1", 0.0, 1e9, "factory/{0}")
_STREAM = _Measured("heat", *_W, 0.0, 1e8, "heat/{0}/produced")
_OUTDOOR = _Measured("temperature", *_K, 223.15, 323.15, "outdoor/temperature")


def plants(prefixes: Sequence[str], factories: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The plants, as tables of a territory file; boilers and heat meters of each district are apart.

    What can fail is watched: the units, boilers among them, by the control system of the plant.
    """
    yield {"name": ENERGY_PLANT, "alarms": True, "simulated": True}
    yield {"name": STATIONS, "simulated": True}
    for prefix in prefixes:
        yield {"name": prefix + BOILERS, "protocol": "modbus", "simulated": True}
        yield {"name": prefix + METERS, "protocol": "mbus", "simulated": True}
    for factory in factories:
        how: dict[str, Any] = {"protocol": "mqtt"} if _is_remote(factory) else {"alarms": True}
        yield {"name": factory["name"], **how, "simulated": True}


def rows(
    stations: Iterable[tuple[str, str, bool]],
    places: Iterable[str],
    units: Iterable[tuple[str, Mapping[str, Any]]],
    factories: Sequence[Mapping[str, Any]],
) -> Iterator[list[str]]:
    """Rows of the tag table, the header first.

    `stations` are (prefix of the district, name, whether a heat meter is on the M-Bus), `places` nodes with an
    instrument, supply and return, `units` (prefix, table of the territory file).
    """
    yield list(HEADER)
    yield _row(ENERGY_PLANT, "outdoor", "outdoor", _OUTDOOR)
    boilers: dict[str, int] = {}  # so many of each district
    for prefix, unit in units:
        thing, name, start = f"unit/{unit['name']}", unit["name"], unit["start"]
        measured = (*_UNIT, *_OF_KIND[unit["kind"]])
        if unit["kind"] == "heat_only_boiler":
            device = boilers[prefix] = boilers.get(prefix, 0) + 1
            for k, each in enumerate(measured):
                yield _row(prefix + BOILERS, thing, name, each, start=start, address=_registers(device, k, each))
        else:
            for each in measured:
                yield _row(ENERGY_PLANT, thing, name, each, start=start)
    for place in places:
        for each in _PLACE:
            yield _row(ENERGY_PLANT, f"node/{place}", place, each)
    meters: dict[str, int] = {}
    for prefix, station, is_metered in stations:
        meter = meters[prefix] = meters.get(prefix, 0) + is_metered
        for each in _STATION:
            if is_metered and each.what in _METERED:
                address = {"meter": str(meter), "quantity": _METERED[each.what]}
                address |= {"raw_unit": "", "sampling_ms": str(_METERED_EVERY_MS)}
                yield _row(prefix + METERS, f"station/{station}", station, each, address=address)
            else:
                yield _row(STATIONS, f"station/{station}", station, each)
    for factory in factories:
        yield from _factory(factory)


def _registers(device: int, k: int, measured: _Measured) -> dict[str, str]:
    """Where the controller of a boiler has its quantity number k: whether it runs is a bit, all others are floats."""
    if measured.what == "running":
        return {"device": str(device), "table": "discrete", "address": "0"}
    return {"device": str(device), "table": "input", "address": str(2 * k), "data_type": "float32"}


def _is_remote(factory: Mapping[str, Any]) -> bool:
    return str(factory["name"]).endswith(REMOTE)


def tagged(factory: Mapping[str, Any]) -> dict[str, Any]:
    """The factory with the names of what is measured of its machines and buffers, as its follower wants them."""
    name = factory["name"]
    return {
        **factory,
        "buffers": [{**buffer, "level_tag": _tag(f"{name}/{buffer['name']}", _LEVEL)} for buffer in factory["buffers"]],
        "machines": [
            {**machine, **{key: _tag(_place(name, machine), _MACHINE[key]) for key in _keys(machine)}}
            for machine in factory["machines"]
        ],
    }


def _keys(machine: Mapping[str, Any]) -> Iterator[str]:
    """What a machine has to be measured."""
    yield "state_tag"
    yield "good_tag"
    if "scrap" in machine:
        yield "scrap_tag"
    if "batch" in machine:
        yield "batch_tag"
    if "furnace" in machine:
        yield "temperature_tag"
    yield "power_tag"


def _place(factory: str, machine: Mapping[str, Any]) -> str:
    return f"{factory}/{machine['name']}" + ("/{slot}" if "slots" in machine else "")


def _factory(factory: Mapping[str, Any]) -> Iterator[list[str]]:
    name = factory["name"]

    def row(thing: str, signal: str, measured: _Measured) -> list[str]:
        if not _is_remote(factory):
            return _row(name, thing, signal, measured)
        metric = _path(thing.removeprefix(f"{name}/"), measured)
        return _row(name, thing, signal, measured, address={"topic": f"valley/{name}/plc", "metric": metric})

    for machine in factory["machines"]:
        for slot in range(1, machine.get("slots", 1) + 1):
            place = _place(name, machine).format(slot=slot)
            own = f"{machine['name']}-{slot}" if "slots" in machine else machine["name"]
            for key in _keys(machine):
                yield row(place, f"{name}/power/{own}" if key == "power_tag" else "", _MACHINE[key])
            if "furnace" in machine:
                yield row(place, f"{name}/fuel/{own}", _FUEL)
    for buffer in factory["buffers"]:
        yield row(f"{name}/{buffer['name']}", f"{name}/level/{buffer['name']}", _LEVEL)
    for stream in factory["heat"]:
        yield row(f"{name}/{stream['name']}", f"{name}/{stream['name']}", _STREAM)


def _tag(thing: str, measured: _Measured) -> str:
    return f"{thing}/{measured.what}"


def _row(
    plant: str,
    thing: str,
    name: str,
    measured: _Measured,
    *,
    start: str = "",
    address: Mapping[str, str] | None = None,
) -> list[str]:
    """A row; `address` are the cells that say where the plant has it, in OPC UA if not given."""
    cells = {
        "tag": _tag(thing, measured),
        "plant": plant,
        "unit": measured.unit,
        "raw_unit": measured.shown,
        "display_unit": measured.shown,
        "low": f"{measured.low:g}",
        "high": f"{measured.high:g}",
        "sampling_ms": "1000",
        "column": measured.column.format(name, start=start) if name or "{" not in measured.column else "",
    }
    opcua = {"browse_path": _path(thing, measured), "namespace_uri": f"urn:uem:plant:{plant}"}
    cells |= opcua if address is None else address
    return [cells.get(key, "") for key in HEADER]


def _path(thing: str, measured: _Measured) -> str:
    return "/".join(_title(part) for part in (*thing.split("/"), measured.what))


def _title(part: str) -> str:
    """As automation engineers name things: supply_temperature is SupplyTemperature, boiler-1 stays."""
    return "".join(piece[:1].upper() + piece[1:] for piece in part.split("_"))
