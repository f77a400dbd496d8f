"""Telegrams against the example of the M-Bus documentation and against records written by plain code."""

import math
import struct
from fractions import Fraction

import pytest

from uem.hardware_adapters.mbus.frames import ACKNOWLEDGEMENT, Garbled, short, take
from uem.hardware_adapters.mbus.records import Key, Unreadable, readings
from uem.hardware_adapters.simulator.mbus import MORE, digits, integer, long, real
from uem.territories.schema_tags import METERED, MbusRow
from uem.twin_core.measurements import (
    BAD_DECODING_ERROR,
    BAD_DEVICE_FAILURE,
    BAD_SENSOR_FAILURE,
    UNCERTAIN_SENSOR_NOT_ACCURATE,
)

# The M-Bus: A Documentation, rev. 4.8, chapter 6: 12,565 l, at most 113 l/h (storage 5), 218.37 kWh (tariff 2).
DOCUMENTED = bytes.fromhex(
    "68 1f 1f 68 08 02 72 78 56 34 12 24 40 01 07 55 00 00 0003 13 15 31 00  da 02 3b 13 01  8b 60 04 37 18 02  18 16"
)


def only(records, **more):
    """The one reading of a telegram, with "nan" for its value where it is none."""
    found, _ = readings(long(5, records, **more))
    ((key, (value, quality)),) = found.items()
    return key, "nan" if math.isnan(value) else value, quality


def test_the_documented_telegram_says_what_the_documentation_says():
    assert take(bytearray(DOCUMENTED)) == DOCUMENTED
    assert readings(DOCUMENTED) == (
        {
            Key("volume"): (12.565, 0),
            Key("volume_flow", storage=5, function="maximum"): (0.113 / 3600, 0),
            Key("energy", tariff=2, subunit=1): (218.37 * 3.6e6, 0),
        },
        False,
    )


@pytest.mark.parametrize(
    ("vif", "quantity", "si"),
    [
        ("00", "energy", "3.6"),
        ("07", "energy", "36000000"),
        ("08", "energy", "1"),
        ("0f", "energy", "10000000"),
        ("10", "volume", "1e-6"),
        ("17", "volume", "10"),
        ("18", "mass", "1e-3"),
        ("1f", "mass", "10000"),
        ("20", "on_time", "1"),
        ("23", "on_time", "86400"),
        ("25", "operating_time", "60"),
        ("26", "operating_time", "3600"),
        ("28", "power", "1e-3"),
        ("2f", "power", "10000"),
        ("30", "power", "1/3600"),
        ("37", "power", "100000/36"),
        ("38", "volume_flow", "1/3600000000"),
        ("3f", "volume_flow", "1/360"),
        ("40", "volume_flow", "1/600000000"),
        ("4f", "volume_flow", "1e-2"),
        ("50", "mass_flow", "1/3600000"),
        ("57", "mass_flow", "100/36"),
        ("60", "temperature_difference", "1e-3"),
        ("63", "temperature_difference", "1"),
        ("68", "pressure", "100"),
        ("6b", "pressure", "100000"),
        ("fb 00", "energy", "360000000"),
        ("fb 01", "energy", "3600000000"),
        ("fb 08", "energy", "1e8"),
        ("fb 09", "energy", "1e9"),
        ("fb 10", "volume", "100"),
        ("fb 19", "mass", "1e6"),
        ("fb 28", "power", "1e5"),
        ("fb 31", "power", "10000000/36"),
    ],
)
def test_each_unit_comes_in_si_exact_to_the_last_bit(vif, quantity, si):
    for number in (1, -7, 12_345_678):
        expected = float(number * Fraction(si))
        assert only(integer(bytes.fromhex(vif), number)) == (Key(quantity), expected, 0)


@pytest.mark.parametrize(("vif", "quantity"), [(0x58, "flow"), (0x5C, "return"), (0x64, "external")])
def test_temperatures_come_in_kelvin(vif, quantity):
    assert only(integer(bytes([vif + 1]), 8150, size=2)) == (Key(f"{quantity}_temperature"), 354.65, 0)
    assert only(integer(bytes([vif + 3]), -4, size=1)) == (Key(f"{quantity}_temperature"), 269.15, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
def test_integers_of_all_sizes_are_read_and_the_one_that_says_invalid_is_bad(size):
    most = 2 ** (8 * size - 1) - 1
    for number in (0, most, -most):
        assert only(integer(b"\x16", number, size=size))[1:] == (float(number), 0)
    assert only(integer(b"\x16", -most - 1, size=size))[1:] == ("nan", BAD_SENSOR_FAILURE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("12", (12.0, 0)),
        ("0113", (113.0, 0)),
        ("f12345", (-12345.0, 0)),
        ("99999999", (99_999_999.0, 0)),
        ("123456789012", (123_456_789_012.0, 0)),
        ("00a1", ("nan", BAD_SENSOR_FAILURE)),
        ("e001", ("nan", BAD_SENSOR_FAILURE)),
        ("ffff", ("nan", BAD_SENSOR_FAILURE)),
        ("0bbbbbbb", ("nan", BAD_SENSOR_FAILURE)),
    ],
)
def test_digits_are_read_and_what_is_none_is_bad(text, said):
    assert only(digits(b"\x16", text))[1:] == said


def test_reals_are_read_and_what_is_no_number_is_bad():
    assert only(real(b"\x2b", 1.5))[1:] == (1.5, 0)
    assert only(real(b"\x2b", math.inf))[1:] == ("nan", BAD_SENSOR_FAILURE)
    assert only(b"\x0d\x16\x03abc")[1:] == ("nan", BAD_DECODING_ERROR)  # text
    assert only(b"\x04\x16\x01")[1:] == ("nan", BAD_DECODING_ERROR)  # cut off


def test_function_storage_tariff_and_subunit_tell_records_apart():
    records = integer(b"\x06", 1) + integer(b"\x06", 2, dif=0x40) + integer(b"\x06", 3, dif=0x20, dife=b"\x91\x61")
    found, _ = readings(long(1, records + integer(b"\x06", 4)))
    assert {key: reading.value / 3.6e6 for key, reading in found.items()} == {
        Key("energy"): 1.0,  # the first of two
        Key("energy", storage=1): 2.0,
        Key("energy", storage=2 + 32, tariff=1 + 8, subunit=2, function="minimum"): 3.0,
    }
    assert str(Key("energy", storage=1, function="minimum")) == "energy (storage 1, minimum)"


def test_an_error_of_a_record_is_bad_and_a_further_meaning_makes_another_quantity():
    assert only(integer(b"\x86\x18", 9)) == (Key("energy"), "nan", BAD_SENSOR_FAILURE)
    assert only(integer(b"\x86\x00", 9)) == (Key("energy"), 9 * 3.6e6, 0)
    assert only(integer(b"\xfb\x81\x16", 9)) == (Key("energy"), "nan", BAD_SENSOR_FAILURE)
    for vif in (b"\x86\x3b", b"\xfd\x17", b"\x6d", b"\x78", b"\xff\x01", b"\xfb\x7f", b"\x7c\x02xy"):
        assert readings(long(1, integer(vif, 9)))[0] == {}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0x04, (9.0, 0)),  # battery low
        (0x08, (9.0, UNCERTAIN_SENSOR_NOT_ACCURATE)),
        (0x10, (9.0, UNCERTAIN_SENSOR_NOT_ACCURATE)),
        (0x01, ("nan", BAD_DEVICE_FAILURE)),
        (0x02, ("nan", BAD_DEVICE_FAILURE)),
    ],
)
def test_errors_that_a_meter_tells_of_itself_are_the_quality_of_its_values(status, said):
    assert only(integer(b"\x16", 9), status=status)[1:] == said


def test_fill_bytes_and_what_a_manufacturer_adds_are_passed_over():
    records = b"\x2f\x2f" + integer(b"\x16", 9) + b"\x2f"
    assert only(records + b"\x0f\x01\x02\x03")[1:] == (9.0, 0)
    assert readings(long(1, records + MORE))[1] is True


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (long(1, b"", ci=0x73), "Not a variable data"),
        (long(1, integer(b"\x16", 9), signature=0x0500), "encrypted"),
        (long(1, b"\x0d\x16"), "records do not fit"),
        (bytes.fromhex("68 03 03 68 08 01 72 7b 16"), "ends within its header"),
    ],
)
def test_what_cannot_be_read_says_so(frame, said):
    with pytest.raises(Unreadable, match=said):
        readings(frame)


def test_no_telegram_does_anything_but_say_values_or_that_it_is_unreadable():
    whole = (
        integer(b"\x06", 1, dife=b"\x81\x01") + digits(b"\xfb\x08", "0113") + real(b"\x2b", 1.5) + b"\x0d\x7c\x01x\x01y"
    )
    for at in range(len(whole)):
        for byte in range(256):
            spoiled = whole[:at] + bytes([byte]) + whole[at + 1 :]
            for records in (spoiled, spoiled[: at + 1]):
                try:
                    found, _ = readings(long(1, records))
                except Unreadable:
                    continue
                assert all(math.isnan(value) == bool(quality >> 31) for value, quality in found.values())


def test_quantities_of_territory_files_are_those_of_records():
    assert set(METERED) == set(MbusRow.model_fields["quantity"].annotation.__args__)
    found = set()
    for vif in range(0x7B):
        found |= {key.quantity for key in readings(long(1, integer(bytes([vif]), 1)))[0]}
    assert found == set(METERED)


# --- frames ---


def test_frames_are_taken_one_after_the_other_when_they_are_whole():
    frame = long(5, integer(b"\x16", 9))
    sent = short(0x5B, 0x68) + ACKNOWLEDGEMENT + frame + frame
    received, found = bytearray(), []
    for byte in sent:
        received.append(byte)
        while (taken := take(received)) is not None:
            found.append(taken)
    assert found == [ACKNOWLEDGEMENT, frame, frame]  # not the short one, which is an echo


@pytest.mark.parametrize(
    ("at", "said"),
    [(0, "does not begin with"), (1, "no beginning"), (3, "no beginning"), (10, "checksum"), (-1, "checksum")],
)
def test_a_bit_that_falls_over_is_told_and_nothing_is_left(at, said):
    spoiled = bytearray(long(5, integer(b"\x16", 9)))
    spoiled[at] ^= 4
    with pytest.raises(Garbled, match=said):
        take(spoiled)
    assert not spoiled


def test_requests_are_those_of_the_standard():
    assert short(0x5B, 1) == bytes.fromhex("10 5b 01 5c 16")
    assert struct.unpack("5B", short(0x40, 0xFD)) == (0x10, 0x40, 0xFD, 0x3D, 0x16)
