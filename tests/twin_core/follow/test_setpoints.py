"""Set points of boilers, and which of them do not answer."""

import pytest
from shipped import shipped

from uem.twin_core.follow.setpoints import WAITS_S, Now, SetPoints

UNITS = shipped("vallee").networks[0].units
PRODUCERS = [unit.name for unit in UNITS if hasattr(unit, "nominal_heat_w") or hasattr(unit, "nominal_waste_kg_s")]


def seen(dt_s=60.0, times=1, before=None, **producers):
    """After so many looks at producers; those that are not named stand in water as warm as they should give."""
    found = before or SetPoints(UNITS)
    now = dict.fromkeys(PRODUCERS, Now(370.0, 370.0, 20.0, 0.0))
    now |= {name.replace("_", "-"): is_now for name, is_now in producers.items()}
    for _ in range(times):
        found.see(now, dt_s)
    return found


def test_one_that_stands_or_gives_all_it_can_has_the_set_point_of_those_that_could_give_more():
    points = seen(wood_1=Now(350.0, 371.0, 40.0, 3.5e6), wood_2=Now(350.0, 362.0, 150.0, 8e6))
    assert points.supply_k == dict.fromkeys(points.boilers, 371.0)


def test_where_all_give_what_they_can_the_warmest_tells():
    points = seen(wood_1=Now(350.0, 363.0, 150.0, 8e6), wood_2=Now(350.0, 362.0, 150.0, 8e6))
    assert points.supply_k == dict.fromkeys(points.boilers, 363.0)


def test_while_no_boiler_runs_the_incinerator_tells_and_what_was_known_stays_without_it():
    points = seen(incinerator=Now(330.0, 372.0, 60.0, 1e7))
    assert points.supply_k["gas-1"] == 372.0
    assert seen(before=points).supply_k["gas-1"] == 372.0


def test_one_that_stands_in_cold_water_does_not_answer_after_a_while_and_does_again_when_it_runs():
    cold = {"wood_1": Now(350.0, 371.0, 40.0, 3.5e6), "gas_1": Now(350.0, 350.0, 60.0, 0.0)}
    points = seen(times=round(WAITS_S / 60.0) - 1, **cold)
    assert points.answers("gas-1")
    assert points.lacking == ["gas-1"]
    kept = points.copy()
    seen(before=points, **cold)
    assert not points.answers("gas-1")
    assert points.answers("gas-2")
    assert kept.answers("gas-1")
    seen(before=points, **cold | {"gas_1": Now(350.0, 360.0, 60.0, 2.5e6)})
    assert points.answers("gas-1")


@pytest.mark.parametrize("inlet_k", [369.0, 371.0])
def test_one_that_is_not_needed_may_stand(inlet_k):
    cool = {"wood_1": Now(350.0, 371.0, 40.0, 3.5e6), "gas_1": Now(inlet_k, inlet_k, 60.0, 0.0)}
    assert seen(times=100, **cool).answers("gas-1")


def test_boilers_that_could_give_more_teach_the_heating_curve_and_others_do_not():
    points = SetPoints(UNITS)
    now = dict.fromkeys(PRODUCERS, Now(370.0, 370.0, 20.0, 0.0))
    points.see(now | {"wood-1": Now(350.0, 363.0, 150.0, 8e6)}, 60.0, 275.0)
    assert points.curve.seen is None
    kept = points.copy()
    points.see(now | {"wood-1": Now(350.0, 371.0, 40.0, 3.5e6)}, 60.0)  # nobody tells the weather
    assert points.curve.seen is None
    points.see(now | {"wood-1": Now(350.0, 371.0, 40.0, 3.5e6)}, 60.0, 275.0)
    assert points.curve.seen[0, -1] == 60.0 * 371.0
    assert kept.curve.seen is None
