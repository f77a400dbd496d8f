"""Read a territory: TOML file and tag table -> what the core knows of plants and assets; every problem at once."""

import csv
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from uem.territories import build_factory, build_network, build_simulation, crosscheck, schema, schema_tags
from uem.territories.schema_factory import Factory
from uem.territories.schema_network import Network
from uem.territories.schema_units import unit_kinds
from uem.twin_core import units
from uem.twin_core.errors import InvalidTerritory, UnknownName
from uem.twin_core.measurements import NS_PER_S, Tag
from uem.twin_core.plant.addresses import Address, MbusAddress, ModbusAddress, MqttAddress
from uem.twin_core.plant.machine import Bath, Machine, MachineState
from uem.twin_core.plant.prices import Carrier, Price
from uem.twin_core.plant.problem import Problem
from uem.twin_core.plant.simulation import Simulation
from uem.twin_core.plant.territory import Plant, Recording, TagBinding, Territory
from uem.twin_core.plant.units import Unit

_BEGINS_WITH_KEY = re.compile(r"[a-z_]+(\[\d+\])?(\.[a-z_]+)?: ")
M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")
S = TypeVar("S")


def shipped() -> list[str]:
    """Names of the territories that come with the package."""
    root = Path(str(files("uem.examples")))
    return sorted(path.parent.name for path in root.glob("*/territory.toml"))


def find(name_or_path: str | Path) -> Path:
    """The territory file of a shipped name, a folder or a file."""
    path = Path(name_or_path)
    if path.is_dir():
        path = path / "territory.toml"
    if path.is_file():
        return path
    if str(name_or_path) in shipped():
        return Path(str(files("uem.examples"))) / str(name_or_path) / "territory.toml"
    raise UnknownName("territory", str(name_or_path), shipped(), "or give the path of a territory.toml")


def load(name_or_path: str | Path) -> Territory:
    """Read and check a territory.

    Raises:
        UnknownName: there is no such shipped territory or file.
        InvalidTerritory: the file is wrong; the error lists every problem with file, key, value and what is allowed.
    """
    source = _read(name_or_path)
    problems = source.problems
    network_parts = list(_parts(Network, source.raw, "networks"))
    networks = [_build(build_network.network, item, problems, key) for key, item in network_parts]
    machines = [_build(_machine, item, problems, key) for key, item in _parts(schema.Machine, source.raw, "machines")]
    factories = [
        _build(build_factory.factory, item, problems, key) for key, item in _parts(Factory, source.raw, "factories")
    ]
    plants = []
    plant_parts = list(_parts(schema.Plant, source.raw, "plants"))
    names = [plant.name for _, plant in plant_parts]
    for key, plant in plant_parts:
        if plant.recording is not None:
            file = source.path.parent / plant.recording.file
            cells = source.cells if names.count(plant.name) == 1 else None  # else it is not known whose tags they are
            found = crosscheck.recording_problems(plant, file, cells)
            problems += [f"{key}.{text}" if text.startswith("recording") else text for text in found]
        plants.append(_build(lambda plant: _plant(plant, source.path.parent), plant, problems, key))
    problems += crosscheck.loose_ends(source.raw, {key for key, _ in network_parts})
    tags = [_build(_binding, row, problems, where) for where, row in source.rows]
    problems += crosscheck.problems(source.raw, source.cells)
    problems += crosscheck.unsimulated(source.raw, source.cells)
    driven = _simulation(source, [unit for network in networks if network for unit in network.units], problems)
    if source.checked is None or problems:
        raise InvalidTerritory(str(source.path), problems)
    prices = tuple(map(_price, source.checked.prices))
    try:
        return Territory(
            name=source.checked.name,
            title=source.checked.title,
            networks=tuple(replace(n, prices=prices) for n in networks if n is not None),
            machines=tuple(m for m in machines if m is not None),
            factories=tuple(f for f in factories if f is not None),
            plants=tuple(p for p in plants if p is not None),
            tags=tuple(t for t in tags if t is not None),
            simulation=driven,
        )
    except InvalidTerritory as error:
        raise InvalidTerritory(str(source.path), error.problems) from None


@dataclass(frozen=True)
class _Source:
    """A territory file as it stands, each key and each row of its tag table checked by itself."""

    path: Path
    raw: dict[str, Any]
    checked: schema.Territory | None  # None when a key is wrong
    cells: list[tuple[str, dict[str, str]]] | None  # of the tag table, by line; None when it cannot be read
    rows: list[tuple[str, schema_tags.TagRow]]  # those lines that are right
    problems: list[str]


def _read(name_or_path: str | Path) -> _Source:
    path = find(name_or_path)
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidTerritory(str(path), [f"cannot be read: {error.strerror}"]) from None
    except ValueError as error:  # also of bytes that are no text, and of numbers with thousands of digits
        raise InvalidTerritory(str(path), [f"not a TOML file: {error}"]) from None
    except RecursionError:
        raise InvalidTerritory(str(path), ["not a TOML file of a territory: nested too deep"]) from None
    problems: list[str] = []
    checked = _check(schema.Territory, raw, problems)
    table = raw.get("tags")
    cells: list[tuple[str, dict[str, str]]] | None = []  # no table: no tags
    if table:
        cells = _tag_cells(path.parent / table, crosscheck.columns(raw), problems) if isinstance(table, str) else None
    rows = []
    for where, filled in cells or ():
        row = _check(crosscheck.row_model(raw, filled.get("plant", "")), filled, problems, f"{where}: ")
        if row is not None:
            rows.append((where, row))
    return _Source(path, raw, checked, cells, rows, problems)


def _parts(model: type[M], raw: dict[str, Any], kind: str) -> Iterator[tuple[str, M]]:
    """The tables of a kind that are right in themselves, with their keys; the others have been told already."""
    tables = raw.get(kind)
    for i, table in enumerate(tables if isinstance(tables, list) else ()):
        part = _check(model, table, [])
        if part is not None:
            yield f"{kind}[{i}]", part


_SECRET = re.compile(r"//[^/@]*@")  # a user and a password in an address: told to nobody


def _check(model: type[M], raw: Any, problems: list[str], where: str = "") -> M | None:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for item in error.errors():
            key = _key(_without_kinds(item["loc"]))
            value = item["input"]
            shown = item["type"] not in ("missing", "extra_forbidden") and not isinstance(value, (dict, list))
            got = f" (got {_SECRET.sub('//...@', repr(value))})" if shown else ""
            text = item["msg"]
            if item["type"] == "union_tag_invalid":
                kinds = item["ctx"]["expected_tags"].replace("'", "")
                key, text = f"{key}.kind", f"{item['ctx']['tag']!r} is no kind of unit; kinds are {kinds}"
            if item["type"] == "extra_forbidden":
                text = f"unknown key; allowed: {', '.join(_allowed(model, item['loc']))}"
            problems.append(f"{where}{key}: {text}{got}")
        return None


def _without_kinds(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Pydantic tells the kind of a unit as if it were a key: ("units", 2, "heat_pump", "power_kw")."""
    kinds = unit_kinds()
    return tuple(p for i, p in enumerate(loc) if not (i and p in kinds and isinstance(loc[i - 1], int)))


def _key(loc: tuple[int | str, ...]) -> str:
    """`("networks", 0, "pipes", 2, "length_m")` as networks[0].pipes[2].length_m."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _allowed(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Keys that the model at `loc` knows."""
    here = [model]
    for part in loc[:-1]:
        if not isinstance(part, str):
            continue
        inner = [m for h in here if part in h.model_fields for m in _inner_models(h.model_fields[part].annotation)]
        # A kind stands for the one of several models that has it.
        chosen = [h for h in here if "kind" in h.model_fields and part in get_args(h.model_fields["kind"].annotation)]
        here = inner or chosen or here
    return list(dict.fromkeys(key for h in here for key in h.model_fields))


def _inner_models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for a in get_args(annotation) for found in _inner_models(a)]


def _build(make: Callable[[S], R], item: S, problems: list[str], key: str) -> R | None:
    """What `make` makes; None after telling what is wrong with the item at `key`."""
    try:
        return make(item)
    except InvalidTerritory as error:
        problems.extend(_under(key, error))
    return None


def _under(key: str, error: InvalidTerritory) -> Iterator[str]:
    """Problems below a key: those that name keys of their own go on from it."""
    for problem in error.problems:
        yield f"{key}.{problem}" if _BEGINS_WITH_KEY.match(problem) else f"{key}: {error.where}: {problem}"


def _tag_cells(path: Path, columns: Mapping[str, bool], problems: list[str]) -> list[tuple[str, dict[str, str]]] | None:
    """(where, cells that are filled) of every line of a tag table; None when it is no such table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            rows = [(f"{path.name} line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"tags: cannot read {path}: {getattr(error, 'strerror', None) or error}")
        return None
    wrong = crosscheck.header_problems(path.name, header, columns)
    problems += wrong
    problems += [f"{where}: {len(header)} cells expected" for where, row in rows if None in row or None in row.values()]
    if wrong:
        return None
    return [(where, {key: cell for key, cell in row.items() if key and cell}) for where, row in rows]


_ADDRESSES: dict[type[schema_tags.TagRow], type[Address]] = {
    schema_tags.ModbusRow: ModbusAddress,
    schema_tags.MqttRow: MqttAddress,
    schema_tags.MbusRow: MbusAddress,
}


def _address(row: schema_tags.TagRow) -> Address | None:
    made = _ADDRESSES.get(type(row))
    return made(**{field.name: getattr(row, field.name) for field in fields(made)}) if made else None


def _binding(row: schema_tags.TagRow) -> TagBinding:
    problems = []
    for key in ("unit", "raw_unit", "display_unit"):
        name = getattr(row, key)
        if name and name not in units.UNITS:
            problems.append(f"{key} {name!r} is not a known unit; known: {', '.join(units.UNITS)}")
        elif name and row.unit in units.UNITS and units.unit(name).si != units.unit(row.unit).si:
            problems.append(f"{key} {name!r} does not measure the same as unit {row.unit!r}")
    if row.unit in units.UNITS and units.unit(row.unit) != units.Unit(row.unit, 1.0):
        problems.append(f"unit {row.unit!r} is not an SI unit; write {units.unit(row.unit).si!r}")
    if not row.low < row.high:
        problems.append(f"low {row.low} must be below high {row.high}")
    if problems:
        raise InvalidTerritory(f"tag {row.tag}", problems)
    raw = units.unit(row.raw_unit or row.unit)
    return TagBinding(
        tag=Tag(name=row.tag, unit=row.unit, low=row.low, high=row.high),
        plant=row.plant,
        browse_path=getattr(row, "browse_path", ""),
        namespace_uri=getattr(row, "namespace_uri", ""),
        address=_address(row),
        display_unit=row.display_unit or row.unit,
        scale=row.scale * raw.scale,
        offset=row.scale * raw.offset + row.offset,
        sampling_ms=row.sampling_ms,
        deadband=getattr(row, "deadband", 0.0) * units.unit(row.display_unit or row.unit).scale,
        deadband_percent=getattr(row, "deadband_percent", 0.0),
        queue_size=getattr(row, "queue_size", 0),
        column=row.column,
        writable=getattr(row, "writable", False),
    )


def _price(table: schema.Price) -> Price:
    return Price(
        carrier=Carrier(table.carrier),
        eur_per_kwh=table.eur_per_kwh,
        source=table.source,
        date=table.date.isoformat(),
    )


def _plant(plant: schema.Plant, folder: Path) -> Plant:
    recording = None
    if plant.recording is not None:
        r = plant.recording
        recording = Recording(
            path=str((folder / r.file).resolve()),
            time_column=r.time_column,
            epoch_ns=_nanoseconds(r.epoch),
            speed=r.speed,
            loop=r.loop,
        )
    if recording is None and plant.protocol == "replay":
        raise InvalidTerritory(f"plant {plant.name}", ["protocol replay needs a recording"])
    if plant.simulated and recording is not None:
        raise InvalidTerritory(f"plant {plant.name}", ["plays a recording or is simulated, not both"])
    if recording is None and not plant.simulated and not plant.endpoint:
        raise InvalidTerritory(f"plant {plant.name}", ["needs an endpoint or a recording, or is simulated"])
    return Plant(
        name=plant.name,
        protocol=plant.protocol,
        endpoint=plant.endpoint,
        redundant_endpoints=tuple(plant.redundant_endpoints),
        security_policy=plant.security_policy,
        publish_interval_ms=plant.publish_interval_ms,
        alarms=plant.alarms,
        response_timeout_s=plant.response_timeout_s,
        recording=recording,
        simulated=plant.simulated,
    )


def _simulation(source: _Source, units: Sequence[Unit], problems: list[str]) -> Simulation | None:
    """What drives simulated plants, if anything does; None after telling what is wrong, too."""
    told = source.checked.simulation if source.checked else None
    if told is None:
        return None
    folder, epoch_ns = source.path.parent, _nanoseconds(told.epoch)
    return _build(lambda told: build_simulation.simulation(told, folder, epoch_ns, units), told, problems, "simulation")


def _nanoseconds(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) * (NS_PER_S // 1000)


def _machine(machine: schema.Machine) -> Machine:
    try:
        return Machine(
            states=tuple(MachineState(**state.model_dump()) for state in machine.states),
            bath=_bath(machine.bath) if machine.bath else None,
            **machine.model_dump(exclude={"states", "bath"}),
        )
    except InvalidTerritory as error:
        raise InvalidTerritory(error.where, [_in_celsius(problem) for problem in error.problems]) from None


def _in_celsius(problem: str) -> str:
    """A problem of a bath by the keys of the file: temperatures are in degC there."""
    if not isinstance(problem, Problem):
        return problem
    return re.sub(
        r"\b(thermostat_\w+)_k\b", r"\1_c", problem.told(lambda _, value: f"{units.from_si(value, 'Cel'):.6g}")
    )


def _bath(bath: schema.Bath) -> Bath:
    return Bath(
        thermostat_on_k=units.to_si(bath.thermostat_on_c, "Cel"),
        thermostat_off_k=units.to_si(bath.thermostat_off_c, "Cel"),
        **bath.model_dump(exclude={"thermostat_on_c", "thermostat_off_c"}),
    )
