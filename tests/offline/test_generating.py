"""`uem generate` writes a valley that loads, and no file over another one."""

import json

import pytest

from uem.offline.generating import main
from uem.offline.run_inputs import read
from uem.territories.load import load


def test_what_is_written_loads_and_its_figures_are_told(tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--seed", "3", "--day", "02-03", "--name", "mine", "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    site = load(tmp_path)
    assert site.name == "mine"
    assert told["tags"] == len(site.tags)
    assert told["customers"] == 120
    assert told["m of lines"] == pytest.approx(40_000, rel=0.02)
    assert "unit/incinerator/supply_temp_c" in read(tmp_path / "day-02-03.csv")


def test_files_are_not_overwritten_unless_asked_for(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["--out", str(tmp_path), "--seed", "3"]) == 1
    assert "exists; name another file or say --force" in capsys.readouterr().err
    assert main(["--out", str(tmp_path), "--seed", "3", "--force"]) == 0
    assert "120 customers" in capsys.readouterr().out


def test_a_day_that_does_not_exist_is_told_and_nothing_is_written(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "valley"), "--day", "02-30"]) == 1
    assert "is like 01-18" in capsys.readouterr().err
    assert not (tmp_path / "valley").exists()
