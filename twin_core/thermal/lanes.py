"""Which of the compiled forms of lane_step.pyx runs here: the widest that the processor has vectors for.

UEM_VECTORS=v2, v3 or v4 forces one that the processor has (x86-64 levels; others have v2 only, in plain C); results are
the same to the last bit.
"""

import os
from importlib import import_module

from uem.twin_core.errors import InvalidInput
from uem.twin_core.thermal.rings import vectors

LEVELS = ("v2", "v3", "v4")


def _chosen():
    possible = LEVELS[: vectors() + 1]
    level = os.environ.get("UEM_VECTORS") or possible[-1]
    if level not in possible:  # an instruction that is not there would end the process without a word
        raise InvalidInput(f"UEM_VECTORS={level!r}; this processor has {', '.join(possible)}")
    return level, import_module(f"uem.twin_core.thermal.lane_step_{level}")


LEVEL, _module = _chosen()
WIDTH = _module.WIDTH
LaneGraph = _module.LaneGraph
LaneRings = _module.LaneRings
