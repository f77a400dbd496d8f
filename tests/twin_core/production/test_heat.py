"""Heat of factories: exact integrals over any spans, and no trace of having asked."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidTerritory, UnknownName
from uem.twin_core.plant.factory import FactorySite, HeatStream
from uem.twin_core.plant.furnace import Segment
from uem.twin_core.plant.production import Buffer, Factory, batch_furnace
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.production.plan import STATES, FactoryPlan

_LINES = runpy.run_path(str(Path(__file__).with_name("lines.py")))
factories = _LINES["factories"]
PLAIN = runpy.run_path(str(Path(__file__).with_name("furnaces.py")))["PLAIN"]


def warmed(factory):
    """The factory with powers that tell every machine and state apart."""
    machines = tuple(
        replace(m, power_w={state: 1e3 * (i + 1) + 37.0 * s for s, state in enumerate(STATES)})
        for i, m in enumerate(factory.machines)
    )
    return replace(factory, machines=machines)


def streams_of(factory):
    first = HeatStream(name="hot", shares={m.name: {"busy": 0.5, "starved": 0.25} for m in factory.machines})
    rest = {state: {"busy": 0.5, "starved": 0.75}.get(state, 1.0) for state in STATES}
    return (first, HeatStream(name="rest", shares={m.name: rest for m in factory.machines}))


moments = st.lists(st.floats(0.0, 200.0), max_size=12).map(sorted)


@settings(max_examples=60, deadline=None)
@given(factory=factories(), seed=st.integers(0, 2**32), asked=moments)
def test_spans_add_up_to_the_whole_and_to_the_ledger_and_asking_leaves_no_trace(factory, seed, asked):
    factory = warmed(factory)
    plan = FactoryPlan(factory)
    meter = HeatMeter(plan, streams_of(factory))
    quiet, run = plan.initial_run(seed=seed), plan.initial_run(seed=seed)
    whole = meter.advance(quiet, 200.0)
    parts = [meter.advance(run, moment) for moment in [*asked, 200.0]]
    np.testing.assert_array_equal(run.block, quiet.block)
    assert (np.array(parts) >= -1e-9).all()
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-12)
    # All shares of a machine add up to 1 here, so the streams hold all the energy.
    np.testing.assert_allclose(whole.sum(), plan.ledger(quiet).energy_j.sum(), rtol=1e-9)


def test_a_span_within_one_state_is_power_times_time():
    line = _LINES["series"]([_LINES["deterministic"](10.0), _LINES["deterministic"](10.0)], [2])
    plan = FactoryPlan(warmed(line))
    meter = HeatMeter(plan, [HeatStream(name="m0", shares={"m0": {"busy": 0.5}})])
    run = plan.initial_run()
    meter.advance(run, 3.0)
    busy_w = 1e3 + 37.0 * STATES.index("busy")
    assert meter.advance(run, 7.5) == pytest.approx([0.5 * busy_w * 4.5], rel=1e-14)


def test_unknown_machines_and_states_are_named():
    plan = FactoryPlan(_LINES["series"]([_LINES["deterministic"](1.0)], []))
    with pytest.raises(UnknownName, match="m9"):
        HeatMeter(plan, [HeatStream(name="h", shares={"m9": {"busy": 1.0}})])
    with pytest.raises(UnknownName, match="bussy"):
        HeatMeter(plan, [HeatStream(name="h", shares={"m0": {"bussy": 1.0}})])


def test_the_heat_of_a_furnace_above_a_level_goes_into_a_stream():
    furnace = replace(
        PLAIN,
        recipe=(Segment(to_k=900.0, duration_s=3000.0), Segment(to_k=600.0, duration_s=2000.0, cooling=True)),
        heating="fuel",
        fumes_kg_per_j=4e-7,
        cooling_w_per_k=500.0,
        levels_k=(333.15, 428.15),
    )
    machine = batch_furnace("kiln", furnace, takes=("in",), batch=(5, 5), power_w={"busy": 1e3})
    factory = Factory(machines=(machine,), buffers=(Buffer(name="in", initial=50),))
    plan = FactoryPlan(factory)
    stream = HeatStream(name="fumes", shares={"kiln": {"busy": 0.5}}, furnaces={"kiln": 333.15})
    meter = HeatMeter(plan, [stream])
    run, quiet = plan.initial_run(), plan.initial_run()
    parts = [meter.advance(run, moment)[0] for moment in np.linspace(17.0, 20_000.0, 99)]
    whole = meter.advance(quiet, 20_000.0)[0]
    found = plan.ledger(quiet).furnaces
    assert whole == pytest.approx(found.above_j("kiln", 333.15)[0] + 0.5 * 1e3 * 20_000.0, rel=1e-12)
    assert sum(parts) == pytest.approx(whole, rel=1e-12)
    np.testing.assert_array_equal(run.block, quiet.block)
    with pytest.raises(UnknownName, match="oven"):
        HeatMeter(plan, [HeatStream(name="h", shares={}, furnaces={"oven": 333.15})])
    for heat, said in (
        ((replace(stream, furnaces={"oven": 333.15}),), "furnaces are kiln"),
        ((replace(stream, furnaces={"kiln": 300.0}),), "give it this level"),
        ((stream, replace(stream, name="more", shares={})), "goes to fumes already"),
    ):
        with pytest.raises(InvalidTerritory, match=said):
            FactorySite(factory=factory, heat=heat)
    # Electricity for its heating is in the energy by state, so that shares of it and fumes would be told twice.
    electric = replace(furnace, heating="electric", fumes_kg_per_j=0.0)
    oven = replace(factory, machines=(replace(machine, furnace=electric),))
    with pytest.raises(InvalidTerritory, match="electricity of furnace kiln is shared out already"):
        FactorySite(factory=oven, heat=(stream,))
    FactorySite(factory=oven, heat=(replace(stream, shares={}),))
