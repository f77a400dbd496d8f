"""Numbers and JSON of plain topics."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters.mqtt.plain import parsed, reading
from uem.twin_core.measurements import (
    BAD_DECODING_ERROR,
    BAD_SENSOR_FAILURE,
    UNCERTAIN_LAST_USABLE_VALUE,
    is_bad,
)
from uem.twin_core.plant.addresses import MqttAddress

NOW = 5


def told(payload, field="", time_field="", *, is_old=False):
    address = MqttAddress(topic="t", field=field, time_field=time_field)
    read = reading(parsed(payload), address, NOW, is_old=is_old)
    return read and (read[0], "nan" if math.isnan(read[1]) else read[1], read[2])


@pytest.mark.parametrize(
    ("payload", "value", "quality"),
    [
        (b"21.5", 21.5, 0),
        (b"true", 1.0, 0),
        (b"null", "nan", BAD_SENSOR_FAILURE),
        (b"NaN", "nan", BAD_SENSOR_FAILURE),
        (b"1e999", "nan", BAD_SENSOR_FAILURE),
        (b"1" + b"0" * 400, "nan", BAD_DECODING_ERROR),
        (b'"21.5"', "nan", BAD_DECODING_ERROR),
        (b"[1]", "nan", BAD_DECODING_ERROR),
    ],
)
def test_a_message_is_a_number_or_bad(payload, value, quality):
    assert told(payload) == (NOW, value, quality)


def test_a_field_is_found_by_names_and_positions_and_may_be_absent():
    message = json.dumps({"meters": [{"flow": 1}, {"flow": 2}]}).encode()
    assert told(message, "meters.1.flow") == (NOW, 2.0, 0)
    for absent in ("meters.2.flow", "meters.x", "meters.1.flow.z", "y"):
        assert told(message, absent) is None


@pytest.mark.parametrize("time", [1_669_213_388_250, 1_669_213_388_250.0, "2022-11-23T15:23:08.250+01:00"])
def test_a_time_is_in_milliseconds_or_iso_8601(time):
    message = json.dumps({"t": time, "v": 1}).encode()
    assert told(message, "v", "t", is_old=True) == (1_669_213_388_250_000_000, 1.0, 0)


@pytest.mark.parametrize("time", ["yesterday", "2022-11-23T15:23:08", None, True, -1, 1e300, [1]])
def test_a_value_without_a_time_that_it_should_have_is_bad(time):
    assert told(json.dumps({"t": time, "v": 1}).encode(), "v", "t") == (NOW, "nan", BAD_DECODING_ERROR)


def test_a_value_of_unknown_age_is_uncertain():
    assert told(b"1", is_old=True) == (NOW, 1.0, UNCERTAIN_LAST_USABLE_VALUE)


@given(st.binary(max_size=200) | st.just(b"[" * 100_000))
def test_whatever_comes_is_a_value_or_told_to_be_none(payload):
    try:
        message = parsed(payload)
    except ValueError:
        return
    _, value, quality = reading(message, MqttAddress(topic="t"), NOW, is_old=False)
    assert math.isnan(value) == is_bad(quality)
