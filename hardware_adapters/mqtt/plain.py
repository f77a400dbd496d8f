"""Messages of plain topics: a number, or JSON with numbers in it."""

import json
import math
from datetime import datetime
from typing import Any

from uem.twin_core.measurements import BAD_DECODING_ERROR, BAD_SENSOR_FAILURE, GOOD, UNCERTAIN_LAST_USABLE_VALUE
from uem.twin_core.plant.addresses import MqttAddress

NS_PER_MS = 1_000_000
_ABSENT = object()


def parsed(payload: bytes) -> Any:
    """The JSON of a message, of which a bare number is one; raises ValueError."""
    try:
        return json.loads(payload)
    except RecursionError:
        raise ValueError("nested too deep") from None


def reading(message: Any, address: MqttAddress, now_ns: int, *, is_old: bool) -> tuple[int, float, int] | None:
    """(source time in ns, raw value, quality) of a tag; None when the message does not speak of it.

    `is_old`: the broker had kept the message, so that `now_ns` is not when its value was measured.
    """
    found = _at(message, address.field)
    if found is _ABSENT:
        return None
    value, quality = _number(found)
    if not address.time_field:
        return now_ns, value, UNCERTAIN_LAST_USABLE_VALUE if is_old and quality == GOOD else quality
    time_ns = _time_ns(_at(message, address.time_field))
    return (now_ns, math.nan, BAD_DECODING_ERROR) if time_ns is None else (time_ns, value, quality)


def _at(message: Any, path: str) -> Any:
    """What is at a path of names and positions, separated by "."; the message itself when it is empty."""
    for part in path.split(".") if path else ():
        if isinstance(message, dict) and part in message:
            message = message[part]
        elif isinstance(message, list) and part.isdecimal() and int(part) < len(message):
            message = message[int(part)]
        else:
            return _ABSENT
    return message


def _number(found: Any) -> tuple[float, int]:
    if found is None:
        return math.nan, BAD_SENSOR_FAILURE
    if not isinstance(found, (bool, int, float)):
        return math.nan, BAD_DECODING_ERROR
    try:
        value = float(found)
    except OverflowError:
        return math.nan, BAD_DECODING_ERROR
    return (value, GOOD) if math.isfinite(value) else (math.nan, BAD_SENSOR_FAILURE)


def _time_ns(found: Any) -> int | None:
    """Milliseconds since 1970, or ISO 8601 with an offset, as nanoseconds."""
    try:
        if isinstance(found, str):
            time = datetime.fromisoformat(found)
            if time.tzinfo is None:
                return None
            found = time.timestamp() * 1000
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            return None
        time_ns = round(found * 1000) * (NS_PER_MS // 1000)
    except (ValueError, OverflowError):
        return None
    return time_ns if 0 <= time_ns < 2**63 else None
