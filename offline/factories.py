"""Factories beside a network that runs by itself: their week, and columns of what they make and give off."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.run_inputs import Input
from uem.twin_core.coupled import CoupledPlan, CoupledState
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.factory import FactorySite
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.territory import Territory
from uem.twin_core.production.plan import FactoryPlan, FactoryRun

Array = NDArray[np.float64]

WEEK_S: Final = 604_800.0


def sites_of(territory: Territory, network: Network) -> tuple[FactorySite, ...]:
    """The factories whose heat the network takes."""
    return tuple(
        site
        for site in territory.factories
        if any(stream.loop is not None and stream.loop.network == network.name for stream in site.heat)
    )


def refuse_what_heat_sets(inputs: Iterable[Input], sites: Sequence[FactorySite]) -> None:
    """InvalidInput for inputs that would be overwritten by the heat of a factory."""
    loops = {stream.loop.unit: f"{site.name}/{stream.name}" for site in sites for stream in site.heat if stream.loop}
    for item in inputs:
        for unit, stream in loops.items():
            told = ("stream_temp_k", "source_temp_k")  # of the loop, to an exchanger, to a heat pump
            if item.si_name in told or item.si_name in {f"unit/{unit}/{key}" for key in told}:
                raise InvalidInput(f"input {item.name}: heat {stream} sets it; leave it out, or run without factories")


def at_hour(plan: FactoryPlan, run: FactoryRun, hour: float) -> None:
    """Bring a run to an hour of the week, with its machines and buffers as they usually are then.

    A factory with orders begins at their beginning instead: nobody knows what it did before.
    """
    before_s = 0.0 if plan.factory.orders else WEEK_S
    plan.run(run, before_s + hour * 3600.0)
    plan.clear_ledger(run)


class FactoryColumns:
    """What factories did in every interval.

    In it: `factory/N/output`, parts that left. Means: `factory/N/power`, `heat/N/S/produced`, `taken`, `dumped` (W). At
    its end: `heat/N/S/temperature` (K), `heat/N/S/alarm` (0 or 1), `factory/N/level/B` (parts).
    """

    def __init__(self, plan: CoupledPlan, state: CoupledState, rows: int) -> None:
        self._plan, self._state = plan, state
        self._totals_before = self._totals()
        self._row = 0
        names: dict[str, str] = {}
        for site in plan.sites:
            names |= {f"factory/{site.name}/power": "W", f"factory/{site.name}/output": "1"}
        for kind in ("produced", "taken", "dumped"):
            names |= {f"heat/{stream}/{kind}": "W" for stream in plan.streams}
        self._counted = np.array([unit == "1" for unit in names.values()])
        names |= {f"heat/{stream}/temperature": "K" for stream in plan.streams}
        names |= {f"heat/{stream}/alarm": "1" for stream in plan.streams}
        names |= {f"factory/{site.name}/level/{b.name}": "1" for site in plan.sites for b in site.factory.buffers}
        self.units = names
        self._table = np.zeros((rows, len(names)))

    def _totals(self) -> Array:
        """In the order of the means."""
        plan, state = self._plan, self._state
        found = []
        for factory, run in zip(plan.factories, state.runs, strict=True):
            ledger = factory.ledger(run)
            found += [ledger.energy_j.sum(), float(ledger.output[0])]
        return np.array([*found, *state.produced_j, *state.taken_j, *state.dumped_j])

    def close(self, interval_s: float) -> None:
        """End an interval."""
        totals, state = self._totals(), self._state
        levels = [run.view["buffer"]["level"].astype(float) for run in state.runs]
        means = (totals - self._totals_before) / np.where(self._counted, 1.0, interval_s)
        self._table[self._row] = np.concatenate([means, state.temp_k, state.alarm, *levels])
        self._totals_before = totals
        self._row += 1

    def columns(self) -> dict[str, Array]:
        """All of them by name, each of shape (rows,)."""
        return {name: np.ascontiguousarray(self._table[:, i]) for i, name in enumerate(self.units)}


def summary(columns: Mapping[str, Array], interval_s: Array) -> dict[str, Any]:
    """Parts and energy by factory, and what became of its heat, in kWh."""

    def total(name: str) -> float:
        return float(np.sum(columns[name] * interval_s))

    found: dict[str, Any] = {}
    for name in columns:
        kind, _, rest = name.partition("/")
        if kind == "factory" and rest.endswith("/power"):
            factory = rest.removesuffix("/power")
            found[factory] = {
                "parts": round(float(columns[f"factory/{factory}/output"].sum())),
                "energy_kwh": total(name) / 3.6e6,
                "heat": {},
            }
    for name in columns:
        kind, _, rest = name.partition("/")
        if kind == "heat" and rest.endswith("/produced"):
            factory, stream, _ = rest.split("/")
            kwh = {
                f"{part}_kwh": total(f"heat/{factory}/{stream}/{part}") / 3.6e6
                for part in ("produced", "taken", "dumped")
            }
            alarm_h = total(f"heat/{factory}/{stream}/alarm") / 3600.0
            found[factory]["heat"][stream] = kwh | {"alarm_h": alarm_h}
    return found
