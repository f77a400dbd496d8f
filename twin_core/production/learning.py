"""What a machine's times are, learned as it runs: failures, repairs, cycles; and an alarm when they drift.

    belief = MachineBelief(
        failure=ExponentialBelief.from_mean(6000.0, worth=3.0),     # handbook: 6,000 s, worth three failures
        repair=ExponentialBelief.from_mean(600.0, worth=3.0),
        cycle=LognormalBelief.from_mean(60.0, scv=0.01, worth=10.0),
    )
    belief = belief.after([Spell("busy", 4000.0), Spell("down", 500.0)], cycle_times_s=[61.0, 60.2])
    belief.failure.mean_s, belief.failure.interval_s(0.9), belief.availability

Conjugate updates: what is known is always a prior of the same kind, worth so many observations. Nothing here has state
of its own: every update gives a new value. Equations and sources: docs/models/production-learning.md.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.errors import InvalidInput, NotReady

Array = NDArray[np.float64]
BUSY: Final = "busy"
DOWN: Final = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialBelief:
    """A rate of events, as a gamma law: worth `events` of them in `exposure_s` seconds in which they could happen."""

    events: float
    exposure_s: float

    def __post_init__(self) -> None:
        _positive("events", self.events)
        _positive("exposure_s", self.exposure_s)

    @classmethod
    def from_mean(cls, mean_s: float, worth: float) -> "ExponentialBelief":
        """A belief of this mean time between events, worth `worth` of them."""
        _positive("mean_s", mean_s)
        _positive("worth", worth)
        return cls(events=worth + 1.0, exposure_s=mean_s * worth)

    def after(self, events: int, exposure_s: float) -> "ExponentialBelief":
        """With `events` more in `exposure_s` seconds, those without an event at the end included."""
        if events < 0 or not (math.isfinite(exposure_s) and exposure_s >= 0):
            raise InvalidInput(f"{events} events in {exposure_s} s; neither may be negative")
        return ExponentialBelief(events=self.events + events, exposure_s=self.exposure_s + exposure_s)

    def faded(self, worth: float) -> "ExponentialBelief":
        """Worth no more than `worth` events: the mean stays, what was learned long ago counts less."""
        _positive("worth", worth)
        share = min(worth / (self.events - 1.0), 1.0) if self.events > 1.0 else 1.0
        return ExponentialBelief(events=1.0 + share * (self.events - 1.0), exposure_s=share * self.exposure_s)

    @property
    def mean_s(self) -> float:
        """Expected mean time between events.

        Raises:
            NotReady: it is worth no event at all, so that no mean exists.
        """
        if self.events <= 1.0:
            raise NotReady(f"a belief worth {self.events} events has no mean time; more than 1 is needed")
        return self.exposure_s / (self.events - 1.0)

    def interval_s(self, probability: float) -> tuple[float, float]:
        """The mean time lies in it with this probability, as likely below as above."""
        if not 0.0 < probability < 1.0:
            raise InvalidInput(f"probability {probability} must lie between 0 and 1")
        tail = 0.5 * (1.0 - probability)
        low, high = gamma_quantile(self.events, tail), gamma_quantile(self.events, 1.0 - tail)
        return self.exposure_s / high, self.exposure_s / low if low > 0.0 else math.inf

    def drawn_s(self, rng: np.random.Generator, n: int) -> Array:
        """`n` mean times as likely as they are believed, for forecasts that know what they do not know."""
        return np.asarray(self.exposure_s / rng.gamma(self.events, size=n))


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalBelief:
    """Times that scatter about a median, as a normal-inverse-gamma law of their logarithms.

    `log_mean` is worth `worth` observations; the variance of the logarithms is inverse gamma (`shape`, `scale`).
    """

    log_mean: float
    worth: float
    shape: float
    scale: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.log_mean):
            raise InvalidInput(f"log_mean = {self.log_mean} must be finite")
        for name in ("worth", "shape", "scale"):
            _positive(name, getattr(self, name))

    @classmethod
    def from_mean(cls, mean_s: float, scv: float, worth: float) -> "LognormalBelief":
        """Times of this mean and squared coefficient of variation, a belief worth `worth` observations."""
        _positive("mean_s", mean_s)
        _positive("scv", scv)
        _positive("worth", worth)
        variance = math.log1p(scv)
        shape = 1.0 + 0.5 * worth
        return cls(log_mean=math.log(mean_s) - 0.5 * variance, worth=worth, shape=shape, scale=variance * (shape - 1.0))

    def after(self, times_s: ArrayLike) -> "LognormalBelief":
        """With these times, shape (n,), seen."""
        times = np.asarray(times_s, dtype=np.float64)
        if times.ndim != 1 or not (np.isfinite(times) & (times > 0)).all():
            raise InvalidInput("times must be one row of positive numbers")
        if not len(times):
            return self
        logs = np.log(times)
        n, mean = len(logs), float(logs.mean())
        worth = self.worth + n
        gap = mean - self.log_mean
        return LognormalBelief(
            log_mean=self.log_mean + gap * n / worth,
            worth=worth,
            shape=self.shape + 0.5 * n,
            scale=self.scale + 0.5 * float(((logs - mean) ** 2).sum()) + 0.5 * gap**2 * self.worth * n / worth,
        )

    def faded(self, worth: float) -> "LognormalBelief":
        """Worth no more than `worth` observations: mean and variance stay, what was seen long ago counts less."""
        _positive("worth", worth)
        if self.worth <= worth:
            return self
        shape = 1.0 + (self.shape - 1.0) * worth / self.worth
        return replace(self, worth=worth, shape=shape, scale=self.scale * (shape - 1.0) / (self.shape - 1.0))

    @property
    def log_variance(self) -> float:
        """Expected variance of the logarithms; NotReady where none exists."""
        if self.shape <= 1.0:
            raise NotReady(f"a belief of shape {self.shape} has no variance; more than 1 is needed")
        return self.scale / (self.shape - 1.0)

    @property
    def mean_s(self) -> float:
        """Mean time, with the expected variance of the logarithms."""
        return math.exp(self.log_mean + 0.5 * self.log_variance)

    @property
    def scv(self) -> float:
        """Squared coefficient of variation, likewise."""
        return math.expm1(self.log_variance)

    def drawn(self, rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        """`n` pairs of mean time and squared coefficient of variation as likely as they are believed, shapes (n,)."""
        variance = self.scale / rng.gamma(self.shape, size=n)
        log_mean = rng.normal(self.log_mean, np.sqrt(variance / self.worth))
        return np.exp(log_mean + 0.5 * variance), np.expm1(variance)


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch of one state: `busy`, `down` or any other. `ended`: no longer going on when it was read.

    Waiting for a repair crew is no repair: give it another name than `down`.
    """

    state: str
    duration_s: float
    ended: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineBelief:
    """What is believed of one machine: operating time to failure, time to repair, cycle time."""

    failure: ExponentialBelief
    repair: ExponentialBelief
    cycle: LognormalBelief

    def after(self, spells: Iterable[Spell], cycle_times_s: Sequence[float] = ()) -> "MachineBelief":
        """With these spells, each told once, and these cycle times.

        A machine fails while it is busy: busy time is the exposure, every spell of `down` that begins is a failure.
        Tell a spell when it ends; one that still goes on only where nothing more of it will be told.
        """
        operated, repaired, failures, repairs = 0.0, 0.0, 0, 0
        for spell in spells:
            if not (math.isfinite(spell.duration_s) and spell.duration_s >= 0):
                raise InvalidInput(f"a spell of {spell.duration_s} s {spell.state}; it must not be negative")
            if spell.state == BUSY:
                operated += spell.duration_s
            elif spell.state == DOWN:
                failures += 1
                repaired += spell.duration_s
                repairs += spell.ended
        return MachineBelief(
            failure=self.failure.after(failures, operated),
            repair=self.repair.after(repairs, repaired),
            cycle=self.cycle.after(np.asarray(cycle_times_s, dtype=np.float64)),
        )

    def faded(self, worth: float) -> "MachineBelief":
        """None of the three worth more than `worth` observations."""
        return MachineBelief(
            failure=self.failure.faded(worth), repair=self.repair.faded(worth), cycle=self.cycle.faded(worth)
        )

    @property
    def availability(self) -> float:
        """MTTF / (MTTF + MTTR) of the expected means."""
        return self.failure.mean_s / (self.failure.mean_s + self.repair.mean_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftAlarm:
    """Tells when times have become longer or shorter by `factor`, from the times themselves.

    Two sums of log-likelihood ratios, each kept from falling below zero (CUSUM, Page 1954). An alarm is given at
    log(2 * `events_between_false_alarms`), so that without drift at least that many events pass between two false ones
    on average (Lorden 1971), provided that the reference is the true law. `log_sd`: of the logarithms of the times,
    None for exponential times.
    """

    mean_s: float
    log_sd: float | None = None
    factor: float = 1.5
    events_between_false_alarms: float = 1000.0
    longer: float = 0.0
    shorter: float = 0.0

    def __post_init__(self) -> None:
        _positive("mean_s", self.mean_s)
        if self.log_sd is not None:
            _positive("log_sd", self.log_sd)
        if not (math.isfinite(self.factor) and self.factor > 1.0):
            raise InvalidInput(f"factor {self.factor} must be above 1")
        if not self.events_between_false_alarms >= 1.0:
            raise InvalidInput(f"{self.events_between_false_alarms} events between false alarms; at least 1 is needed")

    @classmethod
    def of_exponential(cls, belief: ExponentialBelief, **more: float) -> "DriftAlarm":
        """With what is believed now as the reference."""
        return cls(mean_s=belief.mean_s, **more)

    @classmethod
    def of_lognormal(cls, belief: LognormalBelief, **more: float) -> "DriftAlarm":
        """With what is believed now as the reference."""
        return cls(mean_s=belief.mean_s, log_sd=math.sqrt(belief.log_variance), **more)

    @property
    def threshold(self) -> float:
        """What a sum has to reach."""
        return math.log(2.0 * self.events_between_false_alarms)

    @property
    def drifted(self) -> str:
        """`longer`, `shorter` or nothing."""
        if max(self.longer, self.shorter) < self.threshold:
            return ""
        return "longer" if self.longer >= self.shorter else "shorter"

    def after(self, times_s: ArrayLike) -> "DriftAlarm":
        """With these times, shape (n,), seen; the sums stop where the alarm is given."""
        alarm = self
        for time in np.asarray(times_s, dtype=np.float64).ravel().tolist():
            if not (math.isfinite(time) and time >= 0) or (time == 0 and self.log_sd is not None):
                raise InvalidInput(f"a time of {time} s; it must be positive")
            if alarm.drifted:
                break
            longer = max(0.0, alarm.longer + self._evidence(time, self.factor))
            shorter = max(0.0, alarm.shorter + self._evidence(time, 1.0 / self.factor))
            alarm = replace(alarm, longer=longer, shorter=shorter)
        return alarm

    def _evidence(self, time_s: float, factor: float) -> float:
        """Log-likelihood ratio of times longer by `factor` against the reference."""
        step = math.log(factor)
        if self.log_sd is None:
            return time_s / self.mean_s * (1.0 - 1.0 / factor) - step
        log_mean = math.log(self.mean_s) - 0.5 * self.log_sd**2
        return step * (math.log(time_s) - log_mean - 0.5 * step) / self.log_sd**2


def gamma_quantile(shape: float, probability: float) -> float:
    """The x with P(shape, x) = probability, P the regularised lower incomplete gamma function; by halving."""
    low, high = 0.0, shape + 1.0
    while gamma_below(shape, high) < probability:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if gamma_below(shape, middle) < probability else (low, middle)
    return 0.5 * (low + high)


def gamma_below(shape: float, x: float) -> float:
    """P(shape, x): its series below shape + 1, the continued fraction of 1 - P above (Abramowitz & Stegun 6.5)."""
    if x <= 0.0:
        return 0.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1.0:
        term = total = 1.0 / shape
        k = shape
        while term > 1e-17 * total:
            k += 1.0
            term *= x / k
            total += term
        return front * total
    # modified Lentz
    b = x + 1.0 - shape
    c, d = 1e300, 1.0 / b
    fraction = d
    for i in range(1, 10_000):
        a = -i * (i - shape)
        b += 2.0
        d = 1.0 / (a * d + b)
        c = b + a / c
        step = c * d
        fraction *= step
        if abs(step - 1.0) < 1e-16:
            break
    return 1.0 - front * fraction


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InvalidInput(f"{name} = {value} must be positive and finite")
