"""What came too late for the twins, by asset, until it is time to estimate again from the history.

Late samples mostly come in crowds: the backlog of an outage, the readings of a meter. So it is waited until no more
come for a while, and an asset whose samples are always late costs no more than a small share of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

REST_S = 2.0
PAUSE_S = 60.0  # at least between two times, and at most until late samples count that never come to rest
SHARE = 0.05  # of the time that estimating again may take


@dataclass
class _Span:
    last_ns: int  # the newest of the late samples
    began_s: float
    grew_s: float


class Late:
    """Spans of late samples, and when each asset was estimated again."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._spans: dict[str, _Span] = {}
        self._not_before_s: dict[str, float] = {}

    def note(self, asset: str, last_ns: int) -> None:
        """Late samples of an asset came, up to this time."""
        now = self._clock()
        span = self._spans.setdefault(asset, _Span(last_ns, now, now))
        span.last_ns, span.grew_s = max(span.last_ns, last_ns), now

    def due(self) -> list[tuple[str, int]]:
        """Assets to be estimated again now, each with the newest time of its late samples."""
        now = self._clock()
        return [
            (asset, span.last_ns)
            for asset, span in self._spans.items()
            if now >= self._not_before_s.get(asset, now)
            and (now >= span.grew_s + REST_S or now >= span.began_s + PAUSE_S)
        ]

    def done(self, asset: str, took_s: float) -> None:
        """It was done, in so many seconds."""
        self._spans.pop(asset, None)
        self._not_before_s[asset] = self._clock() + max(PAUSE_S, took_s / SHARE)
