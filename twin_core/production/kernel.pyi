from typing import Final

import numpy as np
from numpy.typing import NDArray

N_TABLE: Final[int]
N_BATH: Final[int]
N_FIELDS: Final[int]

def first_bad_input(
    bath: NDArray[np.float64], hall_temp_k: NDArray[np.float64], power_w: NDArray[np.float64]
) -> int: ...
def step(
    table: NDArray[np.float64],
    bath: NDArray[np.float64],
    block: NDArray[np.float64],
    dt_s: float,
    state_number: NDArray[np.float64],
    hall_temp_k: NDArray[np.float64],
    power_w: NDArray[np.float64],
) -> None: ...
