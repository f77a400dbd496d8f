"""A unit that runs by itself, for tests."""

import numpy as np
import pytest

from uem.twin_core.thermal.pipes import HEAT_CAPACITY_J_KGK
from uem.twin_core.thermal.units.compile import compile_unit
from uem.twin_core.thermal.units.dispatch import advance, wanted_flow


class Running:
    """One unit with its state and commands; results by name."""

    def __init__(self, unit):
        self.unit = unit
        self.rows = compile_unit(unit)
        self.state = self.rows.state.copy()
        self.command = self.rows.command.copy()

    def tell(self, **commands):
        for name, value in commands.items():
            self.command[self.rows.command_names.index(name)] = value
        return self

    def put(self, **state):
        for name, value in state.items():
            self.state[self.rows.state_names.index(name)] = value
        return self

    def now(self, name):
        return self.state[self.rows.state_names.index(name)]

    def flow(self, temp_in_k):
        return wanted_flow(self.rows.kind, self.rows.parameters, self.state, self.command, temp_in_k)

    def step(self, temp_in_k, flow_kg_s=None, dt_s=60.0):
        """Results of a step by name; with the flow that it asks for unless told."""
        flow = self.flow(temp_in_k) if flow_kg_s is None else flow_kg_s
        out = np.full(len(self.rows.result_names), np.nan)
        advance(self.rows.kind, self.rows.parameters, self.state, self.command, temp_in_k, flow * dt_s, dt_s, out)
        result = dict(zip(self.rows.result_names, out.tolist(), strict=True))
        assert all(np.isfinite(out)), result
        carried = abs(flow) * dt_s * HEAT_CAPACITY_J_KGK * (result["outlet_temp_k"] - temp_in_k)
        # Where rounding of a temperature weighs more than the heat itself, it decides.
        rounding = abs(flow) * dt_s * HEAT_CAPACITY_J_KGK * 1e-13 * temp_in_k
        assert abs(carried - result["heat_j"]) <= 1e-9 * abs(result["heat_j"]) + rounding
        return result


@pytest.fixture(scope="session")
def run():
    """Start a unit."""
    return Running
