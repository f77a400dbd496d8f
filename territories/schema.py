"""What a territory file may hold: keys, types, ranges. Units are in the key names; unknown keys are refused."""

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationInfo, field_validator

from uem.territories.schema_base import Celsius, Flag, ForecastStep, Model, Name, NotNegative, Number, Positive, Whole
from uem.territories.schema_factory import Factory
from uem.territories.schema_network import Network
from uem.twin_core.units import ZERO_CELSIUS_K

# Of the endpoints of each field protocol; hardware_adapters/protocols.py has their adapters.
SCHEMES: dict[str, tuple[str, ...]] = {
    "opcua": ("opc.tcp",),
    "modbus": ("modbus.tcp",),
    "mbus": ("mbus.tcp",),
    "mqtt": ("mqtt", "mqtts"),
    "replay": (),
}


class Recording(Model):
    """A measured recording (CSV or Parquet) that a simulated plant or the protocol `replay` plays back."""

    file: str
    time_column: str
    epoch: Annotated[AwareDatetime, Field(ge=datetime(1980, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC))]
    speed: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    loop: Flag = True


class Simulation(Model):
    """What drives the plants that are `simulated`: the weather of a typical year, and what customers ask for."""

    epoch: Annotated[
        AwareDatetime,
        Field(
            ge=datetime(1980, 1, 1, tzinfo=UTC),
            le=datetime(2200, 1, 1, tzinfo=UTC),
            description="plant time when the simulation starts",
        ),
    ]
    seed: Annotated[Whole, Field(ge=0, le=2**31, description="the same one draws the same")] = 1
    weather: Annotated[str, Field(description="CSV file: month, day, t_db_c of each hour of a year")]
    demand: Annotated[str, Field(description="CSV file: group, use, day, h00 to h23: shapes of days, mean 1")]
    large: Annotated[tuple[Name, ...], Field(description="substations with the shapes of group large")] = ()
    small: Annotated[tuple[Name, ...], Field(description="those of group small; all others are medium")] = ()


class Plant(Model):
    """A field server."""

    name: Name
    protocol: Literal["opcua", "modbus", "mbus", "mqtt", "replay"] = "opcua"
    endpoint: str = ""
    redundant_endpoints: Annotated[
        list[str],
        Field(
            default_factory=list,
            max_length=7,
            description="OPC UA: of further servers with the same data, beside `endpoint`",
        ),
    ]
    security_policy: Literal["Basic256Sha256", "Aes256Sha256RsaPss", "None"] = "Basic256Sha256"
    publish_interval_ms: Annotated[Number, Field(ge=10, le=60_000)] = 100.0
    alarms: Annotated[bool, Field(description="OPC UA: whether its alarms and conditions are watched")] = False
    response_timeout_s: Annotated[
        Number, Field(ge=0.05, le=60, description="Modbus, M-Bus: how long a device may take for an answer")
    ] = 3.0
    recording: Recording | None = None
    simulated: Annotated[Flag, Field(description="the simulator is this plant, driven by `simulation`")] = False

    @field_validator("endpoint")
    @classmethod
    def _is_of_its_protocol(cls, endpoint: str, info: ValidationInfo) -> str:
        schemes = SCHEMES.get(info.data.get("protocol", ""))  # a wrong protocol has been told already
        found, _, address = endpoint.partition("://")
        if schemes == () and endpoint:
            raise ValueError("this protocol has none: it plays back the recording of the plant")
        if endpoint and schemes and not (found in schemes and address):
            raise ValueError(f"an endpoint of this protocol is like {schemes[0]}://host:port/path")
        if "@" in address.partition("/")[0]:
            raise ValueError("a user or a password never belongs into this file")
        return endpoint

    @field_validator("redundant_endpoints")
    @classmethod
    def _are_of_opcua(cls, endpoints: list[str], info: ValidationInfo) -> list[str]:
        if endpoints and not (info.data.get("protocol") == "opcua" and info.data.get("endpoint")):
            raise ValueError("only a plant of protocol opcua with an endpoint has further ones")
        if "," in "".join(endpoints):
            raise ValueError("an endpoint has no comma; write a list of them")
        return [cls._is_of_its_protocol(endpoint, info) for endpoint in endpoints]

    @field_validator("recording")
    @classmethod
    def _can_be_played(cls, recording: Recording | None, info: ValidationInfo) -> Recording | None:
        protocol = info.data.get("protocol", "opcua")
        if recording is not None and protocol not in ("opcua", "replay"):
            raise ValueError(f"there is no simulated plant that speaks {protocol}; use protocol opcua or replay")
        return recording

    @field_validator("simulated")
    @classmethod
    def _can_be_simulated(cls, simulated: bool, info: ValidationInfo) -> bool:
        if simulated and info.data.get("protocol") == "replay":
            raise ValueError("replay plays a recording; a simulated plant speaks opcua, modbus, mbus or mqtt")
        return simulated


class MachineState(Model):
    """An operating state of a machine."""

    number: Annotated[Whole, Field(ge=0, le=2**53)]
    name: str
    power_w: NotNegative
    peak_power_w: NotNegative = 0.0
    bath_heat_w: NotNegative = 0.0
    load_exchange_w_per_k: NotNegative = 0.0
    new_pieces: Flag = False


class Bath(Model):
    """A heated liquid bath."""

    volume_m3: Positive
    density_kg_m3: Positive = 1000.0
    heat_capacity_j_kgk: Positive = 4190.0
    heater_w: NotNegative
    loss_w_per_k: NotNegative
    thermostat_on_c: Celsius = -ZERO_CELSIUS_K
    thermostat_off_c: Celsius = -ZERO_CELSIUS_K
    load_heat_capacity_j_k: NotNegative = 0.0
    load_loss_w_per_k: NotNegative = 0.0
    pieces_heat_capacity_j_k: NotNegative = 0.0
    temperature_tag: str
    hall_temperature_tag: str


class Machine(Model):
    """A machine."""

    name: Name
    title: str = ""
    state_tag: str
    power_tag: str
    forecast_horizon_s: Annotated[Number, Field(gt=0, le=86_400)] = 900.0
    forecast_step_s: ForecastStep = 15.0
    states: list[MachineState]
    bath: Bath | None = None


class Price(Model):
    """What a carrier of energy costs; the cost of a network is told when all that it buys and sells has a price."""

    carrier: Literal["gas", "wood", "oil", "waste", "electricity", "electricity_sold"]
    eur_per_kwh: Annotated[
        Number, Field(ge=-10, le=10, allow_inf_nan=False, description="of fuel by its lower heating value")
    ]
    source: Annotated[str, Field(min_length=1, max_length=300, description="who says so")]
    date: Annotated[date, Field(description="of the price, such as 2024-01-01")]


class Territory(Model):
    """A territory file."""

    name: Name
    title: str = ""
    tags: Annotated[str, Field(description="file of the tag table; none: nothing is measured")] = ""
    plants: tuple[Plant, ...] = ()
    networks: tuple[Network, ...] = ()
    machines: tuple[Machine, ...] = ()
    factories: tuple[Factory, ...] = ()
    prices: tuple[Price, ...] = ()
    simulation: Simulation | None = None
