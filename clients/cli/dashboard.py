"""A territory on one screen: networks, their plant, factories, what is expected, alarms. Pure: lines of text.

It fits 80 x 24 for a network with nine units and four factories. Wider terminals get longer courses, higher ones more
alarms and the sensors that are furthest from their twin.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from uem.clients import display
from uem.clients.cli.common import line
from uem.clients.cli.summary import BIASED_K, Deviation, FactorySummary, NetworkSummary, Quality, Unit
from uem.clients.records import Alarm, Forecast, Series, State

_BAR = 10
_UNIT_WIDTH = 38
_FEWEST_COURSE = 8
_FACTORY = "{:<16} {:>3} {:>4} {:>3} {:>4} {:>9} {:>9} {:>9}  "
_STALE_S = 30.0
_RUNS = 0.01  # of the largest heat: less is what water takes that is led through a unit at rest


def known(*parts: tuple[str, float]) -> str:
    """The parts whose value is known, as one text."""
    return ", ".join(text for text, value in parts if math.isfinite(value))


def network_lines(state: State, found: NetworkSummary, width: int, silent_s: float = 0.0) -> Iterator[Text]:
    """A network in a block of lines: heat, water, ledger, twin against sensors, then its plant."""
    yield line(
        f"{state.asset.name}, plant time {display.plant_time(state.plant_time_ns)}"
        + (f", {state.missed} missed" if state.missed else "")
        + data(found.quality, silent_s),
        "bold",
    )
    heat = f"{_mw(found.taken_w)} MW to {found.taking} of {found.customers} customers"
    yield line(f"  heat    {heat}, {_mw(found.fed_w)} fed in; outdoor {_celsius(found.outdoor_k)}")
    water = f"  water   supply {_celsius(found.supply_k)}, return {_celsius(found.return_k)}"
    ledger = known(
        (f"recovered {_percent(found.recovered_share)}", found.recovered_share),
        (f"lost {_percent(found.lost_share)}", found.lost_share),
        (f"thrown away {_energy(found.curtailed_j)}", found.curtailed_j),
        (f"CO2 avoided {_mass(found.co2_avoided_kg)}", found.co2_avoided_kg),
    )
    yield line(water)
    if ledger:
        yield line(f"  so far  {ledger}")
    if found.sensors:
        yield _twin_line(found)
    if found.most_corrected is not None:
        yield _bias_line(found, found.most_corrected)
    if found.units:
        yield from _plant_lines(found.units, width)


def _twin_line(found: NetworkSummary) -> Text:
    worst = found.worst
    if worst is None:
        return line("  twin    no sensor can be held against it yet", "dim")
    style = "yellow" if found.beyond else ""
    return line(f"  twin    {found.beyond} of {found.sensors} sensors over 3 sigma, most {_deviation(worst)}", style)


def _bias_line(found: NetworkSummary, most: Deviation) -> Text:
    """Where the twin follows a sensor against its own model: either may be wrong, and no deviation shows it."""
    style = "yellow" if found.corrected else ""
    return line(f"  bias    {found.corrected} of {found.sensors} over {BIASED_K:g} K, most {_deviation(most)}", style)


def _deviation(worst: Deviation) -> str:
    unit = worst.display_unit
    shown = display.difference(display.shown_difference(worst.value, unit), unit, sign=True)
    name = {"Cel": "K"}.get(unit, display.unit_name(unit))
    where = worst.signal.removeprefix("node/").removesuffix("/temperature")  # 80 columns are few
    return f"{where} {shown} {name}".rstrip()


def data(quality: Quality, silent_s: float = 0.0) -> str:
    """The age of the newest measurement and how many values are not good, as the end of a heading.

    A twin that told nothing for `silent_s` has heard nothing since, so that no age in its state counts any more.
    """
    age_s = max(quality.age_s, silent_s) if silent_s > _STALE_S else quality.age_s
    if not math.isfinite(age_s):
        return ", no data"
    old = f"data {display.duration(age_s)} old{'!' if age_s > _STALE_S else ''}"
    counts = ((quality.uncertain, "uncertain"), (quality.bad, "bad"), (quality.silent, "silent"))
    return ", ".join(["", old, *(f"{count} {word}" for count, word in counts if count)])


def _plant_lines(units: Sequence[Unit], width: int) -> Iterator[Text]:
    """Units by their heat, with bars; in as many columns as there is room for."""
    largest_w = max((abs(unit.heat_w) for unit in units if math.isfinite(unit.heat_w)), default=0.0)
    running = sum(unit.heat_w > _RUNS * largest_w for unit in units)
    unsure = "; ? uncertain" if any(not unit.is_good for unit in units) else ""
    yield line(f"plant, MW: {running} of {len(units)} units give heat{unsure}", "bold")
    columns = max(1, min((width - 2) // _UNIT_WIDTH, 4))
    rows = -(-len(units) // columns)
    cells = [_unit(unit, largest_w) for unit in units]
    for row in range(rows):
        yield line("  " + " ".join(cells[row::rows]).rstrip())


def giver_lines(givers: Mapping[str, Sequence[str]]) -> list[Text]:
    """Which units take the heat of which factories; no line where none does."""
    texts = [f"{unit} (heat of {', '.join(names)})" for unit, names in givers.items() if names]
    return [line(", ".join(texts), "dim")] if texts else []


def _unit(unit: Unit, largest_w: float) -> str:
    share = abs(unit.heat_w) / largest_w if largest_w > 0.0 and math.isfinite(unit.heat_w) else 0.0
    bar = "█" * math.ceil((share - _RUNS) * _BAR)
    value = "off" if unit.heat_w == 0.0 else _mw(unit.heat_w)
    return f"{unit.name[:15]:<16}{bar:<{_BAR}} {value:>7}{' ' if unit.is_good else '?'}".ljust(_UNIT_WIDTH - 1)


def factory_head(width: int) -> Text:
    """The heads of the columns of `factory_line`."""
    head = _FACTORY.format("factories", "run", "wait", "off", "down", "parts/h", "power kW", "heat kW")
    return line(head + ("heat, next 24 h" if width >= len(head) + 15 else "next"), "bold")


def factory_line(
    name: str, found: FactorySummary, forecast: Forecast | None, width: int, silent_s: float = 0.0
) -> Text:
    """A factory in one line: machines by what they do, output, power, waste heat now and expected, or how old it is."""
    cells = _FACTORY.format(
        f"{name[:14]}{' !' if found.is_parted else ''}",
        found.running,
        found.waiting,
        found.off,
        len(found.down),
        _number(3600.0 * found.output_per_s, 1),
        _number(found.power_w / 1e3, 0),
        _number(found.heat_w / 1e3, 0),
    )
    if silent_s > _STALE_S:
        return line(f"{cells}{display.duration(silent_s)} old!", "yellow")
    heat = _series(forecast, "heat/")
    course = display.sparkline(heat.value, max(width - len(cells), 0), low=0.0) if heat is not None else ""
    return line(cells + course, "yellow" if found.down or found.is_parted else "")


def factory_text(state: State, found: FactorySummary, silent_s: float = 0.0) -> str:
    """A factory as one plain line of a log."""
    counts = ((found.running, "run"), (found.waiting, "wait"), (found.off, "off"), (len(found.down), "down"))
    machines = ", ".join(f"{count} {word}" for count, word in counts if count)
    figures = known(
        (f"{_number(3600.0 * found.output_per_s, 1)} parts/h", found.output_per_s),
        (f"power {_number(found.power_w / 1e3, 0)} kW", found.power_w),
        (f"waste heat {_number(found.heat_w / 1e3, 0)} kW", found.heat_w),
    )
    down = f"; down: {', '.join(found.down)}" if found.down else ""
    parted = "; its twin parted from it" if found.is_parted else ""
    time = display.plant_time(state.plant_time_ns)
    return (
        f"{state.asset.name}, plant time {time}, step {state.tick}{data(found.quality, silent_s)}: "
        f"machines {machines or 'unknown'}; {figures}{down}{parted}"
    )


def demand_line(name: str, forecast: Forecast | str, now_w: float, width: int) -> Text:
    """Demand of a network: now, its course over the horizon, and the peak with its band; or why there is none."""
    if isinstance(forecast, str):
        why = forecast.removeprefix("not available: ").removeprefix(f"asset {name}/demand: ")
        return line(f"demand, MW: {_mw(now_w)} now; no forecast: {why}", "dim")
    series = _series(forecast, "")
    if series is None:
        return line(f"demand, MW: {_mw(now_w)} now; nothing is forecast", "dim")
    peak = int(series.value.argmax())
    band = ""
    if len(forecast.quantile_level):
        levels, ends = forecast.quantile_level, series.quantile[peak]
        band = f" (P{100 * levels[0]:g} {_mw(ends[0])}, P{100 * levels[-1]:g} {_mw(ends[-1])})"
    time = f" at {display.plant_time(int(series.valid_time_ns[peak]))[11:16]}Z"
    ahead = display.duration((int(series.valid_time_ns[-1]) - forecast.issue_time_ns) / 1e9)
    begin, end = f"demand, MW: {_mw(now_w)} now, {ahead} ahead ", f" peak {_mw(series.value[peak])}"
    if width - len(begin) - len(end) - len(band) - len(time) > _FEWEST_COURSE:
        end += band  # in a narrow terminal the course says more
    end += time
    room = min(width - len(begin) - len(end), 96)
    return line(begin + display.sparkline(series.value, max(room, 0), low=0.0) + end, "cyan")


def _series(forecast: Forecast | None, begin: str) -> Series | None:
    if forecast is None:
        return None
    return next((s for s in forecast.series if s.signal.startswith(begin) and len(s.value)), None)


def alarm_lines(alarms: Sequence[Alarm], down: Sequence[str], most: int) -> list[Text]:
    """What is `down` and the active alarms, the most severe first, in at most `most` lines with their head."""
    stand = [line(f"down: {', '.join(down)}", "bold red")] if down else []
    if not alarms:
        return stand or [line("no active alarms", "dim")]
    most -= len(stand)
    room = max(most - 1, 0)
    more = f", the first {room} of them" if room < len(alarms) else ""
    head = line(f"{len(alarms)} active alarm{'s' if len(alarms) > 1 else ''}{more}", "bold red")
    return [
        *stand,
        head,
        *(line(f"  {a.priority:<6} {a.plant}: {a.message or a.name} ({a.source})") for a in alarms[:room]),
    ]


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"


def _mw(value_w: float) -> str:
    return _number(float(value_w) / 1e6, 2 if abs(value_w) < 99.95e6 else 1)


def _celsius(value_k: float) -> str:
    return f"{display.number(display.shown(value_k, 'Cel'), 'Cel')} °C"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _energy(value_j: float) -> str:
    return f"{value_j / 3.6e9:.2f} MWh" if abs(value_j) < 3.6e12 else f"{value_j / 3.6e12:.2f} GWh"


def _mass(value_kg: float) -> str:
    return f"{value_kg:.0f} kg" if abs(value_kg) < 1e4 else f"{value_kg / 1e3:.1f} t"
