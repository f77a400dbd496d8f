"""What the pipe kernels need to know of a pipe, worked out once from its description."""

from dataclasses import dataclass
from math import ceil, pi

from uem.twin_core.plant.network import Pipe, PipeClass

MIN_CELLS = 8
MAX_CELLS = 32
# Cells are about this many diameters long, between the bounds above.
DIAMETERS_PER_CELL = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeGeometry:
    """A pipe cut into cells of equal length. Capacities, volumes and conductances are per cell."""

    cells: int
    cell_length_m: float
    cell_volume_m3: float
    inner_diameter_m: float
    wall_capacity_j_k: float
    loss_w_k: float
    dispersion_factor: float


def pipe_geometry(pipe: Pipe, pipe_class: PipeClass, cells: int | None = None) -> PipeGeometry:
    """Cut `pipe` into `cells`, by default a number that follows from its length and diameter."""
    inner, outer = pipe_class.inner_diameter_m, pipe_class.outer_diameter_m
    if cells is None:
        cells = min(max(ceil(pipe.length_m / inner / DIAMETERS_PER_CELL), MIN_CELLS), MAX_CELLS)
    length = pipe.length_m / cells
    wall_m3 = pi / 4.0 * (outer**2 - inner**2) * length
    return PipeGeometry(
        cells=cells,
        cell_length_m=length,
        cell_volume_m3=pi / 4.0 * inner**2 * length,
        inner_diameter_m=inner,
        wall_capacity_j_k=wall_m3 * pipe_class.wall_density_kg_m3 * pipe_class.wall_heat_capacity_j_kgk,
        loss_w_k=pipe_class.loss_factor * length / pipe_class.loss_resistance_mk_w,
        dispersion_factor=pipe_class.dispersion_factor,
    )
