import numpy as np
from numpy.typing import NDArray

def draws(kind: str, n: int, seed: int = 0, replication: int = 0, key: int = 0) -> NDArray[np.float64]: ...
