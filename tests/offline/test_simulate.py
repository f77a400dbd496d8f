import csv
import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import uem
from uem.offline.simulate import main, simulate, write_csv
from uem.territories.load import load
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.plant.territory import Territory

HEADER = (
    "time,branch/1/temperature [Cel],branch/1/mass_flow,branch/2/mass_flow,branch/3/mass_flow,branch/4/mass_flow,"
    "branch/outdoor/temperature [Cel]"
)


def inputs(tmp_path, rows):
    path = tmp_path / "inputs.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def steady(tmp_path, count=30, **changed):
    cells = {"temperature": 95, "source": 5.0, "two": 0.2, "three": 0.1, "four": 0.05, "outdoor": 2} | changed
    return inputs(tmp_path, [f"{900 * k},{','.join(str(v) for v in cells.values())}" for k in range(count)])


@pytest.fixture(scope="module")
def branch():
    """The first twin, in one line."""
    return uem.simulate("pongau", asset="branch")


def test_the_first_twin_in_one_line(branch):
    run = branch
    assert len(run.columns["node/2/temperature/twin"]) == 336
    summary = run.summary()
    assert summary["energy"]["closure"] <= 1e-9
    bars = {"2": 1.9, "3": 1.6, "4": 1.8}
    for node, bar in bars.items():
        assert summary["compared"][f"node/{node}/temperature/twin"]["rmse"] <= bar


def test_the_cleaning_machine_keeps_its_bars():
    summary = simulate("pongau", asset="washer").summary()
    assert abs(summary["energy"]["difference"]) <= 0.02
    assert summary["compared"]["tank/temperature/twin"]["rmse"] <= 0.3


def test_a_file_fits_the_one_asset_whose_columns_it_has(tmp_path):
    run = simulate("pongau", steady(tmp_path))
    assert run.asset == "branch"
    assert run.time_ns.tolist() == [900 * k * 10**9 for k in range(30)]
    assert run.columns["pipe/C-2/flow"][-1] == pytest.approx(0.2)
    assert 340 < run.columns["node/2/temperature/twin"][-1] < 368.15
    assert run.summary()["compared"]["node/2/temperature/twin"]["rmse"] is None  # not measured


def test_the_step_may_be_chosen(tmp_path):
    path = steady(tmp_path)
    coarse, fine = simulate("pongau", path, step_s=900.0), simulate("pongau", path, step_s=30.0)
    a, b = (run.columns["node/2/temperature/twin"][-1] for run in (coarse, fine))
    assert a == pytest.approx(b, abs=0.05)
    with pytest.raises(InvalidInput, match="step"):
        simulate("pongau", path, step_s=-1.0)


def test_rows_that_lie_off_the_grid_of_steps_are_answered_at_their_times(tmp_path):
    rows = [f"{t},95,5,0.2,0.1,0.05,2" for t in (0, 10.5, 61, 130)]
    run = simulate("pongau", inputs(tmp_path, rows))
    assert (run.time_ns / 1e9).tolist() == [0.0, 10.5, 61.0, 130.0]


def test_a_missing_column_is_named_with_its_asset(tmp_path):
    path = tmp_path / "inputs.csv"
    path.write_text("time,branch/1/temperature\n0,350\n")
    with pytest.raises(InvalidInput, match=r"branch needs .*branch/2/mass_flow.*washer needs washer/state"):
        simulate("pongau", path)
    with pytest.raises(InvalidInput, match=r"asset branch needs the columns .*branch/2/mass_flow"):
        simulate("pongau", path, asset="branch")


def test_a_value_no_model_can_take_is_told_with_its_time(tmp_path):
    rows = ["0,95,5,0.2,0.1,0.05,2", "900,95,5,0.2,0.1,0.05,2", "1800,900,5,0.2,0.1,0.05,2"]
    with pytest.raises(InvalidInput, match=r"inputs\.csv at 1800: .*temperature"):
        simulate("pongau", inputs(tmp_path, rows))


@pytest.mark.parametrize("later", [1, 5])
def test_a_gap_that_nobody_can_bridge_is_told(later, tmp_path):
    times = [*range(0, 1800, 900), *range(200_000, 200_000 + 900 * later, 900)]
    with pytest.raises(InvalidInput, match="a gap of over 24 h"):
        simulate("pongau", inputs(tmp_path, [f"{t},95,5,0.2,0.1,0.05,2" for t in times]))


def test_a_column_that_is_always_empty_is_named(tmp_path):
    path = steady(tmp_path, outdoor="")
    with pytest.raises(InvalidInput, match="no value of branch/outdoor/temperature"):
        simulate("pongau", path)


def test_unknown_assets_and_empty_or_ambiguous_territories_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="boiler"):
        simulate("pongau", asset="boiler")
    with pytest.raises(InvalidInput, match="no assets"):
        simulate(Territory(name="nowhere"))
    pongau = load("pongau")
    twice = dataclasses.replace(pongau, networks=(*pongau.networks, dataclasses.replace(pongau.networks[0], name="b2")))
    with pytest.raises(InvalidInput, match="choose one with --asset"):
        simulate(twice, steady(tmp_path))


def test_the_command_writes_a_row_per_row_and_a_summary(tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(["pongau", "--inputs", str(steady(tmp_path)), "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["asset"], summary["rows"]) == ("branch", 30)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 30
    assert rows[2]["time"] == "1800"
    assert float(rows[2]["node/1/temperature [K]"]) == pytest.approx(368.15)
    assert rows[2]["node/2/temperature [K]"] == ""


def test_the_command_can_write_the_units_that_people_read(tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(["pongau", "--asset", "washer", "--out", str(out), "--display-units"]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert float(rows[0]["tank/temperature [Cel]"]) == pytest.approx(60.6, abs=0.1)
    assert abs(float(rows[-1]["tank/temperature/bias [K]"])) < 1
    told = capsys.readouterr().out
    assert "kea_cleaning_machine.csv" in told
    assert "tank/temperature/twin" in told


def test_what_is_written_can_be_read_again(branch, tmp_path):
    out = tmp_path / "out.csv"
    write_csv(branch, out)
    with out.open() as file:
        assert np.isfinite([float(row["energy/in [J]"]) for row in csv.DictReader(file)]).all()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["atlantis", "--out", "x.csv"], "unknown territory 'atlantis'"),
        (["pongau", "--inputs", "none.csv", "--out", "x.csv"], "none.csv"),
        (["pongau", "--asset", "washer", "--out", "no/such/folder/x.csv"], "--out no/such/folder/x.csv"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_one(arguments, told, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "uem simulate: error: " in error
    assert told in error


def test_what_is_read_is_never_overwritten(tmp_path, capsys):
    path = steady(tmp_path)
    before = path.read_bytes()
    (tmp_path / "link.csv").symlink_to(path)
    assert main(["pongau", "--inputs", str(path), "--out", str(tmp_path / "link.csv")]) == 1
    assert "which is read; name another file" in capsys.readouterr().err
    recording = load("pongau").plants[0].recording.path
    assert main(["pongau", "--inputs", str(path), "--out", recording]) == 1
    assert "which is read; name another file" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_written_whole_leaves_what_was_there(tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    out.write_text("before")
    run = simulate("pongau", steady(tmp_path, count=3))

    class Full:
        def __init__(self, file):
            self.file = file

        def writerows(self, rows):
            self.file.write("time")
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("uem.offline.simulate.csv.writer", Full)
        with pytest.raises(InvalidInput, match="No space left"):
            write_csv(run, out)
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs.csv", "out.csv"]
    write_csv(run, out)
    assert out.read_text().startswith("time,")
    write_csv(run, Path("/dev/null"))


def test_the_output_may_be_stdout_and_stderr_is_quiet_without_a_terminal(tmp_path, capsys):
    path = steady(tmp_path)
    assert main(["pongau", "--inputs", str(path), "--out", "-"]) == 0
    told = capsys.readouterr()
    assert len(list(csv.DictReader(told.out.splitlines()))) == 30
    assert told.err.startswith("asset branch")
    assert main(["pongau", "--inputs", str(path), "--out", str(tmp_path / "o.csv")]) == 0
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit, match="2"):
        main(["pongau", "--inputs", str(path), "--out", "-", "--json"])


def test_a_recording_of_the_territory_may_be_given_as_it_is(branch):
    own = branch
    given = simulate("pongau", load("pongau").plants[0].recording.path)
    assert given.asset == "branch"
    assert np.array_equal(given.value, own.value, equal_nan=True)


def test_a_network_that_nobody_measures_is_not_followed():
    with pytest.raises(InvalidInput, match=r"network ring: only a tree with measured flows .* can be followed"):
        simulate("quartier")


def test_a_factory_is_simulated_along_its_recorded_states_and_counters(tmp_path, capsys):
    shops = runpy.run_path(str(Path(__file__).resolve().parents[1] / "twin_core" / "follow" / "shops.py"))
    rows, *_ = shops["plant"](shops["line"](), seed=1, until_s=1800.0)
    shops["territory"](tmp_path, rows)
    assert main([str(tmp_path), "--out", str(tmp_path / "out.csv")]) == 0
    assert "kWh, not measured" in capsys.readouterr().out
    run = simulate(tmp_path)
    assert run.columns["machine/saw/good"][-1] == rows[-1][1]["saw/good"]
    assert run.columns["resyncs"][-1] == 0.0
    assert run.summary()["energy"]["twin"] > 0.0
