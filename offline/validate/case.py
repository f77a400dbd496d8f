"""What a validation case is: a function that yields results, of a file that it reads or of a calculation.

A module of cases exposes `SUITES`: file name pattern -> case, `TABLES`: first line of a CSV file -> case, and
`CALCULATIONS`: name -> case that needs no file. A case that cannot use a file raises `UnusableFile`, which names the
file and the column or row that is wrong; any of our other errors counts as a failed case too. A case whose peer is not
installed raises `LeftOut`.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import TwinError

# How much longer than by default cases that draw random numbers run.
EFFORT: ContextVar[float] = ContextVar("effort", default=1.0)
# Whether cases run in full: until each figure is as sure as the leading one has to be, over all days, in all steps.
EVERY_FIGURE: ContextVar[bool] = ContextVar("every_figure", default=False)


class UnusableFile(TwinError):
    """A file of a known name does not hold what its kind promises."""

    def __init__(self, path: Path, problem: str) -> None:
        """`problem` names the column or row and what was expected."""
        super().__init__(f"{path}: {problem}")


class LeftOut(TwinError):
    """What a case compares with is not installed; the message says how to install it."""


def peer(name: str) -> Any:
    """The module of an optional peer.

    Raises:
        LeftOut: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise LeftOut(f"{name.partition('.')[0]} is not installed: pip install 'uem[peers]'") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One judged figure: `value` passes from `least` up to `bar`. Errors have no `least`; reports have no `bar` either.

    `reference` is the same figure of a known other method or of the measurement; NaN when there is none.
    """

    suite: str
    case: str
    metric: str
    value: float
    unit: str
    bar: float
    reference: float = math.nan
    least: float = -math.inf

    @property
    def passed(self) -> bool:
        """Whether the bar is met; a value that is not a number never does."""
        return self.least <= self.value <= self.bar


Case = Callable[[Path], Iterator[Result]]
Calculation = Callable[[], Iterator[Result]]


def read_columns(path: Path, names: Sequence[str], *, gaps: Sequence[str] = ()) -> dict[str, NDArray[np.float64]]:
    """The named numeric columns of a CSV file with a header row.

    A cell that is empty is refused, except in the columns of `gaps`, where it becomes NaN.

    Raises:
        UnusableFile: not readable, a column is missing, a row has too few or too many cells, a cell is not a number.
    """
    rows = read_rows(path, names)
    found: dict[str, NDArray[np.float64]] = {}
    for name in names:
        column = np.empty(len(rows))
        for i, (line, row) in enumerate(rows):
            column[i] = _number(path, line, name, row[name], name in gaps)
        found[name] = column
    return found


def read_rows(path: Path, names: Sequence[str], delimiter: str = ",") -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file as (line number, cells by column name); refuses as `read_columns` does."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            header = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnusableFile(path, f"cannot be read as CSV: {error}") from None
    for name in names:
        if name not in header:
            raise UnusableFile(
                path, f"column {name!r} is missing; columns are {', '.join(map(repr, header)) or 'none'}"
            )
    if not rows:
        raise UnusableFile(path, "holds no rows")
    for line, row in rows:
        if None in row or None in row.values():
            raise UnusableFile(path, f"line {line}: {len(header)} cells expected")
    return rows


def _number(path: Path, line: int, name: str, text: str, may_be_empty: bool) -> float:
    if may_be_empty and not text.strip():
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnusableFile(path, f"line {line}: column {name!r} holds {text!r}, a finite number is expected")
    return value
