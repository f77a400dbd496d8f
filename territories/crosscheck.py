"""What shows only when the parts of a territory are held against each other.

It works on what the files hold, before and whether or not each part is right in itself, so that all problems are told
at once, by key and value.
"""

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from uem.territories import schema, schema_network, schema_tags
from uem.twin_core.plant.factory import SLOT

Raw = Mapping[str, Any]
ASSETS = ("networks", "machines", "factories")


def problems(raw: Raw, rows: Sequence[tuple[str, Raw]] | None) -> Iterator[str]:
    """Names that are taken twice, and tags and plants that are not there.

    `raw` is the territory file; `rows` are (where, cells) of the tag table, None where it cannot be read.
    """
    yield from _duplicates("plants", [plant.get("name") for plant in _tables(raw, "plants")])
    assets = [asset.get("name") for kind in ASSETS for asset in _tables(raw, kind)]
    yield from _duplicates("networks, machines and factories", assets)
    if rows is None:
        return
    tags = [cells.get("tag") for _, cells in rows]
    yield from _duplicates("tag table", tags)
    known = set(tags)
    for kind in ASSETS:
        for key, tag in _tag_keys(raw.get(kind), kind):
            if tag not in known:
                yield f"{key}: tag {tag!r} is not in the tag table"
    plants = sorted({str(plant.get("name")) for plant in _tables(raw, "plants")})
    for where, cells in rows:
        if cells.get("plant", plants and plants[0]) not in plants:
            yield f"{where}: plant: {cells['plant']!r} does not exist; plants are {', '.join(plants) or 'none'}"


def loose_ends(raw: Raw, right: Collection[str]) -> Iterator[str]:
    """Nodes and pipe classes that are named and not there, in networks other than those whose keys are all `right`.

    A network that is right in itself is built, and tells this by itself.
    """
    for i, network in enumerate(_tables(raw, "networks")):
        if f"networks[{i}]" in right or not (nodes := _names(network, "nodes")):
            continue
        mirror = network.get("mirror")
        if isinstance(mirror, dict):
            nodes |= {f"{node}{mirror.get('suffix', schema_network.Mirror().suffix)}" for node in nodes}
        classes = _names(network, "pipe_classes")
        for kind in ("pipes", "valves", "pumps", "units"):
            for k, edge in enumerate(_tables(network, kind)):
                key = f"networks[{i}].{kind}[{k}]"
                for end in ("start", "end"):
                    if isinstance(node := edge.get(end), str) and node not in nodes:
                        yield f"{key}.{end}: node {node!r} does not exist; nodes are {', '.join(sorted(nodes))}"
                made = edge.get("pipe_class")
                if classes and isinstance(made, str) and made not in classes:
                    names = ", ".join(sorted(classes))
                    yield f"{key}.pipe_class: pipe class {made!r} does not exist; classes are {names}"


def unsimulated(raw: Raw, rows: Sequence[tuple[str, Raw]] | None) -> Iterator[str]:
    """Tags of simulated plants that the simulator cannot show; right in themselves, they are of real plants alone."""
    plants = {plant.get("name"): plant.get("protocol") for plant in _tables(raw, "plants") if plant.get("simulated")}
    topics: dict[object, object] = {}  # of each plant, that of its first tag
    for where, cells in rows or ():
        plant = cells.get("plant")
        match plants.get(plant):
            case "mbus":
                kept = [key for key in ("storage", "tariff", "subunit") if cells.get(key, "0") != "0"]
                if cells.get("function", "instantaneous") != "instantaneous":
                    kept.append("function")
                if kept:
                    yield f"{where}: {', '.join(kept)}: a simulated meter tells what it measures now, and nothing else"
            case "mqtt":
                topic = cells.get("topic", "")
                if not cells.get("metric"):
                    yield f"{where}: metric: is missing; a simulated plant of protocol mqtt speaks Sparkplug B"
                elif topic.count("/") != 2 or topics.setdefault(plant, topic) != topic:
                    yield (
                        f"{where}: topic: {topic!r}: a simulated plant is one device, whose tags all have the same "
                        "topic group/node/device"
                    )


def _names(network: Raw, kind: str) -> set[str]:
    return {name for table in _tables(network, kind) if isinstance(name := table.get("name"), str)}


def recording_problems(plant: schema.Plant, path: Path, rows: Sequence[tuple[str, Raw]] | None) -> Iterator[str]:
    """What the recording of a plant lacks: the file, rows, the column of time, the column of a tag."""
    assert plant.recording is not None
    if path.suffix == ".parquet":  # whose columns the gateway tells when it opens it
        if not path.is_file():
            yield f"recording.file: {path} does not exist"
        elif plant.protocol != "replay":
            yield f"recording.file: {path.name}: a simulated plant plays CSV files; protocol replay reads Parquet too"
        return
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header, first = next(reader, []), next(reader, None)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = "does not exist" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        yield f"recording.file: {path} {why}"
        return
    columns = ", ".join(header) or "none"
    if first is None:
        yield f"recording.file: {path} has no rows"
    if plant.recording.time_column not in header:
        time_column = plant.recording.time_column
        yield f"recording.time_column: {time_column!r} is no column of {path.name}; columns are {columns}"
    for where, cells in rows or ():
        column = cells.get("column")
        if column and column not in header and cells.get("plant") == plant.name:
            yield f"{where}: column: {column!r} is no column of {path.name}; columns are {columns}"


def row_model(raw: Raw, plant: str) -> type[schema_tags.TagRow]:
    """What a row of the tag table may hold for the protocol of its plant; OPC UA where no plant says otherwise."""
    protocols = {table.get("name"): table.get("protocol", "opcua") for table in _tables(raw, "plants")}
    return schema_tags.ROWS.get(str(protocols.get(plant)), schema_tags.OpcUaRow)


def columns(raw: Raw) -> dict[str, bool]:
    """The columns that a tag table may have for the protocols of the plants, and whether every row needs it."""
    models = {row_model(raw, str(table.get("name"))) for table in _tables(raw, "plants")} or {schema_tags.OpcUaRow}
    found: dict[str, bool] = {}
    for model in sorted(models, key=lambda model: model.__name__):
        for key, field in model.model_fields.items():
            everywhere = all(key in m.model_fields and m.model_fields[key].is_required() for m in models)
            found[key] = field.is_required() and everywhere
    return found


def header_problems(name: str, header: Sequence[str], known: Mapping[str, bool]) -> list[str]:
    """Columns that a tag table called `name` lacks, and such that nobody knows; `known` is of `columns`."""
    found = [f"column {key} is missing" for key, needed in known.items() if needed and key not in header]
    found += [f"unknown column {key}" for key in header if key not in known]
    found += [f"column {key} stands there {count} times" for key, count in Counter(header).items() if count > 1]
    return [f"{name}: {'; '.join(found)}; columns are {', '.join(known)}"] if found else []


def _tables(raw: Raw, kind: str) -> list[Raw]:
    found = raw.get(kind)
    return [table for table in found if isinstance(table, dict)] if isinstance(found, list) else []


def _duplicates(where: str, names: Sequence[object]) -> Iterator[str]:
    for name, count in Counter(name for name in names if isinstance(name, str)).items():
        if count > 1:
            yield f'{where}: name "{name}" is defined {count} times'


def _tag_keys(found: object, key: str) -> Iterator[tuple[str, str]]:
    """Every key below that names a tag, such as networks[0].nodes[1].flow_tag, with the tag; of slots the first one's.

    The territory itself looks at the tags of all slots.
    """
    if isinstance(found, list):
        for i, item in enumerate(found):
            yield from _tag_keys(item, f"{key}[{i}]")
    elif isinstance(found, dict):
        for name, item in found.items():
            yield from _tag_keys(item, f"{key}.{name}")
    elif isinstance(found, str) and found and key.endswith("_tag"):
        yield key, found.replace(SLOT, "1")
