"""What a territory file may hold: keys, types, ranges. Units are in the key names; unknown keys are refused."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from uem.twin_core.units import ZERO_CELSIUS_K

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Positive = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Millimetres = Annotated[float, Field(ge=1.0, le=5000.0, allow_inf_nan=False)]  # of a pipe
Celsius = Annotated[float, Field(ge=-ZERO_CELSIUS_K, le=2000.0, allow_inf_nan=False)]
# What no twin could compute in time, or nobody could read.
MOST_FORECAST_TIMES = 1440
MOST_FORECAST_STEPS = 20_000


def _forecast_step(step_s: float, info: ValidationInfo) -> float:
    horizon_s = info.data.get("forecast_horizon_s")  # one that is wrong has been told already
    if horizon_s is not None and not 1 <= horizon_s / step_s <= MOST_FORECAST_TIMES:
        raise ValueError(
            f"forecast_horizon_s {horizon_s:g} must hold 1 to {MOST_FORECAST_TIMES} of these steps, "
            f"not {horizon_s / step_s:.6g}"
        )
    return step_s


# Comes after forecast_horizon_s in its model.
ForecastStep = Annotated[float, Field(ge=0.1, le=3600, validate_default=True), AfterValidator(_forecast_step)]

# Of the endpoints of each field protocol; hardware_adapters/protocols.py has their adapters.
SCHEMES = {"opcua": "opc.tcp"}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recording(_Model):
    """A measured recording that a simulated plant plays back."""

    file: str
    time_column: str
    epoch: Annotated[AwareDatetime, Field(ge=datetime(1980, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC))]
    speed: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    loop: bool = True


class Plant(_Model):
    """A field server."""

    name: Name
    protocol: Literal["opcua"] = "opcua"
    endpoint: str = ""
    security_policy: Literal["Basic256Sha256", "Aes256Sha256RsaPss"] = "Basic256Sha256"
    publish_interval_ms: Annotated[float, Field(ge=10, le=60_000)] = 100.0
    recording: Recording | None = None

    @field_validator("endpoint")
    @classmethod
    def _is_of_its_protocol(cls, endpoint: str, info: ValidationInfo) -> str:
        scheme = SCHEMES.get(info.data.get("protocol", ""))  # a wrong protocol has been told already
        found, _, address = endpoint.partition("://")
        if endpoint and scheme and not (found == scheme and address):
            raise ValueError(f"an endpoint of this protocol is like {scheme}://host:port/path")
        return endpoint


class Node(_Model):
    """A node of a network."""

    name: Name
    kind: Literal["source", "junction", "consumer", "balance"] = "junction"
    temperature_tag: str = ""
    flow_tag: str = ""
    minimum_flow_kg_s: NotNegative = 0.0


class Insulation(_Model):
    """Layers around the wall of a pipe; either soil or an outer film closes them."""

    conductivity_w_mk: Positive
    casing_diameter_mm: Millimetres
    soil_conductivity_w_mk: Positive | None = None
    soil_diameter_mm: Annotated[float, Field(ge=1.0, le=100_000.0)] | None = None
    film_w_m2k: Positive | None = None


class PipeClass(_Model):
    """Pipes of one make; the heat loss is given by `loss_resistance_mk_w` or by `insulation`."""

    name: Name
    inner_diameter_mm: Millimetres
    outer_diameter_mm: Millimetres
    wall_density_kg_m3: Positive = 7850.0
    wall_heat_capacity_j_kgk: Positive = 480.0
    loss_resistance_mk_w: Positive | None = None
    insulation: Insulation | None = None
    loss_factor: Annotated[float, Field(ge=0, le=1000)] = 1.0
    dispersion_factor: Annotated[float, Field(ge=0, le=1e6)] = 10.0


class Pipe(_Model):
    """A pipe between two nodes."""

    name: Name
    start: Name
    end: Name
    length_m: Annotated[float, Field(ge=0.01, le=200_000.0)]
    pipe_class: Name


class Network(_Model):
    """A heat network."""

    name: Name
    title: str = ""
    ambient_temperature_tag: str
    step_s: Annotated[float, Field(ge=0.1, le=3600)] = 60.0
    forecast_horizon_s: Annotated[float, Field(gt=0, le=86_400, validate_default=True)] = 6 * 3600.0
    forecast_step_s: ForecastStep = 900.0
    nodes: list[Node]
    pipes: list[Pipe]
    pipe_classes: list[PipeClass]

    @field_validator("forecast_horizon_s")
    @classmethod
    def _is_computed_in_time(cls, horizon_s: float, info: ValidationInfo) -> float:
        step_s = info.data.get("step_s")
        if step_s is not None and horizon_s / step_s > MOST_FORECAST_STEPS:
            raise ValueError(
                f"at most {MOST_FORECAST_STEPS} steps of step_s {step_s:g} are possible, not {horizon_s / step_s:.6g}"
            )
        return horizon_s


class MachineState(_Model):
    """An operating state of a machine."""

    number: Annotated[int, Field(ge=0, le=2**53)]
    name: str
    power_w: NotNegative
    peak_power_w: NotNegative = 0.0
    bath_heat_w: NotNegative = 0.0
    load_exchange_w_per_k: NotNegative = 0.0
    new_pieces: bool = False


class Bath(_Model):
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


class Machine(_Model):
    """A machine."""

    name: Name
    title: str = ""
    state_tag: str
    power_tag: str
    forecast_horizon_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    forecast_step_s: ForecastStep = 15.0
    states: list[MachineState]
    bath: Bath | None = None


class Territory(_Model):
    """A territory file."""

    name: Name
    title: str = ""
    tags: str
    plants: list[Plant] = []
    networks: list[Network] = []
    machines: list[Machine] = []


class TagRow(_Model):
    """A row of the tag table. The raw value is in `raw_unit`; si = scale * (raw in SI) + offset."""

    tag: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_./-]+$")]
    plant: Name
    browse_path: Annotated[str, Field(min_length=1)]
    namespace_uri: Annotated[str, Field(min_length=1)]
    unit: str
    raw_unit: str = ""
    display_unit: str = ""
    scale: Annotated[float, Field(ge=-1e15, le=1e15)] = 1.0
    offset: Annotated[float, Field(ge=-1e15, le=1e15)] = 0.0
    low: float = float("-inf")
    high: float = float("inf")
    sampling_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 100.0
    column: str = ""
