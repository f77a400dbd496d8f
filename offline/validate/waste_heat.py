"""Waste heat of the valley's factories, forecast as the twin does it and judged against plants that differ from it.

The plant is the production engine with another seed and other parameters: powers, cycle times, times to failure and to
repair, losses and fumes of furnaces. The twin follows what it tells of states, parts and chambers, and the heat
meter of each stream. Nothing was chosen by these figures. A week is learned from and a week judged, which holds a band
to 15 points; with `--every-figure` it is two weeks and 60 days, which hold it to 4.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import EVERY_FIGURE, Result
from uem.territories.load import load
from uem.twin_core.estimation.intake import Intake
from uem.twin_core.follow.factory import FactoryFollower
from uem.twin_core.forecast.forks import ForkForecaster
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.plant.factory import FactorySite, MachineTags, slots_apart
from uem.twin_core.plant.furnace import Furnace
from uem.twin_core.plant.production import Failure, Machine, stretched
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.production.indicators import PACKML
from uem.twin_core.production.plan import STATES, FactoryPlan

Array = NDArray[np.float64]

LEARNING_DAYS, JUDGED_DAYS, BAND_BAR = 14, 60, 0.04
SHORT_LEARNING_DAYS, SHORT_JUDGED_DAYS, SHORT_BAND_BAR = 7, 7, 0.15
ISSUED_EVERY_S: Final = 6 * 3600.0
STEP_S: Final = 900.0
LEADS: Final = 96
PER_WEEK: Final = 7 * LEADS
WEEK_S: Final = 7 * 86_400.0
SCAN_S: Final = 10.0  # of states and counters
METER_S: Final = 60.0
METER_NOISE: Final = 0.01  # of a meter's mean of a minute; what its gain is wrong by is not in it
CHAMBER_S, CHAMBER_SD_K = 900.0, 1.0
POWER_SD, CYCLE_SD, FURNACE_SD, FAILURE_SD, REPAIR_SD = 0.06, 0.02, 0.08, 0.3, 0.2  # of the plant's parameters
LEVELS_80: Final = (0.1, 0.9)


def perturbed(site: FactorySite, rng: np.random.Generator) -> FactorySite:
    """The plant that the file describes only roughly."""

    def about(sd: float) -> float:
        return float(np.exp(rng.normal(0.0, sd)))

    def furnace(known: Furnace) -> Furnace:
        keys = ("lining_w_per_k", "wall_w_per_k", "fumes_kg_per_j", "vent_kg_s")
        return replace(known, **{key: getattr(known, key) * about(FURNACE_SD) for key in keys})

    def failure(known: Failure) -> Failure:
        return replace(
            known,
            to_fail=stretched(known.to_fail, about(FAILURE_SD)),
            to_repair=stretched(known.to_repair, about(REPAIR_SD)),
        )

    def machine(known: Machine) -> Machine:
        power, cycle = about(POWER_SD), about(CYCLE_SD)
        different = replace(
            known,
            power_w={state: power * w for state, w in known.power_w.items()},
            failures=tuple(map(failure, known.failures)),
        )
        if known.furnace is not None:
            return replace(different, furnace=furnace(known.furnace))
        recipes = {product: stretched(law, cycle) for product, law in known.recipes.items()}
        return replace(different, cycle=stretched(known.cycle, cycle), recipes=recipes)

    return replace(site, factory=replace(site.factory, machines=tuple(map(machine, site.factory.machines))))


def goes_on(site: FactorySite, weeks: int) -> FactorySite:
    """The site with orders that come again when those of the file are done, for so many weeks."""

    def again(machine: Machine) -> Machine:
        if not machine.orders:
            return machine
        period_s = WEEK_S * math.ceil((max(order.release_s for order in machine.orders) + 1.0) / WEEK_S)
        orders = [
            replace(order, name=f"{order.name}-{k}", release_s=later, due_s=later + order.due_s - order.release_s)
            for k in range(math.ceil(weeks * WEEK_S / period_s))
            for order in machine.orders
            for later in [order.release_s + k * period_s]
        ]
        return replace(machine, orders=tuple(orders))

    return replace(site, factory=replace(site.factory, machines=tuple(map(again, site.factory.machines))))


def tagged(site: FactorySite) -> FactorySite:
    """The site with everything measured that a follower can use."""

    def tags(machine: Machine) -> MachineTags:
        where = f"{machine.name}/{{slot}}" if machine.slots > 1 else machine.name
        return MachineTags(
            state_tag=f"{where}/state",
            good_tag=f"{where}/good",
            scrap_tag=f"{where}/scrap" if machine.scrap else "",
            temperature_tag=f"{where}/temperature" if machine.furnace is not None else "",
        )

    return replace(site, machine_tags={machine.name: tags(machine) for machine in site.factory.machines}, level_tags={})


def heat_tags(site: FactorySite) -> dict[str, str]:
    """The tag of each stream's meter, by the signal that it measures."""
    return {f"heat/{site.name}/{stream.name}/produced": f"heat/{stream.name}" for stream in site.heat}


def record(site: FactorySite, days: int, seed: int) -> Samples:
    """What a plant of this site tells of itself, in order of time: changes, chambers, and the mean of each minute."""
    rng = np.random.default_rng(seed)
    truth = slots_apart(perturbed(site, rng))
    plan = FactoryPlan(truth.factory)
    run, meter = plan.initial_run(seed=seed), HeatMeter(plan, truth.heat)
    server, count = run.view["server"], len(plan.machines)
    numbers = np.array([PACKML[state] for state in STATES])
    tags = [truth.machine_tags[name] for name in plan.machines]
    names = [[tag.state_tag for tag in tags], [tag.good_tag for tag in tags], [tag.scrap_tag for tag in tags]]
    found: list[tuple[str, int, float, int]] = []
    last, spent, metered_s = np.full((3, count), -1.0), plan.spent(run), 0.0
    for tick in range(round(days * 86_400 / SCAN_S) + 1):
        time_s = tick * SCAN_S
        time_ns = site.calendar_epoch_ns + round(time_s * NS_PER_S)
        plan.run(run, time_s)
        made, scrapped = server["made"][:count], server["scrapped"][:count]
        now = np.stack([numbers[server["shown"][:count].astype(np.intp)], made - scrapped, scrapped]).astype(np.float64)
        for kind, m in np.argwhere(now != last).tolist():
            if names[kind][m]:
                found.append((names[kind][m], time_ns, float(now[kind, m]), 0))
        last = now
        if time_s % METER_S == 0.0:
            before, spent = spent, plan.spent(run)
            heat_w = meter.given_j(before, spent) / max(time_s - metered_s, 1.0)
            heat_w *= 1.0 + rng.normal(0.0, METER_NOISE, len(heat_w))
            found += [(tag, time_ns, w, 0) for tag, w in zip(heat_tags(site).values(), heat_w.tolist(), strict=True)]
            metered_s = time_s
        if time_s % CHAMBER_S == 0.0:
            for f, name in enumerate(spent.furnaces.furnaces):
                temp_k = float(spent.furnaces.temperature_k[0, f, 0]) + rng.normal(0.0, CHAMBER_SD_K)
                found.append((truth.machine_tags[name].temperature_tag, time_ns, temp_k, 0))
    return Samples.from_rows(found)


@dataclass(frozen=True, slots=True)
class Judged:
    """Of every issue (issues, leads, streams): what was forecast, the 80 % band, what was measured, a week before."""

    value: Array
    low: Array
    high: Array
    measured: Array
    naive: Array

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """Where the band is not a single value, as it is while nothing works."""
        return self.high > self.low

    def coverage(self) -> float:
        """Share of measurements within the band, where it is uncertain."""
        inside = (self.measured >= self.low) & (self.measured <= self.high)
        return float(inside[self.uncertain].mean())

    def certain_hit(self) -> float:
        """Share of the certain values that came; 1 where there were none."""
        certain = ~self.uncertain
        return float((self.measured == self.value)[certain].mean()) if certain.any() else 1.0

    def skill(self) -> float:
        """1 less the ratio of the root mean squares of the errors to those of the week before."""
        error, naive = (np.sqrt(np.mean((self.measured - found) ** 2)) for found in (self.value, self.naive))
        return float(1.0 - error / naive)

    def error(self) -> float:
        """Root mean square error over the mean heat."""
        return float(np.sqrt(np.mean((self.measured - self.value) ** 2)) / self.measured.mean())


def judge(site: FactorySite, *, learning_days: int, judged_days: int, seed: int) -> Judged:
    """Follow a plant of the site, forecast on the way, and hold what was issued after the learning against it."""
    weeks = math.ceil((learning_days + judged_days + 2) / 7)
    site = replace(tagged(goes_on(site, weeks)), forecast_horizon_s=LEADS * STEP_S, forecast_step_s=STEP_S)
    samples = record(site, learning_days + judged_days + 1, seed)
    follower = FactoryFollower(site, heat_tags(site))
    forecaster = ForkForecaster(follower, ISSUED_EVERY_S)
    intake = Intake(follower.required_tags, follower.optional_tags, follower.patience)
    step_ns, begin_ns = round(STEP_S * NS_PER_S), site.calendar_epoch_ns
    count = (learning_days + judged_days + 1) * LEADS
    measured = np.full((count, len(site.heat)), np.nan)
    issued: list[tuple[int, Array, Array]] = []
    edges = np.searchsorted(samples.source_time_ns, begin_ns + step_ns * np.arange(count + 1), "right")
    for number in range(count):
        first = 0 if number == 0 else int(edges[number - 1])
        intake.take(samples.take(slice(first, int(edges[number]))))
        time_ns = begin_ns + number * step_ns
        if number == 0:
            follower.start(intake, time_ns)
            forecaster.start(time_ns)
        else:
            follower.step(intake, time_ns - step_ns, time_ns)
            measured[number] = follower.observe(intake, time_ns)[2:]
        if forecaster.tick(intake, time_ns) and learning_days * LEADS <= number < count - LEADS:
            found = forecaster.issued(intake, time_ns)
            bounds = [found.levels.index(level) for level in LEVELS_80]
            heat = found.series[2:]
            issued.append(
                (number, np.stack([s.value for s in heat], -1), np.stack([s.quantile[:, bounds] for s in heat], 1))
            )
        intake.forget_before(time_ns)
    rows = np.array([number + 1 + np.arange(LEADS) for number, *_ in issued])
    quantile = np.array([quantile for *_, quantile in issued])
    value = np.array([value for _, value, _ in issued])
    return Judged(value, quantile[..., 0], quantile[..., 1], measured[rows], measured[rows - PER_WEEK])


def valley(seed: int = 11) -> Iterator[Result]:
    """Simulated days of each factory, 7 or 60."""
    learning_days, days, bar = SHORT_LEARNING_DAYS, SHORT_JUDGED_DAYS, SHORT_BAND_BAR
    if EVERY_FIGURE.get():
        learning_days, days, bar = LEARNING_DAYS, JUDGED_DAYS, BAND_BAR
    for k, site in enumerate(load("vallee").factories):
        judged = judge(site, learning_days=learning_days, judged_days=days, seed=seed + k)
        yield from _results(f"waste heat of {site.name}, {days} simulated days", judged, bar)


def _results(case: str, judged: Judged, band_bar: float) -> Iterator[Result]:
    def result(metric: str, value: float, bar: float = np.inf, **more: float) -> Result:
        return Result(suite="forecast", case=case, metric=metric, value=value, unit="1", bar=bar, **more)

    yield result("80 % band holds", judged.coverage(), 0.8 + band_bar, least=0.8 - band_bar, reference=0.8)
    yield result("skill against the week before", judged.skill(), 1.0)
    yield result("root mean square error over the mean heat", judged.error())
    yield result("share of the time that is certain", float(1.0 - judged.uncertain.mean()))
    yield result("certain values that came", judged.certain_hit())
