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
    """A record of what a meter on the M-Bus tells (EN 13757-3); its raw value is in SI."""

    meter: int  # primary address
    quantity: str
    storage: int = 0  # 0 is the current value, higher ones are kept from key dates
    tariff: int = 0
    subunit: int = 0
    function: str = "instantaneous"  # or maximum, minimum, during_error


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttAddress:
    """A field of the JSON messages of a topic, or a metric of Sparkplug B."""

    topic: str  # of a metric: group/node or group/node/device
    field: str = ""  # names and positions, separated by "."; empty: the whole message is the value
    time_field: str = ""  # when it was measured; empty: when it came in
    metric: str = ""  # empty: a plain topic


Address = ModbusAddress | MbusAddress | MqttAddress
