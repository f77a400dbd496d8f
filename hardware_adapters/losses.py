"""What we ourselves lose, as gaps: per tag from the last sample that we kept to the next one that we keep."""

import numpy as np

from uem.twin_core.measurements import Gap, GapReason, Samples

_NEVER = np.iinfo(np.int64).min


class Losses:
    """Follows the samples of one plant, those that are kept and those that are dropped, in order of source time."""

    def __init__(self, reason: GapReason) -> None:
        self._reason = reason
        self._names: tuple[str, ...] = ()
        self._kept_ns = np.empty(0, np.int64)  # source time of the last sample kept, by tag
        self._open: dict[str, tuple[int, int]] = {}  # by tag: begin of its gap, last dropped source time

    def kept(self, samples: Samples) -> list[Gap]:
        """Note samples that are kept; the gaps that end with them."""
        if samples.names != self._names:
            self._follow(samples.names)
        ended = self._ended(samples) if self._open else []
        self._kept_ns[samples.tag] = samples.source_time_ns  # of many of a tag the last one stays
        return ended

    def dropped(self, samples: Samples) -> None:
        """Note samples that are dropped."""
        if samples.names != self._names:
            self._follow(samples.names)
        kept = dict(zip(self._names, self._kept_ns.tolist(), strict=True))
        for name, first_ns, last_ns in samples.spans():
            kept_ns = kept[name]
            # Without a sample before it the gap begins just before the first that is dropped.
            start_ns, before_ns = self._open.get(name, (kept_ns if kept_ns != _NEVER else first_ns - 1, _NEVER))
            self._open[name] = min(start_ns, first_ns - 1), max(before_ns, last_ns)

    def close(self) -> list[Gap]:
        """The gaps that are open still, up to just behind what was dropped."""
        gaps = [Gap(name, start, last + 1, self._reason) for name, (start, last) in self._open.items()]
        self._open.clear()
        return gaps

    def _ended(self, samples: Samples) -> list[Gap]:
        gaps = []
        for name, first_ns, _ in samples.spans():
            if name in self._open:
                start_ns, dropped_ns = self._open.pop(name)
                gaps.append(Gap(name, start_ns, max(first_ns, dropped_ns + 1), self._reason))
        return gaps

    def _follow(self, names: tuple[str, ...]) -> None:
        """Go on under another dictionary of names, with what is known of those that stay."""
        known = dict(zip(self._names, self._kept_ns.tolist(), strict=True))
        self._names, self._kept_ns = names, np.array([known.get(name, _NEVER) for name in names], np.int64)


def merged(gaps: list[Gap]) -> list[Gap]:
    """One gap per tag that holds all of its gaps, with the reason of the newest."""
    found: dict[str, Gap] = {}
    for gap in gaps:
        other = found.get(gap.tag, gap)
        found[gap.tag] = Gap(gap.tag, min(other.start_ns, gap.start_ns), max(other.end_ns, gap.end_ns), gap.reason)
    return list(found.values())
