import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.uint8]

class LargestTriangles:
    time: Numbers
    value: Floats
    quality: NDArray[np.uint32]
    line: Numbers
    is_kept: Flags
    def __init__(self, intervals: int) -> None: ...
    def survey(self, number: Numbers, x: Floats, value: Floats, is_bad: Flags, line: Numbers) -> None: ...
    def begin_choice(self) -> None: ...
    def choose(
        self,
        number: Numbers,
        x: Floats,
        time: Numbers,
        value: Floats,
        quality: NDArray[np.uint32],
        is_bad: Flags,
        line: Numbers,
    ) -> None: ...
