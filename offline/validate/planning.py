"""Validation of the planning fidelity: the same rigs and a random town, against measurements and the full scheme.

What is judged is the difference that the cheaper scheme makes; the bars are those of a plan for the next day, not of
the live twin. Rows against the full scheme are the root mean square over the same times at the same places.
"""

from collections.abc import Iterator, Mapping
from math import pi
from pathlib import Path
from typing import Final

import numpy as np

from uem.offline.validate import thermal
from uem.offline.validate.case import Calculation, Case, Result
from uem.offline.validate.thermal import Array, Drive, Followed
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.thermal.network import Fidelity, NetworkPlan

SUITE: Final = "planning"
# In K: as measured, and from the full scheme.
ULG_BARS: Final = (0.60, 0.50)
GRAZ_BARS: Final = (0.30, 0.30)
BRANCH_BARS: Final = {"2": (1.95, 0.30), "3": (1.70, 0.50), "4": (1.90, 0.70)}
TOWN_BAR: Final = 0.30
TOWN_PIPES: Final = 60
TOWN_HOURS: Final = 24


def ulg(path: Path) -> Iterator[Result]:
    """The Liege rig."""
    yield from _rig(path, thermal.ulg_drive(path), 39.0, thermal.ulg_pipe(), ULG_BARS, np.inf)


def graz(path: Path) -> Iterator[Result]:
    """The Graz rig."""
    if not path.stem.endswith("_tools"):
        yield from _rig(path, thermal.graz_drive(path), 60.33, thermal.graz_pipe(), GRAZ_BARS, thermal.GRAZ_COMPARED_S)


def branch(path: Path) -> Iterator[Result]:
    """The buried branch in Pongau."""
    network, drive = thermal.branch_drive(path)
    full, planned = (thermal.follow(network, drive, thermal.BRANCH_STEP_S, fidelity) for fidelity in Fidelity)
    settled = drive.time_s >= drive.time_s[0] + thermal.BRANCH_SETTLING_S
    for point, bars in BRANCH_BARS.items():
        rows = settled & thermal.running(drive.demand_kg_s[point])
        yield from _compared(path.stem, f"point {point}", point, rows, drive, full, planned, bars)
    yield _result(path.stem, "energy gap of a step", planned.closure, "1", thermal.CLOSURE_BAR)


def town() -> Iterator[Result]:
    """A random tree of pipes: supply temperature and demands that change all day, steps of a minute."""
    rng = np.random.default_rng(3)
    network = random_tree(rng)
    consumers = [node.name for node in network.nodes if node.kind is NodeKind.CONSUMER]
    plans = {fidelity: NetworkPlan(network, fidelity=fidelity) for fidelity in Fidelity}
    states = {fidelity: plan.initial_state(350.0) for fidelity, plan in plans.items()}
    inputs = plans[Fidelity.FULL].inputs()
    row = {name: k for k, name in enumerate(plans[Fidelity.FULL].nodes)}
    usual = rng.uniform(0.05, 0.3, len(consumers))
    squares, worst, closure, count = 0.0, 0.0, 0.0, 0
    for minute in range(60 * TOWN_HOURS):
        if minute % 15 == 0:
            hour = minute / 60.0
            load = 1.0 + 0.4 * np.sin(2.0 * pi * hour / 12.0) + 0.2 * rng.standard_normal(len(consumers))
            inputs.node_demand_kg_s[[row[name] for name in consumers], 0] = usual * np.clip(load, 0.0, 2.0)
            inputs.node_supply_temp_k[:] = 355.0 + 8.0 * np.sin(2.0 * pi * hour / 24.0) + 2.0 * rng.standard_normal()
        for fidelity, plan in plans.items():
            plan.step(states[fidelity], 60.0, inputs)
        state = states[Fidelity.PLANNING]
        gap = state.energy_in_j - state.energy_out_j - state.energy_loss_j - state.energy_stored_change_j
        closure = max(closure, float(abs(gap[0]) / abs(state.energy_in_j[0])))
        if minute >= 120:
            off = state.node_temp_k - states[Fidelity.FULL].node_temp_k
            squares, worst = squares + float((off**2).sum()), max(worst, float(np.abs(off).max()))
            count += off.size
    yield _result("random tree", "all nodes against the full scheme, RMSE", (squares / count) ** 0.5, "K", TOWN_BAR)
    yield _result("random tree", "all nodes against the full scheme, worst", worst, "K", np.inf)
    yield _result("random tree", "energy gap of a step", closure, "1", thermal.CLOSURE_BAR)


def random_tree(rng: np.random.Generator) -> Network:
    """Streets of 20 to 120 m that grow from the source, wide near it and narrow at the end."""
    parent = [0 if k < 3 else int(rng.integers(max(0, k - 12), k)) for k in range(TOWN_PIPES)]
    behind = np.ones(TOWN_PIPES + 1)
    for k in range(TOWN_PIPES - 1, -1, -1):
        behind[parent[k]] += behind[k + 1]
    nodes = [Node(name="0", kind=NodeKind.SOURCE, temperature_tag="t")]
    nodes += [Node(name=str(k + 1), kind=NodeKind.CONSUMER, flow_tag="f") for k in range(TOWN_PIPES)]
    pipes = [
        Pipe(
            name=f"p{k}",
            start=str(parent[k]),
            end=str(k + 1),
            length_m=float(rng.uniform(20.0, 120.0)),
            pipe_class=_size(0.17 * behind[k + 1]),
        )
        for k in range(TOWN_PIPES)
    ]
    return Network(
        name="town",
        nodes=tuple(nodes),
        pipes=tuple(pipes),
        pipe_classes=tuple(_pipe_class(size) for size in (25, 40, 50, 80, 100, 125, 150, 200)),
        ambient_temperature_tag="ground",
    )


def _size(flow_kg_s: float) -> str:
    """The smallest one in which water is no faster than 0.8 m/s."""
    wanted_mm = 1000.0 * (4.0 * flow_kg_s / (980.0 * pi * 0.8)) ** 0.5
    return f"d{next((size for size in (25, 40, 50, 80, 100, 125, 150) if size >= wanted_mm), 200)}"


def _pipe_class(size_mm: int) -> PipeClass:
    return PipeClass(
        name=f"d{size_mm}",
        inner_diameter_m=size_mm * 1e-3,
        outer_diameter_m=size_mm * 1e-3 + 0.006,
        wall_density_kg_m3=7850.0,
        wall_heat_capacity_j_kgk=480.0,
        loss_resistance_mk_w=4.0,
    )


def _rig(
    path: Path, drive: Drive, length_m: float, pipe_class: PipeClass, bars: tuple[float, float], compared_s: float
) -> Iterator[Result]:
    network = thermal.single_pipe(length_m, pipe_class)
    full, planned = (thermal.follow(network, drive, thermal.RIG_STEP_S, fidelity) for fidelity in Fidelity)
    since = drive.time_s - drive.time_s[0]
    rows = (since > 0.0) & (since <= compared_s)
    yield from _compared(path.stem, "outlet", "out", rows, drive, full, planned, bars)
    yield _result(path.stem, "energy gap of a step", planned.closure, "1", thermal.CLOSURE_BAR)


def _compared(
    case: str,
    what: str,
    node: str,
    rows: np.ndarray,
    drive: Drive,
    full: Followed,
    planned: Followed,
    bars: tuple[float, float],
) -> Iterator[Result]:
    def rms(one: Mapping[str, Array], other: Mapping[str, Array]) -> float:
        return thermal.rms((one[node] - other[node])[rows])

    measured = drive.measured_temp_k
    yield _result(case, f"{what} RMSE", rms(planned.temp_k, measured), "K", bars[0], rms(full.temp_k, measured))
    yield _result(case, f"{what} against the full scheme, RMSE", rms(planned.temp_k, full.temp_k), "K", bars[1])


def _result(case: str, metric: str, value: float, unit: str, bar: float, reference: float = float("nan")) -> Result:
    return Result(suite=SUITE, case=case, metric=metric, value=value, unit=unit, bar=bar, reference=reference)


SUITES: Final[dict[str, Case]] = {"ulg_*.csv": ulg, "ait_*.csv": branch, "graz_*.csv": graz}
CALCULATIONS: Final[dict[str, Calculation]] = {"a random tree for a day": town}
