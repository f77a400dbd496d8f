from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

TIMES: Final[tuple[str, ...]]

def replicate(
    laws: NDArray[Any],
    table: NDArray[np.float64],
    capacities: NDArray[np.int64],
    keys: NDArray[np.uint64],
    seed: int,
    first: int,
    low: float,
    high: float,
    times: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None: ...
