"""Keys of the units of a plant, made from the dataclasses of the core, so that no unit is described twice.

A unit's `kind` is its class name in small letters: HeatPump is `heat_pump`. Keys carry the units that engineers write:
bar for Pa, degC for K, kW for W, mm for diameters; differences of temperature stay in K.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pydantic

from uem.territories.schema_base import Flag, Model, Name, Number, Whole
from uem.twin_core.plant import units as plant_units
from uem.twin_core.plant.units import Unit
from uem.twin_core.units import ZERO_CELSIUS_K


@dataclass(frozen=True, slots=True)
class _Scale:
    """si = scale * value in the file + offset."""

    si_suffix: str
    suffix: str
    scale: float
    offset: float = 0.0

    def key(self, name: str) -> str:
        return name.removesuffix(self.si_suffix) + self.suffix

    def to_si(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple(self.to_si(v) for v in value)
        return value * self.scale + self.offset if isinstance(value, (int, float)) else value

    def from_si(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self.from_si(v) for v in value]
        if not isinstance(value, (int, float)):
            return value
        return float(f"{(value - self.offset) / self.scale:.12g}")


# The first that fits; what no line fits stands in the file as in the core.
_SCALES = (
    _Scale("_temp_k", "_temp_c", 1.0, ZERO_CELSIUS_K),
    _Scale("_temperature_k", "_temperature_c", 1.0, ZERO_CELSIUS_K),
    _Scale("_diameter_m", "_diameter_mm", 1e-3),
    _Scale("_pa", "_bar", 1e5),
    _Scale("_w_k", "_kw_k", 1e3),
    _Scale("_w_s", "_kw_min", 1e3 / 60.0),
    _Scale("_j_k", "_kwh_k", 3.6e6),
    _Scale("_w", "_kw", 1e3),
    _Scale("_j", "_kwh", 3.6e6),
)


def unit_kinds() -> dict[str, type[Unit]]:
    """Every kind of unit by the name that files use."""
    found = [cls for cls in vars(plant_units).values() if isinstance(cls, type) and issubclass(cls, Unit)]
    bases = {base for cls in found for base in cls.__mro__[1:]}
    return {_snake(cls.__name__): cls for cls in found if cls not in bases}


def kind_of(unit: Unit) -> str:
    """The name that files use for the kind of a unit."""
    return _snake(type(unit).__name__)


def build_unit(table: pydantic.BaseModel) -> Unit:
    """The unit of the core that a checked table describes; InvalidTerritory when its keys do not fit together."""
    cls = unit_kinds()[getattr(table, "kind")]  # noqa: B009 - the models are made at run time
    made: Unit = _built(cls, table)
    return made


def unit_table(unit: Unit) -> dict[str, Any]:
    """A unit as a table of a file, without what is as by default."""
    return {"kind": kind_of(unit)} | _table(unit)


def file_keys() -> dict[str, str]:
    """Keys of the core that are written otherwise in files, with what they are there."""
    things = [*unit_kinds().values(), *_parts_of_units()]
    return {field.name: key for thing in things for field, key, _, _ in _plan(thing) if key != field.name}


def in_files(key: str, value: Any) -> Any:
    """A value of a key of the core in the unit that files use."""
    scale = _scale_of(key)
    return scale.from_si(value) if scale else value


def _scale_of(key: str) -> _Scale | None:
    return next((s for s in _SCALES if key.endswith(s.si_suffix)), None)


def _parts_of_units() -> Iterator[type]:
    for cls in unit_kinds().values():
        for _, _, _, annotation in _plan(cls):
            if (inner := _inner(annotation)) is not None:
                yield inner


def _built(cls: type, table: pydantic.BaseModel) -> Any:
    values = {}
    for field, key, scale, annotation in _plan(cls):
        value = getattr(table, key)
        if value is None and field.default == math.inf:
            value = math.inf
        values[field.name] = _value(value, scale, annotation)
    return cls(**values)


def _value(value: Any, scale: _Scale | None, annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation(value)
    if isinstance(value, pydantic.BaseModel):
        return _built(_inner(annotation), value)
    if isinstance(value, (list, tuple)):
        inner = _inner(annotation)
        if inner is not None:
            return tuple(_built(inner, item) for item in value)
        value = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return scale.to_si(value) if scale else value


def _table(thing: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, key, scale, _ in _plan(type(thing)):
        value = getattr(thing, field.name)
        if field.default is MISSING or value != field.default:
            found[key] = _shown(value, scale)
    return found


def _shown(value: Any, scale: _Scale | None) -> Any:
    if is_dataclass(value):
        return _table(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_shown(item, scale) for item in value]
    return scale.from_si(value) if scale else value


def _plan(cls: type) -> Iterator[tuple[Field[Any], str, _Scale | None, Any]]:
    """Per field: the field, its key in files, how it is converted, its type."""
    hints = get_type_hints(cls)
    for field in fields(cls):
        scale = _scale_of(field.name)
        key = scale.key(field.name) if scale else field.name
        if key == "kind":  # that is what kind of unit it is
            key = f"{_snake(cls.__name__)}_kind"
        yield field, key, scale, hints[field.name]


def _model(cls: type, kind: str = "") -> type[Model]:
    """The table of a dataclass: its keys with the units of files, its defaults and its docstring."""
    made: dict[str, Any] = {"kind": (Literal[kind], ...)} if kind else {}
    for field, key, scale, annotation in _plan(cls):
        allowed: Any = _file_type(annotation)
        default: Any = ...
        if field.default == math.inf:  # JSON has no such number
            allowed, default = Annotated[allowed | None, pydantic.Field(description="none: no limit")], None
        elif field.default is not MISSING:
            default = _shown(field.default, scale)
        if kind and field.name in ("name", "start", "end"):
            allowed = Name
        made[key] = (allowed, default)
    text = re.sub(r"\s+", " ", (cls.__doc__ or "").strip())
    return pydantic.create_model(cls.__name__, __base__=Model, __doc__=text, **made)


def _file_type(annotation: Any) -> Any:
    """The type of a key: dataclasses as tables, numbers finite."""
    if annotation is float:
        return Annotated[Number, pydantic.Field(allow_inf_nan=False)]
    if annotation in (int, bool):
        return Whole if annotation is int else Flag
    if is_dataclass(annotation) and isinstance(annotation, type):
        return _model(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return Union[tuple(_file_type(a) for a in arguments)]  # noqa: UP007 - made at run time
    if origin is tuple:
        inner = tuple(a if a is Ellipsis else _file_type(a) for a in arguments)
        return list[inner[0]] if len(inner) == 2 and inner[1] is Ellipsis else tuple[inner]  # type: ignore[valid-type]
    return annotation


def _inner(annotation: Any) -> Any:
    """The dataclass in an annotation such as `Curve | None` or `tuple[Layer, ...]`."""
    if is_dataclass(annotation):
        return annotation
    return next((found for a in get_args(annotation) if a is not NoneType and (found := _inner(a))), None)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


if TYPE_CHECKING:
    AnyUnit = pydantic.BaseModel
else:
    _UNITS = Union[tuple(_model(cls, kind) for kind, cls in unit_kinds().items())]  # noqa: UP007 - made at run time
    AnyUnit = Annotated[_UNITS, pydantic.Field(discriminator="kind")]
