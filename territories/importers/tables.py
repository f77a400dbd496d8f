"""Pipe tables in CSV: a row per pipe, its ends named or placed by coordinates; a second table for the places."""

import csv
from pathlib import Path
from typing import Any

from uem.territories.importers import survey
from uem.territories.importers.draft import Draft, are_degrees, projection
from uem.twin_core.errors import InvalidInput

_ENDS = (("x1", "y1", "x2", "y2"), ("lon1", "lat1", "lon2", "lat2"))
_POINT = (("x_m", "y_m"), ("x", "y"), ("lon", "lat"), ("longitude", "latitude"), ("east", "north"))


def read(path: Path, places: Path | None, options: survey.Options, *, metres: bool | None = None) -> Draft:
    """The network of a table of pipes and, if there is one, a table of places.

    Raises:
        InvalidInput: a table cannot be read, a value is wrong, or ends are neither named nor placed.
    """
    pipes = [(where, row, _line(where, row)) for where, row in _rows(path)]
    spots = [(where, row, _spot(where, row)) for where, row in (_rows(places) if places else [])]
    points = [p for _, _, line in pipes for p in line] + [p for _, _, p in spots if p is not None]
    flat = are_degrees(points) if metres is None else not metres
    if flat and points:
        project = projection(points)
        pipes = [(where, row, [project(*p) for p in line]) for where, row, line in pipes]
        spots = [(where, row, p and project(*p)) for where, row, p in spots]
    used = {key for names in (*_ENDS, *_POINT) for key in names}
    return survey.draft(
        path.stem,
        [survey.Line(where, {k: v for k, v in row.items() if k not in used}, line) for where, row, line in pipes],
        [survey.Place(where, {k: v for k, v in row.items() if k not in used}, p) for where, row, p in spots],
        options,
    )


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    header = text.partition("\n")[0]
    delimiter = max(";,\t", key=header.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    found = []
    for row in reader:
        if None in row or None in row.values():
            raise InvalidInput(f"{path} line {reader.line_num}: {len(reader.fieldnames or ())} cells expected")
        found.append((f"{path.name} line {reader.line_num}", {k.strip().lower(): v.strip() for k, v in row.items()}))
    if not found:
        raise InvalidInput(f"{path}: no rows below a header line")
    return found


def _line(where: str, row: dict[str, Any]) -> list[survey.Point]:
    for names in _ENDS:
        if all(row.get(name) for name in names):
            x1, y1, x2, y2 = (_number(where, row, name) for name in names)
            return [(x1, y1), (x2, y2)]
    return []


def _spot(where: str, row: dict[str, Any]) -> survey.Point | None:
    for x, y in _POINT:
        if row.get(x) and row.get(y):
            return _number(where, row, x), _number(where, row, y)
    return None


def _number(where: str, row: dict[str, Any], key: str) -> float:
    try:
        return float(row[key].replace(",", "."))
    except ValueError:
        raise InvalidInput(f"{where}: {key}: {row[key]!r} is not a number") from None
