"""One pipe and one step of a network: the scheme of cells.pxi, compiled once per kind of processor.

Which of them runs is told by levels.py. What pipes do never depends on it, to the last bit.
"""

from cpython.pycapsule cimport PyCapsule_New

from uem.twin_core.thermal.pipes cimport (
    HEAD, MOST_CELLS, OWED_DECAY, OWED_FLOW, OWED_MISSED, OWED_TIME, PENDING, SHELL_MEMO, Insulation, Kernel, Outflow,
    Pipe
)

include "uem/twin_core/thermal/cells.pxi"

cdef Kernel KERNEL
KERNEL.advance = advance
KERNEL.release = release
KERNEL.admit = admit
KERNEL.stored_energy_j = stored_energy_j


def kernel():
    """The functions of a step, for graph.pyx."""
    return PyCapsule_New(&KERNEL, NULL, NULL)
