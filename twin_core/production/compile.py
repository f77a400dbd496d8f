"""A factory as tables for the engine: one row per server, link, mode, law, ... in the layouts of state.pxd.

A server is a slot of a machine; rows point into other tables by their number.
"""

import math
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.plant.furnace import Furnace
from uem.twin_core.plant.production import OUT, Degradation, Factory, Failure, Flow, Law, Machine, flows
from uem.twin_core.production import engine, furnace
from uem.twin_core.production.laws import KINDS, LAW


def stream_keys(factory: Factory) -> NDArray[np.uint64]:
    """Keys of the random streams, by name and slot, so that they stay when other machines are added; (servers,)."""
    found = []
    for machine in factory.machines:
        for slot in range(machine.slots):
            digest = blake2b(f"{machine.name}\0{slot}".encode(), digest_size=8).digest()
            found.append(int.from_bytes(digest, "little") & ~3)  # room for the purposes of a machine
    return np.array(found, np.uint64)


def layout_digest(factory: Factory) -> bytes:
    """What numbers in a block are about, since some of them are places in tables of the plan."""
    machines = [
        (
            *(m.name, m.slots, m.batch, m.take_rule, m.give_rule, m.rejects, m.sleep is None, m.furnace is None),
            *([(flow.buffer, flow.amount) for flow in flows(side)] for side in (m.takes, m.gives)),
            [(f.kind, f.crews, f.skill) for f in m.failures],
            [(d.kind, len(d.stages), d.threshold, d.crews, d.skill) for d in m.degradations],
            [(order.name, order.product, order.quantity) for order in m.orders],
            [len(m.furnace.segments(product)) for product in factory.products] if m.furnace else [],
        )
        for m in factory.machines
    ]
    buffers = [(b.name, b.order, b.delay_s > 0, b.longest_s < math.inf) for b in factory.buffers]
    crews = [(crew.name, crew.skills, crew.calendar) for crew in factory.crews]
    calendars = [(calendar.name, len(calendar.shifts)) for calendar in factory.calendars]
    utilities = [utility.name for utility in factory.utilities]
    routes = [(route.product, [step.buffer for step in route.steps]) for route in factory.routes]
    told = (machines, buffers, crews, calendars, utilities, routes, factory.products, factory.parts_followed)
    return blake2b(repr(told).encode(), digest_size=8).digest()


def _asks(machine: Machine) -> bool:
    """Whether before it takes a part it looks for more than parts; see `ServerPlan` in state.pxd."""
    maintained = any(failure.kind.startswith("maintenance") for failure in machine.failures)
    maintained = maintained or any(wear.threshold is not None for wear in machine.degradations)
    hurries = machine.batch_wait_s < math.inf
    heated = machine.furnace is not None
    return maintained or heated or hurries or bool(machine.uses) or machine.calendar is not None


class Compiler:
    """Collects the rows of the plan; one per server, a server being a slot of a machine."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.buffer_index = {buffer.name: b for b, buffer in enumerate(factory.buffers)}
        self.crew_index = {crew.name: c for c, crew in enumerate(factory.crews)}
        self.servers: list[dict[str, float]] = []
        self.furnaces: list[tuple[int, Furnace, int]] = []
        self.takes: list[tuple[float, int, int]] = []
        self.gives: list[tuple[float, int, int]] = []
        self.modes: list[tuple[int, ...]] = []
        self.mode_crews: list[int] = []
        self.stage_laws: list[int] = []
        self.quality: list[tuple[float, ...]] = []
        self.products = factory.products
        self.product_laws: list[int] = []
        self.recipes: list[tuple[float, ...]] = []
        self.orders = 0
        self.follows = factory.parts_followed > 0
        self.calendar_index = {calendar.name: c for c, calendar in enumerate(factory.calendars)}
        self.utility_index = {utility.name: u for u, utility in enumerate(factory.utilities)}
        self.uses: list[tuple[float, int, int]] = []
        self.laws: dict[Law, int] = {}
        self.table: list[float] = []
        self.law_rows: list[tuple[float, float, float, int, int, int]] = []
        # What those who take from a buffer take from, by buffer.
        self.inputs: dict[str, set[str]] = {buffer.name: set() for buffer in factory.buffers}
        for machine in factory.machines:
            taken = [flow.buffer for flow in flows(machine.takes)]
            for name in taken:
                self.inputs[name].update(taken)
        for machine in factory.machines:
            for _ in range(machine.slots):
                self.servers.append(self._server(machine))
                self._recipes(machine)
            self.orders += len(machine.orders)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The plan in the layout of engine.pyx."""
        routes = self._routes()  # before the laws are laid out
        consumers, consumer_rows = self._neighbours("take")
        producers, producer_rows = self._neighbours("give")
        buffers = [(*consumer_rows[k], *producer_rows[k]) for k in range(len(self.factory.buffers))]
        return {
            "server_plan": self._rows(engine.SERVER_PLAN),
            "rare_plan": self._rows(engine.RARE_PLAN),
            "buffer_plan": np.array(buffers, engine.BUFFER_PLAN),
            "take": np.array(self.takes, engine.LINK),
            "give": np.array(self.gives, engine.LINK),
            "mode_plan": np.array(self.modes, engine.MODE_PLAN),
            "crew_plan": np.array(
                [
                    (crew.workers, -1 if crew.calendar is None else self.calendar_index[crew.calendar])
                    for crew in self.factory.crews
                ],
                engine.CREW_PLAN,
            ),
            "calendar_plan": self._calendars(),
            "recipe_plan": np.array(self.recipes, engine.RECIPE_PLAN),
            "product_laws": np.array(self.product_laws, np.int32),
            "queue_plan": self._queues(),
            "order_plan": np.array(
                [(o.release_s, self.products.index(o.product), o.quantity, o.priority, 0) for o in self.factory.orders],
                engine.ORDER_PLAN,
            ),
            "use": np.array(self.uses, engine.LINK),
            "utility": np.array([utility.limit for utility in self.factory.utilities], np.float64),
            "consumers": np.array(consumers, np.int32),
            "producers": np.array(producers, np.int32),
            "mode_crews": np.array(self.mode_crews, np.int32),
            "stage_laws": np.array(self.stage_laws, np.int32),
            "quality_plan": np.array(self.quality if self.factory.has_quality else [], engine.QUALITY_PLAN),
            **routes,
            "laws": np.array(self.law_rows, LAW),
            "table": np.array(self.table, np.float64),
            **furnace.tables(self.furnaces, self.products),
        }

    def _rows(self, dtype: np.dtype[np.void]) -> NDArray[Any]:
        """The fields of a plan of servers."""
        rows = [tuple(server.get(name, 0) for name in dtype.names or ()) for server in self.servers]
        return np.array(rows, dtype)

    def _calendars(self) -> NDArray[Any]:
        """Switching times go to the table: begin and end of each shift in turn."""
        rows = []
        for calendar in self.factory.calendars:
            switches = [moment for shift in calendar.shifts for moment in shift]
            rows.append((calendar.period_s, len(self.table), len(switches)))
            self.table.extend(switches)
        return np.array(rows, engine.CALENDAR_PLAN)

    def _queues(self) -> NDArray[Any]:
        rows, timers = [], 0
        for buffer in self.factory.buffers:
            timed = buffer.delay_s > 0 or buffer.longest_s < math.inf
            order = engine.QUEUE_ORDERS[buffer.order]
            rows.append((buffer.delay_s, buffer.longest_s, order, timers if timed else -1))
            timers += timed
        return np.array(rows, engine.QUEUE_PLAN)

    def _recipes(self, machine: Machine) -> None:
        """Laws and changeovers by product; orders are those of the first slot."""
        changeovers = -1
        if machine.changeover_s:
            changeovers = len(self.table)
            self.table.extend(machine.changeover_s.get((a, b), 0.0) for a in self.products for b in self.products)
        busy_w = machine.power_w.get("busy", 0.0)
        laws = len(self.product_laws), changeovers, self.orders, len(machine.orders)
        product = 0 if machine.product is None else self.products.index(machine.product)
        known = machine.give_rule == "table" or machine.rejects is not None  # where a part goes is known by the part
        takes_first = self._take_plain(machine) != -1 and self._give_plain(machine) >= 0 and not known
        self.recipes.append((busy_w, *laws, machine.arrives, product, takes_first))
        self.product_laws.extend(self._law(machine.recipes.get(product, machine.cycle)) for product in self.products)

    def _neighbours(self, side: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Servers that take from (or give to) each buffer, and where those of each buffer stand."""
        links = self.takes if side == "take" else self.gives
        found: list[list[int]] = [[] for _ in self.factory.buffers]
        for s, server in enumerate(self.servers):
            first = int(server[f"{side}_first"])
            rejects = int(side == "give" and server["rejects"] >= 0)  # behind the others
            for _, b, _ in links[first : first + int(server[f"n_{side}s"]) + rejects]:
                if b >= 0:
                    found[b].append(s)
        rows, at = [], 0
        for members in found:
            rows.append((at, len(members)))
            at += len(members)
        return [s for members in found for s in members], rows

    def _law(self, law: Law) -> int:
        if law not in self.laws:
            self.laws[law] = len(self.law_rows)
            self.law_rows.append((*law.parameters, KINDS.index(law.kind), law.n, len(self.table)))
            self.table.extend(law.table)
        return self.laws[law]

    def _modes(self, machine: Machine) -> None:
        """Failures, then each degradation: its wear and the job that it asks for."""
        for failure in machine.failures:
            laws = self._law(failure.to_fail), self._law(failure.to_repair)
            self.modes.append(
                (engine.MODE_KINDS[failure.kind], *laws, *self._crews(failure), failure.priority, 0, 0, -1, 0)
            )
        for wear in machine.degradations:
            stages = len(self.stage_laws)
            self.stage_laws.extend(self._law(law) for law in wear.stages)
            kind = engine.MODE_KINDS["wear" if wear.kind == "operating" else "wear_calendar"]
            repair = -1, self._law(wear.to_repair), *self._crews(wear), wear.priority
            self.modes.append((kind, *repair, len(wear.stages), stages, -1, 0))
            if wear.threshold is not None and wear.to_maintain is not None:
                job = -1, self._law(wear.to_maintain), *self._crews(wear), wear.maintain_priority
                worn = len(self.modes) - 1
                self.modes.append((engine.MODE_KINDS["condition"], *job, 0, 0, worn, wear.threshold))

    def _routes(self) -> dict[str, NDArray[Any]]:
        """Steps of all routes, and where those of each product stand."""
        by_product = {route.product: route.steps for route in self.factory.routes}
        rows: list[int] = []
        steps: list[tuple[int, int]] = []
        for product in self.products:
            found = by_product.get(product, ())
            rows += [len(steps), len(found)]
            laws = [-1 if step.cycle is None else self._law(step.cycle) for step in found]
            steps += [(self.buffer_index[step.buffer], law) for step, law in zip(found, laws, strict=True)]
        return {"route": np.array(rows, np.int32), "step_plan": np.array(steps, engine.STEP_PLAN)}

    def _rejects(self, machine: Machine) -> int:
        """The output for parts known to be bad, which must come right behind the others; -1: there is none."""
        seen = machine.inspection
        figures = (0.0, 0.0, 0.0) if seen is None else (seen.finds, seen.false_alarms, seen.delay_s)
        rejects = -1 if machine.rejects is None else self._links(self.gives, (Flow(buffer=machine.rejects),))
        self.quality.append((machine.defects, *figures, seen is not None, rejects))
        return rejects

    def _crews(self, job: Failure | Degradation) -> tuple[int, int]:
        """Where the crews stand that can do a job, and how many they are."""
        first = len(self.mode_crews)
        skilled = [crew.name for crew in self.factory.crews if job.skill in crew.skills]
        self.mode_crews.extend(self.crew_index[name] for name in job.crews or skilled)
        return first, len(self.mode_crews) - first

    def maintains(self) -> NDArray[np.int64]:
        """Which modes are preventive jobs of which server; (modes, servers)."""
        kinds = [engine.MODE_KINDS[name] for name in ("maintenance", "maintenance_calendar", "condition")]
        found = np.zeros((len(self.modes), len(self.servers)), np.int64)
        for s, server in enumerate(self.servers):
            first = int(server["mode_first"])
            for m in range(first, first + int(server["n_modes"])):
                found[m, s] = self.modes[m][0] in kinds
        return found

    def _links(self, into: list[tuple[float, int, int]], found: tuple[Flow, ...]) -> int:
        first = len(into)
        into.extend((f.weight, -1 if f.buffer == OUT else self.buffer_index[f.buffer], f.amount) for f in found)
        return first

    def _rivals(self, machine: Machine, given: str) -> bool:
        """Whether who takes what the machine gives also takes from where it takes: then who is first matters."""
        return not self.inputs[given].isdisjoint(flow.buffer for flow in flows(machine.takes))

    def _take_plain(self, machine: Machine) -> int:
        """The buffer from which it takes one part where parts are counted, NOTHING_NEEDED, or -1: not so plain."""
        takes = flows(machine.takes)
        if _asks(machine):
            return -1
        if not takes:
            return int(engine.NOTHING_NEEDED)
        if machine.batch[1] == 1 and len(takes) == 1 and takes[0].amount == 1:
            return self.buffer_index[takes[0].buffer]
        return -1

    def _give_plain(self, machine: Machine) -> int:
        """The buffer to which it gives one part where parts are counted, SINK, or -1: not so plain."""
        gives = flows(machine.gives)
        if machine.batch[1] != 1 or machine.scrap or machine.loses or machine.uses or machine.furnace is not None:
            return -1
        if not gives or (len(gives) == 1 and gives[0].buffer == OUT):
            return int(engine.SINK)
        if len(gives) == 1 and gives[0].amount == 1 and not self._rivals(machine, gives[0].buffer):
            return self.buffer_index[gives[0].buffer]
        return -1

    def _server(self, machine: Machine) -> dict[str, float]:
        takes, gives = flows(machine.takes), flows(machine.gives)
        heated = machine.furnace is not None
        kind = machine.cycle.kind
        mode_first = len(self.modes)
        self._modes(machine)
        use_first = len(self.uses)
        self.uses.extend((amount, self.utility_index[name], 0) for name, amount in machine.uses.items())
        sleep = machine.sleep
        if machine.furnace is not None:
            self.furnaces.append((len(self.servers), machine.furnace, machine.batch[1]))
        return {
            "scrap": machine.scrap,
            "sleep_after": math.inf if sleep is None else sleep.after_s,
            "take_first": self._links(self.takes, takes),
            "n_takes": len(takes),
            "take_rule": engine.TAKE_RULES[machine.take_rule],
            "take_plain": -1 if self.follows else self._take_plain(machine),
            "give_first": self._links(self.gives, gives),
            "n_gives": len(gives),
            "rejects": self._rejects(machine),
            "give_rule": engine.GIVE_RULES[machine.give_rule],
            "give_plain": -1 if self.follows else self._give_plain(machine),
            "batch_wait": machine.batch_wait_s,
            "batch_least": machine.batch[0],
            "batch_most": machine.batch[1],
            "fixed": {"deterministic": machine.cycle.mean, "exponential": -machine.cycle.mean}.get(kind, -math.inf),
            "asks": _asks(machine),
            "cycle": self._law(machine.cycle),
            "warm_up": -1 if sleep is None else self._law(sleep.warm_up),
            "mode_first": mode_first,
            "n_modes": len(self.modes) - mode_first,
            "wake_at": 1 if sleep is None else sleep.parts,
            "calendar": -1 if machine.calendar is None else self.calendar_index[machine.calendar],
            "loses": machine.loses,
            "pauses": machine.pauses,
            "use_first": use_first,
            "n_uses": len(machine.uses),
            "furnace": len(self.furnaces) - 1 if heated else -1,
        }
