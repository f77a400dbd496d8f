"""A factory run beside the plant: what is seen of machines, counters and levels moves it along.

A watched machine fails and is repaired when it is seen to; one that counts finishes a part when it counts it, another
one after its mean cycle. A batch ends with as many parts as are counted at once; its furnace heats until then.
From that the shadow predicts who has a part, who waits for one or for a place, and how full buffers are. Where
observation and prediction part - a part is counted that no machine had, a state is another one for longer than a cycle,
a level is `parted_parts` off, a counter jumps by more - it is set to what is seen: a resync, which is counted.

What is seen and all that changes is in `seen.py`, what counters tell of levels in `counted.py`, what a machine is like
in the shadow and in a forecast in `watched.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.follow.counted import CountedLevels
from uem.twin_core.follow.seen import BUSY, COUNTS_AS, DOWN, WAITING, Seen, ShadowState, group
from uem.twin_core.follow.watched import shadowed
from uem.twin_core.plant.factory import FactorySite
from uem.twin_core.plant.production import OUT, flows
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.production.indicators import PACKML, PackML
from uem.twin_core.production.plan import STATES, FactoryPlan, FactoryRun, Spent

Array = NDArray[np.float64]

SENSOR_CLASS_K = 1.5  # thermocouples of type K, class 1 (IEC 60584-1)
RECOMPILED = 0.005  # a mean cycle that moved by this part


class Shadow:
    """The followed factory of a site; `state` is set by `begin`."""

    def __init__(self, site: FactorySite) -> None:
        self.site = site
        self.machines = {machine.name: machine for machine in site.factory.machines}
        self.watched = tuple(name for name, tags in site.machine_tags.items() if tags.state_tag)
        self._index = {name: m for m, name in enumerate(self.machines)}
        self._first = np.cumsum([0, *(machine.slots for machine in site.factory.machines)])
        self._capacity = {buffer.name: buffer.capacity for buffer in site.factory.buffers}
        self._delay_s = {buffer.name: buffer.delay_s for buffer in site.factory.buffers}
        self._buffer_index = {name: b for b, name in enumerate(self._capacity)}
        self.mean_s = {name: self.machines[name].cycle.mean for name in self.watched}  # that the plan has
        self.meter = HeatMeter(FactoryPlan(site.factory), site.heat)
        self.plan = self._compiled()
        self._counted = CountedLevels(site, self.load, self.level)

    def _compiled(self) -> FactoryPlan:
        machines = tuple(
            shadowed(machine, None if self._counts(machine.name) else self.mean_s[machine.name])
            if machine.name in self.watched
            else machine
            for machine in self.site.factory.machines
        )
        return FactoryPlan(replace(self.site.factory, machines=machines))

    def _counts(self, name: str) -> bool:
        return bool(self.site.machine_tags[name].good_tag)

    # ---- begin ----

    def begin(
        self, time_s: float, states: Mapping[str, int], made: Mapping[str, tuple[int, int]], levels: Mapping[str, int]
    ) -> None:
        """Stand at `time_s` with what is seen there; the rest is empty and in order."""
        run = self.plan.initial_run()
        run.view["head"]["now"] = time_s
        run.view["server"]["since"][: self._first[-1]] = time_s
        self.plan.clear_ledger(run)
        seen = {name: Seen() for name in self.watched}
        for name, number in states.items():
            seen[name].state = number
        for name, (good, scrap) in made.items():
            seen[name].good, seen[name].scrap = good, scrap
        self.state = ShadowState(run, seen, dict(levels))
        self.state.energy_j = np.zeros_like(self.plan.power_w)
        self.state.heat_j = np.zeros(len(self.site.heat))
        self.state.believed_j = np.zeros(1 + len(self.site.heat))
        known = {b.name: levels.get(b.name, b.initial) for b in self.site.factory.buffers}
        self.plan.inject(run, levels=known)
        self._ripen(run)
        for name, (good, scrap) in made.items():
            self._release(name, max(good + scrap, 0))
        self._counted.begin(self.state, known)
        self._inject_all()

    def _ripen(self, run: FactoryRun) -> None:
        """What lies in a buffer where parts cool or dry came nobody knows when: it is ready, unless who takes it waits.

        All but the last part, which the engine has set its clock for.
        """
        for b, buffer in enumerate(self.site.factory.buffers):
            if buffer.delay_s <= 0.0 or math.isfinite(buffer.longest_s) or self._is_waited_for(buffer.name):
                continue
            queue, part = run.view["queue"][b], run.view["part"]
            first = p = int(queue["first"])
            while p >= 0:
                part["entered"][p] = part["entered"][first]
                p = int(part["next"][p])
            if queue["n_fresh"] > 1:
                queue["fresh"], queue["n_fresh"] = queue["last"], 1

    def _is_waited_for(self, buffer: str) -> bool:
        """Whether a machine that takes from a buffer was seen waiting."""
        return any(
            self.state.seen[name].state in WAITING
            for name in self.watched
            if buffer in [flow.buffer for flow in flows(self.machines[name].takes)]
        )

    # ---- time ----

    @property
    def now_s(self) -> float:
        """The moment it stands at."""
        return self.state.run.now_s

    def go_to(self, time_s: float) -> None:
        """Predict until `time_s`; energy is as metered, else of the states that were seen, else of those predicted.

        A meter tells the mean since it told last, so what it told counts backward.
        """
        dt_s = time_s - self.now_s
        if dt_s <= 0.0:
            return
        rows = {name: self._row(name) for name in self.watched if self.state.seen[name].state is not None}
        before = self.plan.spent(self.state.run)
        self.plan.run(self.state.run, time_s)
        after = self.plan.spent(self.state.run)
        spent = after.energy_j - before.energy_j
        heated_j = dict(
            zip(
                after.furnaces.furnaces,
                (after.furnaces.heating_j - before.furnaces.heating_j)[0].sum(axis=1),
                strict=True,
            )
        )
        electric = dict(zip(after.furnaces.furnaces, after.furnaces.electric, strict=True))
        for name, row in rows.items():
            m = self._index[name]
            spent[m] = 0.0
            spent[m, row] = self.plan.power_w[m, row] * dt_s
            if electric.get(name, False):
                spent[m, row] += heated_j[name]
        believed = spent.copy()
        for name, row in rows.items():
            metered_w = self.state.seen[name].power_w
            if metered_w is not None:
                spent[self._index[name], row] = metered_w * dt_s
        given_j = self.meter.given_j(Spent(np.zeros_like(spent), before.furnaces), Spent(spent, after.furnaces))
        self.state.energy_j += spent
        self.state.heat_j += given_j
        self.state.believed_j[0] += believed.sum()
        self.state.believed_j[1:] += given_j + self.meter.split_j(believed - spent)

    def believe(self, mean_s: Mapping[str, float]) -> None:
        """Predict with these mean cycle times from now on."""
        if all(abs(mean / self.mean_s[name] - 1.0) < RECOMPILED for name, mean in mean_s.items()):
            return
        self.mean_s = {**self.mean_s, **mean_s}
        self.plan = self._compiled()  # the layout of its runs is the same

    def _row(self, name: str) -> int:
        """The state of the engine that a watched machine counts as."""
        seen, shown = self.state.seen[name].state, self.shown(name)
        if seen is None or PACKML[STATES[shown]] == seen:
            return shown
        state = COUNTS_AS.get(PackML(seen), "off") if seen in set(PackML) else "off"
        if state == "sleeping" and self.machines[name].sleep is None:
            state = "starved"
        return STATES.index(state)

    def shown(self, name: str) -> int:
        """The state that the run has a machine in, as an index into `STATES`."""
        return int(self._server(name)["shown"])

    def power_w(self) -> Array:
        """Power by machine at this moment, (machines,), as `go_to` would count it."""
        shown = self.state.run.view["server"]["shown"]
        found = np.array(
            [
                self.plan.power_w[m, shown[self._first[m] : self._first[m + 1]].astype(int)].sum()
                for m in range(len(self.machines))
            ]
        )
        for name in self.watched:
            seen = self.state.seen[name]
            if seen.power_w is not None:
                found[self._index[name]] = seen.power_w
            elif seen.state is not None:
                found[self._index[name]] = self.plan.power_w[self._index[name], self._row(name)]
        return found

    def set_limit(self, utility: str, limit: float) -> None:
        """What a utility can give from now on."""
        self.plan.set_limit(self.state.run, utility, limit)

    def load(self, name: str) -> int:
        """Parts on a machine."""
        return int(self._server(name)["load"])

    def chamber_k(self, name: str) -> float:
        """Temperature of the chamber of a furnace."""
        return float(self.plan.temperatures_k(self.state.run, name)[0])

    def level(self, buffer: str) -> int:
        """Parts in a buffer."""
        return int(self.state.run.view["buffer"]["level"][self._buffer_index[buffer]])

    # ---- what is seen ----

    def see_state(self, name: str, number: int) -> None:
        """A PackML state by its number."""
        seen = self.state.seen[name]
        seen.state = number
        shown = STATES[self.shown(name)]
        if group(number) == group(PACKML[shown]):
            return
        if number in BUSY:
            if shown in ("down", "waiting_for_crew"):
                self._inject(name, "busy", self._left_of(seen, name))
            elif not self._take_over(name) and self._is_batch(name):
                self._begin_batch(name)
        elif number in WAITING:
            if shown in ("down", "waiting_for_crew"):
                self._inject(name, "starved")
        else:
            seen.left_s = self._left_s(name) if shown == "busy" else None
            self._inject(name, "down")
        self._settle()

    def see_made(self, name: str, good: int, scrap: int) -> None:
        """What the counters of a machine show; a counter that fell began anew."""
        seen = self.state.seen[name]
        before = seen.made
        scrapped = max(scrap - seen.scrap, 0)
        seen.good, seen.scrap = good, scrap
        count = 0 if before is None else good + scrap - before
        if before is None or count < 0:
            self._counted.begin_anew(self.state)
        elif self._is_batch(name):
            self._end_batch(name, count, min(scrapped, count))
            return
        elif count > self.site.parted_parts:
            self.resync()
        for k in range(count if 0 < count <= self.site.parted_parts else 0):
            if STATES[self.shown(name)] not in ("busy", "down", "waiting_for_crew"):
                self.resync()  # nobody knows which part that was
                return
            seen.left_s = None
            self._inject(name, "starved" if k < scrapped else "blocked")
            self._settle()

    def see_power(self, name: str, power_w: float) -> None:
        """Electricity that a machine takes, by its meter, from where the shadow stands on; less than none is none."""
        self.state.seen[name].power_w = max(power_w, 0.0)

    def see_batch(self, name: str, parts: int) -> None:
        """Parts of the batch that a machine works on; what it has more or less than predicted was taken or left."""
        if self._may_have(name, parts):
            self._move_to_input(name, self.load(name) - parts)
            self._load(name, parts)
            self._settle()

    def begin_with_batch(self, name: str, parts: int) -> None:
        """The first sample of a batch: its parts have left the buffers, whose levels are counted without them."""
        if self._may_have(name, parts):
            self._load(name, parts)

    def _may_have(self, name: str, parts: int) -> bool:
        """Whether a machine is at work, and not on so many parts."""
        return (
            STATES[self.shown(name)] == "busy"
            and 0 < parts <= self.machines[name].batch[1]
            and parts != self.load(name)
        )

    def _load(self, name: str, parts: int) -> None:
        self.plan.inject(
            self.state.run, machines={name: "busy"}, left_s={name: self._left_s(name)}, parts={name: parts}
        )

    def begin_at_temperature(self, name: str, temp_k: float) -> None:
        """The first sample of a chamber: nobody knows what was before, so it has always been so, for the load too.

        Nor when the batch in it began: the recipe is where it asks for so much.
        """
        furnace = self.machines[name].furnace
        assert furnace is not None
        burns = STATES[self.shown(name)] == "busy"
        if burns:
            planned = self.plan.factory.machines[self._index[name]].furnace
            assert planned is not None
            self._inject(name, "busy", planned.seconds() - furnace.reached_s(temp_k))
        through = furnace.lining_w_per_k + furnace.wall_w_per_k
        share = furnace.lining_w_per_k / through if through > 0.0 else 0.0
        lining_k = furnace.hall_k + (temp_k - furnace.hall_k) * share
        self.plan.inject(self.state.run, temperatures_k={name: (temp_k, lining_k, temp_k)})
        if burns:
            self.plan.lead_on(self.state.run, name)

    def recipe_s(self, name: str) -> float:
        """How far the recipe of a furnace is."""
        return self.plan.position_s(self.state.run, name)

    def see_temperature(self, name: str, temp_k: float) -> float:
        """Of the chamber of a furnace; lining and load stay as predicted. How much warmer it is than predicted.

        What a good sensor may be wrong by tells nothing, and would cost heat: the controller heats up what noise cools.
        """
        chamber_k, *others = self.plan.temperatures_k(self.state.run, name).tolist()
        off_k = float(temp_k - chamber_k)
        if abs(off_k) > SENSOR_CLASS_K:
            nearest_k = temp_k - math.copysign(SENSOR_CLASS_K, off_k)
            self.plan.inject(self.state.run, temperatures_k={name: (nearest_k, *others)})
        return off_k

    def see_level(self, buffer: str, level: int) -> None:
        """Parts counted in a buffer."""
        self.state.levels[buffer] = level
        if abs(level - self.level(buffer)) >= self.site.parted_parts:
            self.resync()

    def check(self) -> None:
        """Resync where a state has been another one than predicted for too long."""
        for name in self.watched:
            seen = self.state.seen[name]
            self._take_unripe(name)
            if seen.state is None or group(seen.state) == group(PACKML[STATES[self.shown(name)]]):
                seen.parted_s = None
            elif seen.parted_s is None:
                seen.parted_s = self.now_s
            elif self.now_s - seen.parted_s > self.mean_s[name]:
                self.resync()
                return

    def _take_unripe(self, name: str) -> None:
        """A machine that works took a part that the shadow believed to be cooling still."""
        takes = flows(self.machines[name].takes)
        if self.state.seen[name].state not in BUSY or STATES[self.shown(name)] != "starved" or self._is_batch(name):
            return
        if len(takes) == 1 and self._delay_s[takes[0].buffer] > 0.0 and self.level(takes[0].buffer) >= takes[0].amount:
            self._move_to_input(name, -takes[0].amount)
            self._inject(name, "busy", math.inf if self._counts(name) else math.nan)

    def resync(self) -> None:
        """Set counters, levels and states to what is seen."""
        state = self.state
        state.resync_count += 1
        state.resynced_s = self.now_s
        for seen in state.seen.values():
            seen.parted_s = None
        self._counted.correct(state)
        levels = {b: self._counted.level(state, b) for b in state.level_offset} | {
            b: self._counted.clipped(b, level) for b, level in state.levels.items()
        }
        self.plan.inject(state.run, levels=levels)
        self._inject_all()

    # ---- orders ----

    def order_left(self, name: str) -> int:
        """Parts of an order that have neither left the factory nor been thrown away."""
        names = [order.name for order in self.site.factory.orders]
        return int(self.state.run.view["order"]["left"][names.index(name)])

    def _release(self, name: str, count: int) -> None:
        """A machine has released so many parts of its orders before; nobody knows where they are: they are done."""
        view, rank = self.state.run.view, 0
        names = [order.name for order in self.site.factory.orders]
        for order in self.machines[name].orders:
            known = min(count, order.quantity)
            count -= known
            k = names.index(order.name)
            view["order"]["left"][k] = order.quantity - known
            if known < order.quantity:
                view["held"]["released"][self._first[self._index[name]]] = known
                break
            view["order"]["finished"][k] = self.now_s
            rank += 1
        if self.machines[name].orders:
            view["held"]["order"][self._first[self._index[name]]] = rank

    # ---- batches and slots ----

    def _is_batch(self, name: str) -> bool:
        return self.machines[name].batch[1] > 1

    def _take_over(self, name: str) -> bool:
        """What the shadow gave to another machine at the same input, which does not work: it was this one's."""
        for other in self.watched:
            seen = self.state.seen[other].state
            same = self.machines[other].takes == self.machines[name].takes and bool(self.machines[name].takes)
            if other == name or not same or seen in BUSY or seen in DOWN or STATES[self.shown(other)] != "busy":
                continue
            parts, left_s = self.load(other), self._left_s(other)
            self._inject(other, "starved")
            self.plan.inject(
                self.state.run,
                machines={name: "busy"},
                left_s={name: left_s},
                parts={name: parts} if self._is_batch(name) else None,
            )
            return True
        return False

    def _begin_batch(self, name: str) -> None:
        """A batch was begun that the shadow had not parts enough for: with those there are, but the least at least."""
        least, most = self.machines[name].batch
        level = self.level(flows(self.machines[name].takes)[0].buffer)
        parts = max(min(level, most), least)
        if parts - level >= self.site.parted_parts:
            self.state.resync_count += 1
            self.state.resynced_s = self.now_s
        self._move_to_input(name, -parts)
        left_s = math.inf if self._counts(name) and self.machines[name].furnace is None else math.nan
        self.plan.inject(self.state.run, machines={name: "busy"}, left_s={name: left_s}, parts={name: parts})

    def _end_batch(self, name: str, count: int, scrapped: int) -> None:
        """As many parts are finished as were counted; what the shadow had more or less on it is at its input."""
        if count == 0:
            return
        held = STATES[self.shown(name)] in ("busy", "down", "waiting_for_crew")
        if not held or count > self.machines[name].batch[1]:
            self.resync()
            return
        self._move_to_input(name, self.load(name) - count)
        self.state.seen[name].left_s = None
        good = count - scrapped
        self.plan.inject(
            self.state.run,
            machines={name: "blocked" if good else "starved"},
            parts={name: good} if good else None,
        )
        self._settle()

    def _move_to_input(self, name: str, parts: int) -> None:
        buffer = flows(self.machines[name].takes)[0].buffer
        if parts:
            self.plan.inject(self.state.run, levels={buffer: self._counted.clipped(buffer, self.level(buffer) + parts)})

    # ---- inside ----

    def _server(self, name: str) -> np.void:
        found: np.void = self.state.run.view["server"][self._first[self._index[name]]]
        return found

    def _left_s(self, name: str) -> float:
        server = self._server(name)
        return max(float(server["left"] - (self.now_s - server["since"])), 0.0)

    def _inject(self, name: str, state: str, left_s: float = math.nan) -> None:
        self.plan.inject(self.state.run, machines={name: state}, left_s={name: left_s})

    def _left_of(self, seen: Seen, name: str) -> float:
        """Seconds left of the part that a machine held when it went down."""
        left_s, seen.left_s = seen.left_s, None
        if self.machines[name].furnace is not None:
            return math.nan if left_s is None else left_s
        if self._counts(name):
            return math.inf
        return self.mean_s[name] if left_s is None else left_s

    def _settle(self) -> None:
        """What follows at this moment."""
        self.plan.run(self.state.run, self.now_s)

    def _inject_all(self) -> None:
        for name, seen in self.state.seen.items():
            if seen.state is None:
                continue
            shown = STATES[self.shown(name)]
            if group(seen.state) == group(PACKML[shown]) and shown == "busy":
                continue
            if seen.state in BUSY and self.machines[name].orders:
                continue  # it begins the next part of its orders by itself
            if seen.state in BUSY:
                self._inject(name, "busy", self._left_of(seen, name))
            elif seen.state in WAITING:
                self._inject(name, "blocked" if self._is_blocked(name) else "starved")
            elif group(seen.state) != group(PACKML[shown]) and not self._is_off_shift(name):
                self._inject(name, "down")

    def _is_off_shift(self, name: str) -> bool:
        """Whether a machine has no shift now: then it is off by itself."""
        calendar = next((c for c in self.site.factory.calendars if c.name == self.machines[name].calendar), None)
        if calendar is None:
            return False
        return not any(begin <= self.now_s % calendar.period_s < end for begin, end in calendar.shifts)

    def _is_blocked(self, name: str) -> bool:
        """Whether a machine that waits does so for places, as far as levels tell."""
        machine = self.machines[name]
        enough = all(self.level(flow.buffer) >= flow.amount for flow in flows(machine.takes))
        full = any(
            flow.buffer != OUT
            and self._capacity[flow.buffer] is not None
            and self.level(flow.buffer) + flow.amount > (self._capacity[flow.buffer] or 0)
            for flow in flows(machine.gives)
        )
        return full and enough
