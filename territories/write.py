"""Territory files out of plain tables: TOML that people can read and go on with, one line per node, pipe or unit."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from uem.twin_core.errors import InvalidInput


def toml(territory: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """A territory as TOML; `comments` stand at its head. Keys without a value (None) are left out."""
    lines = [f"# {comment}".rstrip() for comment in comments]
    lines += _pairs({key: value for key, value in territory.items() if not _is_table(value)})
    for kind, parts in territory.items():
        if isinstance(parts, Mapping):
            lines += ["", f"[{kind}]", *_pairs(parts)]
            continue
        for part in parts if _is_table(parts) else ():
            lines += ["", f"[[{kind}]]"]
            lines += _pairs({k: v for k, v in part.items() if not _is_table(v)})
            lines += [line for k, v in part.items() if _is_table(v) for line in _tables(k, v)]
            for key, value in part.items():
                if isinstance(value, Mapping):
                    lines += ["", f"[{kind}.{key}]", *_pairs(value)]
    return "\n".join(lines).strip() + "\n"


def write(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a file, not over another one unless asked to; InvalidInput when that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidInput(f"--out {path}: exists; name another file or say --force") from None
    except OSError as error:
        raise InvalidInput(f"--out {path}: {error.strerror}") from None


def value(of: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(of, bool):
        return "true" if of else "false"
    if isinstance(of, str):
        return json.dumps(of, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(of, int):
        return str(of)
    if isinstance(of, float):
        return _number(of)
    if isinstance(of, datetime):
        return of.isoformat()
    if isinstance(of, Mapping):
        inside = ", ".join(f"{key} = {value(item)}" for key, item in of.items() if item is not None)
        return f"{{ {inside} }}" if inside else "{}"
    return f"[{', '.join(value(item) for item in of)}]"


def _number(of: float) -> str:
    if math.isinf(of) or math.isnan(of):
        return str(of)
    text = f"{of:.12g}"
    return text if any(c in text for c in ".e") else f"{text}.0"


def _is_table(of: Any) -> bool:
    return isinstance(of, Mapping) or (isinstance(of, list) and bool(of) and isinstance(of[0], Mapping))


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {value(item)}" for key, item in table.items() if item is not None]


def _tables(key: str, items: Any) -> list[str]:
    """A list of tables, each on its own line; tables alone come later, under their own head."""
    if isinstance(items, Mapping):
        return []
    return ["", f"{key} = [", *[f"  {value(item)}," for item in items], "]"]
