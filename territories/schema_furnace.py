"""Keys of a furnace: its recipe, heat capacities, heating, exhaust and doors."""

from typing import Annotated, Literal

from pydantic import Field

from uem.territories.schema_base import Celsius, Flag, Model, Name, NotNegative, Number, Positive


class Segment(Model):
    """A piece of a recipe: the chamber is led to a temperature, or held there."""

    to_c: Celsius
    duration_s: Annotated[Number, Field(ge=1, le=1e7, allow_inf_nan=False)]
    hold: Annotated[Flag, Field(description="there from the beginning; else linearly over the time")] = False
    cooling: Annotated[Flag, Field(description="by force, as much as `to_c` asks for")] = False


class Furnace(Model):
    """The thermal side of a batch machine; the machine's cycle is its recipe."""

    recipe: Annotated[tuple[Segment, ...], Field(min_length=1)]
    recipes: dict[Name, Annotated[tuple[Segment, ...], Field(min_length=1)]] = Field(
        default={}, description="by product, where it is another one"
    )
    power_kw: Annotated[Positive, Field(description="the most: electricity, or fuel by its lower heating value")]
    heating: Literal["electric", "fuel"] = "electric"
    efficiency: Annotated[Number, Field(gt=0, le=1, description="of it into the chamber, heat of fumes included")] = 1.0
    chamber_kj_per_k: Annotated[Positive, Field(description="what the heating warms at once")]
    lining_kj_per_k: Positive
    lining_w_per_k: Annotated[NotNegative, Field(description="between chamber and lining")]
    wall_w_per_k: Annotated[NotNegative, Field(description="from the lining to the hall")]
    part_kj_per_k: Positive
    part_w_per_k: Annotated[NotNegative, Field(description="between the chamber and one part")]
    carrier_kj_per_k: Annotated[NotNegative, Field(description="baskets that come and go with a batch")] = 0.0
    carrier_w_per_k: NotNegative = 0.0
    brought_c: Annotated[Celsius | None, Field(description="parts as they come in; none: as the hall")] = None
    load_s: Annotated[Number, Field(ge=0, le=1e6, description="door open before the recipe")] = 0.0
    unload_s: Annotated[Number, Field(ge=0, le=1e6, description="and after it")] = 0.0
    door_w_per_k: Annotated[NotNegative, Field(description="from the open chamber to the hall")] = 0.0
    fumes_kg_per_mj: Annotated[NotNegative, Field(description="of fuel; natural gas 0.40")] = 0.0
    exhaust_kj_per_kgk: Annotated[Positive, Field(description="heat capacity of the exhaust")] = 1.1
    vent_kg_s: Annotated[NotNegative, Field(description="air drawn through the chamber")] = 0.0
    recuperated: Annotated[Number, Field(ge=0, lt=1, description="share of the exhaust's heat that comes back")] = 0.0
    cooling_w_per_k: Annotated[NotNegative, Field(description="the most of forced cooling")] = 0.0
    standby_c: Annotated[Celsius | None, Field(description="between batches; none: off")] = None
    hall_c: Celsius = 20.0
    levels_c: Annotated[
        tuple[Celsius, ...], Field(max_length=4, description="above which the heat of the exhaust is counted")
    ] = ()
    scan_s: Annotated[Number, Field(ge=1, le=3600, description="for so long the controller keeps the power")] = 60.0
