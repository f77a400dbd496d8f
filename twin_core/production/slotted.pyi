import numpy as np
from numpy.typing import NDArray

def replicate(
    p: NDArray[np.float64],
    places: NDArray[np.int64],
    warmup: int,
    slots: int,
    seed: int,
    first: int,
    counts: NDArray[np.int64],
) -> None: ...
