"""`uem alarms`: what plants say of their alarms."""

import argparse
from collections.abc import Iterable

from uem.clients import display
from uem.clients.cli import common, documents
from uem.clients.python import Client
from uem.clients.records import Alarm

PROG = "uem alarms"
ACTIVE = ("unacknowledged", "acknowledged")


def active(alarms: Iterable[Alarm]) -> list[Alarm]:
    """Those whose cause is still there, the most severe first."""
    there = [alarm for alarm in alarms if alarm.state in ACTIVE and not alarm.branch]
    return sorted(there, key=lambda alarm: (-alarm.severity, alarm.time_ns))


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "The newest report of each alarm of the plants, in the states of IEC 62682.\n"
        "A ~ behind the state: an earlier one, which still wants to be acknowledged.",
        ["uem alarms", "uem alarms --history", "uem alarms --json"],
    )
    parser.add_argument("plant", nargs="?", default="", help="a plant (default: all)")
    parser.add_argument("--history", action="store_true", help="all reports, in the order in which they came")
    common.add_reading_options(parser)
    return common.run(PROG, _alarms(parser.parse_args(argv)))


async def _alarms(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        alarms = await client.alarms(options.plant, history=options.history)
    if options.json:
        common.print_json({"alarms": [documents.alarm(alarm) for alarm in alarms]})
        return 0
    rows = [
        (
            display.iso_time(alarm.time_ns),
            alarm.plant,
            alarm.priority,
            alarm.state.replace("_", " ") + (" ~" if alarm.branch else ""),
            alarm.source,
            alarm.name,
            alarm.message,
        )
        for alarm in alarms
    ]
    headers = ("time", "plant", "priority", "state", "source", "alarm", "message")
    common.print_table(f"{len(alarms)} alarms", headers, rows, left=len(headers))
    return 0
