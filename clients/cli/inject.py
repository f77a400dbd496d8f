"""`uem inject`: put a fault into a simulated plant."""

import argparse
import asyncio
import json
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uem.clients.cli import common
from uem.clients.cli.folders import describe, home
from uem.clients.errors import ClientError

PROG = "uem inject"
SOCKET = "inject.sock"
_TIMEOUT_S = 10.0
_FAULTS = ("trip", "stop", "offset", "freeze", "silence")


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "Put a fault into a simulated plant of a territory that runs here, list the faults, or end them.",
        [
            "uem inject vallee trip gas-1 --for 10m",
            "uem inject vallee stop graphite-works/furnace-2",
            "uem inject vallee offset station/school-01/supply_temperature 3",
            "uem inject vallee silence dairy --for 5m",
            "uem inject vallee --list",
            "uem inject vallee clear",
        ],
    )
    parser.add_argument("territory", help="shipped name, folder or file")
    parser.add_argument("fault", nargs="?", choices=(*_FAULTS, "clear"), help="clear ends all")
    parser.add_argument("what", nargs="?", help="a unit, FACTORY/MACHINE, a tag; silence: or a plant")
    parser.add_argument("value", nargs="?", type=float, help="offset: what is added, in the SI unit of the tag")
    parser.add_argument("--for", dest="for_s", type=common.span_s, metavar="SPAN", help="of plant time (default: ever)")
    parser.add_argument("--list", action="store_true", help="the faults that there are")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder of the run (default: the newest one)")
    options = parser.parse_intermixed_args(argv)
    if options.list == (options.fault is not None):
        parser.error("say which fault, or clear, or --list")
    if (options.what is None) != (options.list or options.fault == "clear"):
        parser.error("say what it happens to; clear and --list have nothing more")
    if (options.value is not None) != (options.fault == "offset"):
        parser.error("offset has a value, and no other fault has one")
    return common.run(PROG, _inject(options))


async def _inject(options: argparse.Namespace) -> int:
    asked = {"do": "list" if options.list else options.fault, "what": options.what, "for_s": options.for_s}
    if options.value is not None:
        asked["value"] = options.value
    said = await _ask(_socket(options.territory, options.state), asked)
    if "error" in said:
        raise ClientError(said["error"])
    for fault in said["faults"]:
        print(_line(fault))
    if not said["faults"]:
        print("no faults")
    return 0


def _line(fault: dict[str, Any]) -> str:
    value = f" {fault['value']:+g}" if fault["kind"] == "offset" else ""
    until = fault["until_ns"]
    end = f" until {datetime.fromtimestamp(until / 1e9, UTC):%Y-%m-%d %H:%M:%SZ} (plant time)" if until else ""
    return f"{fault['kind']} {fault['what']}{value}{end}"


def _socket(territory: str, state: Path | None) -> Path:
    """Of the newest run; ClientError when nothing runs."""
    if state is not None:
        found = [state / SOCKET]
    else:
        its = home() / describe(territory)[0]
        found = [its / SOCKET, *sorted(its.glob(f"runs/*/{SOCKET}"))]
    there = [path for path in found if _is_open(path)]
    if not there:
        raise ClientError(f"no simulated plant of {territory} runs here: start it with `uem up {territory}`")
    return there[-1]


def _is_open(path: Path) -> bool:
    """Whether somebody listens: a run that was killed leaves its socket behind."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


async def _ask(path: Path, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(json.dumps(asked).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
            writer.close()
        said: dict[str, Any] = json.loads(line)
    except (OSError, TimeoutError, ValueError, RecursionError) as error:
        raise ClientError(f"the simulator at {path} does not answer: {error}") from None
    return said
