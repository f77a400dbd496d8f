"""How long the parts of a step may be: a choice between speed and fronts, not between right and wrong."""

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe, PipeClass
from uem.twin_core.thermal.network import NetworkPlan

STEEL = PipeClass(
    name="steel",
    inner_diameter_m=0.08,
    outer_diameter_m=0.086,
    wall_density_kg_m3=7800.0,
    wall_heat_capacity_j_kgk=480.0,
    loss_resistance_mk_w=3.0,
)
STREET = Network(
    name="street",
    ambient_temperature_tag="ground",
    nodes=(
        Node(name="plant", kind=NodeKind.SOURCE, temperature_tag="supply"),
        *(Node(name=f"house {i}", kind=NodeKind.CONSUMER, flow_tag=f"flow/{i}") for i in range(6)),
    ),
    pipes=tuple(
        Pipe(
            name=f"p{i}",
            start=f"house {i - 1}" if i else "plant",
            end=f"house {i}",
            length_m=60.0,
            pipe_class="steel",
        )
        for i in range(6)
    ),
    pipe_classes=(STEEL,),
)


def driven(rows, **options):
    plan = NetworkPlan(STREET, **options)
    inputs, state = plan.inputs(), plan.initial_state(330.0)
    inputs.node_demand_kg_s[1:] = 0.2
    inputs.ambient_temp_k[:] = 283.15
    temps = []
    for supply_k in rows:
        inputs.node_supply_temp_k[:] = supply_k
        plan.step(state, 900.0, inputs)
        gap = state.energy_in_j - state.energy_out_j - state.energy_loss_j - state.energy_stored_change_j
        assert abs(gap[0]) <= 1e-9 * state.energy_in_j[0]
        temps.append(state.node_temp_k[:, 0].copy())
    return np.array(temps)


@pytest.mark.parametrize("fidelity", ["full", "planning"])
def test_longer_parts_of_a_step_keep_energy_and_the_steady_state(fidelity):
    usual, long = (driven([350.0] * 40, fidelity=fidelity, inner_step_s=part) for part in (60.0, 900.0))
    np.testing.assert_allclose(long[-1], usual[-1], rtol=0, atol=2e-3)
    assert np.abs(long - usual).max() < 6.0  # of a front of 20 K, whose arrival is known to a part


def test_a_step_that_is_no_longer_than_its_parts_is_the_same_whatever_they_are():
    rows = [345.0, 350.0, 340.0]
    np.testing.assert_array_equal(driven(rows, inner_step_s=900.0), driven(rows, inner_step_s=5000.0))


@pytest.mark.parametrize(
    ("fidelity", "dt_s", "parts"),
    [
        ("full", 1.0, 1),
        ("full", 60.0, 12),
        ("full", 900.0, 180),
        ("full", 1800.0, 180),
        ("full", 86_400.0, 1440),
        ("planning", 60.0, 1),
        ("planning", 900.0, 15),
    ],
)
def test_steps_are_cut_into_parts_of_5_s_and_where_they_are_long_of_up_to_60_s(fidelity, dt_s, parts):
    assert NetworkPlan(STREET, fidelity=fidelity).parts(dt_s) == parts


@pytest.mark.parametrize("part", [0.0, -1.0, float("nan"), float("inf")])
def test_parts_of_no_length_are_refused(part):
    with pytest.raises(InvalidInput, match="inner step"):
        NetworkPlan(STREET, inner_step_s=part)
