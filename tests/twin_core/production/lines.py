"""What the tests of production share: factories, built by hand and at random; how far means are off."""

import math

from hypothesis import strategies as st

from uem.twin_core.plant.production import (
    OUT,
    Buffer,
    Calendar,
    Crew,
    Degradation,
    Factory,
    Failure,
    Flow,
    Machine,
    Utility,
    deterministic,
    exponential,
    gamma,
)


def series(cycles, capacities, failures=None, crews=(), **machine):
    """A line in series: one law per machine, one capacity per buffer, one tuple of failures per machine."""
    n = len(cycles)
    return Factory(
        machines=tuple(
            Machine(
                name=f"m{i}",
                cycle=cycles[i],
                takes=(f"b{i}",) if i else (),
                gives=(f"b{i + 1}",) if i < n - 1 else (),
                failures=failures[i] if failures else (),
                **machine,
            )
            for i in range(n)
        ),
        buffers=tuple(Buffer(name=f"b{i + 1}", capacity=c) for i, c in enumerate(capacities)),
        crews=crews,
    )


def breaks(to_fail, to_repair, **more):
    return Failure(to_fail=exponential(to_fail), to_repair=exponential(to_repair), **more)


def z(samples, exact):
    """Standard errors between the mean of independent samples and the exact value."""
    return (samples.mean() - exact) / (samples.std(ddof=1) / math.sqrt(len(samples)))


_WEAR = Degradation(
    stages=(exponential(9.0), deterministic(4.0), exponential(6.0)),
    to_repair=exponential(3.0),
    threshold=1,
    to_maintain=exponential(1.0),
    crews=("crew",),
)
_WEAR_BY_CLOCK = Degradation(
    stages=(exponential(9.0), exponential(6.0)),
    to_repair=exponential(3.0),
    kind="calendar",
    threshold=1,
    to_maintain=deterministic(1.0),
)
laws = st.sampled_from([deterministic(1.0), exponential(1.0), gamma(0.8, 0.4), deterministic(0.5), exponential(1.5)])
waits = st.sampled_from([math.inf, 1.5])
kinds = st.sampled_from(["operating", "calendar", "maintenance", "maintenance_calendar"])


@st.composite
def factories(draw):
    """Lines, an assembly in the middle, several slots; failures, crews, shifts, utilities."""
    n = draw(st.integers(2, 5))
    crews = (Crew(name="crew", workers=draw(st.integers(1, 2)), calendar=draw(st.sampled_from([None, "shift"]))),)
    calendars = (Calendar(name="shift", period_s=30.0, shifts=((0.0, 4.0), (9.0, 22.5))),)
    utilities = (Utility(name="air", limit=draw(st.sampled_from([1.0, 2.0]))),)
    machines = []
    for i in range(n):
        failures = tuple(
            breaks(
                draw(st.sampled_from([5.0, 20.0])),
                draw(st.sampled_from([1.0, 3.0])),
                kind=draw(kinds),
                crews=draw(st.sampled_from([(), ("crew",)])),
                priority=draw(st.integers(0, 1)),
            )
            for _ in range(draw(st.integers(0, 2)))
        )
        batch = draw(st.sampled_from([(1, 1), (1, 1), (1, 3)])) if i else (1, 1)
        machines.append(
            Machine(
                name=f"m{i}",
                cycle=draw(laws),
                takes=(f"b{i}",) if i else (),
                gives=(f"b{i + 1}",) if i < n - 1 else (),
                slots=draw(st.integers(1, 3)),
                batch=batch,
                failures=failures,
                degradations=draw(st.sampled_from([(), (), (_WEAR,), (_WEAR_BY_CLOCK,)])),
                scrap=draw(st.sampled_from([0.0, 0.2])),
                calendar=draw(st.sampled_from([None, None, "shift"])),
                pauses=draw(st.booleans()),
                uses=draw(st.sampled_from([{}, {}, {"air": 1.0}, {"air": 0.6}])),
            )
        )
    buffers = []
    special = draw(st.booleans())  # buffers that need to know their parts
    for i in range(1, n):
        capacity = draw(st.sampled_from([0, 1, 3, None]))
        more = draw(st.sampled_from([{}, {"delay_s": 0.7}, {"longest_s": 3.0}, {"delay_s": 0.3, "longest_s": 2.0}]))
        more = more if special and capacity != 0 else {}
        buffers.append(Buffer(name=f"b{i}", capacity=capacity, **more))
    if draw(st.booleans()):  # a second feeder of the last machine, which assembles
        buffers.append(Buffer(name="side", capacity=draw(st.sampled_from([0, 2]))))
        machines.append(Machine(name="feeder", cycle=draw(laws), gives=("side",)))
        last = machines[n - 1]
        machines[n - 1] = Machine(
            name=last.name, cycle=last.cycle, takes=(*last.takes, "side"), failures=last.failures, slots=last.slots
        )
    if draw(st.booleans()):  # a machine that takes pieces apart, a furnace and a router behind it
        buffers += [Buffer(name=name, capacity=draw(st.sampled_from([3, 4]))) for name in ("ins", "outs", "rest")]
        ways = (Flow(buffer="ins", weight=0.3), Flow(buffer=OUT, weight=0.7))
        machines += [
            Machine(name="apart", cycle=draw(laws), gives=(Flow(buffer="ins", amount=2), Flow(buffer="rest"))),
            Machine(name="pairs", cycle=draw(laws), gives=(Flow(buffer="rest", amount=2),)),
            Machine(
                name="furnace",
                cycle=draw(laws),
                takes=("ins",),
                gives=("outs",),
                batch=(2, 3),
                batch_wait_s=draw(waits),
            ),
            Machine(name="router", cycle=draw(laws), takes=("outs",), gives=ways, give_rule="chance"),
            Machine(
                name="fast",
                cycle=draw(laws),
                takes=(Flow(buffer="rest", amount=2),),
                gives=("outs", OUT),
                give_rule=draw(st.sampled_from(["first", "shortest"])),
            ),
        ]
    return Factory(
        machines=tuple(machines), buffers=tuple(buffers), crews=crews, calendars=calendars, utilities=utilities
    )
