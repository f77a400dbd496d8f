"""`uem history`: what was measured."""

import argparse
import sys
from pathlib import Path

from uem.clients import display
from uem.clients.cli import common, documents
from uem.clients.cli.exporting import CsvFile, Export, ParquetFile, export, rows_of
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import Method, Overview, TagInfo

PROG = "uem history"
_DEFAULT_LIMIT = 20
_METHODS = {"minmax": Method.MIN_MAX, "lttb": Method.LARGEST_TRIANGLE}


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "The stored samples of tags, or without TAG the tags and what is stored of each.\n"
        f"Without --from, --to, --last, --limit, --points, --csv and --parquet: the newest {_DEFAULT_LIMIT} samples "
        "of each tag.",
        [
            "uem history",
            "uem history branch/2/temperature --last 6h",
            "uem history branch/2/temperature --points 12 --method lttb",
            "uem history --all --last 24h --parquet day.parquet",
            "uem history --gaps",
            "uem history branch/1/temperature branch/2/temperature --from 2009-01-23T06:00:00Z --csv points.csv",
        ],
    )
    parser.add_argument("tags", nargs="*", metavar="TAG", help="names of measured tags")
    parser.add_argument("--all", action="store_true", help="all tags, into the file of --csv or --parquet")
    parser.add_argument("--from", dest="start", type=common.time_ns, metavar="TIME", help="from this time on, ISO 8601")
    parser.add_argument("--to", dest="end", type=common.time_ns, metavar="TIME", help="before this time, ISO 8601")
    parser.add_argument("--last", type=common.span_s, metavar="SPAN", help="back from the newest sample, such as 6h")
    parser.add_argument("--limit", type=common.positive, metavar="N", help="the newest N samples of each tag")
    parser.add_argument("--points", type=common.positive, metavar="N", help="the shape of one tag in at most N samples")
    parser.add_argument(
        "--method",
        choices=sorted(_METHODS),
        default=None,
        help="with --points: extremes (minmax, the default) or what bends the line most (lttb)",
    )
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
    if options.method is not None and options.points is None:
        parser.error("--method goes with --points")
    if options.points is not None and (options.gaps or options.limit is not None or len(options.tags) != 1):
        parser.error("--points goes with one TAG, without --limit and --gaps")
    narrowed = (options.start, options.end, options.last, options.limit, options.csv, options.parquet)
    if options.gaps and any(value is not None for value in (options.last, options.limit, options.csv, options.parquet)):
        parser.error("--gaps goes with --from, --to and --json only")
    if options.gaps:
        return common.run(PROG, _list_gaps(options))
    if options.all and (options.tags or (options.csv is None and options.parquet is None)):
        parser.error("--all goes with --csv or --parquet, and without a TAG")
    if not options.all and not options.tags and any(value is not None for value in narrowed):
        parser.error("--from, --to, --last, --limit, --csv and --parquet need a TAG")
    return common.run(PROG, _history(options) if options.tags or options.all else _list_tags(options))


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
        if options.all:
            options.tags = list(infos)
        start_ns, end_ns, limit = _range(options, infos)
        if options.points is not None:
            method = _METHODS[options.method or "minmax"]
            seen = await client.overview(options.tags[0], start_ns, end_ns, options.points, method)
            return _show_overview(options, infos[options.tags[0]], seen, method)
        if options.csv is not None or options.parquet is not None:
            with _file(options) as file:
                await export(client, file, [infos[tag] for tag in options.tags], start_ns, end_ns, limit)
            return 0
        read = await client.history(options.tags, start_ns, end_ns, limit)
    if options.json:
        common.print_json({"tags": [documents.history(read[tag], infos[tag]) for tag in options.tags]})
    else:
        for tag in options.tags:
            title = f"{tag} in {display.unit_name(infos[tag].display_unit) or '1'}: {len(read[tag].value)} samples"
            rows = [row[1:2] + row[2:3] + row[4:] for row in rows_of(infos[tag], read[tag])]
            common.print_table(title, ("time", "value", "quality"), rows)
    return 0


def _file(options: argparse.Namespace) -> Export:
    return Export(options.csv or options.parquet, CsvFile if options.parquet is None else ParquetFile)


def _show_overview(options: argparse.Namespace, info: TagInfo, seen: Overview, method: Method) -> int:
    told = f"all {seen.count} samples"
    if seen.resolution_ns:
        told = f"{len(seen.history.value)} of {seen.count} samples, {method} of every {seen.resolution_ns / 1e9:g} s"
    if options.json:
        common.print_json(documents.overview(seen, info, method))
    elif options.csv is not None or options.parquet is not None:
        with _file(options) as file:
            file.write(info, seen.history)
    else:
        starts = set(seen.line_start.tolist())
        rows = [
            (time, value, quality, "line begins anew" if i in starts else "")
            for i, (_, time, value, _, quality) in enumerate(rows_of(info, seen.history))
        ]
        title = f"{info.name} in {display.unit_name(info.display_unit) or '1'}: {told}"
        common.print_table(title, ("time", "value", "quality", ""), rows)
        return 0
    print(told, file=sys.stderr)
    return 0


def _range(options: argparse.Namespace, infos: dict[str, TagInfo]) -> tuple[int, int, int]:
    """Start and end in ns and the limit per tag."""
    everything = all(value is None for value in (options.limit, options.points, options.csv, options.parquet))
    asked = any(value is not None for value in (options.start, options.end, options.last))
    limit = options.limit or (_DEFAULT_LIMIT if everything and not asked else 0)
    start_ns = options.start or 0
    if options.last is not None:
        newest_ns = options.end or max(infos[tag].last_time_ns for tag in options.tags)
        start_ns = max(0, newest_ns - round(options.last * 1e9))
    return start_ns, options.end or 0, limit
