from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike, NDArray

class Layout:
    """Where the columns of a message are: packed fields `numbers`, of numpy dtypes `kinds`, of its field `part`."""

    def __init__(self, part: int, numbers: Sequence[int], kinds: Sequence[DTypeLike]) -> None: ...
    def take(self, data: bytes) -> tuple[bytes, list[NDArray[Any]]] | None:
        """(bytes of the message without its columns, columns); None if protobuf has to read this message."""

    def put(self, message: bytes, columns: Sequence[NDArray[Any]]) -> bytes:
        """The bytes of `message` with its columns in their places; ValueError or OverflowError if they do not fit."""
