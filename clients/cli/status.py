"""`uem status`: how the server, its gateways and their plants are."""

import argparse
import asyncio
import math
import sys
from collections.abc import Iterator
from typing import TypeAlias

from uem.clients import display
from uem.clients.cli import alarms, common, documents
from uem.clients.cli.stopping import stop_on_signals, until_stopped
from uem.clients.python import Client
from uem.clients.records import Alarm, ClockStatus, GatewayStatus, PlantStatus, Status, TwinStatus

PROG = "uem status"
EVERY_S = 2.0
MOST_ALARMS = 10  # `uem alarms` has all
SILENT_S = 10.0  # a gateway reports every two seconds
_CLEAR = "\x1b[H\x1b[2J"

Rows: TypeAlias = list[tuple[str, ...]]


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = common.parser(
        PROG,
        "What the server knows of itself and of the gateways that report to it: plants, backlog, losses, twins.\n"
        "Counts are since the start of the process that counts.",
        ["uem status", "uem status --watch", "uem status --json"],
    )
    parser.add_argument("--watch", action="store_true", help=f"again every {EVERY_S:g} s until Ctrl-C")
    common.add_reading_options(parser)
    options = parser.parse_args(argv)
    return common.run(PROG, _watch(options) if options.watch else _status(options))


async def _status(options: argparse.Namespace) -> int:
    async with Client(options.server) as client:
        _show(await client.status(), await _active(client, options), options)
    return 0


async def _watch(options: argparse.Namespace) -> int:
    stop = stop_on_signals()
    async with Client(options.server) as client:
        await until_stopped(_again(client, options), stop, None)
    return 0


async def _again(client: Client, options: argparse.Namespace) -> None:
    while True:
        status, active = await client.status(), await _active(client, options)
        if sys.stdout.isatty() and not options.json:
            print(_CLEAR, end="")
        _show(status, active, options)
        sys.stdout.flush()
        await asyncio.sleep(EVERY_S)


async def _active(client: Client, options: argparse.Namespace) -> list[Alarm]:
    """Alarms of plants whose cause is still there, the most severe first; `uem alarms --json` has them for programs."""
    if options.json:
        return []
    return alarms.active(await client.alarms())


def _show(status: Status, active: list[Alarm], options: argparse.Namespace) -> None:
    if options.json:
        common.print_json(documents.status(status), line=options.watch)
        return
    print(_server_line(status))
    for check, reason in status.problems.items():
        print(f"! {check}: {reason}")
    for title, headers, rows in _tables(status):
        common.print_table(title, headers, rows, left=1 if rows and len(rows[0]) > 4 else 4)
    if active:
        rows = [(a.priority, a.plant, a.source, a.message or a.name) for a in active[:MOST_ALARMS]]
        title = f"{len(active)} active alarms" + (f", the first {MOST_ALARMS}" if len(active) > MOST_ALARMS else "")
        common.print_table(title, ("priority", "plant", "source", "alarm"), rows, left=4)


def _server_line(status: Status) -> str:
    newest = display.plant_time(status.newest_sample_ns) if status.newest_sample_ns else "-"
    well = "well" if not status.problems else f"{len(status.problems)} problems"
    return (
        f"server of {status.territory}, version {status.version}, up {display.duration(status.uptime_s)}: {well}; "
        f"history: {status.history_samples} samples, {_bytes(status.history_bytes)}, newest {newest}"
    )


def _tables(status: Status) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    headers: tuple[str, ...] = ("twin", "plant time", "late", "unusable", "failed steps", "restarts", "says")
    yield f"{len(status.twins)} twins", headers, [_twin(twin) for twin in status.twins]
    for gateway in status.gateways:
        headers = (
            "plant",
            "connected",
            "reconnects",
            "newest",
            "missing",
            "received",
            "lost",
            "bad",
            "repeated",
            "gaps",
        )
        yield _gateway_line(gateway), headers, [_plant(plant) for plant in gateway.plants]
        yield "clocks and checks", ("plant", "samples", "server", "checks found"), [_looks(p) for p in gateway.plants]
        missing: Rows = [(tag, why) for plant in gateway.plants for tag, why in plant.missing_tags.items()]
        if missing:
            yield f"missing tags: {len(missing)}", ("tag", "reason"), missing
        units: Rows = [(p.plant, tag, both) for p in gateway.plants for tag, both in p.unit_mismatches.items()]
        if units:
            yield f"other units: {len(units)}", ("plant", "tag", "units"), units


def _twin(twin: TwinStatus) -> tuple[str, ...]:
    says = twin.failure or (f"waits for {', '.join(twin.waits_for)}" if twin.waits_for else "")
    counts = (twin.late, twin.unusable, twin.failed_steps, twin.restarts)
    return (
        twin.asset,
        display.plant_time(twin.plant_time_ns) if twin.plant_time_ns else "-",
        *map(str, counts),
        says or "-",
    )


def _gateway_line(gateway: GatewayStatus) -> str:
    silent = f"! no report for {display.duration(gateway.age_s)}: " if gateway.age_s > SILENT_S else ""
    waiting = "nothing waits"
    if gateway.backlog_rows or gateway.pending_rows:
        waiting = (
            f"{gateway.backlog_rows + gateway.pending_rows} samples wait ({_bytes(gateway.backlog_bytes)}, "
            f"the oldest for {display.duration(gateway.oldest_age_s)})"
        )
    rejected = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(gateway.rejected.items()))
    return (
        f"{silent}gateway {gateway.name[:8]}: {waiting}; {gateway.delivered} delivered, "
        f"{gateway.drain_rows_per_s:.0f} per second; rejected: {rejected or 'none'}"
        + (f"; its own clock jumped {gateway.clock_jumps} times" if gateway.clock_jumps else "")
        + (f"; {gateway.refused_batches} batches set aside" if gateway.refused_batches else "")
    )


def _plant(plant: PlantStatus) -> tuple[str, ...]:
    age_s = plant.newest_sample_age_s
    return (
        plant.plant,
        "yes" if plant.connected else "NO",
        str(plant.reconnects),
        display.duration(age_s) if age_s == age_s else "-",
        str(len(plant.missing_tags)),
        *map(str, (plant.received, plant.dropped, plant.bad_quality, plant.repeated, plant.gaps)),
    )


def _looks(plant: PlantStatus) -> tuple[str, ...]:
    found = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in sorted(plant.checks.items()))
    return plant.plant, _clock(plant.source_clock), _clock(plant.server_clock), found or "-"


def _clock(clock: ClockStatus) -> str:
    """The state of a clock, with what is known of it: jumped (+3600.0 s, 2 jumps)."""
    known = [f"{clock.offset_s:+.1f} s"] if math.isfinite(clock.offset_s) else []
    known += [f"{clock.drift_ppm:+.0f} ppm"] if clock.state == "drifting" else []
    known += [f"{clock.jumps} jumps"] if clock.jumps else []
    return f"{clock.state} ({', '.join(known)})" if known else clock.state


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
