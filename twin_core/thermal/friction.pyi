from typing import Final

import numpy as np
from numpy.typing import NDArray

LAWS: Final[tuple[str, ...]]

def friction_factors(
    law: str, relative_roughness: NDArray[np.float64], reynolds: NDArray[np.float64], out: NDArray[np.float64]
) -> None: ...
