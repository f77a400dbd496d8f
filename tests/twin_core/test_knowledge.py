"""What takes days to learn goes from one twin to the next, and a past that both have seen counts once."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput
from uem.twin_core.follow.learned import Learned
from uem.twin_core.knowledge import Knowledge
from uem.twin_core.measurements import Samples
from uem.twin_core.twin import make_twin

_SHOPS = runpy.run_path(str(Path(__file__).parent / "follow" / "shops.py"))
line, plant, samples, site = (_SHOPS[name] for name in ("line", "plant", "samples", "site"))
EPOCH_NS = _SHOPS["EPOCH_NS"]
HOUR_NS = 3600 * 10**9
BELIEFS = slice(0, 8)  # of the numbers of a machine
TRUTH = line(cycles_s=(50.0, 66.0, 55.0, 52.0), to_fail_s=3000.0, to_repair_s=600.0)
FOLLOWED = site(line(), forecast_horizon_s=3600.0, forecast_step_s=900.0)
LEFT_H, SEEN_AGAIN_H, END_H = 4.1, 1.4, 6.0


@pytest.fixture(scope="module")
def told():
    return samples(plant(TRUTH, seed=7, until_s=END_H * 3600.0)[0])


def between(told, begin_h, end_h):
    time_ns = told.source_time_ns - EPOCH_NS
    return told.take((time_ns > begin_h * HOUR_NS) & (time_ns <= end_h * HOUR_NS))


def begun(told, twin, begin_h, end_h):
    """All tags as they were at the beginning, then what came."""
    time_ns = EPOCH_NS + round(begin_h * HOUR_NS)
    before = {row[0]: row for row in told.rows() if row[1] <= time_ns}
    first = Samples.from_rows((tag, time_ns, value, quality) for tag, _, value, quality in before.values())
    twin.take(Samples.concatenate([first, between(told, begin_h, end_h)]))
    twin.advance()
    return twin


@pytest.fixture(scope="module")
def left(told):
    """The knowledge of a twin that ran for hours and ended."""
    return begun(told, make_twin(FOLLOWED), 0.0, LEFT_H).knowledge


def off(ours, theirs, numbers=slice(None)):
    """The largest difference of any number, over its own size."""
    names = [name for name in theirs if name.startswith("machine/")]
    return max(float(np.abs(ours[name][numbers] / theirs[name][numbers] - 1.0).max()) for name in names)


def test_knowledge_is_of_machines_and_bands(left):
    assert set(left.arrays) == {f"machine/{name}" for name in _SHOPS["NAMES"]} | {
        f"bands/{name}" for name in ("factor", "scale", "count")
    }
    assert left.arrays["bands/count"].max() >= 3
    assert EPOCH_NS + LEFT_H * HOUR_NS - 60e9 <= left.time_ns <= EPOCH_NS + LEFT_H * HOUR_NS


def test_a_twin_that_reads_the_last_hours_again_learns_nothing_of_them_twice(told, left):
    twin = make_twin(FOLLOWED)
    twin.recall(left)
    begun(told, twin, LEFT_H - SEEN_AGAIN_H, LEFT_H)
    assert twin.knowledge is left  # as long as its time has not passed
    twin.take(between(told, LEFT_H, LEFT_H + 0.05))  # no forecast of it is judged then
    twin.advance()
    assert twin.knowledge.time_ns > left.time_ns
    for name in ("factor", "scale", "count"):
        np.testing.assert_array_equal(twin.knowledge.arrays[f"bands/{name}"], left.arrays[f"bands/{name}"])
    assert off(twin.knowledge.arrays, left.arrays, slice(0, 3)) < 0.05  # cycles: three minutes more


def test_it_goes_on_nearly_as_one_that_was_never_stopped_and_one_that_knows_nothing_does_not(told, left):
    whole = begun(told, make_twin(FOLLOWED), 0.0, END_H)
    again, anew = make_twin(FOLLOWED), make_twin(FOLLOWED)
    again.recall(left)
    for twin in (again, anew):
        begun(told, twin, LEFT_H - SEEN_AGAIN_H, END_H)
    off_again, off_anew = (off(twin.knowledge.arrays, whole.knowledge.arrays, BELIEFS) for twin in (again, anew))
    print(off_again, off_anew)
    assert off_again < 0.02
    assert off_anew > 0.2


def test_evidence_of_drift_is_kept_but_of_an_alarm_that_was_given_the_newest_past_tells():
    prior = Learned.from_prior(line().machines[0], 10.0)
    first, *rest = prior.alarms
    evidence = replace(prior, alarms=(replace(first, longer=1.5, shorter=0.25), *rest), aged_s=70.0)
    assert prior.knowing(evidence.numbers()) == evidence
    given = replace(prior, alarms=(replace(first, longer=first.threshold), *rest))
    assert given.drifted == 1
    assert prior.knowing(given.numbers()) == prior
    assert given.knowing(given.numbers()) == given


def test_a_twin_that_begins_later_goes_on_from_what_was_known(told, left):
    twin = make_twin(FOLLOWED)
    twin.recall(left)
    begun(told, twin, LEFT_H + 1.0, LEFT_H + 1.001)
    machine = twin.knowledge.arrays["machine/saw"]
    np.testing.assert_allclose(machine[:4], left.arrays["machine/saw"][:4])  # the belief of its cycle
    assert machine[-1] < 60.0  # for how long it has been in order nobody saw
    assert twin.knowledge.time_ns > left.time_ns


def test_what_was_recalled_stays_when_the_plant_begins_anew(told, left):
    twin = make_twin(FOLLOWED)
    twin.recall(left)
    for _ in range(2):
        begun(told, twin, 0.0, 0.2)
    begun(told, twin, 0.0, LEFT_H + 0.1)
    assert twin.restart_count == 2
    assert twin.knowledge.arrays["bands/count"].max() > left.arrays["bands/count"].max()


def test_knowledge_of_others_is_refused(left):
    other = site(line(to_fail_s=7200.0), forecast_horizon_s=3600.0, forecast_step_s=900.0)
    longer = site(line(), forecast_horizon_s=7200.0, forecast_step_s=900.0)
    for twin in (make_twin(other), make_twin(longer)):
        with pytest.raises(InvalidInput, match="other signals, rules or machines"):
            twin.recall(left)
        assert twin.knowledge is None
    crews = replace(FOLLOWED, factory=replace(line(), calendars=()))  # nothing that is learned of
    make_twin(crews).recall(left)


@pytest.mark.parametrize("wrong", [np.ones(3), np.full(15, np.nan), -np.ones(15)])
def test_arrays_that_cannot_be_are_refused(left, wrong):
    with pytest.raises(InvalidInput):
        make_twin(FOLLOWED).recall(Knowledge(left.of, left.time_ns, {**left.arrays, "machine/saw": wrong}))
