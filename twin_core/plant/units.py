"""Units of an energy plant and its customers: what takes water in at one node and gives it back at another.

A unit leads from node `start` to node `end`. Consumers lead from a supply node to a return node, producers from return
to supply, a storage tank from the return (its bottom) to the supply (its top). What a unit does in a step, with
equations and sources: docs/models/units.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from uem.twin_core.plant.problem import Problem

LOWEST_WATER_K = 273.15
HIGHEST_WATER_K = 423.15
MOST_LAYERS = 64
MOST_TABLE_POINTS = 8
MOST_CURVE_POINTS = 8


class FlowControl(StrEnum):
    """What decides over the flow through a unit."""

    THROTTLED = "throttled"  # a control valve holds the wanted flow as long as the pressure suffices
    PUMPED = "pumped"  # an own pump holds the wanted flow whatever the pressures
    FREE = "free"  # a resistance: the flow is what the pressures make of it


class Fuel(StrEnum):
    """What is burnt."""

    GAS = "gas"
    WOOD = "wood"
    OIL = "oil"
    WASTE = "waste"


class HeatDemand(StrEnum):
    """Where a substation's space heating demand comes from."""

    OUTDOOR = "outdoor"  # a straight line on the outdoor temperature
    COMMAND = "command"  # `heating_w` is given from outside
    BUILDING = "building"  # a thermostat in its building


class ChpKind(StrEnum):
    """How a plant makes electricity and heat."""

    BACK_PRESSURE = "back_pressure"  # all steam or exhaust heat goes to the network: electricity follows heat
    EXTRACTION = "extraction"  # steam is extracted before the condenser: electricity is free within limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What every unit has. Throttled or free, its resistance is nominal_pressure_drop_pa / nominal_flow_kg_s**2."""

    name: str
    start: str
    end: str
    flow_control: FlowControl = FlowControl.FREE
    nominal_flow_kg_s: float = 0.0  # 0: pumped, or known from the rating of a substation
    nominal_pressure_drop_pa: float = 2e4

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from _not_negative(self, "nominal_flow_kg_s")
        yield from _positive(self, "nominal_pressure_drop_pa")
        if self.flow_control is not FlowControl.PUMPED and self.needs_nominal_flow and self.nominal_flow_kg_s == 0:
            yield Problem.of(self, "nominal_flow_kg_s: 0 must be positive for flow control {flow_control}")

    @property
    def needs_nominal_flow(self) -> bool:
        """Whether a resistance needs `nominal_flow_kg_s`, because nothing else says how large the unit is."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatSource(Unit):
    """An ideal producer: warms water to `supply_temp_k` as far as its power goes, and never cools it.

    Pumped, it holds the flow that carries `heat_w` away at `supply_temp_k`.
    """

    supply_temp_k: float
    heat_limit_w: float = math.inf
    heat_w: float = 0.0  # what a pumped one gives, at the beginning
    smallest_rise_k: float = 10.0  # pumped: what its pump is made for; with less of a rise it gives less heat

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        yield from _water(self, "supply_temp_k")
        yield from _not_negative(self, "heat_w")
        yield from _between(self, 2.0, 100.0, "smallest_rise_k")
        if not self.heat_limit_w >= 0:
            yield Problem.of(self, "heat_limit_w: {heat_limit_w} must not be negative")
        yield from _not_throttled(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatLoad(Unit):
    """A prescribed consumer: two of heat, flow, temperature drop and return temperature; the others follow.

    It never takes more heat than that: where more water comes than wanted, the drop is smaller.
    """

    flow_control: FlowControl = FlowControl.THROTTLED
    nominal_pressure_drop_pa: float = 5e4
    heat_w: float | None = None
    flow_kg_s: float | None = None
    temperature_drop_k: float | None = None
    return_temp_k: float | None = None
    minimum_flow_kg_s: float = 0.0  # a bypass that keeps the service pipe warm
    maximum_flow_kg_s: float = math.inf
    lowest_return_temp_k: float = 278.15  # below, heat is left undelivered rather than water frozen

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        keys = ("heat_w", "flow_kg_s", "temperature_drop_k", "return_temp_k")
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) != 2 or given == ["temperature_drop_k", "return_temp_k"]:
            yield Problem(
                f"heat_w: {', '.join(given) or 'nothing'} given; a heat load needs two of heat_w, flow_kg_s and one of "
                "temperature_drop_k, return_temp_k"
            )
        yield from _not_negative(self, *(key for key in given if key != "return_temp_k"))
        if self.temperature_drop_k == 0 and self.heat_w is not None:
            yield Problem("temperature_drop_k: 0 must be positive where heat_w is given")
        if self.return_temp_k is not None:
            yield from _water(self, "return_temp_k")
        yield from _water(self, "lowest_return_temp_k")
        yield from _flow_limits(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """A building of two or three nodes: room air with furniture, outer walls, and inner masses if there are any.

    Air gives heat to the outdoors (windows, ventilation), to the walls and the inner masses; walls give it to the
    outdoors. Heating and internal gains enter the air, the sun the inner masses (the air where there are none).
    """

    air_capacity_j_k: float
    wall_capacity_j_k: float
    mass_capacity_j_k: float = 0.0  # 0: two nodes
    outdoor_w_k: float  # air to outdoors: windows, ventilation, infiltration
    wall_inside_w_k: float
    wall_outside_w_k: float
    mass_w_k: float = 0.0
    solar_area_m2: float = 0.0  # irradiance on it becomes heat inside: window area, transmission and shading
    internal_gains_w: float = 0.0
    room_temp_k: float = 293.15  # what the thermostat holds
    thermostat_horizon_s: float = 3600.0  # the thermostat asks for what brings the room there in this time

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from _positive(
            self,
            "air_capacity_j_k",
            "wall_capacity_j_k",
            "wall_inside_w_k",
            "wall_outside_w_k",
            "thermostat_horizon_s",
        )
        yield from _not_negative(
            self, "mass_capacity_j_k", "mass_w_k", "outdoor_w_k", "solar_area_m2", "internal_gains_w"
        )
        yield from _between(self, 273.15, 323.15, "room_temp_k")
        if (self.mass_capacity_j_k > 0) != (self.mass_w_k > 0):
            yield Problem.of(
                self,
                "mass_w_k: {mass_w_k} and mass_capacity_j_k {mass_capacity_j_k}: "
                "inner masses need both, none needs neither",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Substation(Unit):
    """A customer's station: space heating and domestic hot water, each behind an exchanger in counterflow, in parallel.

    Temperatures of the rating say how large the exchangers are. The heating curve sets the secondary supply
    temperature: `secondary_supply_temp_k` at `design_outdoor_temp_k`, falling linearly to `secondary_lowest_temp_k`
    at `heating_limit_temp_k`.
    """

    flow_control: FlowControl = FlowControl.THROTTLED
    nominal_pressure_drop_pa: float = 5e4
    nominal_heat_w: float  # space heating at design_outdoor_temp_k
    primary_supply_temp_k: float = 363.15  # rating of the space heating exchanger
    primary_return_temp_k: float = 323.15
    secondary_supply_temp_k: float = 343.15
    secondary_return_temp_k: float = 318.15
    secondary_lowest_temp_k: float = 308.15
    design_outdoor_temp_k: float = 263.15
    heating_limit_temp_k: float = 288.15  # no space heating above
    room_temp_k: float = 293.15
    radiator_exponent: float = 1.3  # EN 442: 1.3 radiators, 1.1 floor heating
    nominal_hot_water_w: float = 0.0  # 0: no hot water
    hot_water_primary_supply_temp_k: float = 338.15  # rating of the hot water exchanger
    hot_water_primary_return_temp_k: float = 298.15
    hot_water_temp_k: float = 328.15
    cold_water_temp_k: float = 283.15
    fouling: float = 0.0  # added resistance, as a part of the clean exchanger's at its rating; calibratable
    minimum_flow_kg_s: float = 0.0  # a bypass that keeps the service pipe warm
    maximum_flow_kg_s: float = 0.0  # 0: 1.5 times what the rating needs
    demand: HeatDemand = HeatDemand.OUTDOOR
    outdoor_temp_k: float = 273.15  # at the beginning, as long as nobody tells
    heating_w: float = 0.0  # at the beginning, for demand COMMAND
    hot_water_w: float = 0.0  # at the beginning
    building: Building | None = None

    @property
    def needs_nominal_flow(self) -> bool:
        """The rating says what flow it takes."""
        return False

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        yield from _positive(self, "nominal_heat_w", "radiator_exponent")
        yield from _not_negative(self, "nominal_hot_water_w", "fouling", "heating_w", "hot_water_w")
        yield from _water(
            self,
            "primary_supply_temp_k",
            "primary_return_temp_k",
            "secondary_supply_temp_k",
            "secondary_return_temp_k",
            "secondary_lowest_temp_k",
            "hot_water_primary_supply_temp_k",
            "hot_water_primary_return_temp_k",
            "hot_water_temp_k",
            "cold_water_temp_k",
        )
        yield from _between(self, 173.15, 333.15, "design_outdoor_temp_k", "heating_limit_temp_k", "outdoor_temp_k")
        yield from _between(self, 273.15, 323.15, "room_temp_k")
        yield from _rising(self, "primary_return_temp_k", "primary_supply_temp_k")
        yield from _rising(self, "room_temp_k", "secondary_return_temp_k", "secondary_supply_temp_k")
        yield from _rising(self, "secondary_supply_temp_k", "primary_supply_temp_k")
        yield from _rising(self, "secondary_return_temp_k", "primary_return_temp_k")
        yield from _rising(self, "room_temp_k", "secondary_lowest_temp_k")
        yield from _rising(self, "design_outdoor_temp_k", "heating_limit_temp_k")
        yield from _rising(
            self, "cold_water_temp_k", "hot_water_primary_return_temp_k", "hot_water_primary_supply_temp_k"
        )
        yield from _rising(self, "cold_water_temp_k", "hot_water_temp_k", "hot_water_primary_supply_temp_k")
        if self.secondary_lowest_temp_k > self.secondary_supply_temp_k:
            yield Problem.of(
                self,
                "secondary_lowest_temp_k: {secondary_lowest_temp_k} must not exceed secondary_supply_temp_k "
                "{secondary_supply_temp_k}",
            )
        if self.hot_water_w > 0 and self.nominal_hot_water_w == 0:
            yield Problem.of(self, "hot_water_w: {hot_water_w} needs a hot water exchanger: nominal_hot_water_w")
        yield from _not_negative(self, "minimum_flow_kg_s", "maximum_flow_kg_s")
        if 0 < self.maximum_flow_kg_s < self.minimum_flow_kg_s:
            yield Problem.of(
                self, "minimum_flow_kg_s: {minimum_flow_kg_s} must not exceed maximum_flow_kg_s {maximum_flow_kg_s}"
            )
        if (self.demand is HeatDemand.BUILDING) != (self.building is not None):
            yield Problem.of(self, "demand: {demand}; demand building and a building go together")
        if self.building is not None:
            yield from (problem.below("building") for problem in self.building.problems())


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer(Unit):
    """What producers with a power to be commanded have in common.

    A free one warms what comes to `supply_temp_k`, a pumped one holds the flow that carries its commanded heat away at
    that temperature. Between `minimum_heat_w` and `nominal_heat_w` its heat follows no faster than `ramp_w_s`.
    """

    nominal_heat_w: float
    minimum_heat_w: float = 0.0  # smallest that it can hold
    ramp_w_s: float = math.inf
    start_up_s: float = 0.0  # from the command to the first heat
    start_up_fuel_j: float = 0.0  # used up by a start (a heat pump: electricity)
    cycling: bool = True  # below minimum_heat_w it runs for a part of the time; False: it stops
    supply_temp_k: float = 363.15  # at the beginning
    highest_temp_k: float = 393.15  # of the water: its heat is cut here
    on: bool = True  # at the beginning
    heat_w: float | None = None  # commanded at the beginning; None: nominal_heat_w
    smallest_rise_k: float = 10.0  # pumped: what its pump is made for; with less of a rise it gives less heat

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        yield from _not_throttled(self)
        yield from _positive(self, "nominal_heat_w")
        yield from _not_negative(self, "minimum_heat_w", "start_up_s", "start_up_fuel_j")
        yield from _water(self, "supply_temp_k", "highest_temp_k")
        yield from _between(self, 2.0, 100.0, "smallest_rise_k")
        if not self.ramp_w_s > 0:
            yield Problem.of(self, "ramp_w_s: {ramp_w_s} must be positive")
        if self.minimum_heat_w > self.nominal_heat_w:
            yield Problem.of(self, "minimum_heat_w: {minimum_heat_w} must not exceed nominal_heat_w {nominal_heat_w}")
        if self.supply_temp_k > self.highest_temp_k:
            yield Problem.of(self, "supply_temp_k: {supply_temp_k} must not exceed highest_temp_k {highest_temp_k}")
        if self.heat_w is not None:
            yield from _between(self, 0.0, self.nominal_heat_w, "heat_w")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatOnlyBoiler(Producer):
    """A boiler. Efficiency on the lower heating value, linear between points (load, efficiency) of `efficiency`."""

    fuel: Fuel = Fuel.GAS
    efficiency: tuple[tuple[float, float], ...] = ((0.2, 0.90), (1.0, 0.93))
    standby_loss_w: float = 0.0  # fuel that keeps it hot while it is on and gives nothing
    auxiliary_w: float = 0.0  # electricity at nominal heat (fans, feed), in proportion to heat

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Producer.problems(self)
        yield from _not_negative(self, "standby_loss_w", "auxiliary_w")
        yield from _curve_problems("efficiency", self.efficiency, highest=1.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chp(Producer):
    """Combined heat and power: an engine or turbine whose heat goes to the network."""

    kind: ChpKind = ChpKind.BACK_PRESSURE
    fuel: Fuel = Fuel.GAS
    power_to_heat: float = 0.8  # electricity per heat in back pressure, at nominal heat
    power_to_heat_minimum: float | None = None  # the same at minimum_heat_w, linear between; None: as at nominal heat
    total_efficiency: float = 0.88  # back pressure: (electricity + heat) / fuel
    electric_efficiency: float = 0.40  # extraction: electricity / fuel with no heat taken
    power_loss: float = 0.15  # extraction: electricity lost per heat taken
    nominal_electricity_w: float = 0.0  # extraction: with no heat taken
    minimum_electricity_w: float = 0.0  # extraction: with no heat taken
    electricity_w: float = 0.0  # extraction: commanded at the beginning; the limits come first

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Producer.problems(self)
        yield from _positive(self, "power_to_heat")
        yield from _between(self, 0.05, 1.1, "total_efficiency")
        yield from _between(self, 0.01, 0.9, "electric_efficiency")
        yield from _between(self, 0.0, 0.9, "power_loss")
        yield from _not_negative(self, "nominal_electricity_w", "minimum_electricity_w", "electricity_w")
        if self.power_to_heat_minimum is not None:
            yield from _not_negative(self, "power_to_heat_minimum")
        if self.kind is ChpKind.EXTRACTION:
            least = (self.power_to_heat + self.power_loss) * self.nominal_heat_w
            if self.nominal_electricity_w < least:
                text = (
                    "nominal_electricity_w: {nominal_electricity_w} must be at least {least:g}, what full "
                    "extraction needs: (power_to_heat + power_loss) * nominal_heat_w"
                )
                yield Problem.of(self, text, least=("nominal_electricity_w", least))
            if self.minimum_electricity_w > self.nominal_electricity_w:
                yield Problem.of(
                    self,
                    "minimum_electricity_w: {minimum_electricity_w} must not exceed nominal_electricity_w "
                    "{nominal_electricity_w}",
                )
            # First law: what is not electricity must cover the heat.
            if (1.0 + self.power_to_heat) * self.electric_efficiency > self.power_to_heat + self.power_loss:
                yield Problem.of(
                    self,
                    "power_loss: with power_to_heat, it must leave at least as much fuel as electricity and heat at "
                    "full extraction: electric_efficiency {electric_efficiency} is too high",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class WasteIncinerator(Unit):
    """An incinerator that must run: its heat follows the waste; what the network does not take is dumped."""

    nominal_waste_kg_s: float
    heating_value_j_kg: float = 10e6
    heat_efficiency: float = 0.60  # to the water
    electric_efficiency: float = 0.15
    lag_s: float = 600.0  # from the feed to the steam
    supply_temp_k: float = 383.15  # at the beginning
    highest_temp_k: float = 393.15
    waste_kg_s: float | None = None  # at the beginning; None: nominal
    smallest_rise_k: float = 10.0  # pumped: what its pump is made for; with less of a rise it gives less heat

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        yield from _not_throttled(self)
        yield from _positive(self, "nominal_waste_kg_s", "heating_value_j_kg")
        yield from _not_negative(self, "lag_s")
        yield from _between(self, 2.0, 100.0, "smallest_rise_k")
        yield from _between(self, 0.0, 1.0, "heat_efficiency", "electric_efficiency")
        if self.heat_efficiency + self.electric_efficiency > 1:
            yield Problem.of(
                self,
                "heat_efficiency: {heat_efficiency} and electric_efficiency {electric_efficiency} "
                "must not exceed 1 together",
            )
        yield from _water(self, "supply_temp_k", "highest_temp_k")
        if self.supply_temp_k > self.highest_temp_k:
            yield Problem.of(self, "supply_temp_k: {supply_temp_k} must not exceed highest_temp_k {highest_temp_k}")
        if self.waste_kg_s is not None:
            yield from _between(self, 0.0, self.nominal_waste_kg_s, "waste_kg_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPump(Producer):
    """A compression heat pump between a source stream and the network.

    Its coefficient of performance is a part of Carnot's, or a table over source inlet and water outlet temperature.
    """

    start_up_fuel_j: float = 0.0
    carnot_fraction: float = 0.5
    pinch_k: float = 3.0  # between refrigerant and water, at both ends
    highest_cop: float = 12.0
    electric_limit_w: float = math.inf
    source_temp_k: float = 283.15  # at the beginning
    source_flow_kg_s: float  # at the beginning
    source_heat_capacity_j_kgk: float = 4184.0  # air: 1006
    lowest_source_temp_k: float = 275.15  # the source is not cooled below
    table_source_temp_k: tuple[float, ...] = ()  # empty: Carnot
    table_outlet_temp_k: tuple[float, ...] = ()
    table_cop: tuple[tuple[float, ...], ...] = ()  # a row per source temperature

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Producer.problems(self)
        yield from _between(self, 0.01, 1.0, "carnot_fraction")
        yield from _not_negative(self, "pinch_k", "source_flow_kg_s")
        yield from _positive(self, "source_heat_capacity_j_kgk")
        yield from _between(self, 1.0, 100.0, "highest_cop")
        yield from _between(self, 223.15, 423.15, "source_temp_k", "lowest_source_temp_k")
        if not self.electric_limit_w >= 0:
            yield Problem.of(self, "electric_limit_w: {electric_limit_w} must not be negative")
        yield from self._table_problems()

    def _table_problems(self) -> Iterator[Problem]:
        axes = {"table_source_temp_k": self.table_source_temp_k, "table_outlet_temp_k": self.table_outlet_temp_k}
        if not any(axes.values()) and not self.table_cop:
            return
        for key, axis in axes.items():
            rising = all(a < b for a, b in pairwise(axis))
            if not (2 <= len(axis) <= MOST_TABLE_POINTS and rising and all(math.isfinite(t) for t in axis)):
                text = f"{key}: {{axis}} must be 2 to {MOST_TABLE_POINTS} rising temperatures"
                yield Problem(text, {"axis": (key, list(axis))})
        rows = len(self.table_source_temp_k)
        columns = len(self.table_outlet_temp_k)
        if len(self.table_cop) != rows or any(len(row) != columns for row in self.table_cop):
            yield Problem(f"table_cop: must be {rows} rows of {columns}, a row per source temperature")
        if not all(1.0 <= cop <= 100.0 for row in self.table_cop for cop in row):
            yield Problem("table_cop: every coefficient of performance must be from 1 to 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class WasteHeatExchanger(Unit):
    """A counterflow exchanger that takes heat from an industrial stream (flue gas, cooling water), with a bypass.

    The bypass holds the water at most at `supply_temp_k` and the stream at least at `lowest_stream_temp_k`, which for
    flue gas is above its acid dew point: condensation is left out.
    """

    ua_w_k: float  # at the nominal flows
    nominal_water_flow_kg_s: float
    nominal_stream_flow_kg_s: float
    stream_heat_capacity_j_kgk: float = 4184.0  # flue gas: about 1100
    stream_flow_kg_s: float | None = None  # at the beginning; None: nominal
    stream_temp_k: float
    lowest_stream_temp_k: float = 274.15
    fouling: float = 0.0  # added resistance, as a part of the clean exchanger's; calibratable
    supply_temp_k: float = 363.15  # at the beginning
    minimum_flow_kg_s: float = 0.0  # of the water, pumped
    maximum_flow_kg_s: float = 0.0  # 0: 1.5 times nominal_water_flow_kg_s

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        yield from _not_throttled(self)
        yield from _positive(
            self, "ua_w_k", "nominal_water_flow_kg_s", "nominal_stream_flow_kg_s", "stream_heat_capacity_j_kgk"
        )
        yield from _not_negative(self, "fouling", "minimum_flow_kg_s", "maximum_flow_kg_s")
        yield from _water(self, "supply_temp_k")
        yield from _between(self, 223.15, 1773.15, "stream_temp_k", "lowest_stream_temp_k")
        if self.stream_flow_kg_s is not None:
            yield from _not_negative(self, "stream_flow_kg_s")
        if 0 < self.maximum_flow_kg_s < self.minimum_flow_kg_s:
            yield Problem.of(
                self, "minimum_flow_kg_s: {minimum_flow_kg_s} must not exceed maximum_flow_kg_s {maximum_flow_kg_s}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageTank(Unit):
    """A stratified tank: `start` is its bottom port, `end` its top port. Flow from start to end discharges it."""

    flow_control: FlowControl = FlowControl.PUMPED
    volume_m3: float
    height_m: float
    layers: int = 24
    loss_w_m2k: float = 0.3  # of the whole surface
    conductivity_w_mk: float = 1.0  # vertical: water and wall, and the mixing that stratified tanks show
    room_temp_k: float = 283.15  # around it, at the beginning
    top_temp_k: float = 363.15  # in the upper half at the beginning
    bottom_temp_k: float = 323.15  # in the lower half
    flow_kg_s: float = 0.0  # at the beginning: positive discharges, negative charges
    maximum_flow_kg_s: float = math.inf
    lowest_discharge_temp_k: float = 273.15  # a colder top is not discharged
    highest_charge_temp_k: float = 423.15  # with a hotter bottom it is full

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        yield from _not_throttled(self)
        yield from _positive(self, "volume_m3", "height_m")
        yield from _not_negative(self, "loss_w_m2k", "conductivity_w_mk")
        if not 2 <= self.layers <= MOST_LAYERS:
            yield Problem(f"layers: {self.layers} must be from 2 to {MOST_LAYERS}")
        yield from _water(self, "top_temp_k", "bottom_temp_k", "lowest_discharge_temp_k", "highest_charge_temp_k")
        yield from _between(self, 173.15, 423.15, "room_temp_k")
        if self.bottom_temp_k > self.top_temp_k:
            yield Problem.of(self, "bottom_temp_k: {bottom_temp_k} must not exceed top_temp_k {top_temp_k}")
        if not math.isfinite(self.flow_kg_s):
            yield Problem.of(self, "flow_kg_s: {flow_kg_s} must be a number")
        if not self.maximum_flow_kg_s > 0:
            yield Problem.of(self, "maximum_flow_kg_s: {maximum_flow_kg_s} must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpCooler(Unit):
    """An air cooler that rejects heat so that water leaves no hotter than `outlet_temp_k`, as far as it can."""

    nominal_heat_w: float  # at nominal_water_temp_k, nominal_air_temp_k, nominal_flow_kg_s and full fan speed
    nominal_water_temp_k: float = 353.15
    nominal_air_temp_k: float = 303.15
    nominal_air_rise_k: float = 20.0
    fan_w: float = 0.0  # electricity at full speed; goes with the cube of the air flow
    outlet_temp_k: float = 333.15  # at the beginning
    air_temp_k: float = 293.15  # at the beginning
    on: bool = True  # at the beginning

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with it, each beginning with the key."""
        yield from Unit.problems(self)
        yield from _not_throttled(self)
        yield from _positive(self, "nominal_heat_w", "nominal_flow_kg_s", "nominal_air_rise_k")
        yield from _not_negative(self, "fan_w")
        yield from _water(self, "nominal_water_temp_k", "outlet_temp_k")
        yield from _between(self, 223.15, 333.15, "nominal_air_temp_k", "air_temp_k")
        yield from _rising(self, "nominal_air_temp_k", "nominal_water_temp_k")
        if self.nominal_air_temp_k + self.nominal_air_rise_k >= self.nominal_water_temp_k:
            yield Problem.of(
                self, "nominal_air_rise_k: {nominal_air_rise_k} would bring air above nominal_water_temp_k"
            )


def _positive(thing: Unit | Building, *keys: str) -> Iterator[Problem]:
    for key in keys:
        value = getattr(thing, key)
        if not (math.isfinite(value) and value > 0):
            yield Problem.of(thing, f"{key}: {{{key}}} must be positive")


def _not_negative(thing: Unit | Building, *keys: str) -> Iterator[Problem]:
    for key in keys:
        value = getattr(thing, key)
        if not (math.isfinite(value) and value >= 0):
            yield Problem.of(thing, f"{key}: {{{key}}} must not be negative")


def _between(thing: Unit | Building, low: float, high: float, *keys: str) -> Iterator[Problem]:
    for key in keys:
        value = getattr(thing, key)
        if not low <= value <= high:
            text = f"{key}: {{{key}}} must be from {{low:g}} to {{high:g}}"
            yield Problem.of(thing, text, low=(key, low), high=(key, high))


def _water(thing: Unit | Building, *keys: str) -> Iterator[Problem]:
    yield from _between(thing, LOWEST_WATER_K, HIGHEST_WATER_K, *keys)


def _rising(thing: Unit | Building, *keys: str) -> Iterator[Problem]:
    for low, high in pairwise(keys):
        if not getattr(thing, low) < getattr(thing, high):
            yield Problem.of(thing, f"{low}: {{{low}}} must be below {high} {{{high}}}")


def _flow_limits(unit: HeatLoad) -> Iterator[Problem]:
    yield from _not_negative(unit, "minimum_flow_kg_s")
    if not unit.maximum_flow_kg_s >= unit.minimum_flow_kg_s:
        yield Problem.of(
            unit, "maximum_flow_kg_s: {maximum_flow_kg_s} must not be below minimum_flow_kg_s {minimum_flow_kg_s}"
        )


def _not_throttled(unit: Unit) -> Iterator[Problem]:
    if unit.flow_control is FlowControl.THROTTLED:
        yield Problem("flow_control: throttled is for consumers; free or pumped")


def _curve_problems(key: str, points: tuple[tuple[float, float], ...], highest: float) -> Iterator[Problem]:
    loads = [load for load, _ in points]
    if not 1 <= len(points) <= MOST_CURVE_POINTS:
        yield Problem(f"{key}: {len(points)} points; 1 to {MOST_CURVE_POINTS} are possible")
    if any(a >= b for a, b in pairwise(loads)) or not all(0 <= load <= 1 for load in loads):
        yield Problem(f"{key}: loads {loads} must rise from 0 to 1")
    if not all(0.05 <= value <= highest for _, value in points):
        yield Problem(f"{key}: every value must be from 0.05 to {highest:g}")
