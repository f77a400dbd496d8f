"""A factory as it is built: machines, buffers, sources, crews. Frozen, checked as a whole; `plan.py` runs it.

    line = Factory(
        machines=(
            Machine(name="saw", cycle=exponential(1.0), gives=("b1",), failures=(
                Failure(to_fail=exponential(20.0), to_repair=exponential(5.0)),
            )),
            Machine(name="mill", cycle=exponential(1.0), takes=("b1",)),
        ),
        buffers=(Buffer(name="b1", capacity=4),),
    )
    plan = FactoryPlan(line)                                    # from uem.twin_core.production.plan
    found = plan.replicate(100, 10_000.0, warmup_s=500.0)       # 100 runs of 10,000 s; arrays, one row per run
    found.throughput.mean(axis=0), found.level, found.time_s

Seconds, watts; any other unit of time does as well if all times are in it. A machine that takes nothing is never
starved, one that gives nothing is never blocked. Conventions that change the numbers stand at the head of engine.pyx.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.furnace import Furnace

OUT = ""  # as the name of a buffer: out of the factory
MOST_FOLLOWED = 10_000_000  # parts, of 64 bytes each and more


@dataclass(frozen=True, slots=True)
class Law:
    """A law of times; made by the functions below. `parameters` and `table` are those of laws.pyx."""

    kind: str
    parameters: tuple[float, float, float] = (0.0, 0.0, 0.0)
    n: int = 0
    table: tuple[float, ...] = ()
    mean: float = 0.0
    scv: float = 0.0  # variance / mean^2

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with it."""
        if not (self.mean > 0 and (math.isfinite(self.mean) or self.kind == "deterministic")):
            yield f"mean {self.mean} of a law {self.kind} must be positive"
        if not (math.isfinite(self.scv) and self.scv >= 0):
            yield f"parameters of a law {self.kind} are out of range"
        if any(not (math.isfinite(value) and value >= 0) for value in self.table):
            yield "times of a table must be finite and not negative"


def deterministic(time: float) -> Law:
    """Always the same time; `math.inf`: never."""
    return Law("deterministic", (time, 0.0, 0.0), mean=time)


def exponential(mean: float) -> Law:
    """Without memory."""
    return Law("exponential", (mean, 0.0, 0.0), mean=mean, scv=1.0)


def erlang(mean: float, stages: int) -> Law:
    """Sum of `stages` exponentials."""
    if stages < 1:
        return Law("erlang", mean=math.nan)
    return Law("erlang", (mean / stages, 0.0, 0.0), stages, mean=mean, scv=1.0 / stages)


def gamma(mean: float, scv: float) -> Law:
    """By mean and squared coefficient of variation."""
    if not scv > 0:
        return Law("gamma", mean=mean, scv=math.nan)
    return Law("gamma", (mean * scv, 1.0 / scv, 0.0), mean=mean, scv=scv)


def lognormal(mean: float, scv: float) -> Law:
    """By mean and squared coefficient of variation of the time itself."""
    if not (mean > 0 and scv > 0):
        return Law("lognormal", mean=mean, scv=math.nan)
    variance = math.log1p(scv)
    return Law("lognormal", (math.log(mean) - variance / 2, math.sqrt(variance), 0.0), mean=mean, scv=scv)


def weibull(mean: float, shape: float) -> Law:
    """By mean and shape; shape above 1 wears out."""
    if not shape > 0:
        return Law("weibull", mean=mean, scv=math.nan)
    try:
        first = math.gamma(1 + 1 / shape)
        scv = math.gamma(1 + 2 / shape) / first**2 - 1
    except OverflowError:  # a shape near 0
        return Law("weibull", mean=mean, scv=math.nan)
    return Law("weibull", (mean / first, 1 / shape, 0.0), mean=mean, scv=scv)


def uniform(low: float, high: float) -> Law:
    """Between two times."""
    mean = (low + high) / 2
    bad = not 0 <= low <= high
    return Law("uniform", (low, high - low, 0.0), mean=mean, scv=math.nan if bad else ((high - low) / mean) ** 2 / 12)


def triangular(low: float, mode: float, high: float) -> Law:
    """Between two times, most often near `mode`."""
    mean = (low + mode + high) / 3
    if not 0 <= low <= mode <= high or low == high:
        return Law("triangular", mean=mean, scv=math.nan)
    variance = (low**2 + mode**2 + high**2 - low * mode - low * high - mode * high) / 18
    return Law("triangular", (low, high, mode), mean=mean, scv=variance / mean**2)


def empirical(values: Sequence[float]) -> Law:
    """Measured times, each as likely."""
    table = tuple(map(float, values))
    if not table:
        return Law("empirical", mean=math.nan)
    mean = sum(table) / len(table)
    variance = sum((value - mean) ** 2 for value in table) / len(table)
    return Law("empirical", n=len(table), table=table, mean=mean, scv=variance / mean**2 if mean > 0 else math.nan)


def hyperexponential(mean: float, scv: float) -> Law:
    """Two exponentials with balanced means, scv >= 1: each contributes half of the mean."""
    if not scv >= 1:
        return Law("hyperexponential", mean=mean, scv=math.nan)
    p = 0.5 * (1 + math.sqrt((scv - 1) / (scv + 1)))
    return Law("hyperexponential", (mean / (2 * p), mean / (2 * (1 - p)), p), mean=mean, scv=scv)


def stretched(law: Law, factor: float) -> Law:
    """The same law of times that are all `factor` as long."""
    first, second, third = law.parameters
    match law.kind:
        case "lognormal":
            parameters = first + math.log(factor), second, third
        case "uniform" | "triangular":
            parameters = factor * first, factor * second, factor * third
        case "hyperexponential":
            parameters = factor * first, factor * second, third
        case _:
            parameters = factor * first, second, third
    return replace(law, parameters=parameters, table=tuple(factor * t for t in law.table), mean=factor * law.mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Parts between a machine and a buffer: how many at a time; `weight`: probability, where chance routes."""

    buffer: str  # OUT: out of the factory
    amount: int = 1
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A way in which a machine stops.

    kind: `operating` (ages while it works; the part stays and work resumes), `calendar` (ages by the clock, except
    while the machine is down), `maintenance` and `maintenance_calendar` (due by worked time or by the clock, done as
    soon as the machine has no part). Without crews repair begins at once.
    """

    to_fail: Law
    to_repair: Law
    kind: str = "operating"
    crews: tuple[str, ...] = ()  # that can repair it, asked in this order
    skill: str | None = None  # instead of `crews`: all crews that have it, in the order of the factory
    priority: int = 0  # the highest first; of equal ones first broken, first repaired


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """Wear in discrete stages, seen from outside: after the last one the machine fails.

    From stage `threshold` on (the first one is 0) a preventive job is asked for; it begins when the machine has no part
    and a worker is free, until then the machine works on. Either job makes it as good as new.
    """

    stages: tuple[Law, ...]  # time in each; of exponential ones it is a Markov chain
    to_repair: Law  # after a failure
    kind: str = "operating"  # ages while it works, or `calendar`: by the clock, except while the machine is down
    threshold: int | None = None  # None: it runs until it fails
    to_maintain: Law | None = None  # the preventive job
    crews: tuple[str, ...] = ()  # for both jobs
    skill: str | None = None
    priority: int = 0  # of the repair
    maintain_priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Saving energy: asleep after `after_s` idle, woken when `parts` wait, ready again after a warm-up."""

    after_s: float
    warm_up: Law
    parts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A finished part is inspected; the part goes on, and its result is known after `delay_s`.

    A part that is known to be bad is taken out by the machine that takes or finishes it next, this one included. It
    counts for the machine that made it flawed.
    """

    finds: float = 1.0  # probability that a flawed part is found
    false_alarms: float = 0.0  # that a sound part is taken for flawed
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a route: the buffer that a part goes to next."""

    buffer: str
    cycle: Law | None = None  # of the machine of give_rule `table` that takes it there; None: that of the product


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The buffers that parts of a product go to one after another; behind the last step they leave the factory."""

    product: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Parts of one product that are wanted."""

    name: str
    product: str
    quantity: int
    release_s: float = 0.0  # not begun before
    due_s: float = math.inf
    priority: int = 0  # in buffers of order `priority`: the highest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine, or several of the same kind that share buffers (`slots`), each with its own failures.

    takes: buffers that it takes from. take_rule `all`: the amounts of all at the same time (assembly); `first`: from
    the first of the list that has enough.
    gives: buffers that it gives to. give_rule `split`: the amount to each at the same time (disassembly); `chance`:
    drawn by weight when the part is finished; `first`: the first of the list with a place; `shortest`: the one with
    the fewest parts; `table`: the next step of the part's route (`Factory.routes`).
    batch: (least, most) parts that a batch machine takes at once from its one input; they leave it one by one.
    batch_wait_s: so long after it saw a part, idle, it begins with fewer than the least.
    """

    name: str
    cycle: Law
    takes: tuple[str | Flow, ...] = ()
    gives: tuple[str | Flow, ...] = ()
    take_rule: str = "all"
    give_rule: str = "split"
    slots: int = 1
    batch: tuple[int, int] = (1, 1)
    batch_wait_s: float = math.inf
    failures: tuple[Failure, ...] = ()
    degradations: tuple[Degradation, ...] = ()
    scrap: float = 0.0  # probability that a finished part is thrown away
    defects: float = 0.0  # that it is flawed, which nobody sees until it is inspected
    inspection: Inspection | None = None
    rejects: str | None = None  # a buffer for parts that are known to be bad; None: they are thrown away
    sleep: Sleep | None = None
    power_w: dict[str, float] = field(default_factory=dict)  # by state of engine.STATES; 0 where it is not told
    calendar: str | None = None  # works only in its shifts
    pauses: bool = False  # at the end of a shift work stops and goes on in the next one; else the part is finished
    uses: dict[str, float] = field(default_factory=dict)  # of utilities, while it works
    loses: bool = False  # a finished part that finds no place is lost instead of blocking
    arrives: bool = False  # a source: its parts are born when they leave it
    product: str | None = None  # of the parts that it begins, if it takes nothing and has no orders
    orders: tuple[Order, ...] = ()  # that it releases, in this order, `cycle` from one part to the next
    recipes: dict[str, Law] = field(default_factory=dict)  # cycle by product, where it is not `cycle`
    changeover_s: dict[tuple[str, str], float] = field(default_factory=dict)  # from one product to another
    furnace: Furnace | None = None  # its thermal side; see `batch_furnace`


def batch_furnace(name: str, furnace: Furnace, **fields: Any) -> Machine:
    """A machine whose cycles last as long as the recipes of its furnace; `fields` are the other ones of a machine."""
    recipes = {product: deterministic(furnace.seconds(product)) for product in furnace.recipes}
    return Machine(name=name, furnace=furnace, cycle=deterministic(furnace.seconds()), recipes=recipes, **fields)


def source(
    name: str, between: Law, gives: Sequence[str | Flow], *, loses: bool = False, product: str | None = None
) -> Machine:
    """Arrivals with `between` from one to the next; without a place they wait (the source stands still) or are lost."""
    return Machine(name=name, cycle=between, gives=tuple(gives), loses=loses, arrives=True, product=product)


def order_book(name: str, orders: Sequence[Order], gives: Sequence[str | Flow], *, between: Law) -> Machine:
    """A source that releases orders one after another, `between` from one part to the next."""
    return Machine(name=name, cycle=between, gives=tuple(gives), orders=tuple(orders), arrives=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Places between machines; a part on a machine is not in it."""

    name: str
    capacity: int | None = None  # None: as many as come; 0: parts go straight from machine to machine
    initial: int = 0  # parts in it at the beginning
    order: str = "fifo"  # in which parts are taken: fifo, lifo, priority (of their order; of equal ones fifo)
    delay_s: float = 0.0  # transport, or cooling and drying: a part can be taken only after it; fifo alone
    longest_s: float = math.inf  # a part that waits longer is thrown away; fifo alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Workers who repair."""

    name: str
    workers: int = 1
    skills: tuple[str, ...] = ()  # what it can do for those who ask for a skill and not for a crew
    calendar: str | None = None  # begins jobs only in its shifts; a job that has begun is finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Shifts (begin, end) within a period that repeats, such as a week; breaks and holidays are gaps."""

    name: str
    period_s: float
    shifts: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Utility:
    """Electricity, steam, compressed air, cooling water: what all machines at work may use together, in one unit.

    A machine begins a part only if there is enough left for it; who waits longest is served first.
    """

    name: str
    limit: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Factory:
    """Everything that the engine runs; raises InvalidTerritory with all problems."""

    machines: tuple[Machine, ...]
    buffers: tuple[Buffer, ...] = ()
    crews: tuple[Crew, ...] = ()
    calendars: tuple[Calendar, ...] = ()
    utilities: tuple[Utility, ...] = ()
    routes: tuple[Route, ...] = ()
    name: str = "factory"
    follows: bool = False  # parts one by one, for their flow times; orders and special buffers need it anyway
    room: int | None = None  # for so many parts that are followed; None: all places, and 10,000 per unlimited buffer

    @property
    def orders(self) -> tuple[Order, ...]:
        """All orders, machine by machine."""
        return tuple(order for machine in self.machines for order in machine.orders)

    @property
    def products(self) -> tuple[str, ...]:
        """Products of orders, machines and routes; a part that is of none counts as the first one."""
        told = [machine.product for machine in self.machines if machine.product is not None]
        of_routes = [route.product for route in self.routes]
        return tuple(dict.fromkeys([*(order.product for order in self.orders), *told, *of_routes])) or ("",)

    @property
    def has_quality(self) -> bool:
        """Whether parts can be flawed or are inspected."""
        return any(machine.defects > 0 or machine.inspection is not None for machine in self.machines)

    @property
    def parts_followed(self) -> int:
        """Room for parts that are followed; 0 where they are only counted."""
        special = any(b.order != "fifo" or b.delay_s > 0 or b.longest_s < math.inf for b in self.buffers)
        typed = any(machine.product is not None or machine.give_rule == "table" for machine in self.machines)
        if not (self.follows or special or self.orders or typed or self.has_quality):
            return 0
        if self.room is not None:
            return self.room
        places = sum(10_000 if b.capacity is None else b.capacity for b in self.buffers)
        taken = max((flow.amount for m in self.machines for flow in flows(m.takes) + flows(m.gives)), default=1)
        on_machines = sum(m.slots * max(m.batch[1], taken * max(len(m.takes), len(m.gives), 1)) for m in self.machines)
        return places + on_machines + taken

    def __post_init__(self) -> None:
        problems = [*self._problems()]
        if problems:
            raise InvalidTerritory(f"factory {self.name}", problems)

    def _problems(self) -> Iterator[str]:
        if not self.machines:
            yield "no machine"
        kinds: tuple[tuple[str, tuple[Machine | Buffer | Crew | Calendar | Utility, ...]], ...] = (
            ("machine", self.machines),
            ("buffer", self.buffers),
            ("crew", self.crews),
            ("calendar", self.calendars),
            ("utility", self.utilities),
        )
        for kind, things in kinds:
            for name, count in Counter(thing.name for thing in things).items():
                if count > 1 or not name:
                    yield f"{kind} name {name!r} is used {count} times; each needs one of its own"
        names = {kind: {thing.name for thing in things} for kind, things in kinds}
        names["skill"] = {skill for crew in self.crews for skill in crew.skills}
        capacities = {buffer.name: buffer.capacity for buffer in self.buffers}
        for machine in self.machines:
            for text in _machine_problems(machine, capacities, names):
                yield f"machine {machine.name}: {text}"
        for buffer in self.buffers:
            if buffer.capacity is not None and buffer.capacity < 0:
                yield f"buffer {buffer.name}: capacity {buffer.capacity} must not be negative"
            elif buffer.initial < 0 or (buffer.capacity is not None and buffer.initial > buffer.capacity):
                yield f"buffer {buffer.name}: {buffer.initial} parts at the beginning, capacity {buffer.capacity}"
            if buffer.order not in ("fifo", "lifo", "priority"):
                yield f"buffer {buffer.name}: order {buffer.order!r} is none of fifo, lifo, priority"
            timed = buffer.delay_s != 0 or buffer.longest_s != math.inf
            if timed and (buffer.order != "fifo" or buffer.capacity == 0):
                yield f"buffer {buffer.name}: times of parts need places and the order fifo"
            if not 0 <= buffer.delay_s < math.inf or not buffer.longest_s > buffer.delay_s:
                yield f"buffer {buffer.name}: delay_s {buffer.delay_s}, longest_s {buffer.longest_s} are out of range"
        if self.room is not None and self.room < 1:
            yield f"room for {self.room} parts; at least 1 is needed"
        if self.parts_followed > MOST_FOLLOWED:
            yield f"room for {self.parts_followed} parts to follow; {MOST_FOLLOWED} are possible: give it `room`"
        yield from _order_problems(self.orders)
        yield from _route_problems(self)
        for crew in self.crews:
            if crew.workers < 1:
                yield f"crew {crew.name}: {crew.workers} workers; at least 1 is needed"
            if crew.calendar is not None and crew.calendar not in names["calendar"]:
                yield f"crew {crew.name}: calendar {crew.calendar!r} does not exist"
        for calendar in self.calendars:
            moments = [moment for shift in calendar.shifts for moment in shift]
            inside = bool(moments) and moments[0] >= 0 and moments[-1] <= calendar.period_s < math.inf
            if not inside or any(not a < b for a, b in itertools.pairwise(moments)):
                yield f"calendar {calendar.name}: shifts {calendar.shifts} must rise within 0 and {calendar.period_s} s"
        for utility in self.utilities:
            if not utility.limit >= 0:
                yield f"utility {utility.name}: limit {utility.limit} must not be negative"


def _order_problems(orders: tuple[Order, ...]) -> Iterator[str]:
    for name, count in Counter(order.name for order in orders).items():
        if count > 1:
            yield f"order name {name!r} is used {count} times; each needs one of its own"
    for order in orders:
        if order.quantity < 1 or not 0 <= order.release_s < math.inf:
            yield f"order {order.name}: {order.quantity} parts from {order.release_s} s"


def _route_problems(factory: Factory) -> Iterator[str]:
    by_table = [machine for machine in factory.machines if machine.give_rule == "table"]
    buffers = {buffer.name for buffer in factory.buffers}
    for product, count in Counter(route.product for route in factory.routes).items():
        if count > 1:
            yield f"product {product!r} has {count} routes; it needs one"
    for product in factory.products if by_table else ():
        if product not in (route.product for route in factory.routes):
            yield f"product {product!r} has no route, but machines give by table"
    for route in factory.routes:
        where = f"route of {route.product!r}"
        if not route.steps:
            yield f"{where}: a step is needed"
        for step in route.steps:
            if step.buffer not in buffers:
                yield f"{where}: buffer {step.buffer!r} does not exist"
            if step.cycle is not None:
                yield from (f"{where}: {text}" for text in step.cycle.problems())
        names = [*(step.buffer for step in route.steps), OUT]
        for before, after in itertools.pairwise(names):
            for machine in by_table:
                outputs = [flow.buffer for flow in flows(machine.gives)]
                if before in (flow.buffer for flow in flows(machine.takes)) and after not in outputs:
                    yield f"{where}: machine {machine.name} takes from {before} and has no output {after or 'OUT'!r}"


def flows(names: Sequence[str | Flow]) -> tuple[Flow, ...]:
    """Names of buffers as flows of one part."""
    return tuple(Flow(buffer=name) if isinstance(name, str) else name for name in names)


def _machine_problems(machine: Machine, capacities: dict[str, int | None], names: dict[str, set[str]]) -> Iterator[str]:
    takes, gives = flows(machine.takes), flows(machine.gives)
    yield from machine.cycle.problems()
    if machine.slots < 1:
        yield f"{machine.slots} slots; at least 1 is needed"
    for name in ("scrap", "defects"):
        if not 0 <= getattr(machine, name) <= 1:
            yield f"{name} {getattr(machine, name)} must be within 0 and 1"
    if machine.inspection is not None:
        seen = machine.inspection
        if not (0 <= seen.finds <= 1 and 0 <= seen.false_alarms <= 1 and 0 <= seen.delay_s < math.inf):
            yield f"{seen}: probabilities must be within 0 and 1, the delay finite and not negative"
    if machine.rejects is not None and capacities.get(machine.rejects, 0) == 0:
        yield f"rejects need a buffer with places, not {machine.rejects!r}"
    if machine.rejects is not None and machine.rejects in (flow.buffer for flow in gives):
        yield f"buffer {machine.rejects!r} is an output already; rejects need one of their own"
    if machine.product is not None and (takes or machine.orders):
        yield "a product is told to a machine that takes nothing and has no orders"
    yield from _flow_problems(machine, takes, gives, capacities)
    least, most = machine.batch
    if not 1 <= least <= most:
        yield f"batch of {least} to {most} parts"
    if machine.batch_wait_s != math.inf and (most == 1 or machine.sleep is not None):
        yield "batch_wait_s is for machines that take more than one part at once and never sleep"
    if not machine.batch_wait_s >= 0:
        yield f"batch_wait_s {machine.batch_wait_s} must not be negative"
    if most > 1 and len(takes) != 1:
        yield f"a batch is taken from one buffer, not from {len(takes)}"
    for failure in machine.failures:
        yield from failure.to_fail.problems()
        yield from failure.to_repair.problems()
        if failure.kind not in ("operating", "calendar", "maintenance", "maintenance_calendar"):
            yield f"kind {failure.kind!r} of a failure is not known"
        yield from _crew_problems(failure, names)
    for degradation in machine.degradations:
        yield from _degradation_problems(degradation, names)
    for law in machine.recipes.values():
        yield from law.problems()
    if any(not 0 <= seconds < math.inf for seconds in machine.changeover_s.values()):
        yield f"changeovers {machine.changeover_s} must not be negative"
    if machine.orders and (takes or machine.slots > 1):
        yield "a machine that releases orders takes nothing and has one slot"
    if machine.calendar is not None and machine.calendar not in names["calendar"]:
        yield f"calendar {machine.calendar!r} does not exist"
    for name, amount in machine.uses.items():
        if name not in names["utility"] or not amount >= 0:
            yield f"it uses {amount} of utility {name!r}, which must exist and not be negative"
    if machine.furnace is not None:
        yield from _furnace_problems(machine, machine.furnace)
    if machine.sleep is not None:
        yield from machine.sleep.warm_up.problems()
        if not machine.sleep.after_s >= 0 or machine.sleep.parts < 1 or not takes:
            yield "sleep needs an input, after_s of at least 0 and at least one part to wake it"


def _crew_problems(job: Failure | Degradation, names: dict[str, set[str]]) -> Iterator[str]:
    for name in job.crews:
        if name not in names["crew"]:
            yield f"crew {name!r} does not exist"
    if job.skill is not None and job.crews:
        yield f"skill {job.skill!r} and crews {job.crews}: tell one of them"
    if job.skill is not None and job.skill not in names["skill"]:
        yield f"no crew has the skill {job.skill!r}"


def _degradation_problems(wear: Degradation, names: dict[str, set[str]]) -> Iterator[str]:
    for law in (*wear.stages, wear.to_repair, *([wear.to_maintain] if wear.to_maintain else [])):
        yield from law.problems()
    if not wear.stages:
        yield "a degradation needs a stage"
    if wear.kind not in ("operating", "calendar"):
        yield f"kind {wear.kind!r} of a degradation is neither operating nor calendar"
    if (wear.threshold is None) != (wear.to_maintain is None):
        yield "a preventive job needs both threshold and to_maintain"
    if wear.threshold is not None and not 1 <= wear.threshold < len(wear.stages):
        yield f"threshold {wear.threshold} must be within 1 and {len(wear.stages) - 1}, the last stage"
    yield from _crew_problems(wear, names)


def _furnace_problems(machine: Machine, furnace: Furnace) -> Iterator[str]:
    yield from (f"furnace: {text}" for text in furnace.problems())
    if machine.slots != 1 or len(flows(machine.takes)) != 1:
        yield "a furnace has one slot and one buffer that it takes from"
    laws = {product: deterministic(furnace.seconds(product)) for product in furnace.recipes}
    if machine.cycle != deterministic(furnace.seconds()) or machine.recipes != laws:
        yield f"its cycles last as long as the recipes of its furnace, {furnace.seconds()} s; use batch_furnace"


def _flow_problems(
    machine: Machine, takes: tuple[Flow, ...], gives: tuple[Flow, ...], capacities: dict[str, int | None]
) -> Iterator[str]:
    if machine.take_rule not in ("all", "first"):
        yield f"take_rule {machine.take_rule!r} is neither all nor first"
    if machine.give_rule not in ("split", "chance", "first", "shortest", "table"):
        yield f"give_rule {machine.give_rule!r} is none of split, chance, first, shortest, table"
    if machine.give_rule == "table" and any(flow.amount != 1 for flow in gives):
        yield "by table one part goes at a time"
    if OUT in (flow.buffer for flow in takes):
        yield "it cannot take from outside; leave `takes` empty"
    for side in (takes, gives):
        for name, count in Counter(flow.buffer for flow in side).items():
            if count > 1:
                yield f"buffer {name!r} stands {count} times among its inputs or outputs; give the amount instead"
    for flow in takes + gives:
        if flow.buffer != OUT and flow.buffer not in capacities:
            yield f"buffer {flow.buffer!r} does not exist"
            continue
        needed = max(flow.amount, machine.batch[0] if flow in takes else 1)
        capacity = capacities.get(flow.buffer)
        if flow.amount < 1 or (capacity is not None and needed > max(capacity, 1)):
            yield f"{needed} parts at a time do not fit buffer {flow.buffer} with {capacity} places"
        if capacity == 0 and flow in gives and len(gives) > 1 and machine.give_rule not in ("chance", "table"):
            yield f"buffer {flow.buffer} without places cannot be one of several outputs; give it a place"
    if machine.give_rule == "chance" and not math.isclose(sum(flow.weight for flow in gives), 1.0, rel_tol=1e-9):
        yield f"weights of its outputs add up to {sum(flow.weight for flow in gives)}, not to 1"
