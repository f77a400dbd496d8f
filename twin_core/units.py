"""Units at the borders. Inside everything is SI: K, Pa, kg/s, W, J, s.

`to_si` and `from_si` are affine: si = scale * value + offset. Unit names follow UCUM where UCUM has one.
"""

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import UnknownName

ZERO_CELSIUS_K = 273.15


@dataclass(frozen=True, slots=True)
class Unit:
    """How a unit maps to its SI unit: si = scale * value + offset."""

    si: str
    scale: float
    offset: float = 0.0


UNITS: dict[str, Unit] = {
    "K": Unit("K", 1.0),
    "Cel": Unit("K", 1.0, ZERO_CELSIUS_K),
    "Pa": Unit("Pa", 1.0),
    "kPa": Unit("Pa", 1e3),
    "bar": Unit("Pa", 1e5),
    "kg/s": Unit("kg/s", 1.0),
    "kg/h": Unit("kg/s", 1.0 / 3600.0),
    "t/h": Unit("kg/s", 1.0 / 3.6),
    "W": Unit("W", 1.0),
    "kW": Unit("W", 1e3),
    "MW": Unit("W", 1e6),
    "J": Unit("J", 1.0),
    "kJ": Unit("J", 1e3),
    "kWh": Unit("J", 3.6e6),
    "MWh": Unit("J", 3.6e9),
    "s": Unit("s", 1.0),
    "min": Unit("s", 60.0),
    "h": Unit("s", 3600.0),
    "m": Unit("m", 1.0),
    "mm": Unit("m", 1e-3),
    "km": Unit("m", 1e3),
    "m3": Unit("m3", 1.0),
    "1": Unit("1", 1.0),
    "%": Unit("1", 0.01),
    "1/s": Unit("1/s", 1.0),
    "1/h": Unit("1/s", 1.0 / 3600.0),
}


def unit(name: str) -> Unit:
    """The unit called `name`; UnknownName lists the known ones."""
    try:
        return UNITS[name]
    except KeyError:
        raise UnknownName("unit", name, UNITS) from None


@overload
def to_si(value: float, name: str) -> float: ...
@overload
def to_si(value: NDArray[np.float64], name: str) -> NDArray[np.float64]: ...
def to_si(value: float | NDArray[np.float64], name: str) -> float | NDArray[np.float64]:
    """Convert from the unit `name` to SI."""
    u = unit(name)
    return value * u.scale + u.offset


@overload
def from_si(value: float, name: str) -> float: ...
@overload
def from_si(value: NDArray[np.float64], name: str) -> NDArray[np.float64]: ...
def from_si(value: float | NDArray[np.float64], name: str) -> float | NDArray[np.float64]:
    """Convert from SI to the unit `name`."""
    u = unit(name)
    return (value - u.offset) / u.scale
