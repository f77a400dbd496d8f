"""Factories in territory files."""

import math
import shutil

import pytest

from uem.territories.load import find, load
from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant import production
from uem.twin_core.plant.furnace import Segment
from uem.twin_core.production.heat import HeatMeter
from uem.twin_core.production.plan import FactoryPlan

REPAIR = '{ law = "lognormal", mean_s = 600.0, scv = 1.0 }'
SHOP = """
name = "t"

[[factories]]
name = "shop"
calendar_epoch = 2024-01-01T00:00:00+01:00
buffers = [{ name = "b", capacity = 4, delay_s = 5.0 }]
crews = [{ name = "crew", workers = 2, calendar = "day" }]
calendars = [{ name = "day", period_h = 24.0, shifts_h = [[6.0, 14.0], [15.0, 22.0]] }]
utilities = [{ name = "air", limit = 3.0, unit = "m3/h" }]

[[factories.machines]]
name = "saw"
cycle = { law = "exponential", mean_s = 60.0 }
gives = ["b"]
uses = { air = 2.0 }
power_kw = { busy = 6.0, starved = 0.5 }
failures = [
  { to_fail = { law = "weibull", mean_s = 6000.0, shape = 1.5 }, to_repair = REPAIR, crews = ["crew"] },
]
orders = [
  { name = "o1", product = "A", quantity = 5, due_h = 2.0 },
  { name = "o2", product = "B", quantity = 5, release_h = 1.0 },
]
recipes = { B = { law = "triangular", low_s = 10.0, mode_s = 20.0, high_s = 60.0 } }
changeovers = [{ before = "A", after = "B", seconds = 300.0 }]

[[factories.machines]]
name = "mill"
cycle = { law = "empirical", times_s = [50.0, 55.0] }
takes = [{ buffer = "b", amount = 2 }]
calendar = "day"
sleep = { after_s = 60.0, warm_up = { law = "deterministic", mean_s = 30.0 }, parts = 2 }

[[factories.heat]]
name = "warm"
sources = [{ machine = "saw", shares = { busy = 0.5 } }]
""".replace("REPAIR", REPAIR)


@pytest.fixture
def file(tmp_path):
    def write(*changes, text=SHOP):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "territory.toml").write_text(text)
        return tmp_path

    return write


@pytest.fixture
def problems(file):
    def of(*changes, text=SHOP):
        with pytest.raises(InvalidTerritory) as told:
            load(file(*changes, text=text))
        return list(told.value.problems)

    return of


def test_a_file_is_the_factory_that_python_would_write(file):
    site = load(file()).factories[0]
    saw, mill = site.factory.machines
    assert site.calendar_epoch_ns == 1_704_063_600 * 10**9
    assert saw.power_w == {"busy": 6000.0, "starved": 500.0}
    assert saw.failures[0].to_fail == production.weibull(6000.0, 1.5)
    assert saw.failures[0].to_repair == production.lognormal(600.0, 1.0)
    assert saw.recipes == {"B": production.triangular(10.0, 20.0, 60.0)}
    assert saw.changeover_s == {("A", "B"): 300.0}
    assert [(o.due_s, o.release_s) for o in saw.orders] == [(7200.0, 0.0), (math.inf, 3600.0)]
    assert mill.cycle == production.empirical([50.0, 55.0])
    assert mill.takes == (production.Flow(buffer="b", amount=2),)
    assert mill.sleep.warm_up == production.deterministic(30.0)
    assert site.factory.calendars[0].shifts == ((21600.0, 50400.0), (54000.0, 79200.0))
    assert site.factory.buffers[0].longest_s == math.inf
    plan = FactoryPlan(site.factory)
    run = plan.initial_run()
    plan.run(run, 86400.0)
    assert plan.ledger(run).output[0] == 5


def test_the_shipped_shop_gives_its_heat_to_the_ring():
    (site,) = load("quartier").factories
    loop = site.heat[0].loop
    assert (loop.network, loop.unit) == ("ring", "waste-heat")
    assert loop.content_j_k == pytest.approx(4.0 * 4080e3)
    assert loop.alarm_temp_k == pytest.approx(371.15)
    assert len(site.factory.machines) == 6


MISTAKES = [
    ([('gives = ["b"]', 'gives = ["c"]')], "factories[0].machines[0].gives: buffer 'c' does not exist; there are b"),
    ([('crews = ["crew"]', 'crews = ["fred"]')], "crew 'fred' does not exist; there are crew"),
    ([('calendar = "day"\nsleep', 'calendar = "night"\nsleep')], "calendar 'night' does not exist; there are day"),
    ([("air = 2.0", "steam = 2.0")], "utility 'steam' does not exist; there are air"),
    ([('machine = "saw"', 'machine = "saww"')], "heat[0].sources[0].machine: machine 'saww' does not exist"),
    ([("mean_s = 60.0 }", "mean = 60.0 }")], "cycle.mean: unknown key; allowed: law, mean_s"),
    ([('law = "exponential"', 'law = "erlang"')], "the law erlang is told by mean_s, stages, not by mean_s"),
    ([('law = "exponential"', 'law = "normal"')], "factories[0].machines[0].cycle.law: "),
    ([("busy = 6.0", "bussy = 6.0")], "power_kw"),
    ([("busy = 0.5 }", "busy = 1.5 }")], "shares.busy: Input should be less than or equal to 1"),
    ([("[[6.0, 14.0], [15.0", "[[6.0, 16.0], [15.0")], "calendar day: shifts"),
    ([('name = "mill"', 'name = "saw"')], "machine name 'saw' is used 2 times"),
    ([('name = "warm"', 'name = "warm"\nunit = "x"')], "heat that goes to unit x needs network, content_m3, temp_c"),
    (
        [('name = "warm"', 'name = "warm"\nunit = "x"\nnetwork = "n"\ncontent_m3 = 1.0\ntemp_c = 80.0')],
        "heat warm: network 'n' does not exist; there are none",
    ),
    (
        [
            (
                'name = "warm"',
                'name = "warm"\nunit = "x"\nnetwork = "n"\ncontent_m3 = 1.0\ntemp_c = 80.0\nalarm_temp_c = 90.0\n'
                "clear_temp_c = 95.0",
            )
        ],
        "heat[0].clear_temp_c: 95 must not be above alarm_temp_c 90",
    ),
    # What no computer could do in time, or hold.
    ([("mean_s = 60.0", "mean_s = 1e-3")], "cycle.mean_s: Input should be greater than or equal to 0.01"),
    ([("times_s = [50.0, 55.0]", "times_s = [0.0, 1e-3]")], "the mean of times_s must be at least 0.01 s"),
    ([("shape = 1.5", "shape = 0.001")], "to_fail.shape: Input should be greater than or equal to 0.25"),
    ([("scv = 1.0", "scv = 1e6")], "to_repair.scv: Input should be less than or equal to 100"),
    ([('law = "exponential", mean_s = 60.0', 'law = "erlang", mean_s = 60.0, stages = 2000000000')], "cycle.stages: "),
    ([('name = "saw"\n', 'name = "saw"\nslots = 2000000000\n')], "slots: Input should be less than or equal to 1000"),
    ([("due_h = 2.0", "priority = 1000000000000")], "priority: Input should be less than or equal to 1000000"),
    ([("quantity = 5, due", "quantity = 2147483648, due")], "Input should be less than or equal to 2147483647"),
    ([("period_h = 24.0", "period_h = 1e-9")], "period_h: Input should be greater than or equal to 0.1"),
    ([("capacity = 4", "capacity = 2000000000")], "parts to follow; 10000000 are possible: give it `room`"),
    (
        [("shares = { busy = 0.5 } }]", 'shares = { busy = 0.5 } }, { machine = "saw", shares = { starved = 0.5 } }]')],
        "machine saw gives to heat warm 2 times; tell it once",
    ),
    ([('gives = ["b"]', 'gives = ["b"]\nstate_tag = "saw/state"')], "machines[0].state_tag: tag 'saw/state' is not in"),
]


@pytest.mark.parametrize(("changes", "text"), MISTAKES, ids=[text for _, text in MISTAKES])
def test_a_mistake_is_told_by_its_key_with_what_would_be_right(changes, text, problems):
    found = problems(*changes)
    assert any(text in problem for problem in found), found


def test_an_exchanger_takes_the_heat_of_one_loop(tmp_path):
    text = find("quartier").read_text("utf-8")
    for name in ("tags.csv", "shop.csv"):
        shutil.copy(find("quartier").with_name(name), tmp_path)
    begin = text.index("[[factories.heat]]")
    second = text[begin:].replace("quench-loop", "other").replace("0.65", "0.1").replace("0.45", "0.1")
    (tmp_path / "territory.toml").write_text(text + "\n" + second)
    with pytest.raises(InvalidTerritory, match="unit waste-heat takes heat quench-loop of hardening-shop already"):
        load(tmp_path)
    (tmp_path / "territory.toml").write_text(text.replace('unit = "waste-heat"', 'unit = "boiler"'))
    with pytest.raises(
        InvalidTerritory, match="'boiler' is no waste-heat exchanger or heat pump of ring; there are waste-heat"
    ):
        load(tmp_path)


WORKS = """
name = "t"

[[factories]]
name = "works"
buffers = [{ name = "green" }, { name = "fired" }, { name = "bad", capacity = 5 }]
crews = [{ name = "fitters", skills = ["oven"] }]
[[factories.routes]]
product = "plate"
steps = ["green", { buffer = "fired", cycle = { law = "exponential", mean_s = 70.0 } }]

[[factories.machines]]
name = "press"
cycle = { law = "exponential", mean_s = 400.0 }
gives = ["green"]
give_rule = "table"
product = "plate"
arrives = true
defects = 0.1

[[factories.machines]]
name = "kiln"
takes = ["green"]
gives = ["fired"]
batch = [5, 8]
give_rule = "table"
degradations = [
  { stages = [WEEK, DAY], to_repair = DAY, threshold = 1, to_maintain = HOUR, skill = "oven" },
]

[factories.machines.furnace]
recipe = [
  { to_c = 900.0, duration_s = 3600.0 },
  { to_c = 900.0, duration_s = 1800.0, hold = true },
  { to_c = 400.0, duration_s = 900.0, cooling = true },
]
power_kw = 400.0
heating = "fuel"
fumes_kg_per_mj = 0.4
chamber_kj_per_k = 400.0
lining_kj_per_k = 8000.0
lining_w_per_k = 300.0
wall_w_per_k = 60.0
part_kj_per_k = 25.0
part_w_per_k = 15.0
cooling_w_per_k = 800.0
standby_c = 500.0
levels_c = [60.0, 155.0]

[[factories.machines]]
name = "gate"
cycle = { law = "deterministic", mean_s = 60.0 }
takes = ["fired"]
gives = [""]
give_rule = "table"
inspection = { finds = 0.9, delay_s = 0.0 }
rejects = "bad"

[[factories.machines]]
name = "mender"
cycle = { law = "deterministic", mean_s = 60.0 }
takes = ["bad"]

[[factories.heat]]
name = "fumes"
furnaces = [{ machine = "kiln", above_c = 60.0 }]
""".replace("WEEK", '{ law = "exponential", mean_s = 604800.0 }')
WORKS = WORKS.replace("DAY", '{ law = "exponential", mean_s = 86400.0 }')
WORKS = WORKS.replace("HOUR", '{ law = "deterministic", mean_s = 3600.0 }')


def test_furnaces_wear_routes_and_inspections_of_a_file_are_those_that_python_would_write(file):
    site = load(file(text=WORKS)).factories[0]
    press, kiln, gate, _ = site.factory.machines
    furnace = kiln.furnace
    assert furnace.segments("plate")[2] == Segment(to_k=673.15, duration_s=900.0, cooling=True)
    assert (furnace.power_w, furnace.standby_k, furnace.hall_k) == (400e3, 773.15, 293.15)
    assert (furnace.chamber_j_per_k, furnace.exhaust_j_per_kgk) == (400e3, 1100.0)
    assert furnace.fumes_kg_per_j == pytest.approx(4e-7)
    assert furnace.levels_k == (333.15, 428.15)
    assert kiln.cycle == production.deterministic(6300.0)
    assert kiln.degradations[0].stages == (production.exponential(604800.0), production.exponential(86400.0))
    assert kiln.degradations[0].to_maintain == production.deterministic(3600.0)
    assert (kiln.degradations[0].threshold, kiln.degradations[0].skill) == (1, "oven")
    assert gate.inspection == production.Inspection(finds=0.9)
    assert (press.product, press.defects, gate.rejects) == ("plate", 0.1, "bad")
    assert site.factory.routes[0].steps[1] == production.Step(buffer="fired", cycle=production.exponential(70.0))
    assert site.factory.crews[0].skills == ("oven",)
    plan = FactoryPlan(site.factory)
    run = plan.initial_run()
    given_j = HeatMeter(plan, site.heat).advance(run, 864_000.0)
    found = plan.ledger(run)
    assert given_j[0] == found.furnaces.above_j("kiln", 333.15)[0] > 1e9
    assert found.output[0] > 1000
    assert found.quality.found[0, 0] > 50


WORKS_MISTAKES = [
    ([('rejects = "bad"', 'rejects = "bed"')], "machines[2].rejects: buffer 'bed' does not exist; there are green"),
    ([('skill = "oven"', 'skill = "owen"')], "no crew has the skill 'owen'"),
    ([('crews = [{ name = "fitters", skills = ["oven"] }]', "")], "no crew has the skill 'oven'"),
    ([("threshold = 1", "threshold = 2")], "threshold 2 must be within 1 and 1"),
    ([('buffer = "fired", cycle', 'buffer = "tired", cycle')], "route of 'plate': buffer 'tired' does not exist"),
    ([('product = "plate"\narr', 'product = "tile"\narr')], "product 'tile' has no route"),
    ([("power_kw = 400.0", "power_kw = 0.0")], "furnace.power_kw"),
    ([("levels_c = [60.0, 155.0]", "levels_c = [1.0, 2.0, 3.0, 4.0, 5.0]")], "furnace.levels_c"),
    ([("cooling_w_per_k = 800.0\n", "")], "a segment with cooling needs cooling_w_per_k"),
    ([("to_c = 900.0", "to_c = 9000.0")], "recipe[0].to_c"),
    ([("above_c = 60.0", "above_c = 61.0")], "furnace kiln does not count its heat above this temperature"),
    ([('machine = "kiln", above', 'machine = "kilt", above')], "furnaces[0].machine: machine 'kilt' does not exist"),
    ([('machine = "kiln", above', 'machine = "gate", above')], "furnace 'gate' does not exist; furnaces are kiln"),
    (
        [('takes = ["green"]', 'takes = ["green"]\ncycle = { law = "deterministic", mean_s = 1.0 }')],
        "cycle and recipes are those of the furnace",
    ),
    ([('cycle = { law = "deterministic", mean_s = 60.0 }\ntakes = ["bad"]', 'takes = ["bad"]')], "cycle is needed"),
]


@pytest.mark.parametrize(("changes", "text"), WORKS_MISTAKES, ids=[text for _, text in WORKS_MISTAKES])
def test_a_mistake_in_what_only_some_factories_have_is_told_too(changes, text, problems):
    found = problems(*changes, text=WORKS)
    assert any(text in problem for problem in found), found
