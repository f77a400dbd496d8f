"""The measured cleaning machine: the promised accuracy, and files that cannot be a recording of it."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uem.offline.validate import production
from uem.offline.validate.case import UnusableFile
from uem.offline.validate.main import Task, run_task

RECORDING = Path(str(files("uem.examples"))) / "pongau" / "kea_cleaning_machine.csv"
HEADER = "Timestamp,nKEAOperatingState,fRealPower,fTankTemperature,fHallTemperature"


@pytest.fixture(scope="module")
def results():
    return {result.metric: result for result in production.cleaning_machine(RECORDING)}


def test_the_cleaning_machine_is_followed_within_every_bar(results):
    assert len(results) == 17
    assert not [r for r in results.values() if not r.passed]


def test_energy_and_bath_are_as_promised(results):
    assert results["energy"].value <= 2.0
    assert all(r.value <= 2.0 for metric, r in results.items() if metric.startswith("energy, "))
    assert results["tank RMSE"].value <= 0.3
    assert results["tank RMSE, after the fitted rows"].value <= 0.3


def test_the_load_is_what_makes_the_bath_right(results):
    """Without it, as one lumped bath, the same machine misses the bar: the case can tell models apart."""
    assert results["tank RMSE"].reference > 0.5


def test_a_machine_with_wrong_powers_misses_its_bars(monkeypatch):
    right = production.washer()
    monkeypatch.setattr(production, "washer", lambda: production.replace(right, states=right.states[:2]))
    wrong = {r.metric for r in production.cleaning_machine(RECORDING) if not r.passed}
    assert "time in unknown states" in wrong


def rows(*lines):
    return "\n".join([HEADER, *lines]) + "\n"


def test_gaps_of_the_hall_hold_the_value_before(tmp_path):
    path = tmp_path / "kea_cleaning_machine_x.csv"
    times = [f"2022-11-23 14:23:{s:02}" for s in (8, 9, 11, 12)]
    halls = ["", "20.5", "", "21.0"]
    path.write_text(rows(*(f"{t},2,180,60,{h}" for t, h in zip(times, halls, strict=True))))
    recording = production.read_recording(path)
    np.testing.assert_allclose(recording.hall_temp_k - 273.15, [20.5, 20.5, 20.5, 21.0])
    assert recording.dt_s.tolist() == [1.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (rows("2022-11-23,2,180,60,20"), "'Timestamp' must increase"),
        (rows("2022-11-23,2,180,60,20", "2022-11-22,2,180,60,20"), "'Timestamp' must increase"),
        (rows("2022-11-23,2,180,60,", "2022-11-24,2,180,60,"), "'fHallTemperature' holds no number"),
        (rows("yesterday,2,180,60,20", "2022-11-22,2,180,60,20"), "line 2: column 'Timestamp' holds 'yesterday'"),
        (rows("2022-11-23T00Z,2,180,60,20", "2022-11-24,2,180,60,20"), "time zone in some rows and none in others"),
        (rows("2022-11-23,2,180,,20", "2022-11-24,2,180,60,20"), "column 'fTankTemperature' holds ''"),
        (HEADER.replace("fRealPower", "power") + "\n2022-11-23,2,180,60,20\n", "column 'fRealPower' is missing"),
        ("Timestamp,Timestamp\n", "is missing"),
    ],
)
def test_a_file_that_is_no_recording_of_the_machine_is_named(tmp_path, text, complaint):
    path = tmp_path / "kea_cleaning_machine_y.csv"
    path.write_text(text)
    with pytest.raises(UnusableFile) as refusal:
        list(production.cleaning_machine(path))
    assert complaint in str(refusal.value)
    assert path.name in str(refusal.value)


LINES = RECORDING.read_text("utf-8").splitlines()[:25]
odd_cells = st.one_of(
    st.sampled_from(
        ["", "nan", "-1", "0", "1e308", "-1e308", "99", "2022-11-23 14:23:09", "\x00", '"', "1,2", "\u0663"]
    ),
    st.text(max_size=5),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 24), st.integers(0, 16), odd_cells), max_size=3))
def test_whatever_stands_in_the_cells_nothing_but_results_or_a_named_error_comes_out(tmp_path, edits):
    cells = [line.split(",") for line in LINES]
    for row, column, text in edits:
        cells[row][column] = text
    path = tmp_path / "kea_cleaning_machine_z.csv"
    path.write_bytes("\n".join(",".join(line) for line in cells).encode("utf-8", "surrogatepass"))
    complaints = []
    results = run_task(Task.of_file("production", path, production.cleaning_machine), complaints, [])
    assert results
    assert all(path.name in text for text in complaints)
