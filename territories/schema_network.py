"""What a heat network in a territory file may hold. Units are in the key names; pressures are above atmosphere."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from uem.territories.dimensions import STEEL
from uem.territories.schema_base import (
    MOST_FORECAST_STEPS,
    Celsius,
    Flag,
    ForecastStep,
    Millimetres,
    Model,
    Name,
    NotNegative,
    Number,
    Positive,
    WaterCelsius,
    Whole,
)
from uem.territories.schema_units import AnyUnit

Flow = Annotated[Number, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
Metres = Annotated[Number, Field(ge=-1e8, le=1e8, allow_inf_nan=False)]  # of a position


class Node(Model):
    """A node of a network."""

    name: Name
    kind: Annotated[
        Literal["source", "junction", "consumer", "balance"],
        Field(description="source: water comes in; consumer: it is taken out; balance: takes what is left over"),
    ] = "junction"
    temperature_tag: str = ""
    flow_tag: str = ""
    minimum_flow_kg_s: NotNegative = 0.0
    elevation_m: Annotated[Number, Field(ge=-1000.0, le=9000.0)] = 0.0
    pressure_bar: Annotated[
        Number | None,
        Field(gt=0.0, le=200.0, description="held here: at a source, or by the pressure holding of a closed network"),
    ] = None
    x_m: Annotated[Metres | None, Field(description="east, for drawings")] = None
    y_m: Annotated[Metres | None, Field(description="north, for drawings")] = None
    demand_kg_s: Annotated[Flow, Field(description="taken out while nobody says otherwise; below 0: fed in")] = 0.0
    supply_c: Annotated[WaterCelsius, Field(description="of water that comes in here")] = 20.0

    @model_validator(mode="after")
    def _has_a_whole_position(self) -> Self:
        if (self.x_m is None) != (self.y_m is None):
            raise ValueError("give x_m and y_m together or neither")
        return self


class Insulation(Model):
    """Layers around the wall of a pipe; either soil or an outer film closes them."""

    conductivity_w_mk: Positive
    casing_diameter_mm: Millimetres
    soil_conductivity_w_mk: Positive | None = None
    soil_diameter_mm: Annotated[
        Number | None, Field(ge=1.0, le=100_000.0, description="four times the depth of a buried pipe's axis")
    ] = None
    film_w_m2k: Positive | None = None
    heat_capacity_j_m3k: Annotated[
        NotNegative, Field(description="of the insulation, density times specific heat; 0: it stores no heat")
    ] = 0.0


class PipeClass(Model):
    """Pipes of one make, by `dn` or by diameters; the heat loss by `loss_resistance_mk_w` or by `insulation`.

    `dn` alone is a steel pipe in a series-1 plastic jacket, buried: dimensions.py has the table.
    """

    name: Name
    dn: Annotated[Whole | None, Field(description=f"nominal diameter, one of {', '.join(map(str, STEEL))}")] = None
    inner_diameter_mm: Millimetres | None = None
    outer_diameter_mm: Millimetres | None = None
    wall_density_kg_m3: Positive = 7850.0
    wall_heat_capacity_j_kgk: Positive = 480.0
    loss_resistance_mk_w: Positive | None = None
    insulation: Insulation | None = None
    loss_factor: Annotated[Number, Field(ge=0, le=1000)] = 1.0
    dispersion_factor: Annotated[Number, Field(ge=0, le=1e6)] = 10.0
    roughness_mm: Annotated[Number, Field(ge=0, le=100.0)] = 0.05
    twin_resistance_mk_w: Annotated[
        Positive | None, Field(description="between two pipes of one casing; none: they do not feel each other")
    ] = None

    @field_validator("dn")
    @classmethod
    def _is_a_nominal_diameter(cls, dn: int | None) -> int | None:
        if dn is not None and dn not in STEEL:
            raise ValueError(f"DN {dn} is not in the table; known: {', '.join(map(str, STEEL))}; or give diameters")
        return dn

    @model_validator(mode="after")
    def _has_diameters(self) -> Self:
        given = [key for key in ("inner_diameter_mm", "outer_diameter_mm") if getattr(self, key) is not None]
        if self.dn is None and len(given) < 2:
            raise ValueError("give inner_diameter_mm and outer_diameter_mm, or dn")
        if self.dn is not None and given:
            raise ValueError(f"give either dn or {' and '.join(given)}")
        return self


class Pipe(Model):
    """A pipe between two nodes."""

    name: Name
    start: Name
    end: Name
    length_m: Annotated[Number, Field(ge=0.01, le=200_000.0)]
    pipe_class: Name
    loss_coefficient: Annotated[
        NotNegative, Field(description="sum of the local losses (zeta) of bends, tees and fittings")
    ] = 0.0
    twin: Annotated[str, Field(description="the pipe in the same casing, of the same length")] = ""


class Valve(Model):
    """A valve between two nodes."""

    name: Name
    start: Name
    end: Name
    kind: Annotated[
        Literal["control", "check", "flow"],
        Field(description="flow: pressure independent, holds flow_kg_s as long as the pressure suffices"),
    ] = "control"
    inner_diameter_mm: Millimetres
    loss_coefficient: Annotated[NotNegative, Field(description="zeta when open")] = 0.0
    opening: Annotated[Number, Field(ge=0.0, le=1.0, description="0: closed")] = 1.0
    flow_kg_s: Annotated[Number, Field(ge=0.0, le=1e5)] = 0.0


class Pump(Model):
    """A pump, or equal ones in parallel: head = shutoff_head_m - curve_m_s2_kg2 * flow**2 at nominal speed."""

    name: Name
    start: Name
    end: Name
    shutoff_head_m: Annotated[Number, Field(gt=0, le=10_000.0)]
    curve_m_s2_kg2: NotNegative
    parallel: Annotated[Whole, Field(ge=1, le=100)] = 1
    control: Literal["speed", "pressure", "critical"] = "speed"
    speed: Annotated[Number, Field(ge=0.0, le=10.0, description="of nominal; 0: stands")] = 1.0
    pressure_rise_bar: Annotated[Number, Field(ge=0.0, le=200.0)] = 0.0
    critical_start: Annotated[str, Field(description="node of the supply side that `critical` looks at")] = ""
    critical_end: Annotated[str, Field(description="node of the return side that `critical` looks at")] = ""
    efficiency: Annotated[Number, Field(gt=0.0, le=1.0)] = 0.7


class Mirror(Model):
    """The return line, drawn after the supply line: every node and pipe once more, with `suffix` behind its name.

    A return pipe leads the other way. What stands in the plant and has no partner is named in `exclude`; pipes and
    valves at such nodes have none either. Valves, pumps and units are not mirrored.
    """

    suffix: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9_.-]+$")] = "-return"
    exclude: tuple[Name, ...] = ()
    twin: Annotated[Flag, Field(description="both pipes lie in one casing")] = False
    pipe_class_suffix: Annotated[
        str, Field(max_length=40, description="of the return pipes' classes where they are others")
    ] = ""


class Network(Model):
    """A heat network."""

    name: Name
    title: str = ""
    ambient_temperature_tag: Annotated[str, Field(description="what the pipes lose heat to")] = ""
    outdoor_temperature_tag: Annotated[str, Field(description="the weather of customers, of closed networks")] = ""
    ambient_c: Annotated[Celsius, Field(description="of the ambient while no tag or nobody says otherwise")] = 10.0
    step_s: Annotated[Number, Field(ge=0.1, le=3600)] = 60.0
    forecast_horizon_s: Annotated[Number, Field(gt=0, le=86_400, validate_default=True)] = 6 * 3600.0
    forecast_step_s: ForecastStep = 900.0
    mirror: Mirror | None = None
    nodes: list[Node]
    pipe_classes: list[PipeClass]
    pipes: list[Pipe]
    valves: tuple[Valve, ...] = ()
    pumps: tuple[Pump, ...] = ()
    units: tuple[AnyUnit, ...] = ()

    @field_validator("forecast_horizon_s")
    @classmethod
    def _is_computed_in_time(cls, horizon_s: float, info: ValidationInfo) -> float:
        step_s = info.data.get("step_s")
        if step_s is not None and horizon_s / step_s > MOST_FORECAST_STEPS:
            raise ValueError(
                f"at most {MOST_FORECAST_STEPS} steps of step_s {step_s:g} are possible, not {horizon_s / step_s:.6g}"
            )
        return horizon_s
