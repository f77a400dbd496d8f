"""Two fluid machines and one buffer: exact by the spectrum of the flow's Markov chain.

Machine i makes `speeds[i]` per unit of time while up and is not held up; up and down times are exponential. With
operation-dependent failures a machine that stands (starved or blocked) does not fail, and one that is slowed by the
other fails less often in proportion to its speed. Sources: Gershwin & Schick 1980; Li & Meerkov, ch. 11.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic.checks import Array, not_negative, positive_vector

# The four states of the two machines, (first up, second up).
_UP: Final = np.array([(1, 1), (1, 0), (0, 1), (0, 0)], dtype=bool)
# Speeds nearer than that are taken as equal: their difference would be rounding.
SAME_SPEED: Final = 1e-10
_SECOND_DOWN: Final = 1
_FIRST_DOWN: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidFigures:
    """Long-run figures: throughput, mean level, and how often the buffer is empty or full.

    Shares of the time: `starved`, the second machine is up and waits or is slowed by an empty buffer; `blocked`, the
    first by a full one. A machine at half its speed counts half. Of these, `starved_by_stop` and `blocked_by_stop` are
    the shares in which the other machine is down.
    """

    throughput: float
    buffer_mean: float
    p_empty: float
    p_full: float
    starved: float
    blocked: float
    starved_by_stop: float
    blocked_by_stop: float


def fluid_two_machine(
    speeds: ArrayLike,
    failure_rate: ArrayLike,
    repair_rate: ArrayLike,
    buffer: float,
    *,
    operation_dependent: bool,
) -> FluidFigures:
    """Exact figures of two fluid machines; `speeds`, `failure_rate`, `repair_rate` of shape (2,), `buffer` >= 0.

    The densities f over the level solve f' D = f Q, D the net rates. Across any level as much goes up as down, which
    leaves one or two exponentials; each is anchored at the end where it is largest, so that no buffer is too large.
    They are joined to the probabilities of the empty and the full buffer by the balance at both ends.

    Raises:
        InvalidInput: numbers out of range.
    """
    speed = positive_vector("speeds", speeds, 2)
    fail = positive_vector("failure_rate", failure_rate, 2)
    repair = positive_vector("repair_rate", repair_rate, 2)
    not_negative(buffer=buffer)
    empty, full = _shares(speed)
    if buffer == 0:
        return _without_buffer(speed, fail, repair, np.minimum(empty, full), operation_dependent)
    net = _UP[:, 0] * speed[0] - _UP[:, 1] * speed[1]
    net[np.abs(net) < SAME_SPEED * speed.max()] = 0.0
    inside = _generator(fail, repair, _UP)
    shapes, exponents = _modes(net, inside)
    content, moment = _integrals(exponents, buffer)
    m, low, high = len(exponents), np.flatnonzero(net <= 0), np.flatnonzero(net >= 0)
    # Balance of the four states at the empty and at the full buffer, and the sum of all.
    rows = np.zeros((9, m + len(low) + len(high)))
    rows[0:4, :m] = -net[:, None] * shapes * np.exp(np.minimum(-exponents * buffer, 0.0))
    rows[0:4, m : m + len(low)] = _generator(fail, repair, empty if operation_dependent else _UP)[low].T
    rows[4:8, :m] = net[:, None] * shapes * np.exp(np.minimum(exponents * buffer, 0.0))
    rows[4:8, m + len(low) :] = _generator(fail, repair, full if operation_dependent else _UP)[high].T
    rows[8, :m] = shapes.sum(axis=0) * content
    rows[8, m:] = 1.0
    solution, *_ = np.linalg.lstsq(rows, np.array([0.0] * 8 + [1.0]), rcond=None)
    c, p_low, p_high = np.split(solution, [m, m + len(low)])
    p_empty, p_full = np.zeros(4), np.zeros(4)
    p_empty[low], p_full[high] = p_low, p_high
    mean = float((shapes.sum(axis=0) * moment) @ c + buffer * p_full.sum())
    return _figures(speed, p_empty, p_full, shapes @ (c * content), mean, empty, full)


def _shares(speed: Array) -> tuple[Array, Array]:
    """How fast each machine runs in the four states at an empty and at a full buffer, as a share of its speed."""
    empty, full = _UP.astype(float), _UP.astype(float)
    empty[:, 1] *= np.where(_UP[:, 0], min(speed[0] / speed[1], 1.0), 0.0)
    full[:, 0] *= np.where(_UP[:, 1], min(speed[1] / speed[0], 1.0), 0.0)
    return empty, full


def _generator(fail: Array, repair: Array, share: Array | NDArray[np.bool_]) -> Array:
    """Rates between the four states; `share` (4, 2) of its failure rate each machine has in each."""
    rates = np.zeros((4, 4))
    for i in range(4):
        for machine in (0, 1):
            other = _UP[i].copy()
            other[machine] = not other[machine]
            j = int(np.flatnonzero((other == _UP).all(axis=1))[0])
            rates[i, j] = fail[machine] * share[i, machine] if _UP[i, machine] else repair[machine]
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return rates


def _balance(rates: Array) -> Array:
    """The stationary distribution of a generator that may have states it never comes back to."""
    matrix = np.vstack([rates.T, np.ones(len(rates))])
    found, *_ = np.linalg.lstsq(matrix, np.array([*np.zeros(len(rates)), 1.0]), rcond=None)
    return np.asarray(found)


def _modes(net: Array, inside: Array) -> tuple[Array, Array]:
    """Densities exp(exponent * level) that solve f' D = f Q: shapes (4, modes), exponents (modes,)."""
    moving = np.flatnonzero(net != 0)
    resting = np.flatnonzero(net == 0)
    # States without a net rate follow the others: f_r = -f_m Q_mr Q_rr^-1.
    follow = np.linalg.solve(-inside[np.ix_(resting, resting)].T, inside[np.ix_(moving, resting)].T)
    law = inside[np.ix_(moving, moving)].T + inside[np.ix_(resting, moving)].T @ follow
    flow = net[moving]
    # In flows g = D f the law is g' = law D^-1 g, and the sum of g stays zero.
    law = law / flow
    basis = np.linalg.svd(np.ones((1, len(moving))))[2][1:].T
    exponents, vectors = np.linalg.eig(basis.T @ law @ basis)
    shapes = np.zeros((4, len(exponents)))
    real = np.real(basis @ vectors) / flow[:, None]
    shapes[moving] = real
    shapes[resting] = follow @ real
    return shapes, np.real(exponents)


def _integrals(exponents: Array, buffer: float) -> tuple[Array, Array]:
    """Integrals over the buffer of a mode, and of level times the mode, each mode being 1 at its larger end."""
    z = np.abs(exponents) * buffer
    content, first = np.empty_like(z), np.empty_like(z)  # of exp(-z u) and u exp(-z u) over u in (0, 1)
    small = z < 1e-3
    big = np.where(small, 1.0, z)
    content = np.where(small, 1.0 - z / 2 + z**2 / 6 - z**3 / 24, -np.expm1(-big) / big)
    first = np.where(small, 0.5 - z / 3 + z**2 / 8 - z**3 / 30, (-np.expm1(-big) - big * np.exp(-big)) / big**2)
    level = np.where(exponents > 0, content - first, first)  # u counts from the larger end
    return buffer * content, buffer**2 * level


def _figures(
    speed: Array, p_empty: Array, p_full: Array, within: Array, mean: float, empty: Array, full: Array
) -> FluidFigures:
    """Figures from the probabilities of the four states at an empty buffer, at a full one and between."""
    idle_empty, idle_full = p_empty @ (_UP - empty), p_full @ (_UP - full)
    works = p_empty @ empty[:, 1] + within @ _UP[:, 1] + p_full @ full[:, 1]
    if not np.isfinite(works):
        raise InvalidInput("these numbers are too far apart for the spectrum of the chain")
    return FluidFigures(
        throughput=float(speed[1] * works),
        buffer_mean=mean,
        p_empty=float(p_empty.sum()),
        p_full=float(p_full.sum()),
        starved=float(idle_empty[1]),
        blocked=float(idle_full[0]),
        starved_by_stop=float(p_empty[_FIRST_DOWN]),
        blocked_by_stop=float(p_full[_SECOND_DOWN]),
    )


def _without_buffer(speed: Array, fail: Array, repair: Array, share: Array, operation_dependent: bool) -> FluidFigures:
    """Both work at the slower speed while both are up; the buffer is empty and full at the same time."""
    p = _balance(_generator(fail, repair, share if operation_dependent else _UP.astype(float)))
    idle = p @ (_UP - share)
    return FluidFigures(
        throughput=float(speed[1] * (p @ share[:, 1])),
        buffer_mean=0.0,
        p_empty=1.0,
        p_full=1.0,
        starved=float(idle[1]),
        blocked=float(idle[0]),
        starved_by_stop=float(p[_FIRST_DOWN]),
        blocked_by_stop=float(p[_SECOND_DOWN]),
    )
