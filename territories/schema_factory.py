"""Keys of a factory: machines and what is between them, crews, shifts, utilities, orders, heat.

Times in seconds but where a key says otherwise, power in kW.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from uem.territories.schema_base import Celsius, Flag, ForecastStep, Model, Name, NotNegative, Number, Positive, Whole
from uem.territories.schema_furnace import Furnace

Share = Annotated[Number, Field(ge=0.0, le=1.0)]
AtLeastOne = Annotated[Whole, Field(ge=1, le=2**31 - 1)]
Count = Annotated[Whole, Field(ge=0, le=2**31 - 1)]
Few = Annotated[Whole, Field(ge=1, le=1000)]
Batch = Annotated[Whole, Field(ge=1, le=10_000)]
Priority = Annotated[Whole, Field(ge=-1_000_000, le=1_000_000)]
# A week of shorter ones, or of laws that are mostly near 0, would take minutes.
LEAST_TIME_S = 0.01
Time = Annotated[Number, Field(ge=LEAST_TIME_S, le=1e15, allow_inf_nan=False)]
State = Literal[
    "off",
    "sleeping",
    "warming_up",
    "starved",
    "setup",
    "busy",
    "blocked",
    "down",
    "waiting_for_crew",
    "maintenance",
    "short",
]
# What each law of times is told by.
LAWS = {
    "deterministic": ("mean_s",),
    "exponential": ("mean_s",),
    "erlang": ("mean_s", "stages"),
    "gamma": ("mean_s", "scv"),
    "lognormal": ("mean_s", "scv"),
    "hyperexponential": ("mean_s", "scv"),
    "weibull": ("mean_s", "shape"),
    "uniform": ("low_s", "high_s"),
    "triangular": ("low_s", "mode_s", "high_s"),
    "empirical": ("times_s",),
}


class Law(Model):
    """A law of times: its name and what it is told by."""

    law: Literal[
        "deterministic",
        "exponential",
        "erlang",
        "gamma",
        "lognormal",
        "hyperexponential",
        "weibull",
        "uniform",
        "triangular",
        "empirical",
    ]
    mean_s: Time | None = None
    scv: Annotated[Number | None, Field(gt=0, le=100, allow_inf_nan=False, description="variance / mean^2")] = None
    stages: Few | None = None
    shape: Annotated[Number | None, Field(ge=0.25, le=1000, allow_inf_nan=False)] = None
    low_s: NotNegative | None = None
    mode_s: NotNegative | None = None
    high_s: Time | None = None
    times_s: tuple[NotNegative, ...] | None = None

    @model_validator(mode="after")
    def _has_its_keys(self) -> Self:
        given = [key for key in type(self).model_fields if key != "law" and getattr(self, key) is not None]
        if sorted(given) != sorted(LAWS[self.law]):
            raise ValueError(
                f"the law {self.law} is told by {', '.join(LAWS[self.law])}, not by {', '.join(given) or 'nothing'}"
            )
        if self.times_s is not None and sum(self.times_s) < LEAST_TIME_S * len(self.times_s):
            raise ValueError(f"the mean of times_s must be at least {LEAST_TIME_S} s")
        return self


class Failure(Model):
    """A way in which a machine stops, or maintenance that stops it."""

    to_fail: Law
    to_repair: Law
    kind: Literal["operating", "calendar", "maintenance", "maintenance_calendar"] = "operating"
    crews: Annotated[tuple[str, ...], Field(description="that can repair it; none: repair begins at once")] = ()
    skill: Annotated[str | None, Field(description="instead of crews: all that have it")] = None
    priority: Priority = 0


class Degradation(Model):
    """Wear by stages, after the last of which the machine fails; a preventive job on condition."""

    stages: Annotated[tuple[Law, ...], Field(min_length=1, description="time in each")]
    to_repair: Law
    kind: Literal["operating", "calendar"] = "operating"
    threshold: Annotated[Count | None, Field(description="stage from which the job is asked for; the first is 0")] = (
        None
    )
    to_maintain: Annotated[Law | None, Field(description="the job")] = None
    crews: tuple[str, ...] = ()
    skill: str | None = None
    priority: Priority = 0
    maintain_priority: Priority = 0


class Inspection(Model):
    """Finished parts are inspected; they go on, and the result follows."""

    finds: Annotated[Share, Field(description="of flawed parts")] = 1.0
    false_alarms: Annotated[Share, Field(description="of sound parts")] = 0.0
    delay_s: NotNegative = 0.0


class Step(Model):
    """A step of a route: a buffer, and the cycle of the machine that takes there, where it is another one."""

    buffer: str
    cycle: Law | None = None


class Route(Model):
    """Where parts of a product go one after another, by machines of give_rule `table`."""

    product: Name
    steps: Annotated[tuple[str | Step, ...], Field(min_length=1)]


class Sleep(Model):
    """Asleep after a time without parts, woken by some, ready after a warm-up."""

    after_s: NotNegative
    warm_up: Law
    parts: AtLeastOne = 1


class Order(Model):
    """Parts of a product that are wanted."""

    name: Name
    product: Name
    quantity: AtLeastOne
    release_h: NotNegative = 0.0
    due_h: Annotated[NotNegative | None, Field(description="none: no due date")] = None
    priority: Priority = 0


class Flow(Model):
    """Parts between a machine and a buffer."""

    buffer: Annotated[str, Field(description='"": out of the factory')]
    amount: AtLeastOne = 1
    weight: Annotated[Share, Field(description="probability, where chance routes")] = 1.0


class Changeover(Model):
    """Setup from one product to another."""

    before: Name
    after: Name
    seconds: NotNegative


class FactoryMachine(Model):
    """A machine, or several of the same kind that share buffers (`slots`)."""

    name: Name
    cycle: Annotated[Law | None, Field(description="needed where there is no furnace")] = None
    takes: tuple[str | Flow, ...] = ()
    gives: tuple[str | Flow, ...] = ()
    take_rule: Literal["all", "first"] = "all"
    give_rule: Literal["split", "chance", "first", "shortest", "table"] = "split"
    slots: Few = 1
    batch: Annotated[tuple[Batch, Batch], Field(description="(least, most) parts that it takes at once")] = (
        1,
        1,
    )
    batch_wait_s: Annotated[
        NotNegative | None, Field(description="after it saw a part it begins with fewer than the least; none: never")
    ] = None
    failures: tuple[Failure, ...] = ()
    degradations: tuple[Degradation, ...] = ()
    furnace: Furnace | None = None
    scrap: Annotated[Share, Field(description="probability that a finished part is thrown away")] = 0.0
    defects: Annotated[Share, Field(description="that it is flawed, which only an inspection finds")] = 0.0
    inspection: Inspection | None = None
    rejects: Annotated[str | None, Field(description="buffer for parts known to be bad; none: thrown away")] = None
    product: Annotated[str | None, Field(description="of the parts of a machine that takes nothing")] = None
    sleep: Sleep | None = None
    power_kw: dict[State, NotNegative] = Field(default={}, description="by state; 0 where it is not told")
    calendar: str | None = None
    pauses: Annotated[Flag, Field(description="at the end of a shift: stop; else the part is finished")] = False
    uses: dict[str, NotNegative] = Field(default={}, description="of utilities, while it works")
    loses: Annotated[Flag, Field(description="a finished part without a place is lost")] = False
    arrives: Annotated[Flag, Field(description="a source: its parts are born when they leave it")] = False
    orders: Annotated[tuple[Order, ...], Field(description="that it releases, one after the other")] = ()
    recipes: dict[str, Law] = Field(default={}, description="cycle by product, where it is another one")
    changeovers: tuple[Changeover, ...] = ()
    state_tag: Annotated[
        str, Field(description="PackML state, by the numbers of OPC 30060; with several slots all tags hold {slot}")
    ] = ""
    good_tag: Annotated[str, Field(description="counter of good parts; a batch counts when it ends")] = ""
    scrap_tag: Annotated[str, Field(description="counter of scrapped parts")] = ""
    batch_tag: Annotated[str, Field(description="parts of the batch that it works on")] = ""
    temperature_tag: Annotated[str, Field(description="of the chamber of a furnace")] = ""
    power_tag: Annotated[str, Field(description="electricity that it takes, an electric furnace included")] = ""

    @model_validator(mode="after")
    def _has_a_cycle(self) -> Self:
        if self.furnace is None and self.cycle is None:
            raise ValueError("cycle is needed, or a furnace")
        if self.furnace is not None and (self.cycle is not None or self.recipes):
            raise ValueError("cycle and recipes are those of the furnace; leave them out")
        return self


class Buffer(Model):
    """Places between machines."""

    name: Name
    capacity: Annotated[Count | None, Field(description="none: as many as come; 0: straight to the next machine")] = (
        None
    )
    initial: Count = 0
    order: Literal["fifo", "lifo", "priority"] = "fifo"
    delay_s: Annotated[NotNegative, Field(description="transport or cooling before a part can be taken")] = 0.0
    longest_s: Annotated[Positive | None, Field(description="a part that waits longer is thrown away")] = None
    level_tag: Annotated[str, Field(description="counted parts in it")] = ""


class Crew(Model):
    """Workers who repair."""

    name: Name
    workers: AtLeastOne = 1
    skills: tuple[str, ...] = ()
    calendar: str | None = None


class Calendar(Model):
    """Shifts within a period that repeats, in hours from its beginning."""

    name: Name
    period_h: Annotated[Number, Field(ge=0.1, le=1e6, allow_inf_nan=False)] = 168.0
    shifts_h: tuple[tuple[NotNegative, Positive], ...]


class Utility(Model):
    """What machines at work share, such as kW of cooling or m3/h of compressed air."""

    name: Name
    limit: Annotated[NotNegative | None, Field(description="none: enough for all")] = None
    unit: Annotated[str, Field(description="for people: kW, m3/h")] = ""


class HeatShares(Model):
    """What a machine gives to a heat stream: shares of its electric power, by state."""

    machine: str
    shares: dict[State, Share]


class FurnaceHeat(Model):
    """What a furnace gives to a heat stream: exhaust and forced cooling above one of its `levels_c`."""

    machine: str
    above_c: Celsius


class Heat(Model):
    """Heat of machines in a loop of water (or oil) that an exchanger or heat pump takes; the rest is recooled."""

    name: Name
    sources: tuple[HeatShares, ...] = ()
    furnaces: tuple[FurnaceHeat, ...] = ()
    network: str = ""
    unit: Annotated[str, Field(description="a waste-heat exchanger or heat pump of the network; none: unused")] = ""
    content_m3: Annotated[Positive | None, Field(description="of the loop; needed with a unit")] = None
    content_kj_m3k: Annotated[Positive, Field(description="heat capacity; the default is water at 80 degC")] = 4080.0
    temp_c: Annotated[Celsius | None, Field(description="at the beginning; needed with a unit")] = None
    recool_kw: NotNegative = 0.0
    recool_temp_c: Annotated[Celsius, Field(description="above it the recooler works")] = 1500.0
    alarm_temp_c: Annotated[Celsius, Field(description="above it `utility` falls to `alarm_limit`")] = 1500.0
    clear_temp_c: Annotated[Celsius | None, Field(description="below it the alarm ends; none: 2 K lower")] = None
    utility: Annotated[str, Field(description="that falls short while the alarm is on")] = ""
    alarm_limit: NotNegative = 0.0

    @model_validator(mode="after")
    def _loop_is_whole(self) -> Self:
        missing = [key for key in ("network", "content_m3", "temp_c") if getattr(self, key) in (None, "")]
        if self.unit and missing:
            raise ValueError(f"heat that goes to unit {self.unit} needs {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _has_each_machine_once(self) -> Self:
        for given in (self.sources, self.furnaces):
            for machine, count in Counter(one.machine for one in given).items():
                if count > 1:
                    raise ValueError(f"machine {machine} gives to heat {self.name} {count} times; tell it once")
        return self


class Factory(Model):
    """A factory: machines, what is between them, and the heat that they give off."""

    name: Name
    title: str = ""
    calendar_epoch: Annotated[
        AwareDatetime, Field(description="where a period of the calendars begins; its zone is that of the shifts")
    ] = datetime(1970, 1, 5, tzinfo=UTC)
    machines: list[FactoryMachine]
    buffers: tuple[Buffer, ...] = ()
    crews: tuple[Crew, ...] = ()
    calendars: tuple[Calendar, ...] = ()
    utilities: tuple[Utility, ...] = ()
    routes: Annotated[tuple[Route, ...], Field(description="for machines of give_rule `table`")] = ()
    heat: tuple[Heat, ...] = ()
    follows: Annotated[Flag, Field(description="parts one by one, for their flow times")] = False
    room: AtLeastOne | None = None
    step_s: Annotated[Number, Field(ge=0.1, le=3600)] = 10.0
    prior_worth: Annotated[Number, Field(gt=1, le=1e6, description="observations that laws of the file are worth")] = (
        10.0
    )
    parted_parts: Annotated[AtLeastOne, Field(description="a counter so far off the prediction parts the two")] = 2
    forecast_horizon_s: Annotated[Number, Field(gt=0, le=86_400)] = 86_400.0
    forecast_step_s: ForecastStep = 900.0
