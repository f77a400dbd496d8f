"""Telegrams of a meter -> SI values by what they measure (EN 13757-3).

pyMeterBus splits a telegram into records. Numbers are taken from their bytes here, and scaled exactly: it multiplies
floats and reads digits that are none.
"""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from meterbus import TelegramLong
from meterbus.exceptions import MBusError

from uem.twin_core.measurements import (
    BAD_DECODING_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_SENSOR_FAILURE,
    UNCERTAIN_SENSOR_NOT_ACCURATE,
)
from uem.twin_core.plant.addresses import MbusAddress

FUNCTIONS = ("instantaneous", "maximum", "minimum", "during_error")
_MEGAWATT_HOUR, _GIGAJOULE = Fraction(3_600_000_000), Fraction(1_000_000_000)
_HOUR = Fraction(3600)
_ZERO_CELSIUS = Fraction(27315, 100)
_TIMES = (Fraction(1), Fraction(60), _HOUR, 24 * _HOUR)  # s, min, h, d
_RANGES = {  # first code -> quantity, SI value of one unit, exponent of the first code, number of codes
    0x00: ("energy", _HOUR, -3, 8),
    0x08: ("energy", Fraction(1), 0, 8),
    0x10: ("volume", Fraction(1), -6, 8),
    0x18: ("mass", Fraction(1), -3, 8),
    0x28: ("power", Fraction(1), -3, 8),
    0x30: ("power", 1 / _HOUR, 0, 8),
    0x38: ("volume_flow", 1 / _HOUR, -6, 8),
    0x40: ("volume_flow", Fraction(1, 60), -7, 8),
    0x48: ("volume_flow", Fraction(1), -9, 8),
    0x50: ("mass_flow", 1 / _HOUR, -3, 8),
    0x58: ("flow_temperature", Fraction(1), -3, 4),
    0x5C: ("return_temperature", Fraction(1), -3, 4),
    0x60: ("temperature_difference", Fraction(1), -3, 4),
    0x64: ("external_temperature", Fraction(1), -3, 4),
    0x68: ("pressure", Fraction(100_000), -3, 4),
}
_LARGE = {  # the same of the codes after 0xFB
    0x00: ("energy", _MEGAWATT_HOUR, -1, 2),
    0x08: ("energy", _GIGAJOULE, -1, 2),
    0x10: ("volume", Fraction(1), 2, 2),
    0x18: ("mass", Fraction(1000), 2, 2),
    0x28: ("power", Fraction(1_000_000), -1, 2),
    0x30: ("power", _GIGAJOULE / _HOUR, -1, 2),
}


def _codes(ranges: dict[int, tuple[str, Fraction, int, int]]) -> dict[int, tuple[str, Fraction]]:
    return {
        first + i: (quantity, unit * Fraction(10) ** (exponent + i))
        for first, (quantity, unit, exponent, count) in ranges.items()
        for i in range(count)
    }


_PLAIN = _codes(_RANGES)
_PLAIN |= {0x20 + i: ("on_time", unit) for i, unit in enumerate(_TIMES)}
_PLAIN |= {0x24 + i: ("operating_time", unit) for i, unit in enumerate(_TIMES)}
_AFTER_FB = _codes(_LARGE)
_IN_CELSIUS = ("flow_temperature", "return_temperature", "external_temperature")
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8}  # data field -> bytes
_DIGITS = {9: 1, 10: 2, 11: 3, 12: 4, 14: 6}
_REAL = 5


class Unreadable(Exception):
    """A telegram that is whole, but of a kind that is not read here."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a record of a meter is."""

    quantity: str
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    function: str = "instantaneous"

    def __str__(self) -> str:
        parts = [f"{name} {getattr(self, name)}" for name in ("storage", "tariff", "subunit") if getattr(self, name)]
        if self.function != "instantaneous":
            parts.append(self.function)
        return f"{self.quantity} ({', '.join(parts)})" if parts else self.quantity


class Reading(NamedTuple):
    """What a record says."""

    value: float  # SI; NaN when it is bad
    quality: int


def key_of(address: MbusAddress) -> Key:
    """The record that a tag is."""
    return Key(address.quantity, address.storage, address.tariff, address.subunit, address.function)


def readings(frame: bytes) -> tuple[dict[Key, Reading], bool]:
    """What a telegram says, the first of records that are the same, and whether another telegram follows.

    Raises:
        Unreadable: it is encrypted, of fixed structure, or its records do not fit into it.
    """
    try:
        telegram: Any = TelegramLong.parse(frame)
        header, records = telegram.body.bodyHeader, telegram.records
        more = bool(telegram.more_records_follow)
    except (MBusError, LookupError, ValueError, TypeError) as error:
        raise Unreadable(getattr(error, "msg", "its records do not fit into the telegram")) from None
    status = 0
    if not header.noDataHeader:
        if len(header.sig_field.parts) < 2:
            raise Unreadable("the telegram ends within its header")
        if header.sig_field.parts[1] & 0x1F:
            raise Unreadable("the telegram is encrypted")
        status = header.status_field.parts[0]
    found: dict[Key, Reading] = {}
    for record in records:
        its = None if record.dib.is_eoud else _reading(record, status)
        if its is not None:
            found.setdefault(*its)
    return found, more


def _reading(record: Any, status: int) -> tuple[Key, Reading] | None:
    """Key and value of a record; None when it is no quantity that tags may have."""
    what = _what(record.vib.parts)
    if what is None:
        return None
    quantity, unit, error = what
    storage, tariff, subunit = record.dib.parse_dife()
    dif = record.dib.parts[0]
    key = Key(quantity, storage, tariff or 0, subunit or 0, FUNCTIONS[dif >> 4 & 3])
    if status & 0x03:  # busy, or an error of the application
        return key, Reading(math.nan, BAD_DEVICE_FAILURE)
    if error:
        return key, Reading(math.nan, BAD_SENSOR_FAILURE)
    try:
        number = _number(dif & 0x0F, bytes(record.dataField.parts))
    except Unreadable:
        return key, Reading(math.nan, BAD_DECODING_ERROR)
    if number is None:
        return key, Reading(math.nan, BAD_SENSOR_FAILURE)
    value = number * unit + (_ZERO_CELSIUS if quantity in _IN_CELSIUS else 0)
    return key, Reading(float(value), UNCERTAIN_SENSOR_NOT_ACCURATE if status & 0x18 else 0)


def _what(vib: list[int]) -> tuple[str, Fraction, int] | None:
    """Quantity, SI value of one, and the error that the meter tells of it."""
    if not vib:
        return None
    if vib[0] == 0xFB and len(vib) > 1:
        found, further = _AFTER_FB.get(vib[1] & 0x7F), vib[2:]
    elif vib[0] & 0x7F < 0x7B:
        found, further = _PLAIN.get(vib[0] & 0x7F), vib[1:]
    else:
        return None
    if found is None or len(further) > 1 or any(each & 0x7F >= 0x20 for each in further):
        return None  # others make it another quantity, such as a mean or one of a past period
    return *found, further[0] & 0x7F if further else 0


def _number(coding: int, data: bytes) -> Fraction | None:
    """The number of a data field; None when its bits say that there is none. Unreadable when it is no number."""
    size = _INTEGERS.get(coding) or _DIGITS.get(coding) or (4 if coding == _REAL else None)
    if size is None or len(data) != size:
        raise Unreadable("no number")
    if coding == _REAL:
        real: float = struct.unpack("<f", data)[0]
        return Fraction(real) if math.isfinite(real) else None
    if coding in _INTEGERS:
        number = int.from_bytes(data, "little", signed=True)
        return None if number == -(1 << 8 * size - 1) else Fraction(number)
    digits = data[::-1].hex()
    negative = digits[0] == "f"
    digits = digits[negative:]
    if not digits.isdecimal():
        return None
    return Fraction(-int(digits) if negative else int(digits))
