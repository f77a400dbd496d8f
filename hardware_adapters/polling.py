"""When to ask a plant that does not speak by itself: tags in groups of equal period, each due again and again."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping

NS_PER_MS = 1_000_000


class Schedule:
    """Groups by period. A group that is late is asked once and goes on in its old rhythm: nothing is made up for."""

    def __init__(self, groups: Mapping[float, object], now_ns: int) -> None:
        """`groups` has periods in ms as keys; all are due at `now_ns`."""
        self._due_ns = dict.fromkeys(groups, now_ns)

    def wait_s(self, now_ns: int) -> float:
        """Seconds until the next group is due; 0 when one is."""
        return max(0, min(self._due_ns.values()) - now_ns) / 1e9

    def take(self, now_ns: int) -> list[float]:
        """The periods that are due, which are due again later."""
        due = [period for period, due_ns in self._due_ns.items() if due_ns <= now_ns]
        for period in due:
            step_ns = max(1, round(period * NS_PER_MS))
            self._due_ns[period] += ((now_ns - self._due_ns[period]) // step_ns + 1) * step_ns
        return due


async def due_periods(groups: Mapping[float, object]) -> AsyncIterator[list[float]]:
    """The periods that are due, again and again, each time that there are any."""
    loop = asyncio.get_running_loop()

    def now_ns() -> int:
        return round(loop.time() * 1e9)

    schedule = Schedule(groups, now_ns())
    while True:
        await asyncio.sleep(schedule.wait_s(now_ns()))
        if periods := schedule.take(now_ns()):
            yield periods


class Silence:
    """Which devices of a plant do not answer: they are asked now and then only, and when none answers it is lost."""

    def __init__(self, ask_again_s: float) -> None:
        """A silent device is asked at most every `ask_again_s`."""
        self._ask_again_s = ask_again_s
        self._asked_s: dict[int, float] = {}

    def rests(self, device: int) -> bool:
        """Whether a device is silent and was asked just now."""
        return asyncio.get_running_loop().time() < self._asked_s.get(device, -math.inf) + self._ask_again_s

    def begin(self, device: int) -> None:
        """It did not answer."""
        self._asked_s[device] = asyncio.get_running_loop().time()

    def end(self, device: int) -> None:
        """It answered."""
        self._asked_s.pop(device, None)

    def is_of(self, devices: set[int]) -> bool:
        """Whether all of them are silent."""
        return self._asked_s.keys() >= devices
