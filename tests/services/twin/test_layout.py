import asyncio
from math import dist

import grpc
import pytest

from uem.clients import convert
from uem.clients.records import LinkKind, Side
from uem.services.twin.layout import layout
from uem.territories.load import load
from uem.twin_core.plant.network import Network
from uem.v1 import twin_pb2 as pb


def network(territory):
    return next(asset for asset in load(territory).assets if isinstance(asset, Network))


@pytest.mark.parametrize("territory", ["pongau", "quartier", "vallee"])
def test_every_link_joins_two_nodes_that_have_a_place(territory):
    here = convert.layout(layout(network(territory)))
    places = {node.name: (node.east_m, node.north_m) for node in here.nodes}
    assert len(places) == len(here.nodes) > 1
    assert len(set(places.values())) > 1
    for link in here.links:
        assert link.start in places
        assert link.end in places


def test_a_closed_network_has_both_sides_and_its_units_by_what_they_do_with_heat():
    given = network("quartier")
    here = convert.layout(layout(given))
    assert {node.side for node in here.nodes} == {Side.SUPPLY, Side.RETURN}
    units = {link.name: link for link in here.links if link.unit_type}
    assert set(units) == {unit.name for unit in given.units}
    assert units["boiler"].kind is LinkKind.PRODUCER
    assert units["tank"].kind is LinkKind.STORAGE
    assert units["tank"].unit_type == "storage_tank"
    assert units["school"].kind is LinkKind.CONSUMER


def test_a_unit_that_takes_the_heat_of_a_factory_names_it():
    valley = load("vallee")
    here = convert.layout(layout(network("vallee"), valley.factories))
    givers = {link.name: link.heat_from for link in here.links if link.heat_from}
    assert givers == {"graphite-fumes": ("graphite-works",), "heat-pump": ("chemical-site",)}


def test_pipes_have_length_and_diameter_and_are_about_as_long_as_drawn():
    pipes = [link for link in layout(network("vallee")).links if link.kind == pb.NETWORK_LINK_KIND_PIPE]
    places = {node.name: (node.east_m, node.north_m) for node in layout(network("vallee")).nodes}
    assert sum(pipe.length_m for pipe in pipes) == pytest.approx(80_000, rel=0.1)  # supply and return
    assert all(0.02 < pipe.inner_diameter_m < 0.6 for pipe in pipes)
    drawn = sum(dist(places[pipe.start], places[pipe.end]) for pipe in pipes)
    assert 0.5 < drawn / sum(pipe.length_m for pipe in pipes) <= 1.2


async def test_a_layout_is_asked_for_by_the_name_of_a_network_and_of_nothing_else(site):
    async with asyncio.timeout(60):
        found = await site.stub.GetNetwork(pb.GetNetworkRequest(asset="branch"))
        assert {"1", "2"} <= {node.name for node in found.nodes}
        for wrong in ("washer", ""):
            with pytest.raises(grpc.aio.AioRpcError, match="branch") as caught:
                await site.stub.GetNetwork(pb.GetNetworkRequest(asset=wrong))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
