"""The time of simulated plants: the simulator writes into the state folder how it goes, the gateway reads it there.

Protocols that know no time, such as Modbus, are stamped by the gateway when it asks. Where plants are simulated that
has to be their time, not ours. It goes on when nobody simulates, as that of real plants does.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from uem.twin_core.errors import AdapterError, StorageError

FILE = "plant_time.json"


@dataclass(frozen=True, slots=True)
class PlantTime:
    """When it was `start_ns` by our clock it was `epoch_ns` at the plants, where `speed` seconds go by in one of ours.

    All in ns UTC.
    """

    epoch_ns: int
    start_ns: int
    speed: float

    def at(self, our_ns: int) -> int:
        """The time at the plants at a time of ours."""
        return self.epoch_ns + round((our_ns - self.start_ns) * self.speed)

    def now_ns(self) -> int:
        """The time at the plants now."""
        return self.at(time.time_ns())

    def write(self, folder: Path) -> None:
        """Tell it in a state folder; StorageError when that cannot be written."""
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(self)), "utf-8")
            fresh.replace(path)  # a reader sees the old one or the new one
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What was told in a state folder; None when nothing was, or nothing that can be read."""
        try:
            told = json.loads((folder / FILE).read_text("utf-8"))
            return cls(int(told["epoch_ns"]), int(told["start_ns"]), float(told["speed"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None


class PlantClock:
    """A clock that goes as the simulator told last: the time at the plants in ns."""

    def __init__(self, folder: Path) -> None:
        """AdapterError when no simulator has told its time in the state folder."""
        self._folder = folder
        self._seen_ns = -1  # when the file was written that counts
        time_now = self._newest(None)
        if time_now is None:
            raise AdapterError(
                f"it is simulated, and no simulator has told its time in {folder / FILE}: "
                "start `uem simulator` with the same --state"
            )
        self._time = time_now

    def __call__(self) -> int:
        """The time now."""
        self._time = self._newest(self._time) or self._time
        return self._time.now_ns()

    def _newest(self, known: PlantTime | None) -> PlantTime | None:
        """What is told now: a simulator that was started anew tells it anew."""
        try:
            written_ns = (self._folder / FILE).stat().st_mtime_ns
        except OSError:
            return known
        if written_ns == self._seen_ns:
            return known
        self._seen_ns = written_ns
        return PlantTime.read(self._folder)
