"""`uem forecast`: what a twin expects."""

import argparse
import csv
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uem.clients import display
from uem.clients.cli import common, documents, parquet
from uem.clients.cli.stopping import stop_on_signals, until_stopped
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import Forecast, Series

PROG = "uem forecast"
_MOST_ROWS = 12


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "The forecast of an asset from its newest state, with its band; or those that the server kept: what was known\n"
        "at a time of the plant, what was said when, and each new one as it is kept (Ctrl-C ends it).",
        [
            "uem forecast branch",
            "uem forecast branch --horizon 2h",
            "uem forecast washer --horizon 10min --json",
            "uem forecast branch --as-of 2009-01-23T06:00:00Z",
            "uem forecast branch --issued --csv forecasts.csv",
            "uem forecast branch --watch --json --after 2009-01-23T06:00:00Z",
        ],
    )
    parser.add_argument("asset", help="a network or machine")
    parser.add_argument("--horizon", type=common.span_s, metavar="SPAN", help="how far ahead, such as 90min or 6h")
    parser.add_argument("--as-of", type=common.time_ns, metavar="TIME", help="the newest one kept by this plant time")
    parser.add_argument("--issued", action="store_true", help="all that were kept, by the time of their issue")
    parser.add_argument("--from", dest="start", type=common.time_ns, metavar="TIME", help="issued from this time on")
    parser.add_argument("--to", dest="end", type=common.time_ns, metavar="TIME", help="issued before this time")
    parser.add_argument("--watch", action="store_true", help="the newest that was kept, then each new one")
    parser.add_argument("--after", type=common.time_ns, metavar="TIME", help="watch those issued later than this time")
    parser.add_argument("--for", dest="limit_s", type=common.span_s, metavar="SPAN", help="end a watch after this time")
    parser.add_argument("--count", type=common.positive, metavar="N", help="end a watch after N forecasts")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write rows to FILE, values in display units")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write rows to FILE, values in SI (needs pyarrow)")
    common.add_reading_options(parser)
    options = parser.parse_args(argv)
    if sum((options.horizon is not None, options.as_of is not None, options.issued, options.watch)) > 1:
        parser.error("--horizon, --as-of, --issued and --watch exclude each other")
    if not options.issued and any(value is not None for value in (options.start, options.end)):
        parser.error("--from and --to go with --issued")
    if not options.watch and any(value is not None for value in (options.after, options.limit_s, options.count)):
        parser.error("--after, --for and --count go with --watch")
    if options.watch and (options.csv is not None or options.parquet is not None):
        parser.error("--csv and --parquet do not go with --watch")
    if options.json + (options.csv is not None) + (options.parquet is not None) > 1:
        parser.error("--json, --csv and --parquet exclude each other")
    return common.run(PROG, _watch(options) if options.watch else _forecast(options))


async def _watch(options: argparse.Namespace) -> int:
    stop = stop_on_signals()
    async with Client(options.server) as client:
        await until_stopped(_follow(options, client), stop, options.limit_s)
    return 0


async def _follow(options: argparse.Namespace, client: Client) -> None:
    count = 0
    async with aclosing(client.watch_forecast(options.asset, options.after or 0)) as forecasts:
        async for forecast in forecasts:
            if options.json:
                common.print_json(documents.forecast(forecast), line=True)
            else:
                _print_forecast(forecast)
                sys.stdout.flush()
            count += 1
            if count == options.count:
                return


async def _forecast(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        if options.issued:
            found = await client.forecasts(options.asset, options.start or 0, options.end or 0)
        elif options.as_of is not None:
            known = await client.forecast_as_of(options.asset, options.as_of)
            if known is None:
                time = display.plant_time(options.as_of)
                raise ClientError(f"no forecast of {options.asset} was kept by {time}", "NOT_FOUND")
            found = [known]
        else:
            found = [await client.forecast(options.asset, options.horizon)]
    _show(options, found)
    return 0


def _show(options: argparse.Namespace, found: list[Forecast]) -> None:
    if options.csv is not None:
        _write_csv(options.csv, found)
    elif options.parquet is not None:
        _write_parquet(options.parquet, found)
    elif options.json:
        documented = [documents.forecast(forecast) for forecast in found]
        common.print_json({"forecasts": documented} if options.issued else documented[0])
    elif options.issued:
        _print_issues(options.asset, found)
    else:
        _print_forecast(found[0])


def _print_forecast(forecast: Forecast) -> None:
    print(f"{forecast.asset}: issued {display.plant_time(forecast.issue_time_ns)}. {forecast.method}")
    for series in forecast.series:
        _print_series(forecast, series)


def _print_issues(asset: str, found: list[Forecast]) -> None:
    """A line per forecast and signal: its course, and its last value with the band."""
    rows = []
    for forecast in found:
        for series in (series for series in forecast.series if len(series.value)):
            unit = series.display_unit
            ends = [series.value[-1], *(series.quantile[-1][[0, -1]] if len(forecast.quantile_level) else ())]
            rows.append(
                (
                    display.plant_time(forecast.issue_time_ns),
                    f"{series.signal} in {display.unit_name(unit) or '1'}",
                    display.sparkline(series.value),
                    display.duration((int(series.valid_time_ns[-1]) - forecast.issue_time_ns) / 1e9),
                    " ".join(display.number(display.shown(float(end), unit), unit) for end in ends),
                )
            )
    headers = ("issued", "signal", "course", "ahead", "value and band at its end")
    common.print_table(f"{len(found)} forecasts of {asset}", headers, rows, left=3)


class _Row(NamedTuple):
    """One number that was said; without a quantile level it is the central forecast. Its value is SI."""

    asset: str
    signal: str
    issue_time_ns: int
    valid_time_ns: int
    quantile: float | None
    value: float
    unit: str
    display_unit: str


def _rows(found: list[Forecast]) -> Iterator[_Row]:
    for forecast in found:
        for series in forecast.series:
            levels = [None, *forecast.quantile_level.tolist()]
            values = np.column_stack([series.value, series.quantile])
            for valid_ns, row in zip(series.valid_time_ns.tolist(), values.tolist(), strict=True):
                for level, value in zip(levels, row, strict=True):
                    key = (forecast.asset, series.signal, forecast.issue_time_ns, valid_ns, level)
                    yield _Row(*key, value, series.unit, series.display_unit)


def _write_csv(path: Path, found: list[Forecast]) -> None:
    count = 0
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("asset", "signal", "issue_time", "valid_time", "quantile", "value", "unit"))
            for row in _rows(found):
                level = "" if row.quantile is None else f"{row.quantile:g}"
                times = (display.iso_time(row.issue_time_ns), display.iso_time(row.valid_time_ns))
                value = f"{display.shown(row.value, row.display_unit):.6g}"
                writer.writerow((row.asset, row.signal, *times, level, value, row.display_unit))
                count += 1
    except OSError as error:
        raise ClientError(f"cannot write {path}: {error.strerror}") from None
    print(f"{count} rows of {len(found)} forecasts in {path}", file=sys.stderr)


def _write_parquet(path: Path, found: list[Forecast]) -> None:
    pyarrow = parquet.library()
    rows = list(_rows(found))
    columns: dict[str, Any] = {name: [row[i] for row in rows] for i, name in enumerate(_Row._fields[:-1])}
    time = pyarrow.timestamp("ns", "UTC")
    kinds = dict.fromkeys(("asset", "signal", "unit"), pyarrow.string())
    kinds |= {"issue_time_ns": time, "valid_time_ns": time, "quantile": pyarrow.float64(), "value": pyarrow.float64()}
    parquet.write(
        path, {name.removesuffix("_ns"): pyarrow.array(column, kinds[name]) for name, column in columns.items()}
    )
    print(f"{len(rows)} rows of {len(found)} forecasts in {path}", file=sys.stderr)


def _print_series(forecast: Forecast, series: Series) -> None:
    unit = series.display_unit
    grounds = f"band from {series.residual_count} past forecasts, {display.quality_name(series.quality)}"
    title = f"{series.signal} in {display.unit_name(unit) or '1'}  {display.sparkline(series.value)}  ({grounds})"
    headers = ["valid time", "ahead", "value", *(f"P{100 * level:g}" for level in forecast.quantile_level)]
    n = len(series.value)
    rows = [
        (
            display.plant_time(int(series.valid_time_ns[i])),
            display.duration((int(series.valid_time_ns[i]) - forecast.issue_time_ns) / 1e9),
            *(display.number(display.shown(float(v), unit), unit) for v in (series.value[i], *series.quantile[i])),
        )
        for i in np.unique(np.linspace(0, n - 1, min(n, _MOST_ROWS)).round().astype(int)).tolist()
    ]
    common.print_table(title, headers, rows)
    if n > _MOST_ROWS:
        print(f"{_MOST_ROWS} of {n} times; --json has all")
