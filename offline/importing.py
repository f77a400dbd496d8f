"""`uem import`: what other tools wrote becomes a territory file, with a list of what could not be carried over."""

import argparse
import sys
from pathlib import Path
from typing import Any

from uem.offline.output import one_message, print_json
from uem.territories.dimensions import STEEL
from uem.territories.importers import epanet, geojson, pandapipes, survey, tables
from uem.territories.importers.draft import Draft, Severity, clean
from uem.territories.load import load
from uem.territories.write import toml, write
from uem.twin_core.errors import InvalidInput, TwinError
from uem.twin_core.plant.network import Network

FORMATS = ("pandapipes", "epanet", "geojson", "csv")
_MOST_NOTES = 20


def main(argv: list[str] | None = None) -> int:
    """Run `uem import`; the exit code."""
    options = _parser().parse_args(argv)
    with one_message("uem import") as done:
        done.code = _import(options)
    return done.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uem import",
        description="Turn what other tools wrote into a territory file that loads and runs; what could not be carried\n"
        "over is listed, here and at the head of the file.",
        epilog="formats: pandapipes (JSON), epanet (INP), geojson, csv (a row per pipe; --places a row per customer)\n"
        "examples:\n  uem import net.json --out net.toml\n  uem import town.inp --out town.toml\n"
        "  uem import pipes.geojson --dn 50 --heat-kw 15 --out district.toml\n"
        "  uem import pipes.csv --places customers.csv --column dn=Nennweite --out district.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="what the other tool wrote")
    parser.add_argument("--out", type=Path, metavar="TOML", help="default: beside the file, named .toml; - is stdout")
    parser.add_argument("--force", action="store_true", help="overwrite --out")
    parser.add_argument("--format", choices=FORMATS, help="default: from the file")
    parser.add_argument("--name", help="of the territory and its network (default: the file's)")
    parser.add_argument("--json", action="store_true", help="counts and notes as JSON on stdout")
    drawn = parser.add_argument_group("geojson and csv")
    drawn.add_argument("--places", type=Path, metavar="CSV", help="plants and customers beside a table of pipes")
    drawn.add_argument("--column", action="append", default=[], metavar="KEY=NAME", help="which column holds a key")
    drawn.add_argument("--tolerance", type=float, default=0.5, metavar="M", help="ends this near are one (0.5)")
    drawn.add_argument("--dn", type=int, choices=sorted(STEEL), metavar="DN", help="of pipes that tell none")
    drawn.add_argument("--heat-kw", type=float, metavar="KW", help="of customers that tell none")
    drawn.add_argument("--drop-k", type=float, default=30.0, metavar="K", help="between supply and return (30)")
    drawn.add_argument("--supply-c", type=float, default=80.0, metavar="C", help="of plants that tell none (80)")
    drawn.add_argument("--coordinates", choices=("auto", "metres", "lonlat"), default="auto", help="default: auto")
    return parser


def _import(options: argparse.Namespace) -> int:
    draft = _draft(options)
    if options.name:
        draft.name = clean(options.name) or draft.name
    text = toml(draft.territory(), _head(options.file, draft))
    if options.out == Path("-"):
        if options.json:
            raise InvalidInput("--out - and --json both want stdout")
        sys.stdout.write(text)
        _show(draft, None, sys.stderr)
        return 0
    out = options.out or options.file.with_suffix(".toml")
    write(out, text, overwrite=options.force)
    try:
        network = load(out).networks[0]
    except TwinError as error:
        raise InvalidInput(f"{out} was written, but needs work before it loads:\n{error}") from None
    if options.json:
        print_json({"out": str(out), "format": _format(options), "counts": _counts(network), "notes": _notes(draft)})
    else:
        print(f"{out}: {', '.join(f'{count} {kind}' for kind, count in _counts(network).items() if count)}")
        _show(draft, out, sys.stdout)
    return 0


def _draft(options: argparse.Namespace) -> Draft:
    kind = _format(options)
    if kind == "pandapipes":
        return pandapipes.read(options.file)
    if kind == "epanet":
        return epanet.read(options.file)
    how = survey.Options(
        tolerance_m=options.tolerance,
        dn=options.dn,
        supply_c=options.supply_c,
        temperature_drop_k=options.drop_k,
        heat_kw=options.heat_kw,
        names=dict(_pair(text) for text in options.column),
    )
    metres = {"auto": None, "metres": True, "lonlat": False}[options.coordinates]
    if kind == "geojson":
        return geojson.read(options.file, how, metres=metres)
    return tables.read(options.file, options.places, how, metres=metres)


def _pair(text: str) -> tuple[str, str]:
    key, equals, name = text.partition("=")
    if not (equals and name and key in survey.KEYS):
        raise InvalidInput(f"--column {text}: write KEY=NAME, where KEY is one of {', '.join(survey.KEYS)}")
    return key, name


def _format(options: argparse.Namespace) -> str:
    """What wrote the file: as asked for, by its ending, and for JSON by what it holds."""
    if options.format:
        return str(options.format)
    path: Path = options.file
    found = {".inp": "epanet", ".geojson": "geojson", ".csv": "csv", ".txt": "csv"}.get(path.suffix.lower())
    if found:
        return found
    if path.suffix.lower() != ".json":
        raise InvalidInput(f"{path}: no format known by this ending; say --format, one of {', '.join(FORMATS)}")
    data = geojson.parsed(path)
    return "geojson" if isinstance(data, dict) and data.get("type") == "FeatureCollection" else "pandapipes"


def _head(source: Path, draft: Draft) -> list[str]:
    """Comments at the head of the file: where it is from, and what it lacks."""
    notes = [f"  {note.severity}: {note.element}: {note.text}" for note in draft.notes]
    return [f"Imported from {source.name}.", *(["Notes:", *notes] if notes else []), ""]


def _counts(network: Network) -> dict[str, int]:
    return {kind: len(getattr(network, kind)) for kind in ("nodes", "pipes", "valves", "pumps", "units")}


def _notes(draft: Draft) -> list[dict[str, Any]]:
    return [{"severity": str(n.severity), "element": n.element, "text": n.text} for n in draft.notes]


def _show(draft: Draft, out: Path | None, stream: Any) -> None:
    lost = [note for note in draft.notes if note.severity is Severity.LOST]
    told = [note for note in draft.notes if note.severity is Severity.INFO]
    for title, notes, most in (("not carried over", lost, len(lost)), ("carried over otherwise", told, _MOST_NOTES)):
        if notes:
            print(f"{title}:", file=stream)
        for note in notes[:most]:
            print(f"  {note.element}: {note.text}", file=stream)
        if len(notes) > most:
            print(f"  and {len(notes) - most} more, at the head of {out or 'the file'}", file=stream)


if __name__ == "__main__":
    sys.exit(main())
