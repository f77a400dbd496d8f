"""Which of the compiled forms of lane_step.pyx runs here: that for the level of levels.pyx."""

from importlib import import_module

from uem.twin_core.thermal.levels import LEVEL, LEVELS

__all__ = ["LEVEL", "LEVELS", "WIDTH", "LaneGraph", "LaneRings"]

_module = import_module(f"uem.twin_core.thermal.lane_step_{LEVEL}")
WIDTH = _module.WIDTH
LaneGraph = _module.LaneGraph
LaneRings = _module.LaneRings
