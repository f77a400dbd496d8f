"""What a drawing is coloured by: taken from the network itself, or from one moment of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

from uem.offline.plot.scene import Values
from uem.twin_core.plant.network import Network

COLOURED_BY = ("temperature", "pressure", "flow", "diameter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A network as it was in one interval; what is not known is NaN."""

    node_temp_k: Mapping[str, float]
    node_pressure_pa: Mapping[str, float]
    pipe_flow_kg_s: Mapping[str, float]
    time_s: float


def values_of(network: Network, by: str, moment: Moment | None = None) -> Values:
    """What to colour by; all but the diameter needs a moment."""
    if by == "diameter" or moment is None:
        inner_mm = {p.name: network.pipe_class(p.pipe_class).inner_diameter_m * 1e3 for p in network.pipes}
        return Values(by="diameter", pipe=inner_mm, node={})
    note = f"after {moment.time_s / 3600.0:g} h"
    flow = moment.pipe_flow_kg_s
    if by == "flow":
        return Values(by=by, pipe={n: abs(v) for n, v in flow.items()}, node={}, flow_kg_s=flow, note=note)
    if by == "temperature":
        node = {name: temp_k - 273.15 for name, temp_k in moment.node_temp_k.items()}
    else:
        node = {name: pressure_pa / 1e5 for name, pressure_pa in moment.node_pressure_pa.items()}
    pipe = {p.name: (node.get(p.start, nan) + node.get(p.end, nan)) / 2.0 for p in network.pipes}
    return Values(by=by, pipe=pipe, node=node, flow_kg_s=flow, note=note)
