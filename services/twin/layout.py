"""How a heat network is laid out -> messages."""

from collections.abc import Iterable, Iterator, Mapping

from uem.territories.schema_units import unit_kinds
from uem.twin_core.plant.factory import FactorySite, given_heat
from uem.twin_core.plant.layout import positions
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.sides import Side, is_consumer, sides
from uem.twin_core.plant.units import StorageTank
from uem.v1 import twin_pb2 as pb

_SIDES = {
    Side.SUPPLY: pb.NETWORK_SIDE_SUPPLY,
    Side.RETURN: pb.NETWORK_SIDE_RETURN,
    Side.NEITHER: pb.NETWORK_SIDE_UNSPECIFIED,
}


def layout(network: Network, factories: Iterable[FactorySite] = ()) -> pb.GetNetworkResponse:
    """Nodes with their places, and what lies between them; units with the `factories` whose heat they take."""
    places, side = positions(network), sides(network)
    nodes = [
        pb.NetworkNode(name=name, east_m=places[name][0], north_m=places[name][1], side=_SIDES[side[name]])
        for name in (node.name for node in network.nodes)
    ]
    # An exchanger finds one loop, so a unit has one factory at most.
    givers = {loop.unit: site.name for site, _, loop in given_heat(factories) if loop.network == network.name}
    return pb.GetNetworkResponse(nodes=nodes, links=list(_links(network, givers)))


def _links(network: Network, givers: Mapping[str, str]) -> Iterator[pb.NetworkLink]:
    for pipe in network.pipes:
        yield pb.NetworkLink(
            name=pipe.name,
            kind=pb.NETWORK_LINK_KIND_PIPE,
            start=pipe.start,
            end=pipe.end,
            length_m=pipe.length_m,
            inner_diameter_m=network.pipe_class(pipe.pipe_class).inner_diameter_m,
        )
    for valve in network.valves:
        yield pb.NetworkLink(name=valve.name, kind=pb.NETWORK_LINK_KIND_VALVE, start=valve.start, end=valve.end)
    for pump in network.pumps:
        yield pb.NetworkLink(name=pump.name, kind=pb.NETWORK_LINK_KIND_PUMP, start=pump.start, end=pump.end)
    types = {cls: kind for kind, cls in unit_kinds().items()}
    for unit in network.units:
        kind = pb.NETWORK_LINK_KIND_CONSUMER if is_consumer(unit) else pb.NETWORK_LINK_KIND_PRODUCER
        if isinstance(unit, StorageTank):
            kind = pb.NETWORK_LINK_KIND_STORAGE
        yield pb.NetworkLink(
            name=unit.name,
            kind=kind,
            start=unit.start,
            end=unit.end,
            unit_type=types[type(unit)],
            heat_from=[givers[unit.name]] if unit.name in givers else [],
        )
