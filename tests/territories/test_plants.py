"""Plants in territory files."""

import pytest

from uem.territories.load import load
from uem.twin_core.errors import InvalidTerritory


@pytest.fixture
def territory(tmp_path):
    def write(plant):
        (tmp_path / "tags.csv").write_text("tag,plant,browse_path,namespace_uri,unit\n")
        (tmp_path / "territory.toml").write_text(f'name = "t"\ntags = "tags.csv"\n[[plants]]\nname = "p"\n{plant}\n')
        return tmp_path / "territory.toml"

    return write


@pytest.mark.parametrize("protocol", ["", 'protocol = "opcua"'])
def test_a_plant_speaks_opc_ua_unless_the_file_says_otherwise(protocol, territory):
    path = territory(f'{protocol}\nendpoint = "opc.tcp://127.0.0.1:4840/p"')
    assert load(path).plants[0].protocol == "opcua"
    assert load(path).plants[0].endpoint == "opc.tcp://127.0.0.1:4840/p"


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ('protocol = "smoke"\nendpoint = "smoke://hill"', r"plants\[0\]\.protocol: .*'opcua'.*'smoke'"),
        ('endpoint = "http://127.0.0.1"', r"plants\[0\]\.endpoint: .*opc\.tcp://host:port/path .*'http://127"),
        ('endpoint = "xopc.tcp://a:1"', r"plants\[0\]\.endpoint: .*opc\.tcp://host:port/path"),
        ('endpoint = "opc.tcp://"', r"plants\[0\]\.endpoint: .*opc\.tcp://host:port/path"),
    ],
)
def test_a_protocol_or_an_endpoint_that_does_not_fit_is_named(plant, said, territory):
    with pytest.raises(InvalidTerritory, match=said):
        load(territory(plant))


def test_a_plant_needs_an_endpoint_or_a_recording(territory):
    with pytest.raises(InvalidTerritory, match="needs an endpoint or a recording"):
        load(territory(""))
