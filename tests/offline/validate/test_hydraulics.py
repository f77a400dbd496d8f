"""Heads and flows against EPANET: every network is met, a wrong constant is seen, and no peer is no failure."""

import numpy as np
import pytest

from uem.offline.validate import hydraulics
from uem.offline.validate.case import LeftOut


@pytest.mark.parametrize("name", hydraulics.NETWORKS)
def test_heads_and_flows_are_those_of_epanet(name):
    pytest.importorskip("wntr")
    head, flow = hydraulics.compare(name)
    assert (head.bar, flow.bar) == (1e-3, 1e-4)
    assert head.passed
    assert flow.passed


@pytest.mark.parametrize(("constant", "value"), [("GRAVITY_M_S2", 9.80665), ("ROUGHNESS_M", 1.02e-4)])
def test_another_constant_than_epanets_is_seen(monkeypatch, constant, value):
    pytest.importorskip("wntr")
    right = hydraulics.ours

    def ours(*given):
        monkeypatch.setattr(hydraulics, constant, value)
        return right(*given)

    monkeypatch.setattr(hydraulics, "ours", ours)
    assert not next(hydraulics.compare("Net1")).passed


def test_without_wntr_the_case_is_left_out(monkeypatch):
    monkeypatch.setattr(hydraulics, "peer", lambda name: (_ for _ in ()).throw(LeftOut(f"{name} is not installed")))
    with pytest.raises(LeftOut, match="wntr is not installed"):
        list(hydraulics.compare("Net1"))


def test_a_part_that_only_pumps_lead_to_gets_a_head_of_its_own():
    fixed = np.array([True, False, False, False, False])
    loose = hydraulics._first_of_loose_parts([(0, 1), (2, 3)], fixed)
    assert len(loose) == 2
    assert 4 in loose
    assert {2, 3} & set(loose)
