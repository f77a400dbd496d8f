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


Address = ModbusAddress
