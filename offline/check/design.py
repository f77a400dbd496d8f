"""How the network runs on its coldest day and on a mild one: velocities, pressures, and what stations get."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import pi
from typing import Any

from uem.offline.check.finding import Finding, Severity
from uem.offline.output import Tell
from uem.offline.run import Run, run
from uem.offline.run_inputs import Value
from uem.twin_core.errors import InvalidInput, ModelFailure, NotConverged
from uem.twin_core.plant.network import Network, Pump, PumpControl
from uem.twin_core.plant.sides import is_consumer
from uem.twin_core.plant.territory import Territory
from uem.twin_core.plant.units import HeatDemand, HeatLoad, Substation
from uem.twin_core.thermal.water import density_kg_m3

HOURS = 4.0  # until full tanks are empty: what plants can do is looked at, at the end
SETTLE_HOURS = 6.0
# Usual highest velocities in district heating by inner diameter (m), m/s: noise in houses, pressure loss in streets.
VELOCITIES = ((0.030, 1.0), (0.045, 1.3), (0.075, 1.6), (0.110, 2.0), (0.180, 2.5), (0.350, 3.0), (10.0, 3.5))
SLOW_M_S = 0.05
MILD_OUTDOOR_TEMP_K = 293.15
LOWEST_PA, HIGHEST_PA = 0.2e5, 16e5  # above atmosphere: room above boiling below 100 degC; PN 16
UNMET = 0.02  # part of the heat
IDLE_KG_S = 1e-3
MOST_TURNED = 8  # pumps that are tried the other way round


def findings(
    territory: Territory, network: Network, tell: Tell = lambda done, of: None
) -> tuple[list[Finding], dict[str, Any]]:
    """What the design day tells, and its figures (empty where it cannot be computed). `tell`: see `run`."""
    day, failed = _run(territory, network, design_inputs(network), "design", tell)
    wrong = failed if day is None else [*pressures(day), *deliveries(day)]
    standing_pumps = network.pumps if day is None else tuple(idle_pumps(day))
    if turned := list(reversed_pumps(territory, network, standing_pumps, _errors(wrong), tell)):
        return turned, {}  # the rest follows from it
    if day is None:
        return failed, {}
    found = [*velocities(day), *wrong, *standing_still(day)]
    if any(f.severity is Severity.ERROR and f.check == "pressures" for f in found):
        return found, figures(day)
    if mild := mild_inputs(network):
        day_of_least, failed = _run(territory, network, mild, "minimum load", tell)
        found += failed if day_of_least is None else standing(day_of_least)
    return found, figures(day)


def idle_pumps(day: Run) -> Iterator[Pump]:
    """Pumps that should run, and through which nothing flows."""
    for pump in day.network.pumps:
        runs = pump.control is not PumpControl.SPEED or pump.speed > 0.0
        if runs and abs(float(day.columns[f"pump/{pump.name}/flow"][-1])) < IDLE_KG_S:
            yield pump


def standing_still(day: Run) -> Iterator[Finding]:
    """Idle pumps, where turning them round mends nothing."""
    for pump in idle_pumps(day):
        text = f"nothing flows from {pump.start} to {pump.end} at the design load"
        remedy = "look whether its way is open, and whether it leads the right way"
        yield Finding(Severity.WARNING, "pumps", f"pump {pump.name}", text, remedy)


def reversed_pumps(
    territory: Territory, network: Network, pumps: Sequence[Pump], error_count: int, tell: Tell
) -> Iterator[Finding]:
    """Those of `pumps` whose turning round takes away at least half of the errors of the design day.

    A pump is a check valve too: drawn the wrong way it stands, and customers behind it get nothing.
    """
    for pump in pumps[:MOST_TURNED] if error_count else ():
        other = replace(pump, start=pump.end, end=pump.start)
        turned = replace(network, pumps=tuple(other if p is pump else p for p in network.pumps))
        day, _ = _run(
            replace(territory, networks=(turned,), factories=()), turned, design_inputs(turned), "design", tell
        )
        left = error_count if day is None else _errors([*pressures(day), *deliveries(day)])
        if 2 * left <= error_count:
            text = f"is drawn the wrong way round: turned, {error_count - left} of {error_count} errors of the design "
            text += "day are gone"
            yield Finding(Severity.ERROR, "pumps", f"pump {pump.name}", text, "swap its start and end")


def _errors(found: Sequence[Finding]) -> int:
    return sum(f.severity is Severity.ERROR for f in found)


def _run(
    territory: Territory, network: Network, inputs: Mapping[str, Value], which: str, tell: Tell
) -> tuple[Run | None, list[Finding]]:
    """A day, or what kept it from being computed."""
    try:
        day = run(
            territory,
            HOURS,
            inputs=inputs,
            network=network.name,
            settle_hours=SETTLE_HOURS,
            fidelity="planning",
            with_factories=False,
            tell=tell,
        )
    except NotConverged as error:
        remedy = "look at this element: a closed way, a pump without water, a flow that cannot be"
        return None, [Finding(Severity.ERROR, which, "network", str(error), remedy)]
    except (InvalidInput, ModelFailure) as error:
        return None, [Finding(Severity.ERROR, which, "network", str(error), "correct the network")]
    return day, []


def design_inputs(network: Network) -> dict[str, Value]:
    """Every station at its design temperature outdoors."""
    return {
        f"unit/{unit.name}/outdoor_temp_k": unit.design_outdoor_temp_k
        for unit in network.units
        if isinstance(unit, Substation) and unit.demand is not HeatDemand.COMMAND
    }


def mild_inputs(network: Network) -> dict[str, Value]:
    """No station heats: the least that producers meet; empty where no station follows the weather."""
    return dict.fromkeys((name for name in design_inputs(network)), MILD_OUTDOOR_TEMP_K)


def standing(day: Run) -> Iterator[Finding]:
    """Parts that stand on a mild day, because producers pump what customers do not take."""
    dry = [name for name, value in _pressures_pa(day).items() if value != value]
    if dry:
        names = ", ".join(dry[:5]) + (f" and {len(dry) - 5} more" if len(dry) > 5 else "")
        text = f"no held pressure is felt at {names} on a mild day of {MILD_OUTDOOR_TEMP_K - 273.15:g} degC"
        remedy = "pumped producers give more than customers take: build a free path, such as a free tank or separator"
        yield Finding(Severity.ERROR, "minimum load", f"node {dry[0]}", text, remedy)


def velocity_m_s(day: Run) -> dict[str, float]:
    """Of every pipe."""
    found = {}
    for pipe in day.network.pipes:
        inner_m = day.network.pipe_class(pipe.pipe_class).inner_diameter_m
        temp_k = float(day.columns[f"node/{pipe.start}/temperature"][-1])
        flow = abs(float(day.columns[f"pipe/{pipe.name}/flow"][-1]))
        found[pipe.name] = flow / (density_kg_m3(temp_k) * pi / 4.0 * inner_m**2)
    return found


def velocities(day: Run) -> Iterator[Finding]:
    """Pipes in which water runs too fast, or hardly at all."""
    inner_m = {p.name: day.network.pipe_class(p.pipe_class).inner_diameter_m for p in day.network.pipes}
    for name, speed in velocity_m_s(day).items():
        limit = next(v for d, v in VELOCITIES if inner_m[name] <= d)
        if speed > limit:
            text = f"{speed:.2f} m/s in {inner_m[name] * 1e3:.4g} mm; {limit:g} m/s is usual at most"
            yield Finding(Severity.WARNING, "velocities", f"pipe {name}", text, "take a wider class")
        elif day.network.units and 1e-6 < speed < SLOW_M_S:
            text = f"{speed:.3f} m/s in {inner_m[name] * 1e3:.4g} mm at the design load"
            yield Finding(Severity.NOTE, "velocities", f"pipe {name}", text, "a narrower class would lose less heat")


def pressures(day: Run) -> Iterator[Finding]:
    """Nodes whose pressure is too low, too high, or none."""
    pressure = _pressures_pa(day)
    dry = [name for name, value in pressure.items() if value != value]
    if dry:
        names = ", ".join(dry[:5]) + (f" and {len(dry) - 5} more" if len(dry) > 5 else "")
        text = f"no held pressure is felt at {names}: nothing flows there"
        yield Finding(Severity.ERROR, "pressures", f"node {dry[0]}", text, "open a valve, or hold a pressure there")
    known = {name: value for name, value in pressure.items() if value == value}
    if not known:
        return
    lowest, highest = (pick(known, key=lambda name: known[name]) for pick in (min, max))
    if known[lowest] < LOWEST_PA:
        text = f"{known[lowest] / 1e5:.2f} bar, the lowest; water may boil, air gets in"
        remedy = "raise the pressure holding, or put a pump elsewhere"
        yield Finding(Severity.ERROR, "pressures", f"node {lowest}", text, remedy)
    if known[highest] > HIGHEST_PA:
        text = f"{known[highest] / 1e5:.1f} bar, above the {HIGHEST_PA / 1e5:g} bar that fittings usually bear"
        yield Finding(Severity.WARNING, "pressures", f"node {highest}", text, "lower the pressure, or use PN 25")


def deliveries(day: Run) -> Iterator[Finding]:
    """Customers that do not get their heat, with what pressure they have."""
    pressure = _pressures_pa(day)
    for unit in day.network.units:
        heat = -float(day.columns[f"unit/{unit.name}/heat"][-1])
        unmet = sum(float(day.columns[n][-1]) for n in day.columns if n.startswith(f"unit/{unit.name}/unmet"))
        if isinstance(unit, HeatLoad) and unit.heat_w is not None:
            unmet = unit.heat_w - heat
        if is_consumer(unit) and unmet > UNMET * (heat + unmet) and unmet > 1.0:
            over = (pressure[unit.start] - pressure[unit.end]) / 1e5
            text = f"gets {max(heat, 0.0) / 1e3:.4g} of {(heat + unmet) / 1e3:.4g} kW, with {over:.2f} bar across it"
            low = over * 1e5 < unit.nominal_pressure_drop_pa
            remedy = "raise the pump, or widen the pipes on its way" if low else "raise the supply temperature"
            yield Finding(Severity.ERROR, "deliveries", f"unit {unit.name}", text, remedy)


def figures(day: Run) -> dict[str, Any]:
    """What an engineer writes down of a design day."""
    pressure, speed = _pressures_pa(day), velocity_m_s(day)
    over = {u.name: pressure[u.start] - pressure[u.end] for u in day.network.units if is_consumer(u)}
    known = [value for value in pressure.values() if value == value]
    fastest = max(speed, key=lambda name: speed[name]) if speed else ""
    critical = min(over, key=lambda name: over[name]) if over else ""
    return {
        "critical_customer": critical or None,
        "critical_pressure_drop_bar": over[critical] / 1e5 if critical else None,
        "fastest_pipe": fastest,
        "fastest_m_s": speed.get(fastest, 0.0),
        "lowest_pressure_bar": min(known) / 1e5 if known else None,
        "highest_pressure_bar": max(known) / 1e5 if known else None,
        "heat_to_customers_kw": -sum(
            float(day.columns[f"unit/{u.name}/heat"][-1]) / 1e3 for u in day.network.units if is_consumer(u)
        ),
        "loss_kw": float(day.columns["energy/loss"][-1]) / float(day.time_s[-1]) / 1e3,
    }


def _pressures_pa(day: Run) -> Mapping[str, float]:
    return {node.name: float(day.columns[f"node/{node.name}/pressure"][-1]) for node in day.network.nodes}
