"""`uem simulate`: run the twin of an asset along a time series, without a server.

import uem
run = uem.simulate("pongau", asset="branch")
run.columns["node/2/temperature/twin"]
"""

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from uem.offline.output import Tell, can_be_written, progress_bar
from uem.offline.series import TIME, Series, read_inputs, read_recording
from uem.territories.load import load
from uem.twin_core import units
from uem.twin_core.errors import InvalidInput, TwinError
from uem.twin_core.measurements import GOOD, NS_PER_S
from uem.twin_core.plant.territory import Territory
from uem.twin_core.state import Signal, Snapshot, Source
from uem.twin_core.twin import AssetTwin, make_twin

Column = NDArray[np.float64]
STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the twin of `asset` gave at the times of `inputs`, from the first complete row on.

    `time_ns` (n,) int64; `value`, `standard_deviation` and `quality` of shape (n, n_signals), SI.
    """

    asset: str
    inputs: Series
    signals: tuple[Signal, ...]
    time_ns: NDArray[np.int64]
    value: Column
    standard_deviation: Column
    quality: NDArray[np.uint32]

    @property
    def columns(self) -> Mapping[str, Column]:
        """The values by name of signal, each of shape (n,)."""
        return {signal.name: self.value[:, i] for i, signal in enumerate(self.signals)}

    def error(self, signal: str) -> Column:
        """Estimated minus measured of a compared signal, where both are good (else the sensor was not to be judged)."""
        names = [s.name for s in self.signals]
        mine = names.index(signal)
        other = names.index(self.signals[mine].compared_with)
        good = (self.quality[:, mine] == GOOD) & (self.quality[:, other] == GOOD)
        error: Column = self.value[good, mine] - self.value[good, other]
        return error

    def summary(self) -> dict[str, Any]:
        """Rows, errors of the compared signals, and how well energy closes."""
        compared = {}
        for signal in self.signals:
            if signal.compared_with and signal.source is Source.ESTIMATED:
                error = self.error(signal.name)
                known = len(error) > 0
                compared[signal.name] = {
                    "compared_with": signal.compared_with,
                    "unit": signal.unit,
                    "rows": len(error),
                    "rmse": float(np.sqrt(np.mean(error**2))) if known else None,
                    "bias": float(np.mean(error)) if known else None,
                }
        return {
            "asset": self.asset,
            "inputs": self.inputs.source,
            "rows_read": len(self.inputs.time_ns),
            "rows": len(self.time_ns),
            "compared": compared,
            "energy": self._energy(),
        }

    def _energy(self) -> dict[str, float]:
        """Joules of the whole run: a network's balance, a machine's twin against its meter, a factory's twin."""
        last = dict(zip(self.columns, self.value[-1].tolist(), strict=True))
        if "energy/in" in last:
            keys = ("in", "out", "loss", "stored_change", "imbalance")
            found = {key: last[f"energy/{key}"] for key in keys}
            scale = abs(found["in"]) or 1.0
            return found | {"closure": abs(found["imbalance"]) / scale}
        if "energy/twin" not in last:  # a factory, whose energy nobody measures
            return {"twin": last["energy"]}
        measured, twin = last["energy"], last["energy/twin"]
        return {
            "measured": measured,
            "twin": twin,
            "difference": (twin - measured) / measured if measured else math.nan,
        }


def simulate(
    territory: Territory | str | Path,
    inputs: str | Path | None = None,
    *,
    asset: str | None = None,
    step_s: float | None = None,
    tell: Tell = lambda done, of: None,
) -> Simulation:
    """Run the twin of one asset along a CSV file, or along the territory's own recording.

    `asset` may be left out when the columns of the file fit one asset only; without a file it is the first one.
    `tell` is called now and then with the rows done and the rows in all.

    Raises:
        UnknownName: there is no such territory, asset or tag.
        InvalidInput: the file is wrong, lacks a tag that the asset needs, or holds values that no model can take.
    """
    known = territory if isinstance(territory, Territory) else load(territory)
    series = read_inputs(Path(inputs), known) if inputs is not None else None
    twin = make_twin(known.asset(asset or _fitting(known, series)), step_s, forecasts=False)
    if series is None:
        series = read_recording(known, twin.tags)
    missing = [tag for tag in twin.required_tags if tag not in series.tags]
    if missing:
        raise InvalidInput(f"{series.source}: asset {twin.name} needs the columns {', '.join(missing)}")
    snapshots = _run(twin, series.with_tags(twin.tags), tell)
    if not snapshots:
        waits = ", ".join(twin.waits_for)
        raise InvalidInput(f"{series.source}: asset {twin.name} never starts, no value of {waits}")
    return Simulation(
        twin.name,
        series,
        twin.signals,
        np.array([s.plant_time_ns for s in snapshots], np.int64),
        np.array([s.value for s in snapshots]),
        np.array([s.standard_deviation for s in snapshots]),
        np.array([s.quality for s in snapshots]),
    )


def _fitting(territory: Territory, series: Series | None) -> str:
    """The one asset whose tags the series has; without a series the first asset."""
    assets = territory.assets
    if not assets:
        raise InvalidInput(f"territory {territory.name} has no assets")
    if series is None:
        return assets[0].name
    fitting = [a.name for a in assets if set(make_twin(a).required_tags) <= set(series.tags)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InvalidInput(f"{series.source} fits the assets {', '.join(fitting)}; choose one with --asset")
    lacks = "; ".join(
        f"{a.name} needs {', '.join(tag for tag in make_twin(a).required_tags if tag not in series.tags)}"
        for a in assets
    )
    raise InvalidInput(f"{series.source} has not all columns of any asset: {lacks}")


def _run(twin: AssetTwin, series: Series, tell: Tell) -> list[Snapshot]:
    """The snapshot at the time of every row from the first complete one on."""
    found = []
    count = len(series.time_ns)
    gap_ns = round(twin.patience.gap_s * NS_PER_S)
    before_ns = int(series.time_ns[0]) if count else 0
    for done, (time_ns, samples) in enumerate(series.rows(), start=1):
        twin.take(samples)
        snapshots = twin.advance(time_ns)
        if twin.failure is not None:
            raise InvalidInput(f"{series.source} at {series.time_text(time_ns)}: {twin.failure}")
        # The last row of a file is too few to begin anew with.
        if twin.restart_count or time_ns - before_ns > gap_ns:
            gap_h = twin.patience.gap_s / 3600
            raise InvalidInput(
                f"{series.source} before {series.time_text(time_ns)}: a gap of over {gap_h:g} h; split the file"
            )
        before_ns = time_ns
        found += snapshots[-1:]
        if done % 50 == 0 or done == count:
            tell(done, count)
    return found


def write_csv(run: Simulation, path: Path, *, display_units: bool = False) -> None:
    """All signals at all times, the unit in brackets behind each name; InvalidInput if the file cannot be written."""
    shown = [signal.display_unit if display_units else signal.unit for signal in run.signals]
    value = run.value
    if display_units:
        value = np.column_stack([units.from_si(value[:, i], unit) for i, unit in enumerate(shown)])
    header = [f"{signal.name} [{unit}]" for signal, unit in zip(run.signals, shown, strict=True)]
    rows = [
        [run.inputs.time_text(time_ns), *("" if math.isnan(v) else f"{v:.10g}" for v in row)]
        for time_ns, row in zip(run.time_ns.tolist(), value.tolist(), strict=True)
    ]
    try:
        if path == STDOUT:
            csv.writer(sys.stdout, lineterminator="\n").writerows([[TIME, *header], *rows])
            sys.stdout.flush()
        else:
            with _whole_or_nothing(path) as file:
                csv.writer(file).writerows([[TIME, *header], *rows])
    except BrokenPipeError:
        raise  # the reader has what it wanted
    except OSError as error:
        raise InvalidInput(f"--out {path}: {error.strerror}") from None


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[IO[str]]:
    """A file that takes the place of `path` once all is written; until then what is there stays."""
    if path.exists() and not path.is_file():  # such as /dev/null
        with path.open("w", newline="", encoding="utf-8") as file:
            yield file
        return
    path = path.resolve()  # a link stays one
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("x", newline="", encoding="utf-8") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _refuse_what_is_read(out: Path, inputs: Path | None, territory: Territory) -> None:
    """InvalidInput when the output would overwrite the inputs or a recording of the territory."""
    recordings = [Path(plant.recording.path) for plant in territory.plants if plant.recording is not None]
    for path in [*([inputs] if inputs is not None else []), *recordings]:
        if out.exists() and path.exists() and out.samefile(path):
            raise InvalidInput(f"--out {out}: is {path}, which is read; name another file")


def main(argv: list[str] | None = None) -> int:
    """Run `uem simulate`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="uem simulate",
        description="Run the twin of an asset along a time series, without a server.",
        epilog="Columns of the inputs: time (seconds or ISO), then tags, in SI or as 'branch/1/temperature [Cel]'; "
        "or those of a recording of the territory, as its tag table names them.",
    )
    parser.add_argument("territory", help="shipped name, folder or file")
    parser.add_argument("--inputs", type=Path, metavar="CSV", help="default: the territory's own recording")
    parser.add_argument(
        "--out", type=Path, metavar="CSV", required=True, help="all signals at the times of the inputs; - is stdout"
    )
    parser.add_argument("--asset", metavar="NAME", help="default: the one that the inputs fit, or the first")
    parser.add_argument("--step", type=float, metavar="S", help="longest step in seconds (default: the asset's own)")
    parser.add_argument("--display-units", action="store_true", help="write Cel, kW and kWh instead of SI")
    parser.add_argument("--json", action="store_true", help="the summary as JSON on stdout")
    options = parser.parse_args(argv)
    to_stdout = options.out == STDOUT
    if to_stdout and options.json:
        parser.error("--out - and --json both want stdout")
    try:
        territory = load(options.territory)
        if not to_stdout:
            can_be_written(options.out, "--out")
            _refuse_what_is_read(options.out, options.inputs, territory)
        with progress_bar("simulating") as tell:
            run = simulate(territory, options.inputs, asset=options.asset, step_s=options.step, tell=tell)
        write_csv(run, options.out, display_units=options.display_units)
    except TwinError as error:
        print(f"uem simulate: error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(run.summary() | {"out": str(options.out)}))
    else:
        _show(run, options.out, Console(stderr=to_stdout))
    return 0


def _show(run: Simulation, out: Path, console: Console) -> None:
    summary = run.summary()
    console.print(f"asset {run.asset}, inputs {run.inputs.source}", soft_wrap=True)
    console.print(f"{summary['rows']} of {summary['rows_read']} rows written to {out}", soft_wrap=True)
    table = Table("signal", "against", "rows", "RMSE", "bias", "unit")
    for name, figures in summary["compared"].items():
        numbers = ["-" if figures[key] is None else f"{figures[key]:.3g}" for key in ("rmse", "bias")]
        table.add_row(name, figures["compared_with"], str(figures["rows"]), *numbers, figures["unit"])
    console.print(table)
    energy = summary["energy"]
    if "closure" in energy:
        console.print(f"energy in {energy['in'] / 3.6e6:.6g} kWh, closed to {energy['closure']:.1e} of it")
    elif "measured" not in energy:
        console.print(f"energy {energy['twin'] / 3.6e6:.4g} kWh, not measured")
    else:
        console.print(
            f"energy {energy['twin'] / 3.6e6:.4g} kWh, measured {energy['measured'] / 3.6e6:.4g} kWh "
            f"({energy['difference']:+.2%})"
        )


if __name__ == "__main__":
    sys.exit(main())
