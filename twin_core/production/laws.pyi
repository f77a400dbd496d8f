from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

KINDS: Final[tuple[str, ...]]
LAW: Final[np.dtype[np.void]]

def draws(law: NDArray[Any], table: NDArray[np.float64], n: int, seed: int = 0) -> NDArray[np.float64]: ...
