"""What does not fit together in a factory is found before it is believed."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from shipped import shipped

from uem.offline.check import factory
from uem.offline.check.finding import Severity
from uem.offline.check.main import main
from uem.twin_core.plant.factory import MOST_TEMP_K, FactorySite, HeatStream
from uem.twin_core.plant.furnace import Segment
from uem.twin_core.plant.production import Buffer, Factory, Utility, batch_furnace, exponential

_SHARED = Path(__file__).resolve().parents[2] / "twin_core" / "production" / "furnaces.py"
PLAIN = runpy.run_path(str(_SHARED))["PLAIN"]
SITE = shipped("quartier").factories[0]
SHOP = SITE.factory


def changed(**fields):
    return replace(SITE, factory=replace(SHOP, **fields))


def machines(name, **fields):
    return tuple(replace(m, **fields) if m.name == name else m for m in SHOP.machines)


def with_loop(**fields):
    stream = SITE.heat[0]
    return replace(SITE, heat=(replace(stream, loop=replace(stream.loop, **fields)),))


def buffers(name, **fields):
    return tuple(replace(b, **fields) if b.name == name else b for b in SHOP.buffers)


def test_the_shipped_shop_is_sound_and_its_week_is_told(capsys):
    assert main(["quartier", "--no-design", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["factories"]
    assert document["findings"] == []
    assert document["week"]["parts_per_week"] > 4000
    assert document["week"]["busiest_machine"] == "lathes"
    furnaces, tempering = 0.65 * 2 * 180.0, 0.4 * (130.0 + 6.0)  # all at work; tempering is not always heating
    assert furnaces < document["week"]["heat_kw"]["quench-loop"]["most"] <= furnaces + tempering
    main(["quartier", "--no-design"])
    assert "factory hardening-shop: 0 errors" in capsys.readouterr().out


OVEN = replace(
    PLAIN,
    recipe=(Segment(to_k=1173.15, duration_s=3600.0), Segment(to_k=1173.15, duration_s=1800.0, hold=True)),
    recipes={"cool": (Segment(to_k=573.15, duration_s=3600.0),)},
    load_s=120.0,
)


@pytest.mark.parametrize(
    ("power_w", "short"), [(400e3, []), (270e3, ["segment 1"]), (20e3, ["segment 1", "segment 2"])]
)
def test_a_furnace_that_does_not_come_to_what_its_recipe_asks_for_is_told(power_w, short):
    machine = batch_furnace("oven", replace(OVEN, power_w=power_w), takes=("in",), batch=(1, 20))
    found = list(factory.furnaces(Factory(machines=(machine,), buffers=(Buffer(name="in", initial=1),))))
    assert [f.text.partition("end of ")[2].partition(",")[0] for f in found if "cool" not in f.text] == short
    assert any("product cool: comes to" in f.text for f in found) == (power_w < 50e3)
    assert all(f.severity is Severity.WARNING and f.element == "machine oven" for f in found)


def test_a_share_of_an_electric_furnace_is_one_of_its_heating():
    machine = batch_furnace("oven", OVEN, takes=("in",), batch=(1, 20))
    shop = Factory(machines=(machine,), buffers=(Buffer(name="in", initial=1),))
    heat = HeatStream(name="h", shares={"oven": {"busy": 0.3, "down": 0.3}})
    assert ["down" in f.text for f in factory.powers(FactorySite(factory=shop, heat=(heat,)))] == [True]


MISTAKES = [
    (changed(machines=machines("washer", gives=())), "error", "buffer baskets", "starve for ever"),
    (changed(machines=machines("grinder", takes=())), "error", "buffer tempered", "blocked for ever"),
    (
        changed(machines=machines("grinder", takes=()), buffers=buffers("tempered", capacity=None)),
        "warning",
        "buffer tempered",
        "never leaves the factory",
    ),
    (
        changed(machines=machines("grinder", takes=()), buffers=buffers("tempered", longest_s=7200.0)),
        "warning",
        "buffer tempered",
        "never leaves the factory",
    ),
    (changed(buffers=(*SHOP.buffers, Buffer(name="spare", capacity=1))), "warning", "buffer spare", "no machine uses"),
    (changed(utilities=(Utility(name="cooling", limit=100.0),)), "error", "machine furnaces", "never begins"),
    (
        changed(machines=machines("saw", recipes={"bolt": exponential(9.0)}, changeover_s={("bolt", "nut"): 60.0})),
        "warning",
        "machine saw",
        "product 'nut', which nobody begins; there are none",
    ),
    (changed(machines=machines("saw", power_w={})), "note", "machine saw", "no power"),
    (changed(machines=machines("furnaces", power_w={"busy": 180e3})), "warning", "heat quench-loop", "state starved"),
    (changed(machines=machines("tempering", batch=(190, 200), takes=("hardened",))), "", "", ""),
    (
        with_loop(recool_w=1e5),
        "note",
        "heat quench-loop",
        "comes to the alarm",
    ),
    (with_loop(recool_w=1e5, utility=""), "error", "heat quench-loop", "warms without end"),
    (with_loop(recool_w=1e9, recool_temp_k=MOST_TEMP_K, utility=""), "error", "heat quench-loop", "without end"),
    (with_loop(recool_w=1e5, alarm_temp_k=MOST_TEMP_K), "error", "heat quench-loop", "warms without end"),
    (with_loop(recool_w=1e5, alarm_limit=190.0), "error", "heat quench-loop", "at its alarm too"),
    (with_loop(recool_w=40e3), "error", "heat quench-loop", "gives 59 kW on and on, at its alarm too"),
]


@pytest.mark.parametrize(("site", "severity", "element", "text"), MISTAKES, ids=[m[2] + " " + m[3] for m in MISTAKES])
def test_a_mistake_is_found_by_name(site, severity, element, text):
    found, _ = factory.findings(site)
    fitting = [f for f in found if f.severity == severity and f.element == element and text in f.text]
    assert len(fitting) == (1 if severity else 0), found


def test_a_machine_that_never_gets_enough_is_an_error_of_the_week():
    site = changed(
        buffers=buffers("hardened", capacity=30),
        machines=machines("lathes", scrap=1.0),
    )
    found, _ = factory.findings(site)
    errors = [f.element for f in found if f.severity is Severity.ERROR]
    assert "machine washer" in errors
