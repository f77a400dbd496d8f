"""Where the water of a followed network nearly stands: what it is like there is not known.

Water creeps where it goes slower than `CREEPS_M_S`: meters do not tell such flows, in rings they are small differences
of large ones, and it is hours old and cold. A node *stands* where less passes than creeps through the largest of what
ends there: a sensor shows the room. It is *in doubt* where it stands, where pipes that creep may bring more than
`DOUBTFUL_PART` of what passes, or where more than that comes from nodes in doubt, by pipes or through customers, who
return what follows from what they get; other units make their own water. There a sensor is right and the model is not.
Source: docs/models/truth.md. Arrays are by node, (nodes,).
"""

import math
from collections.abc import Sequence
from copy import copy
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.plant.network import Network, Pipe
from uem.twin_core.plant.units import Substation
from uem.twin_core.thermal import water

CREEPS_M_S = 0.01
CREEPS_PART = 0.01  # of the nominal flow of a unit, likewise
DOUBTFUL_PART = 0.1
SETTLE_S = 3600.0  # for which water goes on that stood, as at a sensor of Pongau
TYPICAL_TEMP_K = 343.15

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Standing:
    """Where water stands now, and for how long it has been moving and known elsewhere."""

    def __init__(self, network: Network, nodes: Sequence[str]) -> None:
        """`nodes`: their names in the order of the model; edges are in that of its flows: pipes, valves, pumps, units.

        All water is believed to move, and to be known, at first.
        """
        index = {name: i for i, name in enumerate(nodes)}
        edges = (*network.pipes, *network.valves, *network.pumps, *network.units)
        self._start, self._end = (np.array([index[getattr(e, at)] for e in edges]) for at in ("start", "end"))
        self._ends = np.concatenate([self._start, self._end])
        self._carries = np.array([isinstance(edge, (Pipe, Substation)) for edge in edges], np.float64)
        self._pipes = slice(len(network.pipes))
        self._pipe_ends = np.concatenate([self._start[self._pipes], self._end[self._pipes]])
        density_kg_m3 = water.density_kg_m3(TYPICAL_TEMP_K)
        creeps = [
            math.pi / 4 * network.pipe_class(pipe.pipe_class).inner_diameter_m ** 2 * density_kg_m3 * CREEPS_M_S
            for pipe in network.pipes
        ]
        others = [CREEPS_PART * getattr(edge, "nominal_flow_kg_s", 0.0) for edge in edges[len(creeps) :]]
        self._creeps_kg_s = np.array(creeps)
        self._least_kg_s = np.zeros(len(nodes))
        np.maximum.at(self._least_kg_s, self._ends, np.tile([*creeps, *others], 2))
        self._doubts: Mask = np.zeros(len(nodes), np.bool_)  # now
        self.stands: Mask = self._doubts
        self._moved_s, self._known_s = (np.full(len(nodes), 2.0 * SETTLE_S) for _ in range(2))

    @property
    def shows_room(self) -> Mask:
        """Where water stands, or stood less than `SETTLE_S` ago."""
        return self._moved_s <= SETTLE_S

    @property
    def in_doubt(self) -> Mask:
        """Where it is in doubt, or was less than `SETTLE_S` ago."""
        return self._known_s <= SETTLE_S

    def copy(self) -> Self:
        """The same, to go back to; arrays are replaced, never written again."""
        return copy(self)

    def see(self, flow_kg_s: Array, dt_s: float) -> None:
        """How water went for `dt_s`, by edge (edges,); doubt goes on to the next node in each step."""
        size, count = np.abs(flow_kg_s), len(self._doubts)
        passes = 0.5 * np.bincount(self._ends, np.tile(size, 2), count)
        may_come_by = np.where(size[self._pipes] < self._creeps_kg_s, self._creeps_kg_s, 0.0)
        may_come = np.bincount(self._pipe_ends, np.tile(may_come_by, 2), count)
        ahead = flow_kg_s >= 0.0
        before, after = np.where(ahead, self._start, self._end), np.where(ahead, self._end, self._start)
        comes = np.bincount(after, self._carries * size * self._doubts[before], count)
        self.stands = passes < self._least_kg_s
        self._doubts = self.stands | (np.maximum(may_come, comes) > DOUBTFUL_PART * passes)
        self._moved_s = np.where(self.stands, 0.0, self._moved_s + dt_s)
        self._known_s = np.where(self._doubts, 0.0, self._known_s + dt_s)
