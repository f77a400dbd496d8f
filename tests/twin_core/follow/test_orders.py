"""Orders of a followed factory: released by a desk that counts, done when their parts have left."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from uem.twin_core.plant.production import Buffer, Factory, Machine, Order, gamma, order_book
from uem.twin_core.twin import make_twin

_SHOPS = runpy.run_path(str(Path(__file__).with_name("shops.py")))
site, plant, samples, value, columns = (_SHOPS[k] for k in ("site", "plant", "samples", "value", "columns"))
ORDERS = (
    Order(name="flanges", product="flange", quantity=20),
    Order(name="shafts", product="shaft", quantity=15, release_s=1500.0),
    Order(name="more", product="flange", quantity=30),
)


def works(mill_s=60.0):
    mill = Machine(
        name="mill",
        cycle=gamma(mill_s, 0.02),
        takes=("blanks",),
        gives=("milled",),
        recipes={"shaft": gamma(1.5 * mill_s, 0.02)},
    )
    return Factory(
        name="works",
        machines=(
            order_book("desk", ORDERS, ("blanks",), between=gamma(50.0, 0.05)),
            mill,
            Machine(name="packing", cycle=gamma(30.0, 0.02), takes=("milled",)),
        ),
        buffers=(Buffer(name="blanks", capacity=10), Buffer(name="milled", capacity=10)),
    )


@pytest.fixture(scope="module")
def followed():
    """(twin, snapshots, plan of the true plant, its run a while before the last order is done)."""
    rows, plan, _ = plant(works(65.0), seed=3, until_s=4000.0)
    twin = make_twin(site(works()))
    twin.take(samples(rows))
    snapshots = twin.advance()
    run = plan.initial_run(seed=3)
    plan.run(run, (snapshots[-1].plant_time_ns - snapshots[0].plant_time_ns) / 1e9)
    return twin, snapshots, plan, run


def test_parts_are_counted_against_their_orders(followed):
    twin, _, _, run = followed
    left = run.view["order"]["left"].tolist()
    assert left[0] == 0
    assert 0 < left[2] < 30
    assert [value(twin, f"order/{order.name}/left") for order in ORDERS] == left
    assert value(twin, "resyncs") == 0.0


def test_an_order_is_done_when_it_is_done_in_the_plant(followed):
    twin, snapshots, _, run = followed
    for k, order in enumerate(ORDERS[:2]):
        done = int(np.argmax(columns(snapshots, twin, f"order/{order.name}/left") == 0.0))
        seconds = (snapshots[done].plant_time_ns - snapshots[0].plant_time_ns) / 1e9
        assert seconds == pytest.approx(run.view["order"]["finished"][k], abs=10.0)


def test_a_twin_that_begins_later_goes_on_with_the_order_that_the_desk_is_at():
    rows, _, _ = plant(works(), seed=3, until_s=4000.0, begin_s=2000.0)
    twin = make_twin(site(works()))
    counted = [(t, {tag: v + 30.0 if tag == "desk/good" else v for tag, v in values.items()}) for t, values in rows[:1]]
    twin.take(samples([*counted, (rows[0][0] + 20.0, counted[0][1] | {"mill/good": 1.0})]))
    twin.advance()
    assert value(twin, "order/flanges/left") == 0.0
    assert 0.0 < value(twin, "order/shafts/left") <= 5.0
    assert value(twin, "order/more/left") == 30.0


def test_a_desk_that_counts_below_nothing_has_released_nothing():
    rows, _, _ = plant(works(), seed=3, until_s=600.0)
    told = [(t, values | ({"desk/good": -1e300} if k == 0 else {})) for k, (t, values) in enumerate(rows)]
    twin = make_twin(site(works()))
    twin.take(samples(told[:1]))
    twin.take(samples(told[1:]))
    first = twin.advance()[0]
    assert columns([first], twin, "order/flanges/left").tolist() == [20.0]
    assert twin.failure is None
