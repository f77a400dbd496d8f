"""A valley on one screen: a network of many customers, its plant, factories, forecasts and alarms."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from uem.clients.cli.live import LiveView
from uem.clients.cli.screen import Choice, Scene, block, screen, state_lines
from uem.clients.cli.summary import NetworkReader, factory_summary, worst_signals
from uem.clients.records import (
    Alarm,
    Asset,
    Forecast,
    Kind,
    Layout,
    Link,
    LinkKind,
    Node,
    Series,
    Side,
    Signal,
    Source,
    State,
)
from uem.twin_core.measurements import GOOD, UNCERTAIN, UNCERTAIN_LAST_USABLE_VALUE, UNCERTAIN_SENSOR_NOT_ACCURATE

CUSTOMERS = 120
HEAT_W = {"wood": 4e6, "gas": 2.1e6, "fumes": 3e6, "idle": 2e4, "tank": -0.5e6}
NOON_NS = 1_768_212_000 * 10**9
PACKML = {2: "idle", 4: "execute", 8: "aborted", 0: "stopped"}
NAN = math.nan


def a_state(asset, values, sigma=NAN, quality=None, age_s=0.0):
    count = len(asset.signals)
    columns = np.array(list(values), float), np.full(count, sigma), np.zeros(count, np.uint32), np.full(count, age_s)
    return State(asset, 7, NOON_NS, NOON_NS, *columns)


def signal(name, unit="W", display_unit="kW", source=Source.ESTIMATED, against="", states=None):
    return Signal(name, unit, display_unit, source, against, states or {})


@pytest.fixture
def valley():
    """(state, layout) of a network whose sensor at station 3 shows 4 K more than its twin; the others 0.1 K."""
    heat_w = {f"unit/{name}/heat": w for name, w in HEAT_W.items()}
    heat_w |= {f"unit/station-{k}/heat": -5e4 if k < CUSTOMERS - 2 else 0.0 for k in range(CUSTOMERS)}
    signals = [signal(name) for name in heat_w]
    values = list(heat_w.values())
    for k in range(CUSTOMERS):
        name = f"node/station-{k}/temperature"
        signals += [signal(name, "K", "Cel", Source.MEASURED), signal(f"{name}/twin", "K", "Cel", against=name)]
        values += [350.0 + (4.0 if k == 3 else 0.1), 350.0]
    more = {
        "pipe/trunk/flow": 80.0,
        "pipe/back/flow": 80.0,
        "node/plant/temperature/twin": 371.15,
        "node/plant-return/temperature/twin": 328.15,
        "energy/loss": 7.2e9,
        "indicator/produced": 7.2e10,
        "indicator/recovered_share": 0.625,
        "unit/wood/answers": 1.0,
        "unit/gas/answers": 0.0,
    }
    signals += [signal(name) for name in more]
    state = a_state(Asset("valley", Kind.HEAT_NETWORK, "A valley", tuple(signals)), [*values, *more.values()], 1.0)
    nodes = [("plant", Side.SUPPLY), ("a", Side.SUPPLY), ("a-return", Side.RETURN), ("plant-return", Side.RETURN)]
    links = [Link("trunk", LinkKind.PIPE, "plant", "a"), Link("back", LinkKind.PIPE, "a-return", "plant-return")]
    links += [Link(f"station-{k}", LinkKind.CONSUMER, "a", "a-return") for k in range(CUSTOMERS)]
    kinds = {name: LinkKind.STORAGE if name == "tank" else LinkKind.PRODUCER for name in HEAT_W}
    links += [Link(name, kind, "plant-return", "plant") for name, kind in kinds.items() if name != "fumes"]
    links += [Link("fumes", kinds["fumes"], "plant-return", "plant", heat_from=("works-0", "works-1"))]
    return state, Layout(tuple(Node(name, 0.0, 0.0, side) for name, side in nodes), tuple(links))


@pytest.fixture
def works():
    """A factory with two machines that run, one that waits, one that is down and one that is off."""
    states = {"press": 4, "saw": 4, "lathe": 2, "furnace": 8, "paint": 0}
    signals = [signal(f"machine/{m}/state", "1", "1", Source.MEASURED, states=PACKML) for m in states]
    signals += [signal("power"), signal("output", "1/s", "1/h"), signal("heat/fumes"), signal("parted", "1", "1")]
    asset = Asset("works", Kind.FACTORY, "Works", tuple(signals))
    return a_state(asset, [*states.values(), 1.4e6, 0.01, 2.9e6, 0.0], age_s=500.0)


@pytest.fixture
def scene(valley, works):
    state, layout = valley
    reader = NetworkReader(state.asset, layout)
    factories = {f"works-{k}": replace(works, asset=replace(works.asset, name=f"works-{k}")) for k in range(4)}
    return Scene("uem watch", states={**factories, "valley": state}, readers={"valley": reader})


def a_forecast(asset, name, value):
    times = NOON_NS + np.arange(1, len(value) + 1) * 900 * 10**9
    band = np.stack([0.9 * value, 1.1 * value], axis=1)
    return Forecast(asset, NOON_NS, "", np.array([0.05, 0.95]), (Series(name, "W", "kW", times, value, band, 9, 0),))


def an_alarm(severity=700):
    return Alarm("dairy", "c", "", "tank", "High", "too hot", "unacknowledged", severity, "high", NOON_NS, 0)


def drawn(scene, width=80, height=24):
    console = Console(width=width, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(screen(scene, width, height))
    return capture.get().splitlines()


def test_a_network_is_summed_up_by_customers_units_water_and_ledger(valley):
    state, layout = valley
    found = NetworkReader(state.asset, layout).summary(state)
    assert (found.customers, found.taking) == (120, 118)
    assert found.taken_w == pytest.approx(118 * 5e4)
    assert found.fed_w == pytest.approx(4e6 + 2.1e6 + 3e6 + 2e4)
    assert [unit.name for unit in found.units] == ["wood", "fumes", "gas", "idle", "tank"]
    assert (found.supply_k, found.return_k) == (371.15, 328.15)
    assert (found.recovered_share, found.lost_share) == (0.625, pytest.approx(0.1))
    assert math.isnan(found.curtailed_j)


def test_water_that_flows_backwards_leaves_the_plant_at_the_other_end(valley):
    state, layout = valley
    turned = replace(layout, links=tuple(replace(x, start=x.end, end=x.start) for x in layout.links))
    value = state.value.copy()
    for name in ("pipe/trunk/flow", "pipe/back/flow"):
        value[state.index(name)] = -80.0
    found = NetworkReader(state.asset, turned).summary(replace(state, value=value))
    assert (found.supply_k, found.return_k) == (371.15, 328.15)


@pytest.mark.parametrize("quality_of_it", [0x80000000, UNCERTAIN_SENSOR_NOT_ACCURATE], ids=["bad", "shows the room"])
def test_the_sensor_that_is_furthest_from_its_twin_is_named_unless_its_value_tells_nothing(valley, quality_of_it):
    state, layout = valley
    found = NetworkReader(state.asset, layout).summary(state)
    assert (found.sensors, found.beyond) == (120, 1)
    assert (found.worst.signal, found.worst.value) == ("node/station-3/temperature", pytest.approx(4.0))
    assert worst_signals(state, 2)[0] == "node/station-3/temperature/twin"
    quality = state.quality.copy()
    quality[state.index("node/station-3/temperature")] = quality_of_it
    found = NetworkReader(state.asset, layout).summary(replace(state, quality=quality))
    assert found.beyond == 0
    assert found.worst.value == pytest.approx(0.1)
    assert found.quality.bad + found.quality.uncertain == 1


@pytest.mark.parametrize(("bias_k", "sigma", "many"), [(2.8, 0.3, 1), (1.9, 0.3, 0), (9.0, 10.0, 0)])
def test_where_the_twin_follows_a_sensor_against_its_model_is_told(valley, scene, bias_k, sigma, many):
    # A sensor that stands 2.8 K off is followed: measured and twin agree, and only the bias shows it.
    state, layout = valley
    name = "node/station-5/temperature/bias"
    asset = replace(state.asset, signals=(*state.asset.signals, signal(name, "K", "K")))
    sigmas, quality = np.append(state.standard_deviation, sigma), np.append(state.quality, np.uint32(GOOD))
    biased = replace(a_state(asset, [*state.value, bias_k]), standard_deviation=sigmas, quality=quality)
    scene.states["valley"], scene.readers["valley"] = biased, NetworkReader(asset, layout)
    told = f"  bias    {many} of 120 over 2 K, most station-5 +{bias_k:.1f} K"
    assert [line for line in drawn(scene) if line.startswith("  bias")] == [told]
    scene.states["valley"] = replace(biased, quality=np.append(state.quality, np.uint32(0x80000000)))
    assert not any(line.startswith("  bias") for line in drawn(scene))


def test_a_twin_that_tells_nothing_any_more_looks_old(scene):
    scene.silent_s = {"works-1": 900.0, "valley": 40.0, "works-2": 3.0}
    lines = drawn(scene)
    (row,) = [line for line in lines if line.startswith("works") and line.endswith("old!")]
    assert row.startswith("works-1")
    assert row.endswith("  15 min old!")
    assert "data 40 s old!" in lines[1]
    assert "data 15 min old!" in block(scene)


async def test_how_long_a_twin_was_silent_is_known_from_the_states_of_others(valley, works):
    class Client:
        async def layout(self, network):
            return valley[1]

    view = LiveView()
    await view.take(Client(), works)
    assert view.scene.silent_s["works"] == pytest.approx(0.0, abs=1.0)
    await view.take(Client(), replace(valley[0], published_time_ns=NOON_NS + 92 * 10**9))
    assert view.scene.silent_s["works"] == pytest.approx(92.0, abs=1.0)


def test_nothing_is_judged_as_long_as_no_uncertainty_is_known(valley, scene):
    state, _ = valley
    scene.states["valley"] = replace(state, standard_deviation=np.full(len(state.value), NAN))
    assert "no sensor can be held against it yet" in "\n".join(drawn(scene))


def test_a_sensor_that_says_nothing_for_five_minutes_is_silent_unless_it_never_tells_more_often(valley):
    state, layout = valley
    age_s, quality = state.age_s.copy(), state.quality.copy()
    for station in (5, 6):
        age_s[state.index(f"node/station-{station}/temperature")] = 301.0
    quality[state.index("node/station-5/temperature")] = UNCERTAIN_LAST_USABLE_VALUE
    found = NetworkReader(state.asset, layout).summary(replace(state, age_s=age_s, quality=quality))
    assert (found.quality.silent, found.quality.age_s) == (1, 0.0)


def test_machines_of_a_factory_are_counted_by_what_they_do(works):
    found = factory_summary(works)
    assert (found.running, found.waiting, found.off, found.down, found.unknown) == (2, 1, 1, ("furnace",), 0)
    assert (found.power_w, found.heat_w, found.output_per_s) == (1.4e6, 2.9e6, 0.01)
    assert found.quality.silent == 0  # a counter that stands is not silent
    unknown = factory_summary(replace(works, value=np.full(len(works.value), NAN)))
    assert (unknown.running, unknown.waiting, unknown.unknown) == (0, 0, 5)


def test_what_a_factory_makes_is_told_when_more_than_one_part_was_counted_or_none_for_long(works):
    def output(parts, quality):
        at, counted_s = works.index("output"), 60.0
        value, sigma, qualities = (a.copy() for a in (works.value, works.standard_deviation, works.quality))
        value[at], sigma[at], qualities[at] = parts / counted_s, 1.0 / counted_s, quality
        return factory_summary(replace(works, value=value, standard_deviation=sigma, quality=qualities)).output_per_s

    assert output(0, GOOD) == 0.0
    assert math.isnan(output(0, UNCERTAIN))
    assert math.isnan(output(1, UNCERTAIN))
    assert output(2, UNCERTAIN) == pytest.approx(2 / 60.0)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_a_valley_fits_the_terminal_and_uses_all_of_it(scene, width, height):
    scene.forecasts["valley/demand"] = a_forecast("valley/demand", "heat", np.linspace(5e6, 9e6, 96))
    scene.forecasts |= {name: a_forecast(name, "heat/fumes", np.linspace(0, 3e6, 96)) for name in scene.states}
    scene.alarms = [an_alarm() for _ in range(3)]
    lines = drawn(scene, width, height)
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for part in (
        "5.90 MW to 118 of 120 customers",
        "supply 98.0 °C, return 55.0 °C",
        "recovered 62 %, lost 10 %",
        "1 of 120 sensors over 3 sigma, most station-3 +4.0 K",
        "plant, MW: 3 of 5 units give heat",
        "peak 9.00",
        "at 10:00Z",
        "down: gas (does not answer), works-0/furnace, works-1/furnace",
        "3 active alarms",
        "too hot",
    ):
        assert part in text
    assert ("fumes (heat of works-0, works-1)" in text) == (height > 24)
    assert ("P5 8.10, P95 9.90" in text) == (width > 80)
    assert "█" in next(line for line in lines if line.startswith("demand"))
    (row,) = [line for line in lines if line.startswith("works-0")]
    assert row.split()[1:8] == ["2", "1", "1", "1", "36.0", "1400", "2900"]
    assert "█" in row
    assert "nan" not in text


def test_what_a_plant_raises_an_alarm_of_is_not_told_once_more(scene):
    scene.alarms = [replace(an_alarm(), source="gas"), replace(an_alarm(), plant="works-1", source="furnace")]
    (down,) = [line for line in drawn(scene, 200, 60) if line.startswith("down: ")]
    assert down == "down: works-0/furnace, works-2/furnace, works-3/furnace"


def test_why_nothing_is_forecast_stands_where_the_forecast_would(scene):
    scene.forecasts["valley/demand"] = "not available: asset valley/demand: no quarter hour was measured yet"
    assert "demand, MW: 5.90 now; no forecast: no quarter hour was measured yet" in "\n".join(drawn(scene))


def test_a_log_gets_what_matters_and_not_every_pair(scene):
    text = block(scene, ["serve: not well"])
    assert text.startswith("! serve: not well\n")
    assert "down: furnace" in text
    assert "node/station-7" not in text
    assert len(text.splitlines()) < 20


def test_all_and_signals_show_signal_by_signal(scene, valley):
    state, _ = valley
    scene.choice = Choice(everything=True)
    assert sum(": measured" in line for line in state_lines(scene, state)) == CUSTOMERS
    scene.choice = Choice(pattern="node/station-1?/temperature")
    lines = list(state_lines(scene, state))
    assert len(lines) == 11
    scene.choice = Choice(pattern="unit/*/heat")
    assert "unit/wood/heat 4000.00 kW" in "\n".join(state_lines(scene, state))
    assert "unit/wood/heat 4000.00 kW" in "\n".join(drawn(scene, 200, 90))


def test_a_factory_that_is_named_is_shown_machine_by_machine(scene, works):
    scene.choice = Choice(named=["works"])
    assert "machine/press/state execute" in "\n".join(state_lines(scene, works))


def test_a_network_without_a_layout_is_shown_signal_by_signal(scene):
    scene.readers.clear()
    assert "node/station-7/temperature" in "\n".join(drawn(scene, 120, 300))
