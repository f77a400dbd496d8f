"""The DESTEST exercises: inside of the band, closed, the same for all steps; and a wrong pipe leaves the band."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from uem.offline.validate import destest
from uem.offline.validate.case import EVERY_FIGURE, UnusableFile

DATA = Path(str(files("uem.examples"))) / "destest"


def test_all_quantities_of_exercise_0_lie_in_the_band_of_the_tools():
    found = list(destest.ce0(DATA / "ce0_pipes.csv"))
    judged = [r for r in found if np.isfinite(r.bar)]
    assert len(judged) == 18
    assert not [r for r in judged if not r.passed]
    assert {r.metric: r for r in judged}["Ts_SD1"].value == pytest.approx(69.4516, abs=0.02)  # series resistances
    assert all(r.least <= r.reference <= r.bar for r in judged)


def test_thinner_insulation_leaves_the_band(monkeypatch):
    right = destest._ce0_rows

    def rows(path):
        for row in right(path):
            worse = replace(row.pipe_class, loss_resistance_mk_w=0.7 * row.pipe_class.loss_resistance_mk_w)
            yield replace(row, pipe_class=worse)

    monkeypatch.setattr(destest, "_ce0_rows", lambda path: list(rows(path)))
    missed = {r.metric for r in destest.ce0(DATA / "ce0_pipes.csv") if not r.passed}
    assert {"Ts_SD1", "Ts_h"} <= missed


def test_a_week_of_exercise_1_closes_and_tells_the_same_with_other_steps():
    found = {r.metric: r for r in destest.ce1(DATA / "ce1_pipes_8.csv")}
    assert not [r for r in found.values() if not r.passed]
    assert found["energy gap of a step"].bar == 1e-9
    assert found["steps of 1 and 900 s apart, the week"].bar == 0.05
    # What eight buildings take and what is lost comes from the source, but for what the water held at the beginning.
    demand_kwh = 8 * destest._rows_of_900_s(DATA / "ce1_heat_profile_one_building.csv").sum() * 900 / 3.6e6
    spent_kwh = found["heat injected in the week"].value - found["heat lost in the week"].value
    assert spent_kwh == pytest.approx(demand_kwh, rel=0.01)


@pytest.mark.parametrize(("buildings", "every", "steps"), [(8, False, [60, 1]), (32, False, [60]), (32, True, [60, 1])])
def test_many_buildings_are_run_in_steps_of_1_s_when_every_figure_is_asked_for(monkeypatch, buildings, every, steps):
    taken = []

    def run(network, heat_w, step_s):
        taken.append(step_s)
        nothing = np.zeros((1, buildings))
        return destest.Week(nothing, nothing[:, 0], nothing[:, 0], nothing[:, 0], nothing[:, 0], 0.0)

    monkeypatch.setattr(destest, "run", run)
    token = EVERY_FIGURE.set(every)
    list(destest.ce1(DATA / f"ce1_pipes_{buildings}.csv"))
    EVERY_FIGURE.reset(token)
    assert taken == [900, *steps]


def test_the_profile_is_averaged_along_its_straight_lines(tmp_path):
    path = tmp_path / "profile.csv"
    week = 7 * 86400
    path.write_text(f"time_s,heat_W\n0,0\n600,600\n1200,600\n{week + 600},0\n")
    means = destest._rows_of_900_s(path)
    assert len(means) == 7 * 96
    assert means[0] == pytest.approx((0.5 * 600 * 600 + 300 * 600) / 900)
    assert (np.diff(means[2:]) < 0).all()


@pytest.mark.parametrize("text", ["time_s,heat_W\n0,1\n600,1\n", "time_s,heat_W\n0,1\n0,2\n700000,1\n"])
def test_a_profile_that_is_too_short_or_runs_backwards_is_named(tmp_path, text):
    path = tmp_path / "profile.csv"
    path.write_text(text)
    with pytest.raises(UnusableFile, match="time_s"):
        destest._rows_of_900_s(path)
