"""GeoJSON (RFC 7946): lines are pipes, points are plants and customers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from uem.territories.importers import survey
from uem.territories.importers.draft import Draft, are_degrees, projection
from uem.twin_core.errors import InvalidInput

Project = Callable[[float, float], survey.Point]


def read(path: Path, options: survey.Options, *, metres: bool | None = None) -> Draft:
    """The network of a GeoJSON file; `metres`: whether coordinates are that, by default found out.

    Raises:
        InvalidInput: the file is no GeoJSON, has no lines, or a value in it is wrong.
    """
    return draft(parsed(path), path.stem, options, metres=metres)


def parsed(path: Path) -> Any:
    """What a JSON file holds; InvalidInput when it cannot be read or is not JSON."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # also of bytes that are no text, and of numbers with thousands of digits
        raise InvalidInput(f"{path}: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{path}: nested too deep") from None


def draft(data: Any, name: str, options: survey.Options, *, metres: bool | None = None) -> Draft:
    """The network of a GeoJSON object that is already parsed."""
    if not isinstance(data, dict) or data.get("type") != "FeatureCollection":
        raise InvalidInput(f"{name}: not a GeoJSON FeatureCollection")
    features = data.get("features") or []
    if not isinstance(features, list):
        raise InvalidInput(f"{name}: features are no list")
    shapes = list(_shapes(features))
    points = [point for _, _, _, line in shapes for point in line]
    flat = are_degrees(points) if metres is None else not metres
    project: Project = projection(points) if flat and points else lambda x, y: (x, y)
    lines, places, lost = [], [], []
    for where, keys, kind, found in shapes:
        there = [project(*point) for point in found]
        if kind == "LineString":
            lines.append(survey.Line(where, keys, there))
        elif kind == "Point":
            places.append(survey.Place(where, keys, there[0]))
        else:
            lost.append((where, f"{kind} is neither a line nor a point"))
    made = survey.draft(name, lines, places, options)
    for element, text in lost:
        made.lost(element, text)
    if flat:
        made.info("coordinates", "longitude and latitude, turned into metres around the middle of the network")
    return made


def _shapes(features: list[Any]) -> Iterator[tuple[str, dict[str, Any], str, list[survey.Point]]]:
    """(where, properties, Point or LineString or another kind, positions) of every part of every feature."""
    for i, feature in enumerate(features):
        if not _is_feature(feature):
            raise InvalidInput(f"feature {i}: no GeoJSON feature")
        keys = dict(feature.get("properties") or {})
        if "id" in feature:
            keys.setdefault("id", feature["id"])
        where = f"feature {keys.get('name') or keys.get('id') or i}"
        geometry = feature.get("geometry") or {}
        kind, positions = geometry.get("type"), geometry.get("coordinates") or ()
        try:
            if kind == "Point":
                yield where, keys, kind, [_position(positions)]
            elif kind == "LineString":
                yield where, keys, kind, [_position(p) for p in positions]
            elif kind in ("MultiLineString", "MultiPoint"):
                for part in positions:
                    line = [_position(p) for p in part] if kind == "MultiLineString" else [_position(part)]
                    yield where, keys, kind.removeprefix("Multi"), line
            else:
                yield where, keys, str(kind), []
        except (TypeError, ValueError, IndexError):
            raise InvalidInput(f"{where}: coordinates cannot be read") from None


def _is_feature(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(k) or {}, dict) for k in ("properties", "geometry"))


def _position(found: Any) -> survey.Point:
    return float(found[0]), float(found[1])
