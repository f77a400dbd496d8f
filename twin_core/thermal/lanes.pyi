from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.thermal.graph import Arrays, InputArrays, Units, Work
from uem.twin_core.thermal.hydraulics import HydraulicPlan
from uem.twin_core.thermal.rings import Rings
from uem.twin_core.thermal.run import Courses

Array = NDArray[np.float64]

LEVELS: Final[tuple[str, ...]]
LEVEL: Final[str]
WIDTH: Final[int]

class LaneRings:
    count: Final[int]
    rings: Final[Rings]
    def __init__(self, rings: Rings) -> None: ...
    def advance(
        self,
        rows: Array,
        mass_kg: Array,
        temp_k: Array,
        dt_s: float,
        ambient_temp_k: Array,
        out_heat_kgk: Array,
        loss_j: Array,
    ) -> None: ...

class LaneGraph:
    pipes: Final[Rings]
    width: Final[int]
    nodes: Final[int]
    edges: Final[int]
    def __init__(
        self,
        pipes: Rings,
        node_rows: ArrayLike,
        edge_rows: ArrayLike,
        start: ArrayLike,
        end: ArrayLike,
        source: Sequence[bool],
        held: Sequence[bool],
        units: Units,
        tree: Sequence[tuple[int, int]] = (),
        hydraulics: HydraulicPlan | None = None,
        kind: ArrayLike = (),
        tolerance: float = ...,
    ) -> None: ...
    def work(self) -> Work: ...
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
    def run(
        self,
        work: Work,
        state: Arrays,
        inputs: InputArrays,
        first: int,
        last: int,
        dt_s: float,
        inner_steps: int,
        begin: int,
        steps: int,
        courses: Courses,
        place: NDArray[np.intp],
        rows: Sequence[Array],
        out: Array,
        gone: NDArray[np.int8],
    ) -> tuple[int, int, int, int, int]: ...
    def stored_energy_j(self, state: Arrays, out: Array) -> None: ...
