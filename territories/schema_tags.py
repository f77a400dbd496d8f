"""What a row of the tag table may hold: what every tag has, and the address in the protocol of its plant.

The raw value is in `raw_unit`; si = scale * (raw in SI) + offset.
"""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from uem.territories.schema_base import Model, Name

# What a record of a meter on the M-Bus can be, with its SI unit.
METERED = {
    "energy": "J",
    "volume": "m3",
    "mass": "kg",
    "power": "W",
    "volume_flow": "m3/s",
    "mass_flow": "kg/s",
    "flow_temperature": "K",
    "return_temperature": "K",
    "temperature_difference": "K",
    "external_temperature": "K",
    "pressure": "Pa",
    "operating_time": "s",
    "on_time": "s",
}


class TagRow(Model):
    """What a tag of any protocol has."""

    tag: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_./-]+$")]
    plant: Name
    unit: str
    raw_unit: str = ""
    display_unit: str = ""
    scale: Annotated[float, Field(ge=-1e15, le=1e15)] = 1.0
    offset: Annotated[float, Field(ge=-1e15, le=1e15)] = 0.0
    low: float = float("-inf")
    high: float = float("inf")
    sampling_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 100.0
    column: str = ""


class OpcUaRow(TagRow):
    """A variable of an OPC UA server."""

    browse_path: Annotated[str, Field(min_length=1)]
    namespace_uri: Annotated[str, Field(min_length=1)]
    deadband: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    deadband_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    queue_size: Annotated[int, Field(ge=0, le=100_000)] = 0
    writable: bool = False

    @field_validator("deadband_percent")
    @classmethod
    def _is_the_only_one(cls, percent: float, info: ValidationInfo) -> float:
        if percent and info.data.get("deadband"):
            raise ValueError("deadband is given too; a tag has one of them")
        return percent

    @field_validator("deadband", "deadband_percent")
    @classmethod
    def _has_a_scale(cls, width: float, info: ValidationInfo) -> float:
        if width and info.data.get("scale") == 0:
            raise ValueError("the scale is 0, so that nothing ever changes")
        return width


class ModbusRow(TagRow):
    """Registers or a bit of a Modbus device, read every `sampling_ms`."""

    sampling_ms: Annotated[float, Field(ge=10, le=3_600_000)] = 1000.0
    device: Annotated[int, Field(ge=0, le=255)] = 1
    table: Literal["holding", "input", "coil", "discrete"] = "holding"
    address: Annotated[int, Field(ge=0, le=65_535)]
    data_type: Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"] = "uint16"
    byte_order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    bit: Annotated[int, Field(ge=0, le=15)] | None = None
    writable: bool = False

    @field_validator("writable")
    @classmethod
    def _can_be_written(cls, writable: bool, info: ValidationInfo) -> bool:
        if writable and (
            info.data.get("table", "holding") not in ("holding", "coil") or info.data.get("bit") is not None
        ):
            raise ValueError("only a coil, or whole registers of the table holding, can be written")
        return writable

    @field_validator("data_type", "byte_order", "bit")
    @classmethod
    def _is_of_registers(cls, value: str | int | None, info: ValidationInfo) -> str | int | None:
        table = info.data.get("table")  # a wrong one has been told already
        if table in ("coil", "discrete") and value is not None:
            raise ValueError(f"a {table} is a bit by itself; leave this out or read the table holding or input")
        return value

    @field_validator("data_type")
    @classmethod
    def _ends_within_the_table(cls, data_type: str, info: ValidationInfo) -> str:
        address = info.data.get("address", 0)
        if address + int(data_type[-2:]) // 16 > 65_536:
            raise ValueError(f"from address {address} this reaches beyond the last register, 65535")
        return data_type

    @field_validator("bit")
    @classmethod
    def _is_of_a_word(cls, bit: int | None, info: ValidationInfo) -> int | None:
        data_type = info.data.get("data_type", "uint16")
        if bit is not None and data_type != "uint16":
            raise ValueError(f"only a uint16 has bits of its own, not a {data_type}")
        return bit


class MbusRow(TagRow):
    """A record of a meter on the M-Bus, read every `sampling_ms`; its raw value is in the SI unit of its quantity."""

    sampling_ms: Annotated[float, Field(ge=100, le=86_400_000)] = 60_000.0
    meter: Annotated[int, Field(ge=0, le=250)]
    quantity: Literal[
        "energy",
        "volume",
        "mass",
        "power",
        "volume_flow",
        "mass_flow",
        "flow_temperature",
        "return_temperature",
        "temperature_difference",
        "external_temperature",
        "pressure",
        "operating_time",
        "on_time",
    ]
    storage: Annotated[int, Field(ge=0, lt=2**41)] = 0
    tariff: Annotated[int, Field(ge=0, lt=2**20)] = 0
    subunit: Annotated[int, Field(ge=0, lt=2**10)] = 0
    function: Literal["instantaneous", "maximum", "minimum", "during_error"] = "instantaneous"

    @field_validator("raw_unit")
    @classmethod
    def _is_told_by_the_meter(cls, raw_unit: str) -> str:
        if raw_unit:
            raise ValueError("leave this out: a meter tells the unit of each record, and the value comes in SI")
        return raw_unit

    @field_validator("quantity")
    @classmethod
    def _is_in_the_unit_of_the_tag(cls, quantity: str, info: ValidationInfo) -> str:
        unit, si = info.data.get("unit"), METERED[quantity]
        if unit != si and info.data.get("scale") == 1.0:
            raise ValueError(f"comes in {si}, not in {unit}; the column scale can make one of the other")
        return quantity


class MqttRow(TagRow):
    """A field of the JSON messages of a topic, or a metric of a Sparkplug B edge node or of a device at it."""

    # No wildcards, since each message is of one topic.
    topic: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^+#\x00]+$")]
    field: str = ""
    time_field: str = ""
    metric: str = ""

    @field_validator("metric")
    @classmethod
    def _is_of_a_node(cls, metric: str, info: ValidationInfo) -> str:
        levels = info.data.get("topic", "group/node").split("/")  # a wrong one has been told already
        if metric and not (len(levels) in (2, 3) and all(levels)):
            raise ValueError("the topic of a metric is group/node or group/node/device")
        if metric and (info.data.get("field") or info.data.get("time_field")):
            raise ValueError("field and time_field are of JSON messages; leave them out, or this")
        return metric


class ReplayRow(TagRow):
    """A column of a recording."""

    column: Annotated[str, Field(min_length=1)]


# By protocol of the plant; hardware_adapters/protocols.py has the adapters.
ROWS: dict[str, type[TagRow]] = {
    "opcua": OpcUaRow,
    "modbus": ModbusRow,
    "mbus": MbusRow,
    "mqtt": MqttRow,
    "replay": ReplayRow,
}
