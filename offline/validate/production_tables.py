"""Tables of exact figures of lines, queues, networks and crews, against the analytic functions of the core.

A table is a CSV file with the columns of `HEADER`, whatever its name. What a case is of is told by its parameters.
Figures of kind `exact` and `bound` must be met to 1e-8, those of kind `approx` (decomposition, aggregation) to 0.5 %;
where a case has an approximation and the exact figure, the error of our approximation is judged too.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from uem.offline.validate.case import Case, Result, UnusableFile, read_rows
from uem.twin_core.errors import InvalidInput, TwinError
from uem.twin_core.production.analytic import (
    crew,
    decomposition,
    fluid,
    lines,
    networks,
    queues,
    slotted,
)

SUITE: Final = "production_tables"
HEADER: Final = "case_id,params,metric,value,kind,method"
EXACT_BAR: Final = 1e-8
APPROXIMATION_BAR_PERCENT: Final = 0.5
# Below it a figure is as good as zero: differences count as they are.
AS_GOOD_AS_ZERO: Final = 1e-9

Params = dict[str, Any]
Figures = Mapping[str, float]
# An approximation and the exact figure that it stands for.
APPROXIMATED: Final = {"efficiency_ddx": "efficiency", "production_rate_aggregation": "production_rate"}
# Errors of the approximations themselves: judged as such, not compared with those of others.
ERRORS_OF_OTHERS: Final = ("ddx_rel_err", "aggregation_rel_err")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a case."""

    line: int
    metric: str
    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class TableCase:
    """The rows of one case, in the order of the file."""

    path: Path
    name: str
    params: Params
    rows: tuple[Row, ...]


def tables(path: Path) -> Iterator[Result]:
    """Every case of a table."""
    return each_case(path, analytic)


def each_case(path: Path, judge: Callable[["TableCase"], Iterator[Result]]) -> Iterator[Result]:
    """What `judge` makes of the cases of a table; those that cannot be judged are named when all others are done."""
    problems = []
    for case in read_table(path):
        try:
            yield from judge(case)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            problems.append(f"case {case.name}: params that do not fit: {type(error).__name__} {error}")
        except TwinError as error:
            problems.append(f"case {case.name}: {error}")
    if problems:
        raise UnusableFile(path, "; ".join(problems))


def read_table(path: Path) -> list[TableCase]:
    """The cases of a table; UnusableFile names the line that is wrong."""
    found: dict[str, tuple[Params, list[Row]]] = {}
    for line, cells in read_rows(path, HEADER.split(",")):
        try:
            value = float(cells["value"])
            params = json.loads(cells["params"])
        except ValueError:
            raise UnusableFile(path, f"line {line}: a number as value and JSON as params are expected") from None
        if not isinstance(params, dict) or not math.isfinite(value):
            raise UnusableFile(path, f"line {line}: a finite value and params by name are expected")
        if cells["kind"] not in ("exact", "approx", "bound"):
            raise UnusableFile(path, f"line {line}: kind {cells['kind']!r}; it is exact, approx or bound")
        known, rows = found.setdefault(cells["case_id"], (params, []))
        if known != params:
            raise UnusableFile(path, f"line {line}: case {cells['case_id']} has other params than before")
        rows.append(Row(line, cells["metric"], value, cells["kind"]))
    return [TableCase(path, name, params, tuple(rows)) for name, (params, rows) in found.items()]


def analytic(case: TableCase) -> Iterator[Result]:
    """What the analytic functions make of a case."""
    wanted = {row.metric: row for row in case.rows if row.metric not in ERRORS_OF_OTHERS}
    ours = figures(case)
    missing = [metric for metric in wanted if metric not in ours]
    if missing:
        raise InvalidInput(f"no formula for {', '.join(missing)}")
    exact = [row for row in wanted.values() if row.kind != "approx"]
    if exact:
        largest = max(difference(ours[row.metric], row.value) for row in exact)
        yield _result(case, f"{len(exact)} exact figures, largest error", largest, "1", EXACT_BAR)
    approximate = [row for row in wanted.values() if row.kind == "approx"]
    if approximate:
        largest = 100.0 * max(difference(ours[row.metric], row.value) for row in approximate)
        what = f"{len(approximate)} approximate figures, largest difference from the table's"
        yield _result(case, what, largest, "%", APPROXIMATION_BAR_PERCENT)
    for metric, truth in APPROXIMATED.items():
        if metric in wanted and truth in wanted:
            missed = 100.0 * difference(ours[metric], wanted[truth].value)
            yield _result(case, f"{metric}, error", missed, "%", APPROXIMATION_BAR_PERCENT)


def difference(value: float, truth: float) -> float:
    """Relative, or as it is where the truth is as good as zero."""
    return abs(value - truth) / (abs(truth) if abs(truth) > AS_GOOD_AS_ZERO else 1.0)


def figures(case: TableCase) -> Figures:
    """All figures of a case by the names of the tables."""
    for marks, calculate in KINDS:
        if marks <= case.params.keys():
            return calculate(case.params, case)
    raise InvalidInput(f"params {', '.join(sorted(case.params))} are of no known kind")


def line_of(params: Params) -> lines.ExponentialLine:
    """The line or assembly of a case."""
    mu, into = params["mu"], None
    if isinstance(mu, dict):  # feeders by name, and the assembler that they feed
        mu = [mu[name] for name in sorted(mu.keys() - {"assembler"})] + [mu["assembler"]]
        into = [len(mu) - 1] * (len(mu) - 1)
    if params.get("blocking", "BAS") != "BAS":
        raise InvalidInput(f"blocking {params['blocking']!r} is not known, BAS is")
    return lines.ExponentialLine(
        mu=mu,
        buffers=params["buffers"],
        into=into,
        failure_rate=params.get("failure_rate"),
        repair_rate=params.get("repair_rate"),
        repair_workers=params.get("repair_workers"),
    )


def _line(params: Params, case: TableCase) -> Figures:
    found = lines.line_figures(line_of(params))
    named = {
        "throughput": found.throughput,
        "wip_total": found.wip_total,
        "mean_flow_time": found.mean_flow_time,
        **_numbered("buffer{}_mean", found.buffer_mean),
    }
    for state in lines.STATES:
        named |= _numbered("m{}_" + state, getattr(found, state))
    if "kW" in params:
        named["mean_power_kW"] = found.mean_power(**params["kW"])
        named["kWh_per_part_if_time_in_hours"] = named["mean_power_kW"] / found.throughput
    return named


def _forecast(params: Params, case: TableCase) -> Figures:
    start = params["start"]
    found = lines.output_distribution(line_of(params), params["horizon"], start["machines"], start["buffers"])
    named: dict[str, float] = {"mean_output": found.mean, "sd_output": found.sd}
    for row in case.rows:
        if row.metric.startswith("q"):
            named[row.metric] = found.quantile(int(row.metric[1:]) / 100.0)
        elif row.metric.startswith("p_at_least_"):
            named[row.metric] = found.at_least(int(row.metric.removeprefix("p_at_least_")))
    return named


def _bernoulli(params: Params, case: TableCase) -> Figures:
    found = slotted.bernoulli_line(params["p"], params["N"])
    return {
        "production_rate": found.production_rate,
        "production_rate_aggregation": decomposition.aggregated_bernoulli_rate(params["p"], params["N"]),
        **_numbered("buffer{}_mean", found.buffer_mean),
        **_numbered("m{}_blocked", found.blocked),
        **_numbered("m{}_starved", found.starved),
    }


def _transfer(params: Params, case: TableCase) -> Figures:
    p, r, capacity = params["p"], params["r"], params["N"]
    named: dict[str, float] = {}
    if any(row.kind == "exact" for row in case.rows):
        exact = slotted.transfer_line(p, r, capacity)
        named |= {
            "efficiency": exact.efficiency,
            "p_last_buffer_empty": float(exact.empty[-1]),
            "p_first_buffer_full": float(exact.full[0]),
            **_numbered("buffer{}_mean", exact.buffer_mean),
        }
    if any(row.kind == "approx" for row in case.rows):
        found = decomposition.ddx_transfer_line(p, r, capacity)
        named |= {
            "efficiency_ddx": found.efficiency,
            "buffer_mid_mean_ddx": float(found.buffer_mean[len(capacity) // 2]),
            **_numbered("buffer{}_mean_ddx", found.buffer_mean),
        }
    named["E_no_buffer"], named["E_infinite"] = slotted.buzacott_limits(p, r)
    return named


def _fluid(params: Params, case: TableCase) -> Figures:
    law = params["failures"]
    if law not in ("time dependent", "operation dependent"):
        raise InvalidInput(f"failures {law!r} are neither time dependent nor operation dependent")
    found = fluid.fluid_two_machine(
        params["speeds"],
        params["failure_rate"],
        params["repair_rate"],
        params["N"],
        operation_dependent=law == "operation dependent",
    )
    return {name: getattr(found, name) for name in ("throughput", "buffer_mean", "p_empty", "p_full")}


def _crew(params: Params, case: TableCase) -> Figures:
    found = crew.repair_crew(params["machines"], params["crew"], params["failure_rate"], params["repair_rate"])
    return {name: getattr(found, name) for name in found.__slots__}


def _jackson(params: Params, case: TableCase) -> Figures:
    found = networks.jackson(params["gamma"], params["P"], params["mu"], params["c"])
    return {
        **_numbered("s{}_arrival", found.arrival),
        **_numbered("s{}_util", found.utilisation),
        **_numbered("s{}_L", found.L),
        "L_total": found.L_total,
        "W_total": found.W_total,
    }


def _closed(params: Params, case: TableCase) -> Figures:
    found = networks.closed_network(params["demands"], params["pallets"], params["servers"], params["think"])
    return {"throughput": found.throughput, "cycle_time": found.cycle_time, **_numbered("s{}_L", found.L)}


def _queue(params: Params, case: TableCase) -> Figures:
    for part, calculate in QUEUES:
        if part in params["model"]:
            return calculate(params)
    raise InvalidInput(f"model {params['model']!r} is not known")


def _of_queue(found: queues.Queue, **more: float) -> Figures:
    names = ("utilisation", "Wq", "W", "Lq", "L", "p_wait")
    return {name: getattr(found, name) for name in names if not math.isnan(getattr(found, name))} | more


def _mm1k(params: Params) -> Figures:
    found = queues.mm1k(params["arrival"], params["service"], params["K"])
    return {name: getattr(found, name) for name in ("p_loss", "throughput", "L", "W")}


def _gim1(params: Params) -> Figures:
    arrival, service, name = params["arrival"], params["service"], params["interarrival"]
    scv = interarrival_scv(params)
    if name == "deterministic":
        transform = queues.deterministic_transform(1.0 / arrival)
    elif name.startswith("hyperexp"):
        transform = queues.hyperexponential_transform(1.0 / arrival, scv)
    else:
        transform = queues.erlang_transform(1.0 / arrival, round(1.0 / scv))
    found = queues.gim1(transform, arrival, service)
    kingman = queues.kingman_bound(arrival, scv, 1.0 / service, 1.0)
    return _of_queue(found, sigma=found.sigma, Wq_kingman=kingman)


def interarrival_scv(params: Params) -> float:
    """Squared coefficient of variation of the times between arrivals, by the name of their law."""
    name = params["interarrival"]
    if name in ("deterministic", "exponential"):
        return 0.0 if name == "deterministic" else 1.0
    if name.startswith("erlang"):
        return 1.0 / int(name.removeprefix("erlang").strip("-_ "))
    if name.startswith("hyperexp"):
        return float(params["interarrival_scv"] if "interarrival_scv" in params else params["scv"])
    raise InvalidInput(f"interarrival {name!r} is not known")


def _priorities(params: Params) -> Figures:
    waits = queues.priority_waits(params["arrivals"], params["service_means"], params["service_second_moments"])
    return _numbered("Wq_class{}", waits)


def _outages(params: Params) -> Figures:
    scv0, mttf, mttr = params["scv0"], params["mttf"], params["mttr"]
    time = queues.completion_time(params["t0"], scv0, mttf, mttr, params["repair_scv"])
    found = queues.mg1(params["arrival"], time.mean, time.scv)
    return _of_queue(found, availability=time.availability, effective_time=time.mean, effective_scv=time.scv)


def _batch(params: Params) -> Figures:
    found = queues.batch_server(params["arrival"], params["batch"], params["cycle_rate"])
    return _of_queue(found, busy=found.utilisation)


def _switched(params: Params) -> Figures:
    found = queues.switched_off_when_empty(params["arrival"], params["service"], params["warmup_rate"])
    power = found.mean_power(**params["kW"])
    on = params["kW"]["busy"] * found.p_busy + params["kW"]["warmup"] * (1.0 - found.p_busy)
    return {name: getattr(found, name) for name in found.__slots__} | {
        "mean_power_kW": power,
        "saving_vs_always_on_with_idle_equal_warmup": 1.0 - power / on,
    }


def _numbered(name: str, values: Any) -> dict[str, float]:
    return {name.format(k + 1): float(value) for k, value in enumerate(values)}


def _result(case: TableCase, metric: str, value: float, unit: str, bar: float) -> Result:
    return Result(suite=SUITE, case=f"{case.path.stem}: {case.name}", metric=metric, value=value, unit=unit, bar=bar)


# The first whose names are all among the params of a case is its kind.
KINDS: Final[tuple[tuple[frozenset[str], Callable[[Params, TableCase], Figures]], ...]] = (
    (frozenset({"model"}), _queue),
    (frozenset({"crew", "machines"}), _crew),
    (frozenset({"gamma", "P"}), _jackson),
    (frozenset({"demands", "pallets"}), _closed),
    (frozenset({"horizon", "start"}), _forecast),
    (frozenset({"speeds"}), _fluid),
    (frozenset({"mu", "buffers"}), _line),
    (frozenset({"p", "r", "N"}), _transfer),
    (frozenset({"p", "N"}), _bernoulli),
)
# By a part of the name of the model, the more special first.
QUEUES: Final[tuple[tuple[str, Callable[[Params], Figures]], ...]] = (
    ("priority", _priorities),
    ("outages", _outages),
    ("batch", _batch),
    ("off when empty", _switched),
    ("GI/M/1", _gim1),
    ("M/G/1", lambda p: _of_queue(queues.mg1(p["arrival"], p["service_mean"], p["service_scv"]))),
    ("M/M/1/K", _mm1k),
    ("M/M/c", lambda p: _of_queue(queues.mmc(p["arrival"], p["service"], p["servers"]))),
    ("M/M/1", lambda p: _of_queue(queues.mm1(p["arrival"], p["service"]))),
)
TABLES: Final[dict[str, Case]] = {HEADER: tables}
