"""Instant answers about a factory that is a line or an assembly: the analytic path beside the event engine.

    found = instant_answer(factory)          # the same Factory that FactoryPlan runs
    found.throughput, found.bottlenecks[0], found.method, found.error_percent

Exact by the Markov chain where all times are exponential and the chain is small enough; else, for a line of machines
whose cycles hardly vary, by the decomposition of its fluid picture. What is neither is refused, with the reason: then
simulate.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.production import OUT, Crew, Factory, Machine, flows
from uem.twin_core.production.analytic.decomposition import decomposed_fluid_line
from uem.twin_core.production.analytic.design import bottlenecks
from uem.twin_core.production.analytic.lines import ExponentialLine, line_figures

Array = NDArray[np.float64]

EXACT: Final = "markov chain"
DECOMPOSED: Final = "fluid decomposition"
# Cycles of a squared coefficient of variation up to it count as fixed.
FIXED_SCV: Final = 0.01
# Of the decomposition, by machines: what random lines were off by at most, rounded up
# (docs/models/production-analytic.md).
_MACHINES: Final = (2.0, 3.0, 5.0, 10.0, 20.0)
_MISSED_PERCENT: Final = (1.0, 1.5, 2.5, 6.0, 9.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantAnswer:
    """Long-run figures of a factory; times in its unit.

    `throughput` in parts, `buffer_mean` (buffers,) in the order of the factory, `bottlenecks`: names of machines, the
    worst first. `error_percent`: how far the throughput may be off; 0 where it is exact.
    """

    throughput: float
    buffer_mean: Array
    bottlenecks: tuple[str, ...]
    method: str
    error_percent: float


def instant_answer(factory: Factory) -> InstantAnswer:
    """The long-run figures of a line or assembly, in milliseconds to seconds.

    Raises:
        InvalidInput: the factory is no line or assembly of plain machines, or its laws are of neither kind.
        NotConverged: the decomposition came to no end.
    """
    into = _destinations(factory)
    cycles = [machine.cycle for machine in factory.machines]
    if all(law.kind == "exponential" for law in cycles):
        return _exact(factory, into)
    is_line = into == list(range(1, len(factory.machines)))
    varying = [machine.name for machine in factory.machines if machine.cycle.scv > FIXED_SCV]
    if varying:
        raise InvalidInput(f"factory {factory.name}: cycles of {', '.join(varying)} are neither exponential nor fixed")
    crewed = [machine.name for machine in factory.machines for failure in machine.failures if failure.crews]
    if crewed or not is_line or len(factory.machines) < 2:
        raise InvalidInput(f"factory {factory.name}: with fixed cycles only a line without crews has an instant answer")
    return _decomposed(factory)


def _exact(factory: Factory, into: list[int]) -> InstantAnswer:
    fails = [machine.failures[0] if machine.failures else None for machine in factory.machines]
    workers = {crew.name: crew.workers for crew in factory.crews}
    used = {failure.crews for failure in fails if failure is not None}
    if len(used) > 1 or any(len(crews) > 1 for crews in used):
        raise InvalidInput(f"factory {factory.name}: one crew for all, or none, has an instant answer")
    if any(crew != Crew(name=crew.name, workers=crew.workers) for crew in factory.crews):
        raise InvalidInput(f"factory {factory.name}: a crew that is not always there has no instant answer")
    crew = next(iter(used), ())
    some = any(fails)
    found = line_figures(
        ExponentialLine(
            mu=[1.0 / machine.cycle.mean for machine in factory.machines],
            buffers=_capacities(factory),
            into=into,
            failure_rate=[0.0 if f is None else 1.0 / f.to_fail.mean for f in fails] if some else None,
            repair_rate=[1.0 if f is None else 1.0 / f.to_repair.mean for f in fails] if some else None,
            repair_workers=workers[crew[0]] if crew else None,
        )
    )
    is_line = into == list(range(1, len(factory.machines)))
    return InstantAnswer(
        throughput=found.throughput,
        buffer_mean=found.buffer_mean,
        bottlenecks=_names(factory, found.blocked, found.starved) if is_line else (),
        method=EXACT,
        error_percent=0.0,
    )


def _decomposed(factory: Factory) -> InstantAnswer:
    steady = [machine.name for machine in factory.machines if not machine.failures]
    if steady:
        raise InvalidInput(
            f"factory {factory.name}: {', '.join(steady)} never fail; the decomposition needs that all can"
        )
    fails = [machine.failures[0] for machine in factory.machines]
    found = decomposed_fluid_line(
        [1.0 / machine.cycle.mean for machine in factory.machines],
        [1.0 / failure.to_fail.mean for failure in fails],
        [1.0 / failure.to_repair.mean for failure in fails],
        _capacities(factory),
    )
    n = len(factory.machines)
    return InstantAnswer(
        throughput=found.efficiency,
        buffer_mean=found.buffer_mean,
        bottlenecks=_names(factory, np.append(found.full, 0.0), np.insert(found.empty, 0, 0.0)),
        method=DECOMPOSED,
        error_percent=float(np.interp(n, _MACHINES, _MISSED_PERCENT)),
    )


def _names(factory: Factory, blocked: Array, starved: Array) -> tuple[str, ...]:
    found = bottlenecks(np.clip(blocked, 0.0, 1.0), np.clip(starved, 0.0, 1.0))
    return tuple(factory.machines[k].name for k in found.machines)


def _capacities(factory: Factory) -> list[int]:
    """Of the buffer behind each machine but the last."""
    known = {buffer.name: buffer.capacity for buffer in factory.buffers}
    found = []
    for machine in factory.machines[:-1]:
        capacity = known[flows(machine.gives)[0].buffer]
        if capacity is None:
            raise InvalidInput(
                f"machine {machine.name}: the buffer behind it is unlimited; an instant answer needs a size"
            )
        found.append(capacity)
    return found


def _destinations(factory: Factory) -> list[int]:
    """The machine that each machine but the last gives to."""
    taker = {}
    for j, machine in enumerate(factory.machines):
        _check_plain(machine)
        for flow in flows(machine.takes):
            if flow.buffer in taker:
                raise InvalidInput(f"buffer {flow.buffer} has two takers; an instant answer needs one")
            taker[flow.buffer] = j
    if [b.name for b in factory.buffers] != [flows(m.gives)[0].buffer for m in factory.machines[:-1] if m.gives]:
        raise InvalidInput(
            f"factory {factory.name}: each machine but the last needs a buffer of its own, in their order"
        )
    into = [taker.get(buffer.name, -1) for buffer in factory.buffers]
    if len(into) != len(factory.machines) - 1 or any(j <= k for k, j in enumerate(into)):
        raise InvalidInput(
            f"factory {factory.name}: machines must stand in the order of the parts, in a line or assembly"
        )
    if any(flow.buffer != OUT for flow in flows(factory.machines[-1].gives)):
        raise InvalidInput(f"factory {factory.name}: the last machine must give out of the factory")
    return into


def _check_plain(machine: Machine) -> None:
    """InvalidInput for what the analytic models know nothing of."""
    like = Machine(
        name=machine.name, cycle=machine.cycle, takes=machine.takes, gives=machine.gives, failures=machine.failures
    )
    if replace(machine, power_w={}) != like or any(flow.amount != 1 for flow in flows(machine.takes + machine.gives)):
        raise InvalidInput(f"machine {machine.name} is more than a plain machine: simulate it")
    if len(machine.gives) > 1 or len(machine.failures) > 1:
        raise InvalidInput(f"machine {machine.name}: one output and one kind of failure have an instant answer")
    for failure in machine.failures:
        if failure.skill is not None:
            raise InvalidInput(f"machine {machine.name}: crews by skill have no instant answer")
        if failure.kind != "operating" or {failure.to_fail.kind, failure.to_repair.kind} != {"exponential"}:
            raise InvalidInput(f"machine {machine.name}: its failures are not exponential in operating time")
