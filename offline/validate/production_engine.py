"""Tables of exact figures against the event engine: the same cases as in `production_tables`, simulated.

Every figure is a mean over independent replications with its standard error, judged in standard errors. A case runs
until the standard error of its throughput (or of what stands for it) is below 0.1 %, at most `MOST_EVENTS` events; the
first tenth of each replication is left out. `--effort` multiplies the events, so that errors shrink by its root. The
seed of a case goes by its name: the same figures every time. Not simulated is what is no line of events: slotted and
fluid machines, and priorities where each class has a cycle of its own.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import EFFORT, Case, Result
from uem.offline.validate.production_tables import HEADER, Params, TableCase, interarrival_scv, read_table
from uem.twin_core.production import model
from uem.twin_core.production.model import OUT, Buffer, Crew, Factory, Failure, Flow, Law, Machine, Sleep
from uem.twin_core.production.plan import FactoryPlan, FactoryRun, Ledger

Array = NDArray[np.float64]

SUITE: Final = "production_engine"
REPLICATIONS: Final = 200
FEWEST_EVENTS: Final = 500_000
MOST_EVENTS: Final = 40_000_000
MOST_TRIES: Final = 60
FUTURES: Final = 100_000
FUTURES_AT_ONCE: Final = 10_000
SLICES: Final = 8
WARM_UP: Final = 0.1
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


Figures = Mapping[str, tuple[Array, Array | float]]  # by metric, by replication: what is divided by what


@dataclass(frozen=True, slots=True)
class Model:
    """A factory, how the figures of a table are read off its ledger, and which of them sets the length of the run."""

    factory: Factory
    read: Callable[[Ledger], Figures]
    leading: str


def tables(path: Path) -> Iterator[Result]:
    """Every case of a table that the engine can run."""
    for case in read_table(path):
        if {"horizon", "start"} <= case.params.keys():
            yield from forecast(case)
            continue
        found = model_of(case.params)
        if found is not None:
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
    ledger = _ledger(FactoryPlan(found.factory), found, seed_of(case))
    figures = {metric: estimate(figure) for metric, figure in found.read(ledger).items() if metric in wanted}
    away = [figure.away(wanted[metric]) for metric, figure in figures.items()]
    yield _result(case, f"{len(away)} simulated figures, furthest", max(away), "standard errors", ERRORS_BAR)
    yield _result(case, f"standard error of {found.leading}", figures[found.leading].percent, "%", PERCENT_BAR)
    largest = max(figure.percent for figure in figures.values())
    yield _result(case, "largest standard error of a figure", largest, "%", math.inf)


def seed_of(case: TableCase) -> int:
    """A seed of its own for each case, so that none meets the random numbers of another."""
    return crc32(f"{case.path.stem}/{case.name}".encode())


def _ledger(plan: FactoryPlan, found: Model, seed: int) -> Ledger:
    """Replications long enough for the leading figure; how long is told by earlier ones, which are not used again."""
    effort = EFFORT.get()
    until_s, longer, goal = 1.0, 4.0, PERCENT_BAR / math.sqrt(effort)
    for k in range(MOST_TRIES):
        until_s *= longer
        ledger = _replicated(plan, until_s, seed, k)
        events = ledger.events.sum()
        percent = estimate(found.read(ledger)[found.leading]).percent
        if events < FEWEST_EVENTS:
            longer = 4.0
        elif percent <= goal or events >= effort * MOST_EVENTS:
            break
        else:
            longer = min((percent / (SAFETY * goal)) ** 2, 1.1 * effort * MOST_EVENTS / events)
    return ledger


def _replicated(plan: FactoryPlan, until_s: float, seed: int, k: int) -> Ledger:
    """The k-th set of replications, on all processors; the first part of each is left out."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        ledger = plan.replicate(
            REPLICATIONS,
            until_s,
            warmup_s=WARM_UP * until_s,
            seed=seed,
            first=k * REPLICATIONS,
            workers=pool.map,
            slices=SLICES,
        )
    assert isinstance(ledger, Ledger)
    return ledger


def forecast(case: TableCase) -> Iterator[Result]:
    """Finished parts within a horizon, from a state put into the engine."""
    line = _line(case.params)
    plan = FactoryPlan(line.factory)
    start = plan.initial_run()
    names = plan.machines
    plan.inject(
        start,
        levels=dict(zip(plan.buffers, case.params["start"]["buffers"], strict=True)),
        machines=dict(zip(names, case.params["start"]["machines"], strict=True)),
    )
    parts = np.concatenate([_outputs(plan, start, case, k) for k in range(FUTURES // FUTURES_AT_ONCE)])
    wanted = {row.metric: row.value for row in case.rows}
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


def model_of(params: Params) -> Model | None:
    """The engine's model of a case; None for what it is no model of."""
    for marks, build in KINDS:
        if marks <= params.keys():
            return build(params)
    return None


# ---- lines and assemblies ----


def _line(params: Params) -> Model:
    mu = params["mu"]
    if isinstance(mu, dict):
        feeders = sorted(mu.keys() - {"assembler"})
        rates, into = [*(mu[name] for name in feeders), mu["assembler"]], [len(feeders)] * len(feeders)
    else:
        rates, into = mu, list(range(1, len(mu)))
    n, crew = len(rates), params.get("repair_workers")
    watts = params.get("kW", {"busy": 0.0, "down": 0.0, "idle": 0.0})
    by_state = {"busy": watts["busy"], "down": watts["down"], "waiting_for_crew": watts["down"]}
    by_state |= {"starved": watts["idle"], "blocked": watts["idle"]}
    machines = tuple(
        Machine(
            name=f"m{k + 1}",
            cycle=model.exponential(1.0 / rates[k]),
            takes=tuple(f"b{j + 1}" for j in range(n - 1) if into[j] == k),
            gives=(f"b{k + 1}",) if k < n - 1 else (),
            failures=_failures(params, k, ("crew",) if crew else ()),
            power_w=by_state,
        )
        for k in range(n)
    )
    buffers = tuple(Buffer(name=f"b{k + 1}", capacity=params["buffers"][k]) for k in range(n - 1))
    crews = (Crew(name="crew", workers=crew),) if crew else ()
    return Model(Factory(machines=machines, buffers=buffers, crews=crews), _read_line, "throughput")


def _failures(params: Params, k: int, crews: tuple[str, ...]) -> tuple[Failure, ...]:
    rate = params.get("failure_rate", [])
    if not rate or rate[k] == 0:
        return ()
    repair = model.exponential(1.0 / params["repair_rate"][k])
    return (Failure(to_fail=model.exponential(1.0 / rate[k]), to_repair=repair, crews=crews),)


def _read_line(ledger: Ledger) -> Figures:
    throughput = ledger.throughput[:, -1]
    down = ledger.share("down") + ledger.share("waiting_for_crew")
    shares = {"starved": ledger.share("starved"), "busy": ledger.share("busy"), "down": down}
    shares["blocked"] = ledger.share("blocked")
    wip = ledger.level.sum(axis=1) + sum(shares[s].sum(axis=1) for s in ("busy", "down", "blocked"))
    figures: dict[str, tuple[Array, Array | float]] = {
        "throughput": (throughput, 1.0),
        "wip_total": (wip, 1.0),
        "mean_flow_time": (wip, throughput),
        "mean_power_kW": (ledger.power_w, 1.0),
        "kWh_per_part_if_time_in_hours": (ledger.power_w, throughput),
    }
    figures |= {f"buffer{k + 1}_mean": (ledger.level[:, k], 1.0) for k in range(len(ledger.buffers))}
    for state, share in shares.items():
        figures |= {f"m{k + 1}_{state}": (share[:, k], 1.0) for k in range(len(ledger.machines))}
    return figures


# ---- crews and networks ----


def _repair_crew(params: Params) -> Model:
    failure = Failure(
        to_fail=model.exponential(1.0 / params["failure_rate"]),
        to_repair=model.exponential(1.0 / params["repair_rate"]),
        crews=("crew",),
    )
    n, workers = params["machines"], params["crew"]
    machine = Machine(name="m", cycle=model.deterministic(math.inf), slots=n, failures=(failure,))
    factory = Factory(machines=(machine,), crews=(Crew(name="crew", workers=workers),))

    def read(ledger: Ledger) -> Figures:
        repaired, waits = ledger.share("down")[:, 0], ledger.share("waiting_for_crew")[:, 0]
        failures = ledger.failures[:, 0] / ledger.elapsed_s
        return {
            "mean_down": (repaired + waits, 1.0),
            "availability": (ledger.share("busy")[:, 0] / n, 1.0),
            "crew_busy": (repaired / workers, 1.0),
            "mean_downtime": (repaired + waits, failures),
            "mean_wait_for_crew": (waits, failures),
        }

    return Model(factory, read, "availability")


def _jackson(params: Params) -> Model:
    n = len(params["mu"])
    stations, sources = [], []
    for k in range(n):
        onward = [Flow(buffer=f"q{j + 1}", weight=w) for j, w in enumerate(params["P"][k]) if w > 0]
        leaves = 1.0 - sum(flow.weight for flow in onward)
        if leaves > 1e-12 or not onward:
            onward.append(Flow(buffer=OUT, weight=leaves))
        stations.append(
            Machine(
                name=f"s{k + 1}",
                cycle=model.exponential(1.0 / params["mu"][k]),
                takes=(f"q{k + 1}",),
                gives=tuple(onward),
                give_rule="chance",
                slots=params["c"][k],
            )
        )
        if params["gamma"][k] > 0:
            between = model.exponential(1.0 / params["gamma"][k])
            sources.append(model.source(f"in{k + 1}", between, [f"q{k + 1}"]))
    buffers = tuple(Buffer(name=f"q{k + 1}") for k in range(n))

    def read(ledger: Ledger) -> Figures:
        busy = ledger.share("busy")[:, :n]
        number = ledger.level + busy
        arrivals = ledger.throughput[:, n:].sum(axis=1)
        figures: dict[str, tuple[Array, Array | float]] = {
            "L_total": (number.sum(axis=1), 1.0),
            "W_total": (number.sum(axis=1), arrivals),
        }
        for k in range(n):
            figures[f"s{k + 1}_arrival"] = (ledger.entered[:, k] / ledger.elapsed_s, 1.0)
            figures[f"s{k + 1}_util"] = (busy[:, k] / params["c"][k], 1.0)
            figures[f"s{k + 1}_L"] = (number[:, k], 1.0)
        return figures

    return Model(Factory(machines=(*stations, *sources), buffers=buffers), read, "s1_util")


def _closed(params: Params) -> Model:
    n, pallets, think = len(params["demands"]), params["pallets"], params["think"]
    after = [f"q{k + 2}" for k in range(n - 1)] + ["thinks" if think > 0 else "q1"]
    machines = [
        Machine(
            name=f"s{k + 1}",
            cycle=model.exponential(params["demands"][k]),
            takes=(f"q{k + 1}",),
            gives=(after[k],),
            slots=params["servers"][k],
        )
        for k in range(n)
    ]
    buffers = [Buffer(name=f"q{k + 1}", initial=pallets if k == 0 else 0) for k in range(n)]
    if think > 0:
        thinker = Machine(name="think", cycle=model.exponential(think), takes=("thinks",), gives=("q1",), slots=pallets)
        machines.append(thinker)
        buffers.append(Buffer(name="thinks"))

    def read(ledger: Ledger) -> Figures:
        throughput = ledger.throughput[:, 0]
        number = ledger.level[:, :n] + ledger.share("busy")[:, :n]
        figures: dict[str, tuple[Array, Array | float]] = {
            "throughput": (throughput, 1.0),
            "cycle_time": (np.full(len(throughput), float(pallets)), throughput),
        }
        return figures | {f"s{k + 1}_L": (number[:, k], 1.0) for k in range(n)}

    return Model(Factory(machines=tuple(machines), buffers=tuple(buffers)), read, "throughput")


# ---- queues ----


def _queue(params: Params) -> Model | None:
    for part, build in QUEUES:
        if part in params["model"]:
            return build(params)
    return None


def _station(
    between: Law,
    cycle: Law,
    *,
    slots: int = 1,
    places: int | None = None,
    failures: tuple[Failure, ...] = (),
    batch: int = 1,
    sleep: Sleep | None = None,
) -> Factory:
    server = Machine(
        name="server", cycle=cycle, takes=("queue",), slots=slots, failures=failures, batch=(batch, batch), sleep=sleep
    )
    arrivals = model.source("arrivals", between, ["queue"], loses=places is not None)
    return Factory(machines=(server, arrivals), buffers=(Buffer(name="queue", capacity=places),))


def _read_queue(ledger: Ledger, slots: int = 1, batch: int = 1) -> dict[str, tuple[Array, Array | float]]:
    waiting = ledger.level[:, 0]
    busy = ledger.share("busy")[:, 0]
    held = batch * (busy + ledger.share("down")[:, 0])
    arrivals = ledger.entered[:, 0] / ledger.elapsed_s
    return {
        "utilisation": (held / batch / slots, 1.0),
        "busy": (busy, 1.0),
        "p_wait": (arrivals - ledger.passed[:, 0] / ledger.elapsed_s, arrivals),
        "sigma": (arrivals - ledger.passed[:, 0] / ledger.elapsed_s, arrivals),
        "Lq": (waiting, 1.0),
        "L": (waiting + held, 1.0),
        "Wq": (waiting, arrivals),
        "W": (waiting + held, arrivals),
    }


def _mmc(params: Params) -> Model:
    slots = params.get("servers", 1)
    factory = _station(
        model.exponential(1.0 / params["arrival"]), model.exponential(1.0 / params["service"]), slots=slots
    )
    return Model(factory, partial(_read_queue, slots=slots), "utilisation")


def _mm1k(params: Params) -> Model:
    laws = model.exponential(1.0 / params["arrival"]), model.exponential(1.0 / params["service"])

    def read(ledger: Ledger) -> Figures:
        queue = _read_queue(ledger)
        came, lost = ledger.made[:, 1].astype(float), ledger.lost[:, 1].astype(float)
        return {"L": queue["L"], "W": queue["W"], "throughput": (ledger.throughput[:, 0], 1.0), "p_loss": (lost, came)}

    return Model(_station(*laws, places=params["K"] - 1), read, "throughput")


def law(name: str, mean: float, scv: float) -> Law:
    """A law by the name that the tables give it; what they do not name, by its mean and variation."""
    if name == "deterministic" or scv == 0:
        return model.deterministic(mean)
    if name == "lognormal":
        return model.lognormal(mean, scv)
    if name.startswith("hyperexp"):
        return model.hyperexponential(mean, scv)
    if name.startswith("erlang"):
        return model.erlang(mean, int(name.removeprefix("erlang").strip("-_ ")))
    return model.exponential(mean) if scv == 1 else model.gamma(mean, scv)


def _mg1(params: Params) -> Model:
    cycle = law(params["service"], params["service_mean"], params["service_scv"])
    return Model(_station(model.exponential(1.0 / params["arrival"]), cycle), _read_queue, "utilisation")


def _gim1(params: Params) -> Model:
    between = law(params["interarrival"], 1.0 / params["arrival"], interarrival_scv(params))
    return Model(_station(between, model.exponential(1.0 / params["service"])), _read_queue, "utilisation")


def _priorities(params: Params) -> Model | None:
    means, seconds = params["service_means"], params["service_second_moments"]
    if len(set(means)) > 1 or len(set(seconds)) > 1:
        return None  # a machine has one cycle law
    n = len(means)
    cycle = law("", means[0], seconds[0] / means[0] ** 2 - 1.0)
    queues = tuple(f"q{k + 1}" for k in range(n))
    server = Machine(name="server", cycle=cycle, takes=queues, take_rule="first")
    sources = (
        model.source(f"in{k + 1}", model.exponential(1.0 / params["arrivals"][k]), [queues[k]]) for k in range(n)
    )
    factory = Factory(machines=(server, *sources), buffers=tuple(Buffer(name=name) for name in queues))

    def read(ledger: Ledger) -> Figures:
        figures: dict[str, tuple[Array, Array | float]] = {
            f"Wq_class{k + 1}": (ledger.level[:, k] * ledger.elapsed_s, ledger.entered[:, k].astype(float))
            for k in range(n)
        }
        return figures

    return Model(factory, read, "Wq_class1")


def _outages(params: Params) -> Model:
    repair = law("", params["mttr"], params["repair_scv"])
    failure = Failure(to_fail=model.exponential(params["mttf"]), to_repair=repair)
    cycle = law("", params["t0"], params["scv0"])
    factory = _station(model.exponential(1.0 / params["arrival"]), cycle, failures=(failure,))

    def read(ledger: Ledger) -> Figures:
        busy, down = ledger.share("busy")[:, 0], ledger.share("down")[:, 0]
        figures = _read_queue(ledger)
        figures["availability"] = (busy, busy + down)
        figures["effective_time"] = (busy + down, ledger.throughput[:, 0])
        return figures

    return Model(factory, read, "utilisation")


def _batch(params: Params) -> Model:
    laws = model.exponential(1.0 / params["arrival"]), model.exponential(1.0 / params["cycle_rate"])
    return Model(_station(*laws, batch=params["batch"]), partial(_read_queue, batch=params["batch"]), "utilisation")


def _switched(params: Params) -> Model:
    sleep = Sleep(after_s=0.0, warm_up=model.exponential(1.0 / params["warmup_rate"]))
    laws = model.exponential(1.0 / params["arrival"]), model.exponential(1.0 / params["service"])
    watts = params["kW"]

    def read(ledger: Ledger) -> Figures:
        queue = _read_queue(ledger)
        shares = {
            "p_busy": ledger.share("busy")[:, 0],
            "p_off": ledger.share("sleeping")[:, 0],
            "p_warmup": ledger.share("warming_up")[:, 0],
        }
        power = sum(watts[state.removeprefix("p_")] * share for state, share in shares.items())
        figures: dict[str, tuple[Array, Array | float]] = {"L": queue["L"], "W": queue["W"]}
        figures["mean_power_kW"] = (np.asarray(power), 1.0)
        return figures | {name: (share, 1.0) for name, share in shares.items()}

    return Model(_station(*laws, sleep=sleep), read, "mean_power_kW")


def _result(case: TableCase, metric: str, value: float, unit: str, bar: float) -> Result:
    return Result(suite=SUITE, case=f"{case.path.stem}: {case.name}", metric=metric, value=value, unit=unit, bar=bar)


# The first whose names are all among the params of a case is its kind, as in `production_tables`.
KINDS: Final[tuple[tuple[frozenset[str], Callable[[Params], Model | None]], ...]] = (
    (frozenset({"model"}), _queue),
    (frozenset({"crew", "machines"}), _repair_crew),
    (frozenset({"gamma", "P"}), _jackson),
    (frozenset({"demands", "pallets"}), _closed),
    (frozenset({"mu", "buffers"}), _line),
)
QUEUES: Final[tuple[tuple[str, Callable[[Params], Model | None]], ...]] = (
    ("priority", _priorities),
    ("outages", _outages),
    ("batch", _batch),
    ("off when empty", _switched),
    ("GI/M/1", _gim1),
    ("M/G/1", _mg1),
    ("M/M/1/K", _mm1k),
    ("M/M/", _mmc),
)
TABLES: Final[dict[str, Case]] = {HEADER: tables}
