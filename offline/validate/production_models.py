"""What the event engine makes of a case of the exact tables: a model to simulate, and how its figures are read off.

Not modelled is what is no line of events: transfer lines, fluid machines, and priorities where each class has a cycle
of its own.
"""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.production_tables import Params, interarrival_scv
from uem.twin_core.plant import production
from uem.twin_core.plant.production import OUT, Buffer, Crew, Factory, Failure, Flow, Law, Machine, Sleep
from uem.twin_core.production.lines import bernoulli
from uem.twin_core.production.plan import FactoryPlan, Ledger

Array = NDArray[np.float64]
Figures = Mapping[str, tuple[Array, Array | float]]  # by metric, by replication: what is divided by what

REPLICATIONS: Final = 200
WARM_UP: Final = 0.1
SLICES: Final = 8


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a case.

    `simulate(duration, seed, k)`: the figures of the k-th set of replications of that duration, the first part of each
    left out, and how many events there were. `leading`: the figure that sets the duration.
    """

    simulate: Callable[[float, int, int], tuple[Figures, int]]
    leading: str


def model_of(params: Params) -> Model | None:
    """The model of a case; None for what the engine is no model of."""
    for marks, build in KINDS:
        if marks <= params.keys():
            return build(params)
    return None


def of_factory(factory: Factory, read: Callable[[Ledger], Figures], leading: str) -> Model:
    """A factory, run on all processors."""
    plan = FactoryPlan(factory)

    def simulate(duration: float, seed: int, k: int) -> tuple[Figures, int]:
        with ThreadPoolExecutor(cpu_count()) as pool:
            ledger = plan.replicate(
                REPLICATIONS,
                duration,
                warmup_s=WARM_UP * duration,
                seed=seed,
                first=k * REPLICATIONS,
                workers=pool.map,
                slices=SLICES,
            )
        return read(ledger), int(ledger.events.sum())

    return Model(simulate, leading)


# ---- lines and assemblies ----


def line_factory(params: Params) -> Factory:
    """The line or assembly of a case."""
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
            cycle=production.exponential(1.0 / rates[k]),
            takes=tuple(f"b{j + 1}" for j in range(n - 1) if into[j] == k),
            gives=(f"b{k + 1}",) if k < n - 1 else (),
            failures=_failures(params, k, ("crew",) if crew else ()),
            power_w=by_state,
        )
        for k in range(n)
    )
    buffers = tuple(Buffer(name=f"b{k + 1}", capacity=params["buffers"][k]) for k in range(n - 1))
    crews = (Crew(name="crew", workers=crew),) if crew else ()
    return Factory(machines=machines, buffers=buffers, crews=crews)


def _line(params: Params) -> Model:
    return of_factory(line_factory(params), _read_line, "throughput")


def _failures(params: Params, k: int, crews: tuple[str, ...]) -> tuple[Failure, ...]:
    rate = params.get("failure_rate", [])
    if not rate or rate[k] == 0:
        return ()
    repair = production.exponential(1.0 / params["repair_rate"][k])
    return (Failure(to_fail=production.exponential(1.0 / rate[k]), to_repair=repair, crews=crews),)


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
        to_fail=production.exponential(1.0 / params["failure_rate"]),
        to_repair=production.exponential(1.0 / params["repair_rate"]),
        crews=("crew",),
    )
    n, workers = params["machines"], params["crew"]
    machine = Machine(name="m", cycle=production.deterministic(math.inf), slots=n, failures=(failure,))
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

    return of_factory(factory, read, "availability")


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
                cycle=production.exponential(1.0 / params["mu"][k]),
                takes=(f"q{k + 1}",),
                gives=tuple(onward),
                give_rule="chance",
                slots=params["c"][k],
            )
        )
        if params["gamma"][k] > 0:
            between = production.exponential(1.0 / params["gamma"][k])
            sources.append(production.source(f"in{k + 1}", between, [f"q{k + 1}"]))
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

    return of_factory(Factory(machines=(*stations, *sources), buffers=buffers), read, "s1_util")


def _closed(params: Params) -> Model:
    n, pallets, think = len(params["demands"]), params["pallets"], params["think"]
    after = [f"q{k + 2}" for k in range(n - 1)] + ["thinks" if think > 0 else "q1"]
    machines = [
        Machine(
            name=f"s{k + 1}",
            cycle=production.exponential(params["demands"][k]),
            takes=(f"q{k + 1}",),
            gives=(after[k],),
            slots=params["servers"][k],
        )
        for k in range(n)
    ]
    buffers = [Buffer(name=f"q{k + 1}", initial=pallets if k == 0 else 0) for k in range(n)]
    if think > 0:
        thinker = Machine(
            name="think", cycle=production.exponential(think), takes=("thinks",), gives=("q1",), slots=pallets
        )
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

    return of_factory(Factory(machines=tuple(machines), buffers=tuple(buffers)), read, "throughput")


def _bernoulli(params: Params) -> Model:
    p, places = params["p"], params["N"]

    def simulate(duration: float, seed: int, k: int) -> tuple[Figures, int]:
        warmup = math.ceil(WARM_UP * duration)
        slots = math.ceil(duration) - warmup + 1
        found = bernoulli(p, places, count=REPLICATIONS, slots=slots, warmup=warmup, seed=seed, first=k * REPLICATIONS)
        figures: dict[str, tuple[Array, Array | float]] = {"production_rate": (found.production_rate, 1.0)}
        for j in range(len(p)):
            figures[f"m{j + 1}_blocked"] = (found.blocked[:, j], 1.0)
            figures[f"m{j + 1}_starved"] = (found.starved[:, j], 1.0)
        for j in range(len(places)):
            figures[f"buffer{j + 1}_mean"] = (found.level[:, j], 1.0)
        return figures, REPLICATIONS * (warmup + slots) * len(p)

    return Model(simulate, "production_rate")


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
    arrivals = production.source("arrivals", between, ["queue"], loses=places is not None)
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
        production.exponential(1.0 / params["arrival"]), production.exponential(1.0 / params["service"]), slots=slots
    )
    return of_factory(factory, partial(_read_queue, slots=slots), "utilisation")


def _mm1k(params: Params) -> Model:
    laws = production.exponential(1.0 / params["arrival"]), production.exponential(1.0 / params["service"])

    def read(ledger: Ledger) -> Figures:
        queue = _read_queue(ledger)
        came, lost = ledger.made[:, 1].astype(float), ledger.lost[:, 1].astype(float)
        return {"L": queue["L"], "W": queue["W"], "throughput": (ledger.throughput[:, 0], 1.0), "p_loss": (lost, came)}

    return of_factory(_station(*laws, places=params["K"] - 1), read, "throughput")


def law(name: str, mean: float, scv: float) -> Law:
    """A law by the name that the tables give it; what they do not name, by its mean and variation."""
    if name == "deterministic" or scv == 0:
        return production.deterministic(mean)
    if name == "lognormal":
        return production.lognormal(mean, scv)
    if name.startswith("hyperexp"):
        return production.hyperexponential(mean, scv)
    if name.startswith("erlang"):
        return production.erlang(mean, int(name.removeprefix("erlang").strip("-_ ")))
    return production.exponential(mean) if scv == 1 else production.gamma(mean, scv)


def _mg1(params: Params) -> Model:
    cycle = law(params["service"], params["service_mean"], params["service_scv"])
    return of_factory(_station(production.exponential(1.0 / params["arrival"]), cycle), _read_queue, "utilisation")


def _gim1(params: Params) -> Model:
    between = law(params["interarrival"], 1.0 / params["arrival"], interarrival_scv(params))
    return of_factory(_station(between, production.exponential(1.0 / params["service"])), _read_queue, "utilisation")


def _priorities(params: Params) -> Model | None:
    means, seconds = params["service_means"], params["service_second_moments"]
    if len(set(means)) > 1 or len(set(seconds)) > 1:
        return None  # a machine has one cycle law
    n = len(means)
    cycle = law("", means[0], seconds[0] / means[0] ** 2 - 1.0)
    queues = tuple(f"q{k + 1}" for k in range(n))
    server = Machine(name="server", cycle=cycle, takes=queues, take_rule="first")
    sources = (
        production.source(f"in{k + 1}", production.exponential(1.0 / params["arrivals"][k]), [queues[k]])
        for k in range(n)
    )
    factory = Factory(machines=(server, *sources), buffers=tuple(Buffer(name=name) for name in queues))

    def read(ledger: Ledger) -> Figures:
        figures: dict[str, tuple[Array, Array | float]] = {
            f"Wq_class{k + 1}": (ledger.level[:, k] * ledger.elapsed_s, ledger.entered[:, k].astype(float))
            for k in range(n)
        }
        return figures

    return of_factory(factory, read, "Wq_class1")


def _outages(params: Params) -> Model:
    repair = law("", params["mttr"], params["repair_scv"])
    failure = Failure(to_fail=production.exponential(params["mttf"]), to_repair=repair)
    cycle = law("", params["t0"], params["scv0"])
    factory = _station(production.exponential(1.0 / params["arrival"]), cycle, failures=(failure,))

    def read(ledger: Ledger) -> Figures:
        busy, down = ledger.share("busy")[:, 0], ledger.share("down")[:, 0]
        figures = _read_queue(ledger)
        figures["availability"] = (busy, busy + down)
        figures["effective_time"] = (busy + down, ledger.throughput[:, 0])
        return figures

    return of_factory(factory, read, "utilisation")


def _batch(params: Params) -> Model:
    laws = production.exponential(1.0 / params["arrival"]), production.exponential(1.0 / params["cycle_rate"])
    return of_factory(
        _station(*laws, batch=params["batch"]), partial(_read_queue, batch=params["batch"]), "utilisation"
    )


def _switched(params: Params) -> Model:
    sleep = Sleep(after_s=0.0, warm_up=production.exponential(1.0 / params["warmup_rate"]))
    laws = production.exponential(1.0 / params["arrival"]), production.exponential(1.0 / params["service"])
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

    return of_factory(_station(*laws, sleep=sleep), read, "mean_power_kW")


# The first whose names are all among the params of a case is its kind, as in `production_tables`.
KINDS: Final[tuple[tuple[frozenset[str], Callable[[Params], Model | None]], ...]] = (
    (frozenset({"model"}), _queue),
    (frozenset({"crew", "machines"}), _repair_crew),
    (frozenset({"gamma", "P"}), _jackson),
    (frozenset({"demands", "pallets"}), _closed),
    (frozenset({"mu", "buffers"}), _line),
    (frozenset({"p", "r", "N"}), lambda params: None),
    (frozenset({"p", "N"}), _bernoulli),
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
