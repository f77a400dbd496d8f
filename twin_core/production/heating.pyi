from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BODY: Final[np.dtype[np.void]]
SEGMENT_PLAN: Final[np.dtype[np.void]]
FURNACE_PLAN: Final[np.dtype[np.void]]
FURNACE: Final[np.dtype[np.void]]
KINDS: Final[dict[str, int]]
AT: Final[dict[str, Any]]
N_READ: Final[int]

def bodies(
    roots: NDArray[np.float64], turns: NDArray[np.float64], rates: NDArray[np.float64], scan: float
) -> NDArray[Any]: ...
