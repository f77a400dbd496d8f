"""`uem generate`: draw a valley by chance, with plant, network, customers, factories, tags, and what days ask of it."""

import argparse
import csv
import io
from collections.abc import Iterable
from pathlib import Path

from uem.offline.output import one_message, print_json
from uem.offline.valley import demand
from uem.offline.valley.generate import SEED, Valley, valley
from uem.territories.load import load
from uem.territories.write import toml, write
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.territory import Territory

DAYS = ("01-18", "07-18")


def main(argv: list[str] | None = None) -> int:
    """Run `uem generate`; the exit code."""
    options = _parser().parse_args(argv)
    with one_message("uem generate") as done:
        _generate(options)
    return done.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uem generate",
        description="Draw a valley by chance: an energy plant, a meshed network of 40 km with 120 customers, four\n"
        "factories, about 2,000 tags; and what days of a typical year ask of it, for `uem run --inputs`.",
        epilog="examples:\n  uem generate --out valley\n  uem generate --out large --times 10 --seed 7\n"
        "  uem run valley --inputs valley/day-01-18.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files are written")
    parser.add_argument(
        "--seed", type=int, default=SEED, metavar="N", help="the same draws the same (default: %(default)s)"
    )
    parser.add_argument("--times", type=int, default=1, metavar="N", help="so many districts, each with its plant")
    parser.add_argument("--name", default="vallee", help="of the territory (default: %(default)s)")
    days = ", ".join(DAYS)
    parser.add_argument("--day", action="append", metavar="MM-DD", help=f"of the typical year (default: {days})")
    parser.add_argument("--weekend", action="store_true", help="the days are weekend days")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    parser.add_argument("--json", action="store_true", help="what was drawn as JSON")
    return parser


def _generate(options: argparse.Namespace) -> None:
    drawn = valley(options.seed, options.times, options.name)
    again = f"uem generate --seed {options.seed} --times {options.times} --name {options.name}"
    for name, text in files(drawn, tuple(options.day or DAYS), weekend=options.weekend, made_by=again).items():
        write(options.out / name, text, overwrite=options.force)
    found = figures(load(options.out), drawn)
    if options.json:
        print_json({"out": str(options.out), **found})
    else:
        print(f"{options.out}: {', '.join(f'{value:,} {name}' for name, value in found.items())}")


def files(drawn: Valley, days: tuple[str, ...] = DAYS, *, weekend: bool = False, made_by: str) -> dict[str, str]:
    """Text by the name of the file."""
    head = ("A valley that does not exist, drawn by chance; see README.md of the example.", f"Made by {made_by}")
    found = {"territory.toml": toml(drawn.territory, head), "tags.csv": _csv(drawn.tag_rows())}
    found |= {name: (demand.EXAMPLE / name).read_text("utf-8") for name in (demand.WEATHER, demand.PROFILES)}
    return found | {f"day-{day}.csv": _csv(drawn.day_rows(day, weekend=weekend)) for day in days}


def figures(territory: Territory, drawn: Valley) -> dict[str, int]:
    """What a valley has, by what it is."""
    network: Network = territory.networks[0]
    return {
        "m of lines": round(sum(pipe.length_m for pipe in network.pipes) / 2.0),
        "pipes": len(network.pipes),
        "customers": len(drawn.customers),
        "producers and stores": len(network.units) - len(drawn.customers),
        "factories": len(territory.factories),
        "machines": sum(len(site.factory.machines) for site in territory.factories),
        "tags": len(territory.tags),
    }


def _csv(rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
