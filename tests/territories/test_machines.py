"""Machines in territory files."""

import pytest

from uem.territories.load import load
from uem.twin_core.errors import InvalidTerritory

MACHINE = """
name = "t"
tags = "tags.csv"

[[machines]]
name = "washer"
state_tag = "s"
power_tag = "p"
states = [{ number = 3, name = "spray", power_w = 3000.0, bath_heat_w = 2900.0, load_exchange_w_per_k = 10.0 }]

[machines.bath]
volume_m3 = 0.3
heater_w = 1e4
loss_w_per_k = 20.0
load_heat_capacity_j_k = 5e4
temperature_tag = "t"
hall_temperature_tag = "h"
"""
TAGS = "tag,plant,browse_path,namespace_uri,unit\n" + "".join(f"{tag},plant,A/{tag},urn:x,1\n" for tag in "spth")
PLANT = '[[plants]]\nname = "plant"\nendpoint = "opc.tcp://127.0.0.1:1"\n'


@pytest.fixture
def territory(tmp_path):
    def write(text):
        (tmp_path / "tags.csv").write_text(TAGS)
        (tmp_path / "territory.toml").write_text(text.replace("[[machines]]", PLANT + "[[machines]]"))
        return tmp_path / "territory.toml"

    return write


def test_the_shipped_cleaning_machine_has_its_states_and_bath():
    washer = load("pongau").asset("washer")
    assert {state.number: state.name for state in washer.states} == {
        2: "ready",
        3: "spray cleaning",
        4: "dripping",
        5: "suction",
        6: "blowing",
        7: "convection drying",
        8: "homing",
        9: "interruption",
    }
    assert washer.bath.content_j_k == pytest.approx(0.32 * 1000.0 * 4190.0)
    assert washer.bath.thermostat_on_k == pytest.approx(332.65)


def test_a_thermostat_that_is_left_out_never_switches_on(territory):
    bath = load(territory(MACHINE)).asset("washer").bath
    assert bath.thermostat_on_k == bath.thermostat_off_k == 0.0


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("3000.0", "-3.0", r"machines\[0\]\.states\[0\]\.power_w: .*greater than or equal to 0 \(got -3\.0\)"),
        ("0.3\n", "0.0\n", r"machines\[0\]\.bath\.volume_m3: .*greater than 0 \(got 0\.0\)"),
        ("number = 3", "number = -1", r"machines\[0\]\.states\[0\]\.number"),
        ("loss_w_per_k", "lost_w_per_k", r"bath\.lost_w_per_k: unknown key; allowed: volume_m3, .*thermostat_on_c"),
        ("2900.0", "3900.0", "machine washer: state spray: bath_heat_w 3900.0 is a part of power_w 3000.0"),
        (
            "volume_m3",
            "thermostat_on_c = 70.0\nthermostat_off_c = 60.0\nvolume_m3",
            "70 must not exceed thermostat_off_c 60",
        ),
    ],
)
def test_a_machine_that_cannot_be_is_refused_by_key_and_value(territory, old, new, complaint):
    with pytest.raises(InvalidTerritory, match=complaint):
        load(territory(MACHINE.replace(old, new, 1)))
