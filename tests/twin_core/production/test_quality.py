"""Flaws that nobody sees, inspections whose results come later, and whom they count for."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.production import (
    Buffer,
    Factory,
    Failure,
    Inspection,
    Machine,
    Order,
    deterministic,
    exponential,
    order_book,
    source,
)
from uem.twin_core.production.plan import FactoryPlan

z = runpy.run_path(str(Path(__file__).with_name("lines.py")))["z"]


def test_results_that_come_while_a_part_is_on_its_way_find_as_many_as_they_should():
    """M/M/inf behind the inspection: the part is still there after the delay with probability exp(-delay / mean)."""
    p, finds, delay_s, mean_s, rate = 0.3, 0.8, 4.0, 5.0, 1.0
    press = replace(
        source("press", exponential(1 / rate), ("b",)),
        defects=p,
        inspection=Inspection(finds=finds, false_alarms=0.1, delay_s=delay_s),
    )
    factory = Factory(
        machines=(press, Machine(name="oven", cycle=exponential(mean_s), takes=("b",), slots=40)),
        buffers=(Buffer(name="b"),),
    )
    found = FactoryPlan(factory).replicate(200, 2_100.0, warmup_s=100.0)
    in_time = math.exp(-delay_s / mean_s)
    quality = found.quality
    assert abs(z(quality.flawed[:, 0] / 2_000.0, rate * p)) < 4
    assert abs(z(quality.found[:, 0] / 2_000.0, rate * p * finds * in_time)) < 4
    assert abs(z(quality.escaped[:, 0] / 2_000.0, rate * p * (1 - finds * in_time))) < 4
    assert abs(z(quality.false_alarms[:, 0] / 2_000.0, rate * (1 - p) * 0.1 * in_time)) < 4
    np.testing.assert_allclose(quality.until_known_s[:, 0], delay_s)
    assert (found.scrapped[:, 1] + found.delivered[:, 1] == found.made[:, 1]).all()
    assert (quality.flawed[:, 1] == 0).all()
    assert (found.scrapped[:, 0] == 0).all()


def line(delay_s, *, last_s=1.0, **fields):
    """Every part of the saw is flawed; the gate inspects, then a store of 10 s, then the last machine."""
    return Factory(
        machines=(
            Machine(name="saw", cycle=deterministic(2.0), gives=("a",), defects=1.0),
            Machine(
                name="gate",
                cycle=deterministic(1.0),
                takes=("a",),
                gives=("b",),
                inspection=Inspection(delay_s=delay_s),
            ),
            Machine(name="last", cycle=deterministic(last_s), takes=("b",), **fields),
        ),
        buffers=(Buffer(name="a"), Buffer(name="b", delay_s=10.0), Buffer(name="bad")),
    )


@pytest.mark.parametrize(
    ("delay_s", "where"), [(0.0, "gate"), (9.0, "refused"), (10.0, "refused"), (10.5, "last"), (11.5, "escaped")]
)
def test_a_bad_part_is_taken_out_by_whoever_takes_or_finishes_it_next(delay_s, where):
    """The first part leaves the saw at 2 s and the gate at 3 s, is taken at 13 s and finished at 14 s."""
    plan = FactoryPlan(line(delay_s))
    run = plan.initial_run()
    plan.run(run, 14.5)
    found = plan.ledger(run)
    quality = found.quality
    assert quality.flawed[0].tolist() == [7, 0, 0]
    assert quality.escaped[0].tolist() == [int(where == "escaped"), 0, 0]
    taken_out = {"gate": 6, "refused": 1, "last": 1, "escaped": 0}[where]
    assert quality.found[0].tolist() == [taken_out, 0, 0]
    assert quality.refused[0].tolist() == [0, 0, int(where == "refused")]
    assert found.scrapped[0].tolist() == [0, 6 if where == "gate" else 0, int(where == "last")]
    if taken_out:
        assert quality.until_known_s[0, 0] == pytest.approx(1.0 + delay_s)
    assert found.made[0, 2] == int(where in ("last", "escaped"))


@pytest.mark.parametrize(("delay_s", "until_known_s"), [(10.5, 0.0), (11.5, 0.5)])
def test_no_result_is_known_before_the_flaw_that_it_finds(delay_s, until_known_s):
    """All results are false alarms of sound parts; the last machine makes the first part flawed at 14 s."""
    base = line(delay_s, defects=1.0)
    saw, gate, last = base.machines
    alarmed = replace(gate, inspection=Inspection(false_alarms=1.0, delay_s=delay_s))
    after = Machine(name="after", cycle=deterministic(1.0), takes=("c",))
    machines = (replace(saw, defects=0.0), alarmed, replace(last, gives=("c",)), after)
    plan = FactoryPlan(replace(base, machines=machines, buffers=(*base.buffers, Buffer(name="c", delay_s=2.0))))
    run = plan.initial_run()
    plan.run(run, 16.05)
    quality = plan.ledger(run).quality
    assert quality.found[0, 2] > 0
    assert quality.false_alarms.sum() == 0
    assert quality.until_known_s[0, 2] == pytest.approx(until_known_s)


@pytest.mark.parametrize("delay_s", [9.0, 10.5])
def test_bad_parts_are_worked_over_where_there_is_an_output_for_them(delay_s):
    base = line(delay_s, rejects="bad")
    rework = Machine(name="rework", cycle=deterministic(3.0), takes=("bad",))
    plan = FactoryPlan(replace(base, machines=(*base.machines, rework)))
    run = plan.initial_run()
    plan.run(run, 14.5 + 3.0)
    found = plan.ledger(run)
    assert found.delivered[0].tolist() == [0, 0, 0, 1]
    assert found.quality.found[0, 0] >= 1
    assert found.quality.escaped.sum() == 0  # what was worked over is sound
    assert found.scrapped.sum() == 0


def test_orders_are_finished_with_what_is_left_of_them():
    book = replace(
        order_book("book", (Order(name="o", product="p", quantity=4),), ("a",), between=deterministic(1.0)), defects=0.5
    )
    check = Machine(name="check", cycle=deterministic(1.0), takes=("a",), inspection=Inspection())
    plan = FactoryPlan(Factory(machines=(book, check), buffers=(Buffer(name="a"),)))
    found = plan.replicate(200, 20.0)
    assert (found.order_finished_s == 5.0).all()
    assert (found.output + found.scrapped[:, 1] == 4).all()
    assert (found.scrapped[:, 1] == found.quality.found[:, 0]).all()
    assert abs(z(found.scrapped[:, 1], 2.0)) < 4


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_flawed_parts_and_parts_are_conserved(data, seed):
    def some(name):
        inspection = data.draw(
            st.one_of(
                st.none(),
                st.builds(
                    Inspection,
                    finds=st.sampled_from([0.5, 1.0]),
                    false_alarms=st.sampled_from([0.0, 0.2]),
                    delay_s=st.sampled_from([0.0, 1.0, 6.0]),
                ),
            )
        )
        return {"name": name, "inspection": inspection, "defects": data.draw(st.sampled_from([0.0, 0.3]))}

    broken = (Failure(to_fail=exponential(15.0), to_repair=exponential(2.0)),)
    capacity = data.draw(st.sampled_from([0, 2, None]))
    factory = Factory(
        machines=(
            Machine(cycle=exponential(1.0), gives=("a",), scrap=0.1, **some("saw")),
            Machine(cycle=exponential(0.8), gives=("side",), **some("press")),
            Machine(
                cycle=exponential(1.0),
                takes=("a",),
                gives=("b",),
                batch=data.draw(st.sampled_from([(1, 1), (1, 3)])),
                rejects=data.draw(st.sampled_from([None, "again"])),
                failures=broken,
                **some("mill"),
            ),
            Machine(cycle=exponential(1.5), takes=("again",), gives=("b",), **some("rework")),
            Machine(cycle=exponential(0.7), takes=("b", "side"), **some("assembly")),
        ),
        buffers=(
            Buffer(name="a", capacity=capacity),
            Buffer(name="b", capacity=3, **data.draw(st.sampled_from([{}, {"delay_s": 2.0}, {"longest_s": 4.0}]))),
            Buffer(name="side", capacity=2),
            Buffer(name="again", capacity=1),
        ),
        follows=True,
    )
    plan = FactoryPlan(factory)
    run, other = plan.initial_run(seed=seed), plan.initial_run(seed=seed)
    plan.run(run, 300.0)
    plan.run(other, 123.0)
    other = plan.copy(other)
    plan.run(other, 300.0)
    assert run.block.tobytes() == other.block.tobytes()
    found, view = plan.ledger(run), run.view
    quality = found.quality
    np.testing.assert_allclose(found.time_s.sum(axis=2)[0], 300.0, rtol=1e-9)
    inside, n_inside = np.zeros(5, int), 0
    for first in [*view["queue"]["first"], *view["held"]["first"]]:
        p = first
        while p >= 0:
            part = view["part"][p]
            if part["flaw"] >= 0:
                inside[part["flaw"]] += 1
            n_inside += 1
            p = part["next"]
    assert (quality.flawed[0] == quality.found[0] + quality.escaped[0] + quality.gone[0] + inside).all()
    thrown = found.scrapped[0].sum() + found.aged[0].sum() + _refused_for_good(factory, quality)
    held = (view["held"]["first"][:2] >= 0) & (view["server"]["phase"][:2] < 3)  # begun, not made yet
    began = found.made[0, :2].sum() + held.sum()
    # An assembly turns two parts into one when it takes them; a finished one that is thrown away counts once.
    assemblies = found.made[0, 4] + (view["server"]["phase"][4] > 0) + quality.refused[0, 4]
    assert began - assemblies == found.output[0] + thrown + n_inside


def _refused_for_good(factory, quality):
    thrown = [machine.rejects is None for machine in factory.machines]
    return int(quality.refused[0][thrown].sum())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"defects": 1.5}, "defects 1.5"),
        ({"inspection": Inspection(finds=2.0)}, "within 0 and 1"),
        ({"inspection": Inspection(delay_s=math.inf)}, "finite"),
        ({"rejects": "nowhere"}, "nowhere"),
        ({"rejects": "b"}, "one of their own"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(fields, said):
    machine = Machine(name="m", cycle=exponential(1.0), gives=("b",), **fields)
    with pytest.raises(InvalidTerritory, match=said):
        Factory(machines=(machine,), buffers=(Buffer(name="b"),))
