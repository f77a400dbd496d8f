from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_RESULTS_OF_A_UNIT: Final[int]

class UnitKind(IntEnum):
    HEAT_SOURCE = 0
    HEAT_LOAD = 1
    SUBSTATION = 2
    HOUSE = 3
    BOILER = 4
    CHP = 5
    INCINERATOR = 6
    HEAT_PUMP = 7
    WASTE_HEAT = 8
    TANK = 9
    COOLER = 10

def state_names(kind: UnitKind, layers: int = 0) -> tuple[str, ...]: ...
def command_names(kind: UnitKind) -> tuple[str, ...]: ...
def result_names(kind: UnitKind) -> tuple[str, ...]: ...
def parameter_row(kind: UnitKind, values: Mapping[str, object]) -> NDArray[np.float64]: ...
def wanted_flow(
    kind: int,
    parameters: NDArray[np.float64],
    state: NDArray[np.float64],
    command: NDArray[np.float64],
    temp_in_k: float,
) -> float: ...
def advance(
    kind: int,
    parameters: NDArray[np.float64],
    state: NDArray[np.float64],
    command: NDArray[np.float64],
    temp_in_k: float,
    mass_kg: float,
    dt_s: float,
    result: NDArray[np.float64],
) -> None: ...
def advance_times(
    kind: int,
    parameters: NDArray[np.float64],
    state: NDArray[np.float64],
    command: NDArray[np.float64],
    temp_in_k: NDArray[np.float64],
    dt_s: float,
    result: NDArray[np.float64],
) -> None: ...
