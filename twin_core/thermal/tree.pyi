from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.thermal.pipes import Pipes

SCRATCH_ROWS: Final[int]

class Tree:
    pipes: Final[Pipes]
    nodes: Final[int]
    def __init__(
        self,
        pipes: Pipes,
        order: Sequence[int],
        parent: Sequence[int],
        pipe_of: Sequence[int],
        sense: Sequence[float],
    ) -> None: ...
    def step(
        self,
        dt_s: float,
        inner_steps: int,
        rows: NDArray[np.float64],
        memos: NDArray[np.float64],
        scratch: NDArray[np.float64],
        supply_temp_k: NDArray[np.float64],
        demand_kg_s: NDArray[np.float64],
        ambient_temp_k: NDArray[np.float64],
        node_temp_k: NDArray[np.float64],
        pipe_flow_kg_s: NDArray[np.float64],
        pipe_outlet_temp_k: NDArray[np.float64],
        stored_j: NDArray[np.float64],
        step_j: NDArray[np.float64],
        total_j: NDArray[np.float64],
    ) -> None: ...
    def stored_energy_j(self, rows: NDArray[np.float64], out: NDArray[np.float64]) -> None: ...

def first_wrong(values: NDArray[np.float64], low: float, high: float) -> int: ...
