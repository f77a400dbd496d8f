"""Long lines, approximately: decomposition into two-machine lines and aggregation into one machine.

They take a time that grows with the number of machines only. How far they are off (docs/models/production-analytic.md):
DDX by up to 0.5 % on lines of 3 and 4 machines and more on longer ones (+1.8 % on 10, +4 % on 20 equal machines);
aggregation mostly by 0.2 %, by up to 3 % where one machine is much worse than its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from uem.twin_core.errors import InvalidInput, NotConverged
from uem.twin_core.production.analytic.checks import Array, capacities, positive_vector, probabilities, vector
from uem.twin_core.production.analytic.fluid import FluidFigures, fluid_two_machine
from uem.twin_core.production.analytic.slotted import bernoulli_empty, checked_transfer_line, two_machine_transfer

TOLERANCE: Final = 1e-11
MOST_SWEEPS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposed:
    """Approximate long-run figures; arrays of shape (buffers,). `imbalance`: how far the two-machine lines disagree."""

    efficiency: float
    buffer_mean: Array
    empty: Array
    full: Array
    imbalance: float


def ddx_transfer_line(p: ArrayLike, r: ArrayLike, buffers: Sequence[int] | ArrayLike) -> Decomposed:
    """A transfer line (see `slotted.transfer_line`) of any length by the DDX algorithm.

    Each buffer gets a line of its own between two pseudo-machines, whose failures are those of its neighbours or of
    what starves and blocks them; sweeps down and up the line until the flows agree. Dallery, David & Xie 1988;
    equations in docs/models/production-analytic.md. Every machine must be able to fail.

    Raises:
        InvalidInput: shapes or numbers out of range.
        NotConverged: the flows did not come to agree.
    """
    fail, repair, capacity = checked_transfer_line(p, r, buffers)
    if len(fail) < 2 or not (fail > 0).all():
        raise InvalidInput(f"p = {fail.tolist()}: two or more machines that all can fail are needed")
    n = len(capacity)
    idle_of = fail / repair  # p / r = 1 / e - 1
    pu, ru, pd, rd = fail[:-1].copy(), repair[:-1].copy(), fail[1:].copy(), repair[1:].copy()
    line = [two_machine_transfer([pu[i], pd[i]], [ru[i], rd[i]], capacity[i]) for i in range(n)]
    for _ in range(MOST_SWEEPS):
        for i in range(1, n):
            before = line[i - 1]
            ratio = 1.0 / before.efficiency + idle_of[i] - 1.0 - pd[i - 1] / rd[i - 1]
            starved = min(before.empty / (ratio * before.efficiency), 1.0)
            ru[i] = ru[i - 1] * starved + repair[i] * (1.0 - starved)
            pu[i] = min(ratio * ru[i], 1.0 - 1e-12)
            line[i] = two_machine_transfer([pu[i], pd[i]], [ru[i], rd[i]], capacity[i])
        for i in range(n - 2, -1, -1):
            behind = line[i + 1]
            ratio = 1.0 / behind.efficiency + idle_of[i + 1] - 1.0 - pu[i + 1] / ru[i + 1]
            blocked = min(behind.full / (ratio * behind.efficiency), 1.0)
            rd[i] = rd[i + 1] * blocked + repair[i + 1] * (1.0 - blocked)
            pd[i] = min(ratio * rd[i], 1.0 - 1e-12)
            line[i] = two_machine_transfer([pu[i], pd[i]], [ru[i], rd[i]], capacity[i])
        flows = np.array([part.efficiency for part in line])
        imbalance = float((flows.max() - flows.min()) / flows.mean())
        if imbalance < TOLERANCE:
            break
    else:
        worst = int(np.abs(flows - flows.mean()).argmax())
        raise NotConverged("transfer line", f"buffer {worst + 1}", MOST_SWEEPS)
    return Decomposed(
        efficiency=float(flows.mean()),
        buffer_mean=np.array([part.buffer_mean for part in line]),
        empty=np.array([part.empty for part in line]),
        full=np.array([part.full for part in line]),
        imbalance=imbalance,
    )


def decomposed_fluid_line(
    speeds: ArrayLike, failure_rate: ArrayLike, repair_rate: ArrayLike, buffers: ArrayLike
) -> Decomposed:
    """A fluid line of any length with machines of different speeds and operation-dependent failures.

    As `ddx_transfer_line`, in continuous time; a pseudo-machine is slower than the machine that it stands for as long
    as the buffer before it is empty because what feeds it is slower (after Burman's ADDX, 1995). `speeds`,
    `failure_rate` and `repair_rate` have shape (machines,), `buffers` (machines - 1,), not negative. The `efficiency`
    is the throughput.

    For parts one by one, blocked after service, a buffer of b places counts as b: simulated lines of equal machines
    with a fixed cycle made as much as their fluid picture with b to b + 1/2.

    Raises:
        InvalidInput: shapes or numbers out of range.
        NotConverged: the flows did not come to agree.
    """
    speed = positive_vector("speeds", speeds)
    fail = positive_vector("failure_rate", failure_rate, len(speed))
    repair = positive_vector("repair_rate", repair_rate, len(speed))
    capacity = vector("buffers", buffers, len(speed) - 1)
    if len(speed) < 2 or (capacity < 0).any():
        raise InvalidInput(f"buffers = {capacity.tolist()}: one or more buffers that are not negative are needed")
    n = len(capacity)
    up, down = (np.stack([speed[k], fail[k], repair[k]], axis=1) for k in (slice(None, -1), slice(1, None)))
    own = np.stack([speed, fail, repair], axis=1)

    def solve(i: int) -> FluidFigures:
        speed_i, fail_i, repair_i = np.stack([up[i], down[i]], axis=1)
        return fluid_two_machine(speed_i, fail_i, repair_i, float(capacity[i]), operation_dependent=True)

    line = [solve(i) for i in range(n)]
    for _ in range(MOST_SWEEPS):
        for i in range(1, n):
            before = line[i - 1]
            up[i] = _pseudo_machine(own[i], up[i - 1], before.throughput, before.starved, before.starved_by_stop)
            line[i] = solve(i)
        for i in range(n - 2, -1, -1):
            behind = line[i + 1]
            down[i] = _pseudo_machine(
                own[i + 1], down[i + 1], behind.throughput, behind.blocked, behind.blocked_by_stop
            )
            line[i] = solve(i)
        flows = np.array([part.throughput for part in line])
        imbalance = float((flows.max() - flows.min()) / flows.mean())
        if imbalance < 1e-9:
            break
    else:
        worst = int(np.abs(flows - flows.mean()).argmax())
        raise NotConverged("fluid line", f"buffer {worst + 1}", MOST_SWEEPS)
    return Decomposed(
        efficiency=float(flows.mean()),
        buffer_mean=np.array([part.buffer_mean for part in line]),
        empty=np.array([part.p_empty for part in line]),
        full=np.array([part.p_full for part in line]),
        imbalance=imbalance,
    )


def _pseudo_machine(own: Array, neighbour: Array, flow: float, idle: float, stopped: float) -> Array:
    """(speed, failure rate, repair rate) of a machine together with what starves (or blocks) it.

    `idle` is the share of the time in which the neighbour holds it up, `stopped` that in which the neighbour is down.
    """
    speed, fail, repair = own
    own_failures = fail * flow / speed
    down = stopped + own_failures / repair
    failures = neighbour[2] * stopped + own_failures
    slowed = 1.0 / (1.0 / speed + max(idle - stopped, 0.0) / flow)
    return np.array([slowed, failures * slowed / flow, failures / down])


def aggregated_bernoulli_rate(p: ArrayLike, buffers: Sequence[int] | ArrayLike) -> float:
    """Production rate of a Bernoulli line by Li & Meerkov's recursive aggregation (ch. 4.2); exact for two machines.

    Backwards each machine is joined with what stands behind it, forwards with what stands before it, until both agree.
    `p` (machines,) in (0, 1], `buffers` (machines - 1,) at least 1.

    Raises:
        InvalidInput: shapes or numbers out of range.
        NotConverged: the two directions did not come to agree.
    """
    up = probabilities("p", positive_vector("p", p))
    capacity = capacities(buffers, len(up) - 1, least=1)
    n = len(up)
    forward, backward = up.copy(), up.copy()
    for _ in range(MOST_SWEEPS):
        before = backward[0]
        for i in range(n - 2, -1, -1):  # blocked: the mirrored line is empty
            backward[i] = up[i] * (1.0 - bernoulli_empty(float(backward[i + 1]), float(forward[i]), capacity[i]))
        for i in range(1, n):
            forward[i] = up[i] * (1.0 - bernoulli_empty(float(forward[i - 1]), float(backward[i]), capacity[i - 1]))
        if abs(backward[0] - forward[-1]) < TOLERANCE and abs(backward[0] - before) < TOLERANCE:
            return float(forward[-1])
    raise NotConverged("Bernoulli line", "its first machine", MOST_SWEEPS)
