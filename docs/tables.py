"""Writes the measured tables of README.md and docs between their markers, so that no figure is typed by hand.

    python docs/tables.py           validates, runs the benchmarks unless bench.json is there, writes the tables
    python docs/tables.py --check   fails when an accuracy table does not say what `uem validate` measures now

`<!-- table:accuracy -->` begins a table, `<!-- /table -->` ends it; so do exact, destest, steady and speed. Rounding
errors and figures that need a peer depend on the machine: only the tables in `_CHECKED` are compared.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench.json"
_TABLE = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
# What a reader compares, by table: suites and metrics. `uem validate` shows all.
_ACCURACY = {
    "accuracy": (("thermal", "production"), re.compile(r"RMSE|energy$|learned")),
    "exact": (("analytic",), re.compile("")),
    "destest": (("destest",), re.compile("")),
    "steady": (("steady", "hydraulics"), re.compile("")),
}
_CHECKED = ("accuracy",)


def pages() -> list[Path]:
    """README.md and the pages of docs that have a marker."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if _TABLE.search(page.read_text("utf-8"))]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table; its first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float | None) -> str:
    """Three significant figures, without an exponent where people read it more easily."""
    if value is None:
        return ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def measured(suites: Iterable[str]) -> list[dict[str, Any]]:
    """What `uem validate --every-figure` measures on the shipped data in these suites."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "validate.json"
        chosen = [word for suite in suites for word in ("--suite", suite)]
        command = [sys.executable, "-m", "uem.clients.cli", "validate", "--every-figure", *chosen]
        subprocess.run([*command, "--json", str(file)], check=True, capture_output=True)
        found: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    return found


def accuracy(wanted: Iterable[str]) -> dict[str, str]:
    """Tables by name; a suite whose peer is not installed has none."""
    tables = {}
    for table in wanted:
        suites, shown = _ACCURACY[table]
        rows = [
            [f"{f['case']}: {f['metric']}", f"{digits(f)[0]} {f['unit']}", *digits(f)[1:]]
            for f in measured(suites)
            if shown.search(f["metric"])
        ]
        if rows:
            tables[table] = markdown(["case", "uem", "reference", "bar"], rows)
    return tables


def digits(f: dict[str, Any]) -> list[str]:
    """Value, reference and bar of a record; those of a band lie close together and need more digits."""
    if f["least"] is None:
        value, reference, bar = (number(f[key]) for key in ("value", "reference", "bar"))
        return [value, reference, bar if f["passed"] else f"{bar}, missed"]
    value, reference, least, bar = (f"{f[key]:.6g}" for key in ("value", "reference", "least", "bar"))
    return [value, reference, f"{least} to {bar}"]


def speed() -> str:
    """What `python -m benchmarks` measured, on which machine."""
    if not BENCH.exists():
        subprocess.run([sys.executable, "-m", "benchmarks", "--json", str(BENCH)], check=True, cwd=ROOT)
    found = json.loads(BENCH.read_text("utf-8"))
    rows = [
        [
            b["name"],
            f"{number(b['figure'])} {b['unit']}",
            f"{b['peer']}: {number(b['peer_figure'])}" if "peer" in b else "",
            number(b.get("ratio")),
        ]
        for b in found["benchmarks"]
    ]
    table = markdown(["benchmark", "uem", "against", "ratio"], rows)
    limits = "; ".join(f"{name} {number(figure)}" for name, figure in found["roofline"].items())
    machine = f"Measured on {found['machine']}, Python {found['python']}."
    return f"{table}\n{machine} One of its cores at best: {limits or 'not probed, no C compiler'}.\n"


def filled(text: str, tables: dict[str, str]) -> str:
    """The page with its tables replaced; a table that `tables` lacks stays."""
    return _TABLE.sub(lambda m: m[1] + tables[m[2]] + m[3] if m[2] in tables else m[0], text)


def main() -> int:
    """The command; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the accuracy tables instead of writing")
    options = parser.parse_args()
    tables = accuracy(_CHECKED if options.check else _ACCURACY)
    if not options.check:
        tables["speed"] = speed()
    stale = [page for page in pages() if filled(page.read_text("utf-8"), tables) != page.read_text("utf-8")]
    for page in stale:
        if options.check:
            print(f"{page.relative_to(ROOT)}: accuracy differs from uem validate; run make docs", file=sys.stderr)
        else:
            page.write_text(filled(page.read_text("utf-8"), tables), "utf-8")
            print(f"{page.relative_to(ROOT)} written")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
