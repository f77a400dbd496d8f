"""Heat of a factory as exact integrals: what its streams gave off between two moments.

    meter = HeatMeter(plan, site.heat)
    given_j = meter.advance(run, 3600.0)     # runs on to 3,600 s; (streams,) joules since the moment before

Power is constant between events, so the energy of a span is the difference of two ledgers, no sample. Reading changes
nothing: a run that was asked at any moments is bit by bit the one that was not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import UnknownName
from uem.twin_core.plant.factory import HeatStream
from uem.twin_core.production.plan import STATES, FactoryPlan, FactoryRun

Array = NDArray[np.float64]


class HeatMeter:
    """Which share of the energy of machine and state goes into which stream; constant."""

    def __init__(self, plan: FactoryPlan, streams: Sequence[HeatStream]) -> None:
        """UnknownName where a stream names a machine or state that does not exist."""
        self.plan = plan
        self.names = tuple(stream.name for stream in streams)
        self._shares = np.zeros((len(plan.machines), len(STATES), len(streams)))
        for k, stream in enumerate(streams):
            for machine, shares in stream.shares.items():
                if machine not in plan.machines:
                    raise UnknownName("machine", machine, plan.machines)
                for state, share in shares.items():
                    if state not in STATES:
                        raise UnknownName("state", state, STATES)
                    self._shares[plan.machines.index(machine), STATES.index(state), k] = share

    def split_j(self, energy_j: Array) -> Array:
        """Heat by stream of energies by machine and state, (..., machines, states); (..., streams)."""
        return np.asarray(np.tensordot(energy_j, self._shares, axes=2))

    def advance(self, run: FactoryRun, until_s: float) -> Array:
        """Run on to `until_s`; heat by stream since the run's moment, (streams,). Raises as `FactoryPlan.run`."""
        before = self.plan.energy_j(run)
        self.plan.run(run, until_s)
        return self.split_j(self.plan.energy_j(run) - before)
