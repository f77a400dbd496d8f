"""A factory as it really is: not quite as its twin believes, and told by its controllers and meters.

    truth = FactoryTruth(site, sensors, seed=1)        # sensors: tags by the signal that they measure
    truth.begin(time_ns)                               # what a factory is at that time, after weeks of work
    truth.step(1.0)
    samples = Samples.from_rows(truth.rows(time_ns))   # what changed since the last rows, and what meters show now

States, counters, parts of batches and levels are told when they change, with the time of the scan that saw it; meters
and thermocouples at every call. All that differs is drawn once from the seed, with the magnitudes of `Unlike`; sources:
docs/models/truth.md. Each slot of a machine is one of its own, as its controllers are.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from uem.twin_core.errors import UnknownName
from uem.twin_core.measurements import GOOD, NS_PER_S
from uem.twin_core.plant.factory import FactorySite, slots_apart
from uem.twin_core.plant.furnace import Furnace
from uem.twin_core.plant.production import Factory, Failure, Machine, deterministic, stretched
from uem.twin_core.production import engine
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.production.indicators import PACKML
from uem.twin_core.production.plan import STATES, FactoryPlan
from uem.twin_core.units import ZERO_CELSIUS_K

SCAN_S = 1.0  # of the controllers
SETTLE_S = 14 * 86_400.0
_PACKML = np.array([float(PACKML[state]) for state in STATES])
_FAILED = [STATES.index(state) for state in ("down", "waiting_for_crew")]  # aborted and clearing in PackML
_NEVER = deterministic(math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """How much factory and instruments differ from what is believed; parts of the value, evenly within +-.

    Noise and gains are standard deviations.
    """

    cycle: float = 0.05  # of each machine; recipes of furnaces are programmes, and are kept
    failures: float = 0.20  # times to failure and to repair
    power: float = 0.05  # in every state
    furnace: float = 0.05  # what it draws in air and fumes, its walls and its load
    gain: float = 0.01  # of meters
    noise: float = 0.005
    digit_w: float = 100.0
    thermocouple: float = 0.002  # of the temperature in degC
    thermocouple_noise_k: float = 0.3
    thermocouple_digit_k: float = 0.1


EXACT = Unlike(**dict.fromkeys(Unlike.__slots__, 0.0))


def unlike(factory: Factory, how: Unlike, rng: np.random.Generator) -> Factory:
    """The factory with other times, powers and furnaces; each machine gets a last failure, by which it is stopped."""

    def about(part: float) -> float:
        return float(rng.uniform(1.0 - part, 1.0 + part))

    def failure(one: Failure) -> Failure:
        return replace(
            one,
            to_fail=stretched(one.to_fail, about(how.failures)),
            to_repair=stretched(one.to_repair, about(how.failures)),
        )

    def furnace(one: Furnace) -> Furnace:
        exhaust = about(how.furnace)
        return replace(
            one,
            vent_kg_s=exhaust * one.vent_kg_s,
            fumes_kg_per_j=exhaust * one.fumes_kg_per_j,
            wall_w_per_k=about(how.furnace) * one.wall_w_per_k,
            part_j_per_k=about(how.furnace) * one.part_j_per_k,
        )

    def machine(one: Machine) -> Machine:
        pace, power = about(how.cycle), about(how.power)
        stop = Failure(to_fail=_NEVER, to_repair=_NEVER, kind="calendar")
        other = replace(
            one,
            failures=(*map(failure, one.failures), stop),
            power_w={state: power * watts for state, watts in one.power_w.items()},
        )
        if one.furnace is not None:
            return replace(other, furnace=furnace(one.furnace))
        laws = {product: stretched(law, pace) for product, law in one.recipes.items()}
        return replace(other, cycle=stretched(one.cycle, pace), recipes=laws)

    return replace(factory, machines=tuple(map(machine, factory.machines)))


class FactoryTruth:
    """A factory that runs by itself, and what it tells."""

    def __init__(
        self,
        site: FactorySite,
        sensors: Mapping[str, Sequence[str]] | None = None,
        *,
        seed: int,
        how: Unlike | None = None,
    ) -> None:
        """`sensors`: tags by the signal that meters measure, one of `metered`; other signals are not looked at.

        What the site has tags for is told by these.
        """
        self._how, self._rng = how or Unlike(), np.random.default_rng(seed)
        apart = slots_apart(site)
        self.site = replace(apart, factory=unlike(apart.factory, self._how, self._rng))
        self.name, self.plan = site.name, FactoryPlan(self.site.factory)
        self._slots = {m.name: m.slots for m in site.factory.machines if m.name not in self.plan.machines}
        self._heat = HeatMeter(self.plan, self.site.heat)
        self._seed, self._run = seed, self.plan.initial_run(seed=seed)
        self._controllers = self._of_controllers()
        self._begin_meters()
        self._meters = self._of_meters(sensors or {})
        self._thermocouples = self._of_chambers()
        self._gain = self._rng.normal(size=len(self._meters) + len(self._thermocouples))
        self.begin(site.calendar_epoch_ns, 0.0)

    # ---- time ----

    def begin(self, time_ns: int, settle_s: float | None = None) -> None:
        """Stand at `time_ns`, after at least `settle_s` of work that began with a period of the calendars.

        By default two weeks; with orders as little as can be, since they would be done by then.
        """
        if settle_s is None:
            settle_s = 0.0 if self.site.factory.orders else SETTLE_S
        self._origin_ns = self.site.period_begin_ns(time_ns - round(settle_s * NS_PER_S))
        self._run = self.plan.initial_run(seed=self._seed)
        self.plan.run(self._run, (time_ns - self._origin_ns) / NS_PER_S)
        self._begin_meters()
        self._events = -1
        self._stops: dict[str, set[str]] = {}  # by machine, the names by which it is held down
        self._shown: dict[str, float] = {}
        self._changes: list[tuple[str, int, float]] = []
        self._scan()

    def _begin_meters(self) -> None:
        self._spent = self.plan.spent(self._run)
        self._heat_w = np.zeros(len(self.site.heat))
        self._power_w = np.zeros(len(self.plan.machines))
        self._fuel_w = np.zeros(len(self._spent.furnaces.furnaces))

    def step(self, dt_s: float) -> None:
        """Go on; changes are kept for `rows` with the time of the scan that saw them."""
        begin_s, scans = self._run.now_s, max(round(dt_s / SCAN_S), 1)
        for k in range(scans):
            self.plan.run(self._run, begin_s + dt_s * (k + 1) / scans)
            self._scan()
        before, self._spent = self._spent, self.plan.spent(self._run)
        self._heat_w = self._heat.given_j(before, self._spent) / dt_s
        self._power_w = (self._spent.energy_j - before.energy_j).sum(axis=1) / dt_s
        self._fuel_w = (self._spent.furnaces.fuel_j - before.furnaces.fuel_j)[0] / dt_s

    def _scan(self) -> None:
        """Keep what controllers show anew."""
        events = int(self._run.view["head"]["events"][0])
        if events == self._events:
            return
        self._events, time_ns, before = events, self._now_ns(), self._shown
        self._shown = self.shown()
        self._changes += [(tag, time_ns, value) for tag, value in self._shown.items() if before.get(tag) != value]

    def _now_ns(self) -> int:
        return self._origin_ns + round(self._run.now_s * NS_PER_S)

    # ---- what is done to it ----

    def stop(self, machine: str) -> None:
        """Hold a machine down (all slots of `lathes`, or `lathes-2` alone) until `resume`; UnknownName."""
        for name in self._apart(machine):
            holds = self._stops.setdefault(name, set())
            if not holds:
                self.plan.stop(self._run, name, self._stop(name))
            holds.add(machine)

    def resume(self, machine: str) -> None:
        """A machine that was stopped goes on where it was, unless another stop holds it; UnknownName."""
        for name in self._apart(machine):
            holds = self._stops.get(name, set())
            if holds == {machine}:
                self.plan.resume(self._run, name, self._stop(name))
            holds.discard(machine)

    def _apart(self, machine: str) -> list[str]:
        if machine in self._slots:
            return [f"{machine}-{k}" for k in range(1, self._slots[machine] + 1)]
        if machine not in self.plan.machines:
            raise UnknownName("machine", machine, (*self._slots, *self.plan.machines))
        return [machine]

    def _stop(self, name: str) -> int:
        """The last failure of a machine, by which it is stopped."""
        return len(self.site.factory.machines[self.plan.machines.index(name)].failures) - 1

    def set_limit(self, utility: str, limit: float) -> None:
        """What a utility can give from now on, such as the cooling of a loop that is too warm; UnknownName."""
        self.plan.set_limit(self._run, utility, limit)

    # ---- what it tells ----

    def heat_w(self) -> dict[str, float]:
        """What each stream really gave, mean over the last step."""
        return dict(zip(self._heat.names, self._heat_w.tolist(), strict=True))

    def metered(self) -> dict[str, float]:
        """By signal, true means over the last step: powers of machines, fuel of furnaces, heat of streams."""
        furnaces = self._spent.furnaces.furnaces
        power = zip(self.plan.machines, self._power_w.tolist(), strict=True)
        fuel = zip(furnaces, self._fuel_w.tolist(), strict=True)
        return {
            **{f"factory/{self.name}/power/{machine}": watts for machine, watts in power},
            **{f"factory/{self.name}/fuel/{furnace}": watts for furnace, watts in fuel},
            **{f"heat/{self.name}/{stream}/produced": watts for stream, watts in self.heat_w().items()},
        }

    def failed(self) -> list[str]:
        """Machines that stand by a fault, slot by slot, whether somebody works on them or not."""
        shown = self._run.view["server"]["shown"][: len(self.plan.machines)]
        return [self.plan.machines[m] for m in np.flatnonzero(np.isin(shown, _FAILED)).tolist()]

    def shown(self) -> dict[str, float]:
        """By tag, what controllers show now."""
        server = self._run.view["server"][: len(self.plan.machines)]
        kinds = {
            "state_tag": _PACKML[server["shown"]].tolist(),
            "good_tag": (server["made"] - server["scrapped"]).tolist(),
            "scrap_tag": server["scrapped"].tolist(),
            "batch_tag": np.where(server["phase"] == engine.PHASES["work"], server["load"], 0).tolist(),
            "level_tag": self._run.view["buffer"]["level"].tolist(),
        }
        return {tag: float(kinds[kind][i]) for tag, kind, i in self._controllers}

    def rows(self, time_ns: int) -> Iterator[tuple[str, int, float, int]]:
        """(tag, time, SI value, quality), `time_ns` being now: changes since the last call, then meters."""
        shift_ns = time_ns - self._now_ns()
        changes, self._changes = self._changes, []
        for tag, at_ns, value in changes:
            yield tag, at_ns + shift_ns, value, GOOD
        how, true = self._how, self.metered()
        wrong = zip(self._gain.tolist(), self._rng.normal(size=len(self._gain)).tolist(), strict=True)
        for (tag, signal), (gain, noise) in zip(self._meters.items(), wrong):  # noqa: B905 - the rest is below
            shown_w = true[signal] * (1.0 + how.gain * gain) * (1.0 + how.noise * noise)
            yield tag, time_ns, _rounded(shown_w, how.digit_w), GOOD
        temps_k = self._spent.furnaces.temperature_k[0, :, 0].tolist()
        for (tag, f), (gain, noise) in zip(self._thermocouples, wrong, strict=True):
            off_k = how.thermocouple * (temps_k[f] - ZERO_CELSIUS_K) * gain + how.thermocouple_noise_k * noise
            yield tag, time_ns, _rounded(temps_k[f] + off_k, how.thermocouple_digit_k), GOOD

    def _of_controllers(self) -> list[tuple[str, str, int]]:
        """(tag, kind, row of the machine or buffer)."""
        tags = [(m, self.site.machine_tags.get(name)) for m, name in enumerate(self.plan.machines)]
        found = [
            (str(getattr(mine, kind)), kind, m)
            for m, mine in tags
            for kind in ("state_tag", "good_tag", "scrap_tag", "batch_tag")
            if mine is not None and getattr(mine, kind)
        ]
        levels = self.site.level_tags.items()
        return found + [(tag, "level_tag", self.plan.buffers.index(buffer)) for buffer, tag in levels]

    def _of_meters(self, sensors: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Signal by tag."""
        found = {tag: signal for signal in self.metered() for tag in sensors.get(signal, ())}
        mine = self.site.machine_tags.items()
        return found | {tags.power_tag: f"factory/{self.name}/power/{name}" for name, tags in mine if tags.power_tag}

    def _of_chambers(self) -> list[tuple[str, int]]:
        """(tag, row of the furnace) of chambers that are measured."""
        tags = [self.site.machine_tags.get(name) for name in self._spent.furnaces.furnaces]
        return [(mine.temperature_tag, f) for f, mine in enumerate(tags) if mine is not None and mine.temperature_tag]


def _rounded(value: float, digit: float) -> float:
    return digit * round(value / digit) if digit else value
