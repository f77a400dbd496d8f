"""What `uem watch` and `uem up` show, composed: a screen for terminals, a block of lines for logs. Pure."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table
from rich.text import Text

from uem.clients.cli import dashboard, view
from uem.clients.cli.common import line
from uem.clients.cli.summary import NetworkReader, factory_summary, is_closed, worst_signals
from uem.clients.records import Alarm, Forecast, Kind, State

_LOG_WIDTH = 100
_FEWEST_SENSORS = 3
_ROOMY = 8  # so many lines are left: half of them for alarms at most
Part = Text | Table


@dataclass(frozen=True, slots=True)
class Choice:
    """How much is shown: `named` assets, signals that match `pattern`, or all of everything."""

    named: Collection[str] = ()
    pattern: str = ""
    everything: bool = False

    def is_detailed(self, state: State) -> bool:
        """Whether a state is shown signal by signal; else by what matters of it."""
        if self.pattern or self.everything:
            return True
        if state.asset.kind is Kind.FACTORY:
            return state.asset.name in self.named
        return not is_closed(state)


@dataclass(slots=True)
class Scene:
    """What is newest. A text instead of a forecast says why there is none."""

    header: str = ""
    choice: Choice = Choice()
    states: dict[str, State] = field(default_factory=dict)
    readers: dict[str, NetworkReader] = field(default_factory=dict)
    forecasts: dict[str, Forecast | str] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    silent_s: dict[str, float] = field(default_factory=dict)  # for so long no state of an asset was published


def screen(scene: Scene, width: int, height: int, notes: Sequence[str] = ()) -> Group:
    """For a terminal: what matters first; what is left of its height goes to alarms and to sensors far off."""
    parts: list[Part] = [line(scene.header, "bold"), *(Text(f"! {note}", "bold red") for note in notes)]
    states = sorted(scene.states.values(), key=_order)
    summed = [state for state in states if _is_summed(scene, state)]
    told = {(alarm.plant, alarm.source) for alarm in scene.alarms}  # by the plants themselves
    sources = {source for _, source in told}
    down: list[str] = []
    for state in summed:
        if state.asset.kind is not Kind.FACTORY:
            parts += _network(scene, state, width)
            mute = scene.readers[state.asset.name].mute(state)
            down += [f"{unit} (does not answer)" for unit in mute if unit not in sources]
    factories = [state for state in summed if state.asset.kind is Kind.FACTORY]
    if factories:
        parts.append(dashboard.factory_head(width))
    for state in factories:
        name, found = state.asset.name, factory_summary(state)
        forecast = scene.forecasts.get(name)
        expected = forecast if isinstance(forecast, Forecast) else None
        parts.append(dashboard.factory_line(name, found, expected, width, scene.silent_s.get(name, 0.0)))
        down += [f"{name}/{machine}" for machine in found.down if (name, machine) not in told]
    details: list[Part] = []
    for state in states:
        if state not in summed:
            details += view.detail(state, _expected(scene, state), width, scene.choice.pattern or "*")
    if summed or scene.alarms:
        left = height - _heights([*parts, *details], width)
        parts += dashboard.alarm_lines(scene.alarms, down, max(left if left < _ROOMY else left // 2, 1))
    parts += details
    if height - _heights(parts, width) > _FEWEST_SENSORS + 1:
        parts += [text for reader in scene.readers.values() for text in dashboard.giver_lines(reader.givers)]
    parts += _far_off(summed, height - _heights(parts, width), width)
    return Group(*parts)


def _order(state: State) -> tuple[bool, str]:
    """Factories below what they warm, by name."""
    factory = state.asset.kind is Kind.FACTORY
    return factory, state.asset.name if factory else ""


def block(scene: Scene, notes: Sequence[str] = ()) -> str:
    """For logs and pipes."""
    lines = [f"! {note}" for note in notes]
    for state in scene.states.values():
        lines += state_lines(scene, state)
    if scene.alarms:
        lines += [text.plain for text in dashboard.alarm_lines(scene.alarms, (), len(scene.alarms) + 1)]
    return "\n".join(lines)


def state_lines(scene: Scene, state: State) -> Iterator[str]:
    """A state in plain lines: what matters of it, or signal by signal as the choice and its kind say."""
    if not _is_summed(scene, state):
        yield from view.plain_lines(state, _expected(scene, state), scene.choice.pattern or "*")
    elif state.asset.kind is Kind.FACTORY:
        silent_s = scene.silent_s.get(state.asset.name, 0.0)
        yield dashboard.factory_text(state, factory_summary(state), silent_s)
    else:
        yield from (text.plain for text in _network(scene, state, _LOG_WIDTH))


def demand_of(network: str) -> str:
    """The asset whose forecasts are the heat demand of a network."""
    return f"{network}/demand"


def _is_summed(scene: Scene, state: State) -> bool:
    if scene.choice.is_detailed(state):
        return False
    return state.asset.kind is Kind.FACTORY or state.asset.name in scene.readers


def _network(scene: Scene, state: State, width: int) -> Iterator[Text]:
    found = scene.readers[state.asset.name].summary(state)
    yield from dashboard.network_lines(state, found, width, scene.silent_s.get(state.asset.name, 0.0))
    forecast = scene.forecasts.get(demand_of(state.asset.name))
    if forecast is not None:
        yield dashboard.demand_line(state.asset.name, forecast, found.taken_w, width)
    else:
        yield from (line(f"forecast {text}", "cyan") for text in _expected(scene, state))


def _expected(scene: Scene, state: State) -> list[str]:
    forecast = scene.forecasts.get(state.asset.name)
    if forecast is None or scene.choice.pattern:
        return []
    return view.forecast_lines(forecast) if isinstance(forecast, Forecast) else [forecast]


def _far_off(states: Sequence[State], left: int, width: int) -> Iterator[Part]:
    """The sensors that are furthest from their twin, in the lines that are left."""
    if left < _FEWEST_SENSORS + 1:
        return
    networks = [state for state in states if state.asset.kind is not Kind.FACTORY]
    for state in networks:
        rows = view.rows_of(state, worst_signals(state, left // len(networks) - 1))
        if rows:
            yield view.pairs_table([(row, None) for row in rows], width)


def _heights(parts: Sequence[Part], width: int) -> int:
    return sum(_height(part, width) for part in parts)


def _height(part: Part, width: int) -> int:
    if isinstance(part, Table):
        return part.row_count + 1
    return 1 if part.no_wrap else math.ceil(part.cell_len / max(width, 1))
