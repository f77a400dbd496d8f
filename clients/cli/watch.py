"""`uem watch`: the states as they come."""

import argparse
import sys
from contextlib import aclosing

from uem.clients.cli import common, documents, screen
from uem.clients.cli.live import LiveView, show
from uem.clients.cli.screen import Choice
from uem.clients.cli.stopping import stop_on_signals, until_stopped
from uem.clients.python import Client

PROG = "uem watch"


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "Follow the twins: a live view in a terminal, a block of lines per state elsewhere, JSON lines with --json.\n"
        "Of large networks and factories it shows what matters; --signals and --all show more. Ctrl-C ends it.",
        [
            "uem watch",
            "uem watch branch --for 60s",
            "uem watch valley --signals 'node/school-*'",
            "uem watch --json --count 3",
        ],
    )
    parser.add_argument("assets", nargs="*", metavar="ASSET", help="networks and machines (default: all)")
    parser.add_argument("--for", dest="limit_s", type=common.span_s, metavar="SPAN", help="end after this time")
    parser.add_argument("--count", type=common.positive, default=0, metavar="N", help="end after N states")
    more = parser.add_mutually_exclusive_group()
    more.add_argument("--signals", default="", metavar="GLOB", help="the signals of these names, such as 'unit/*/heat'")
    more.add_argument("--all", action="store_true", help="every signal, measured against twin")
    common.add_reading_options(parser)
    return common.run(PROG, _watch(parser.parse_args(argv)))


async def _watch(options: argparse.Namespace) -> int:
    stop = stop_on_signals()
    async with Client(options.server) as client:
        await until_stopped(_follow(options, client), stop, options.limit_s)
    return 0


async def _follow(options: argparse.Namespace, client: Client) -> None:
    choice = Choice(options.assets, options.signals, options.all)
    shown = LiveView(f"uem watch  {options.server}  Ctrl-C ends", choice=choice)
    if sys.stdout.isatty() and not options.json:
        await show(shown, client, options.assets, options.count)
        return
    left = options.count
    async with aclosing(client.watch(options.assets)) as states:
        async for state in states:
            if options.json:
                common.print_json(documents.state(state), line=True)
            else:
                await shown.take(client, state)
                print("\n".join(screen.state_lines(shown.scene, state)), flush=True)
            left -= 1
            if left == 0:
                return
