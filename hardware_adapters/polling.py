"""When to ask a plant that does not speak by itself: tags in groups of equal period, each due again and again."""

from collections.abc import Mapping

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
