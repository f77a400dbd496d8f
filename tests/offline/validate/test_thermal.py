"""The measured pipes and the measured branch: the promised accuracy, other files of the same kind, unusable files."""

from dataclasses import replace
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from uem.offline.validate import thermal
from uem.offline.validate.case import UnusableFile
from uem.twin_core.plant.network import PipeClass

EXAMPLES = Path(str(files("uem.examples")))
SHIPPED = {
    "ulg": EXAMPLES / "rigs" / "ulg_151202.csv",
    "graz": EXAMPLES / "rigs" / "graz_case1.csv",
    "branch": EXAMPLES / "pongau" / "ait_151218.csv",
}
ULG_HEADER = "time_s,mass_flow_kg_s,T_wall_out_degC,T_water_out_degC,T_wall_in_degC,T_water_in_degC"


@pytest.fixture(scope="module")
def found():
    return {kind: {r.metric: r for r in getattr(thermal, kind)(path)} for kind, path in SHIPPED.items()}


def test_every_rig_is_followed_within_its_bar(found):
    assert [len(found[kind]) for kind in ("ulg", "graz", "branch")] == [3, 3, 9]
    assert not [r for results in found.values() for r in results.values() if not r.passed]


def test_the_learned_loss_factor_is_judged_by_rows_it_has_not_seen(found):
    point_2, point_3 = (found["branch"][f"point {p} RMSE, learned loss factor, later rows"] for p in "23")
    assert point_2.bar == point_3.bar == 1.3
    assert point_2.passed
    assert point_3.passed
    assert (point_2.value, point_3.value) == pytest.approx((1.05, 0.98), abs=0.03)
    stand = [found["branch"][f"point {p} RMSE, learned loss factor, later rows, rows as they stand"] for p in "23"]
    assert [r.value for r in stand] == pytest.approx([1.35, 1.15], abs=0.01)


def test_rows_of_the_branch_taken_as_they_stand_are_followed_less_well(found, monkeypatch):
    monkeypatch.setattr(thermal, "reading_times", lambda time_s, columns: {})
    stale = {r.metric: r.value for r in islice(thermal.branch(SHIPPED["branch"]), 3)}
    assert stale.keys() == {f"point {point} RMSE" for point in "234"}
    assert all(found["branch"][metric].value < value for metric, value in stale.items())


def test_the_first_rows_alone_tell_that_readings_are_older_than_their_rows():
    network, drive = thermal.branch_drive(SHIPPED["branch"])
    network, drive = thermal.with_losses(network, 1.17), thermal.first_rows(drive, 134)

    def errors_k(drive):
        followed = thermal.follow(network, drive, thermal.BRANCH_STEP_S)
        judged = {p: thermal._branch_rows(drive, p) for p in "23"}
        return [thermal.rms(thermal._branch_error(followed, drive, p)[rows]) for p, rows in judged.items()]

    assert (np.array(errors_k(drive)) < 0.93 * np.array(errors_k(replace(drive, read_s={})))).all()


def test_later_rows_do_not_change_the_learned_loss_factor(found):
    network, drive = thermal.branch_drive(SHIPPED["branch"])
    drive.measured_temp_k["2"][134:] += 20.0
    drive.source_temp_k[134:] -= 20.0
    learned = found["branch"]["learned loss factor"].value
    assert thermal.learned_loss_factor(network, thermal.first_rows(drive, 134)) == learned
    assert 1.1 < learned < 1.3


def test_the_loss_factor_that_made_the_temperatures_is_found_again():
    network, drive = thermal.branch_drive(SHIPPED["branch"])
    drive = thermal.first_rows(drive, 60)
    made = thermal.follow(thermal.with_losses(network, 0.8), drive, thermal.BRANCH_STEP_S).temp_k
    known = replace(drive, measured_temp_k={p: made[p] for p in thermal.BRANCH_POINTS})
    # The start profile comes from the first measured row, which the made one moves a little.
    assert thermal.learned_loss_factor(network, known) == pytest.approx(0.8, abs=0.01)


def test_a_branch_too_short_to_learn_from_is_named(tmp_path):
    path = tmp_path / "ait_short.csv"
    path.write_text("\n".join(SHIPPED["branch"].read_text().splitlines()[:20]) + "\n")
    with pytest.raises(UnusableFile, match="too short to learn a loss factor"):
        list(thermal.branch(path))


def test_accuracy_is_as_promised(found):
    assert found["ulg"]["outlet RMSE"].value <= 0.25
    assert found["graz"]["outlet RMSE"].value <= 0.12
    assert [found["branch"][f"point {p} RMSE"].value for p in "234"] == pytest.approx([1.77, 1.41, 1.70], abs=0.04)


@pytest.mark.parametrize(("metric", "ulg_bar"), [("outlet RMSE", 0.30), ("outlet RMSE, handbook dispersion", 0.40)])
def test_bars_and_references_are_the_published_ones(found, metric, ulg_bar):
    ulg, graz = found["ulg"][metric], found["graz"][metric]
    assert (ulg.bar, ulg.reference) == (ulg_bar, 0.603)
    assert (graz.bar, graz.reference) == (0.15, 0.233)


@pytest.mark.parametrize("kind", ["ulg", "graz"])
def test_a_rig_is_judged_with_handbook_parameters_only_beside_the_chosen_dispersion(found, kind, monkeypatch):
    right = getattr(thermal, f"{kind}_pipe")()
    monkeypatch.setattr(thermal, f"{kind}_pipe", lambda: replace(right, dispersion_factor=1.0))
    handbook = next(getattr(thermal, kind)(SHIPPED[kind]))
    beside = found[kind]["outlet RMSE, handbook dispersion"]
    assert beside.value == handbook.value <= beside.bar
    assert found[kind]["outlet RMSE"].value < handbook.value


def test_the_wall_is_what_makes_the_liege_outlet_right(monkeypatch):
    right = thermal.ulg_pipe()
    light = PipeClass(
        name="light",
        inner_diameter_m=right.inner_diameter_m,
        outer_diameter_m=right.outer_diameter_m,
        wall_density_kg_m3=1e-3,
        wall_heat_capacity_j_kgk=480.0,
        loss_resistance_mk_w=right.loss_resistance_mk_w,
    )
    monkeypatch.setattr(thermal, "ulg_pipe", lambda: light)
    outlet = next(r for r in thermal.ulg(SHIPPED["ulg"]) if r.metric == "outlet RMSE")
    assert outlet.value > 3.0
    assert not outlet.passed


def test_another_run_of_a_known_rig_is_judged_by_what_others_reach(tmp_path):
    path = tmp_path / "ulg_991231.csv"
    lines = [f"{t},{1.2 if t < 200 else 0.3},0,18,18,{18 if t < 30 else 40}" for t in range(100, 700, 5)]
    path.write_text("\n".join([ULG_HEADER, *lines]) + "\n")
    outlet, handbook, closure = thermal.ulg(path)
    assert outlet.case == "ulg_991231"
    assert outlet.bar == handbook.bar == thermal.ULG_OTHER_BAR
    assert np.isnan(outlet.reference)
    assert closure.passed


def test_outlets_of_other_models_are_no_recording(tmp_path):
    assert list(thermal.graz(tmp_path / "graz_case1_tools.csv")) == []


def test_the_second_half_of_the_branch_is_read_with_its_own_clock(tmp_path):
    lines = SHIPPED["branch"].read_text().splitlines()
    later = [",".join([str(int(float(line.split(",")[0])) + 302_400), *line.split(",")[1:]]) for line in lines[1:60]]
    path = tmp_path / "ait_second.csv"
    path.write_text("\n".join([lines[0], *later]) + "\n")
    early = tmp_path / "ait_first.csv"
    early.write_text("\n".join(lines[:60]) + "\n")
    assert [r.value for r in thermal.branch(path)] == pytest.approx([r.value for r in thermal.branch(early)], rel=1e-9)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["0,0.5,0,18,18,20"], "one row"),
        (["0,0.5,0,18,18,20", "0,0.5,0,18,18,20"], "does not rise after 0 s"),
        (["0,0.5,0,18,18,20", "1,,0,18,18,20"], "line 3: column 'mass_flow_kg_s'"),
    ],
)
def test_a_file_that_cannot_be_followed_is_named(tmp_path, lines, said):
    path = tmp_path / "ulg_1.csv"
    path.write_text("\n".join([ULG_HEADER, *lines]) + "\n")
    with pytest.raises(UnusableFile, match=said):
        list(thermal.ulg(path))


def test_a_row_within_three_rows_after_a_standstill_does_not_count():
    flow = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert thermal.running(flow).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 9, 10]
