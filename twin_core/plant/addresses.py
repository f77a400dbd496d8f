"""Where a tag is found in the field protocols other than OPC UA, whose tags are named by browse paths."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusAddress:
    """One or more registers, or one bit."""

    device: int = 1  # unit identifier; behind a gateway each device has its own
    table: str = "holding"  # holding, input (registers), coil, discrete (bits)
    address: int  # of the first one, as on the wire, counted from 0
    data_type: str = "uint16"
    byte_order: str = "ABCD"  # of four bytes on the wire; A is the most significant one
    bit: int | None = None  # of a register, 0 is the least significant one


@dataclass(frozen=True, slots=True, kw_only=True)
class MbusAddress:
    """A record of what a meter answers (EN 13757-3)."""

    meter: str  # primary address 0 to 250, or the eight digits of its identification number
    quantity: str  # key of hardware_adapters/mbus/records.QUANTITIES; the raw value is in its SI unit
    storage: int = 0  # 0 is the current value, higher ones are kept from key dates
    tariff: int = 0
    subunit: int = 0
    function: str = "instantaneous"  # or minimum, maximum, during_error


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonAddress:
    """A field of the JSON messages of a topic."""

    topic: str
    field: str = ""  # names and positions, separated by "."; empty: the whole message is the value
    time_field: str = ""  # when it was measured; empty: when it came in


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkplugAddress:
    """A metric of an edge node or of a device at it."""

    group: str
    node: str
    device: str = ""  # empty: a metric of the node itself
    metric: str


Address = ModbusAddress | MbusAddress | JsonAddress | SparkplugAddress
