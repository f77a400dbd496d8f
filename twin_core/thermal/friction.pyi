from typing import Final

import numpy as np
from numpy.typing import NDArray

LAWS: Final[tuple[str, ...]]

def friction_factors(
    law: str, relative_roughness: NDArray[np.float64], reynolds: NDArray[np.float64], out: NDArray[np.float64]
) -> None: ...
def pressure_drops_of(
    law: str,
    relative_roughness: NDArray[np.float64],
    reynolds_per_flow: NDArray[np.float64],
    flow_kg_s: NDArray[np.float64],
    drop_pa: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> None: ...
