"""How the commands speak: a bar while they work, one message for an error, its exit code, JSON without NaN."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from uem.twin_core.errors import InvalidInput, TwinError

Tell = Callable[[int, int], None]  # parts done, parts in all


@dataclass
class Done:
    """What a command leaves behind."""

    code: int = 0


@contextmanager
def one_message(program: str) -> Iterator[Done]:
    """Run a command: an error of ours is one message on stderr and exit code 1."""
    done = Done()
    try:
        yield done
    except TwinError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        done.code = 1


@contextmanager
def progress_bar(what: str) -> Iterator[Tell]:
    """A bar on stderr where that is a terminal; what it yields is told how far the work is."""
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def can_be_written(path: Path, option: str) -> None:
    """InvalidInput where it is plain before the work that its result cannot be written."""
    parent = path.absolute().parent
    if path.is_dir():
        raise InvalidInput(f"{option} {path}: is a folder")
    if not parent.is_dir():
        raise InvalidInput(f"{option} {path}: there is no folder {parent}")
    if not os.access(path if path.exists() else parent, os.W_OK):
        raise InvalidInput(f"{option} {path}: permission denied")


def print_json(document: object) -> None:
    """A document; numbers that are not finite become null."""
    print(json.dumps(finite(document), allow_nan=False, ensure_ascii=False, indent=2))


def finite(document: Any) -> Any:
    """The same with None for what is not finite."""
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, dict):
        return {key: finite(value) for key, value in document.items()}
    if isinstance(document, (list, tuple)):
        return [finite(value) for value in document]
    return document
