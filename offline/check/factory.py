"""What does not fit together in a factory, and what a week of it shows."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from uem.offline.check.finding import Finding, Severity
from uem.offline.factories import WEEK_S, at_hour
from uem.twin_core.errors import ModelFailure
from uem.twin_core.plant.factory import MOST_TEMP_K, FactorySite, HeatLoop
from uem.twin_core.plant.furnace import Furnace
from uem.twin_core.plant.production import Buffer, Factory, batch_furnace, flows
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.production.plan import STATES, FactoryPlan, FactoryRun

STOPPED: Final = 0.02  # part of the time without a utility
_HEATED_STATES: Final = ("busy", "starved", "blocked", "warming_up")  # of a furnace
DAY_S: Final = 86_400.0
SHORT_K: Final = 5.0  # of what a recipe asks for


def findings(site: FactorySite) -> tuple[list[Finding], dict[str, Any]]:
    """All findings of a factory and the figures of a week, its second one (the first, where it has orders)."""
    found = [*ends(site.factory), *products(site.factory), *shortages(site.factory), *powers(site)]
    found += furnaces(site.factory)
    if any(f.severity is Severity.ERROR for f in found):
        return found, {}
    more, figures = week(site)
    return found + more, figures


def ends(factory: Factory) -> Iterator[Finding]:
    """Buffers that nobody fills or nobody empties."""
    given = {flow.buffer for machine in factory.machines for flow in flows(machine.gives)}
    given |= {machine.rejects for machine in factory.machines if machine.rejects is not None}
    taken = {flow.buffer for machine in factory.machines for flow in flows(machine.takes)}
    for buffer in factory.buffers:
        element = f"buffer {buffer.name}"
        if buffer.name not in given and buffer.name in taken:
            text = f"no machine gives to it; after {buffer.initial} parts its machines starve for ever"
            yield Finding(Severity.ERROR, "ends", element, text, "name it in `gives` of a machine, or give a source")
        if buffer.name not in taken and buffer.name in given:
            severity, text = Severity.ERROR, "no machine takes from it; once full its machines are blocked for ever"
            if buffer.capacity is None or buffer.longest_s < math.inf:  # there is always a place, in time
                severity, text = Severity.WARNING, "no machine takes from it; what it gets never leaves the factory"
            yield Finding(severity, "ends", element, text, 'name it in `takes`, or give to "", out of the factory')
        if buffer.name not in taken and buffer.name not in given:
            yield Finding(Severity.WARNING, "ends", element, "no machine uses it", "leave it out")


def products(factory: Factory) -> Iterator[Finding]:
    """Recipes and changeovers of products that nobody begins."""
    for machine in factory.machines:
        named = [*machine.recipes, *(name for pair in machine.changeover_s for name in pair)]
        for name in dict.fromkeys(named):
            if name not in factory.products:
                known = ", ".join(filter(None, factory.products)) or "none"
                text = f"tells a recipe or changeover of product {name!r}, which nobody begins; there are {known}"
                remedy = "correct the name, or give it an order, a machine's `product` or a route"
                yield Finding(Severity.WARNING, "products", f"machine {machine.name}", text, remedy)


def shortages(factory: Factory) -> Iterator[Finding]:
    """Machines that need more of a utility than there ever is."""
    limits = {utility.name: utility.limit for utility in factory.utilities}
    for machine in factory.machines:
        for name, amount in machine.uses.items():
            if amount > limits[name]:
                text = f"uses {amount:g} of {name}, which gives {limits[name]:g} at most: it never begins"
                yield Finding(Severity.ERROR, "utilities", f"machine {machine.name}", text, "correct one of the two")


def powers(site: FactorySite) -> Iterator[Finding]:
    """Machines without power, shares of heat where there is none."""
    for machine in site.factory.machines:
        if not machine.power_w.get("busy") and not (machine.arrives or machine.orders or machine.furnace):
            text = "has no power while it is busy"
            yield Finding(Severity.NOTE, "powers", f"machine {machine.name}", text, "fine if it takes next to none")
    power_w = {machine.name: machine.power_w for machine in site.factory.machines}
    heated = {m.name for m in site.factory.machines if m.furnace is not None and m.furnace.heating == "electric"}
    for stream in site.heat:
        for name, shares in stream.shares.items():
            for state, share in shares.items():
                if share > 0 and not power_w[name].get(state) and not (name in heated and state in _HEATED_STATES):
                    text = f"takes a share of machine {name} in state {state}, which has no power there"
                    yield Finding(
                        Severity.WARNING,
                        "powers",
                        f"heat {stream.name}",
                        text,
                        f"give power_kw.{state} or leave it out",
                    )


def furnaces(factory: Factory) -> Iterator[Finding]:
    """Furnaces that do not come to what their recipe asks for, with a full batch after another one."""
    for machine in factory.machines:
        if machine.furnace is None:
            continue
        for product in dict.fromkeys(["", *machine.furnace.recipes]):
            for k, (asked_k, found_k) in enumerate(_targets(machine.furnace, product, machine.batch[1])):
                if found_k < asked_k - SHORT_K:
                    of = f"product {product}: " if product else ""
                    text = f"{of}comes to {found_k - 273.15:.0f} degC at the end of segment {k + 1}, "
                    text += f"its recipe asks for {asked_k - 273.15:.0f} degC"
                    remedy = f"give it more power_kw than {machine.furnace.power_w / 1e3:g}, or more time"
                    yield Finding(Severity.WARNING, "furnaces", f"machine {machine.name}", text, remedy)


def _targets(furnace: Furnace, product: str, parts: int) -> Iterator[tuple[float, float]]:
    """What each segment of the second batch asks for and comes to, in K."""
    segments = furnace.segments(product)
    alone = batch_furnace("f", replace(furnace, recipe=segments, recipes={}), takes=("in",), batch=(parts, parts))
    plan = FactoryPlan(Factory(machines=(alone,), buffers=(Buffer(name="in", initial=2 * parts),)))
    run, end_s = plan.initial_run(), furnace.seconds(product) + furnace.load_s
    for segment in segments:
        end_s += segment.duration_s
        plan.run(run, end_s)
        found_k = float(plan.ledger(run).furnaces.temperature_k[0, 0, 0])
        yield (segment.to_k, found_k) if not segment.cooling else (0.0, found_k)


def _at_alarm_w(plan: FactoryPlan, run: FactoryRun, meter: HeatMeter, k: int, loop: HeatLoop) -> float:
    """Mean heat of stream `k` on the second day of an alarm that does not end."""
    run = plan.copy(run)
    if loop.utility and loop.alarm_temp_k < MOST_TEMP_K:
        (normal,) = [utility.limit for utility in plan.factory.utilities if utility.name == loop.utility]
        plan.set_limit(run, loop.utility, min(loop.alarm_limit, normal))
    meter.advance(run, run.now_s + DAY_S)
    return float(meter.advance(run, run.now_s + DAY_S)[k]) / DAY_S


def _recooled_w(loop: HeatLoop) -> float:
    """What a recooler takes before the loop is too hot to be told."""
    return loop.recool_w if loop.recool_temp_k < MOST_TEMP_K else 0.0


def _warms(name: str, loop: HeatLoop, most_w: float, at_alarm_w: float) -> Finding:
    """A loop whose recooler takes less than comes: whether the alarm ends that."""
    at = " up to its recool_temp_c of 1,500 degC" if _recooled_w(loop) < loop.recool_w else ""
    taken = f"its recooler takes {_recooled_w(loop) / 1e3:.0f} kW{at}: without the network its loop"
    if at_alarm_w > _recooled_w(loop):
        text = f"gives {at_alarm_w / 1e3:.0f} kW on and on, at its alarm too, {taken} warms without end"
        remedy = "give it recool_kw and recool_temp_c, or alarm_temp_c and a utility without which machines stop"
        return Finding(Severity.ERROR, "week", f"heat {name}", text, remedy)
    text = f"gives up to {most_w / 1e3:.0f} kW, {taken} comes to the alarm"
    return Finding(
        Severity.NOTE, "week", f"heat {name}", text, "fine if the network always takes the rest; else give recool_kw"
    )


def week(site: FactorySite) -> tuple[list[Finding], dict[str, Any]]:
    """A week of production with the first random numbers: who stands, who limits, how much heat there is."""
    plan = FactoryPlan(site.factory)
    run = plan.initial_run(seed=1)
    try:
        at_hour(plan, run, 0.0)
        begin_s = run.now_s
        meter = HeatMeter(plan, site.heat)
        heat_w = np.array([meter.advance(run, begin_s + 900.0 * (k + 1)) for k in range(round(WEEK_S / 900.0))]) / 900.0
    except ModelFailure as error:
        return [Finding(Severity.ERROR, "week", "factory", str(error), "correct the factory")], {}
    ledger = plan.ledger(run)
    found = []
    for m, machine in enumerate(site.factory.machines):
        if ledger.made[0, m] == 0 and not machine.orders:
            waits = STATES[int(np.argmax(ledger.time_s[0, m]))]
            text = f"makes nothing in a week; it is {waits} most of the time"
            remedy = "look at its buffers, shifts and utilities"
            found.append(Finding(Severity.ERROR, "week", f"machine {machine.name}", text, remedy))
        short = ledger.time_s[0, m, STATES.index("short")] / ledger.time_s[0, m].sum()
        if short > STOPPED:
            text = f"is short of a utility for {short:.0%} of the week"
            found.append(Finding(Severity.NOTE, "week", f"machine {machine.name}", text, "fine if it is meant to"))
    for k, stream in enumerate(site.heat):
        most_w = float(heat_w[:, k].max())
        if stream.loop is not None and _recooled_w(stream.loop) < most_w:
            at_alarm_w = _at_alarm_w(plan, run, meter, k, stream.loop)
            found.append(_warms(stream.name, stream.loop, most_w, at_alarm_w))
    worked = ledger.time_s[0] @ np.isin(STATES, ["busy", "setup", "down", "waiting_for_crew"])
    open_s = ledger.time_s[0].sum(axis=1) - ledger.time_s[0, :, STATES.index("off")]
    return found, {
        "parts_per_week": int(ledger.output[0]),
        "power_kw": float(ledger.power_w[0]) / 1e3,
        "busiest_machine": plan.machines[int(np.argmax(worked / np.maximum(open_s, 1.0)))],
        "heat_kw": {
            stream.name: {"mean": float(heat_w[:, k].mean()) / 1e3, "most": float(heat_w[:, k].max()) / 1e3}
            for k, stream in enumerate(site.heat)
        },
    }
