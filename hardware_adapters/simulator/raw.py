"""What instruments of a plant show, as the raw values of its protocol."""

import math
from collections.abc import Iterable, Iterator, Mapping

from uem.hardware_adapters.simulator.living import Row
from uem.twin_core.measurements import is_bad
from uem.twin_core.plant.territory import TagBinding


def raw_rows(bindings: Mapping[str, TagBinding], told: Iterable[Row]) -> Iterator[tuple[TagBinding, int, float]]:
    """(binding, time, raw value) of the rows of these tags; NaN where an instrument has none."""
    for tag, time_ns, value, quality in told:
        its = bindings.get(tag)
        if its is not None:
            yield its, time_ns, math.nan if is_bad(quality) else (value - its.offset) / its.scale
