"""The planning fidelity on the measured rigs and on a random town: accuracy and distance from the full scheme."""

from importlib.resources import files
from pathlib import Path

import pytest

from uem.offline.validate import planning

EXAMPLES = Path(str(files("uem.examples")))


@pytest.fixture(scope="module")
def found():
    results = [
        *planning.ulg(EXAMPLES / "rigs" / "ulg_151202.csv"),
        *planning.graz(EXAMPLES / "rigs" / "graz_case1.csv"),
        *planning.branch(EXAMPLES / "pongau" / "ait_151218.csv"),
        *planning.town(),
    ]
    return {(r.case.split("_")[0], r.metric): r for r in results}


def test_every_case_is_within_its_bar(found):
    assert len(found) == 16
    assert not [r for r in found.values() if not r.passed]


def test_rigs_are_met_better_than_by_the_published_plug_flow_model(found):
    assert found["ulg", "outlet RMSE"].value <= 0.45 < 0.603
    assert found["graz", "outlet RMSE"].value <= 0.17 < 0.233


def test_the_full_scheme_is_met_within_what_the_documentation_says(found):
    assert found["ulg", "outlet against the full scheme, RMSE"].value == pytest.approx(0.35, abs=0.05)
    assert found["graz", "outlet against the full scheme, RMSE"].value == pytest.approx(0.12, abs=0.03)
    assert found["random tree", "all nodes against the full scheme, RMSE"].value == pytest.approx(0.24, abs=0.03)


def test_the_reference_of_a_measured_row_is_the_full_scheme(found):
    assert found["graz", "outlet RMSE"].reference == pytest.approx(0.102, abs=0.01)


def test_published_runs_of_other_tools_are_no_case(tmp_path):
    assert list(planning.graz(tmp_path / "graz_case1_tools.csv")) == []
