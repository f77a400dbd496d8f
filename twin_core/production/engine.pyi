from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.uint8]

STATES: Final[tuple[str, ...]]
N_STATES: Final[int]
SINK: Final[int]
NOTHING_NEEDED: Final[int]
UNLIMITED: Final[int]
SERVER_PLAN: Final[np.dtype[np.void]]
RARE_PLAN: Final[np.dtype[np.void]]
LINK: Final[np.dtype[np.void]]
BUFFER_PLAN: Final[np.dtype[np.void]]
MODE_PLAN: Final[np.dtype[np.void]]
CREW_PLAN: Final[np.dtype[np.void]]
CALENDAR_PLAN: Final[np.dtype[np.void]]
RECIPE_PLAN: Final[np.dtype[np.void]]
QUEUE_PLAN: Final[np.dtype[np.void]]
ORDER_PLAN: Final[np.dtype[np.void]]
STEP_PLAN: Final[np.dtype[np.void]]
QUALITY_PLAN: Final[np.dtype[np.void]]
QUEUE_ORDERS: Final[dict[str, int]]
PHASES: Final[dict[str, int]]
HINDRANCES: Final[dict[str, int]]
TAKE_RULES: Final[dict[str, int]]
GIVE_RULES: Final[dict[str, int]]
MODE_KINDS: Final[dict[str, int]]

class Engine:
    fields: dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]]
    size: int
    def __init__(
        self, arrays: dict[str, NDArray[Any]], keys: NDArray[np.uint64], n_products: int, n_parts: int
    ) -> None: ...
    def blocks(self, n: int) -> NDArray[np.uint8]: ...
    def view(self, block: Block) -> dict[str, NDArray[Any]]: ...
    def empty(self) -> Block: ...
    def seed(self, block: Block, seed: int, replication: int) -> None: ...
    def run(self, block: Block, until: float) -> int: ...
    def clear_ledger(self, block: Block) -> None: ...
    def set_level(self, block: Block, b: int, level: int) -> None: ...
    def set_limit(self, block: Block, u: int, limit: float) -> None: ...
    def set_state(self, block: Block, s: int, state: str, left: float, parts: int) -> None: ...
    def furnaces(self, blocks: NDArray[np.uint8]) -> NDArray[np.float64]: ...
    def set_temperatures(self, block: Block, f: int, chamber: float, lining: float, load: float) -> None: ...
    def replicate(
        self,
        start: Block,
        seed: int,
        first: int,
        warmup: float,
        ends: NDArray[np.float64],
        blocks: NDArray[np.uint8],
        reseeds: bool,
    ) -> int: ...
