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
# Passes are so short that a stream decays by no more than this in one, as long as there are not too many of them.
MOST_DECAY = 0.1
MOST_PASSES = 1000.0
# The largest fall of a steady stream along a cell that parts of cells are made exact for.
LARGEST_FALL = 0.7
# Slopes are at most this many times the smaller difference to a neighbour, so that parts stay between neighbours.
MOST_SLOPE = 1.75
# A step of at most one cell is one pass; in longer ones a pass moves at most this part of a cell.
MOST_MOVE = 0.5
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
    shell_capacity_j_k: Array  # (rows, 2), inner and outer shell of insulation
    shell_resistance_parts: Array  # (rows, 3), wall to shell to shell to ambient
    fill: Array  # part of a cell that the first plug takes up; the last takes up the rest
    film_temp_k: Array
    end_temp_k: Array  # (rows, 2), what last left at the start and at the end
    owed_time_s: Array  # of contact, which the last step left to the next one
    owed_flow_kg_s: Array  # of that step, negative from the end to the start
    owed_decay: Array  # exponent of the decay in that step
    owed_missed: Array  # part of the contact owed that water in a new plug was not there for
    plug_temp_k: Array
    plug_volume_m3_kg: Array
    wall_temp_k: Array
    shell_temp_k: Array  # (rows, 2, cells)

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
            owed_time_s=np.zeros(rows),
            owed_flow_kg_s=np.zeros(rows),
            owed_decay=np.zeros(rows),
            owed_missed=np.zeros(rows),
            plug_temp_k=plugs,
            plug_volume_m3_kg=1.0 / density(plugs),
            wall_temp_k=wall,
            shell_temp_k=np.stack([wall, wall], axis=1),
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
        """Heat content of water, wall and insulation above 0 degC."""
        plugs = self.plug_parts() / self.plug_volume_m3_kg * (self.plug_temp_k - ENERGY_ZERO_K)
        wall = (self.wall_temp_k - ENERGY_ZERO_K).sum(axis=1)
        shells = (self.shell_capacity_j_k * (self.shell_temp_k - ENERGY_ZERO_K).sum(axis=2)).sum(axis=1)
        water_j: Array = HEAT_CAPACITY_J_KGK * self.cell_volume_m3 * plugs.sum(axis=1)
        energy: Array = water_j + self.wall_capacity_j_k * wall + shells
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
    """What a time of contact does to water and wall, temperatures counted from the ambient; each (rows,).

    Water changes by the mean of the wall beside it times `water_by_wall` less its own times `water_by_water`, wall
    likewise. Then water of film density keeps 1 - `decay` (its derivative over the density differs from that by
    `decay_bend`), the decay of a stream on its way. What balances goes to the ambient, `loss_by_water` and
    `loss_by_wall` in J/K of a cell and the decay.
    """

    water_by_wall: Array
    water_by_water: Array
    wall_by_water: Array
    wall_by_wall: Array
    loss_by_water: Array
    loss_by_wall: Array
    decay: Array
    decay_bend: Array
    wall_share: Array  # temperature of the wall of a steady stream over that of its water
    film_density: Array
    moving: bool


# Density, viscosity and conductivity at 273, 274 ... 423 K: the film is evaluated at whole kelvins.
_FILM_K = np.arange(273.0, 424.0)
_FILM = np.stack([_property(fill, _FILM_K) for fill in (water.densities, water.viscosities, water.conductivities)])
# What depends on the Reynolds number alone is read off a line through 128 numbers per octave.
_KNOTS = np.append(np.ldexp(1.0 + np.tile(np.arange(128) / 128.0, 16), np.repeat(np.arange(11, 27), 128)), 2.0**27)
_ROOT_OF_EIGHTH = np.sqrt(0.125) / (0.79 * np.log(np.maximum(_KNOTS, TURBULENT_REYNOLDS)) - 1.64)
_DISPERSION = 3e7 * _KNOTS**-2.1 + 1.35 * _KNOTS**-0.125


def specific_volume(temp_k: Array) -> Array:
    """Of water at a temperature, straight between whole kelvins, m3/kg."""
    volume: Array = np.interp(temp_k, _FILM_K, 1.0 / _FILM[0])
    return volume


def film(pipes: Pipes, flow_kg_s: Array) -> tuple[Array, Array, Array]:
    """Conductance between water and wall of a cell, dispersion coefficient m2/s, density at film temperature."""
    rho, mu, k = _FILM[:, np.clip(np.floor(pipes.film_temp_k - 272.5), 0, 150).astype(np.intp)]
    diameter = pipes.inner_diameter_m
    section = np.pi / 4.0 * diameter**2
    prandtl = HEAT_CAPACITY_J_KGK * mu / k
    reynolds = flow_kg_s * diameter / (section * mu)
    turbulent = np.maximum(reynolds, TURBULENT_REYNOLDS)
    root = np.interp(reynolds, _KNOTS, _ROOT_OF_EIGHTH)
    nusselt = root**2 * (turbulent - 1000.0) * prandtl / (1.0 + 12.7 * root * (prandtl ** (2.0 / 3.0) - 1.0))
    blend = np.clip((reynolds - LAMINAR_REYNOLDS) / (TURBULENT_REYNOLDS - LAMINAR_REYNOLDS), 0.0, 1.0)
    nusselt = LAMINAR_NUSSELT + blend * (nusselt - LAMINAR_NUSSELT)
    conductance = nusselt * k * np.pi * pipes.cell_length_m
    straight = np.interp(np.maximum(reynolds, LAMINAR_REYNOLDS), _KNOTS, _DISPERSION)
    dispersion = pipes.dispersion_factor * diameter / 2.0 * flow_kg_s / (rho * section) * straight
    return conductance, dispersion, rho


def conductance_of_both(pipes: Pipes, conductance_w_k: Array) -> Array:
    """From water to ambient, through film and wall, W/K of a cell."""
    both: Array = conductance_w_k * pipes.loss_w_k / (conductance_w_k + pipes.loss_w_k)
    return both


def standing(pipes: Pipes, dt_s: Array) -> Factors:
    """Contact with water at rest: the exact exponential of water, wall and ambient."""
    conductance, _, rho = film(pipes, np.zeros_like(dt_s))
    water, wall, loss = HEAT_CAPACITY_J_KGK * rho * pipes.cell_volume_m3, pipes.wall_capacity_j_k, pipes.loss_w_k
    p, q, u = conductance / water, conductance / wall, loss / wall
    gap = np.sqrt((p + q + u) ** 2 - 4.0 * p * u)
    fast = (p + q + u + gap) / 2.0
    slow = p * u / fast
    lost_slow, lost_fast = -np.expm1(-slow * dt_s), -np.expm1(-fast * dt_s)
    evened = (lost_fast - lost_slow) / gap
    water_by_ambient = (fast * lost_slow - slow * lost_fast) / gap
    wall_by_ambient = ((fast - u) * lost_slow + (u - slow) * lost_fast) / gap
    return Factors(
        water_by_wall=p * evened,
        water_by_water=p * evened + water_by_ambient,
        wall_by_water=q * evened,
        wall_by_wall=q * evened + wall_by_ambient,
        loss_by_water=water * water_by_ambient,
        loss_by_wall=wall * wall_by_ambient,
        decay=np.zeros_like(p),
        decay_bend=np.zeros_like(p),
        wall_share=conductance / (conductance + loss),
        film_density=rho,
        moving=False,
    )


def streaming(pipes: Pipes, flow_kg_s: Array, contact_s: Array, exponent: Array, decayed: Array) -> Factors:
    """Contact with a stream for `contact_s`, and a decay by `exponent` after it.

    Water and wall even out towards the ratio that they have in a steady stream, where nothing is left to even out. In
    a wall that is warmer than that the water could become warmer than all around: the contact is at most so strong
    that with half of the decay after it it does not, even where the water came in in the step before, whose decay had
    the exponent `decayed`.
    """
    conductance, _, rho = film(pipes, flow_kg_s)
    water, wall, loss = HEAT_CAPACITY_J_KGK * rho * pipes.cell_volume_m3, pipes.wall_capacity_j_k, pipes.loss_w_k
    share = conductance / (conductance + loss)
    lasting = conductance_of_both(pipes, conductance)
    p, q = conductance * share / water, (conductance + loss) / wall
    evened = -np.expm1(-(p + q) * contact_s) / (p + q)
    fresh, left, excess = mean_left(decayed), np.exp(-0.5 * exponent), loss / conductance
    strength = left * (1.0 + excess - fresh) * p
    bound = np.where(strength > 0.0, (1.0 - left * fresh) / np.where(strength > 0.0, strength, 1.0), np.inf)
    evened = np.minimum(evened, bound)
    decay = -np.expm1(-exponent)
    return Factors(
        water_by_wall=conductance / water * evened,
        water_by_water=p * evened,
        wall_by_water=conductance / wall * evened,
        wall_by_wall=q * evened,
        loss_by_water=-lasting * evened,
        loss_by_wall=loss * evened,
        decay=decay,
        decay_bend=exponent * (1.0 - decay) - decay,
        wall_share=share,
        film_density=rho,
        moving=True,
    )


def mean_left(z: Array) -> Array:
    """Mean of exp(-z s) over s from 0 to 1, z >= 0: what is left of water that came in evenly."""
    safe = np.where(z > 0.0, z, 1.0)
    return np.where(z > 0.0, -np.expm1(-safe) / safe, 1.0)


def bend(z: Array) -> Array:
    """(z - 1 + exp(-z)) / z^2, by its series: exact to 1e-9 for |z| <= 0.3, to 2e-7 at the bound of 0.7."""
    total = np.full_like(z, 1.0 / 40320.0)
    for k in (5040.0, 720.0, 120.0, 24.0, 6.0, 2.0):
        total = 1.0 / k - z * total
    return total


def mean_of_exponential(z: Array) -> Array:
    """Mean of exp(-z s) over s from 0 to 1."""
    return 1.0 - z * bend(z)


def sinhc(z: Array) -> Array:
    """sinh(z) / z by its series."""
    y = z * z
    return 1.0 + y / 6.0 * (1.0 + y / 20.0 * (1.0 + y / 42.0))


def exchange(pipes: Pipes, f: Factors, fall: Array, missing: Array, ambient_temp_k: Array) -> Array:
    """Even out water and wall, then let the water decay; returns the loss in J.

    `fall` is the exponent by which a steady stream falls in a cell, negative where it comes from the end: parts of
    plugs and cells are exact for that profile. The plug at the inlet has been there for the part 1 - `missing` only.
    """
    ambient = ambient_temp_k[:, None]
    temp, wall, ends = pipes.plug_temp_k - ambient, pipes.wall_temp_k - ambient, pipes.end_temp_k - ambient
    rho = f.film_density[:, None] * pipes.plug_volume_m3_kg
    parts = pipes.plug_parts()
    weaker = np.maximum(rho.max(axis=1), 1.0) if f.moving else 1.0  # lighter water changes more
    water_by_wall, water_by_water = f.water_by_wall / weaker, f.water_by_water / weaker
    wall_by_water, wall_by_wall = f.wall_by_water / weaker, f.wall_by_wall / weaker
    loss_by_water, loss_by_wall = f.loss_by_water / weaker, f.loss_by_wall / weaker
    inside, beside, edge = contact(temp, wall, f.wall_share[:, None] * ends, pipes.fill, fall)
    forward = fall >= 0.0
    present = np.ones_like(temp)
    present[forward, 0] -= missing[forward]
    present[~forward, -1] -= missing[~forward]
    absent = (1.0 - present) * parts
    loss: Array = loss_by_water * ((parts - absent) * temp).sum(axis=1)
    loss += loss_by_wall * (wall.sum(axis=1) - (absent * beside).sum(axis=1))
    wall_change = wall_by_water[:, None] * inside - wall_by_wall[:, None] * wall
    for k, cell in ((0, 0), (-1, -1)):
        pair = wall_by_water * temp[:, k] - wall_by_wall * beside[:, k]
        wall_change[:, cell] -= absent[:, k] * pair
    temp = temp + present * rho * (water_by_wall[:, None] * beside - water_by_water[:, None] * temp)
    decayed = (f.decay[:, None] + f.decay_bend[:, None] * (rho - 1.0)) * temp
    loss += HEAT_CAPACITY_J_KGK * f.film_density * pipes.cell_volume_m3 * (parts * decayed).sum(axis=1)
    temp = temp - rho * decayed
    pipes.film_temp_k = ambient_temp_k + (parts * temp).sum(axis=1) / pipes.cells
    pipes.plug_temp_k = ambient + temp
    pipes.wall_temp_k = pipes.wall_temp_k + wall_change
    if not f.moving:  # what lies beyond the ends ages like the water beside it
        ends = ends + water_by_wall[:, None] * edge - water_by_water[:, None] * ends
        pipes.end_temp_k = ambient + ends
    return loss


def contact(temp: Array, wall: Array, ends: Array, first: Array, fall: Array) -> tuple[Array, Array, Array]:
    """Temperature of the water inside each wall cell, of the wall beside each plug, and of the wall at both ends.

    Cell k lies beside plug k with its first part, `first`, and beside plug k + 1 with the rest. A part differs from the
    mean of its cell by a multiple of the limited central slope: (1 - part) / 2 on a straight line, and exactly what a
    profile exp(-fall s) has. A plug at an end takes part whole. `ends` is the wall of the water beyond the ends.
    """
    last = 1.0 - first
    start, end = bend(fall), bend(-fall)
    mean, mean_end, sinh = mean_of_exponential(fall), mean_of_exponential(-fall), sinhc(fall)
    half_water = last * (start - last * bend(fall * last)) / (mean * sinh)
    start_part = (start - first * bend(fall * first)) / (mean * sinh)
    end_part = (end - last * bend(-fall * last)) / (mean_end * sinh)
    half_wall = first * start_part
    # To rounding they are one; beyond the accuracy of the series this keeps heat from being lost between them.
    end_part = np.where(last > 1e-3, half_wall / np.maximum(last, 1e-3), end_part)
    steps = np.diff(temp, axis=1)
    steps[:, 0] *= mean * mean_end / (start + first * bend(-fall * first))
    steps[:, -1] *= mean * mean_end / (end + last * bend(fall * last))
    temp_slope = np.zeros_like(temp)
    temp_slope[:, 1:-1] = _slope(steps[:, :-1], steps[:, 1:])
    steps = np.diff(wall, axis=1)
    wall_slope = np.empty_like(wall)
    wall_slope[:, 1:-1] = _slope(steps[:, :-1], steps[:, 1:])
    wall_slope[:, 0] = _lesser(steps[:, 0] * sinh / mean, (wall[:, 0] - ends[:, 0]) * (mean * sinh / start))
    wall_slope[:, -1] = _lesser(steps[:, -1] * sinh / mean_end, (ends[:, 1] - wall[:, -1]) * (mean_end * sinh / end))
    fill = first[:, None]
    inside = fill * temp[:, :-1] + (1.0 - fill) * temp[:, 1:] - half_water[:, None] * np.diff(temp_slope, axis=1)
    beside = np.empty_like(temp)
    beside[:, 0] = wall[:, 0] - start_part * wall_slope[:, 0]
    beside[:, 1:-1] = (
        (1.0 - fill) * wall[:, :-1] + fill * wall[:, 1:] - half_wall[:, None] * np.diff(wall_slope, axis=1)
    )
    beside[:, -1] = wall[:, -1] + end_part * wall_slope[:, -1]
    edge = np.stack([wall[:, 0] - 0.5 * wall_slope[:, 0], wall[:, -1] + 0.5 * wall_slope[:, -1]], axis=1)
    return inside, beside, edge


def disperse(pipes: Pipes, dispersion_m2_s: Array, film_density: Array, dt_s: Array) -> None:
    """Exchange between neighbours, in passes that stay stable; a plug with little room takes part with little."""
    temp, parts = pipes.plug_temp_k, pipes.plug_parts()
    dispersion = dispersion_m2_s * dt_s / pipes.cell_length_m**2
    passes = np.clip(np.ceil(dispersion / LARGEST_DISPERSION_NUMBER), 0, MOST_DISPERSION_PASSES)
    number = np.minimum(dispersion / np.maximum(passes, 1.0), LARGEST_DISPERSION_NUMBER)
    share = np.repeat(number[:, None], pipes.cells, axis=1)
    for k in (0, -1):
        share[:, k] = np.minimum(2.0 * number / (1.0 + parts[:, k]), 0.25 * parts[:, k])
    room = np.where(parts > 0.0, parts, 1.0)
    ratio = film_density[:, None] * pipes.plug_volume_m3_kg
    for k in range(int(passes.max(initial=0.0))):
        moved = np.where((k < passes)[:, None], share * (temp[:, :-1] - temp[:, 1:]), 0.0)
        change = np.zeros_like(temp)
        change[:, :-1] -= moved
        change[:, 1:] += moved
        temp = temp + ratio * change / room
    pipes.plug_temp_k = temp


def _slope(back: Array, ahead: Array) -> Array:
    """The mean of two slopes of the same sign, at most 1.75 of the smaller, else nothing, to stay between."""
    least = MOST_SLOPE * np.minimum(np.abs(back), np.abs(ahead))
    mean = 0.5 * (back + ahead)
    return np.where(back * ahead > 0.0, np.copysign(np.minimum(np.abs(mean), least), mean), 0.0)


def _lesser(one: Array, other: Array) -> Array:
    """The smaller of two values of the same sign, else nothing."""
    return np.where(one * other > 0.0, np.where(np.abs(one) < np.abs(other), one, other), 0.0)


def move(
    pipes: Pipes,
    cells: Array,
    mass_kg: Array,
    temp_k: Array,
    forward: Mask,
    fall: Array,
    dt_s: Array,
    ambient_temp_k: Array,
) -> tuple[Array, Array, Array]:
    """Push water in at the upstream end and take the same volume out at the other, at most one cell.

    All water has decayed for the whole step, but what enters or leaves in it only does with its own age: a factor
    makes up for the difference. Half of the contact of the step is left for the next one, and the water in a new plug
    has missed a part of that. Returns mass in kg and heat content (kg K) of what comes out, and loss in J.
    """
    n = pipes.cells
    back = ~forward
    for name in ("plug_temp_k", "plug_volume_m3_kg", "end_temp_k"):  # look along the flow
        values = getattr(pipes, name)
        values[back] = values[back, ::-1]
    temp, volume = pipes.plug_temp_k - ambient_temp_k[:, None], pipes.plug_volume_m3_kg
    left = pipes.end_temp_k[:, 1] - ambient_temp_k
    entering = temp_k - ambient_temp_k
    first = np.where(forward, pipes.fill, 1.0 - pipes.fill)
    last = 1.0 - first
    over = cells > last
    start, end = bend(fall), bend(-fall)
    mean, mean_end = mean_of_exponential(fall), mean_of_exponential(-fall)

    # What comes out of the last plug: its outer part. `rest` stays.
    taken = np.where(over, last, cells)
    rest = last - taken
    span = last * bend(fall * last)
    shift = (span - rest * bend(fall * rest)) / (span + end) * (temp[:, n] - temp[:, n - 1])
    pushed = mass_kg / pipes.cell_volume_m3
    exponent = fall * pushed  # of the decay in the step, over the specific volume
    kept = mean_left(exponent * volume[:, n])
    part = _lesser(shift * rest / np.where(taken > 0.0, taken, 1.0), kept * left - temp[:, n])
    part = np.where(over, 0.0, part)
    stays = temp[:, n] - part * taken / np.where(rest > 0.0, rest, 1.0)
    out_mass = pipes.cell_volume_m3 * taken / volume[:, n]
    out_heat = out_mass * (temp[:, n] + part)
    out_left = out_heat / kept
    # And the remainder out of the plug behind it.
    taken = np.where(over, cells - last, 0.0)
    rest = 1.0 - taken
    ahead = temp[:, n] - temp[:, n - 1]
    slope = _slope(temp[:, n - 1] - temp[:, n - 2], ahead * mean * mean_end / (end + span))
    shift = (start - rest * bend(fall * rest)) / (mean * sinhc(fall)) * slope
    part = np.where(over, _lesser(shift * rest / np.where(over, taken, 1.0), ahead), 0.0)
    stays = np.where(over, temp[:, n - 1] - part * taken / np.where(rest > 0.0, rest, 1.0), stays)
    mass = pipes.cell_volume_m3 * taken / volume[:, n - 1]
    heat = mass * (temp[:, n - 1] + part)
    out_mass, out_heat = out_mass + mass, out_heat + heat
    out_left = out_left + heat / mean_left(exponent * volume[:, n - 1])

    mean_out = out_heat / out_mass

    # What goes in fills the first plug, then a new one.
    older = np.where(over, last / np.where(cells > 0.0, cells, 1.0), 1.0)  # the room in the first plug is `last` too
    exponent = fall * cells
    into_first = pushed * older
    there = first / volume[:, 0]
    total = there + into_first
    filled = np.where(over, 1.0, first + cells)
    moving = total > 0.0
    safe = np.where(moving, total, 1.0)
    first_in = entering * np.exp(-exponent * (1.0 - older)) * mean_left(exponent * older)
    new_in = entering * mean_left(exponent * (1.0 - older))
    first_temp = np.where(moving, (there * temp[:, 0] + into_first * first_in) / safe, temp[:, 0])
    first_volume = np.where(moving & (filled > 0.0), filled / safe, volume[:, 0])
    loss = pushed * entering - into_first * first_in - np.where(over, (pushed - into_first) * new_in, 0.0)
    loss = HEAT_CAPACITY_J_KGK * (pipes.cell_volume_m3 * loss + out_heat - out_left)

    new_temp, new_volume = temp.copy(), volume.copy()
    new_temp[:, 0], new_volume[:, 0] = first_temp, first_volume
    new_temp[over, 1:], new_volume[over, 1:] = new_temp[over, :-1], new_volume[over, :-1]
    new_temp[over, 0] = new_in[over]
    new_volume[over, 0] = (cells - last)[over] / (pushed - into_first)[over]
    new_temp[:, n] = stays
    first = np.where(over, cells - last, first + cells)
    pipes.fill = np.where(forward, first, 1.0 - first)
    pipes.plug_temp_k, pipes.plug_volume_m3_kg = new_temp + ambient_temp_k[:, None], new_volume
    mean_in = older * first_in + (1.0 - older) * new_in
    pipes.film_temp_k = pipes.film_temp_k + cells * (mean_in - mean_out) / n
    pipes.owed_time_s = 0.5 * dt_s
    pipes.owed_flow_kg_s = np.where(forward, 1.0, -1.0) * mass_kg / dt_s
    pipes.owed_missed = np.where(over, older, 0.0)
    pipes.end_temp_k[:, 0] = temp_k
    pipes.end_temp_k[:, 1] = ambient_temp_k + out_left / out_mass
    for name in ("plug_temp_k", "plug_volume_m3_kg", "end_temp_k"):
        values = getattr(pipes, name)
        values[back] = values[back, ::-1]
    return out_mass, out_left + out_mass * ambient_temp_k, loss


def march(
    pipes: Pipes, mass_kg: Array, temp_k: Array, dt_s: Array, ambient_temp_k: Array, forward: Mask
) -> tuple[Array, Array, Array]:
    """A long step through a short pipe: each wall cell sees a steady stream, cell after cell along the flow.

    Temperatures count from the ambient. In a cell the water falls like a steady stream, and evens out with a wall that
    falls likewise. Returns mass in kg and heat content in kg K of what comes out, and loss in J.
    """
    flow_kg_s = mass_kg / dt_s
    conductance, _, _ = film(pipes, flow_kg_s)
    stream = flow_kg_s * HEAT_CAPACITY_J_KGK
    share = conductance / (conductance + pipes.loss_w_k)
    fall = np.minimum(conductance_of_both(pipes, conductance) / stream, LARGEST_FALL)
    transfer = conductance * share / stream
    met = -np.expm1(-transfer)
    kept, mean = np.exp(-fall), mean_of_exponential(fall)
    mean_of_rest = -np.expm1(-(fall + transfer)) / (fall + transfer)
    times = (conductance + pipes.loss_w_k) / pipes.wall_capacity_j_k * met / transfer * dt_s
    settled = -np.expm1(-times)
    before = pipes.cell_volume_m3 * _heat(pipes, ambient_temp_k)
    wall = pipes.wall_temp_k - ambient_temp_k[:, None]
    wall_before = wall.sum(axis=1)
    wall = np.where(forward[:, None], wall, wall[:, ::-1]) / (share * mean)[:, None]
    plugs = np.empty_like(pipes.plug_temp_k)
    plugs[:, 0] = here = temp_k - ambient_temp_k
    for k in range(pipes.cells):
        during = here + (wall[:, k] - here) * settled / times
        wall[:, k] = here + (wall[:, k] - here) * (1.0 - settled)
        plugs[:, k + 1] = wall[:, k] * mean + (here - wall[:, k]) * mean_of_rest
        here = kept * (here - met * (here - during))
    mass = pipes.mass_kg()
    wall *= (share * mean)[:, None]
    pipes.wall_temp_k = np.where(forward[:, None], wall, wall[:, ::-1]) + ambient_temp_k[:, None]
    pipes.plug_temp_k = np.where(forward[:, None], plugs, plugs[:, ::-1]) + ambient_temp_k[:, None]
    pipes.plug_volume_m3_kg = np.repeat(specific_volume(temp_k)[:, None], pipes.cells + 1, axis=1)
    pipes.fill = np.where(forward, 0.0, 1.0)
    pipes.film_temp_k = ambient_temp_k + plugs[:, 1:].mean(axis=1)
    out_temp_k = ambient_temp_k + here
    pipes.end_temp_k = np.stack([np.where(forward, temp_k, out_temp_k), np.where(forward, out_temp_k, temp_k)], 1)
    # What was in the pipe leaves, and what is in it at the end stays.
    out_mass = mass_kg + mass - pipes.mass_kg()
    out_heat = mass_kg * here + before - pipes.cell_volume_m3 * _heat(pipes, ambient_temp_k)
    loss = stream * dt_s * (temp_k - out_temp_k) - pipes.wall_capacity_j_k * (wall.sum(axis=1) - wall_before)
    heat_back, lost = insulate(pipes, None, dt_s, ambient_temp_k)
    return out_mass, out_heat + heat_back + out_mass * ambient_temp_k, loss + lost


def _heat(pipes: Pipes, zero_k: Array) -> Array:
    """Sum of part / specific volume * temperature: heat content per cell volume and heat capacity, above `zero_k`."""
    warmth = pipes.plug_temp_k - zero_k[:, None]
    heat: Array = (pipes.plug_parts() / pipes.plug_volume_m3_kg * warmth).sum(axis=1)
    return heat


def step(pipes: Pipes, mass_kg: Array, temp_k: Array, dt_s: float, ambient_temp_k: Array) -> tuple[Array, Array, Array]:
    """Advance by `dt_s` while `mass_kg` (negative: from the end to the start) of `temp_k` goes in.

    Returns mass in kg, heat content in kg K of what comes out, and loss in J.
    """
    forward = mass_kg >= 0.0
    mass = np.abs(mass_kg)
    cells = mass * specific_volume(temp_k) / pipes.cell_volume_m3
    still = cells < LEAST_MOVE_CELLS
    decay = pipes.loss_w_k * dt_s * cells / (HEAT_CAPACITY_J_KGK * np.where(still, 1.0, mass))
    moves = np.where(cells > 1.0, np.ceil(cells / MOST_MOVE), 1.0)
    passes = np.maximum(moves, np.clip(np.ceil(decay / MOST_DECAY), 1.0, MOST_PASSES))
    passes = np.where(still, 0.0, np.where(cells > MARCH_CONTENTS * pipes.cells, -1.0, passes))
    out = (np.zeros_like(mass), np.zeros_like(mass), np.zeros_like(mass))
    turned = (passes <= 0.0) | (forward != (pipes.owed_flow_kg_s >= 0.0))
    settling = (pipes.owed_time_s > 0.0) & turned
    if settling.any():
        part = pipes.part(settling)
        out[2][settling] = settle(part, ambient_temp_k[settling])
        pipes.put(settling, part)
    kinds = np.unique(passes)
    for kind in kinds:
        rows = passes == kind
        part = pipes if len(kinds) == 1 else pipes.part(rows)
        given = (mass[rows], temp_k[rows], np.full(int(rows.sum()), dt_s), ambient_temp_k[rows], forward[rows])
        results = march(part, *given) if kind < 0 else _sub_steps(part, int(kind), *given)
        for total, result in zip(out, results, strict=True):
            total[rows] += result
        if part is not pipes:
            pipes.put(rows, part)
    return out


def _share_of_water(pipes: Pipes, conductance_w_k: Array, film_density: Array, dt_s: Array) -> Array:
    """The part that flowing water has in the loss of a pass when it and the wall begin with one temperature."""
    both = conductance_w_k + pipes.loss_w_k
    water = HEAT_CAPACITY_J_KGK * film_density * pipes.cell_volume_m3
    rate = conductance_w_k**2 / both / water + both / pipes.wall_capacity_j_k
    evened = -np.expm1(-rate * dt_s) / rate
    by_wall, by_water = pipes.loss_w_k * evened, conductance_of_both(pipes, conductance_w_k) * (dt_s - evened)
    share: Array = by_water / (by_water + by_wall)
    return share


def insulate(pipes: Pipes, share_of_water: Array | None, dt_s: Array, ambient_temp_k: Array) -> tuple[Array, Array]:
    """What the heat capacity of the insulation changes in a time; the loss in J after what comes back with the water.

    The loss of the wall is that of a steady state, in which the shells have fixed shares of its temperature. Where they
    differ from those, some heat comes back: to the water by its share and to the wall, or (no share) to the water that
    came through, a heat content in kg K.
    """
    stores = pipes.shell_capacity_j_k[:, 0] * pipes.loss_w_k > 0.0
    if not stores.any():
        return np.zeros_like(dt_s), np.zeros_like(dt_s)
    capacity = np.where(stores[:, None], pipes.shell_capacity_j_k, 1.0)
    w_k = pipes.loss_w_k[:, None] / np.maximum(pipes.shell_resistance_parts, 1e-9)
    share = np.stack([pipes.shell_resistance_parts[:, 1:].sum(axis=1), pipes.shell_resistance_parts[:, 2]], axis=1)
    wall = pipes.wall_temp_k - ambient_temp_k[:, None]
    before = pipes.shell_temp_k - ambient_temp_k[:, None, None] - share[:, :, None] * wall[:, None, :]
    before = np.where(stores[:, None, None], before, 0.0)
    rates = np.empty((len(capacity), 2, 2))
    rates[:, 0, 0] = -(w_k[:, 0] + w_k[:, 1]) / capacity[:, 0]
    rates[:, 0, 1] = w_k[:, 1] / capacity[:, 0]
    rates[:, 1, 0] = w_k[:, 1] / capacity[:, 1]
    rates[:, 1, 1] = -(w_k[:, 1] + w_k[:, 2]) / capacity[:, 1]
    values, vectors = np.linalg.eig(rates)
    modes = np.linalg.solve(vectors, before)
    gone = np.expm1(values * dt_s[:, None])
    after = vectors @ ((1.0 + gone)[:, :, None] * modes)
    standing_ks = vectors @ ((gone / values)[:, :, None] * modes)  # integral over the time
    pipes.shell_temp_k = pipes.shell_temp_k + after - before
    back = w_k[:, :1] * standing_ks[:, 0, :]
    loss: Array = -(capacity[:, :, None] * (after - before)).sum(axis=(1, 2)) - back.sum(axis=1)
    if share_of_water is None:
        return back.sum(axis=1) / HEAT_CAPACITY_J_KGK, loss
    pipes.wall_temp_k = pipes.wall_temp_k + ((1.0 - share_of_water) / pipes.wall_capacity_j_k)[:, None] * back
    warmed = (share_of_water / (HEAT_CAPACITY_J_KGK * pipes.cell_volume_m3))[:, None] * back
    fill = pipes.fill[:, None]
    by_plug = np.concatenate(
        [warmed[:, :1], (1.0 - fill) * warmed[:, :-1] + fill * warmed[:, 1:], warmed[:, -1:]], axis=1
    )
    pipes.plug_temp_k = pipes.plug_temp_k + pipes.plug_volume_m3_kg * by_plug
    return np.zeros_like(loss), loss


def settle(pipes: Pipes, ambient_temp_k: Array) -> Array:
    """Make up for the contact that the last step left, before water comes to rest or turns round; the loss in J."""
    flow = np.abs(pipes.owed_flow_kg_s)
    factors = streaming(pipes, flow, pipes.owed_time_s, np.zeros_like(flow), pipes.owed_decay)
    conductance, _, _ = film(pipes, flow)
    fall = np.copysign(steady_fall(pipes, conductance, flow), pipes.owed_flow_kg_s)
    pipes.owed_time_s = np.zeros_like(flow)
    return exchange(pipes, factors, fall, pipes.owed_missed, ambient_temp_k)


def steady_fall(pipes: Pipes, conductance_w_k: Array, flow_kg_s: Array) -> Array:
    """Exponent by which a steady stream falls along a cell."""
    lasting = conductance_of_both(pipes, conductance_w_k)
    fall: Array = np.minimum(lasting / (HEAT_CAPACITY_J_KGK * flow_kg_s), LARGEST_FALL)
    return fall


def _sub_steps(
    pipes: Pipes, passes: int, mass_kg: Array, temp_k: Array, dt_s: Array, ambient_temp_k: Array, forward: Mask
) -> tuple[Array, Array, Array]:
    """An exchange (half of it for the pass before) and a move, in every pass (Strang's splitting)."""
    nothing = np.zeros_like(mass_kg)
    if passes == 0:
        factors = standing(pipes, dt_s)
        share = factors.loss_by_water / (factors.loss_by_water + factors.loss_by_wall)
        loss = exchange(pipes, factors, nothing, nothing, ambient_temp_k)
        return nothing, nothing, loss + insulate(pipes, share, dt_s, ambient_temp_k)[1]
    flow, dt_s = mass_kg / dt_s, dt_s / passes
    conductance, dispersion, rho = film(pipes, flow)
    cells = mass_kg * specific_volume(temp_k) / pipes.cell_volume_m3 / passes
    fall = steady_fall(pipes, conductance, flow)
    water = HEAT_CAPACITY_J_KGK * rho * pipes.cell_volume_m3
    decay = conductance_of_both(pipes, conductance) * dt_s / water
    sums = [nothing, nothing, nothing]
    film_temp_k = pipes.film_temp_k
    share = _share_of_water(pipes, conductance, rho, dt_s)
    for _ in range(passes):
        contact_s = pipes.owed_time_s + 0.5 * dt_s
        missed = np.where(pipes.owed_time_s > 0.0, pipes.owed_missed * pipes.owed_time_s / contact_s, 0.0)
        decayed = np.where(pipes.owed_time_s > 0.0, pipes.owed_decay, 0.0)
        pipes.film_temp_k = film_temp_k  # the film stays the same for all passes
        factors = streaming(pipes, flow, contact_s, decay, decayed)
        loss = exchange(pipes, factors, np.where(forward, fall, -fall), missed, ambient_temp_k)
        disperse(pipes, dispersion, rho, dt_s)
        loss += insulate(pipes, share, dt_s, ambient_temp_k)[1]
        out_mass, out_heat, lost = move(pipes, cells, mass_kg / passes, temp_k, forward, fall, dt_s, ambient_temp_k)
        pipes.owed_decay = decay
        sums = [total + part for total, part in zip(sums, (out_mass, out_heat, loss + lost), strict=True)]
    return sums[0], sums[1], sums[2]
