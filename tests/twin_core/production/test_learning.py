"""Learning of times: what is learned from drawn times, how sure it says it is, and when the alarm comes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from uem.twin_core.errors import InvalidInput, NotReady
from uem.twin_core.production.learning import (
    DriftAlarm,
    ExponentialBelief,
    LognormalBelief,
    MachineBelief,
    Spell,
    gamma_below,
    gamma_quantile,
)

HANDBOOK = MachineBelief(
    failure=ExponentialBelief.from_mean(6000.0, worth=3.0),
    repair=ExponentialBelief.from_mean(600.0, worth=3.0),
    cycle=LognormalBelief.from_mean(60.0, scv=0.01, worth=10.0),
)


@given(st.floats(0.3, 3000.0), st.floats(1e-4, 0.9999))
def test_the_gamma_law_is_that_of_scipy(shape, probability):
    x = stats.gamma.ppf(probability, shape)
    assert gamma_quantile(shape, probability) == pytest.approx(x, rel=1e-9)
    assert gamma_below(shape, x) == pytest.approx(stats.gamma.cdf(x, shape), rel=1e-10)


def test_before_anything_is_seen_the_handbook_stands():
    assert HANDBOOK.failure.mean_s == pytest.approx(6000.0)
    assert (HANDBOOK.cycle.mean_s, HANDBOOK.cycle.scv) == pytest.approx((60.0, 0.01))
    assert HANDBOOK.availability == pytest.approx(6000.0 / 6600.0)
    assert HANDBOOK.after([]) == HANDBOOK


def test_one_failure_counts_as_one_beside_what_the_handbook_is_worth():
    learned = HANDBOOK.after([Spell("busy", 2000.0), Spell("down", 1000.0)])
    assert learned.failure.mean_s == pytest.approx((3 * 6000.0 + 2000.0) / 4)
    assert learned.repair.mean_s == pytest.approx((3 * 600.0 + 1000.0) / 4)


def test_a_spell_that_goes_on_and_time_that_is_no_work_are_not_counted_as_events():
    learned = HANDBOOK.after([Spell("busy", 2000.0), Spell("starved", 9e9), Spell("down", 1000.0, ended=False)])
    assert learned.failure.mean_s == pytest.approx((3 * 6000.0 + 2000.0) / 4)
    assert learned.repair.mean_s == pytest.approx((3 * 600.0 + 1000.0) / 3)


def test_from_many_spells_the_true_times_are_learned_whatever_the_handbook_said():
    rng = np.random.default_rng(0)
    spells = []
    for _ in range(4000):
        spells += [Spell("busy", rng.exponential(2000.0)), Spell("down", rng.exponential(300.0)), Spell("idle", 5.0)]
    learned = HANDBOOK.after(spells, rng.lognormal(math.log(50.0), 0.2, 4000))
    assert learned.failure.mean_s == pytest.approx(2000.0, rel=0.06)
    assert learned.repair.mean_s == pytest.approx(300.0, rel=0.06)
    assert learned.cycle.mean_s == pytest.approx(50.0 * math.exp(0.02), rel=0.02)
    assert learned.cycle.scv == pytest.approx(math.expm1(0.04), rel=0.1)


def test_told_at_once_or_one_by_one_it_is_the_same():
    times = np.random.default_rng(1).lognormal(4.0, 0.3, 50)
    one_by_one = HANDBOOK.cycle
    for time in times:
        one_by_one = one_by_one.after([time])
    at_once = HANDBOOK.cycle.after(times)
    for name in ("log_mean", "worth", "shape", "scale"):
        assert getattr(one_by_one, name) == pytest.approx(getattr(at_once, name), rel=1e-12)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        truth = 1.0 / rng.gamma(4.0, 1.0 / 18_000.0)  # machines as the belief expects them
        belief = HANDBOOK.failure.after(5, float(rng.exponential(truth, 5).sum()))
        low, high = belief.interval_s(0.8)
        held += low <= truth <= high
    assert held == pytest.approx(800, abs=4 * math.sqrt(1000 * 0.8 * 0.2))


def test_drawn_times_scatter_as_the_interval_says():
    rng = np.random.default_rng(3)
    drawn = HANDBOOK.failure.drawn_s(rng, 40_000)
    low, high = HANDBOOK.failure.interval_s(0.9)
    assert np.mean((drawn >= low) & (drawn <= high)) == pytest.approx(0.9, abs=0.01)
    mean, scv = HANDBOOK.cycle.after([60.0] * 1000).drawn(rng, 1000)
    assert mean.std() < 0.2
    assert (scv > 0).all()


def test_what_is_faded_keeps_its_mean_and_learns_faster():
    old = HANDBOOK.after([Spell("busy", 6000.0), Spell("down", 600.0)] * 500, [60.0] * 500)
    faded = old.faded(20.0)
    assert faded.failure.mean_s == pytest.approx(old.failure.mean_s)
    assert (faded.cycle.mean_s, faded.cycle.scv) == pytest.approx((old.cycle.mean_s, old.cycle.scv))
    news = [Spell("busy", 1000.0), Spell("down", 600.0)] * 20
    assert faded.after(news).failure.mean_s < 4000.0 < old.after(news).failure.mean_s
    assert HANDBOOK.faded(1e9) == HANDBOOK


@pytest.mark.parametrize("log_sd", [None, 0.25])
def test_false_alarms_are_as_rare_as_promised(log_sd):
    rng = np.random.default_rng(4)
    alarm = DriftAlarm(mean_s=60.0, log_sd=log_sd, factor=1.5, events_between_false_alarms=200.0)
    assert mean_run(alarm, lambda n: times(rng, 60.0, log_sd, n), 60) >= 200.0


@pytest.mark.parametrize("log_sd", [None, 0.25])
@pytest.mark.parametrize(("drift", "word"), [(1.5, "longer"), (1 / 1.5, "shorter")])
def test_a_drift_is_told_soon_and_by_its_name(log_sd, drift, word):
    """On average within log(threshold) over the information of one event, and some (Lorden 1971)."""
    rng = np.random.default_rng(5)
    alarm = DriftAlarm(mean_s=60.0, log_sd=log_sd, factor=1.5, events_between_false_alarms=1000.0)
    information = drift - 1 - math.log(drift) if log_sd is None else 0.5 * (math.log(1.5) / log_sd) ** 2
    assert mean_run(alarm, lambda n: times(rng, 60.0 * drift, log_sd, n), 100) < 1.6 * alarm.threshold / information + 3
    assert alarm.after(times(rng, 60.0 * drift, log_sd, 1000)).drifted == word


def times(rng, mean, log_sd, n):
    return rng.exponential(mean, n) if log_sd is None else rng.lognormal(math.log(mean) - log_sd**2 / 2, log_sd, n)


def mean_run(alarm, draw, runs):
    """Mean number of events up to the alarm."""
    lengths = []
    for _ in range(runs):
        now, n = alarm, 0
        while not now.drifted:
            now = now.after(draw(1))
            n += 1
        lengths.append(n)
    return float(np.mean(lengths))


def test_the_alarm_stays_and_starts_anew_from_a_belief():
    alarm = DriftAlarm.of_exponential(HANDBOOK.repair, factor=2.0).after([6000.0] * 50)
    assert alarm.drifted == "longer"
    assert alarm.after([1.0] * 50) == alarm
    assert not DriftAlarm.of_lognormal(HANDBOOK.cycle, factor=1.2).drifted


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ExponentialBelief.from_mean(0.0, 1.0), "mean_s"),
        (lambda: ExponentialBelief.from_mean(1.0, -1.0), "worth"),
        (lambda: HANDBOOK.failure.after(-1, 0.0), "negative"),
        (lambda: HANDBOOK.failure.after(1, math.nan), "negative"),
        (lambda: HANDBOOK.failure.interval_s(1.0), "between 0 and 1"),
        (lambda: HANDBOOK.failure.faded(0.0), "worth"),
        (lambda: LognormalBelief.from_mean(1.0, 0.0, 1.0), "scv"),
        (lambda: HANDBOOK.cycle.after([0.0]), "positive"),
        (lambda: HANDBOOK.cycle.after([[1.0]]), "one row"),
        (lambda: HANDBOOK.after([Spell("busy", -1.0)]), "negative"),
        (lambda: DriftAlarm(mean_s=60.0, factor=1.0), "above 1"),
        (lambda: DriftAlarm(mean_s=60.0, log_sd=0.0), "log_sd"),
        (lambda: DriftAlarm(mean_s=60.0, events_between_false_alarms=0.0), "at least 1"),
        (lambda: DriftAlarm(mean_s=60.0).after([-1.0]), "positive"),
        (lambda: DriftAlarm(mean_s=60.0, log_sd=0.1).after([0.0]), "positive"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


def test_a_belief_worth_nothing_has_no_mean():
    with pytest.raises(NotReady, match="no mean time"):
        _ = ExponentialBelief(events=0.5, exposure_s=10.0).mean_s
    with pytest.raises(NotReady, match="no variance"):
        _ = LognormalBelief(log_mean=0.0, worth=1.0, shape=0.5, scale=1.0).mean_s
