"""What an operator has to look after: active alarms of the plants, and how server, gateways and twins are."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from uem.clients.python import Client
from uem.clients.records import Alarm, PlantStatus, Status, TwinStatus

MOST_ALARMS = 100
SILENT_S = 10.0  # a gateway reports every two seconds
MISSED = 2.5  # intervals of a plant that usually speaks more rarely: one reading may be lost, not two in a row
_ACTIVE = ("unacknowledged", "acknowledged")
_NS_PER_MS = 1e6


class Watch(NamedTuple):
    """Alarms, the most severe first, and who is well; as JSON, times in ms."""

    alarms: list[dict[str, object]]
    active: int  # alarms, also those that are left out
    health: list[dict[str, object]]  # name, kind, is_well, says


async def look(client: Client) -> Watch:
    """Ask for both; ClientError when one is not to be had."""
    status, reports = await asyncio.gather(client.status(), client.alarms())
    alarms = [alarm for alarm in reports if alarm.state in _ACTIVE and not alarm.branch]
    alarms.sort(key=lambda alarm: (-alarm.severity, alarm.time_ns))
    return Watch([_alarm(each) for each in alarms[:MOST_ALARMS]], len(alarms), list(_health(status)))


def _alarm(alarm: Alarm) -> dict[str, object]:
    return {
        "plant": alarm.plant,
        "source": alarm.source,
        "text": alarm.message or alarm.name,
        "priority": alarm.priority,
        "state": alarm.state,
        "since_ms": alarm.time_ns / _NS_PER_MS,
    }


def _health(status: Status) -> Iterator[dict[str, object]]:
    for check, reason in status.problems.items():
        yield _row(check, "server", False, reason)
    for twin in status.twins:
        yield _twin(twin)
    for gateway in status.gateways:
        silent = gateway.age_s > SILENT_S
        waiting = gateway.backlog_rows + gateway.pending_rows
        told = f"no report for {gateway.age_s:.0f} s" if silent else f"{waiting} samples wait" if waiting > 9999 else ""
        yield _row(f"gateway {gateway.name[:8]}", "gateway", not silent, told)
        for plant in gateway.plants:
            yield _plant(plant, silent)


def _twin(twin: TwinStatus) -> dict[str, object]:
    says = twin.failure or (f"waits for {len(twin.waits_for)} tags" if twin.waits_for else "")
    return _row(twin.asset, "twin", not says, says)


def _plant(plant: PlantStatus, silent: bool) -> dict[str, object]:
    says = [] if plant.connected else ["not connected"]
    says += [f"{len(plant.missing_tags)} tags missing"] if plant.missing_tags else []
    age_s = plant.newest_sample_age_s
    if age_s > SILENT_S and not age_s <= MISSED * plant.usual_interval_s:  # both may be NaN
        says.append(f"silent for {age_s:.0f} s")
    return _row(plant.plant, "plant", not says and not silent, ", ".join(says))


def _row(name: str, kind: str, is_well: bool, says: str) -> dict[str, object]:
    return {"name": name, "kind": kind, "is_well": is_well, "says": says}
