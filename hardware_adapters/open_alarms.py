"""The alarms of a plant that are open: what was told before is left out, what is no longer told has returned.

With a file they outlive the gateway: what has returned while it was stopped is told at the next start.
"""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

from uem.hardware_adapters.base import Alarms
from uem.twin_core.alarms import Alarm, AlarmState
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import UNCERTAIN

_log = logging.getLogger(__name__)


class OpenAlarms:
    """The newest report of each condition, and of each of its branches."""

    def __init__(self, plant: str, path: Path | None = None) -> None:
        """`path` is the file; one that cannot be read counts as empty."""
        self.plant = plant
        self._path = path
        self._newest: dict[tuple[str, str], Alarm] = {}
        self._leaving: dict[tuple[str, str], Alarm] = {}  # have returned, which is not on disk so far
        # From before the start. They were on their way at the stop, so all that is told of them counts as new.
        self._remembered = _read(path) if path is not None else {}

    @property
    def open_count(self) -> int:
        """Conditions that are not normal."""
        return sum(alarm.is_open for alarm in self._newest.values())

    def follow(self, alarms: Alarms) -> list[Alarm]:
        """The reports that say something new.

        When the plant has told all, a condition that it left out is normal; since when is not known, so the time is
        that of the telling and the quality uncertain.
        """
        fresh = []
        for report in alarms.reports:
            alarm = replace(report, plant=self.plant)
            key = alarm.condition, alarm.branch
            known = self._newest.pop(key, None)
            if alarm.is_open or not alarm.branch:  # a branch that has ended does not come back
                self._newest[key] = alarm
            if known is None or replace(known, event=alarm.event) != alarm:
                fresh.append(alarm)
            self._leave(key, known, alarm)
        if alarms.is_whole:
            told = {(each.condition, each.branch) for each in alarms.reports}
            before = self._remembered | self._newest
            for key in [key for key in before if key not in told]:
                self._newest.pop(key, None)
                if before[key].is_open:
                    self._leaving[key] = before[key]
                    fresh.append(_returned(before[key], alarms.time_ns))
            self._remembered = {}
        if fresh:
            self._write()
        return fresh

    def settled(self) -> None:
        """All that was told is on disk: what has returned need not be told once more after a kill."""
        if self._leaving:
            self._leaving.clear()
            self._write()

    def _leave(self, key: tuple[str, str], known: Alarm | None, alarm: Alarm) -> None:
        """Note that a condition has returned, or that it has come again."""
        before = known or self._remembered.get(key)
        if alarm.is_open:
            self._leaving.pop(key, None)
        elif before is not None and before.is_open:
            self._leaving[key] = before

    def _write(self) -> None:
        """Keep what is open, and what is so as far as the disk knows, in whole or not at all."""
        if self._path is None:
            return
        known = self._remembered | self._newest
        kept = [asdict(alarm) for alarm in ({k: a for k, a in known.items() if a.is_open} | self._leaving).values()]
        new = self._path.with_name(self._path.name + ".new")
        try:
            new.write_text(json.dumps(kept), "utf-8")
            new.replace(self._path)
        except OSError as error:
            _log.warning("%s: %s; alarms that return while the gateway is stopped stay open", self._path, error)


def _read(path: Path) -> dict[tuple[str, str], Alarm]:
    try:
        found = [Alarm(**{**each, "state": AlarmState(each["state"])}) for each in json.loads(path.read_text("utf-8"))]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, InvalidInput) as error:
        _log.warning("%s cannot be read (%s); alarms that returned meanwhile stay open", path, error)
        return {}
    return {(alarm.condition, alarm.branch): alarm for alarm in found}


def _returned(alarm: Alarm, time_ns: int) -> Alarm:
    later_ns = max(time_ns, alarm.time_ns + 1)
    return replace(alarm, state=AlarmState.NORMAL, time_ns=later_ns, quality=UNCERTAIN, event="")
