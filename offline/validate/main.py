"""`uem validate`: run every known validation case and hold each figure against its bar.

A module beside this one that exposes `SUITES` (file name pattern -> case), `TABLES` (first line of a CSV file -> case)
or `CALCULATIONS` (name -> case without a file) is a suite and is found by itself.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import uem.offline.validate as package
from uem.offline.output import can_be_written
from uem.offline.validate.case import EFFORT, EVERY_FIGURE, Calculation, Case, LeftOut, Result
from uem.twin_core.errors import InvalidInput, TwinError


@dataclass(frozen=True, slots=True)
class Suite:
    """Cases by the pattern of the names of their files or by their first line, and calculations by their names."""

    cases: dict[str, Case]
    calculations: dict[str, Calculation]
    tables: dict[str, Case] = field(default_factory=dict)

    def wants(self, path: Path) -> list[Case]:
        """The cases for a file."""
        first = _first_line(path) if self.tables and path.suffix == ".csv" else ""
        return [case for pattern, case in self.cases.items() if fnmatch(path.name, pattern)] + [
            case for header, case in self.tables.items() if first == header
        ]


@dataclass(frozen=True, slots=True)
class Task:
    """Something to run. `name` is what it is called when it fails."""

    suite: str
    name: str
    run: Callable[[], Iterator[Result]]

    @classmethod
    def of_file(cls, suite: str, path: Path, case: Case) -> "Task":
        """A file and a case that wants it."""
        return cls(suite, str(path), partial(case, path))


def suites() -> dict[str, Suite]:
    """The suites by name."""
    found = {}
    for info in iter_modules(package.__path__):
        if info.name not in ("main", "case"):
            module = import_module(f"{package.__name__}.{info.name}")
            suite = Suite(*(getattr(module, name, {}) for name in ("SUITES", "CALCULATIONS", "TABLES")))
            if suite.cases or suite.calculations or suite.tables:
                found[info.name] = suite
    return found


def calculations(chosen: dict[str, Suite]) -> list[Task]:
    """What is run whatever the data."""
    return [Task(name, what, run) for name, suite in chosen.items() for what, run in suite.calculations.items()]


def tasks(folder: Path, chosen: dict[str, Suite]) -> tuple[list[Task], list[Path]]:
    """Files with the cases that want them, in the order of their paths, and the data files that no case wants."""
    wanted, left = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        cases = [Task.of_file(name, path, case) for name, suite in chosen.items() for case in suite.wants(path)]
        wanted += cases
        if not cases and path.name.endswith((".csv", ".csv.gz")):
            left.append(path)
    return wanted, left


def _first_line(path: Path) -> str:
    """The first line of a file without the mark of its encoding; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.readline(1000).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def run_task(task: Task, complaints: list[str], left_out: list[str]) -> list[Result]:
    """The results of one task; one that cannot be judged gives a complaint and one failed result."""
    results: list[Result] = []
    try:
        # Absurd numbers in a file give infinite errors, which miss their bars: no need for warnings.
        with np.errstate(all="ignore"):
            for result in task.run():
                results.append(result)  # what came before an error counts
    except LeftOut as note:
        left_out.append(f"{task.suite}, {task.name}: {note}")
    except TwinError as error:
        text = str(error)
        complaints.append(text if task.name in text else f"{task.name}: {text}")
        results.append(
            Result(suite=task.suite, case=Path(task.name).name, metric="usable", value=math.nan, unit="1", bar=0.0)
        )
    return results


def as_record(result: Result) -> dict[str, Any]:
    """A result for JSON, where what is not a number is null."""
    record = asdict(result) | {"passed": result.passed}
    order = ("suite", "case", "metric", "value", "unit", "reference", "least", "bar", "passed")
    return {key: None if isinstance(v := record[key], float) and not math.isfinite(v) else v for key in order}


def as_table(results: Sequence[Result]) -> Table:
    """The results for people."""
    table = Table(title="Measured figure, reference figure and bar", title_justify="left")
    for heading in ("suite", "case", "metric"):
        table.add_column(heading)
    for heading in ("value", "reference", "bar"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("verdict")
    for r in results:
        judged = "[green]met[/green]" if math.isfinite(r.bar) else "reported"
        verdict = judged if r.passed else "[bold red]MISSED[/bold red]"
        # A band is narrow beside its figures.
        digits = 3 if math.isinf(r.least) else 6
        bar = _figure(r.bar, digits) if math.isinf(r.least) else f"{r.least:.6g} .. {r.bar:.6g}"
        table.add_row(
            r.suite, r.case, r.metric, _figure(r.value, digits), _figure(r.reference, digits), bar, r.unit, verdict
        )
    return table


def _figure(value: float, digits: int) -> str:
    return f"{value:.{digits}g}" if math.isfinite(value) else ""


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when every bar is met, 1 for a missed one and unusable files, 2 for wrong usage."""
    known = suites()
    arguments = _arguments(argv, known)
    EFFORT.set(arguments.effort)
    EVERY_FIGURE.set(arguments.every_figure)
    chosen = {name: suite for name, suite in known.items() if not arguments.suite or name in arguments.suite}
    of_files, left = tasks(arguments.data, chosen)
    found = of_files + calculations(chosen)
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if arguments.verbose:
        for path in left:
            errors.print(f"{path}: no case for it")
    patterns = ", ".join(pattern for suite in chosen.values() for pattern in [*suite.cases, *suite.tables])
    if not of_files and (patterns or not found):
        errors.print(f"uem validate: error: no file of a known kind below {arguments.data}; known are {patterns}")
        return 1
    to_stdout = arguments.json == Path("-")
    if arguments.json is not None and not to_stdout:
        try:
            can_be_written(arguments.json, "--json")
        except InvalidInput as error:
            errors.print(f"uem validate: error: {error}")
            return 1
    complaints: list[str] = []
    left_out: list[str] = []
    results: list[Result] = []
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task("validating", total=len(found))
        for task in found:
            progress.update(bar, description=Path(task.name).name)
            results += run_task(task, complaints, left_out)
            progress.advance(bar)
    told_on = sys.stderr if to_stdout else sys.stdout  # the records have stdout for themselves
    output = Console(file=told_on, width=None if told_on.isatty() else 140)
    output.print(as_table(results))
    for complaint in complaints:
        errors.print(f"uem validate: error: {complaint}")
    for note in left_out:
        output.print(f"left out: {note}", markup=False, soft_wrap=True)
    judged = [result for result in results if math.isfinite(result.bar) or not result.passed]
    met = sum(result.passed for result in judged)
    output.print(f"{met} of {len(judged)} bars met")
    if arguments.json is not None and not _write(arguments.json, results, errors):
        return 1
    return 0 if met == len(judged) else 1


def _write(path: Path, results: Sequence[Result], errors: Console) -> bool:
    text = json.dumps([as_record(result) for result in results], indent=1) + "\n"
    if path == Path("-"):
        sys.stdout.write(text)
        return True
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        errors.print(f"uem validate: error: cannot write {path}: {error.strerror}")
        return False
    return True


def _arguments(argv: list[str] | None, known: dict[str, Suite]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="uem validate",
        description="Run every known validation case and hold each figure against its bar.",
        epilog="exit code: 0 when every bar is met, 1 when one is missed or a file cannot be used, 2 for wrong usage",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder searched for data, subfolders too (default: the shipped data)"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the results there as well; - for stdout, the table then goes to stderr",
    )
    parser.add_argument(
        "--suite",
        action="append",
        metavar="NAME",
        help=f"run this suite only, or these if given several times: {', '.join(sorted(known))}",
    )
    parser.add_argument("--verbose", action="store_true", help="list data files that no case is known for")
    parser.add_argument(
        "--effort", type=float, default=1.0, metavar="FACTOR", help="simulate that much more than by default (1)"
    )
    parser.add_argument(
        "--every-figure",
        action="store_true",
        help="run in full: until the standard error of each simulated figure is below 0.1 %%, not of the leading one "
        "of a case alone; forecasts over 60 days; every week of DESTEST in steps of 1 s (ten minutes)",
    )
    arguments = parser.parse_args(argv)
    if not 1.0 <= arguments.effort <= 1e6:
        parser.error(f"--effort: {arguments.effort} must be at least 1 and at most 1e6")
    arguments.data = arguments.data or Path(str(files("uem.examples")))
    if not arguments.data.is_dir():
        parser.error(f"--data: {arguments.data} is not a folder")
    for name in arguments.suite or ():
        if name not in known:
            parser.error(f"--suite: {name!r} is not known; known are {', '.join(sorted(known))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
