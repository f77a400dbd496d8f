"""`uem validate`: finds cases by file name, judges, prints, writes JSON; wrong files are named, without traceback."""

import json
import math
from pathlib import Path

import pytest

from uem.offline.validate import main as validate
from uem.offline.validate.case import Result, UnusableFile, peer

RESULT = {"suite": "demo", "case": "c", "metric": "m", "unit": "K", "bar": 1.0}
FIELDS = ["suite", "case", "metric", "value", "unit", "reference", "least", "bar", "passed"]


def met(path):
    yield Result(value=0.5, reference=0.7, **RESULT)


def missed(path):
    yield Result(value=1.5, **RESULT)


def broken(path):
    yield Result(value=0.5, **RESULT)
    raise UnusableFile(path, "column 'T' is missing")


def calculated():
    yield Result(value=7.5, **RESULT | {"bar": 8.0}, least=7.0)
    yield Result(value=3.5, **RESULT | {"bar": math.inf})


def without_its_peer():
    peer("a_peer_that_nobody_has.inside")
    yield Result(value=0.5, **RESULT)


@pytest.fixture
def demo(monkeypatch, tmp_path):
    """Suites of our own over a folder with one file of each kind."""
    cases = {"good_*.csv": met, "bad_*.csv": missed, "broken_*.csv": broken}
    found = {"demo": validate.Suite(cases, {}), "empty": validate.Suite({}, {})}
    monkeypatch.setattr(validate, "suites", lambda: found)
    monkeypatch.setenv("COLUMNS", "200")

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_a_met_bar_exits_zero_and_is_printed_with_its_reference(demo, capsys):
    assert validate.main(["--data", str(demo("deep/er/good_1.csv"))]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("0.5", "0.7", "met", "1 of 1 bars met"))


def test_a_missed_bar_exits_one(demo, capsys):
    assert validate.main(["--data", str(demo("good_1.csv", "bad_1.csv"))]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_file_that_cannot_be_used_is_named_and_the_others_are_judged(demo, capsys, tmp_path):
    folder = demo("broken_1.csv", "good_1.csv")
    assert validate.main(["--data", str(folder), "--json", str(tmp_path / "out.json")]) == 1
    printed = capsys.readouterr()
    assert f"uem validate: error: {folder / 'broken_1.csv'}: column 'T' is missing" in printed.err
    assert "2 of 3 bars met" in printed.out
    records = json.loads((tmp_path / "out.json").read_text())
    failed = [r for r in records if not r["passed"]]
    assert [(r["case"], r["metric"], r["value"]) for r in failed] == [("broken_1.csv", "usable", None)]


def test_json_on_stdout_leaves_the_table_to_stderr(demo, capsys):
    assert validate.main(["--data", str(demo("good_1.csv", "bad_1.csv")), "--json", "-"]) == 1
    told = capsys.readouterr()
    assert [r["passed"] for r in json.loads(told.out)] == [False, True]
    assert "bars met" in told.err


def test_the_json_is_a_list_of_records_without_nan(demo, tmp_path):
    out = tmp_path / "out.json"
    validate.main(["--data", str(demo("good_1.csv", "bad_1.csv")), "--json", str(out)])
    records = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert [list(record) for record in records] == [FIELDS, FIELDS]
    assert [record["passed"] for record in records] == [False, True]  # in the order of the paths
    assert [record["reference"] for record in records] == [None, 0.7]


def test_json_that_cannot_be_written_is_an_error_of_one_line(demo, capsys, tmp_path):
    assert validate.main(["--data", str(demo("good_1.csv")), "--json", str(tmp_path / "no" / "out.json")]) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert told.out == ""  # nothing was run for nothing
    assert validate.main(["--data", str(tmp_path), "--json", str(tmp_path)]) == 1


def test_unknown_data_files_are_listed_on_demand_only(demo, capsys):
    folder = str(demo("good_1.csv", "other.csv", "README.md", "year.csv.gz"))
    validate.main(["--data", folder])
    assert "no case for it" not in capsys.readouterr().err
    validate.main(["--data", folder, "--verbose"])
    listed = capsys.readouterr().err.splitlines()
    assert [line.split("/")[-1] for line in listed] == ["other.csv: no case for it", "year.csv.gz: no case for it"]


def test_a_folder_without_known_files_says_what_is_known(demo, capsys):
    assert validate.main(["--data", str(demo("other.csv"))]) == 1
    assert "known are good_*.csv, bad_*.csv, broken_*.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "/nowhere/at/all"], "/nowhere/at/all is not a folder"),
        (["--suite", "nothing"], "'nothing' is not known; known are demo, empty"),
        (["--effort", "0.5"], "0.5 must be at least 1"),
    ],
)
def test_wrong_usage_exits_two(demo, capsys, arguments, complaint):
    with pytest.raises(SystemExit) as stop:
        validate.main(arguments)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.fixture
def sums(monkeypatch):
    """A suite that needs no file."""
    suite = validate.Suite({}, {"sum": calculated, "peer": without_its_peer})
    monkeypatch.setattr(validate, "suites", lambda: {"sums": suite})
    monkeypatch.setenv("COLUMNS", "200")


def test_calculations_run_without_data_and_say_what_is_not_installed(sums, capsys, tmp_path):
    assert validate.main(["--data", str(tmp_path), "--suite", "sums"]) == 0
    printed = capsys.readouterr().out
    assert "7 .. 8" in printed
    assert "left out: sums, peer: a_peer_that_nobody_has is not installed: pip install 'uem[peers]'" in printed


def test_a_figure_without_a_bar_is_reported_and_not_counted(sums, capsys, tmp_path):
    out = tmp_path / "out.json"
    assert validate.main(["--data", str(tmp_path), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "reported" in printed
    assert "1 of 1 bars met" in printed
    band, report = json.loads(out.read_text())
    assert (band["least"], band["bar"]) == (7.0, 8.0)
    assert (report["least"], report["bar"], report["passed"]) == (None, None, True)


@pytest.mark.parametrize("value", [6.9, 8.1, math.nan])
def test_a_band_has_two_ends(value):
    assert not Result(value=value, **RESULT | {"bar": 8.0}, least=7.0).passed


def test_one_suite_can_be_chosen_or_several(demo, capsys):
    assert validate.main(["--data", str(demo("good_1.csv")), "--suite", "demo"]) == 0
    assert validate.main(["--data", str(demo("good_1.csv")), "--suite", "empty"]) == 1
    assert validate.main(["--data", str(demo("good_1.csv")), "--suite", "empty", "--suite", "demo"]) == 0


def test_a_table_is_known_by_its_first_line(demo, tmp_path):
    suite = validate.Suite({"named_*.csv": met}, {}, {"a,b": missed})
    for name, text in {
        "x.csv": "a,b\n1,2\n",
        "y.csv": "\ufeffa,b\r\n",
        "z.csv": "a,b,c\n",
        "named_1.csv": "a,b\n",
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    found, left = validate.tasks(tmp_path, {"demo": suite})
    assert [Path(task.name).name for task in found] == ["named_1.csv", "named_1.csv", "x.csv", "y.csv"]
    assert left == [tmp_path / "z.csv"]


def test_a_value_that_is_no_number_never_meets_its_bar():
    assert not Result(value=math.nan, **RESULT).passed
    assert Result(value=1.0, **RESULT).passed


def test_suites_are_found_by_themselves():
    assert "kea_cleaning_machine*.csv" in validate.suites()["production"].cases
    assert validate.suites()["analytic"].calculations


def test_what_is_shipped_is_found_without_saying_where():
    found, _ = validate.tasks(Path(validate._arguments([], validate.suites()).data), validate.suites())
    assert "kea_cleaning_machine.csv" in {Path(task.name).name for task in found}
