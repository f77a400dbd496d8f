"""`uem plot`: draw a network, coloured by what it is or by what it does."""

import argparse
import sys
from pathlib import Path

from uem.offline.output import can_be_written, one_message, print_json, progress_bar
from uem.offline.plot.paper import save
from uem.offline.plot.values import COLOURED_BY, values_of
from uem.offline.run import network_of, parse_sets, run
from uem.territories.load import load


def main(argv: list[str] | None = None) -> int:
    """Run `uem plot`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="uem plot",
        description="Draw a network from the positions of its nodes, or from its graph where it has none. Coloured by\n"
        "temperature, pressure or flow it runs for some hours first, with what --set tells.",
        epilog="examples:\n  uem plot quartier --out quartier.svg\n"
        "  uem plot quartier --by temperature --set outdoor_temp_c=-10 --out cold.svg\n"
        "  uem plot quartier --by flow --hours 6 --out flows.png   (needs matplotlib)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("territory", help="shipped name, folder or file")
    parser.add_argument("--network", metavar="NAME", help="where the territory has several")
    parser.add_argument("--by", choices=COLOURED_BY, default="diameter", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help=".svg, .png or .pdf (default: NETWORK.svg)")
    parser.add_argument("--hours", type=float, default=1.0, metavar="H", help="how long it runs before (1, after 3)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="what it is told")
    parser.add_argument("--json", action="store_true", help="what was drawn as JSON on stdout")
    options = parser.parse_args(argv)
    with one_message("uem plot") as done:
        _plot(options)
    return done.code


def _plot(options: argparse.Namespace) -> None:
    if options.out is not None:
        can_be_written(options.out, "--out")
    territory = load(options.territory)
    network = network_of(territory, options.network)
    moment = None
    if options.by != "diameter":
        with progress_bar("running") as tell:
            found = run(
                territory,
                options.hours,
                inputs=parse_sets(options.set),
                network=network.name,
                with_factories=False,
                tell=tell,
            )
        moment = found.moment()
    path = save(network, values_of(network, options.by, moment), options.out or Path(f"{network.name}.svg"))
    if options.json:
        print_json({"out": str(path), "network": network.name, "by": options.by})
    else:
        print(path)


if __name__ == "__main__":
    sys.exit(main())
