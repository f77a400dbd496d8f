"""Writes signals into a snapshot with the quality and age that follow from the readings behind them."""

import math
from collections.abc import Iterable

from uem.twin_core.estimation.timeline import Reading
from uem.twin_core.measurements import GOOD, NS_PER_S, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE, is_good
from uem.twin_core.state import Columns


class Writer:
    """The columns of one snapshot; what the model computed is as old as the oldest of its `inputs`."""

    def __init__(self, columns: Columns, time_ns: int, inputs: Iterable[Reading], *, consistent: bool = True) -> None:
        """`consistent`: the readings do not contradict each other."""
        readings = list(inputs)
        self._columns = columns
        self._time_ns = time_ns
        self._age_s = (time_ns - min(reading.measured_ns for reading in readings)) / NS_PER_S
        good = all(is_good(reading.quality) for reading in readings)
        self._quality = UNCERTAIN_LAST_USABLE_VALUE if not good else GOOD if consistent else UNCERTAIN

    def measured(self, name: str, reading: Reading) -> None:
        """A signal as its sensor gave it; how wrong it may be is not known."""
        age_s = (self._time_ns - reading.measured_ns) / NS_PER_S
        self._columns.put(name, reading.value, math.nan, reading.quality, age_s)

    def own(self, name: str, value: float, standard_deviation: float, *, settled: bool = True) -> None:
        """A signal that the model computed; Uncertain as long as its start may show."""
        quality = self._quality if settled else max(self._quality, UNCERTAIN)
        self._columns.put(name, value, standard_deviation, quality, self._age_s)
