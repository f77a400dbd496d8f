"""Wear by stages, jobs on condition and crews by skill: Markov chains solved exactly, and the order of events."""

import runpy
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.errors import InvalidInput, InvalidTerritory
from uem.twin_core.plant.production import (
    Buffer,
    Calendar,
    Crew,
    Degradation,
    Factory,
    Failure,
    Machine,
    Sleep,
    deterministic,
    exponential,
    source,
)
from uem.twin_core.production.instant import instant_answer
from uem.twin_core.production.lines import Tandem
from uem.twin_core.production.plan import STATES, FactoryPlan

z = runpy.run_path(str(Path(__file__).with_name("lines.py")))["z"]


def stationary(start, moves):
    """Probabilities of a Markov chain; `moves(state)` yields (rate, next state)."""
    states, rates, at = {start: 0}, defaultdict(float), [start]
    for state in at:
        for rate, after in moves(state):
            if after not in states:
                states[after] = len(states)
                at.append(after)
            rates[states[state], states[after]] += rate
    n = len(states)
    q = np.zeros((n, n))
    for (i, j), rate in rates.items():
        q[i, j] += rate
        q[i, i] -= rate
    found = np.linalg.lstsq(np.vstack([q.T, np.ones(n)]), np.append(np.zeros(n), 1.0), rcond=None)[0]
    return dict(zip(states, found, strict=True))


def share(probabilities, of):
    return sum(p * of(state) for state, p in probabilities.items())


STAGES = (30.0, 20.0, 10.0)
MU, REPAIR, MAINTAIN = 1.0, 1 / 12.0, 1 / 3.0
WEAR = Degradation(
    stages=tuple(exponential(mean) for mean in STAGES),
    to_repair=exponential(1 / REPAIR),
    threshold=1,
    to_maintain=exponential(1 / MAINTAIN),
)


@pytest.mark.parametrize("threshold", [1, 2, None])
def test_a_worn_machine_is_the_markov_chain(threshold):
    """W0, W1, W2 at work, M in maintenance, R in repair; a job begins at the end of a cycle."""

    def moves(state):
        if state == "M":
            yield MAINTAIN, 0
        elif state == "R":
            yield REPAIR, 0
        else:
            yield 1 / STAGES[state], state + 1 if state < 2 else "R"
            if threshold is not None and state >= threshold:
                yield MU, "M"

    exact = stationary(0, moves)
    job = exponential(1 / MAINTAIN) if threshold is not None else None
    wear = Degradation(stages=WEAR.stages, to_repair=WEAR.to_repair, threshold=threshold, to_maintain=job)
    machine = Machine(name="m", cycle=exponential(1 / MU), degradations=(wear,))
    found = FactoryPlan(Factory(machines=(machine,))).replicate(400, 3_000.0, warmup_s=300.0)
    works = share(exact, lambda s: isinstance(s, int))
    assert abs(z(found.throughput[:, 0], MU * works)) < 4
    for state, name in (("M", "maintenance"), ("R", "down")):
        if state in exact:
            assert abs(z(found.share(name)[:, 0], exact[state])) < 4, name
    assert abs(z(found.failures[:, 0] / 2_700.0, REPAIR * exact["R"])) < 4
    if threshold is None:
        assert (found.maintained == 0).all()
    else:
        assert abs(z(found.maintained[:, 0] / 2_700.0, MAINTAIN * exact["M"])) < 4


def test_two_worn_machines_share_a_worker_who_is_asked_only_while_free():
    """Q waits for the worker after a failure; a machine on condition works on while the worker is busy."""

    def moves(state):
        for k in range(2):
            mine, other = state[k], state[1 - k]
            to = lambda a, b, k=k: (a, b) if k == 0 else (b, a)  # noqa: E731
            taken = other in ("M", "R")
            if mine in ("M", "R"):
                yield MAINTAIN if mine == "M" else REPAIR, to(0, "R" if other == "Q" else other)
            elif mine != "Q":
                yield 1 / STAGES[mine], to(mine + 1 if mine < 2 else "Q" if taken else "R", other)
                if mine >= 1 and not taken:
                    yield MU, to("M", other)

    exact = stationary((0, 0), moves)
    wear = Degradation(
        stages=WEAR.stages, to_repair=WEAR.to_repair, threshold=1, to_maintain=WEAR.to_maintain, crews=("crew",)
    )
    machines = tuple(Machine(name=n, cycle=exponential(1 / MU), degradations=(wear,)) for n in "ab")
    plan = FactoryPlan(Factory(machines=machines, crews=(Crew(name="crew"),)))
    found = plan.replicate(400, 3_000.0, warmup_s=300.0)
    for state, names in (("M", ("maintenance",)), ("R", ("down",)), ("Q", ("waiting_for_crew",))):
        sampled = sum(found.share(name).sum(axis=1) for name in names)
        assert abs(z(sampled, share(exact, lambda s, x=state: s.count(x)))) < 4, state
    works = share(exact, lambda s: sum(isinstance(x, int) for x in s))
    assert abs(z(found.throughput.sum(axis=1), MU * works)) < 4


@pytest.mark.parametrize("priority", [0, 1])
def test_crews_serve_what_they_have_the_skill_for(priority):
    """Three machines, two kinds of failure, a fitter for one of them and an all-rounder for both."""
    rates, repair = {"mechanic": 1 / 20.0, "electric": 1 / 30.0}, {"mechanic": 1 / 6.0, "electric": 1 / 9.0}
    can = (("mechanic",), ("electric", "mechanic"))

    def moves(state):
        jobs, queue = state
        down = len(queue) + sum(job is not None for job in jobs)
        for mode, rate in rates.items():
            if down == 3:
                break
            free = next((c for c in range(2) if jobs[c] is None and mode in can[c]), None)
            if free is None:
                yield (3 - down) * rate, (jobs, (*queue, mode))
            else:
                yield (3 - down) * rate, ((*jobs[:free], mode, *jobs[free + 1 :]), queue)
        for c in range(2):
            if jobs[c] is None:
                continue
            fit = [k for k, mode in enumerate(queue) if mode in can[c]]
            best = min(fit, key=lambda k: (queue[k] != "electric" if priority else 0, k), default=None)
            job = None if best is None else queue[best]
            rest = queue if best is None else queue[:best] + queue[best + 1 :]
            yield repair[jobs[c]], ((*jobs[:c], job, *jobs[c + 1 :]), rest)

    exact = stationary(((None, None), ()), moves)
    failures = tuple(
        Failure(
            to_fail=exponential(1 / rates[mode]),
            to_repair=exponential(1 / repair[mode]),
            skill=mode,
            priority=priority if mode == "electric" else 0,
        )
        for mode in rates
    )
    machines = tuple(Machine(name=n, cycle=exponential(1.0), failures=failures) for n in "abc")
    crews = (Crew(name="fitter", skills=("mechanic",)), Crew(name="all-rounder", skills=("electric", "mechanic")))
    found = FactoryPlan(Factory(machines=machines, crews=crews)).replicate(400, 3_000.0, warmup_s=300.0)
    waiting = share(exact, lambda s: len(s[1]))
    down = share(exact, lambda s: sum(job is not None for job in s[0]))
    assert abs(z(found.share("waiting_for_crew").sum(axis=1), waiting)) < 4
    assert abs(z(found.share("down").sum(axis=1), down)) < 4


def test_crews_told_by_skill_are_those_told_by_name():
    def line(**job):
        failure = Failure(to_fail=exponential(20.0), to_repair=exponential(5.0), **job)
        machines = tuple(Machine(name=n, cycle=exponential(1.0), failures=(failure,)) for n in "abc")
        return Factory(machines=machines, crews=(Crew(name="x"), Crew(name="y", skills=("s",))))

    by_name, by_skill = (FactoryPlan(line(**job)).initial_run(seed=5) for job in ({"crews": ("y",)}, {"skill": "s"}))
    FactoryPlan(line(crews=("y",))).run(by_name, 5_000.0)
    FactoryPlan(line(skill="s")).run(by_skill, 5_000.0)
    assert by_name.block.tobytes() == by_skill.block.tobytes()


# ---- conventions ----


def times(found, state, machine=0):
    return found.time_s[0, machine, STATES.index(state)]


def test_a_job_waits_for_the_end_of_the_cycle_and_for_a_worker():
    """Worn at 10 s, the worker at the other machine from 5 to 33 s, cycles of 4 s: the job begins at 36 s."""
    wear = Degradation(
        stages=(deterministic(10.0), deterministic(100.0)),
        to_repair=deterministic(50.0),
        threshold=1,
        to_maintain=deterministic(7.0),
        crews=("crew",),
    )
    broken = Failure(to_fail=deterministic(5.0), to_repair=deterministic(28.0), crews=("crew",))
    factory = Factory(
        machines=(
            Machine(name="worn", cycle=deterministic(4.0), degradations=(wear,)),
            Machine(name="broken", cycle=deterministic(1000.0), failures=(broken,)),
        ),
        crews=(Crew(name="crew"),),
    )
    plan = FactoryPlan(factory)
    run = plan.initial_run()
    plan.run(run, 35.9)
    assert times(plan.ledger(run), "busy") == pytest.approx(35.9)
    assert run.view["mode"]["stage"][0] == 1
    plan.run(run, 43.1)  # worked 36 s, maintained 7 s, works again
    found = plan.ledger(run)
    assert times(found, "maintenance") == pytest.approx(7.0)
    assert times(found, "busy") == pytest.approx(36.1)
    assert found.maintained[0].tolist() == [1, 0]
    assert run.view["mode"]["stage"][0] == 0
    assert found.failures[0].tolist() == [0, 2]  # again after 5 s of work, at 38 s: it waits
    assert times(found, "waiting_for_crew", 1) == pytest.approx(5.0)


def test_an_idle_machine_is_maintained_as_soon_as_it_asks_or_a_worker_comes():
    wear = Degradation(
        stages=(deterministic(10.0), deterministic(1e6)),
        to_repair=deterministic(1.0),
        kind="calendar",
        threshold=1,
        to_maintain=deterministic(2.0),
        crews=("crew",),
    )
    for calendar, begin, sleep in ((None, 10.0, None), ("late", 25.0, None), ("late", 25.0, 20.0), (None, 10.0, 3.0)):
        factory = Factory(
            machines=(
                source("parts", deterministic(1000.0), ("in",)),
                Machine(
                    name="m",
                    cycle=deterministic(1.0),
                    takes=("in",),
                    degradations=(wear,),
                    sleep=sleep and Sleep(after_s=sleep, warm_up=deterministic(1.0)),
                ),
            ),
            buffers=(Buffer(name="in"),),
            crews=(Crew(name="crew", calendar=calendar),),
            calendars=(Calendar(name="late", period_s=100.0, shifts=((25.0, 60.0),)),),
        )
        plan = FactoryPlan(factory)
        run = plan.initial_run()
        plan.run(run, begin + 1.5)
        assert times(plan.ledger(run), "maintenance", 1) == pytest.approx(1.5)
        assert times(plan.ledger(run), "starved", 1) == pytest.approx(sleep or begin)
        plan.run(run, begin + 2.0 + 1.0)
        assert times(plan.ledger(run), "maintenance", 1) == pytest.approx(2.0)
        assert times(plan.ledger(run), "starved", 1) == pytest.approx((sleep or begin) + 1.0)


def test_wear_is_part_of_the_state_that_is_copied_told_and_forgotten():
    machine = Machine(name="m", cycle=exponential(1.0), degradations=(WEAR,), slots=2)
    plan = FactoryPlan(Factory(machines=(machine,)))
    run, other = plan.initial_run(seed=1), plan.initial_run(seed=1)
    plan.run(run, 500.0)
    plan.run(other, 123.4)
    other = plan.from_bytes(plan.to_bytes(other))
    plan.run(other, 500.0)
    assert run.block.tobytes() == other.block.tobytes()
    plan.inject(run, stages={"m": 2})
    plan.forget(run)
    worn = plan.replicate(2_000, 503.0, start=run).failures.mean()  # both slots: 2 (1 - exp(-3 / 10)) before a job
    fresh = plan.replicate(2_000, 3.0).failures.mean()
    assert worn > 10 * fresh
    with pytest.raises(InvalidInput, match="3 stages"):
        plan.inject(run, stages={"m": 3})


def test_preventive_jobs_pay_where_repairs_are_long():
    def output(threshold, to_maintain):
        wear = Degradation(
            stages=WEAR.stages, to_repair=exponential(60.0), threshold=threshold, to_maintain=to_maintain
        )
        machine = Machine(name="m", cycle=exponential(1.0), degradations=(wear,))
        return FactoryPlan(Factory(machines=(machine,))).replicate(50, 5_000.0).output.mean()

    assert output(2, exponential(3.0)) > 1.2 * output(None, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": ()}, "a stage"),
        ({"stages": (exponential(-1.0),)}, "mean"),
        ({"kind": "maintenance"}, "kind"),
        ({"threshold": 0}, "threshold 0"),
        ({"threshold": 3}, "within 1 and 2"),
        ({"to_maintain": None}, "to_maintain"),
        ({"crews": ("nobody",)}, "nobody"),
        ({"skill": "magic"}, "magic"),
        ({"skill": "s", "crews": ("crew",)}, "one of them"),
    ],
)
def test_a_degradation_that_cannot_be_is_refused_with_its_reason(changes, said):
    fields = {name: getattr(WEAR, name) for name in ("stages", "to_repair", "threshold", "to_maintain")} | changes
    machine = Machine(name="m", cycle=exponential(1.0), degradations=(Degradation(**fields),))
    with pytest.raises(InvalidTerritory, match=said):
        Factory(machines=(machine,), crews=(Crew(name="crew", skills=("s",)),))


def test_faster_ways_know_nothing_of_wear_and_skills():
    worn = Factory(machines=(Machine(name="m", cycle=exponential(1.0), degradations=(WEAR,)),))
    failure = Failure(to_fail=exponential(9.0), to_repair=exponential(1.0), skill="s")
    skilled = Factory(
        machines=(Machine(name="m", cycle=exponential(1.0), failures=(failure,)),),
        crews=(Crew(name="crew", skills=("s",)),),
    )
    for factory in (worn, skilled):
        with pytest.raises(InvalidInput):
            Tandem(factory)
        with pytest.raises(InvalidInput):
            instant_answer(factory)
