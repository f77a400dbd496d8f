from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.thermal.hydraulics import HydraulicPlan
from uem.twin_core.thermal.pipes import Pipes
from uem.twin_core.thermal.rings import Rings
from uem.twin_core.thermal.units.dispatch import UnitKind

Array = NDArray[np.float64]

NO_FLOWS_FOUND: Final[int]
PRODUCERS: Final[frozenset[UnitKind]]

class Arrays:
    def __init__(
        self,
        rows: Array,
        memos: Array,
        records: Array,
        stored_j: Array,
        step_j: Array,
        total_j: Array,
        node_temp_k: Array,
        node_pressure_pa: Array,
        node_unsupplied: Array,
        edge_flow_kg_s: Array,
        pipe_outlet_temp_k: Array,
        unit_results: Array,
    ) -> None: ...

class InputArrays:
    def __init__(self, values: Sequence[Array], bounds: Sequence[tuple[float, float]]) -> None: ...
    def first_wrong(self) -> int: ...

class Work: ...

class Units:
    count: Final[int]
    states: Final[int]
    commands: Final[int]
    results: Final[int]
    def __init__(
        self,
        kinds: Sequence[int],
        parameters: Sequence[ArrayLike],
        states: Sequence[ArrayLike],
        command_counts: Sequence[int],
        is_sum: Sequence[Sequence[bool]],
        result_rows: ArrayLike,
    ) -> None: ...

class Graph:
    pipes: Final[Pipes | Rings]
    width: Final[int]
    memo: Final[int]
    nodes: Final[int]
    edges: Final[int]
    records: Final[int]
    units: Final[Units]
    def __init__(
        self,
        pipes: Pipes | Rings,
        node_rows: ArrayLike,
        edge_rows: ArrayLike,
        start: ArrayLike,
        end: ArrayLike,
        source: Sequence[bool],
        held: Sequence[bool],
        twin: Sequence[int],
        twin_share: Sequence[float],
        units: Units,
        tree: Sequence[tuple[int, int]] = (),
        hydraulics: HydraulicPlan | None = None,
        kind: ArrayLike = (),
        tolerance: float = ...,
    ) -> None: ...
    def work(self) -> Work: ...
    def fill(self, records: Array, temp_k: Array) -> None: ...
    def forget_cuts(self, records: Array) -> None: ...
    def step(
        self,
        work: Work,
        state: Arrays,
        inputs: InputArrays,
        first: int,
        last: int,
        dt_s: float,
        inner_steps: int,
    ) -> tuple[int, int, int, int]: ...
    def stored_energy_j(self, state: Arrays, out: Array) -> None: ...
