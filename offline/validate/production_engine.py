"""Tables of exact figures against the event engine: the same cases as in `production_tables`, simulated.

Every figure is a mean over independent replications with its standard error, judged in standard errors. A case runs
until the standard error of its throughput (or of what stands for it) is below 0.1 %, from `FEWEST_EVENTS` to
`MOST_EVENTS` events; the first tenth of each replication is left out. `--effort` multiplies the events, so that errors
shrink by its root; with `--every-figure` a case runs until each of its figures is as sure. The seed of a case goes by
its name: the same figures every time.
"""

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import EFFORT, EVERY_FIGURE, Case, Result
from uem.offline.validate.production_models import Figures, Model, line_factory, model_of
from uem.offline.validate.production_tables import HEADER, TableCase, each_case
from uem.twin_core.production.plan import FactoryPlan, FactoryRun

Array = NDArray[np.float64]

SUITE: Final = "production_engine"
FEWEST_EVENTS: Final = 5_000_000
MOST_EVENTS: Final = 40_000_000
MOST_EVENTS_FOR_EVERY_FIGURE: Final = 20_000_000_000
MOST_TRIES: Final = 60
FUTURES: Final = 100_000
FUTURES_AT_ONCE: Final = 10_000
SAFETY: Final = 0.9
ERRORS_BAR: Final = 4.0
PERCENT_BAR: Final = 0.1
EXACTLY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, or the ratio of two means, with its standard error."""

    value: float
    error: float

    @property
    def percent(self) -> float:
        """The standard error in percent of the value; 0 of what does not vary."""
        return 100.0 * self.error / abs(self.value) if self.error else 0.0

    def away(self, truth: float) -> float:
        """How many standard errors it is away from the truth; what does not vary must be it."""
        if self.error <= EXACTLY * max(abs(self.value), 1.0):
            return 0.0 if abs(self.value - truth) <= 1e-9 * max(abs(truth), 1.0) else math.inf
        return abs(self.value - truth) / self.error


def tables(path: Path) -> Iterator[Result]:
    """Every case of a table that the engine can run."""
    return each_case(path, simulated)


def simulated(case: TableCase) -> Iterator[Result]:
    """What the engine makes of a case; nothing where it is no model of it."""
    if {"horizon", "start"} <= case.params.keys():
        yield from forecast(case)
    elif (found := model_of(case.params)) is not None:
        yield from steady(case, found)


def estimate(figure: tuple[Array, Array | float]) -> Estimate:
    """Mean over mean, with the standard error of the ratio (delta method)."""
    above, below = figure
    n = len(above)
    value = float(np.mean(above) / np.mean(below))
    rest = above - value * below
    return Estimate(value, float(np.std(rest, ddof=1) / math.sqrt(n) / abs(np.mean(below))))


def steady(case: TableCase, found: Model) -> Iterator[Result]:
    """Long-run figures."""
    wanted = {row.metric: row.value for row in case.rows if row.kind == "exact"}
    every = EVERY_FIGURE.get()
    all_figures = _simulated(found, seed_of(case), wanted if every else ())
    figures = {metric: estimate(figure) for metric, figure in all_figures.items() if metric in wanted}
    if not figures:
        return
    away = [figure.away(wanted[metric]) for metric, figure in figures.items()]
    yield _result(case, f"{len(away)} simulated figures, furthest", max(away), "standard errors", ERRORS_BAR)
    yield _result(
        case, f"standard error of {found.leading}", estimate(all_figures[found.leading]).percent, "%", PERCENT_BAR
    )
    largest = max(figure.percent for figure in figures.values())
    yield _result(case, "largest standard error of a figure", largest, "%", PERCENT_BAR if every else math.inf)


def seed_of(case: TableCase) -> int:
    """A seed of its own for each case, so that none meets the random numbers of another."""
    return crc32(f"{case.path.stem}/{case.name}".encode())


def _simulated(model: Model, seed: int, wanted: Container[str]) -> Figures:
    """Replications long enough for the leading figure, and for those that are `wanted`.

    How long that is, is told by earlier ones, which are not used again.
    """
    effort = EFFORT.get()
    most_events = effort * (MOST_EVENTS_FOR_EVERY_FIGURE if wanted else MOST_EVENTS)
    duration, longer, goal = 1.0, 4.0, PERCENT_BAR / math.sqrt(effort)
    for k in range(MOST_TRIES):
        duration *= longer
        figures, events = model.simulate(duration, seed, k)
        percent = max(estimate(figures[name]).percent for name in figures if name == model.leading or name in wanted)
        if events < effort * FEWEST_EVENTS:
            longer = 4.0
        elif percent <= goal or events >= most_events:
            break
        else:
            longer = min((percent / (SAFETY * goal)) ** 2, 1.1 * most_events / events)
    return figures


def forecast(case: TableCase) -> Iterator[Result]:
    """Finished parts within a horizon, from a state put into the engine."""
    plan = FactoryPlan(line_factory(case.params))
    start = plan.initial_run()
    names = plan.machines
    plan.inject(
        start,
        levels=dict(zip(plan.buffers, case.params["start"]["buffers"], strict=True)),
        machines=dict(zip(names, case.params["start"]["machines"], strict=True)),
    )
    parts = np.concatenate([_outputs(plan, start, case, k) for k in range(FUTURES // FUTURES_AT_ONCE)])
    wanted = {row.metric: row.value for row in case.rows}
    if "mean_output" in wanted:
        mean = estimate((parts.astype(float), 1.0)).away(wanted["mean_output"])
        yield _result(case, f"mean of {FUTURES} futures", mean, "standard errors", ERRORS_BAR)
    quantiles = {metric: int(metric[1:]) / 100.0 for metric in wanted if metric[0] == "q"}
    apart = [abs(float(np.quantile(parts, q, method="inverted_cdf")) - wanted[m]) for m, q in quantiles.items()]
    if apart:
        yield _result(case, f"{len(apart)} quantiles, furthest", max(apart), "parts", 1.0)
    for metric, truth in wanted.items():
        if metric.startswith("p_at_least_"):
            share = float(np.mean(parts >= int(metric.removeprefix("p_at_least_"))))
            yield _result(case, metric, abs(share - truth), "1", 0.006)


def _outputs(plan: FactoryPlan, start: FactoryRun, case: TableCase, chunk: int) -> NDArray[np.int64]:
    first, horizon = chunk * FUTURES_AT_ONCE, case.params["horizon"]
    found = plan.replicate(FUTURES_AT_ONCE, horizon, start=start, seed=seed_of(case), first=first)
    return np.asarray(found.output)


def _result(case: TableCase, metric: str, value: float, unit: str, bar: float) -> Result:
    return Result(suite=SUITE, case=f"{case.path.stem}: {case.name}", metric=metric, value=value, unit=unit, bar=bar)


TABLES: Final[dict[str, Case]] = {HEADER: tables}
