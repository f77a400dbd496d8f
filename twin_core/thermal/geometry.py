"""What the pipe kernels need to know of a pipe, worked out once from its description."""

from dataclasses import dataclass
from math import ceil, log, pi

from uem.twin_core.plant.network import Pipe, PipeClass

MIN_CELLS = 8
MAX_CELLS = 32
# Cells are about this many diameters long, between the bounds above.
DIAMETERS_PER_CELL = 80.0


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
    # Two shells of insulation. Their resistances, wall to shell to shell to ambient, are parts of the whole one.
    shell_capacity_j_k: tuple[float, float] = (0.0, 0.0)
    shell_resistance_parts: tuple[float, float, float] = (1.0, 0.0, 0.0)


def pipe_geometry(pipe: Pipe, pipe_class: PipeClass, cells: int | None = None) -> PipeGeometry:
    """Cut `pipe` into `cells`, by default a number that follows from its length and diameter."""
    inner, outer = pipe_class.inner_diameter_m, pipe_class.outer_diameter_m
    if cells is None:
        cells = min(max(ceil(pipe.length_m / inner / DIAMETERS_PER_CELL), MIN_CELLS), MAX_CELLS)
    length = pipe.length_m / cells
    wall_m3 = pi / 4.0 * (outer**2 - inner**2) * length
    capacities, parts = insulation_shells(pipe_class)
    return PipeGeometry(
        cells=cells,
        cell_length_m=length,
        cell_volume_m3=pi / 4.0 * inner**2 * length,
        inner_diameter_m=inner,
        wall_capacity_j_k=wall_m3 * pipe_class.wall_density_kg_m3 * pipe_class.wall_heat_capacity_j_kgk,
        loss_w_k=pipe_class.loss_factor * length / pipe_class.loss_resistance_mk_w,
        dispersion_factor=pipe_class.dispersion_factor,
        shell_capacity_j_k=(length * capacities[0], length * capacities[1]),
        shell_resistance_parts=parts,
    )


def insulation_shells(pipe_class: PipeClass) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """Heat capacities per metre of two shells of equal thickness, and the parts of the loss resistance between them.

    A shell has its temperature where half of its volume lies inside. Without `insulation_heat_capacity_j_m3k` none is
    stored outside of the wall.
    """
    c = pipe_class
    if c.insulation_heat_capacity_j_m3k == 0.0:
        return (0.0, 0.0), (1.0, 0.0, 0.0)
    first, last = c.outer_diameter_m, c.insulation_diameter_m
    middle = 0.5 * (first + last)
    inside, outside = (((a**2 + b**2) / 2.0) ** 0.5 for a, b in ((first, middle), (middle, last)))
    whole = 2.0 * pi * c.insulation_conductivity_w_mk * c.loss_resistance_mk_w
    parts = log(inside / first) / whole, log(outside / inside) / whole
    volumes = (pi / 4.0 * (b**2 - a**2) for a, b in ((first, middle), (middle, last)))
    capacities = tuple(c.insulation_heat_capacity_j_m3k * volume for volume in volumes)
    return (capacities[0], capacities[1]), (*parts, 1.0 - sum(parts))
