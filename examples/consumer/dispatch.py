"""When to charge and when to discharge a heat store: follows the forecasts of an asset and prints its plan for each.

python -m uem.examples.consumer.dispatch valley/demand demand --margin 200
"""

import argparse
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from uem.clients import display
from uem.clients.python import DEFAULT_ADDRESS, BlockingClient, ClientError, Forecast, Series


def actions(value: np.ndarray, margin: float) -> list[str]:
    """What to do at each time: charge where `value` lies below its mean by more than `margin`, discharge above it."""
    away = value - value.mean()
    return ["charge" if one < -margin else "discharge" if one > margin else "wait" for one in away.tolist()]


def sureness(value: np.ndarray, quantile: np.ndarray, level: np.ndarray) -> list[float]:
    """The chance that each true value lies on the side of the mean on which the expected one lies, as the bands say.

    `quantile` has shape (times, levels). No chance is told beyond the outermost levels.
    """
    mean = value.mean()
    below = [float(np.interp(mean, row, level)) for row in quantile]
    return [chance if one < mean else 1.0 - chance for one, chance in zip(value.tolist(), below, strict=True)]


def plan(forecast: Forecast, series: Series, margin: float) -> Iterator[str]:
    """A line for each run of times with the same action; values and margin are in the display unit of the signal."""
    unit = series.display_unit
    value = np.array([display.shown(one, unit) for one in series.value.tolist()])
    quantile = np.array([[display.shown(one, unit) for one in row] for row in series.quantile.tolist()])
    todo, sure = actions(value, margin), sureness(value, quantile, forecast.quantile_level)
    begins = [forecast.issue_time_ns, *series.valid_time_ns.tolist()]
    for action, numbers in groupby(range(len(todo)), key=todo.__getitem__):
        mine = list(numbers)
        times = f"{display.iso_time(begins[mine[0]])} to {display.iso_time(begins[mine[-1] + 1])}"
        expected = f"{said(value[mine].mean())} {display.unit_name(unit)} against a mean of {said(value.mean())}"
        yield f"  {times}: {action:9}  {expected}, sure to {100 * np.mean([sure[i] for i in mine]):.0f} %"


def said(value: float) -> str:
    """A number with four digits, or all before the point: 16800, not 1.68e+04."""
    return f"{value:.4g}" if abs(value) < 9999.5 else f"{value:.0f}"


def keep(path: Path, issue_time_ns: int) -> None:
    """Write the issue time so that a crash leaves the old one or the new one."""
    new = path.with_name(path.name + ".new")
    new.write_text(str(issue_time_ns))
    new.replace(path)


def main() -> None:
    """Follow until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Print when to charge or discharge a heat store, for each forecast.")
    parser.add_argument("asset")
    parser.add_argument("signal", help="of the forecast: a heat demand, or what stands for it")
    parser.add_argument("--server", default=DEFAULT_ADDRESS, metavar="HOST:PORT")
    parser.add_argument("--margin", type=float, default=0.0, help="to act on, in the unit that is shown (default: 0)")
    parser.add_argument("--last", type=Path, default=Path("last-forecast"), help="file that keeps the last issue time")
    options = parser.parse_args()
    after = int(options.last.read_text()) if options.last.exists() else 0
    try:
        with BlockingClient(options.server) as client:
            for forecast in client.watch_forecast(options.asset, after, reconnect_s=600.0):
                named = {series.signal: series for series in forecast.series}
                if options.signal not in named:
                    parser.error(f"{options.asset} forecasts {', '.join(named)}; not {options.signal}")
                print(f"issued {display.iso_time(forecast.issue_time_ns)}")
                print(*plan(forecast, named[options.signal], options.margin), sep="\n", flush=True)
                keep(options.last, forecast.issue_time_ns)
    except ClientError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
