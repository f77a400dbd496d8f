"""`uem history`: what was measured."""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from uem.clients import display
from uem.clients.cli import common, documents
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import History, TagInfo

PROG = "uem history"
_DEFAULT_LIMIT = 20


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "The stored samples of tags, or without TAG the tags and what is stored of each.\n"
        f"Without --from, --to, --last, --limit, --csv and --parquet: the newest {_DEFAULT_LIMIT} samples of each tag.",
        [
            "uem history",
            "uem history branch/2/temperature --last 6h",
            "uem history --gaps",
            "uem history branch/1/temperature branch/2/temperature --from 2009-01-23T06:00:00Z --csv points.csv",
        ],
    )
    parser.add_argument("tags", nargs="*", metavar="TAG", help="names of measured tags")
    parser.add_argument("--from", dest="start", type=common.time_ns, metavar="TIME", help="from this time on, ISO 8601")
    parser.add_argument("--to", dest="end", type=common.time_ns, metavar="TIME", help="before this time, ISO 8601")
    parser.add_argument("--last", type=common.span_s, metavar="SPAN", help="back from the newest sample, such as 6h")
    parser.add_argument("--limit", type=common.positive, metavar="N", help="the newest N samples of each tag")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write rows to FILE, values in display units")
    parser.add_argument(
        "--gaps", action="store_true", help="intervals in which samples may be missing, of the tags or of all"
    )
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write rows to FILE, values in SI (needs pyarrow)")
    common.add_reading_options(parser)
    options = parser.parse_args(argv)
    if options.last is not None and options.start is not None:
        parser.error("--last and --from exclude each other")
    if options.start is not None and options.end is not None and options.start >= options.end:
        parser.error("--from must be before --to")
    if options.json + (options.csv is not None) + (options.parquet is not None) > 1:
        parser.error("--json, --csv and --parquet exclude each other")
    narrowed = (options.start, options.end, options.last, options.limit, options.csv, options.parquet)
    if options.gaps and any(value is not None for value in (options.last, options.limit, options.csv, options.parquet)):
        parser.error("--gaps goes with --from, --to and --json only")
    if options.gaps:
        return common.run(PROG, _list_gaps(options))
    if not options.tags and any(value is not None for value in narrowed):
        parser.error("--from, --to, --last, --limit, --csv and --parquet need a TAG")
    return common.run(PROG, _history(options) if options.tags else _list_tags(options))


async def _list_tags(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        tags = await client.tags()
    if options.json:
        common.print_json({"tags": [documents.tag(tag) for tag in tags]})
        return 0
    rows = [
        (
            tag.name,
            display.unit_name(tag.display_unit),
            display.plant_time(tag.first_time_ns) if tag.count else "-",
            display.plant_time(tag.last_time_ns) if tag.count else "-",
            str(tag.count),
        )
        for tag in tags
    ]
    common.print_table(f"{len(tags)} tags", ("tag", "unit", "first", "last", "samples"), rows, left=2)
    return 0


async def _list_gaps(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        gaps = await client.gaps(options.tags, options.start or 0, options.end or 0)
    if options.json:
        common.print_json({"gaps": [documents.gap(gap) for gap in gaps]})
        return 0
    rows = [
        (
            gap.tag,
            gap.reason.replace("_", " "),
            display.iso_time(gap.start_ns),
            display.iso_time(gap.end_ns),
            f"{(gap.end_ns - gap.start_ns) / 1e9:.3f}",
        )
        for gap in gaps
    ]
    common.print_table(f"{len(gaps)} gaps", ("tag", "reason", "after", "before", "seconds"), rows, left=2)
    return 0


async def _history(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        infos = {tag.name: tag for tag in await client.tags()}
        unknown = [tag for tag in options.tags if tag not in infos]
        if unknown:
            raise ClientError(f"unknown tag {unknown[0]!r}; `uem history` lists the {len(infos)} tags", "NOT_FOUND")
        start_ns, end_ns, limit = _range(options, infos)
        read = await client.history(options.tags, start_ns, end_ns, limit)
    if options.json:
        common.print_json({"tags": [documents.history(read[tag], infos[tag]) for tag in options.tags]})
    elif options.csv is not None:
        _write_csv(options.csv, [(infos[tag], read[tag]) for tag in options.tags])
    elif options.parquet is not None:
        _write_parquet(options.parquet, [(infos[tag], read[tag]) for tag in options.tags])
    else:
        for tag in options.tags:
            title = f"{tag} in {display.unit_name(infos[tag].display_unit) or '1'}: {len(read[tag].value)} samples"
            rows = [row[1:2] + row[2:3] + row[4:] for row in _rows(infos[tag], read[tag])]
            common.print_table(title, ("time", "value", "quality"), rows)
    return 0


def _range(options: argparse.Namespace, infos: dict[str, TagInfo]) -> tuple[int, int, int]:
    """Start and end in ns and the limit per tag."""
    everything = options.limit is None and options.csv is None and options.parquet is None
    asked = any(value is not None for value in (options.start, options.end, options.last))
    limit = options.limit or (_DEFAULT_LIMIT if everything and not asked else 0)
    start_ns = options.start or 0
    if options.last is not None:
        newest_ns = options.end or max(infos[tag].last_time_ns for tag in options.tags)
        start_ns = max(0, newest_ns - round(options.last * 1e9))
    return start_ns, options.end or 0, limit


def _rows(info: TagInfo, read: History) -> Iterator[tuple[str, str, str, str, str]]:
    """Tag, time, value, unit and quality of each sample, the value in the display unit."""
    unit = info.display_unit
    values = display.shown_column(read.value, unit).tolist()
    for time_ns, value, quality in zip(read.source_time_ns.tolist(), values, read.quality.tolist(), strict=True):
        yield read.tag, display.iso_time(time_ns), f"{value:.6g}", unit, display.quality_name(quality)


def _write_csv(path: Path, found: list[tuple[TagInfo, History]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("tag", "time", "value", "unit", "quality"))
            for info, read in found:
                writer.writerows(_rows(info, read))
    except OSError as error:
        raise ClientError(f"cannot write {path}: {error.strerror}") from None
    print(f"{sum(len(read.value) for _, read in found)} rows in {path}", file=sys.stderr)


def _write_parquet(path: Path, found: list[tuple[TagInfo, History]]) -> None:
    """Columns as they are stored: time in ns UTC, SI values with their unit, the 32-bit quality."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ClientError("--parquet needs pyarrow: pip install 'uem[parquet]'") from None
    index = np.repeat(np.arange(len(found), dtype=np.int32), [len(read.value) for _, read in found])

    def column(name: str) -> Any:
        return np.concatenate([getattr(read, name) for _, read in found])

    def by_tag(texts: list[str]) -> Any:
        return pyarrow.DictionaryArray.from_arrays(index, pyarrow.array(texts))

    table = pyarrow.table(
        {
            "tag": by_tag([info.name for info, _ in found]),
            "time": pyarrow.array(column("source_time_ns"), pyarrow.timestamp("ns", "UTC")),
            "value": column("value"),
            "unit": by_tag([info.unit for info, _ in found]),
            "quality": column("quality"),
        }
    )
    try:
        pyarrow.parquet.write_table(table, path, compression="zstd")
    except OSError as error:
        raise ClientError(f"cannot write {path}: {error}") from None
    print(f"{table.num_rows} rows in {path}", file=sys.stderr)
