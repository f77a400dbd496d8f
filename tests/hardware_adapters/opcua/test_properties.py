"""Units and ranges that a plant publishes, held against the tag table."""

import logging
from dataclasses import replace

import pytest
from asyncua import ua

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua import properties
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.engineering_units import _UNITS, WATT_HOUR, engineering_units, unit_of
from uem.hardware_adapters.opcua.properties import range_mismatch, unit_mismatch
from uem.hardware_adapters.opcua.server.server import PointServer
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.territory import TagBinding
from uem.twin_core.units import UNITS


def binding(si, scale=1.0, offset=0.0, **limits):
    return TagBinding(tag=Tag(name="x", unit=si, **limits), plant="p", display_unit=si, scale=scale, offset=offset)


def test_every_unit_is_found_again_by_its_id_and_one_without_is_not():
    assert {unit_of(engineering_units(name)) for name in _UNITS} == set(UNITS) == set(_UNITS)
    for unknown in (engineering_units("furlong"), WATT_HOUR, None, "kW", ua.Range(0, 1)):
        assert unit_of(unknown) is None


@pytest.mark.parametrize(
    ("unit", "bound"),
    [
        *((name, binding(unit.si, unit.scale, unit.offset)) for name, unit in UNITS.items()),
        ("bar", binding("Pa", 1e5, 101_325.0)),  # a gauge
        ("kW", binding("W", -1000.0)),  # the other direction
        ("Cel", binding("K", 1.02, 272.9)),  # a corrected sensor
        ("1", binding("J", 3.6e6)),  # pulses
        ("furlong", binding("m")),  # nothing that is known
    ],
)
def test_a_unit_that_the_binding_turns_into_si_fits(unit, bound):
    assert unit_mismatch(bound, engineering_units(unit)) == ""


@pytest.mark.parametrize(
    ("unit", "bound", "table"),
    [
        ("K", binding("K", 1.0, 273.15), "Cel"),
        ("Cel", binding("K"), "K"),
        ("bar", binding("Pa"), "Pa"),
        ("W", binding("W", 1000.0), "kW"),
        ("kW", binding("J", 3.6e6), "kWh"),
        ("%", binding("1"), "1"),
        ("t/h", binding("kg/s", 0.9, 1.0), "kg/s by scale 0.9 and offset 1"),
    ],
)
def test_another_unit_is_told_with_both(unit, bound, table):
    assert unit_mismatch(bound, engineering_units(unit)) == f"the plant says {unit}, the tag table {table}"


def test_a_range_beyond_the_limits_is_told_in_si():
    bound = binding("K", 1.0, 273.15, low=273.15, high=373.15)
    assert range_mismatch(bound, ua.Range(0.0, 100.0)) == ""
    assert range_mismatch(bound, ua.Range(0.0, 0.0)) == ""  # not set
    assert range_mismatch(bound, None) == ""
    said = "the plant has 273.15 to 393.15 K, the tag table 273.15 to 373.15"
    assert range_mismatch(bound, ua.Range(0.0, 120.0)) == said


@pytest.fixture
def _soon(monkeypatch):
    monkeypatch.setattr(properties, "WAIT_S", 0.0)


async def told(opened, until):
    """What the adapter says when the plant has answered."""
    await collected(opened, 1, 60)
    await until(lambda: opened._properties._generation)
    return dict(opened.unit_mismatches)


@pytest.mark.usefixtures("_soon")
async def test_units_of_an_independent_server_in_chunks_that_it_takes(
    lasting_plant, node_certificates, node_tags, until, caplog
):
    caplog.set_level(logging.INFO)
    right, wrong, *bare = node_tags("Feed", "Power", *(f"T{i}" for i in range(30)))
    right = replace(right, tag=Tag(name="Feed", unit="K", low=273.15, high=373.15), offset=273.15)
    wrong = replace(wrong, tag=Tag(name="Power", unit="W"))
    async with (
        lasting_plant(counterMs=20, tags=30, limit=20) as plant,
        OpcUaAdapter(plant.endpoint, [right, wrong, *bare], node_certificates) as opened,
    ):
        assert await told(opened, until) == {"Power": "the plant says kW, the tag table W"}
    said = [each.getMessage() for each in caplog.records if each.name == properties.__name__]
    assert len(said) == 2
    assert "correct unit, scale and offset" in said[0]
    assert "Power: the plant says kW, the tag table W" in said[0]
    assert said[1].endswith("Feed: the plant has 273.15 to 393.15 K, the tag table 273.15 to 373.15")


@pytest.mark.usefixtures("_soon")
async def test_units_of_our_own_server(node_certificates, node_tags, until):
    names = ("Feed", "Power", "Bare")

    async def make(space):
        namespace = await space.namespace("urn:uem:test:peer")
        parent = await space.object(space.objects, "Plant", namespace)
        for name, unit in zip(names, ("Cel", "kW", ""), strict=True):
            _, node = await space.point(parent, name, namespace, identifier=name)
            if unit:
                units = ua.Variant(engineering_units(unit))
                await space.constant(node, ua.QualifiedName("EngineeringUnits", 0), namespace, units)

    feed, power, bare = node_tags(*names)
    tags = [
        replace(feed, tag=Tag(name="Feed", unit="K"), offset=273.15),
        replace(power, tag=Tag(name="Power", unit="J"), scale=3.6e6),
        bare,
    ]
    server = PointServer("plant p", make, node_certificates, host="127.0.0.1", port=0, path="/p")
    node_certificates.trust(node_certificates.certificate)
    async with server:
        server.write([1.0, 2.0, 3.0], [0, 0, 0], 1_700_000_000_000_000_000)
        async with OpcUaAdapter(server.endpoint, tags, node_certificates) as opened:
            assert await told(opened, until) == {"Power": "the plant says kW, the tag table kWh"}


@pytest.mark.usefixtures("_soon")
async def test_a_plant_that_does_not_answer_this_goes_on_to_give_samples(
    lasting_plant, node_certificates, node_tags, monkeypatch, caplog
):
    async def fails(*_):
        raise ua.uaerrors.BadServiceUnsupported

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(properties, "_read", fails)
    async with (
        lasting_plant(counterMs=20, tags=30, limit=20) as plant,
        OpcUaAdapter(plant.endpoint, node_tags("Counter"), node_certificates, silence_s=10.0) as opened,
    ):
        await collected(opened, 20, 60)
        assert opened.unit_mismatches == {}
        assert opened.outages == 0
    assert "units and ranges could not be read" in caplog.text
