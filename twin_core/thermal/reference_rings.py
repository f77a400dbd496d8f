"""The planning scheme in NumPy: the oracle of plugs.pxi and the baseline of its benchmarks.

Same equations (docs/models/planning.md), all pipes and members at once. SI units, temperatures in K; "heat" is mass
times temperature. Arrays have one column per pipe (or pipe and member), plugs one row each, the newest first: as seen
by the water, from where it comes in to where it goes out. Plugs that a column does not use have no mass.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.thermal.geometry import PipeGeometry
from uem.twin_core.thermal.rings import ENERGY_ZERO_K, HEAT_CAPACITY_J_KGK, Rings

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST_MOVE = 1e-12
MOST_RELEASE = 1.0 - 1e-9
MOST_STEEP = 1.0
SPARE_PLUGS = 4


@dataclass
class ReferenceRings:
    """Masses and state of several pipes."""

    tank_kg: Array
    ring_kg: Array
    least_kg: Array
    decay_per_s: Array
    ahead: Array  # 1: water comes in at the start, -1: at the end
    tank_temp_k: Array  # (2, columns): where water comes in and where it goes out
    mass: Array  # (plugs, columns), as all that follow
    temp: Array
    slope: Array
    steepness: Array

    @classmethod
    def at(cls, geometries: list[PipeGeometry], start_temp_k: Array, end_temp_k: Array) -> Self:
        """Pipes whose temperature goes linearly from one value to another, each of shape (columns,)."""
        pipes = Rings(geometries)
        tank, ring = (np.array(masses) for masses in pipes.masses_kg())
        plugs = np.array(pipes.plugs())
        share = tank / (ring + 2.0 * tank)
        rise = end_temp_k - start_temp_k
        count = np.where(rise == 0.0, 1, plugs)
        place = np.arange(int(plugs.max()) + SPARE_PLUGS)[:, None]
        there = place < count
        centre = start_temp_k + rise * (share + (1.0 - 2.0 * share) * (place + 0.5) / count)
        shape = there.shape
        return cls(
            tank_kg=tank,
            ring_kg=ring,
            least_kg=ring / plugs,
            decay_per_s=np.array(pipes.decays_per_s()),
            ahead=np.ones(len(tank)),
            tank_temp_k=np.stack([start_temp_k + 0.5 * share * rise, end_temp_k - 0.5 * share * rise]),
            mass=np.where(there, ring / count, 0.0),
            temp=np.where(there, centre, 0.0),
            slope=np.zeros(shape),
            steepness=np.zeros(shape),
        )

    def energy_j(self) -> Array:
        """Heat content of water and wall above 0 degC."""
        tanks = self.tank_kg * (self.tank_temp_k - ENERGY_ZERO_K).sum(axis=0)
        energy: Array = HEAT_CAPACITY_J_KGK * (tanks + (self.mass * (self.temp - ENERGY_ZERO_K)).sum(axis=0))
        return energy

    def step(self, mass_kg: Array, temp_k: Array, dt_s: float, ambient_k: Array) -> tuple[Array, Array, Array]:
        """Advance by `dt_s` while `mass_kg` (negative: from the end to the start) of `temp_k` goes in.

        Returns mass in kg, heat in kg K of what comes out, and loss in J.
        """
        self._turn(np.flatnonzero(self.ahead * mass_kg < 0.0))
        mass = np.abs(mass_kg)
        mass = np.where(mass > LEAST_MOVE * (self.ring_kg + 2.0 * self.tank_kg), mass, 0.0)
        moves, floods = mass > 0.0, mass > MOST_RELEASE * self.ring_kg
        x = self.decay_per_s * dt_s
        lost_share = -np.expm1(-x)
        goal, mean, left = self._tanks(mass, x, lost_share)
        inlet, lost = self._mix(0, goal, mean, left, mass, temp_k, ambient_k)
        # The time in which water passes the plugs.
        passing = np.where(floods, x * np.minimum(1.0, self.ring_kg / np.where(moves, mass, 1.0)), x)
        passing_lost = -np.expm1(-passing)
        mean_left = passing_lost / passing
        ahead_lost = 1.0 - (1.0 - passing_lost) / mean_left

        bypass, heat, lost_there = self._take(mass, lost_share, ambient_k)
        enters, warm = mass - bypass, inlet - ambient_k
        lost += lost_there + heat * ahead_lost + enters * warm * (1.0 - mean_left) + bypass * warm * passing_lost
        leaving = heat * (1.0 - ahead_lost) + bypass * warm * (1.0 - passing_lost)
        steepness = np.minimum(passing, MOST_STEEP) / np.where(moves, enters, 1.0)
        self._put(moves, enters, ambient_k + warm * mean_left, warm * mean_left * steepness, steepness)

        out_temp = ambient_k + leaving / np.where(moves, mass, 1.0)
        outlet, lost_there = self._mix(1, goal, mean, left, mass, out_temp, ambient_k)
        return mass, mass * outlet, HEAT_CAPACITY_J_KGK * (lost + lost_there)

    def _turn(self, columns: NDArray[np.intp]) -> None:
        """Lay columns out for water that comes from the other end."""
        if not len(columns):
            return
        self.ahead[columns] *= -1.0
        self.tank_temp_k[:, columns] = self.tank_temp_k[::-1, columns]
        room = len(self.mass)
        # The oldest plug becomes the newest; what is not used stays behind.
        count = (self.mass[:, columns] > 0.0).sum(axis=0)
        place = (count - 1 - np.arange(room)[:, None]) % room
        for values in (self.mass, self.temp, self.slope, self.steepness):
            values[:, columns] = np.take_along_axis(values[:, columns], place, axis=0)
        self.slope[:, columns] *= -1.0
        self.steepness[:, columns] *= -1.0

    def _tanks(self, mass: Array, x: Array, lost_share: Array) -> tuple[Array, Array, Array]:
        """A tank that `mass` goes through: share of the inflow in its goal, and what is left of the way there."""
        moves = mass > 0.0
        contents = np.where(moves, mass, self.tank_kg) / self.tank_kg
        cooled = x / contents
        quick = cooled < 0.25
        goal = np.where(quick, np.exp(-cooled), 1.0)
        slow = contents + x * (1.0 + 0.034 / cooled)
        rate = np.where(quick, contents / goal, slow)
        goal = np.where(quick, goal, contents / slow)
        left = np.exp(-rate)
        mean = -np.expm1(-rate) / rate
        return np.where(moves, goal, 0.0), np.where(moves, mean, 1.0), np.where(moves, left, 1.0 - lost_share)

    def _mix(
        self, which: int, goal_share: Array, mean: Array, left: Array, mass: Array, temp: Array, ambient: Array
    ) -> tuple[Array, Array]:
        """Let `mass` through a tank; returns the mean temperature of what comes out and what is lost in kg K."""
        goal = ambient + goal_share * (temp - ambient)
        off = self.tank_temp_k[which] - goal
        out = goal + mean * off
        lost: Array = mass * (temp - out) + self.tank_kg * (1.0 - left) * off
        self.tank_temp_k[which] = goal + left * off
        return out, lost

    def _used(self) -> int:
        return int(np.count_nonzero((self.mass > 0.0).any(axis=1)))

    def _take(self, wanted: Array, lost_share: Array, ambient: Array) -> tuple[Array, Array, Array]:
        """Take `wanted` out of the oldest plugs and let the others cool.

        Returns what was not there, the heat above the ambient of what was taken, and what the others lost.
        """
        rest, heat, kept = wanted.copy(), np.zeros_like(wanted), np.zeros_like(wanted)
        for i in range(self._used() - 1, -1, -1):
            steep = self.steepness[i]
            part = np.minimum(rest, self.mass[i])
            keeps = self.mass[i] - part
            rest -= part
            bend = self.slope[i] * (0.5 + steep * ((part - keeps) / 12.0 - steep * part * keeps / 24.0))
            heat += part * (self.temp[i] - ambient - keeps * bend)
            self.mass[i] = keeps
            self.temp[i] += part * bend
            self.slope[i] = (self.slope[i] + steep * part * bend) * (1.0 - lost_share)
            kept += keeps * (self.temp[i] - ambient)
            self.temp[i] -= lost_share * (self.temp[i] - ambient)
        return rest, heat, lost_share * kept

    def _put(self, moves: Mask, mass: Array, temp: Array, slope: Array, steepness: Array) -> None:
        """Put water in: as a plug of its own, or with the newest one as long as that is small."""
        # A pipe has room for so many; the rows are as many as the finest pipe of all needs.
        room = np.rint(self.ring_kg / self.least_kg).astype(np.intp) + SPARE_PLUGS
        last = self.mass[room - 1, np.arange(len(mass))]
        opens = moves & (self.mass[0] >= self.least_kg) & (last == 0.0)
        used = min(self._used(), len(self.mass) - 1)
        for values, new in ((self.mass, mass), (self.temp, temp), (self.slope, slope), (self.steepness, steepness)):
            values[1 : used + 1] = np.where(opens, values[:used], values[1 : used + 1])
            values[0] = np.where(opens, new, values[0])
        joins = moves & ~opens
        if joins.any():
            self._join(joins, mass, temp, slope, steepness)

    def _join(self, where: Mask, mass: Array, temp: Array, slope: Array, steepness: Array) -> None:
        """What comes in and the newest plug become one, not warmer or colder anywhere than they were."""
        old, is_new = self.mass[0], self.mass[0] == 0.0
        whole = old + mass
        inverse = 1.0 / np.where(where, whole, 1.0)
        old_temp = np.where(is_new, temp, self.temp[0])
        mean = old_temp + (temp - old_temp) * mass * inverse
        both_slope = np.where(is_new, slope, (self.slope[0] * old + slope * mass) * inverse)
        both_steep = np.where(is_new, steepness, (self.steepness[0] * old + steepness * mass) * inverse)
        both_steep = np.clip(both_steep, -inverse, inverse)
        up, down = _span(old, self.slope[0], self.steepness[0])
        up_here, down_here = _span(mass, slope, steepness)
        high = np.maximum(np.where(is_new, temp, old_temp + up), temp + up_here) - mean
        low = mean - np.minimum(np.where(is_new, temp, old_temp - down), temp - down_here)
        up, down = _span(whole, both_slope, both_steep)
        share = np.minimum(high / np.maximum(up, 1e-300), low / np.maximum(down, 1e-300))
        both_slope *= np.clip(share, 0.0, 1.0)
        for values, new in (
            (self.mass, whole),
            (self.temp, mean),
            (self.slope, both_slope),
            (self.steepness, both_steep),
        ):
            values[0] = np.where(where, new, values[0])


def _span(mass: Array, slope: Array, steepness: Array) -> tuple[Array, Array]:
    """How much warmer and colder than its mean a plug is at its ends, to the square of its steepness."""
    size = np.abs(slope) * mass
    skew = np.where(slope * steepness < 0.0, -1.0, 1.0) * np.abs(steepness) * mass / 12.0
    return size * (0.5 + skew), size * (0.5 - skew)
