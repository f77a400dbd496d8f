"""A checked factory table -> the factory of the core: SI, laws by their kind; names that are not there are told."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from uem.territories import schema_factory as schema
from uem.territories import schema_furnace
from uem.territories.schema_base import Model
from uem.twin_core import units
from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant import furnace, production
from uem.twin_core.plant.factory import FactorySite, HeatLoop, HeatStream, MachineTags
from uem.twin_core.plant.problem import Problem

S_PER_H = 3600.0
W_PER_KW = 1e3
J_PER_KJ = 1e3
J_PER_MJ = 1e6
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
        built = production.Factory(
            name=table.name,
            machines=tuple(_machine(machine) for machine in table.machines),
            buffers=tuple(_buffer(buffer) for buffer in table.buffers),
            crews=tuple(production.Crew(**crew.model_dump()) for crew in table.crews),
            calendars=tuple(_calendar(calendar) for calendar in table.calendars),
            utilities=tuple(
                production.Utility(name=u.name, limit=math.inf if u.limit is None else u.limit) for u in table.utilities
            ),
            routes=tuple(_route(route) for route in table.routes),
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
                machine.name: tags
                for machine in table.machines
                for tags in [MachineTags(**{f.name: getattr(machine, f.name) for f in fields(MachineTags)})]
                if tags.used
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


def law(table: schema.Law) -> production.Law:
    """A law of times."""
    make = getattr(production, table.law)
    made: production.Law = make(*(getattr(table, key) for key in schema.LAWS[table.law]))
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
                if name != production.OUT:
                    yield from unknown(f"{key}.{side}", "buffer", name, table.buffers)
        for kind in ("failures", "degradations"):
            for k, failure in enumerate(getattr(machine, kind)):
                for name in failure.crews:
                    yield from unknown(f"{key}.{kind}[{k}].crews", "crew", name, table.crews)
        if machine.rejects is not None:
            yield from unknown(f"{key}.rejects", "buffer", machine.rejects, table.buffers)
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
        for k, given in enumerate(heat.furnaces):
            yield from unknown(f"heat[{i}].furnaces[{k}].machine", "machine", given.machine, table.machines)
        if heat.utility:
            yield from unknown(f"heat[{i}].utility", "utility", heat.utility, table.utilities)


def _machine(machine: schema.FactoryMachine) -> production.Machine:
    same = ("name", "take_rule", "give_rule", "slots", "batch", "scrap", "calendar", "pauses", "loses", "arrives")
    others = ("defects", "rejects", "product")
    sleep, inspection = machine.sleep, machine.inspection
    if machine.furnace is not None:
        made = production.batch_furnace(machine.name, _furnace(machine.furnace))
    else:
        assert machine.cycle is not None  # the schema asks for one of the two
        recipes = {product: law(cycle) for product, cycle in machine.recipes.items()}
        made = production.Machine(name=machine.name, cycle=law(machine.cycle), recipes=recipes)
    return replace(
        made,
        batch_wait_s=math.inf if machine.batch_wait_s is None else machine.batch_wait_s,
        takes=tuple(_flow(flow) for flow in machine.takes),
        gives=tuple(_flow(flow) for flow in machine.gives),
        failures=tuple(_failure(failure) for failure in machine.failures),
        degradations=tuple(_degradation(wear) for wear in machine.degradations),
        inspection=None if inspection is None else production.Inspection(**inspection.model_dump()),
        sleep=None
        if sleep is None
        else production.Sleep(after_s=sleep.after_s, warm_up=law(sleep.warm_up), parts=sleep.parts),
        power_w={state: power * W_PER_KW for state, power in machine.power_kw.items()},
        uses=dict(machine.uses),
        orders=tuple(_order(order) for order in machine.orders),
        changeover_s={(c.before, c.after): c.seconds for c in machine.changeovers},
        **{key: getattr(machine, key) for key in (*same, *others)},
    )


def _flow(flow: str | schema.Flow) -> str | production.Flow:
    return flow if isinstance(flow, str) else production.Flow(**flow.model_dump())


def _failure(failure: schema.Failure) -> production.Failure:
    return production.Failure(
        to_fail=law(failure.to_fail),
        to_repair=law(failure.to_repair),
        kind=failure.kind,
        crews=failure.crews,
        skill=failure.skill,
        priority=failure.priority,
    )


def _degradation(wear: schema.Degradation) -> production.Degradation:
    return production.Degradation(
        stages=tuple(law(stage) for stage in wear.stages),
        to_repair=law(wear.to_repair),
        to_maintain=None if wear.to_maintain is None else law(wear.to_maintain),
        **wear.model_dump(exclude={"stages", "to_repair", "to_maintain"}),
    )


def _furnace(table: schema_furnace.Furnace) -> furnace.Furnace:
    """Temperatures in K, powers in W, heat capacities in J/K."""
    found: dict[str, Any] = {}
    for key, value in table.model_dump(exclude={"recipe", "recipes", "levels_c"}).items():
        if key.endswith("_c"):
            found[f"{key[:-2]}_k"] = None if value is None else units.to_si(value, "Cel")
        elif key == "fumes_kg_per_mj":
            found["fumes_kg_per_j"] = value / J_PER_MJ
        else:
            scale = W_PER_KW if key.endswith("_kw") else J_PER_KJ if "_kj_" in key else None
            found[key.replace("_kw", "_w").replace("_kj_", "_j_")] = value if scale is None else value * scale
    return furnace.Furnace(
        recipe=_recipe(table.recipe),
        recipes={product: _recipe(recipe) for product, recipe in table.recipes.items()},
        levels_k=tuple(units.to_si(level, "Cel") for level in table.levels_c),
        **found,
    )


def _recipe(segments: Sequence[schema_furnace.Segment]) -> tuple[furnace.Segment, ...]:
    return tuple(
        furnace.Segment(to_k=units.to_si(s.to_c, "Cel"), duration_s=s.duration_s, hold=s.hold, cooling=s.cooling)
        for s in segments
    )


def _route(route: schema.Route) -> production.Route:
    steps = [schema.Step(buffer=step) if isinstance(step, str) else step for step in route.steps]
    return production.Route(
        product=route.product,
        steps=tuple(production.Step(buffer=s.buffer, cycle=None if s.cycle is None else law(s.cycle)) for s in steps),
    )


def _order(order: schema.Order) -> production.Order:
    return production.Order(
        name=order.name,
        product=order.product,
        quantity=order.quantity,
        release_s=order.release_h * S_PER_H,
        due_s=math.inf if order.due_h is None else order.due_h * S_PER_H,
        priority=order.priority,
    )


def _buffer(buffer: schema.Buffer) -> production.Buffer:
    rest = buffer.model_dump(exclude={"longest_s", "level_tag"})
    return production.Buffer(longest_s=math.inf if buffer.longest_s is None else buffer.longest_s, **rest)


def _calendar(calendar: schema.Calendar) -> production.Calendar:
    shifts = tuple((begin * S_PER_H, end * S_PER_H) for begin, end in calendar.shifts_h)
    return production.Calendar(name=calendar.name, period_s=calendar.period_h * S_PER_H, shifts=shifts)


def _heat(heat: schema.Heat) -> HeatStream:
    shares = {source.machine: {str(state): share for state, share in source.shares.items()} for source in heat.sources}
    furnaces = {given.machine: units.to_si(given.above_c, "Cel") for given in heat.furnaces}
    return HeatStream(name=heat.name, shares=shares, furnaces=furnaces, loop=_loop(heat) if heat.unit else None)


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
