"""What boilers of a followed network will do: they hold a supply temperature, unless they do not answer.

While one stands, its outlet shows what comes in, and while it gives all that it can, what it reaches: no set points.
One that runs and could give more shows its own; the others have the highest of those. One that stands though the water
that comes in lacks more heat than the least that it can give does not answer, after a while. Ahead all follow the
weather as set points were seen to (`heating_curve.py`).
"""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import NamedTuple, Self, TypeAlias

from uem.twin_core.follow.heating_curve import HeatingCurve
from uem.twin_core.follow.told import RUNS_FROM
from uem.twin_core.plant.units import Chp, HeatOnlyBoiler, Unit, WasteIncinerator
from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK

WAITS_S = 300.0  # beside its start-up, before it counts as one that does not answer
FULL_PART = 0.98  # of its nominal heat: one that gives more shows no set point
LEAST_PART = 0.05  # of its nominal heat that must be lacking

Boiler: TypeAlias = HeatOnlyBoiler | Chp


class Now(NamedTuple):
    """The water through a producer."""

    inlet_k: float
    outlet_k: float
    flow_kg_s: float
    heat_w: float


class SetPoints:
    """By name of the boiler; temperatures in K."""

    def __init__(self, units: Sequence[Unit], curve: HeatingCurve | None = None) -> None:
        """`curve`: what is known of it."""
        self._boilers = [unit for unit in units if isinstance(unit, Boiler)]
        self._others = [unit.name for unit in units if isinstance(unit, WasteIncinerator)]
        self._lacking_s = {boiler.name: 0.0 for boiler in self._boilers}
        self.supply_k = {boiler.name: boiler.supply_temp_k for boiler in self._boilers}
        self.curve = curve or HeatingCurve()

    @property
    def boilers(self) -> list[str]:
        """All of them."""
        return [*self._lacking_s]

    @property
    def lacking(self) -> list[str]:
        """Those that stand now though they should give heat."""
        return [name for name, lacking_s in self._lacking_s.items() if lacking_s > 0.0]

    def answers(self, name: str) -> bool:
        """Whether a boiler gives heat where it should."""
        waits_s = next(boiler.start_up_s for boiler in self._boilers if boiler.name == name) + WAITS_S
        return self._lacking_s[name] < waits_s

    def copy(self) -> Self:
        """The same, to go back to."""
        return copy(self)

    def see(self, now: Mapping[str, Now], dt_s: float, outdoor_k: float = math.nan) -> None:
        """How producers were for `dt_s`, and the weather, NaN if nobody tells."""
        boilers = {boiler.name: boiler for boiler in self._boilers}
        runs = [name for name, boiler in boilers.items() if now[name].heat_w > RUNS_FROM * boiler.nominal_heat_w]
        free = {
            name: now[name].outlet_k for name in runs if now[name].heat_w < FULL_PART * boilers[name].nominal_heat_w
        }
        others_k = [now[name].outlet_k for name in self._others if now[name].heat_w > 0.0]
        shown_k = max([*free.values()] or [now[name].outlet_k for name in runs] or others_k, default=0.0)
        if shown_k:
            self.supply_k = {name: free.get(name, shown_k) for name in boilers}
        if math.isfinite(outdoor_k):
            self.curve = self.curve.see(outdoor_k, max(free.values(), default=math.nan), dt_s)
        self._lacking_s = {
            name: self._lacking_s[name] + dt_s if name not in runs and self._lacks(boiler, now[name]) else 0.0
            for name, boiler in boilers.items()
        }

    def _lacks(self, boiler: Boiler, now: Now) -> bool:
        lacking_w = HEAT_CAPACITY_J_KGK * now.flow_kg_s * (self.supply_k[boiler.name] - now.inlet_k)
        return lacking_w > max(boiler.minimum_heat_w, LEAST_PART * boiler.nominal_heat_w)
