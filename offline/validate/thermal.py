"""Validation of the thermal side: measured pipes and a measured branch, played through the network model.

All rigs run with the same method: film, dispersion, cells and steps are the model's own, only geometry, materials and
insulation differ, from the rigs' descriptions (examples/rigs/README.md). The default dispersion factor was chosen on
the Liege run, so the figure with it is no test there; the pipes are judged with the handbook's factor too. Inputs are
linear between rows. A compared value is the model's at the time of the row, between the means of the steps before and
after it.

The substations of the branch were read in rounds of 1,075 s, and the rows of 900 s hold the last reading, which the
repeats in the columns of flow show (`readings.py`). There inputs are linear between the readings, and the model is
compared when they were taken.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf, log, nan, pi, sqrt
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.offline.validate.case import Case, Result, UnusableFile, read_columns
from uem.offline.validate.readings import reading_times
from uem.territories.load import load
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.thermal.network import NetworkPlan
from uem.twin_core.units import ZERO_CELSIUS_K

Array = NDArray[np.float64]

SUITE: Final = "thermal"
# The laboratory rigs are logged every few seconds, the branch every 15 minutes.
RIG_STEP_S: Final = 1.0
BRANCH_STEP_S: Final = 60.0
# The published models of the Graz rig were compared over this time.
GRAZ_COMPARED_S: Final = 1839.0
# Initial temperatures of the branch are unknown; the published comparison leaves this time out as well.
BRANCH_SETTLING_S: Final = 10_000.0
# A sensor needs about this many rows of flow after a standstill until it shows the network again, not the room.
BRANCH_RUNNING_ROWS: Final = 4
BRANCH_POINTS: Final = ("2", "3", "4")

# Bars with the chosen and with the handbook's dispersion, and what another model reached, in K. IBPSA: plug flow model
# of the Modelica IBPSA library, run in Dymola.
ULG_BARS: Final = {"ulg_151202": (0.30, 0.40, 0.603)}
GRAZ_BARS: Final = {"graz_case1": (0.15, 0.15, 0.233)}
# Runs that no other model was reported for are held against what IBPSA reaches on the known one.
ULG_OTHER_BAR: Final = 0.603
GRAZ_OTHER_BAR: Final = 0.233
BRANCH_BARS: Final = {"2": (1.9, 2.02), "3": (1.6, 1.43), "4": (1.8, 1.82)}
# One loss factor for all pipes of the branch is learned on this part of the rows; the rest judges it.
LEARNING_PART: Final = 0.4
LEARNING_POINTS: Final = ("2", "3")
LEARNED_BAR: Final = 1.3
LOSS_FACTORS: Final = (0.5, 2.0)  # where it is looked for
LOSS_FACTOR_TOLERANCE: Final = 1e-4
CLOSURE_BAR: Final = 1e-9
# Wen and Fan's dispersion of a straight pipe as it stands in the handbook: a parameter that no rig was used for.
HANDBOOK_DISPERSION: Final = 1.0


@dataclass(frozen=True, slots=True)
class Drive:
    """What the model is driven with, and what it is compared with; columns of shape (rows,), temperatures in K."""

    time_s: Array
    source_temp_k: Array
    demand_kg_s: Mapping[str, Array]  # by node
    ambient_temp_k: Array
    measured_temp_k: Mapping[str, Array]  # by node
    # By node, when demand and temperature in the rows were read; of nodes that are not here, at the times of the rows.
    read_s: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Followed:
    """What the model made of a drive."""

    temp_k: Mapping[str, Array]  # by node, when the readings in the rows were taken
    closure: float  # largest energy gap of a step as a fraction of what went through


def ulg(path: Path) -> Iterator[Result]:
    """The Liege rig: a hot front through 39 m of steel pipe, judged at the outlet."""
    bars = ULG_BARS.get(path.stem, (ULG_OTHER_BAR, ULG_OTHER_BAR, nan))
    yield from _rig_results(path.stem, 39.0, ulg_pipe(), ulg_drive(path), bars)


def graz(path: Path) -> Iterator[Result]:
    """The Graz rig: steps up and down through 60.33 m of copper pipe, judged at the outlet."""
    if path.stem.endswith("_tools"):  # what other models made of the same drive
        return
    bars = GRAZ_BARS.get(path.stem, (GRAZ_OTHER_BAR, GRAZ_OTHER_BAR, nan))
    yield from _rig_results(path.stem, 60.33, graz_pipe(), graz_drive(path), bars, GRAZ_COMPARED_S)


def branch(path: Path) -> Iterator[Result]:
    """The buried branch in Pongau, judged at the substations while they run: data-sheet losses, then learned ones."""
    network, drive = branch_drive(path)
    followed = follow(network, drive, BRANCH_STEP_S)
    for point in BRANCH_POINTS:
        error = _branch_error(followed, drive, point)[_branch_rows(drive, point)]
        bar, reference = BRANCH_BARS[point]
        yield _result(path.stem, f"point {point} RMSE", rms(error), "K", bar, reference)
    yield _result(path.stem, "energy gap of a step", followed.closure, "1", CLOSURE_BAR)
    yield from _learned(path, network, drive)


def learned_loss_factor(network: Network, drive: Drive) -> float:
    """The one factor on the losses of all pipes whose errors at `LEARNING_POINTS`, while they run, have least squares.

    NaN when no row of the drive can be judged.
    """
    rows = {point: _branch_rows(drive, point) for point in LEARNING_POINTS}
    if not any(np.any(judged) for judged in rows.values()):
        return nan

    def squares(factor: float) -> float:
        followed = follow(with_losses(network, factor), drive, BRANCH_STEP_S)
        return sum(float(np.sum(_branch_error(followed, drive, p)[judged] ** 2)) for p, judged in rows.items())

    return least(squares, *LOSS_FACTORS, LOSS_FACTOR_TOLERANCE)


def with_losses(network: Network, factor: float) -> Network:
    """The network with the losses of all its pipe classes multiplied."""
    classes = tuple(replace(c, loss_factor=factor * c.loss_factor) for c in network.pipe_classes)
    return replace(network, pipe_classes=classes)


def least(cost: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """Where a cost with one minimum between `low` and `high` is least: golden section (Kiefer 1953)."""
    part = (sqrt(5.0) - 1.0) / 2.0
    left, right = high - part * (high - low), low + part * (high - low)
    cost_left, cost_right = cost(left), cost(right)
    while high - low > tolerance:
        if cost_left < cost_right:
            high, right, cost_right = right, left, cost_left
            left = high - part * (high - low)
            cost_left = cost(left)
        else:
            low, left, cost_left = left, right, cost_right
            right = low + part * (high - low)
            cost_right = cost(right)
    return (low + high) / 2.0


def first_rows(drive: Drive, rows: int) -> Drive:
    """The beginning of a drive; nothing of what came later is left in it."""
    return Drive(
        time_s=drive.time_s[:rows],
        source_temp_k=drive.source_temp_k[:rows],
        demand_kg_s={name: flow[:rows] for name, flow in drive.demand_kg_s.items()},
        ambient_temp_k=drive.ambient_temp_k[:rows],
        measured_temp_k={name: temp[:rows] for name, temp in drive.measured_temp_k.items()},
        read_s={name: times[:rows] for name, times in drive.read_s.items()},
    )


def _learned(path: Path, network: Network, drive: Drive) -> Iterator[Result]:
    """The loss factor of the first rows, and how well the branch is followed with it in the others."""
    factor, errors = _learned_and_judged(path, network, drive)
    yield _result(path.stem, "learned loss factor", factor, "1", inf)
    for point, error in errors.items():
        metric = f"point {point} RMSE, learned loss factor, later rows"
        yield _result(path.stem, metric, rms(error), "K", LEARNED_BAR)
    if any(not np.array_equal(times, drive.time_s) for times in drive.read_s.values()):
        _, errors = _learned_and_judged(path, network, replace(drive, read_s={}))
        for point, error in errors.items():
            metric = f"point {point} RMSE, learned loss factor, later rows, rows as they stand"
            yield _result(path.stem, metric, rms(error), "K", inf)


def _learned_and_judged(path: Path, network: Network, drive: Drive) -> tuple[float, dict[str, Array]]:
    """The loss factor of the first rows, and the errors of the later ones with it in K, by point."""
    learning = int(LEARNING_PART * len(drive.time_s))
    factor = learned_loss_factor(network, first_rows(drive, learning)) if learning > 1 else nan
    if np.isnan(factor):
        raise UnusableFile(path, "too short to learn a loss factor")
    followed = follow(with_losses(network, factor), drive, BRANCH_STEP_S)
    later = np.arange(len(drive.time_s)) >= learning
    return factor, {
        point: _branch_error(followed, drive, point)[later & _branch_rows(drive, point)] for point in LEARNING_POINTS
    }


def _branch_error(followed: Followed, drive: Drive, point: str) -> Array:
    return followed.temp_k[point] - drive.measured_temp_k[point]


def _branch_rows(drive: Drive, point: str) -> NDArray[np.bool_]:
    """Rows that are judged: after the settling time, while the point runs."""
    settled: NDArray[np.bool_] = drive.time_s >= drive.time_s[0] + BRANCH_SETTLING_S
    return settled & running(drive.demand_kg_s[point])


def ulg_drive(path: Path) -> Drive:
    """What was measured at the Liege rig."""
    columns = _columns(path, ("time_s", "mass_flow_kg_s", "T_water_out_degC", "T_water_in_degC"))
    return _rig_drive(columns, np.full(len(columns["time_s"]), 18.0))


def graz_drive(path: Path) -> Drive:
    """What was measured at the Graz rig."""
    columns = _columns(path, ("time_s", "mass_flow_kg_s", "T_water_out_degC", "T_water_in_degC", "T_ambient_degC"))
    return _rig_drive(columns, columns["T_ambient_degC"])


def branch_drive(path: Path) -> tuple[Network, Drive]:
    """The buried branch and what was measured in it."""
    flows = [f"mass_flow_{point}_kg_s" for point in ("1", *BRANCH_POINTS)]
    temps = [f"T{point}_K" for point in ("1", *BRANCH_POINTS)]
    columns = _columns(path, ("time_s", *temps, *flows, "T_outdoor_K"))
    network = load("pongau").asset("branch")
    assert isinstance(network, Network)
    smallest = {node.name: node.minimum_flow_kg_s for node in network.nodes}
    demand = {p: np.where((f := columns[f"mass_flow_{p}_kg_s"]) > smallest[p], f, 0.0) for p in BRANCH_POINTS}
    balance = next(node.name for node in network.nodes if node.kind is NodeKind.BALANCE)
    rest = columns["mass_flow_1_kg_s"] - np.sum(list(demand.values()), axis=0)
    return network, Drive(
        time_s=columns["time_s"],
        source_temp_k=columns["T1_K"],
        demand_kg_s=demand | {balance: rest},
        ambient_temp_k=columns["T_outdoor_K"],
        measured_temp_k={point: columns[f"T{point}_K"] for point in BRANCH_POINTS},
        # Flows are inputs: of the temperatures that judge nothing is looked at.
        read_s=reading_times(columns["time_s"], {p: columns[f"mass_flow_{p}_kg_s"] for p in BRANCH_POINTS}),
    )


def single_pipe(length_m: float, pipe_class: PipeClass) -> Network:
    """A network of one pipe from node `in` to node `out`."""
    return Network(
        name="rig",
        nodes=(
            Node(name="in", kind=NodeKind.SOURCE, temperature_tag="in"),
            Node(name="out", kind=NodeKind.CONSUMER, flow_tag="out"),
        ),
        pipes=(Pipe(name="pipe", start="in", end="out", length_m=length_m, pipe_class=pipe_class.name),),
        pipe_classes=(pipe_class,),
        ambient_temperature_tag="ambient",
    )


def follow(network: Network, drive: Drive, longest_step_s: float, fidelity: str = "full") -> Followed:
    """Run the model from a linear start profile along a drive, in steps no longer than given."""
    plan = NetworkPlan(network, fidelity=fidelity)
    inputs = plan.inputs()
    row = {name: k for k, name in enumerate(plan.nodes)}
    state = plan.initial_state([_start_temp_k(name, drive) for name in plan.nodes])
    compared = {name: row[name] for name in drive.measured_temp_k}
    middles, steps_s = _steps(drive.time_s, longest_step_s)
    source_temp_k = np.interp(middles, drive.time_s, drive.source_temp_k)
    ambient_temp_k = np.interp(middles, drive.time_s, drive.ambient_temp_k)
    demand = {
        row[name]: np.interp(middles, drive.read_s.get(name, drive.time_s), flow)
        for name, flow in drive.demand_kg_s.items()
    }
    means = np.empty((len(middles), len(compared)))
    closure = 0.0
    for k, step_s in enumerate(steps_s.tolist()):
        inputs.node_supply_temp_k[plan.source] = source_temp_k[k]
        inputs.ambient_temp_k[:] = ambient_temp_k[k]
        for node, flow in demand.items():
            inputs.node_demand_kg_s[node] = flow[k]
        plan.step(state, step_s, inputs)
        means[k] = state.node_temp_k[list(compared.values()), 0]
        gap = state.energy_in_j - state.energy_out_j - state.energy_loss_j - state.energy_stored_change_j
        through = np.maximum(np.abs(state.energy_in_j), plan.stored_energy_j(state) * 1e-6)
        closure = max(closure, float(np.max(np.abs(gap) / through)))
    temps = {
        name: np.interp(drive.read_s.get(name, drive.time_s), middles, column)
        for name, column in zip(compared, means.T, strict=True)
    }
    return Followed(temps, closure)


def _rig_results(
    case: str,
    length_m: float,
    pipe_class: PipeClass,
    drive: Drive,
    bars: tuple[float, float, float],
    compared_s: float = np.inf,
) -> Iterator[Result]:
    since = drive.time_s - drive.time_s[0]
    rows = (since > 0.0) & (since <= compared_s)  # the first row is the start
    handbook = replace(pipe_class, dispersion_factor=HANDBOOK_DISPERSION)
    closure = 0.0
    *both, reference = bars
    kinds = (("outlet RMSE", pipe_class), ("outlet RMSE, handbook dispersion", handbook))
    for (metric, tried), bar in zip(kinds, both, strict=True):
        followed = follow(single_pipe(length_m, tried), drive, RIG_STEP_S)
        error = followed.temp_k["out"] - drive.measured_temp_k["out"]
        yield _result(case, metric, rms(error[rows]), "K", bar, reference)
        closure = max(closure, followed.closure)
    yield _result(case, "energy gap of a step", closure, "1", CLOSURE_BAR)


def _rig_drive(columns: Mapping[str, Array], ambient_temp_c: Array) -> Drive:
    return Drive(
        time_s=columns["time_s"],
        source_temp_k=columns["T_water_in_degC"] + ZERO_CELSIUS_K,
        demand_kg_s={"out": columns["mass_flow_kg_s"]},
        ambient_temp_k=ambient_temp_c + ZERO_CELSIUS_K,
        measured_temp_k={"out": columns["T_water_out_degC"] + ZERO_CELSIUS_K},
    )


def ulg_pipe() -> PipeClass:
    """The steel pipe in Liege, in a foam of polyethylene of 30 kg/m3 and 2000 J/kgK."""
    inner, outer, insulation = 0.05248, 0.0603, 0.013
    casing = outer + 2.0 * insulation
    return PipeClass(
        name="steel",
        inner_diameter_m=inner,
        outer_diameter_m=outer,
        wall_density_kg_m3=7800.0,
        wall_heat_capacity_j_kgk=480.0,
        loss_resistance_mk_w=log(casing / outer) / (2.0 * pi * 0.04) + 1.0 / (5.0 * pi * casing),
        insulation_heat_capacity_j_m3k=30.0 * 2000.0,
        insulation_conductivity_w_mk=0.04,
        insulation_diameter_m=casing,
    )


def graz_pipe() -> PipeClass:
    """The copper pipe in Graz, in a foam of rubber of 60 kg/m3 and 1400 J/kgK."""
    inner, outer, insulation = 0.020, 0.022, 0.013
    casing = outer + 2.0 * insulation
    conductivity = 0.0389 + (0.0442 - 0.0389) * (35.0 - 14.4) / (54.4 - 14.4)  # of the foam at a mean of 35 degC
    return PipeClass(
        name="copper",
        inner_diameter_m=inner,
        outer_diameter_m=outer,
        wall_density_kg_m3=8960.0,
        wall_heat_capacity_j_kgk=385.0,
        loss_resistance_mk_w=log(casing / outer) / (2.0 * pi * conductivity) + 1.0 / (9.35 * pi * casing),
        insulation_heat_capacity_j_m3k=60.0 * 1400.0,
        insulation_conductivity_w_mk=conductivity,
        insulation_diameter_m=casing,
    )


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    columns = read_columns(path, names)
    time = columns["time_s"]
    if len(time) < 2:
        raise UnusableFile(path, "holds one row; a run needs at least two")
    backwards = np.flatnonzero(np.diff(time) <= 0.0)
    if len(backwards):
        raise UnusableFile(path, f"column 'time_s' does not rise after {time[backwards[0]]:g} s")
    return columns


def _start_temp_k(node: str, drive: Drive) -> float:
    """What was measured at the node in the first row; where nothing was, the source's."""
    return float(drive.measured_temp_k.get(node, drive.source_temp_k)[0])


def _steps(time_s: Array, longest_step_s: float) -> tuple[Array, Array]:
    """Rows cut into equal steps of at most `longest_step_s`: the middle of each step and its length."""
    durations = np.diff(time_s)
    parts = np.ceil(durations / longest_step_s - 1e-9).astype(np.intp)
    steps_s = np.repeat(durations / parts, parts)
    return time_s[0] + np.cumsum(steps_s) - 0.5 * steps_s, steps_s


def running(flow: Array) -> NDArray[np.bool_]:
    """Rows with flow there and in the rows before: `BRANCH_RUNNING_ROWS` in all, fewer at the beginning."""
    rows = flow > 0.0
    for shift in range(1, BRANCH_RUNNING_ROWS):
        rows[shift:] &= (flow > 0.0)[:-shift]
    return rows


def rms(error: Array) -> float:
    """Root mean square; NaN of nothing."""
    return float(np.sqrt(np.mean(error**2))) if len(error) else nan


def _result(case: str, metric: str, value: float, unit: str, bar: float, reference: float = nan) -> Result:
    return Result(suite=SUITE, case=case, metric=metric, value=value, unit=unit, bar=bar, reference=reference)


SUITES: Final[dict[str, Case]] = {"ulg_*.csv": ulg, "ait_*.csv": branch, "graz_*.csv": graz}
