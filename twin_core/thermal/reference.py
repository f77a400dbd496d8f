"""The thermal scheme in NumPy: the oracle of the compiled kernels and the baseline of their benchmarks.

Same equations and same rules for sub-steps as pipes.pyx and network.pyx (docs/models/thermal.md), written to be read.
SI units; temperatures in K. Arrays have one row per pipe (or pipe and member), all rows with the same number of cells:
`plug_temp_k` and `plug_volume_m3_kg` (rows, cells + 1), `wall_temp_k` (rows, cells), everything else (rows,).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.thermal import water
from uem.twin_core.thermal.geometry import PipeGeometry

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

HEAT_CAPACITY_J_KGK = water.heat_capacity_j_kgk(333.15)
ENERGY_ZERO_K = 273.15
# A flow that moves less than this part of a cell in a step counts as standstill.
LEAST_MOVE_CELLS = 1e-12
# A step that moves the content of the pipe through more often than this is marched.
MARCH_CONTENTS = 4.0
LEAST_PART = 1e-9
LAMINAR_NUSSELT = 3.66
LAMINAR_REYNOLDS = 2300.0
TURBULENT_REYNOLDS = 4000.0
LARGEST_DISPERSION_NUMBER = 0.25
MOST_DISPERSION_PASSES = 16


@dataclass
class Pipes:
    """Geometry and state of several pipes with the same number of cells."""

    cell_length_m: Array
    cell_volume_m3: Array
    inner_diameter_m: Array
    wall_capacity_j_k: Array
    loss_w_k: Array
    dispersion_factor: Array
    fill: Array  # part of a cell that the first plug takes up; the last takes up the rest
    film_temp_k: Array
    end_temp_k: Array  # (rows, 2), what last left at the start and at the end
    plug_temp_k: Array
    plug_volume_m3_kg: Array
    wall_temp_k: Array

    @classmethod
    def at(cls, geometries: list[PipeGeometry], start_temp_k: Array, end_temp_k: Array) -> Self:
        """Pipes whose water and wall go linearly from one temperature to another, each of shape (rows,)."""
        columns = {
            f.name: np.array([getattr(g, f.name) for g in geometries])
            for f in fields(cls)
            if hasattr(geometries[0], f.name)
        }
        rows, cells = len(geometries), geometries[0].cells
        centre = (np.arange(cells) + 0.5) / cells
        wall = start_temp_k[:, None] + (end_temp_k - start_temp_k)[:, None] * centre
        plugs = np.concatenate([start_temp_k[:, None], wall], axis=1)
        return cls(
            **columns,
            fill=np.zeros(rows),
            film_temp_k=wall.mean(axis=1),
            end_temp_k=np.stack([start_temp_k, end_temp_k], axis=1),
            plug_temp_k=plugs,
            plug_volume_m3_kg=1.0 / density(plugs),
            wall_temp_k=wall,
        )

    def part(self, rows: Mask) -> "Pipes":
        """A copy of some rows."""
        return Pipes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def put(self, rows: Mask, part: "Pipes") -> None:
        """Write rows back that `part` took out."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(part, f.name)

    @property
    def cells(self) -> int:
        """Number of wall cells of every pipe."""
        return int(self.wall_temp_k.shape[1])

    def plug_parts(self) -> Array:
        """The part of a cell that each plug takes up."""
        parts = np.ones_like(self.plug_temp_k)
        parts[:, 0] = self.fill
        parts[:, -1] = 1.0 - self.fill
        return parts

    def mass_kg(self) -> Array:
        """Mass of the water."""
        mass: Array = self.cell_volume_m3 * np.sum(self.plug_parts() / self.plug_volume_m3_kg, axis=1)
        return mass

    def energy_j(self) -> Array:
        """Heat content of water and wall above 0 degC."""
        plugs = self.plug_parts() / self.plug_volume_m3_kg * (self.plug_temp_k - ENERGY_ZERO_K)
        wall = (self.wall_temp_k - ENERGY_ZERO_K).sum(axis=1)
        energy: Array = HEAT_CAPACITY_J_KGK * self.cell_volume_m3 * plugs.sum(axis=1) + self.wall_capacity_j_k * wall
        return energy


def density(temp_k: Array) -> Array:
    """Density of water, any shape."""
    return _property(water.densities, temp_k)


def _property(fill: Callable[[Array, Array, Array], None], temp_k: Array) -> Array:
    """A property of water at each temperature and the default pressure; beyond the range that at its bound."""
    flat = np.clip(temp_k, *water.TEMP_RANGE_K).ravel()
    out = np.empty_like(flat)
    fill(flat, np.full_like(flat, water.DEFAULT_PRESSURE_PA), out)
    return out.reshape(temp_k.shape)


@dataclass
class Factors:
    """What a time of contact does: shares of a temperature difference that are evened out."""

    water_by_wall: Array
    wall_by_water: Array
    water_by_ambient: Array
    wall_by_ambient: Array
    dispersion: Array
    film_density: Array


# Density, viscosity and conductivity at 273, 274 ... 423 K: the film is evaluated at whole kelvins.
_FILM = np.stack(
    [_property(fill, np.arange(273.0, 424.0)) for fill in (water.densities, water.viscosities, water.conductivities)]
)


def film(pipes: Pipes, flow_kg_s: Array) -> tuple[Array, Array, Array]:
    """Conductance between water and wall of a cell, dispersion coefficient m2/s, density at film temperature."""
    rho, mu, k = _FILM[:, np.clip(np.rint(pipes.film_temp_k) - 273.0, 0, 150).astype(np.intp)]
    diameter = pipes.inner_diameter_m
    section = np.pi / 4.0 * diameter**2
    prandtl = HEAT_CAPACITY_J_KGK * mu / k
    reynolds = flow_kg_s * diameter / (section * mu)
    turbulent = np.maximum(reynolds, TURBULENT_REYNOLDS)
    eighth = (0.79 * np.log(turbulent) - 1.64) ** -2 / 8.0
    nusselt = eighth * (turbulent - 1000.0) * prandtl / (1.0 + 12.7 * np.sqrt(eighth) * (prandtl ** (2.0 / 3.0) - 1.0))
    blend = np.clip((reynolds - LAMINAR_REYNOLDS) / (TURBULENT_REYNOLDS - LAMINAR_REYNOLDS), 0.0, 1.0)
    nusselt = LAMINAR_NUSSELT + blend * (nusselt - LAMINAR_NUSSELT)
    conductance = nusselt * k * np.pi * pipes.cell_length_m
    re = np.maximum(reynolds, LAMINAR_REYNOLDS)
    speed = flow_kg_s / (rho * section)
    dispersion = pipes.dispersion_factor * diameter / 2.0 * speed * (3e7 * re**-2.1 + 1.35 * re**-0.125)
    return conductance, dispersion, rho


def factors(pipes: Pipes, flow_kg_s: Array, dt_s: Array) -> Factors:
    """The exact exponential of water, wall and ambient in contact for `dt_s`, and the dispersion number."""
    conductance, dispersion, rho = film(pipes, flow_kg_s)
    water_capacity = HEAT_CAPACITY_J_KGK * rho * pipes.cell_volume_m3
    p = conductance / water_capacity
    q = conductance / pipes.wall_capacity_j_k
    loss = pipes.loss_w_k / pipes.wall_capacity_j_k
    gap = np.sqrt((p + q + loss) ** 2 - 4.0 * p * loss)
    fast = (p + q + loss + gap) / 2.0
    slow = p * loss / fast
    lost_slow, lost_fast = -np.expm1(-slow * dt_s), -np.expm1(-fast * dt_s)
    evened = (lost_fast - lost_slow) / gap
    return Factors(
        water_by_wall=p * evened,
        wall_by_water=q * evened,
        water_by_ambient=(fast * lost_slow - slow * lost_fast) / gap,
        wall_by_ambient=((fast - loss) * lost_slow + (loss - slow) * lost_fast) / gap,
        dispersion=dispersion * dt_s / pipes.cell_length_m**2,
        film_density=rho,
    )


def exchange(pipes: Pipes, f: Factors, ambient_temp_k: Array) -> Array:
    """Even out water and wall, lose heat to the ambient, disperse; returns the loss in J."""
    temp, wall, ambient = pipes.plug_temp_k, pipes.wall_temp_k, ambient_temp_k[:, None]
    warmth = (pipes.plug_parts() * (temp - ambient)).sum(axis=1)
    capacity = HEAT_CAPACITY_J_KGK * f.film_density * pipes.cell_volume_m3
    loss: Array = capacity * f.water_by_ambient * warmth
    loss += pipes.wall_capacity_j_k * f.wall_by_ambient * (wall - ambient).sum(axis=1)
    inside, beside, edge = contact(pipes)
    by_wall, by_ambient = f.water_by_wall[:, None], f.water_by_ambient[:, None]
    ratio = f.film_density[:, None] * pipes.plug_volume_m3_kg
    pipes.wall_temp_k = (
        wall + f.wall_by_water[:, None] * (inside - wall) - f.wall_by_ambient[:, None] * (wall - ambient)
    )
    pipes.plug_temp_k = temp - ratio * (by_wall * (temp - beside) + by_ambient * (temp - ambient))
    # What lies beyond the ends ages like the water beside it.
    ends = pipes.end_temp_k - by_wall * (pipes.end_temp_k - edge)
    pipes.end_temp_k = ends - by_ambient * (ends - ambient)
    pipes.film_temp_k = ambient_temp_k + warmth / pipes.cells
    disperse(pipes, f.dispersion, ratio)
    return loss


def contact(pipes: Pipes) -> tuple[Array, Array, Array]:
    """Temperature of the water inside each wall cell, of the wall beside each plug, and of the wall at both ends.

    Cell k lies beside plug k with its first part, `fill`, and beside plug k + 1 with the rest. Both are straight lines
    with limited slopes; a plug at an end takes part whole, and beyond the end lies what last passed it.
    """
    temp, wall, ends = pipes.plug_temp_k, pipes.wall_temp_k, pipes.end_temp_k
    first, last = pipes.fill, 1.0 - pipes.fill
    steps = np.diff(temp, axis=1)
    steps[:, 0] /= 0.5 * (1.0 + first)
    steps[:, -1] /= 0.5 * (1.0 + last)
    temp_slope = np.zeros_like(temp)
    temp_slope[:, 1:-1] = _slope(steps[:, :-1], steps[:, 1:])
    at_start = _slope(steps[:, 0], 2.0 * (temp[:, 0] - ends[:, 0]) / np.maximum(first, LEAST_PART))
    at_end = _slope(steps[:, -1], 2.0 * (ends[:, 1] - temp[:, -1]) / np.maximum(last, LEAST_PART))
    steps = np.concatenate([at_start[:, None], np.diff(wall, axis=1), at_end[:, None]], axis=1)
    wall_slope = _slope(steps[:, :-1], steps[:, 1:])
    fill = first[:, None]
    half = 0.5 * fill * (1.0 - fill)
    inside = fill * temp[:, :-1] + (1.0 - fill) * temp[:, 1:] - half * np.diff(temp_slope, axis=1)
    beside = np.empty_like(temp)
    beside[:, 0] = wall[:, 0] - 0.5 * last * wall_slope[:, 0]
    beside[:, 1:-1] = (1.0 - fill) * wall[:, :-1] + fill * wall[:, 1:] - half * np.diff(wall_slope, axis=1)
    beside[:, -1] = wall[:, -1] + 0.5 * first * wall_slope[:, -1]
    edge = np.stack([wall[:, 0] - 0.5 * wall_slope[:, 0], wall[:, -1] + 0.5 * wall_slope[:, -1]], axis=1)
    return inside, beside, edge


def disperse(pipes: Pipes, dispersion: Array, ratio: Array) -> None:
    """Exchange between neighbours, in passes that stay stable; a plug with little room takes part with little."""
    temp, parts = pipes.plug_temp_k, pipes.plug_parts()
    passes = np.clip(np.ceil(dispersion / LARGEST_DISPERSION_NUMBER), 0, MOST_DISPERSION_PASSES)
    number = np.minimum(dispersion / np.maximum(passes, 1.0), LARGEST_DISPERSION_NUMBER)
    share = np.repeat(number[:, None], pipes.cells, axis=1)
    for k in (0, -1):
        share[:, k] = np.minimum(2.0 * number / (1.0 + parts[:, k]), 0.25 * parts[:, k])
    room = np.where(parts > 0.0, parts, 1.0)
    for k in range(int(passes.max(initial=0.0))):
        moved = np.where((k < passes)[:, None], share * (temp[:, :-1] - temp[:, 1:]), 0.0)
        change = np.zeros_like(temp)
        change[:, :-1] -= moved
        change[:, 1:] += moved
        temp = temp + ratio * change / room
    pipes.plug_temp_k = temp


def _slope(back: Array, ahead: Array) -> Array:
    """The smaller of two slopes of the same sign, else nothing: no value outside of its neighbours."""
    return np.where(back * ahead > 0.0, np.where(np.abs(back) < np.abs(ahead), back, ahead), 0.0)


def move(pipes: Pipes, cells: Array, mass_kg: Array, temp_k: Array, forward: Mask) -> tuple[Array, Array]:
    """Push water in at the upstream end and take the same volume out at the other, at most one cell.

    Returns mass in kg and heat content (kg K) of what comes out.
    """
    n = pipes.cells
    back = ~forward
    for name in ("plug_temp_k", "plug_volume_m3_kg", "end_temp_k"):  # look along the flow
        values = getattr(pipes, name)
        values[back] = values[back, ::-1]
    temp, volume = pipes.plug_temp_k, pipes.plug_volume_m3_kg
    first = np.where(forward, pipes.fill, 1.0 - pipes.fill)
    last = 1.0 - first
    over = cells > last

    # What comes out of the last plug, whose temperature is a limited straight line.
    taken = np.where(over, last, cells)
    back_slope = (temp[:, n] - temp[:, n - 1]) / (0.5 * (1.0 + last))
    ahead_slope = (pipes.end_temp_k[:, 1] - temp[:, n]) / np.where(last > 0.0, 0.5 * last, 1.0)
    slope = np.where(over, 0.0, _slope(back_slope, ahead_slope))
    out_temp = temp[:, n] + 0.5 * slope * (last - taken)
    out_mass = pipes.cell_volume_m3 * taken / volume[:, n]
    out_heat = out_mass * out_temp
    # And the rest out of the plug behind it.
    rest = np.where(over, cells - last, 0.0)
    back_slope = temp[:, n - 1] - temp[:, n - 2]
    ahead_slope = (temp[:, n] - temp[:, n - 1]) / (0.5 * (1.0 + last))
    behind_slope = _slope(back_slope, ahead_slope)
    rest_temp = temp[:, n - 1] + 0.5 * behind_slope * (1.0 - rest)
    rest_mass = pipes.cell_volume_m3 * rest / volume[:, n - 1]
    left_temp = np.where(over, temp[:, n - 1] - 0.5 * behind_slope * rest, temp[:, n] - 0.5 * slope * taken)
    pipes.end_temp_k[:, 1] = np.where(rest > 0.0, rest_temp, out_temp)
    pipes.end_temp_k[:, 0] = temp_k

    # What goes in fills the first plug, then a new one.
    room = 1.0 - first
    pushed = mass_kg / pipes.cell_volume_m3
    into_first = np.where(over, pushed * np.where(cells > 0.0, room / np.where(cells > 0.0, cells, 1.0), 0.0), pushed)
    there = first / volume[:, 0]
    total = there + into_first
    filled = np.where(over, 1.0, first + cells)
    moving = total > 0.0
    safe = np.where(moving, total, 1.0)
    first_temp = np.where(moving, (there * temp[:, 0] + into_first * temp_k) / safe, temp[:, 0])
    first_volume = np.where(moving & (filled > 0.0), filled / safe, volume[:, 0])

    new_temp, new_volume = temp.copy(), volume.copy()
    new_temp[:, 0], new_volume[:, 0] = first_temp, first_volume
    new_temp[over, 1:], new_volume[over, 1:] = new_temp[over, :-1], new_volume[over, :-1]
    new_temp[over, 0] = temp_k[over]
    new_volume[over, 0] = (cells - room)[over] / (pushed - into_first)[over]
    new_temp[:, n] = left_temp
    first = np.where(over, cells - room, first + cells)
    pipes.fill = np.where(forward, first, 1.0 - first)
    pipes.plug_temp_k, pipes.plug_volume_m3_kg = new_temp, new_volume
    for name in ("plug_temp_k", "plug_volume_m3_kg", "end_temp_k"):
        values = getattr(pipes, name)
        values[back] = values[back, ::-1]
    return out_mass + rest_mass, out_heat + rest_mass * rest_temp


def march(
    pipes: Pipes, mass_kg: Array, temp_k: Array, dt_s: Array, ambient_temp_k: Array, forward: Mask
) -> tuple[Array, Array, Array]:
    """A long step through a short pipe: each wall cell sees a steady stream, cell after cell along the flow.

    Returns mass in kg and heat content in kg K of what comes out, and loss in J.
    """
    flow_kg_s = mass_kg / dt_s
    conductance, _, _ = film(pipes, flow_kg_s)
    stream = flow_kg_s * HEAT_CAPACITY_J_KGK
    transfer = conductance / stream
    met = -np.expm1(-transfer)
    grip = stream * met
    both = grip + pipes.loss_w_k
    times = both * dt_s / pipes.wall_capacity_j_k
    settled = -np.expm1(-times)
    before = HEAT_CAPACITY_J_KGK * pipes.cell_volume_m3 * _heat(pipes)
    wall = np.where(forward[:, None], pipes.wall_temp_k, pipes.wall_temp_k[:, ::-1])
    plugs = np.empty_like(pipes.plug_temp_k)
    plugs[:, 0] = temp_k
    loss = np.zeros_like(temp_k)
    given = np.zeros_like(temp_k)
    here = temp_k
    for k in range(pipes.cells):
        goal = (grip * here + pipes.loss_w_k * ambient_temp_k) / both
        mean = goal + (wall[:, k] - goal) * settled / times
        wall[:, k] = goal + (wall[:, k] - goal) * (1.0 - settled)
        plugs[:, k + 1] = wall[:, k] + (here - wall[:, k]) * met / transfer
        given = given + grip * dt_s * (here - mean)
        loss = loss + pipes.loss_w_k * dt_s * (mean - ambient_temp_k)
        here = here - met * (here - mean)
    mass = pipes.mass_kg()
    pipes.wall_temp_k = np.where(forward[:, None], wall, wall[:, ::-1])
    pipes.plug_temp_k = np.where(forward[:, None], plugs, plugs[:, ::-1])
    pipes.plug_volume_m3_kg = np.repeat(1.0 / density(temp_k)[:, None], pipes.cells + 1, axis=1)
    pipes.fill = np.where(forward, 0.0, 1.0)
    pipes.film_temp_k = plugs[:, 1:].mean(axis=1)
    last = np.stack([np.where(forward, temp_k, here), np.where(forward, here, temp_k)], 1)
    pipes.end_temp_k = last
    after = HEAT_CAPACITY_J_KGK * pipes.cell_volume_m3 * _heat(pipes)
    out_mass = mass_kg + mass - pipes.mass_kg()
    # Heat goes by the balance of the whole pipe, so that it closes whatever the profile inside was.
    out_j = mass_kg * HEAT_CAPACITY_J_KGK * temp_k - given - (after - before)
    return out_mass, out_j / HEAT_CAPACITY_J_KGK, loss


def _heat(pipes: Pipes) -> Array:
    """Sum of part / specific volume * temperature: heat content per cell volume and heat capacity, above 0 K."""
    heat: Array = (pipes.plug_parts() / pipes.plug_volume_m3_kg * pipes.plug_temp_k).sum(axis=1)
    return heat


def step(pipes: Pipes, mass_kg: Array, temp_k: Array, dt_s: float, ambient_temp_k: Array) -> tuple[Array, Array, Array]:
    """Advance by `dt_s` while `mass_kg` (negative: from the end to the start) of `temp_k` goes in.

    Returns mass in kg, heat content in kg K of what comes out, and loss in J.
    """
    forward = mass_kg >= 0.0
    mass = np.abs(mass_kg)
    moves = mass / (density(temp_k) * pipes.cell_volume_m3)
    passes = np.where(moves < LEAST_MOVE_CELLS, 0.0, np.maximum(np.ceil(moves), 1.0))
    passes = np.where(moves > MARCH_CONTENTS * pipes.cells, -1.0, passes)
    out = (np.zeros_like(mass), np.zeros_like(mass), np.zeros_like(mass))
    kinds = np.unique(passes)
    for kind in kinds:
        rows = passes == kind
        part = pipes if len(kinds) == 1 else pipes.part(rows)
        given = (mass[rows], temp_k[rows], np.full(int(rows.sum()), dt_s), ambient_temp_k[rows], forward[rows])
        results = march(part, *given) if kind < 0 else _sub_steps(part, int(kind), *given)
        for total, result in zip(out, results, strict=True):
            total[rows] = result
        if part is not pipes:
            pipes.put(rows, part)
    return out


def _sub_steps(
    pipes: Pipes, passes: int, mass_kg: Array, temp_k: Array, dt_s: Array, ambient_temp_k: Array, forward: Mask
) -> tuple[Array, Array, Array]:
    """Half a move, exchange, whole moves and exchanges, half a move (Strang's splitting)."""
    nothing = np.zeros_like(mass_kg)
    if passes == 0:
        return nothing, nothing, exchange(pipes, factors(pipes, nothing, dt_s), ambient_temp_k)
    f = factors(pipes, mass_kg / dt_s, dt_s / passes)
    cells = mass_kg / (density(temp_k) * pipes.cell_volume_m3) / passes
    out_mass, out_heat, loss = nothing, nothing, nothing
    for k, share in enumerate([0.5, *[1.0] * (passes - 1), 0.5]):
        mass, heat = move(pipes, share * cells, share * mass_kg / passes, temp_k, forward)
        out_mass, out_heat = out_mass + mass, out_heat + heat
        if k < passes:
            loss = loss + exchange(pipes, f, ambient_temp_k)
    return out_mass, out_heat, loss
