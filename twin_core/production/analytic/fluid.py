"""Two fluid machines and one buffer: exact by the spectrum of the flow's Markov chain.

Machine i makes `speeds[i]` per unit of time while up and is not held up; up and down times are exponential. With
operation-dependent failures a machine that stands (starved or blocked) does not fail, and one that is slowed by the
other fails less often in proportion to its speed. Sources: Gershwin & Schick 1980; Li & Meerkov, ch. 11.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from uem.twin_core.errors import InvalidInput
from uem.twin_core.production.analytic.checks import Array, not_negative, positive_vector

# The four states of the two machines, (first up, second up).
_UP = np.array([(1, 1), (1, 0), (0, 1), (0, 0)], dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidFigures:
    """Long-run figures: throughput, mean level, and how often the buffer is empty or full.

    Shares of the time: `starved`, the second machine is up and waits or is slowed by an empty buffer; `blocked`, the
    first by a full one. A machine at half its speed counts half.
    """

    throughput: float
    buffer_mean: float
    p_empty: float
    p_full: float
    starved: float
    blocked: float


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
    net = _UP[:, 0] * speed[0] - _UP[:, 1] * speed[1]
    both = speed.min()
    # How fast each machine runs at an end, as a share of its speed: what it fails by if failures depend on operation.
    free = np.ones((4, 2)) * _UP
    empty, full = free.copy(), free.copy()
    empty[:, 1] = np.where(_UP[:, 0], np.minimum(free[:, 1], both / speed[1]), 0.0) * _UP[:, 1]
    full[:, 0] = np.where(_UP[:, 1], np.minimum(free[:, 0], both / speed[0]), 0.0) * _UP[:, 0]
    if buffer == 0:
        neither = np.minimum(empty, full)
        p = _balance(_generator(fail, repair, neither if operation_dependent else free))
        return _figures(speed, p, p, np.zeros(4), 0.0, neither, neither, 0.0)
    inside = _generator(fail, repair, free)
    at_empty = _generator(fail, repair, empty if operation_dependent else free)
    at_full = _generator(fail, repair, full if operation_dependent else free)
    shapes, exponents = _modes(net, inside)
    ends = np.array([np.exp(np.minimum(exponents * buffer, 0.0)), np.exp(np.minimum(-exponents * buffer, 0.0))])
    at_top, at_bottom = ends[0], ends[1]  # a mode that falls is 1 at the bottom, one that grows is 1 at the top
    content, moment = _integrals(exponents, buffer)
    m = len(exponents)
    low, high = np.flatnonzero(net <= 0), np.flatnonzero(net >= 0)
    rows = np.zeros((9, m + len(low) + len(high)))
    rows[0:4, :m] = -net[:, None] * shapes * at_bottom
    rows[0:4, m : m + len(low)] = at_empty[low].T
    rows[4:8, :m] = net[:, None] * shapes * at_top
    rows[4:8, m + len(low) :] = at_full[high].T
    rows[8, :m] = shapes.sum(axis=0) * content
    rows[8, m:] = 1.0
    wanted = np.zeros(9)
    wanted[8] = 1.0
    solution, *_ = np.linalg.lstsq(rows, wanted, rcond=None)
    c, p_low, p_high = np.split(solution, [m, m + len(low)])
    p_empty, p_full = np.zeros(4), np.zeros(4)
    p_empty[low], p_full[high] = p_low, p_high
    within = shapes @ (c * content)
    mean = float((shapes.sum(axis=0) * moment) @ c + buffer * p_full.sum())
    return _figures(speed, p_empty, p_full, within, mean, empty, full, float(p_full.sum()))


def _generator(fail: Array, repair: Array, share: Array) -> Array:
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
    speed: Array, p_empty: Array, p_full: Array, within: Array, mean: float, empty: Array, full: Array, top: float
) -> FluidFigures:
    if top == 0.0 and mean == 0.0:  # no buffer: empty and full at the same time
        works = float(p_empty @ empty[:, 1])
        starved = float(p_empty @ (_UP[:, 1] - empty[:, 1]))
        blocked = float(p_empty @ (_UP[:, 0] - empty[:, 0]))
        return FluidFigures(
            throughput=float(speed[1] * works),
            buffer_mean=0.0,
            p_empty=1.0,
            p_full=1.0,
            starved=starved,
            blocked=blocked,
        )
    works = float(p_empty @ empty[:, 1] + within @ _UP[:, 1] + p_full @ _UP[:, 1])
    if not np.isfinite(works):
        raise InvalidInput("these numbers are too far apart for the spectrum of the chain")
    return FluidFigures(
        throughput=float(speed[1] * works),
        buffer_mean=mean,
        p_empty=float(p_empty.sum()),
        p_full=float(p_full.sum()),
        starved=float(p_empty @ (_UP[:, 1] - empty[:, 1])),
        blocked=float(p_full @ (_UP[:, 0] - full[:, 0])),
    )
