"""A factory where it stands: its machines, the heat that they give off, what is measured of it.

Heat is a share of the electric power that a machine takes in a state. It warms the water of a loop, which gives it to
a waste-heat exchanger or a heat pump of a network; what that does not take a recooler throws away, as far as it can.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.problem import Problem
from uem.twin_core.plant.production import Factory, Machine

MOST_TEMP_K = 1773.15
SLOT = "{slot}"  # in the tags of a machine with several slots: 1, 2, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatLoop:
    """Water (or oil, or gas) that carries heat to the exchanger `unit` of a network, well mixed.

    The recooler holds it at `recool_temp_k` as far as its power suffices. Above `alarm_temp_k` the factory has no
    cooling: what `utility` may give falls to `alarm_limit`, until the loop is below `clear_temp_k`.
    """

    network: str
    unit: str  # a waste-heat exchanger, or a heat pump whose source it is
    content_j_k: float  # heat capacity of what is in the loop
    temp_k: float  # at the beginning
    recool_w: float = 0.0
    recool_temp_k: float = MOST_TEMP_K
    alarm_temp_k: float = MOST_TEMP_K
    clear_temp_k: float = MOST_TEMP_K
    utility: str = ""  # that falls short while the alarm is on; empty: nothing stops
    alarm_limit: float = 0.0

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with it, each beginning with the key."""
        if not 0 < self.content_j_k < math.inf:
            yield Problem.of(self, "content_j_k: {content_j_k} must be positive")
        for key in ("temp_k", "recool_temp_k", "alarm_temp_k", "clear_temp_k"):
            if not 223.15 <= getattr(self, key) <= MOST_TEMP_K:
                limits = {"low": (key, 223.15), "high": (key, MOST_TEMP_K)}
                yield Problem.of(self, f"{key}: {{{key}}} must be from {{low}} to {{high}}", **limits)
        if self.clear_temp_k > self.alarm_temp_k:
            yield Problem.of(self, "clear_temp_k: {clear_temp_k} must not be above alarm_temp_k {alarm_temp_k}")
        if self.recool_w < 0:
            yield Problem.of(self, "recool_w: {recool_w} must not be negative")
        if self.alarm_limit < 0:
            yield f"alarm_limit: {self.alarm_limit} must not be negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatStream:
    """Heat of some machines that leaves in one way.

    `shares` of their electric power, by machine and state; of `furnaces` what their exhaust and forced cooling carry
    above a temperature, one of their `levels_k`.
    """

    name: str
    shares: Mapping[str, Mapping[str, float]]
    furnaces: Mapping[str, float] = field(default_factory=dict)
    loop: HeatLoop | None = None  # None: nobody uses it


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTags:
    """What is measured of a machine (empty: not measured). A machine with several slots has `SLOT` in each tag."""

    state_tag: str = ""  # PackML state by its number
    good_tag: str = ""  # counter of good parts; a batch counts when it ends
    scrap_tag: str = ""  # counter of scrapped parts
    batch_tag: str = ""  # parts of the batch that it works on
    temperature_tag: str = ""  # of the chamber of a furnace
    power_tag: str = ""  # electricity that it takes, the heating of a furnace included

    @property
    def used(self) -> tuple[str, ...]:
        """The tags that there are."""
        return tuple(tag for tag in (getattr(self, field.name) for field in fields(self)) if tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorySite:
    """A factory of the territory, its heat and its tags."""

    factory: Factory
    title: str = ""
    heat: tuple[HeatStream, ...] = ()
    machine_tags: Mapping[str, MachineTags] = field(default_factory=dict)  # by machine
    level_tags: Mapping[str, str] = field(default_factory=dict)  # by buffer
    calendar_epoch_ns: int = 345_600 * 10**9  # where a period of the calendars begins: a Monday, 0:00 UTC
    step_s: float = 10.0
    prior_worth: float = 10.0  # observations that the laws of the file are worth, as long as nothing is measured
    parted_parts: int = 2  # a counter that is so many parts off the prediction parts the two
    forecast_horizon_s: float = 86_400.0
    forecast_step_s: float = 900.0

    @property
    def name(self) -> str:
        """The name of the factory."""
        return self.factory.name

    def period_begin_ns(self, time_ns: int) -> int:
        """Where the period that all calendars have in common, a week without any, began before a time."""
        periods = [round(calendar.period_s * 1000) for calendar in self.factory.calendars]
        period_ns = math.lcm(*(periods or [604_800_000])) * 1_000_000
        return time_ns - (time_ns - self.calendar_epoch_ns) % period_ns

    def __post_init__(self) -> None:
        problems = [*self._problems()]
        if problems:
            raise InvalidTerritory(f"factory {self.name}", problems)

    def _problems(self) -> Iterator[str]:
        for name, count in Counter(stream.name for stream in self.heat).items():
            if count > 1 or not name:
                yield f"heat name {name!r} is used {count} times; each needs one of its own"
        machines = [machine.name for machine in self.factory.machines]
        buffers = [buffer.name for buffer in self.factory.buffers]
        utilities = [utility.name for utility in self.factory.utilities]
        for i, stream in enumerate(self.heat):
            for name in stream.shares:
                if name not in machines:
                    yield f"heat[{i}]: machine {name!r} does not exist; machines are {', '.join(machines)}"
            yield from (f"heat[{i}]: {text}" for text in self._furnace_problems(stream))
            if stream.loop is not None:
                yield from (_under(f"heat[{i}]", problem) for problem in stream.loop.problems())
                if stream.loop.utility and stream.loop.utility not in utilities:
                    known = ", ".join(utilities) or "none"
                    yield f"heat[{i}].utility: {stream.loop.utility!r} does not exist; utilities are {known}"
        yield from self._share_problems()
        for name in self.machine_tags:
            if name not in machines:
                yield f"tags: machine {name!r} does not exist; machines are {', '.join(machines)}"
            elif text := self._not_to_be_watched(name):
                yield f"machine {name}: {text}"
        for name in self.level_tags:
            if name not in buffers:
                yield f"tags: buffer {name!r} does not exist; buffers are {', '.join(buffers)}"
        if self.prior_worth <= 1 or self.parted_parts < 1:
            yield f"prior_worth {self.prior_worth} must be above 1, parted_parts {self.parted_parts} at least 1"

    def _not_to_be_watched(self, name: str) -> str:
        """Why a machine with tags cannot be followed."""
        machine = next(machine for machine in self.factory.machines if machine.name == name)
        tags = self.machine_tags[name]
        if not tags.state_tag:
            return "a counter tells something only together with a state_tag"
        if tags.scrap_tag and not tags.good_tag:
            return "a scrap_tag tells something only together with a good_tag"
        if machine.slots > 1 and any(SLOT not in tag for tag in tags.used):
            return f"it has {machine.slots} slots; each of its tags needs {SLOT}, which stands for 1, 2, ..."
        if tags.batch_tag and machine.batch[1] == 1:
            return "a batch_tag is for a machine that takes more than one part at once"
        if tags.temperature_tag and machine.furnace is None:
            return "a temperature_tag is for a machine with a furnace"
        special = machine.inspection, machine.rejects
        if any(thing is not None for thing in special) or machine.degradations or machine.defects:
            return "with inspection, rejects, defects or degradations it cannot be followed yet"
        return ""

    def _furnace_problems(self, stream: HeatStream) -> Iterator[str]:
        furnaces = {m.name: m.furnace for m in self.factory.machines if m.furnace is not None}
        for name, level_k in stream.furnaces.items():
            if name not in furnaces:
                yield f"furnace {name!r} does not exist; furnaces are {', '.join(furnaces) or 'none'}"
            elif level_k not in furnaces[name].levels_k:
                yield f"furnace {name} does not count its heat above this temperature; give it this level"
            elif furnaces[name].heating == "electric" and any(name in other.shares for other in self.heat):
                yield f"the electricity of furnace {name} is shared out already, of which this heat is a part"
            taken = [other.name for other in self.heat if name in other.furnaces]
            if taken.index(stream.name) > 0:
                yield f"the heat of furnace {name} goes to {taken[0]} already"

    def _share_problems(self) -> Iterator[str]:
        given: dict[tuple[str, str], float] = {}
        for stream in self.heat:
            for machine, shares in stream.shares.items():
                for state, share in shares.items():
                    if not 0 <= share <= 1:
                        yield f"heat {stream.name}: share {share} of {machine}, {state} must be from 0 to 1"
                    given[machine, state] = given.get((machine, state), 0.0) + share
        for (machine, state), share in given.items():
            if share > 1 + 1e-12:
                yield f"heat of {machine}, {state}: shares add up to {share:g}; at most 1, the rest warms the hall"


def slots_apart(site: FactorySite) -> FactorySite:
    """The same factory with each slot of a watched machine as a machine of its own: lathes-1, lathes-2, ..."""
    names = {m.name: _slot_names(m) if m.name in site.machine_tags else (m.name,) for m in site.factory.machines}
    if all(len(slots) == 1 for slots in names.values()):
        return site
    machines = [
        replace(machine, name=slot, slots=1 if len(names[machine.name]) > 1 else machine.slots)
        for machine in site.factory.machines
        for slot in names[machine.name]
    ]
    return replace(
        site,
        factory=replace(site.factory, machines=tuple(machines)),
        heat=tuple(
            replace(stream, shares={slot: shares for name, shares in stream.shares.items() for slot in names[name]})
            for stream in site.heat
        ),
        machine_tags={
            slot: MachineTags(**{f.name: getattr(tags, f.name).replace(SLOT, str(k)) for f in fields(tags)})
            for name, tags in site.machine_tags.items()
            for k, slot in enumerate(names[name], 1)
        },
    )


def _slot_names(machine: Machine) -> tuple[str, ...]:
    return tuple(f"{machine.name}-{k}" for k in range(1, machine.slots + 1)) if machine.slots > 1 else (machine.name,)


def given_heat(sites: Iterable[FactorySite]) -> Iterator[tuple[FactorySite, HeatStream, HeatLoop]]:
    """The streams that a network takes heat of, each with its factory and its loop."""
    for site in sites:
        for stream in site.heat:
            if stream.loop is not None:
                yield site, stream, stream.loop


def shared_exchangers(sites: Iterable[FactorySite]) -> Iterator[str]:
    """Heat that goes where other heat goes already: an exchanger finds one loop."""
    taken: dict[tuple[str, str], str] = {}
    for site, stream, loop in given_heat(sites):
        place = loop.network, loop.unit
        if place in taken:
            yield (
                f"factory {site.name}, heat {stream.name}: unit {loop.unit} takes heat {taken[place]} "
                f"already; give it an exchanger of its own"
            )
        taken[place] = f"{stream.name} of {site.name}"


def _under(key: str, problem: str) -> str:
    return problem.below(key) if isinstance(problem, Problem) else f"{key}.{problem}"
