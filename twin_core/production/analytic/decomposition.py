"""Long lines, approximately: decomposition into two-machine lines and aggregation into one machine.

Both take a time that grows with the number of machines only. How far they are off is measured against exact chains in
docs/models/production.md: DDX 0.1 % and up to 0.5 %, aggregation 0.2 % and up to 3 % where one machine is much worse
than its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from uem.twin_core.errors import InvalidInput, NotConverged
from uem.twin_core.production.analytic.checks import Array, capacities, positive_vector, probabilities
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
    equations in docs/models/production.md. Every machine must be able to fail.

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
