"""What the commands share: options, times, tables, the way an error is told."""

import argparse
import asyncio
import json
import math
import os
import re
import sys
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from uem.clients.addresses import DEFAULT_ADDRESS, addresses
from uem.clients.errors import ClientError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(d|h|min|m|s)")
_SECONDS = {"d": 86_400.0, "h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}
_LONGEST_S = 36_500 * 86_400.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parser(prog: str, description: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """A parser whose help ends with examples."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_reading_options(made: argparse.ArgumentParser) -> None:
    """The options of every command that asks a server."""
    made.add_argument(
        "--server",
        type=server,
        default=os.environ.get("UEM_SERVER") or DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help="the uem server (default: UEM_SERVER or %(default)s)",
    )
    made.add_argument("--json", action="store_true", help="for machines: JSON with SI values")


def server(text: str) -> str:
    """An address such as 127.0.0.1:7650, or those of several processes."""
    try:
        addresses(text)
    except ClientError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def span_s(text: str) -> float:
    """Seconds of "90s", "15min", "6h", "1h30m" or "2d"; a bare number counts seconds."""
    parts = _SPAN.findall(text)
    seconds = sum(float(count) * _SECONDS[unit] for count, unit in parts)
    if "".join(count + unit for count, unit in parts) != text:
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
    if not 0 < seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive time span such as 90s, 15min, 6h or 1d, at most 36500d"
        )
    return seconds


def time_ns(text: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 time; UTC where it does not say otherwise."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2009-01-23T04:15:00Z") from None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    if not 1970 <= aware.year <= 2261:  # nanoseconds since 1970 in 63 bits
        raise argparse.ArgumentTypeError(f"{text!r} is not a time of the years 1970 to 2261")
    return max(0, (aware - _EPOCH) // timedelta(microseconds=1) * 1000)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def factor(text: str) -> float:
    """A number above 0, at most a million."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, at most 1000000")
    return value


def port(text: str, least: int = 0) -> int:
    """A port from `least` to 65535."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or not least <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from {least} to 65535")
    return int(text)


def metrics_port(text: str) -> int:
    """The first of five ports in a row, 0 for free ones or -1 for none."""
    first = port(text, -1)
    if first > 65_531:
        raise argparse.ArgumentTypeError(f"{text!r} leaves no room for five ports below 65536")
    return first


def run(prog: str, work: Coroutine[Any, Any, int]) -> int:
    """Run a command to its exit code; a ClientError becomes one message on stderr."""
    try:
        return asyncio.run(work)
    except ClientError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1


def line(text: str, style: str = "") -> Text:
    """A line for a terminal, cut where that ends."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def finite(value: float) -> float | None:
    """The value for JSON, which has no NaN."""
    return value if math.isfinite(value) else None


def print_json(document: object, *, line: bool = False) -> None:
    """A document, or one line of JSON lines that the reader gets at once."""
    print(json.dumps(document, allow_nan=False, ensure_ascii=False, indent=None if line else 2), flush=line)


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """A table: drawn in a terminal, aligned plain text elsewhere. The first `left` columns are text."""
    if not sys.stdout.isatty():
        print(title)
        print(plain_table(headers, rows, left))
        return
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for i, header in enumerate(headers):
        table.add_column(header, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns without colour or frame, as wide as their content."""
    lines = [list(headers), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    return "\n".join(
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        .rstrip()
        for line in lines
    )  # fmt: skip
