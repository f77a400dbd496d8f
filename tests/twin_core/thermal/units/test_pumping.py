"""Electricity of pumps."""

import numpy as np
import pytest

from uem.twin_core.thermal.units.pumping import pump_electricity_w


def test_a_pump_uses_its_hydraulic_power_over_its_efficiency():
    # 36 m3/h against 3 bar are 3 kW of water.
    flow = np.array([10.0])
    assert pump_electricity_w(flow, np.array([3e5]), np.array([1000.0]), 0.6) == pytest.approx([5000.0])


def test_a_pump_gives_no_electricity_back():
    flow, rise = np.array([-10.0, 10.0, 0.0]), np.array([3e5, -3e5, 3e5])
    assert pump_electricity_w(flow, rise, np.full(3, 1000.0), 0.6) == pytest.approx([0.0, 0.0, 0.0])
