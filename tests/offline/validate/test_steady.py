"""Steady networks against pandapipes: all that it ships are met, a wrong loss is seen, and no peer is no failure."""

from dataclasses import replace

import pytest

from uem.offline.validate import steady
from uem.offline.validate.case import LeftOut


@pytest.mark.parametrize("name", steady.NETWORKS)
def test_temperatures_and_pressures_are_those_of_pandapipes(name):
    temperature, pressure = steady.compare(name)
    assert (temperature.bar, pressure.bar) == (0.1, 1e-3)
    assert temperature.passed
    assert pressure.passed


def test_a_pipe_that_loses_more_than_told_is_seen(monkeypatch):
    right = steady.network

    def network(*given):
        made = right(*given)
        worse = [replace(c, loss_resistance_mk_w=0.98 * c.loss_resistance_mk_w) for c in made.pipe_classes]
        return replace(made, pipe_classes=tuple(worse))

    monkeypatch.setattr(steady, "network", network)
    assert not next(steady.compare("one pipe")).passed


def test_without_pandapipes_the_case_is_left_out(monkeypatch):
    def peer(name):
        raise LeftOut(f"{name} is not installed")

    monkeypatch.setattr(steady, "peer", peer)
    with pytest.raises(LeftOut, match="pandapipes"):
        list(steady.compare("one pipe"))
