from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOOLEAN: Final[int]
INT32: Final[int]
UINT32: Final[int]
FLOAT: Final[int]
DOUBLE: Final[int]
DISABLED: Final[int]
SAMPLING: Final[int]
REPORTING: Final[int]
STATUS: Final[int]
STATUS_VALUE: Final[int]
STATUS_VALUE_TIMESTAMP: Final[int]
SOURCE: Final[int]
SERVER: Final[int]
BOTH: Final[int]
NEITHER: Final[int]

class Points:
    count: int
    def __init__(self, kinds: ArrayLike, time_ns: int, quality: int, now_ns: int) -> None: ...
    def read(self, point: int) -> tuple[float, int, int, int]: ...
    def write(
        self,
        point: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint32],
        source_time_ns: NDArray[np.int64],
        now_ns: int,
    ) -> None: ...
    def subscribe(self, items: Items) -> None: ...
    def unsubscribe(self, items: Items) -> None: ...

class Items:
    def __init__(self, points: Points) -> None: ...
    def add(
        self,
        point: int,
        handle: int,
        *,
        mode: int = ...,
        size: int = 1,
        discard_oldest: bool = True,
        trigger: int = ...,
        deadband: float = 0.0,
        sampling_ms: float = 0.0,
        times: int = ...,
        now_ns: int = 0,
    ) -> int: ...
    def change(
        self,
        which: int,
        handle: int,
        size: int,
        discard_oldest: bool,
        trigger: int,
        deadband: float,
        sampling_ms: float,
        times: int,
    ) -> None: ...
    def set_mode(self, which: int, mode: int, now_ns: int = 0) -> None: ...
    def repeat(self, which: int, now_ns: int = 0) -> None: ...
    def remove(self, which: int) -> None: ...
    @property
    def queued(self) -> int: ...
    def settle_until(self, now_ns: int) -> None: ...
    def encode(self, most: int) -> bytes: ...

def history_data(
    kind: int,
    value: NDArray[np.float64],
    quality: NDArray[np.uint32],
    source: NDArray[np.int64],
    server: NDArray[np.int64],
    times: int,
) -> bytes: ...
