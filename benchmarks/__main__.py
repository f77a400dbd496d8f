"""`python -m benchmarks`: all benchmarks with pytest-benchmark, then one short table."""

import argparse
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def roofline(short: bool) -> dict[str, float]:
    """What one core of this machine can do at best, by name; see roofline.py."""
    spec = importlib.util.spec_from_file_location("uem_benchmarks_roofline", HERE / "roofline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, float] = module.roofline(short)
    return found


class Report:
    """Collects what the benchmarks note in `extra_info`; prints it before pytest's own summary line."""

    def __init__(self, limits: dict[str, float]) -> None:
        self.limits = limits
        self.rows: list[dict[str, Any]] = []
        self.absent: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self.absent.append(report.longrepr[2].removeprefix("Skipped: "))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: Any) -> None:
        self.rows = [row(found) for found in config._benchmarksession.benchmarks]
        terminalreporter.section(f"benchmarks on {cpu()}")
        limits = "; ".join(f"{name} {figure:.3g}" for name, figure in self.limits.items())
        terminalreporter.line(f"one core at best: {limits or 'not known, there is no C compiler'}")
        cells = [("benchmark", "figure", "unit", "against", "its figure", "ratio"), *(texts(r) for r in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(6)]
        right = (1, 4, 5)
        for line in cells:
            pieces = [
                t.rjust(w) if i in right else t.ljust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True))
            ]
            terminalreporter.line("  ".join(pieces).rstrip())
        for text in dict.fromkeys(self.absent):
            terminalreporter.line(f"left out: {text}")


def row(found: Any) -> dict[str, Any]:
    """One benchmark as a dictionary; without a figure of its own its mean time counts."""
    info = dict(found.extra_info)
    info.setdefault("figure", found.stats.median * 1e3)
    info.setdefault("unit", "ms")
    return {"name": found.name.removeprefix("test_").replace("_", " "), **info}


def texts(r: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a row."""
    ratio = r.get("ratio")
    return (
        r["name"],
        f"{r['figure']:.4g}",
        r["unit"],
        str(r.get("peer", "")),
        f"{r['peer_figure']:.4g}" if "peer_figure" in r else "",
        "" if ratio is None else f"{ratio:.3g}",
    )


def main() -> int:
    """The command; pytest's exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes, less than two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE for docs/tables.py")
    parser.add_argument("-k", metavar="EXPRESSION", default="", help="only benchmarks whose names match")
    options = parser.parse_args()
    if options.short:
        os.environ["UEM_BENCH_SHORT"] = "1"
    report = Report(roofline(options.short))
    arguments = [str(HERE), "--benchmark-quiet", "-q", "-p", "no:cacheprovider", "-o", "timeout=600", "-k", options.k]
    code = pytest.main(arguments, plugins=[report])
    if options.json is not None:
        found = {
            "machine": cpu(),
            "python": platform.python_version(),
            "roofline": report.limits,
            "benchmarks": report.rows,
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
