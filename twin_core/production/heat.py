"""Heat of a factory as exact integrals: what its streams gave off between two moments.

A stream takes shares of the electric power of machines by state, and the heat of furnaces above a level of temperature.

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
from uem.twin_core.production.plan import STATES, FactoryPlan, FactoryRun, Ledger, Spent

Array = NDArray[np.float64]


class HeatMeter:
    """Which share of the energy of machine and state goes into which stream; constant."""

    def __init__(self, plan: FactoryPlan, streams: Sequence[HeatStream]) -> None:
        """UnknownName where a stream names a machine, state, furnace or level that does not exist."""
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
        self._furnaces = [(k, name, level) for k, s in enumerate(streams) for name, level in s.furnaces.items()]
        self.given_j(*[plan.spent(plan.initial_run())] * 2)  # raises where a furnace or a level does not exist

    def split_j(self, energy_j: Array) -> Array:
        """Heat by stream of energies by machine and state, (..., machines, states); (..., streams)."""
        return np.asarray(np.tensordot(energy_j, self._shares, axes=2))

    def totals_j(self, ledger: Ledger) -> Array:
        """Heat by replication and stream since the ledger began, (replications, streams)."""
        found = self.split_j(ledger.energy_j)
        for k, name, level_k in self._furnaces:
            found[:, k] += ledger.furnaces.above_j(name, level_k)
        return found

    def given_j(self, before: Spent, after: Spent) -> Array:
        """Heat by stream between two moments of one run, (streams,)."""
        found = self.split_j(after.energy_j - before.energy_j)
        for k, name, level_k in self._furnaces:
            found[k] += after.furnaces.above_j(name, level_k)[0] - before.furnaces.above_j(name, level_k)[0]
        return found

    def advance(self, run: FactoryRun, until_s: float) -> Array:
        """Run on to `until_s`; heat by stream since the run's moment, (streams,). Raises as `FactoryPlan.run`."""
        before = self.plan.spent(run)
        self.plan.run(run, until_s)
        return self.given_j(before, self.plan.spent(run))
