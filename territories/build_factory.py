"""A checked factory table -> the factory of the core: SI, laws by their kind; names that are not there are told."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from uem.territories import schema_factory as schema
from uem.territories.schema_base import Model
from uem.twin_core import units
from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.factory import FactorySite, HeatLoop, HeatStream, MachineTags
from uem.twin_core.plant.problem import Problem
from uem.twin_core.production import model

S_PER_H = 3600.0
W_PER_KW = 1e3
J_PER_KJ = 1e3
# Keys of the core that have another unit in files.
_KEYS = {
    "temp_k": "temp_c",
    "recool_temp_k": "recool_temp_c",
    "alarm_temp_k": "alarm_temp_c",
    "clear_temp_k": "clear_temp_c",
    "recool_w": "recool_kw",
    "content_j_k": "content_m3",
}


def factory(table: schema.Factory) -> FactorySite:
    """The factory that a table describes.

    Raises:
        InvalidTerritory: every problem, by the keys of the table.
    """
    problems = [*_loose_ends(table)]
    try:
        built = model.Factory(
            name=table.name,
            machines=tuple(_machine(machine) for machine in table.machines),
            buffers=tuple(_buffer(buffer) for buffer in table.buffers),
            crews=tuple(model.Crew(**crew.model_dump()) for crew in table.crews),
            calendars=tuple(_calendar(calendar) for calendar in table.calendars),
            utilities=tuple(
                model.Utility(name=u.name, limit=math.inf if u.limit is None else u.limit) for u in table.utilities
            ),
            follows=table.follows,
            room=table.room,
        )
    except InvalidTerritory as error:
        told = [problem for problem in error.problems if not (problems and "exist" in problem)]
        raise InvalidTerritory(error.where, [*problems, *told]) from None
    if problems:
        raise InvalidTerritory(f"factory {table.name}", problems)
    try:
        return FactorySite(
            factory=built,
            title=table.title,
            heat=tuple(_heat(heat) for heat in table.heat),
            machine_tags={
                machine.name: MachineTags(
                    state_tag=machine.state_tag, good_tag=machine.good_tag, scrap_tag=machine.scrap_tag
                )
                for machine in table.machines
                if machine.state_tag or machine.good_tag or machine.scrap_tag
            },
            level_tags={buffer.name: buffer.level_tag for buffer in table.buffers if buffer.level_tag},
            calendar_epoch_ns=(table.calendar_epoch - datetime(1970, 1, 1, tzinfo=UTC))
            // timedelta(microseconds=1)
            * 1000,
            step_s=table.step_s,
            prior_worth=table.prior_worth,
            parted_parts=table.parted_parts,
            forecast_horizon_s=table.forecast_horizon_s,
            forecast_step_s=table.forecast_step_s,
        )
    except InvalidTerritory as error:
        raise InvalidTerritory(error.where, [_of_the_file(problem) for problem in error.problems]) from None


def law(table: schema.Law) -> model.Law:
    """A law of times."""
    make = getattr(model, table.law)
    made: model.Law = make(*(getattr(table, key) for key in schema.LAWS[table.law]))
    return made


def _loose_ends(table: schema.Factory) -> Iterator[str]:
    """Names of buffers, crews, calendars and utilities that are not there, with those that are."""

    def unknown(key: str, kind: str, name: str, things: Sequence[Model]) -> Iterator[str]:
        known = [str(getattr(thing, "name")) for thing in things]  # noqa: B009 - all of them have one
        if name not in known:
            yield f"{key}: {kind} {name!r} does not exist; there are {', '.join(known) or 'none'}"

    for i, machine in enumerate(table.machines):
        key = f"machines[{i}]"
        for side in ("takes", "gives"):
            for flow in getattr(machine, side):
                name = flow if isinstance(flow, str) else flow.buffer
                if name != model.OUT:
                    yield from unknown(f"{key}.{side}", "buffer", name, table.buffers)
        for k, failure in enumerate(machine.failures):
            for name in failure.crews:
                yield from unknown(f"{key}.failures[{k}].crews", "crew", name, table.crews)
        if machine.calendar is not None:
            yield from unknown(f"{key}.calendar", "calendar", machine.calendar, table.calendars)
        for name in machine.uses:
            yield from unknown(f"{key}.uses", "utility", name, table.utilities)
    for i, crew in enumerate(table.crews):
        if crew.calendar is not None:
            yield from unknown(f"crews[{i}].calendar", "calendar", crew.calendar, table.calendars)
    for i, heat in enumerate(table.heat):
        for k, source in enumerate(heat.sources):
            yield from unknown(f"heat[{i}].sources[{k}].machine", "machine", source.machine, table.machines)
        if heat.utility:
            yield from unknown(f"heat[{i}].utility", "utility", heat.utility, table.utilities)


def _machine(machine: schema.FactoryMachine) -> model.Machine:
    same = ("name", "take_rule", "give_rule", "slots", "batch", "scrap", "calendar", "pauses", "loses", "arrives")
    sleep = machine.sleep
    return model.Machine(
        cycle=law(machine.cycle),
        takes=tuple(_flow(flow) for flow in machine.takes),
        gives=tuple(_flow(flow) for flow in machine.gives),
        failures=tuple(_failure(failure) for failure in machine.failures),
        sleep=None
        if sleep is None
        else model.Sleep(after_s=sleep.after_s, warm_up=law(sleep.warm_up), parts=sleep.parts),
        power_w={state: power * W_PER_KW for state, power in machine.power_kw.items()},
        uses=dict(machine.uses),
        orders=tuple(_order(order) for order in machine.orders),
        recipes={product: law(cycle) for product, cycle in machine.recipes.items()},
        changeover_s={(c.before, c.after): c.seconds for c in machine.changeovers},
        **{key: getattr(machine, key) for key in same},
    )


def _flow(flow: str | schema.Flow) -> str | model.Flow:
    return flow if isinstance(flow, str) else model.Flow(**flow.model_dump())


def _failure(failure: schema.Failure) -> model.Failure:
    return model.Failure(
        to_fail=law(failure.to_fail),
        to_repair=law(failure.to_repair),
        kind=failure.kind,
        crews=failure.crews,
        priority=failure.priority,
    )


def _order(order: schema.Order) -> model.Order:
    return model.Order(
        name=order.name,
        product=order.product,
        quantity=order.quantity,
        release_s=order.release_h * S_PER_H,
        due_s=math.inf if order.due_h is None else order.due_h * S_PER_H,
        priority=order.priority,
    )


def _buffer(buffer: schema.Buffer) -> model.Buffer:
    rest = buffer.model_dump(exclude={"longest_s", "level_tag"})
    return model.Buffer(longest_s=math.inf if buffer.longest_s is None else buffer.longest_s, **rest)


def _calendar(calendar: schema.Calendar) -> model.Calendar:
    shifts = tuple((begin * S_PER_H, end * S_PER_H) for begin, end in calendar.shifts_h)
    return model.Calendar(name=calendar.name, period_s=calendar.period_h * S_PER_H, shifts=shifts)


def _heat(heat: schema.Heat) -> HeatStream:
    shares = {source.machine: {str(state): share for state, share in source.shares.items()} for source in heat.sources}
    return HeatStream(name=heat.name, shares=shares, loop=_loop(heat) if heat.unit else None)


def _loop(heat: schema.Heat) -> HeatLoop:
    assert heat.content_m3 is not None  # the schema asks for both
    assert heat.temp_c is not None
    clear_c = heat.alarm_temp_c - 2.0 if heat.clear_temp_c is None else heat.clear_temp_c
    return HeatLoop(
        network=heat.network,
        unit=heat.unit,
        content_j_k=heat.content_m3 * heat.content_kj_m3k * J_PER_KJ,
        temp_k=units.to_si(heat.temp_c, "Cel"),
        recool_w=heat.recool_kw * W_PER_KW,
        recool_temp_k=units.to_si(heat.recool_temp_c, "Cel"),
        alarm_temp_k=units.to_si(heat.alarm_temp_c, "Cel"),
        clear_temp_k=units.to_si(clear_c, "Cel"),
        utility=heat.utility,
        alarm_limit=heat.alarm_limit,
    )


def _of_the_file(problem: str) -> str:
    """A problem of the core by keys and units of the file."""
    if not isinstance(problem, Problem):
        return problem
    text = problem.told(lambda key, value: f"{_shown(key, value):.6g}")
    for key, other in sorted(_KEYS.items(), key=lambda item: -len(item[0])):
        text = text.replace(key, other)
    return text


def _shown(key: str, value: float) -> float:
    if key.endswith("_k") and "temp" in key:
        return units.from_si(value, "Cel")
    return value / W_PER_KW if key.endswith("_w") else value
