"""The examples of the guides are territories as they stand there."""

import re
from pathlib import Path

from uem.hardware_adapters.protocols import endpoints_of
from uem.territories.load import load

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guide"
MACHINE = """
[[machines]]
name = "gas-1"
state_tag = "gas-1/heat"
power_tag = "gas-1/heat"
states = [{ number = 1, name = "off", power_w = 10 }]
"""


def written(guide, folder, more=""):
    """Write the first example of a guide to a folder, with `more` behind its territory file."""
    text = (GUIDES / guide).read_text("utf-8")
    for name, kind, behind in (("territory.toml", "toml", more), ("tags.csv", "csv", "")):
        (folder / name).write_text(re.search(rf"```{kind}\n(.*?)```", text, re.S)[1] + behind)
    return folder


def test_the_example_of_several_protocols_can_be_used_as_it_is(tmp_path):
    territory = load(written("protocols.md", tmp_path))
    assert {plant.name: plant.protocol for plant in territory.plants} == {"boiler": "modbus", "site": "mqtt"}
    assert set(endpoints_of(territory, {})) == {"boiler", "site"}
    (temperature,) = [binding for binding in territory.tags if binding.plant == "site"]
    assert temperature.scale * 21.5 + temperature.offset == 294.65


def test_the_plants_and_tags_of_a_site_of_four_protocols_are_right(tmp_path):
    territory = load(written("connect-your-plant.md", tmp_path, MACHINE))
    protocols = {plant.name: plant.protocol for plant in territory.plants}
    assert protocols == {"control": "opcua", "boilers": "modbus", "meters": "mbus", "remote": "mqtt"}
    assert [binding.plant for binding in territory.tags] == list(protocols)
    assert set(endpoints_of(territory, {})) == set(protocols)
