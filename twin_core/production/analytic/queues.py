"""Queues with one station: closed forms.

Times in whatever unit the rates are in. Figures carry the usual names: `L` and `Lq` mean numbers in the system and
waiting, `W` and `Wq` mean times in the system and waiting; Little's law joins them. A queue that grows without end is
refused. Sources: Kleinrock, Queueing Systems 1 and 2; Hopp & Spearman, Factory Physics, ch. 8.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic.checks import Array, not_negative, positive, positive_vector, vector, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Long-run figures of a queue. `p_wait` is the probability that an arrival waits (NaN where it is not known)."""

    utilisation: float
    Wq: float
    W: float
    Lq: float
    L: float
    p_wait: float = math.nan


def _stable(utilisation: float) -> None:
    if not utilisation < 1.0:
        raise InvalidInput(f"utilisation {utilisation:.6g} must be below 1: the queue would grow without end")


def _of_wait(arrival: float, mean_service: float, servers: int, wait: float, p_wait: float = math.nan) -> Queue:
    return Queue(
        utilisation=arrival * mean_service / servers,
        Wq=wait,
        W=wait + mean_service,
        Lq=arrival * wait,
        L=arrival * (wait + mean_service),
        p_wait=p_wait,
    )


def mm1(arrival: float, service: float) -> Queue:
    """M/M/1: Poisson arrivals of rate `arrival`, exponential service of rate `service`. Wq = rho / (mu - lambda).

    Raises:
        InvalidInput: a rate is not positive, or the queue is not stable.
    """
    return mmc(arrival, service, 1)


def erlang_b(load: float, servers: int) -> float:
    """Probability that `servers` places without a queue are all taken under `load` = arrival / service (Erlang B)."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def mmc(arrival: float, service: float, servers: int) -> Queue:
    """M/M/c: `servers` equal exponential servers of rate `service` each; Erlang C, from the recursion of Erlang B.

    Raises:
        InvalidInput: a rate is not positive, `servers` not a whole number, or the queue is not stable.
    """
    positive(arrival=arrival, service=service)
    whole(1, servers=servers)
    utilisation = arrival / (servers * service)
    _stable(utilisation)
    blocked = erlang_b(arrival / service, int(servers))
    p_wait = blocked / (1.0 - utilisation * (1.0 - blocked))
    return _of_wait(arrival, 1.0 / service, int(servers), p_wait / (servers * service - arrival), p_wait)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossQueue:
    """Long-run figures of a queue that turns arrivals away. `W` is the time of those who come in."""

    p_loss: float
    throughput: float
    L: float
    W: float


def mm1k(arrival: float, service: float, places: int) -> LossQueue:
    """M/M/1/K: `places` parts at most, the one in service among them; who comes to a full system is lost.

    p_n is proportional to rho^n; every utilisation is allowed.

    Raises:
        InvalidInput: a rate is not positive, or `places` is not a whole number of at least 1.
    """
    positive(arrival=arrival, service=service)
    whole(1, places=places)
    number = np.arange(int(places) + 1)
    weight = number * math.log(arrival / service)
    p = np.exp(weight - weight.max())
    p /= p.sum()
    throughput = service * float(p[1:].sum())
    mean = float(number @ p)
    return LossQueue(p_loss=float(p[-1]), throughput=throughput, L=mean, W=mean / throughput)


def mg1(arrival: float, service_mean: float, service_scv: float) -> Queue:
    """M/G/1: Poisson arrivals, any service law of this mean and squared coefficient of variation.

    Pollaczek-Khinchine: Wq = lambda E[S^2] / (2 (1 - rho)).

    Raises:
        InvalidInput: a number is out of range, or the queue is not stable.
    """
    positive(arrival=arrival, service_mean=service_mean)
    not_negative(service_scv=service_scv)
    utilisation = arrival * service_mean
    _stable(utilisation)
    wait = utilisation * service_mean * (1.0 + service_scv) / (2.0 * (1.0 - utilisation))
    return _of_wait(arrival, service_mean, 1, wait, utilisation)


def deterministic_transform(mean: float) -> Callable[[float], float]:
    """Laplace-Stieltjes transform of a constant."""
    return lambda s: math.exp(-s * mean)


def erlang_transform(mean: float, stages: int) -> Callable[[float], float]:
    """Laplace-Stieltjes transform of an Erlang law; one stage is the exponential law."""
    whole(1, stages=stages)
    return lambda s: (1.0 + s * mean / stages) ** -stages


def hyperexponential_transform(mean: float, scv: float) -> Callable[[float], float]:
    """Laplace-Stieltjes transform of two exponential phases with balanced means and this variation, `scv` >= 1."""
    if not scv >= 1.0:
        raise InvalidInput(f"scv = {scv} must be at least 1 for a hyperexponential law")
    p = 0.5 * (1.0 + math.sqrt((scv - 1.0) / (scv + 1.0)))
    fast, slow = 2.0 * p / mean, 2.0 * (1.0 - p) / mean
    if slow == 0.0:
        raise InvalidInput(f"scv = {scv} is too large")
    return lambda s: p * fast / (fast + s) + (1.0 - p) * slow / (slow + s)


@dataclass(frozen=True, slots=True, kw_only=True)
class GIM1(Queue):
    """A GI/M/1 queue: `sigma` is the probability that an arrival finds the server busy."""

    sigma: float


def gim1(transform: Callable[[float], float], arrival: float, service: float) -> GIM1:
    """GI/M/1: independent arrivals whose times between have this Laplace-Stieltjes transform and mean 1 / `arrival`.

    `sigma` is the root in (0, 1) of s = transform(mu (1 - s)); Wq = sigma / (mu (1 - sigma)).

    Raises:
        InvalidInput: a rate is not positive, the queue is not stable, or the transform is not one of that mean.
    """
    positive(arrival=arrival, service=service)
    _stable(arrival / service)

    def gap(s: float) -> float:
        return transform(service * (1.0 - s)) - s

    low, high = 0.0, 1.0
    # The function is convex with a second root at 1, below zero between: step back from 1 until there.
    back = 1.0 - arrival / service
    while back > 1e-15 and gap(1.0 - back) >= 0.0:
        back *= 0.5
    high = 1.0 - back
    if not (gap(low) > 0.0 > gap(high)):
        raise InvalidInput("the transform of the times between arrivals does not have the mean 1 / arrival")
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if gap(middle) > 0.0 else (low, middle)
    sigma = 0.5 * (low + high)
    wait = sigma / (service * (1.0 - sigma))
    q = _of_wait(arrival, 1.0 / service, 1, wait, sigma)
    return GIM1(utilisation=q.utilisation, Wq=q.Wq, W=q.W, Lq=q.Lq, L=q.L, p_wait=q.p_wait, sigma=sigma)


def kingman_bound(arrival: float, interarrival_scv: float, service_mean: float, service_scv: float) -> float:
    """Upper bound of the mean wait of GI/G/1: lambda (var A + var S) / (2 (1 - rho)). Kingman 1962.

    Raises:
        InvalidInput: a number is out of range, or the queue is not stable.
    """
    positive(arrival=arrival, service_mean=service_mean)
    not_negative(interarrival_scv=interarrival_scv, service_scv=service_scv)
    utilisation = arrival * service_mean
    _stable(utilisation)
    variances = interarrival_scv / arrival**2 + service_scv * service_mean**2
    return arrival * variances / (2.0 * (1.0 - utilisation))


def priority_waits(arrivals: ArrayLike, service_means: ArrayLike, service_second_moments: ArrayLike) -> Array:
    """Mean wait of each class of M/G/1 with priorities that do not interrupt, the first class before all others.

    Cobham 1954: W_k = sum(lambda_i E[S_i^2]) / (2 (1 - rho_1 - .. - rho_{k-1}) (1 - rho_1 - .. - rho_k)). All shapes
    (classes,).

    Raises:
        InvalidInput: numbers out of range, second moments below the squares of the means, or too much load.
    """
    rate = positive_vector("arrivals", arrivals)
    mean = positive_vector("service_means", service_means, len(rate))
    second = vector("service_second_moments", service_second_moments, len(rate))
    if (second < mean**2 * (1.0 - 1e-12)).any():
        raise InvalidInput(f"service_second_moments = {second.tolist()} are below the squares of the means")
    load = np.cumsum(rate * mean)
    _stable(float(load[-1]))
    before = np.concatenate([[0.0], load[:-1]])
    return np.asarray(0.5 * (rate @ second) / ((1.0 - before) * (1.0 - load)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveTime:
    """How long a part holds a machine that breaks down: availability, mean and variation of the completion time."""

    availability: float
    mean: float
    scv: float


def completion_time(mean: float, scv: float, mttf: float, mttr: float, repair_scv: float = 1.0) -> EffectiveTime:
    """Completion time of a part with failures after exponential operating times; the work resumes after repair.

    Hopp & Spearman eq. 8.6: t_e = t_0 / A, c_e^2 = c_0^2 + (1 + c_r^2) A (1 - A) m_r / t_0, exact for this model.

    Raises:
        InvalidInput: a number is out of range.
    """
    positive(mean=mean, mttf=mttf, mttr=mttr)
    not_negative(scv=scv, repair_scv=repair_scv)
    available = mttf / (mttf + mttr)
    effective_scv = scv + (1.0 + repair_scv) * available * (1.0 - available) * mttr / mean
    return EffectiveTime(availability=available, mean=mean / available, scv=effective_scv)


def batch_server(arrival: float, batch: int, cycle_rate: float) -> Queue:
    """Poisson arrivals before a furnace that starts with exactly `batch` parts; exponential cycles.

    With n waiting while it runs p_n = p_0 w^n, w the root in (0, 1) of (lambda + mu) w = lambda + mu w^(b+1); idle
    with n < b waiting q_n = mu / lambda (p_0 + .. + p_n). (Bulk service, Chaudhry & Templeton 1983.)

    Raises:
        InvalidInput: a number is out of range, or the queue is not stable.
    """
    positive(arrival=arrival, cycle_rate=cycle_rate)
    whole(1, batch=batch)
    size = int(batch)
    utilisation = arrival / (size * cycle_rate)
    _stable(utilisation)
    # Divided by the root w = 1: lambda = mu (w + w^2 + .. + w^b), which grows with w.
    low, high = 0.0, 1.0
    for _ in range(200):
        w = 0.5 * (low + high)
        low, high = (w, high) if w * (1.0 - w**size) / (1.0 - w) < arrival / cycle_rate else (low, w)
    busy = 1.0 / (1.0 - w)
    idle = cycle_rate / arrival * np.cumsum(w ** np.arange(size))
    p0 = 1.0 / (busy + float(idle.sum()))
    waiting = p0 * (w / (1.0 - w) ** 2 + float(np.arange(size) @ idle))
    q = _of_wait(arrival, 1.0 / cycle_rate, 1, waiting / arrival)
    return Queue(utilisation=utilisation, Wq=q.Wq, W=q.W, Lq=q.Lq, L=q.L)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedQueue:
    """A machine that switches off when it is empty: time shares and mean times."""

    W: float
    L: float
    p_busy: float
    p_off: float
    p_warmup: float

    def mean_power(self, *, busy: float, off: float, warmup: float) -> float:
        """Mean power of the machine from its powers in the three states, in their unit."""
        return busy * self.p_busy + off * self.p_off + warmup * self.p_warmup


def switched_off_when_empty(arrival: float, service: float, warmup_rate: float) -> SwitchedQueue:
    """M/M/1 that is off when empty and needs an exponential warm-up from the first arrival on.

    W = 1 / (mu - lambda) + 1 / theta; off for (1 - rho) theta / (lambda + theta) of the time. Gandhi, Harchol-Balter &
    Adan 2010.

    Raises:
        InvalidInput: a rate is not positive, or the queue is not stable.
    """
    positive(arrival=arrival, service=service, warmup_rate=warmup_rate)
    utilisation = arrival / service
    _stable(utilisation)
    time = 1.0 / (service - arrival) + 1.0 / warmup_rate
    off = (1.0 - utilisation) * warmup_rate / (arrival + warmup_rate)
    return SwitchedQueue(W=time, L=arrival * time, p_busy=utilisation, p_off=off, p_warmup=1.0 - utilisation - off)
