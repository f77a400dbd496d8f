"""`uem state`: the state of the twins now."""

import argparse

from uem.clients.cli import common, documents, view
from uem.clients.python import Client

PROG = "uem state"


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "The newest state of one asset or of all: measured against twin, with sigma, quality and age.\n"
        "deviation = measured - twin; a ! marks more than three sigma.",
        ["uem state", "uem state branch", "uem state washer --json"],
    )
    parser.add_argument("asset", nargs="?", help="a network or machine (default: all)")
    common.add_reading_options(parser)
    return common.run(PROG, _state(parser.parse_args(argv)))


async def _state(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        names = [options.asset] if options.asset else [asset.name for asset in await client.assets()]
        states = [await client.state(name) for name in names]
    if options.json:
        common.print_json({"assets": [documents.state(state) for state in states]})
        return 0
    for state in states:
        title = view.heading(state) + view.ledger_since(state)
        common.print_table(title, view.HEADERS, [row.cells() for row in view.rows(state)])
    return 0
