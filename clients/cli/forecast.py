"""`uem forecast`: what a twin expects."""

import argparse

import numpy as np

from uem.clients import display
from uem.clients.cli import common, documents
from uem.clients.python import Client
from uem.clients.records import Forecast, Series

PROG = "uem forecast"
_MOST_ROWS = 12


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "The forecast of an asset from its newest state, with its band.",
        ["uem forecast branch", "uem forecast branch --horizon 2h", "uem forecast washer --horizon 10min --json"],
    )
    parser.add_argument("asset", help="a network or machine")
    parser.add_argument("--horizon", type=common.span_s, metavar="SPAN", help="how far ahead, such as 90min or 6h")
    common.add_reading_options(parser)
    return common.run(PROG, _forecast(parser.parse_args(argv)))


async def _forecast(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        forecast = await client.forecast(options.asset, options.horizon)
    if options.json:
        common.print_json(documents.forecast(forecast))
        return 0
    print(f"{forecast.asset}: issued {display.plant_time(forecast.issue_time_ns)}. {forecast.method}")
    for series in forecast.series:
        _print_series(forecast, series)
    return 0


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
