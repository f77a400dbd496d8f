from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.thermal.geometry import PipeGeometry

HEAT_CAPACITY_J_KGK: Final[float]
ENERGY_ZERO_K: Final[float]
MEMO_NUMBERS: Final[int]

class Rings:
    count: Final[int]
    width: Final[int]
    def __init__(self, geometries: Sequence[PipeGeometry]) -> None: ...
    def masses_kg(self) -> tuple[list[float], list[float]]: ...
    def plugs(self) -> list[int]: ...
    def decays_per_s(self) -> list[float]: ...
    def fill(
        self, rows: NDArray[np.float64], start_temp_k: NDArray[np.float64], end_temp_k: NDArray[np.float64]
    ) -> None: ...
    def advance(
        self,
        rows: NDArray[np.float64],
        memos: NDArray[np.float64],
        mass_kg: NDArray[np.float64],
        temp_k: NDArray[np.float64],
        dt_s: float,
        ambient_temp_k: NDArray[np.float64],
        out_mass_kg: NDArray[np.float64],
        out_heat_kgk: NDArray[np.float64],
        loss_j: NDArray[np.float64],
    ) -> None: ...
    def advance_in_halves(
        self,
        rows: NDArray[np.float64],
        memos: NDArray[np.float64],
        mass_kg: NDArray[np.float64],
        temp_k: NDArray[np.float64],
        dt_s: float,
        ambient_temp_k: NDArray[np.float64],
        out_mass_kg: NDArray[np.float64],
        out_heat_kgk: NDArray[np.float64],
        loss_j: NDArray[np.float64],
    ) -> None: ...
    def energy_j(self, rows: NDArray[np.float64], out: NDArray[np.float64]) -> None: ...
