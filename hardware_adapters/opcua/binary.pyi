from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_TIME: Final[int]
BAD_TYPE_MISMATCH: Final[int]

class Columns:
    def __init__(self) -> None: ...
    @property
    def handle(self) -> NDArray[np.uint32]: ...
    @property
    def value(self) -> NDArray[np.float64]: ...
    @property
    def quality(self) -> NDArray[np.uint32]: ...
    @property
    def source_time_ns(self) -> NDArray[np.int64]: ...
    @property
    def server_time_ns(self) -> NDArray[np.int64]: ...
    @property
    def others(self) -> dict[int, bytes]: ...
    @property
    def has_overflow(self) -> bool: ...
    def scaled(
        self, scale: NDArray[np.float64], offset: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64], NDArray[np.uint32]] | None:
        """Rows as columns of their own: tag, source time, scale * value + offset of the tag, quality.

        None if there is more to do: no row, a tag that `scale` (of a number per tag) has not, a row without source
        time, or one earlier than the row before it.
        """

def publish_response(
    body: bytes | memoryview | NDArray[np.uint8], columns: Columns
) -> tuple[int, int, list[int], bool, list[int], int, int, list[int]]: ...
def republish_response(
    body: bytes | memoryview | NDArray[np.uint8], columns: Columns
) -> tuple[int, int, int, list[int]]: ...
def read_response(body: bytes | memoryview | NDArray[np.uint8], columns: Columns, most_rows: int) -> int: ...
