"""Machines are sane or refused, with every problem at once."""

import pytest

from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.machine import Bath, Machine, MachineState


def bath(**changes):
    good = {
        "volume_m3": 0.3,
        "density_kg_m3": 1000.0,
        "heat_capacity_j_kgk": 4190.0,
        "heater_w": 1e4,
        "loss_w_per_k": 20.0,
        "temperature_tag": "t",
        "hall_temperature_tag": "h",
        "load_heat_capacity_j_k": 5e4,
    }
    return Bath(**(good | changes))


def machine(states=None, **changes):
    states = states or (MachineState(number=1, name="ready", power_w=200.0),)
    return Machine(**({"name": "m", "states": states, "state_tag": "s", "power_tag": "p", "bath": bath()} | changes))


def test_the_heat_capacity_of_a_bath_is_that_of_its_liquid():
    assert bath().content_j_k == 0.3 * 1000.0 * 4190.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"volume_m3": 0.0}, "bath: volume_m3 0.0 must be positive"),
        ({"heat_capacity_j_kgk": float("nan")}, "bath: heat_capacity_j_kgk nan must be positive"),
        ({"loss_w_per_k": -1.0}, "bath: loss_w_per_k -1.0 must not be negative"),
        ({"load_loss_w_per_k": float("inf")}, "bath: load_loss_w_per_k inf must not be negative"),
        ({"thermostat_on_k": 335.0, "thermostat_off_k": 330.0}, "must not exceed thermostat_off_k 330.0"),
        ({"pieces_heat_capacity_j_k": 6e4}, "is a part of load_heat_capacity_j_k 50000.0"),
    ],
)
def test_a_bath_that_cannot_be_is_refused(changes, complaint):
    with pytest.raises(InvalidTerritory, match=complaint):
        machine(bath=bath(**changes))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"power_w": -1.0}, "state spray: power_w -1.0 must not be negative"),
        ({"power_w": float("nan")}, "state spray: power_w nan must not be negative"),
        ({"peak_power_w": 100.0}, "peak_power_w 100.0 must not be below the mean, power_w 3000.0"),
        ({"bath_heat_w": 3001.0}, "bath_heat_w 3001.0 is a part of power_w 3000.0"),
    ],
)
def test_an_operating_state_that_cannot_be_is_refused(changes, complaint):
    spray = MachineState(**({"number": 2, "name": "spray", "power_w": 3000.0} | changes))
    with pytest.raises(InvalidTerritory, match=complaint):
        machine((spray,))


def test_heat_to_a_bath_or_load_that_does_not_exist_is_refused():
    spray = MachineState(number=2, name="spray", power_w=3000.0, load_exchange_w_per_k=1.0)
    with pytest.raises(InvalidTerritory, match="need a bath"):
        machine((spray,), bath=None)
    with pytest.raises(InvalidTerritory, match=r"needs bath\.load_heat_capacity_j_k"):
        machine((spray,), bath=bath(load_heat_capacity_j_k=0.0))


def test_all_problems_of_a_machine_come_at_once():
    twice = MachineState(number=1, name="a", power_w=-1.0), MachineState(number=1, name="b", power_w=2.0)
    with pytest.raises(InvalidTerritory) as refusal:
        machine(twice, bath=bath(heater_w=-2.0))
    assert len(refusal.value.problems) == 3
    with pytest.raises(InvalidTerritory, match="at least one state"):
        Machine(name="m", states=(), state_tag="s", power_tag="p")
