"""What can be said of a value that is to be written before any plant is asked."""

import math

from uem.twin_core.measurements import BAD_CONFIGURATION_ERROR, BAD_OUT_OF_RANGE
from uem.twin_core.plant.territory import TagBinding

BAD_NOT_WRITABLE = 0x803B0000
BAD_NOT_CONNECTED = 0x808A0000


class Refused(Exception):
    """A value that is not sent."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def check(binding: TagBinding, value: float) -> None:
    """Refused when a value must not be sent to a tag, whatever its plant says."""
    if not binding.writable:
        raise Refused(BAD_NOT_WRITABLE, "the tag table does not mark it as writable; nothing was sent")
    if not math.isfinite(value):
        raise Refused(BAD_OUT_OF_RANGE, f"{value} is no number to write")
    if not binding.tag.low <= value <= binding.tag.high:
        limits = f"{binding.tag.low:g} to {binding.tag.high:g} {binding.tag.unit}"
        raise Refused(BAD_OUT_OF_RANGE, f"{value:g} is outside of the limits of the tag, {limits}")
    if binding.scale == 0:
        raise Refused(BAD_CONFIGURATION_ERROR, "a tag with scale 0 says nothing of its raw value")
