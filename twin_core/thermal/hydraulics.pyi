from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.thermal.hydraulic_network import HydraulicGraph

class Room:
    def __init__(self, plan: HydraulicPlan) -> None: ...

class HydraulicPlan:
    graph: Final[HydraulicGraph]
    nodes: Final[int]
    edges: Final[int]
    memory_width: Final[int]
    def __init__(self, graph: HydraulicGraph, friction: str = "colebrook") -> None: ...
    def room(self) -> Room: ...
    def solve(
        self,
        demand_kg_s: NDArray[np.float64],
        fixed_pressure_pa: NDArray[np.float64],
        setting: NDArray[np.float64],
        temp_k: NDArray[np.float64],
        flow_kg_s: NDArray[np.float64],
        pressure_pa: NDArray[np.float64],
        memory: NDArray[np.float64],
        unsupplied: NDArray[np.uint8],
        room: Room,
        tolerance: float = 1e-8,
    ) -> int: ...
