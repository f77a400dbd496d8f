"""What people read: display units, plant time, quality in words, sparklines. Nothing here knows a terminal."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from uem.clients.records import Floats

# SI value = scale * shown value + offset; a unit that is not here is shown as it is, in SI.
_UNITS: dict[str, tuple[float, float]] = {
    "Cel": (1.0, 273.15),
    "kPa": (1e3, 0.0),
    "bar": (1e5, 0.0),
    "kg/h": (1 / 3600, 0.0),
    "t/h": (1 / 3.6, 0.0),
    "kW": (1e3, 0.0),
    "MW": (1e6, 0.0),
    "kJ": (1e3, 0.0),
    "kWh": (3.6e6, 0.0),
    "MWh": (3.6e9, 0.0),
    "min": (60.0, 0.0),
    "h": (3600.0, 0.0),
    "mm": (1e-3, 0.0),
    "km": (1e3, 0.0),
    "%": (0.01, 0.0),
    "1/h": (1 / 3600, 0.0),
}
_DECIMALS = {"Cel": 1, "K": 1, "kW": 2, "W": 0, "kWh": 2, "kg/s": 3, "h": 2, "s": 0, "%": 1, "1/h": 1, "EUR": 2}
_BARS = "▁▂▃▄▅▆▇█"


def shown(value: float, display_unit: str) -> float:
    """An SI value in its display unit."""
    scale, offset = _UNITS.get(display_unit, (1.0, 0.0))
    return (value - offset) / scale


def shown_column(value: Floats, display_unit: str) -> Floats:
    """SI values in their display unit."""
    scale, offset = _UNITS.get(display_unit, (1.0, 0.0))
    return np.asarray((value - offset) / scale)


def shown_difference(value: float, display_unit: str) -> float:
    """A difference or deviation in its display unit: offsets cancel."""
    return value / _UNITS.get(display_unit, (1.0, 0.0))[0]


def number(value: float, display_unit: str, sign: bool = False) -> str:
    """A value that is in its display unit already, with the decimals that suit the unit; "-" when there is none."""
    if not math.isfinite(value):
        return "-"
    return _rounded(value, _DECIMALS.get(display_unit, 3), sign)


def _rounded(value: float, decimals: int, sign: bool) -> str:
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text  # zero has no sign


def difference(value: float, display_unit: str, sign: bool = False) -> str:
    """A deviation or uncertainty as `number` writes it; a small one with a second decimal, so that it is not 0.0."""
    if 0 < abs(value) < 0.1 and _DECIMALS.get(display_unit, 3) == 1:
        return _rounded(value, 2, sign)
    return number(value, display_unit, sign)


def unit_name(display_unit: str) -> str:
    """How a unit is written for people: UCUM writes Cel for the degree Celsius and 1 for no unit."""
    return {"Cel": "°C", "1": ""}.get(display_unit, display_unit)


def quality_name(quality: int) -> str:
    """The severity of an OPC UA StatusCode in words: good, uncertain or bad."""
    return ("good", "uncertain", "bad", "bad")[quality >> 30]


def plant_time(time_ns: int) -> str:
    """A time in the plant, such as "2009-01-23 04:15:00Z"."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def iso_time(time_ns: int) -> str:
    """A time for machines, with all its digits: ISO 8601 and nanoseconds where there are any."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"


def duration(seconds: float) -> str:
    """A span in one unit that reads well: 12 s, 15 min, 6 h."""
    if not math.isfinite(seconds):
        return "-"
    for limit, divisor, name in ((120, 1, "s"), (7200, 60, "min"), (math.inf, 3600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.0f} {name}"
    raise AssertionError("unreachable")


def sparkline(values: Sequence[float] | Floats, width: int = 24, low: float = math.inf) -> str:
    """Values as bars of eight heights, at most `width` of them; a blank where there is no value.

    The lowest bar is the least value, or `low` where that is less.
    """
    column = np.asarray(values, np.float64)
    if len(column) > width:
        column = column[np.linspace(0, len(column) - 1, width).round().astype(int)]
    known = column[np.isfinite(column)]
    if not len(known):
        return ""
    low = min(low, float(known.min()))
    span = float(known.max()) - low
    return "".join(
        " " if not math.isfinite(v) else _BARS[3] if span == 0 else _BARS[round((v - low) / span * 7)] for v in column
    )
