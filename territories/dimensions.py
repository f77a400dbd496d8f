"""Bonded steel pipes for district heating: outer diameters of EN 10220, walls and series-1 casings of EN 253."""

from typing import NamedTuple


class Steel(NamedTuple):
    """Of one nominal diameter, in mm."""

    outer_mm: float
    wall_mm: float
    casing_mm: float

    @property
    def inner_mm(self) -> float:
        """Inner diameter."""
        return round(self.outer_mm - 2.0 * self.wall_mm, 3)


STEEL: dict[int, Steel] = {
    15: Steel(21.3, 2.0, 75.0),
    20: Steel(26.9, 2.6, 90.0),
    25: Steel(33.7, 2.6, 90.0),
    32: Steel(42.4, 2.6, 110.0),
    40: Steel(48.3, 2.6, 110.0),
    50: Steel(60.3, 2.9, 125.0),
    65: Steel(76.1, 2.9, 140.0),
    80: Steel(88.9, 3.2, 160.0),
    100: Steel(114.3, 3.6, 200.0),
    125: Steel(139.7, 3.6, 225.0),
    150: Steel(168.3, 4.0, 250.0),
    200: Steel(219.1, 4.5, 315.0),
    250: Steel(273.0, 5.0, 400.0),
    300: Steel(323.9, 5.6, 450.0),
    350: Steel(355.6, 5.6, 500.0),
    400: Steel(406.4, 6.3, 560.0),
    450: Steel(457.0, 6.3, 630.0),
    500: Steel(508.0, 6.3, 710.0),
    600: Steel(610.0, 7.1, 800.0),
    700: Steel(711.0, 8.0, 900.0),
    800: Steel(813.0, 8.8, 1000.0),
    900: Steel(914.0, 10.0, 1100.0),
    1000: Steel(1016.0, 11.0, 1200.0),
}

# What `dn` alone stands for: PUR foam after some years of use, in moist ground with its axis 0.9 m deep.
FOAM_W_MK = 0.027
SOIL_W_MK = 1.6
DEPTH_M = 0.9


def nearest(inner_mm: float) -> int:
    """The nominal diameter whose inner diameter is nearest to `inner_mm`, as a ratio."""
    return min(STEEL, key=lambda dn: abs(STEEL[dn].inner_mm / inner_mm - 1.0))
