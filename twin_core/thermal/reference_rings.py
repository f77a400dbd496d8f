"""The planning scheme in NumPy: the oracle of rings.pyx and the baseline of its benchmarks.

Same equations as rings.pyx (docs/models/planning.md), all pipes at once. SI units, temperatures in K; "heat" is mass
times temperature. Arrays have one row per pipe (or pipe and member); plugs lie in rings of `room` places, so that a
step moves no plug: plug k of a row, counted from the start of the pipe, is at place (first + k) % room.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.thermal.geometry import PipeGeometry
from uem.twin_core.thermal.rings import ENERGY_ZERO_K, HEAT_CAPACITY_J_KGK, Rings

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

LEAST_MOVE = 1e-12
LEAST_REST = 1e-9
LEAST_SCALE = 1e-3
MOST_STEEP = 1.0
SPARE = 1e-12


@dataclass
class ReferenceRings:
    """Masses and state of several pipes. `warmth` and `steepness`: what falls off along a plug."""

    tank_kg: Array
    ring_kg: Array
    least_kg: Array
    decay_per_s: Array
    tank_temp_k: Array  # (2, rows): at the start and at the end
    level_k: Array
    scale: Array
    sum_kg: Array
    sum_heat: Array
    first: Index
    count: Index
    mass: Array  # (rows, room), as all that follow
    heat: Array
    warmth: Array
    steepness: Array

    @classmethod
    def at(cls, geometries: list[PipeGeometry], start_temp_k: Array, end_temp_k: Array) -> Self:
        """Pipes whose temperature goes linearly from one value to another, each of shape (rows,)."""
        pipes = Rings(geometries)
        tank, ring = (np.array(masses) for masses in pipes.masses_kg())
        rows, cells = len(geometries), np.array(pipes.plugs())
        room = int(cells.max()) + 4
        share = tank / (ring + 2.0 * tank)
        rise = end_temp_k - start_temp_k
        count = np.where(rise == 0.0, 1, cells)
        place = np.arange(room)
        there = place < count[:, None]
        mass = np.where(there, (ring / count)[:, None], 0.0)
        centre = (place + 0.5) / count[:, None] - 0.5
        heat = mass * ((1.0 - 2.0 * share) * rise)[:, None] * np.where(there, centre, 0.0)
        return cls(
            tank_kg=tank,
            ring_kg=ring,
            least_kg=ring / cells,
            decay_per_s=np.array(pipes.decays_per_s()),
            tank_temp_k=np.stack([start_temp_k + 0.5 * share * rise, end_temp_k - 0.5 * share * rise]),
            level_k=0.5 * (start_temp_k + end_temp_k),
            scale=np.ones(rows),
            sum_kg=ring.copy(),
            sum_heat=heat.sum(axis=1),
            first=np.zeros(rows, dtype=np.intp),
            count=count.astype(np.intp),
            mass=mass,
            heat=heat,
            warmth=np.zeros((rows, room)),
            steepness=np.zeros((rows, room)),
        )

    def energy_j(self) -> Array:
        """Heat content of water and wall above 0 degC."""
        place = np.arange(self.mass.shape[1])
        there = (place - self.first[:, None]) % self.mass.shape[1] < self.count[:, None]
        plugs = (there * ((self.level_k - ENERGY_ZERO_K)[:, None] * self.mass + self.scale[:, None] * self.heat)).sum(1)
        energy: Array = HEAT_CAPACITY_J_KGK * (self.tank_kg * (self.tank_temp_k - ENERGY_ZERO_K).sum(axis=0) + plugs)
        return energy

    def step(self, mass_kg: Array, temp_k: Array, dt_s: float, ambient_k: Array) -> tuple[Array, Array, Array]:
        """Advance by `dt_s` while `mass_kg` (negative: from the end to the start) of `temp_k` goes in.

        Returns mass in kg, heat in kg K of what comes out, and loss in J.
        """
        rows = np.arange(len(mass_kg))
        forward = mass_kg >= 0.0
        mass = np.abs(mass_kg)
        mass = np.where(mass > LEAST_MOVE * (self.ring_kg + 2.0 * self.tank_kg), mass, 0.0)
        through = np.maximum(mass - self.ring_kg, 0.0)
        flushed = through > 0.0
        moving = mass > 0.0
        spare = self.sum_kg - self.ring_kg
        out_kg = np.where(moving & (np.abs(spare) > SPARE * self.ring_kg), mass + spare, mass)
        out_kg = np.where(flushed, self.sum_kg + through, out_kg)
        x = self.decay_per_s * dt_s
        lost_share = -np.expm1(-x)
        # The time that water leaving the plugs still spends in this step, and that which passes them spends in them.
        passing = np.where(flushed, x * self.ring_kg / np.where(moving, mass, 1.0), x)
        lost_passing = -np.expm1(-passing)
        mean_left = lost_passing / passing
        ahead_lost = 1.0 - (1.0 - lost_passing) / mean_left
        goal_share, mean, left = self._tanks(mass, x)
        upstream, downstream = np.where(forward, 0, 1), np.where(forward, 1, 0)

        inlet, lost = self._mix(rows, upstream, goal_share, mean, left, mass, temp_k, ambient_k)
        rest = np.where(moving, 0.0, lost_share) * (self.tank_temp_k - ambient_k)
        self.tank_temp_k -= rest
        lost += self.tank_kg * rest.sum(axis=0)

        # What leaves the plugs, what stays, what passes, what comes.
        above = self.level_k - ambient_k
        heat = self._take(np.where(flushed, np.inf, out_kg), forward)
        taken = np.where(flushed, self.sum_kg, out_kg)
        heat = np.where(flushed, self.sum_heat, heat)
        left_kg, left_heat = self.sum_kg - taken, self.sum_heat - heat
        old = above * taken + self.scale * heat
        passed = through * (inlet - ambient_k)
        entering = np.minimum(mass, self.ring_kg)
        new = entering * (inlet - ambient_k)
        lost += np.where(flushed, 0.0, (above * left_kg + self.scale * left_heat) * lost_share)
        lost += old * ahead_lost + passed * lost_passing + new * (1.0 - mean_left)
        leaving = old * (1.0 - ahead_lost) + passed * (1.0 - lost_passing)
        new *= mean_left
        self.level_k = np.where(flushed, ambient_k, self.level_k - above * lost_share)
        self.scale = np.where(flushed, 1.0, self.scale * (1.0 - lost_share))
        warmth = new / self.scale
        new_heat = warmth + (ambient_k - self.level_k) / self.scale * entering
        self.sum_kg = np.where(flushed, self.ring_kg, left_kg + entering)
        self.sum_heat = np.where(flushed, new, left_heat + new_heat)
        steepness = np.minimum(passing, MOST_STEEP)
        self._push(moving, forward, entering, new_heat, warmth, np.where(forward, steepness, -steepness))
        self._rescale(moving & ~flushed & (self.scale < LEAST_SCALE), ambient_k)

        out_temp = ambient_k + leaving / np.where(moving, out_kg, 1.0)
        outlet, lost_there = self._mix(rows, downstream, goal_share, mean, left, out_kg, out_temp, ambient_k)
        return out_kg, out_kg * outlet, HEAT_CAPACITY_J_KGK * (lost + lost_there)

    def _tanks(self, mass: Array, x: Array) -> tuple[Array, Array, Array]:
        """A tank that `mass` goes through: share of the inflow in its goal, and what is left of the way there."""
        moving = mass > 0.0
        contents = np.where(moving, mass, 1.0) / self.tank_kg
        cooled = x / contents
        quick = cooled < 0.25
        goal = np.where(quick, np.exp(-cooled), 1.0)
        rate = contents / goal
        slow = contents + x * (1.0 + 0.034 / cooled)
        rate = np.where(quick, rate, slow)
        goal = np.where(quick, goal, contents / slow)
        left = np.exp(-rate)
        mean = -np.expm1(-rate) / rate
        return goal, np.where(moving, mean, 1.0), np.where(moving, left, 1.0)

    def _mix(
        self,
        rows: Index,
        which: Index,
        goal_share: Array,
        mean: Array,
        left: Array,
        mass: Array,
        temp: Array,
        ambient: Array,
    ) -> tuple[Array, Array]:
        """Let `mass` through a tank; returns the mean temperature of what comes out and what is lost in kg K."""
        goal = ambient + goal_share * (temp - ambient)
        off = self.tank_temp_k[which, rows] - goal
        out = goal + mean * off
        lost: Array = np.where(mass > 0.0, mass * (temp - out) + self.tank_kg * (1.0 - left) * off, 0.0)
        self.tank_temp_k[which, rows] = np.where(mass > 0.0, goal + left * off, self.tank_temp_k[which, rows])
        return out, lost

    def _take(self, wanted: Array, forward: Mask) -> Array:
        """Take `wanted` out of the plugs at the downstream end; returns its heat (times scale, above level)."""
        room = self.mass.shape[1]
        mass, heat, warmth, steepness = (a.reshape(-1) for a in (self.mass, self.heat, self.warmth, self.steepness))
        found = np.zeros_like(wanted)
        rest = wanted.copy()
        active = np.flatnonzero((wanted > 0.0) & (self.count > 0))
        while len(active):  # whole plugs
            ends = np.where(forward[active], self.first[active] + self.count[active] - 1, self.first[active])
            place = active * room + ends % room
            whole = rest[active] >= mass[place]
            last, place = active[whole], place[whole]
            found[last] += heat[place]
            rest[last] -= mass[place]
            self.count[last] -= 1
            self.first[last] += ~forward[last]
            active = last[self.count[last] > 0]
        active = np.flatnonzero((wanted > 0.0) & (self.count > 0))
        ahead = forward[active]
        ends = np.where(ahead, self.first[active] + self.count[active] - 1, self.first[active])
        place = active * room + ends % room
        part = rest[active] / mass[place]
        steep = np.where(ahead, steepness[place], -steepness[place])
        inner = part * (part - 1.0)
        extra = steep * inner * (0.5 + steep * ((2.0 * part - 1.0) / 12.0 + steep * inner / 24.0))
        taken = part * heat[place] + extra * warmth[place]
        found[active] += taken
        mass[place] -= rest[active]
        heat[place] -= taken
        warmth[place] *= 1.0 - part - extra
        steepness[place] *= 1.0 - part
        # What is nothing but rounding joins its neighbour.
        crumb = (mass[place] < LEAST_REST * self.ring_kg[active]) & (self.count[active] > 1)
        if crumb.any():
            rows, ends, place = active[crumb], ends[crumb], place[crumb]
            other = rows * room + np.where(forward[rows], ends - 1, ends + 1) % room
            for values in (mass, heat, warmth):
                values[other] += values[place]
            self.count[rows] -= 1
            self.first[rows] += ~forward[rows]
        return found

    def _push(self, moving: Mask, forward: Mask, mass: Array, heat: Array, warmth: Array, steepness: Array) -> None:
        """Put a plug in at the upstream end, or add it to the last one there as long as that is small."""
        room = self.mass.shape[1]
        rows = np.flatnonzero(moving)
        end = np.where(forward[rows], self.first[rows], self.first[rows] + self.count[rows] - 1)
        place = rows * room + end % room
        small = (self.count[rows] > 0) & (self.mass.reshape(-1)[place] < self.least_kg[rows])
        self._join(rows[small], place[small], mass, heat, warmth, steepness)
        rows, end = rows[~small], end[~small]
        self.first[rows] -= forward[rows]
        end = np.where(forward[rows], self.first[rows], self.first[rows] + self.count[rows])
        place = rows * room + end % room
        self.count[rows] += 1
        for values, new in (
            (self.mass, mass),
            (self.heat, heat),
            (self.warmth, warmth),
            (self.steepness, steepness),
        ):
            values.reshape(-1)[place] = new[rows]

    def _join(
        self, rows: Index, place: Index, more_mass: Array, more_heat: Array, more_warmth: Array, more_steepness: Array
    ) -> None:
        """Two plugs become one, not warmer or colder anywhere than they were."""
        if not len(rows):
            return
        mass, heat, warmth, steepness = (a.reshape(-1) for a in (self.mass, self.heat, self.warmth, self.steepness))
        here, there = heat[place] / mass[place], more_heat[rows] / more_mass[rows]
        up, down = _span(mass[place], warmth[place], steepness[place])
        up_there, down_there = _span(more_mass[rows], more_warmth[rows], more_steepness[rows])
        high, low = np.maximum(here + up, there + up_there), np.minimum(here - down, there - down_there)
        mass[place] += more_mass[rows]
        heat[place] += more_heat[rows]
        warmth[place] += more_warmth[rows]
        steepness[place] = np.clip(steepness[place] + more_steepness[rows], -MOST_STEEP, MOST_STEEP)
        mean = heat[place] / mass[place]
        up, down = _span(mass[place], warmth[place], steepness[place])
        share = np.where(up > high - mean, (high - mean) / np.where(up > 0.0, up, 1.0), 1.0)
        share = np.where(down * share > mean - low, (mean - low) / np.where(down > 0.0, down, 1.0), share)
        warmth[place] *= np.maximum(share, 0.0)

    def _rescale(self, wanted: Mask, ambient: Array) -> None:
        """Make the scale one and the level the ambient temperature; no temperature changes."""
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return
        above = (self.level_k - ambient)[rows, None]
        self.heat[rows] = above * self.mass[rows] + self.scale[rows, None] * self.heat[rows]
        self.warmth[rows] *= self.scale[rows, None]
        room = self.mass.shape[1]
        there = (np.arange(room) - self.first[rows, None]) % room < self.count[rows, None]
        self.level_k[rows], self.scale[rows] = ambient[rows], 1.0
        self.sum_kg[rows] = (there * self.mass[rows]).sum(axis=1)
        self.sum_heat[rows] = (there * self.heat[rows]).sum(axis=1)


def _span(mass: Array, warmth: Array, steepness: Array) -> tuple[Array, Array]:
    """How much warmer and colder than its mean a plug is at its ends, to the square of its steepness."""
    bend = np.abs(warmth * steepness) / mass
    skew = np.abs(steepness) / np.where(warmth > 0.0, 12.0, -12.0)
    return bend * (0.5 + skew), bend * (0.5 - skew)
