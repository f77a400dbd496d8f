"""What plants said of their alarms, in the order in which it came; nothing is changed, until it is too old."""

from collections.abc import Iterable
from dataclasses import astuple, fields
from sqlite3 import Connection

from uem.services.history.retention import begin_ns
from uem.twin_core.alarms import Alarm, AlarmState

_COLUMNS = ", ".join(field.name for field in fields(Alarm))
_MARKS = ", ".join("?" for _ in fields(Alarm))
_FORGOTTEN_AT_ONCE = 10_000
_SAID = "message, state, severity, time_ns, quality"
_NEWEST = (
    f"SELECT {_SAID} FROM alarm WHERE (plant, condition, branch) = (?, ?, ?) ORDER BY time_ns DESC, id DESC LIMIT 1"
)
# A backlog may come behind what is newer.
_LATER = (
    "SELECT 1 FROM alarm AS later WHERE (later.plant, later.condition, later.branch) = "
    "(alarm.plant, alarm.condition, alarm.branch) AND (later.time_ns, later.id) > (alarm.time_ns, alarm.id)"
)


def insert(writer: Connection, alarms: Iterable[Alarm]) -> None:
    """Write alarms down; a report that says the same as the one before of its condition is left out.

    A gateway that starts anew is told again how all conditions of its plants stand.
    """
    for alarm in alarms:
        key = (alarm.plant, alarm.condition, alarm.branch)
        newest = writer.execute(_NEWEST, key).fetchone()
        if newest != (alarm.message, alarm.state.value, alarm.severity, alarm.time_ns, alarm.quality):
            values = [each.value if isinstance(each, AlarmState) else each for each in astuple(alarm)]
            writer.execute(f"INSERT INTO alarm ({_COLUMNS}) VALUES ({_MARKS})", values)


def forget(writer: Connection, keep_ns: int) -> None:
    """Delete some of what was said more than `keep_ns` before the newest alarm of the same plant.

    How each condition stands stays, but for branches that have ended.
    """
    newest = writer.execute("SELECT plant, max(time_ns) FROM alarm GROUP BY plant").fetchall()
    writer.executemany(
        f"DELETE FROM alarm WHERE id IN (SELECT id FROM alarm WHERE plant = ? AND time_ns < ? AND "
        f"(EXISTS ({_LATER}) OR (branch != '' AND state = 'normal')) LIMIT {_FORGOTTEN_AT_ONCE})",
        [(plant, begin_ns(time_ns, keep_ns)) for plant, time_ns in newest],
    )


def page(connection: Connection, plant: str, history: bool, most: int, after: int) -> list[tuple[int, Alarm]]:
    """See Store.alarms."""
    of_plant = "AND plant = ?" if plant else ""
    which = "" if history else f"AND NOT EXISTS ({_LATER}) AND NOT (branch != '' AND state = 'normal')"
    found = connection.execute(
        f"SELECT id, {_COLUMNS} FROM alarm WHERE id > ? {of_plant} {which} ORDER BY id LIMIT ?",
        (after, *([plant] if plant else []), most),
    )
    names = [field.name for field in fields(Alarm)]
    rows = [(number, dict(zip(names, values, strict=True))) for number, *values in found]
    return [(number, Alarm(**{**row, "state": AlarmState(row["state"])})) for number, row in rows]
