"""Weather of a typical year and shapes of demand, as CSV files hold them: docs/guide/model-files.md, `simulation`."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.simulation import HOURS

DAY_HOURS = tuple(f"h{hour:02d}" for hour in range(HOURS))


def typical_year(path: Path) -> list[tuple[str, float]]:
    """(day as MM-DD, outdoor temperature in degC) of every hour; each is the mean of an hour, told at its end.

    Raises:
        InvalidInput: the file cannot be read, lacks a column or a number, or does not hold whole days.
    """
    with _told(path):
        found = [(f"{int(r['month']):02d}-{int(r['day']):02d}", float(r["t_db_c"])) for r in _rows(path)]
    if not found or len(found) % HOURS:
        raise InvalidInput(f"{path}: {len(found)} hours are no whole days")
    return found


def profiles(path: Path) -> dict[tuple[str, str, str], tuple[float, ...]]:
    """Shape of a day by hour, mean 1, by (group, use, kind of day); errors as above."""
    with _told(path):
        return {(r["group"], r["use"], r["day"]): tuple(float(r[hour]) for hour in DAY_HOURS) for r in _rows(path)}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What is wrong with a file, as InvalidInput that names it."""
    try:
        yield
    except KeyError as error:
        raise InvalidInput(f"{path}: no column {error}") from None
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
