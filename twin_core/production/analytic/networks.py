"""Networks of queues with product form: open (Jackson) and closed (pallets, CONWIP)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic.checks import Array, not_negative, positive_vector, vector, whole
from uem.twin_core.production.analytic.queues import mmc


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenNetwork:
    """Long-run figures; arrays of shape (stations,), mean numbers `L` with those in service, `W_total` per arrival."""

    arrival: Array
    utilisation: Array
    L: Array
    L_total: float
    W_total: float


def jackson(gamma: ArrayLike, routing: ArrayLike, mu: ArrayLike, servers: ArrayLike) -> OpenNetwork:
    """Open network of exponential stations with Poisson arrivals from outside and routing by probability.

    Traffic equations lambda = gamma + lambda P; every station then is an M/M/c of its own. Jackson 1957. `gamma`, `mu`
    (per server) and `servers` have shape (stations,), `routing` (stations, stations) with rows of at most 1.

    Raises:
        InvalidInput: shapes or numbers out of range, parts that never leave, or a station with too much to do.
    """
    rate = positive_vector("mu", mu)
    outside = vector("gamma", gamma, len(rate))
    c = positive_vector("servers", servers, len(rate))
    p = np.asarray(routing, dtype=np.float64)
    if p.shape != (len(rate), len(rate)) or not np.isfinite(p).all() or (p < 0).any() or (p.sum(1) > 1 + 1e-12).any():
        raise InvalidInput(f"routing must be {len(rate)} rows of probabilities that add up to at most 1")
    if (outside < 0).any() or not outside.sum() > 0:
        raise InvalidInput(f"gamma = {outside.tolist()} must not be negative, and something must arrive")
    try:
        arrival = np.asarray(np.linalg.solve(np.eye(len(rate)) - p.T, outside), dtype=np.float64)
    except np.linalg.LinAlgError:
        arrival = np.full(len(rate), np.nan)
    if not (np.isfinite(arrival) & (arrival >= -1e-12)).all():
        raise InvalidInput("the routing keeps parts in the network for ever")
    stations = [mmc(a, m, k).L if a > 1e-300 else 0.0 for a, m, k in np.column_stack([arrival, rate, c]).tolist()]
    number = np.array(stations)
    return OpenNetwork(
        arrival=arrival,
        utilisation=arrival / (c * rate),
        L=number,
        L_total=float(number.sum()),
        W_total=float(number.sum() / outside.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedNetwork:
    """Long-run figures; `L` of shape (stations,), mean numbers with those in service. `cycle_time` includes `think`."""

    throughput: float
    cycle_time: float
    L: Array


def closed_network(
    demands: ArrayLike, pallets: int, servers: ArrayLike | None = None, think: float = 0.0
) -> ClosedNetwork:
    """A fixed number of pallets through exponential stations (visits times mean service = `demands`) and a delay.

    Product form by convolution (Gordon & Newell 1967, Buzen 1973), the same figures as exact mean value analysis
    (Reiser & Lavenberg 1980). All terms are positive, so nothing cancels, several servers included. `demands` and
    `servers` (1 each by default) have shape (stations,); `think` is the mean time of a pallet outside of all queues.

    Raises:
        InvalidInput: shapes or numbers out of range.
    """
    demand = positive_vector("demands", demands)
    c = positive_vector("servers", np.ones(len(demand)) if servers is None else servers, len(demand))
    for k in c.tolist():
        whole(1, servers=k)
    whole(1, pallets=pallets)
    not_negative(think=think)
    n = int(pallets)
    unit = float(max((demand / c).max(), think / n))  # keeps the constants near 1
    factors = [_weights(d / unit, int(k), n) for d, k in zip(demand, c, strict=True)]
    delay = np.cumprod(np.concatenate([[1.0], think / unit / np.arange(1, n + 1)]))
    total = delay
    for factor in factors:
        total = np.convolve(total, factor)[: n + 1]
    throughput = float(total[n - 1] / total[n]) / unit
    number = np.empty(len(demand))
    for k in range(len(demand)):
        others = delay
        for j, factor in enumerate(factors):
            if j != k:
                others = np.convolve(others, factor)[: n + 1]
        number[k] = float((np.arange(n + 1) * factors[k]) @ others[::-1]) / float(total[n])
    if not np.isfinite([throughput, *number]).all():
        raise InvalidInput(f"{n} pallets are more than the convolution can count")
    return ClosedNetwork(throughput=throughput, cycle_time=n / throughput, L=number)


def _weights(demand: float, servers: int, pallets: int) -> Array:
    """Weight of 0 to `pallets` parts at a station: demand^j / (min(1, c) min(2, c) .. min(j, c))."""
    return np.cumprod(np.concatenate([[1.0], demand / np.minimum(np.arange(1, pallets + 1), servers)]))
