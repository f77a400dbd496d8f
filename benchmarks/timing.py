"""Timing two programs against each other on a noisy machine."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Seconds of processor time per call of ours and theirs, and how many times longer theirs takes."""

    ours_s: float
    theirs_s: float
    ratio: float


def seconds_per_call(work: Callable[[], object], calls: int) -> float:
    """Processor time of this thread per call; waiting for other processes does not count."""
    began = time.thread_time()
    for _ in range(calls):
        work()
    return (time.thread_time() - began) / calls


def calls_for(work: Callable[[], object], least_s: float) -> int:
    """How many calls last at least `least_s`, found by doubling; it warms up too."""
    calls = 1
    while (once := seconds_per_call(work, calls)) * calls < least_s:
        calls = max(2 * calls, int(1.1 * least_s / max(once, 1e-9))) if once * calls > least_s / 20 else 2 * calls
    return calls


def interleaved(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 7, least_s: float = 0.02
) -> Comparison:
    """Median of the ratios of `rounds` pairs, one after the other, so that a slow moment hits both."""
    our_calls, their_calls = calls_for(ours, least_s), calls_for(theirs, least_s)
    gc.collect()
    gc.disable()
    try:
        pairs = [(seconds_per_call(ours, our_calls), seconds_per_call(theirs, their_calls)) for _ in range(rounds)]
    finally:
        gc.enable()
    return Comparison(
        statistics.median(ours_s for ours_s, _ in pairs),
        statistics.median(theirs_s for _, theirs_s in pairs),
        statistics.median(theirs_s / ours_s for ours_s, theirs_s in pairs),
    )
