"""Fit the water properties of `twin_core/thermal/water.pyx` to IAPWS-95 (CoolProp) and print the coefficients.

Run it with the test extra installed: `python docs/models/fit_water.py`. The tables it prints stand in water.pyx;
the errors it prints stand in docs/models/water.md. Weighted least squares on Chebyshev points, relative errors.
"""

import numpy as np
from CoolProp.CoolProp import PropsSI

TRIPLE_K = 273.161
TEMP_K = (273.15, 423.15)
PRESSURE_PA = (1e5, 25e5)
# property, CoolProp's letter, powers of temperature, powers of pressure, fit the reciprocal
PROPERTIES = [
    ("DENSITY", "D", 8, 3, False),
    ("HEAT_CAPACITY", "C", 8, 3, False),
    ("FLUIDITY", "V", 7, 3, True),
    ("CONDUCTIVITY", "L", 6, 3, False),
]
SATURATION_POWERS = 8


def scaled(value, limits):
    """Map a range to -1 .. 1, where powers are well conditioned."""
    low, high = limits
    return (2.0 * value - (high + low)) / (high - low)


def liquid_points(n_temps, n_pressures):
    """Chebyshev points over the range where water is liquid."""
    x = np.cos(np.pi * np.arange(n_temps) / (n_temps - 1))
    y = np.cos(np.pi * np.arange(n_pressures) / (n_pressures - 1))
    temps = np.repeat(TEMP_K[0] + (x + 1) / 2 * (TEMP_K[1] - TEMP_K[0]), n_pressures)
    temps = np.maximum(temps, TRIPLE_K)  # CoolProp begins at the triple point, the fit is continued by 0.01 K
    pressures = np.tile(PRESSURE_PA[0] + (y + 1) / 2 * (PRESSURE_PA[1] - PRESSURE_PA[0]), n_temps)
    boiling = PropsSI("P", "T", temps, "Q", 0, "Water")
    liquid = pressures > boiling * 1.000001
    return temps[liquid], pressures[liquid]


def powers(temps, pressures, n_temp, n_pressure):
    """The columns x**i * y**j, pressure innermost."""
    x, y = scaled(temps, TEMP_K), scaled(pressures, PRESSURE_PA)
    return np.stack([x**i * y**j for i in range(n_temp) for j in range(n_pressure)], axis=1)


def print_table(name, table):
    """One row per power of temperature."""
    print(f"{name}:")
    for row in table:
        print("    " + ", ".join(f"{value:.12e}" for value in np.atleast_1d(row)) + ",")


def main():
    """Fit, print, and judge on other points than those fitted."""
    fit_points, judge_points = liquid_points(61, 25), liquid_points(149, 47)
    for name, letter, n_temp, n_pressure, reciprocal in PROPERTIES:

        def truth(points, letter=letter, reciprocal=reciprocal):
            value = PropsSI(letter, "T", points[0], "P", points[1], "Water")
            return 1.0 / value if reciprocal else value

        columns, wanted = powers(*fit_points, n_temp, n_pressure), truth(fit_points)
        table, *_ = np.linalg.lstsq(columns / wanted[:, None], np.ones_like(wanted), rcond=None)
        table = np.array([float(f"{value:.12e}") for value in table])
        error = powers(*judge_points, n_temp, n_pressure) @ table / truth(judge_points) - 1.0
        print_table(f"{name}  # largest relative error {np.abs(error).max():.1e}", table.reshape(n_temp, n_pressure))

    temps = np.linspace(TRIPLE_K, TEMP_K[1], 400)
    wanted = np.log(PropsSI("P", "T", temps, "Q", 0, "Water"))
    table = np.polynomial.polynomial.polyfit(scaled(temps, TEMP_K), wanted, SATURATION_POWERS - 1)
    error = np.expm1(np.polynomial.polynomial.polyval(scaled(temps, TEMP_K), table) - wanted)
    print_table(f"LOG_SATURATION_PRESSURE  # largest relative error {np.abs(error).max():.1e}", table)


if __name__ == "__main__":
    main()
