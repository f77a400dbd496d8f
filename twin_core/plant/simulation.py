"""What drives simulated plants: the weather of a typical year, and what customers of a heat network ask for.

Space heating follows the mean outdoor temperature of the last 24 hours along the load line, and over the day the shape
that customers of the same group had; so does the supply temperature. Hot water has a shape alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from uem.twin_core.measurements import NS_PER_S

HOURS = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Times are plant times in ns UTC."""

    epoch_ns: int  # when plants start
    seed: int = 1
    outdoor_c: tuple[float, ...]  # of each hour of a year of 365 days: its mean, told at its end
    shapes: Mapping[tuple[str, str, str], tuple[float, ...]]  # by group, use and kind of day: hours of a day, mean 1
    groups: Mapping[str, str]  # group of each substation

    def outdoor_temp_c(self, time_ns: int) -> float:
        """Linear between the hours."""
        hour = hour_of_year(time_ns)
        first = math.floor(hour)
        before, after = (self.outdoor_c[(first + k) % len(self.outdoor_c)] for k in (-1, 0))
        return before + (hour - first) * (after - before)

    def mean_of_a_day_c(self, time_ns: int) -> float:
        """Outdoor temperature in the mean of the 24 hours until then."""
        hour = hour_of_year(time_ns)
        first = math.floor(hour)
        part, count = hour - first, len(self.outdoor_c)
        whole = math.fsum(self.outdoor_c[(first - k) % count] for k in range(1, HOURS))
        oldest, newest = self.outdoor_c[(first - HOURS) % count], self.outdoor_c[first % count]
        return (whole + (1.0 - part) * oldest + part * newest) / HOURS

    def shape(self, station: str, use: str, time_ns: int) -> float:
        """How much more than in the mean of a day a substation asks for; `use` is heating or hot_water."""
        now = _EPOCH + timedelta(seconds=time_ns / NS_PER_S)
        kind = "weekend" if now.weekday() >= 5 else "workday"
        hours = self.shapes[self.groups[station], use, kind]
        part = now.minute / 60.0 + now.second / 3600.0
        return (1.0 - part) * hours[now.hour] + part * hours[(now.hour + 1) % HOURS]


def hour_of_year(time_ns: int) -> float:
    """Of a year of 365 days; a 29th of February is a 28th again."""
    now = _EPOCH + timedelta(seconds=time_ns / NS_PER_S)
    day = min(now.day, 28) if now.month == 2 else now.day
    days = (datetime(2001, now.month, day, tzinfo=UTC) - datetime(2001, 1, 1, tzinfo=UTC)).days
    return HOURS * days + now.hour + now.minute / 60.0 + (now.second + now.microsecond * 1e-6) / 3600.0


def load_part(mean_c: float, design_c: float, limit_c: float) -> float:
    """The load line: part of the design load at a mean outdoor temperature, 0 above the heating limit."""
    return min(max((limit_c - mean_c) / (limit_c - design_c), 0.0), 1.0)
