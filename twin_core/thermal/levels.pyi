from typing import Final

LEVELS: Final[tuple[str, ...]]
LEVEL: Final[str]

def vectors() -> int: ...
