"""`uem run`: let a network run by itself, with what it is told from outside, and keep what happens as columns.

import uem
run = uem.run("quartier", hours=24, inputs={"outdoor_temp_c": -5.0})
run.columns["node/clinic/temperature"]
"""

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from uem.offline import factories
from uem.offline.output import Tell, can_be_written, one_message, print_json, progress_bar
from uem.offline.plot.paper import save
from uem.offline.plot.values import COLOURED_BY, Moment, values_of
from uem.offline.run_inputs import Value, bind, read
from uem.territories.load import load
from uem.twin_core import units
from uem.twin_core.coupled import CoupledPlan
from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.sides import Side, is_consumer, sides
from uem.twin_core.plant.territory import Territory
from uem.twin_core.plant.units import HeatSource, Producer, Substation, WasteHeatExchanger, WasteIncinerator
from uem.twin_core.thermal.network import SUMMED, NetworkPlan, NetworkState

if TYPE_CHECKING:
    import pandas

Column = NDArray[np.float64]
STDOUT = Path("-")
MOST_STEPS = 10_000_000
MOST_SETTLE_HOURS = 8760.0
UNMET = 0.001  # part of the heat; less is what control valves leave while they settle
# Results of units, by ending: (what is taken off the name, unit of the column). Sums become means over the interval.
_RESULTS = (("_temp_k", "_temperature", "K"), ("_j", "", "W"), ("_kg", "", "kg/s"), ("_s", "", "1"), ("_w", "", "W"))
_SHOWN = {"K": "Cel", "Pa": "bar", "W": "kW", "J": "kWh"}


@dataclass(frozen=True, slots=True)
class Run:
    """What a network did: `time_s` (n,) are the ends of the intervals, `columns` by name, each of shape (n,), in SI.

    Columns are means over their interval: `node/N/temperature`, `node/N/pressure`, `pipe/N/flow`, `valve/N/flow`,
    `pump/N/flow`, `unit/N/flow`, `unit/N/heat` (into the water: customers below 0) and what else the unit tells;
    except `energy/in`, `energy/out`, `energy/loss`, `energy/stored_change`, which count from the beginning. Pressures
    are those at the end of the interval, NaN where none is felt. Factories whose heat the network takes have columns
    too (see `uem.offline.factories`).
    """

    network: Network
    time_s: Column
    columns: Mapping[str, Column]
    units: Mapping[str, str]  # SI unit of each column

    def in_display_units(self) -> dict[str, Column]:
        """The columns as `name [unit]` in degC, bar, kW and kWh."""
        return {
            f"{name} [{_SHOWN.get(unit, unit)}]": units.from_si(self.columns[name], _SHOWN.get(unit, unit))
            for name, unit in self.units.items()
        }

    def to_pandas(self, *, display_units: bool = True) -> "pandas.DataFrame":
        """A DataFrame over the time in s; InvalidInput without pandas."""
        try:
            import pandas
        except ImportError:
            raise InvalidInput("to_pandas needs pandas: pip install pandas") from None
        columns = self.in_display_units() if display_units else dict(self.columns)
        return pandas.DataFrame(columns, index=pandas.Index(self.time_s, name="time [s]"))

    def write_csv(self, path: str | Path, *, display_units: bool = False) -> None:
        """All columns, the unit in brackets behind each name; InvalidInput if the file cannot be written."""
        shown = (
            self.in_display_units()
            if display_units
            else {f"{n} [{unit}]": self.columns[n] for n, unit in self.units.items()}
        )
        table = np.column_stack([self.time_s, *shown.values()])
        rows = [["" if np.isnan(v) else f"{v:.10g}" for v in row] for row in table.tolist()]
        try:
            if Path(path) == STDOUT:
                csv.writer(sys.stdout, lineterminator="\n").writerows([["time", *shown], *rows])
                return
            with Path(path).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([["time", *shown], *rows])
        except BrokenPipeError:
            raise  # the reader has what it wanted
        except OSError as error:
            raise InvalidInput(f"--out {path}: {error.strerror}") from None

    def moment(self, row: int = -1) -> Moment:
        """The network in one interval, by default the last."""
        return Moment(
            node_temp_k={n.name: float(self.columns[f"node/{n.name}/temperature"][row]) for n in self.network.nodes},
            node_pressure_pa={n.name: float(self.columns[f"node/{n.name}/pressure"][row]) for n in self.network.nodes},
            pipe_flow_kg_s={p.name: float(self.columns[f"pipe/{p.name}/flow"][row]) for p in self.network.pipes},
            time_s=float(self.time_s[row]),
        )

    def plot(self, path: str | Path, *, by: str = "temperature", hour: float | None = None) -> Path:
        """Draw the network at an hour (by default at the end) into an SVG, or with matplotlib a PNG or PDF."""
        row = -1 if hour is None else int(np.argmin(np.abs(self.time_s - hour * 3600.0)))
        return save(self.network, values_of(self.network, by, self.moment(row)), Path(path))

    def summary(self) -> dict[str, Any]:
        """Energies of the run by unit, losses, how well energy closes, and what customers did not get."""
        span_s = float(self.time_s[-1])
        interval_s = np.diff(self.time_s, prepend=0.0)

        def energy_kwh(name: str) -> float:
            return float(np.sum(self.columns[name] * interval_s)) / 3.6e6 if name in self.columns else 0.0

        found: dict[str, Any] = {"network": self.network.name, "hours": span_s / 3600.0}
        found["units"] = {
            unit.name: {
                "kind": type(unit).__name__,
                "heat_kwh": energy_kwh(f"unit/{unit.name}/heat"),
                "unmet_kwh": sum(energy_kwh(n) for n in self.columns if n.startswith(f"unit/{unit.name}/unmet")),
            }
            for unit in self.network.units
        }
        last = {key: float(self.columns[f"energy/{key}"][-1]) / 3.6e6 for key in ("in", "out", "loss", "stored_change")}
        imbalance = last["in"] - last["out"] - last["loss"] - last["stored_change"]
        through = max(*(abs(value) for value in last.values()), 1e-9)
        found["energy_kwh"] = last | {"imbalance": imbalance, "closure": abs(imbalance) / through}
        temps = np.array([self.columns[f"node/{n.name}/temperature"] for n in self.network.nodes])
        found["temperature_c"] = {"lowest": float(temps.min()) - 273.15, "highest": float(temps.max()) - 273.15}
        dry = [n.name for n in self.network.nodes if np.isnan(self.columns[f"node/{n.name}/pressure"]).any()]
        found["unsupplied_nodes"] = dry
        made = factories.summary(self.columns, interval_s)
        return found | ({"factories": made} if made else {})


def run(
    territory: Territory | str | Path,
    hours: float = 24.0,
    step_s: float = 60.0,
    inputs: Mapping[str, Value] | str | Path | None = None,
    *,
    network: str | None = None,
    every_s: float = 300.0,
    settle_hours: float = 3.0,
    fidelity: str = "full",
    with_factories: bool = True,
    begin_hour: float = 0.0,
    seed: int = 1,
    tell: Tell = lambda done, of: None,
) -> Run:
    """Run a network of a territory by itself, with the factories whose heat it takes.

    `inputs`: by name, or a CSV file with a column `time`; names and values are told in `uem.offline.run_inputs`.
    A value is a number, one number per step, (times in s, values) with straight lines between, or a function of the
    time in s. `every_s`: interval of the columns. `settle_hours`: beforehand with the first inputs, to fill pipes with
    water as warm as it will be there; boilers and tanks begin as the file says. `tell`: steps done, steps in all.
    `begin_hour`: of the week, where the factories stand at the beginning; they ran a week before, unless they have
    orders. `seed`: of their random numbers. `with_factories`: else exchangers find the stream that the file tells.

    Raises:
        UnknownName: there is no such territory, network or input.
        InvalidInput: a value out of range.
        NotConverged, ModelFailure: no flows fit the pressures, or a unit cannot work; the message names the element.
    """
    known = territory if isinstance(territory, Territory) else load(territory)
    found = network_of(known, network)
    steps, per_interval = _steps(hours, step_s, every_s)
    if not 0.0 <= settle_hours <= MOST_SETTLE_HOURS:
        raise InvalidInput(f"{settle_hours} h to settle: 0 to {MOST_SETTLE_HOURS:g} h are possible")
    if not 0.0 <= begin_hour <= 168.0:
        raise InvalidInput(f"begin at hour {begin_hour:g} of the week: 0 to 168 are possible")
    sites = factories.sites_of(known, found) if with_factories else ()
    coupled = CoupledPlan(found, sites, fidelity) if sites else None
    plan = coupled.network if coupled else NetworkPlan(found, fidelity=fidelity)
    given = plan.inputs()
    values = read(Path(inputs)) if isinstance(inputs, (str, Path)) else inputs or {}
    bound = bind(plan, given, values, step_s)
    factories.refuse_what_heat_sets(bound, sites)
    for item in bound:
        item.apply(0.0)
    state = plan.initial_state(_first_guess_k(found))
    if settle_hours > 0.0:
        for _ in range(max(1, round(settle_hours * 3600.0 / 300.0))):
            plan.step(state, 300.0, given)
        state = plan.initial_state(state.node_temp_k)
    together = coupled.initial_state(state.node_temp_k, seed) if coupled else None
    if coupled and together:
        for factory, its_run in zip(coupled.factories, together.runs, strict=True):
            factories.at_hour(factory, its_run, begin_hour)
        state = together.heat
    recorder = _Recorder(found, plan, state, steps // per_interval, per_interval * step_s)
    beside = factories.FactoryColumns(coupled, together, steps // per_interval) if coupled and together else None
    for k in range(steps):
        for item in bound:
            item.apply(k * step_s)
        if coupled and together:
            coupled.step(together, step_s, given)
        else:
            plan.step(state, step_s, given)
        recorder.take(step_s)
        if (k + 1) % per_interval == 0:
            recorder.close((k + 1) * step_s)
            if beside:
                beside.close(per_interval * step_s)
            tell(k + 1, steps)
    return recorder.run(beside)


def network_of(territory: Territory, name: str | None) -> Network:
    """The network of that name; without one, the only one there is."""
    if name is not None:
        asset = territory.asset(name)
        if isinstance(asset, Network):
            return asset
        raise InvalidInput(f"asset {name} is no network")
    if len(territory.networks) != 1:
        names = ", ".join(n.name for n in territory.networks) or "none"
        raise InvalidInput(f"territory {territory.name}: networks are {names}; name one")
    return territory.networks[0]


def _steps(hours: float, step_s: float, every_s: float) -> tuple[int, int]:
    """Steps in all and per interval."""
    if not all(0.0 < value < math.inf for value in (hours, step_s, every_s)) or every_s < step_s:
        raise InvalidInput(
            f"{hours} h in steps of {step_s} s, kept every {every_s} s: hours and step must be positive and finite, "
            "every a multiple of step"
        )
    per_interval = round(every_s / step_s)
    if abs(per_interval * step_s - every_s) > 1e-6 * step_s:
        raise InvalidInput(f"every_s {every_s:g} is no multiple of step_s {step_s:g}")
    intervals = round(hours * 3600.0 / every_s)
    if not 1 <= intervals * per_interval <= MOST_STEPS:
        raise InvalidInput(f"{hours} h kept every {every_s:g} s are {intervals} intervals; 1 to {MOST_STEPS} steps fit")
    return intervals * per_interval, per_interval


def _first_guess_k(network: Network) -> Column:
    """What nodes may be like before anything ran: supply as warm as its producers, return as its customers'."""
    making = (HeatSource, Producer, WasteHeatExchanger, WasteIncinerator)
    supply = [u.supply_temp_k for u in network.units if isinstance(u, making)]
    back = [u.primary_return_temp_k for u in network.units if isinstance(u, Substation)]
    given = [n.supply_temp_k for n in network.nodes if n.kind == "source"]
    warm = max(supply or given or [network.ambient_temp_k])
    cool = min(float(np.median(back)) if back else warm - 30.0, warm) if supply else warm
    side = sides(network)
    floor_k = 274.15
    return np.array([max(cool if side[n.name] is Side.RETURN else warm, floor_k) for n in network.nodes])


class _Recorder:
    """Means of every interval, gathered step by step."""

    def __init__(self, network: Network, plan: NetworkPlan, state: NetworkState, rows: int, interval_s: float) -> None:
        self.network, self.plan, self.state, self.interval_s = network, plan, state, interval_s
        self.time_s = np.zeros(rows)
        self.row = 0
        self.results = [f"unit/{u}/{name}" for u, some in plan.unit_results(state).items() for name in some]
        # Sums over a step add up, means count by the part that the step is of the interval.
        self.is_sum = np.array([name.endswith(SUMMED) for name in self.results], dtype=bool)
        self.names, self.units = self._columns()
        self.table = np.zeros((rows, len(self.names)))
        self.sums = np.zeros(len(network.nodes) + len(state.edge_flow_kg_s) + len(self.results))

    def _columns(self) -> tuple[list[str], dict[str, str]]:
        plan, found = self.plan, dict[str, str]()
        found |= {f"node/{n}/temperature": "K" for n in plan.nodes}
        edges = (("pipe", plan.pipes), ("valve", plan.valves), ("pump", plan.pumps), ("unit", plan.units))
        found |= {f"{kind}/{name}/flow": "kg/s" for kind, some in edges for name in some}
        found |= dict(_result_column(name) for name in self.results)
        found |= {f"node/{n}/pressure": "Pa" for n in plan.nodes}
        found |= {f"energy/{part}": "J" for part in ("in", "out", "loss", "stored_change")}
        return list(found), found

    def take(self, dt_s: float) -> None:
        """Add a step to the means."""
        state = self.state
        part = dt_s / self.interval_s
        nodes, edges = len(state.node_temp_k), len(state.edge_flow_kg_s)
        self.sums[:nodes] += part * state.node_temp_k[:, 0]
        self.sums[nodes : nodes + edges] += part * state.edge_flow_kg_s[:, 0]
        self.sums[nodes + edges :] += np.where(self.is_sum, 1.0 / self.interval_s, part) * state.unit_result_rows[0]

    def close(self, time_s: float) -> None:
        """End an interval."""
        state = self.state
        pressure = np.where(state.node_unsupplied[:, 0] > 0, np.nan, state.node_pressure_pa[:, 0])
        energy = (state.total_in_j, state.total_out_j, state.total_loss_j, state.total_stored_change_j)
        self.table[self.row] = np.concatenate([self.sums, pressure, [e[0] for e in energy]])
        self.time_s[self.row] = time_s
        self.sums[:] = 0.0
        self.row += 1

    def run(self, beside: factories.FactoryColumns | None) -> Run:
        """All of it, with the columns of factories."""
        columns = {name: np.ascontiguousarray(self.table[:, i]) for i, name in enumerate(self.names)}
        if beside is None:
            return Run(self.network, self.time_s, columns, self.units)
        return Run(self.network, self.time_s, columns | beside.columns(), self.units | beside.units)


def _result_column(name: str) -> tuple[str, str]:
    """Name and SI unit of the column of a result such as unit/boiler/fuel_j."""
    for ending, instead, unit in _RESULTS:
        if name.endswith(ending):
            return name.removesuffix(ending) + instead, unit
    return name, "1"


def parse_sets(texts: list[str]) -> dict[str, Value]:
    """NAME=VALUE of a command line."""
    found: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise InvalidInput(f"--set {text}: write NAME=NUMBER, such as outdoor_temp_c=-5")
    return found


def main(argv: list[str] | None = None) -> int:
    """Run `uem run`; the exit code."""
    options = _parser().parse_args(argv)
    with one_message("uem run") as done:
        _main(options)
    return done.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uem run",
        description="Let a network run by itself, with pumps, plants and customers as its file has them.",
        epilog="examples:\n  uem run quartier --hours 24 --set outdoor_temp_c=-5\n"
        "  uem run quartier --inputs winter.csv --out winter_run.csv --plot winter.svg\n"
        "inputs: a column time (seconds or ISO), and columns such as outdoor_temp_c, unit/boiler/supply_temp_c,\n"
        "unit/tank/flow_kg_s, pump/pump/pressure_rise_bar, valve/v1/opening, node/n1/demand_kg_s",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("territory", help="shipped name, folder or file")
    parser.add_argument("--network", metavar="NAME", help="where the territory has several")
    parser.add_argument("--hours", type=float, default=24.0, metavar="H", help="default: 24")
    parser.add_argument("--step", type=float, default=60.0, metavar="S", help="step in seconds (60)")
    parser.add_argument("--every", type=float, default=300.0, metavar="S", help="interval of the columns (300)")
    parser.add_argument("--settle", type=float, default=3.0, metavar="H", help="hours beforehand, not kept (3)")
    parser.add_argument("--fidelity", choices=("full", "planning"), default="full")
    parser.add_argument("--no-factories", action="store_true", help="exchangers find the stream that the file tells")
    parser.add_argument("--begin", type=float, default=0.0, metavar="H", help="hour of the factories' week (0)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the factories' random numbers (1)")
    parser.add_argument("--inputs", type=Path, metavar="CSV", help="what it is told in time")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="what it is told throughout")
    parser.add_argument("--out", type=Path, metavar="CSV", help="all columns; - is stdout")
    parser.add_argument("--display-units", action="store_true", help="write Cel, bar, kW and kWh instead of SI")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the network at the end (.svg, .png, .pdf)")
    parser.add_argument("--by", choices=COLOURED_BY, default="temperature", help="what --plot colours by")
    parser.add_argument("--json", action="store_true", help="the summary as JSON on stdout")
    return parser


def _main(options: argparse.Namespace) -> None:
    to_stdout = options.out == STDOUT
    if to_stdout and options.json:
        raise InvalidInput("--out - and --json both want stdout")
    for option, path in (("--out", options.out), ("--plot", options.plot)):
        if path is not None and path != STDOUT:
            can_be_written(path, option)
    values = dict(read(options.inputs)) if options.inputs else {}
    values |= parse_sets(options.set)
    with progress_bar("running") as tell:
        found = run(
            options.territory,
            options.hours,
            options.step,
            values,
            network=options.network,
            every_s=options.every,
            settle_hours=options.settle,
            fidelity=options.fidelity,
            with_factories=not options.no_factories,
            begin_hour=options.begin,
            seed=options.seed,
            tell=tell,
        )
    if options.out:
        found.write_csv(options.out, display_units=options.display_units)
    if options.plot:
        found.plot(options.plot, by=options.by)
    summary = found.summary()
    if options.json:
        print_json(summary | {"out": str(options.out) if options.out else None})
    else:
        _show(found, summary, Console(stderr=to_stdout))
    for text in warnings(summary):
        print(f"uem run: warning: {text}", file=sys.stderr)


def warnings(summary: dict[str, Any]) -> Iterator[str]:
    """What of a summary nobody may overlook: parts that stand still, heat that customers did not get."""
    names = summary["unsupplied_nodes"]
    if names:
        shown = f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
        yield f"{len(names)} nodes without pressure, nothing flows there: {shown}"
    unmet = sum(unit["unmet_kwh"] for unit in summary["units"].values())
    taken = -sum(min(unit["heat_kwh"], 0.0) for unit in summary["units"].values())
    if unmet > UNMET * (taken + unmet):
        yield f"{unmet:.1f} kWh of customers not met"


def _show(found: Run, summary: dict[str, Any], console: Console) -> None:
    energy = summary["energy_kwh"]
    console.print(f"network {summary['network']}, {summary['hours']:g} h")
    consumers = {unit.name for unit in found.network.units if is_consumer(unit)}
    table = Table("unit", "kind", "heat kWh", "not met kWh")
    for name, figures in summary["units"].items():
        if name not in consumers or figures["unmet_kwh"] > 0.001 * abs(figures["heat_kwh"]):
            table.add_row(name, figures["kind"], f"{figures['heat_kwh']:.1f}", f"{figures['unmet_kwh']:.1f}")
    taken = -sum(summary["units"][name]["heat_kwh"] for name in consumers)
    if consumers:
        table.add_row(f"{len(consumers)} customers", "", f"{-taken:.1f}", "")
    if summary["units"]:
        console.print(table)
    for name, figures in summary.get("factories", {}).items():
        console.print(f"factory {name}: {figures['parts']} parts, {figures['energy_kwh']:.1f} kWh")
        for stream, heat in figures["heat"].items():
            text = f"  heat {stream}: {heat['produced_kwh']:.1f} kWh, {heat['taken_kwh']:.1f} into the network"
            alarm = f", {heat['alarm_h']:.1f} h without cooling" if heat["alarm_h"] else ""
            console.print(f"{text}, {heat['dumped_kwh']:.1f} thrown away{alarm}")
    # Where stored heat covers the losses, a part of what came in would mislead.
    share = f" ({energy['loss'] / energy['in']:.1%} of what came in)" if energy["in"] > energy["loss"] else ""
    console.print(f"lost {energy['loss']:.1f} kWh{share}; energy closes to {energy['closure']:.0e}")
    lowest, highest = summary["temperature_c"].values()
    console.print(f"temperatures {lowest:.1f} to {highest:.1f} degC")


if __name__ == "__main__":
    sys.exit(main())
