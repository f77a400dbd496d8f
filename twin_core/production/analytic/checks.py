"""What every calculation asks of its numbers, checked once at the border."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.errors import InvalidInput

Array = NDArray[np.float64]


def positive(**numbers: float) -> None:
    """InvalidInput for the first number that is not positive and finite."""
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise InvalidInput(f"{name} = {value} must be positive and finite")


def not_negative(**numbers: float) -> None:
    """InvalidInput for the first number that is negative or not finite."""
    for name, value in numbers.items():
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"{name} = {value} must be finite and not negative")


def whole(least: int, /, **numbers: float) -> None:
    """InvalidInput for the first number that is not whole or below `least`."""
    for name, value in numbers.items():
        if not (math.isfinite(value) and value == int(value) and value >= least):
            raise InvalidInput(f"{name} = {value} must be a whole number of at least {least}")


def vector(name: str, values: ArrayLike, length: int | None = None) -> Array:
    """The values as floats, shape (length,); InvalidInput if they are not finite numbers of that shape."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} = {values!r} must be numbers") from None
    if found.ndim != 1 or (length is not None and len(found) != length):
        wanted = "one row" if length is None else f"{length} numbers"
        raise InvalidInput(f"{name} has shape {found.shape}; {wanted} expected")
    if not np.isfinite(found).all():
        raise InvalidInput(f"{name} = {found.tolist()} must be finite")
    return found


def positive_vector(name: str, values: ArrayLike, length: int | None = None) -> Array:
    """As `vector`, and every value above zero."""
    found = vector(name, values, length)
    if not (found > 0).all():
        raise InvalidInput(f"{name} = {found.tolist()} must be positive")
    return found


def probabilities(name: str, values: ArrayLike, length: int | None = None) -> Array:
    """As `vector`, and every value from 0 to 1."""
    found = vector(name, values, length)
    if not ((found >= 0) & (found <= 1)).all():
        raise InvalidInput(f"{name} = {found.tolist()} must lie between 0 and 1")
    return found


def capacities(values: Sequence[int] | ArrayLike, length: int, least: int = 0) -> tuple[int, ...]:
    """Buffer capacities, `length` whole numbers of at least `least`."""
    found = vector("buffers", values, length)
    if not (found == np.floor(found)).all() or (found < least).any():
        raise InvalidInput(f"buffers = {found.tolist()} must be whole numbers of at least {least}")
    return tuple(int(value) for value in found)
