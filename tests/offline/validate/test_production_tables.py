"""The exact tables: every kind of case is known by its params, met, missed by another model; wrong rows are named."""

import csv
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from uem.offline.validate import main as validate
from uem.offline.validate import production_tables
from uem.offline.validate.case import UnusableFile
from uem.offline.validate.production_tables import HEADER, analytic, read_table

SHIPPED = Path(str(files("uem.examples"))) / "production_tables"
TABLES = sorted(SHIPPED.glob("*.csv"))


def written(tmp_path, *rows, name="any_name.csv"):
    path = tmp_path / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER.split(","))
        writer.writerows((case, json.dumps(params), *rest, "by hand") for case, params, *rest in rows)
    return path


@pytest.fixture(scope="module")
def results():
    """By table, by case."""
    return {path.stem: {case.name: list(analytic(case)) for case in read_table(path)} for path in TABLES}


@pytest.mark.parametrize("table", [path.stem for path in TABLES])
def test_every_figure_of_the_shipped_tables_is_met(results, table):
    assert all(results[table].values())
    assert not [r for of_case in results[table].values() for r in of_case if not r.passed]


def test_the_shipped_tables_are_the_seventy_two_cases_of_ten_families():
    cases = [case for path in TABLES for case in read_table(path)]
    assert (len(TABLES), len(cases), sum(len(case.rows) for case in cases)) == (10, 72, 708)


def test_the_bars_are_the_promised_ones(results):
    found = [r for table in results.values() for of_case in table.values() for r in of_case]
    assert {(r.unit, r.bar) for r in found} == {("1", 1e-8), ("%", 0.5)}
    judged = Counter(r.metric.split(" ", 1)[1] for r in found if "exact figures" in r.metric)
    assert judged == {"exact figures, largest error": 70}
    assert sum("error" in r.metric and r.unit == "%" for r in found) == 12  # four lines by DDX, eight aggregated


def test_a_table_is_known_by_its_first_line_whatever_its_name_and_folder(tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    params = {"arrival": 0.5, "model": "M/M/1", "service": 1}
    path = written(tmp_path, ("mine", params, "W", 2, "exact"), name="deep/some.csv")
    text = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + text)  # as spreadsheets write it
    (tmp_path / "deep" / "other.csv").write_text("time,value\n0,1\n")
    out = tmp_path / "out.json"
    assert (
        validate.main(["--suite", "production_tables", "--data", str(tmp_path), "--json", str(out), "--verbose"]) == 0
    )
    assert "other.csv: no case for it" in capsys.readouterr().err
    (record,) = json.loads(out.read_text())
    assert (record["suite"], record["case"], record["passed"]) == ("production_tables", "some: mine", True)


def test_another_model_misses(tmp_path, monkeypatch):
    """Rows of blocking before service, of failures all the time and of a crew that shares its time."""
    line = {"blocking": "BAS", "buffers": [3, 3], "failure_rate": [0.1] * 3, "mu": [1] * 3, "repair_rate": [0.3] * 3}
    rows = [
        ("shared", line | {"repair_workers": 1}, "throughput", 0.4829, "exact"),
        (
            "two_gets",
            {"buffers": [3, 3], "mu": {"assembler": 1, "feed1": 1, "feed2": 1}},
            "throughput",
            0.7771,
            "exact",
        ),
    ]
    results = [r for case in read_table(written(tmp_path, *rows)) for r in analytic(case)]
    assert [r.passed for r in results] == [False, False]


def test_an_approximation_that_is_half_a_percent_off_misses(monkeypatch):
    (case,) = [c for c in read_table(SHIPPED / "transfer_geometric.csv") if c.name == "geo_8"]
    right = production_tables.decomposition.ddx_transfer_line

    def off(p, r, buffers):
        return right([1.1 * p[0], *p[1:]], r, buffers)

    monkeypatch.setattr(production_tables.decomposition, "ddx_transfer_line", off)
    missed = {r.metric for r in analytic(case) if not r.passed}
    assert "5 exact figures, largest error" not in missed
    assert any("approximate figures" in metric for metric in missed)


MM1 = {"arrival": 0.5, "model": "M/M/1", "service": 1}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("c", MM1, "W", "two", "exact"), "line 2: a number"),
        (("c", MM1, "W", "nan", "exact"), "line 2: a finite value"),
        (("c", [1], "W", 2, "exact"), "line 2: a finite value and params by name"),
        (("c", MM1, "W", 2, "guess"), "kind 'guess'"),
        (("c", MM1, "tardiness", 2, "exact"), "no formula for tardiness"),
        (("c", {"arrival": 0.5, "model": "M/M/1"}, "W", 2, "exact"), "params that do not fit: KeyError 'service'"),
        (("c", MM1 | {"service": 0.4}, "W", 2, "exact"), "must be below 1"),
        (("c", MM1 | {"model": "D/D/1"}, "W", 2, "exact"), "model 'D/D/1' is not known"),
        (("c", {"wheels": 4}, "W", 2, "exact"), "of no known kind"),
        (("c", {"mu": [1, 1], "buffers": [1], "blocking": "BBS"}, "throughput", 1, "exact"), "BBS"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, row, words):
    path = written(tmp_path, row)
    with pytest.raises(UnusableFile) as refusal:
        list(production_tables.tables(path))
    assert words in str(refusal.value)
    assert "any_name.csv" in str(refusal.value)


def test_a_case_that_cannot_be_judged_does_not_hide_the_others(tmp_path):
    path = written(
        tmp_path, ("a", {"wheels": 4}, "W", 2, "exact"), ("b", MM1, "W", 2, "exact"), ("c", {}, "W", 2, "exact")
    )
    found = []
    with pytest.raises(UnusableFile, match=r"case a: .*; case c: "):
        found.extend(production_tables.tables(path))
    assert [r.case for r in found] == ["any_name: b"]


def test_a_case_whose_params_change_is_refused(tmp_path):
    path = written(tmp_path, ("c", MM1, "W", 2, "exact"), ("c", MM1 | {"service": 2}, "L", 1, "exact"))
    with pytest.raises(UnusableFile, match="line 3: case c has other params"):
        read_table(path)


@pytest.mark.parametrize(
    ("law", "more", "wait"),
    [("exponential", {}, 4.0), ("erlang2", {}, None), ("hyperexp", {"interarrival_scv": 4.0}, None)],
)
def test_other_laws_between_arrivals_are_known_too(tmp_path, law, more, wait):
    params = {"arrival": 0.8, "interarrival": law, "model": "GI/M/1", "service": 1, **more}
    (case,) = read_table(written(tmp_path, ("c", params, "Wq", 4.0, "exact")))
    found = production_tables.figures(case)
    assert found["Wq"] <= found["Wq_kingman"] * (1 + 1e-12)
    if wait is not None:
        assert found["Wq"] == pytest.approx(wait, rel=1e-12)
