"""Lines of machines for the benchmarks: fixed cycle of 60 s, buffers between, failures after 6,000 s of work."""

from uem.twin_core.plant.production import Buffer, Factory, Failure, Law, Machine, deterministic, exponential

CYCLE_S, TO_FAIL_S, TO_REPAIR_S, PLACES = 60.0, 6000.0, 600.0, 10
WEEK_S = 7 * 86400.0
POWER_W = {"busy": 10e3, "down": 1.5e3, "starved": 4e3, "blocked": 4e3}


def line(machines: int, *, cycle: Law | None = None, initial: int = 0) -> Factory:
    """A line in series; `initial`: parts in each buffer at the beginning."""
    failure = Failure(to_fail=exponential(TO_FAIL_S), to_repair=exponential(TO_REPAIR_S))
    return Factory(
        machines=tuple(
            Machine(
                name=f"m{i}",
                cycle=cycle or deterministic(CYCLE_S),
                takes=(f"b{i}",) if i else (),
                gives=(f"b{i + 1}",) if i < machines - 1 else (),
                failures=(failure,),
                power_w=POWER_W,
            )
            for i in range(machines)
        ),
        buffers=tuple(Buffer(name=f"b{i}", capacity=PLACES, initial=initial) for i in range(1, machines)),
    )
