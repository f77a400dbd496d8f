"""What a free-running network is told from outside: values by name, constant or in time.

Names are those of the network with the unit of the value behind: `outdoor_temp_c` (of all units that know one),
`ambient_c`, `node/N/demand_kg_s`, `node/N/supply_c`, `node/N/pressure_bar`, `valve/N/opening`, `valve/N/flow_kg_s`,
`pump/N/speed`, `pump/N/pressure_rise_bar`, and the commands of a unit: `unit/N/heat_kw`, `unit/N/supply_temp_c`, ...
A command may stand alone (`hot_water_kw`): then all units that have it take it.
"""

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uem.offline.series import seconds
from uem.twin_core import units
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.thermal.network import NetworkInputs, NetworkPlan

Array = NDArray[np.float64]
Series = Sequence[float] | Array
Value = float | Series | tuple[Series, Series] | Callable[[float], float]

# Suffixes of names, of the SI suffix they stand for, and the unit in between; the first that fits.
_SUFFIXES = (
    ("_temp_c", "_temp_k", "Cel"),
    ("_c", "_temp_k", "Cel"),
    ("_bar", "_pa", "bar"),
    ("_kw", "_w", "kW"),
    ("_percent", "", "%"),
)

# What inputs may be in SI, by the ending of their names: beyond is a slip of the pen or another unit.
_BOUNDS = {"outdoor_temp_k": (213.15, 333.15), "_kg_s": (-1e5, 1e5)}


@dataclass(frozen=True, slots=True)
class Input:
    """A value in time, and the rows of the inputs that take it."""

    name: str
    si_name: str
    rows: tuple[Array, ...]  # each (members,)
    scale: float
    offset: float
    at: Callable[[float], float]  # the value as given, at a time in s

    def apply(self, time_s: float) -> None:
        """Set the rows to the value of a time."""
        value = float(self.at(time_s))
        if not math.isfinite(value):
            raise InvalidInput(f"input {self.name}: {value} at {time_s:g} s is not finite")
        si = self.scale * value + self.offset
        for ending, (lowest, highest) in _BOUNDS.items():
            if self.si_name.endswith(ending) and not lowest <= si <= highest:
                low, high = (round((bound - self.offset) / self.scale, 6) for bound in (lowest, highest))
                raise InvalidInput(f"input {self.name}: {value:g} at {time_s:g} s must be from {low:g} to {high:g}")
        for row in self.rows:
            row[:] = si


def bind(plan: NetworkPlan, inputs: NetworkInputs, values: Mapping[str, Value], step_s: float) -> list[Input]:
    """The values, each bound to the rows that it sets.

    Raises:
        UnknownName: a name that the network does not have.
        InvalidInput: a value that is no number or series.
    """
    rows = _rows(plan, inputs)
    return [_input(name, value, rows, step_s) for name, value in values.items()]


def names(plan: NetworkPlan, inputs: NetworkInputs) -> list[str]:
    """Every name that an input may have, in SI."""
    return sorted(_rows(plan, inputs))


def read(path: Path) -> dict[str, Value]:
    """Inputs in a CSV file: a column `time` (seconds or ISO), and columns by name; linear in between.

    Raises:
        InvalidInput: the file cannot be read, or a cell is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if "time" not in header or not rows:
        raise InvalidInput(f"{path}: a column 'time' and rows below the header are needed")
    table = np.array([_cells(path, line, row, header) for line, row in rows])
    times = table[:, header.index("time")]
    if not (np.diff(times) > 0).all():
        raise InvalidInput(f"{path}: times must increase from row to row")
    times = times - times[0]
    return {name: (times, table[:, i]) for i, name in enumerate(header) if name != "time"}


def _cells(path: Path, line: int, row: list[str], header: list[str]) -> list[float]:
    if len(row) != len(header):
        raise InvalidInput(f"{path} line {line}: {len(row)} cells, but {len(header)} columns")
    found = []
    for cell, name in zip(row, header, strict=True):
        where = f"{path} line {line}, column {name}"
        if name == "time":
            found.append(seconds(cell, where))
            continue
        try:
            found.append(float(cell))
        except ValueError:
            raise InvalidInput(f"{where}: {cell!r} is not a number") from None
    return found


def _rows(plan: NetworkPlan, inputs: NetworkInputs) -> dict[str, list[Array]]:
    """Name in SI -> the rows that it sets."""
    found: dict[str, list[Array]] = {"ambient_temp_k": [inputs.ambient_temp_k]}
    for kind, things, parts in (
        (
            "node",
            plan.nodes,
            {
                "supply_temp_k": inputs.node_supply_temp_k,
                "demand_kg_s": inputs.node_demand_kg_s,
                "pressure_pa": inputs.fixed_pressure_pa,
            },
        ),
        ("valve", plan.valves, {"opening": inputs.valve_opening, "flow_kg_s": inputs.valve_flow_kg_s}),
        ("pump", plan.pumps, {"speed": inputs.pump_speed, "pressure_rise_pa": inputs.pump_pressure_rise_pa}),
    ):
        for i, thing in enumerate(things):
            for key, rows in parts.items():
                found[f"{kind}/{thing}/{key}"] = [rows[i]]
    for unit, commands in inputs.unit_commands.items():
        for key, row in commands.items():
            found[f"unit/{unit}/{key}"] = [row]
            found.setdefault(key, []).append(row)
    return found


def _input(name: str, value: Value, rows: Mapping[str, list[Array]], step_s: float) -> Input:
    for si_name, unit in _readings(name):
        if si_name in rows:
            si = units.unit(unit) if unit else None
            scale, offset = (si.scale, si.offset) if si else (1.0, 0.0)
            return Input(name, si_name, tuple(rows[si_name]), scale, offset, _in_time(name, value, step_s))
    raise UnknownName("input", name, rows, "units stand behind: outdoor_temp_c, unit/boiler/heat_kw, pump/p/speed")


def _readings(name: str) -> Iterator[tuple[str, str]]:
    """What a name may stand for: (its name in SI, the unit its values are in)."""
    yield name, ""
    for suffix, si_suffix, unit in _SUFFIXES:
        if name.endswith(suffix):
            yield name.removesuffix(suffix) + si_suffix, unit


def _in_time(name: str, value: Value, step_s: float) -> Callable[[float], float]:
    if callable(value):
        return value
    if isinstance(value, (int, float)):
        constant = float(value)
        return lambda time_s: constant
    try:
        if isinstance(value, tuple):
            times, values = (np.asarray(part, dtype=np.float64) for part in value)
            if times.ndim != 1 or times.shape != values.shape or not (np.diff(times) > 0).all():
                raise InvalidInput(f"input {name}: times of shape {times.shape} for values of shape {values.shape}")
            return lambda time_s: float(np.interp(time_s, times, values))
        series = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"input {name}: neither a number, a series, (times, values) nor a function") from None
    if series.ndim != 1 or not len(series):
        raise InvalidInput(f"input {name}: a series of shape {series.shape}; one value per step is needed")
    return lambda time_s: float(series[min(int(time_s / step_s + 1e-9), len(series) - 1)])
