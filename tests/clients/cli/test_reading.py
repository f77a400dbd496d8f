"""The commands that read from a server, against a real grpc server."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from uem.clients.cli import common, exporting
from uem.clients.cli.main import main


def run_json(capsys, *arguments):
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


def test_state_holds_measured_against_twin_in_display_units(remote, capsys):
    _, address = remote
    assert main(["state", "branch", "--server", address]) == 0
    shown = capsys.readouterr().out
    heading = "branch (Buried branch), plant time 2009-01-23 00:01:00Z, step 1, totals since 2009-01-23 00:00:00Z"
    assert heading in shown
    (document,) = run_json(capsys, "state", "branch", "--json", "--server", address)["assets"]
    assert (document["ledger_since"], document["run_id"]) == ("2009-01-23T00:00:00Z", "first")
    (pair,) = [line for line in shown.splitlines() if line.startswith("node/2/temperature")]
    assert pair.split() == ["node/2/temperature", "88.5", "89.0", "-0.5", "0.5", "°C", "uncertain", "60", "s"]
    assert re.search(r"^heat_lost +- +1\.00 +- +- +kWh +good", shown, re.MULTILINE)
    assert "temperature/twin" not in shown


def test_state_marks_a_deviation_of_more_than_three_sigma_without_colour(remote, capsys):
    _, address = remote
    assert main(["state", "washer", "--server", address]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^power +10\.24 +0\.24 +! \+10\.00 +0\.02 +kW +bad", shown, re.MULTILINE)
    assert re.search(r"^state +operational", shown, re.MULTILINE)


def test_state_of_all_as_json_has_si_and_display_values(remote, capsys):
    _, address = remote
    document = run_json(capsys, "state", "--json", "--server", address)
    branch, washer = document["assets"]
    assert (branch["asset"], branch["kind"], branch["plant_time"]) == ("branch", "heat network", "2009-01-23T00:01:00Z")
    signal = branch["signals"][1]
    assert signal["value"] == 362.15
    assert signal["display_value"] == pytest.approx(89.0)
    assert signal["compared_with"] == "node/2/temperature"
    assert branch["signals"][0]["standard_deviation"] is None
    assert washer["signals"][0]["state_name"] == "operational"
    assert washer["signals"][2]["quality_name"] == "bad"


def test_an_unknown_asset_is_one_clear_line(remote, capsys):
    _, address = remote
    assert main(["state", "boiler", "--server", address]) == 1
    assert capsys.readouterr().err == "uem state: error: unknown asset 'boiler'; known: branch, washer\n"


def test_forecast_shows_times_band_and_course(remote, capsys):
    _, address = remote
    assert main(["forecast", "branch", "--horizon", "1h", "--server", address]) == 0
    shown = capsys.readouterr().out
    assert "branch: issued 2009-01-23 00:00:00Z. Inputs held." in shown
    assert "▁▃▆█  (band from 4 past forecasts, uncertain)" in shown
    assert shown.splitlines()[-1].split() == ["2009-01-23", "01:00:00Z", "60", "min", "90.0", "89.0", "92.0"]


def test_forecast_of_many_times_says_that_it_shows_some(remote, capsys):
    _, address = remote
    assert main(["forecast", "branch", "--horizon", "6h", "--server", address]) == 0
    assert "12 of 24 times; --json has all" in capsys.readouterr().out
    document = run_json(capsys, "forecast", "branch", "--horizon", "6h", "--json", "--server", address)
    assert len(document["series"][0]["value"]) == 24
    assert document["series"][0]["quantile"][0] == [359.15, 362.15]


def test_forecast_as_of_a_time_is_the_one_that_was_known_then(remote, capsys):
    _, address = remote
    arguments = ["forecast", "branch", "--server", address, "--as-of"]
    assert main([*arguments, "2009-01-23T01:59:59Z"]) == 0
    assert "branch: issued 2009-01-23 01:00:00Z. Inputs held." in capsys.readouterr().out
    assert main([*arguments, "2009-01-22"]) == 1
    assert "no forecast of branch was kept by 2009-01-22 00:00:00Z" in capsys.readouterr().err


def test_kept_forecasts_are_listed_by_issue_time(remote, capsys):
    _, address = remote
    assert main(["forecast", "branch", "--issued", "--server", address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 forecasts of branch"
    assert lines[2].startswith("2009-01-23 00:00:00Z")
    assert lines[-1].split()[-3:] == ["88.0", "87.0", "90.0"]
    document = run_json(
        capsys, "forecast", "branch", "--issued", "--from", "2009-01-23T00:30", "--json", "--server", address
    )
    assert [found["issue_time"] for found in document["forecasts"]] == ["2009-01-23T01:00:00Z", "2009-01-23T02:00:00Z"]


def test_kept_forecasts_are_written_by_issue_time_valid_time_and_quantile(remote, capsys, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    _, address = remote
    arguments = ["forecast", "branch", "--issued", "--server", address]
    assert main([*arguments, "--csv", str(tmp_path / "f.csv")]) == 0
    assert "18 rows of 3 forecasts" in capsys.readouterr().err
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[0] == "asset,signal,issue_time,valid_time,quantile,value,unit"
    assert lines[1] == "branch,node/2/temperature,2009-01-23T00:00:00Z,2009-01-23T00:15:00Z,,87,Cel"
    assert lines[3] == "branch,node/2/temperature,2009-01-23T00:00:00Z,2009-01-23T00:15:00Z,0.95,89,Cel"
    assert main([*arguments, "--parquet", str(tmp_path / "f.parquet")]) == 0
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["asset", "signal", "issue_time", "valid_time", "quantile", "value", "unit"]
    assert table.column("quantile").to_pylist()[:3] == [None, 0.05, 0.95]
    assert table.column("value").to_pylist()[0] == 360.15
    assert main([*arguments, "--csv", "/no/such/folder.csv"]) == 1
    assert main([*arguments, "--parquet", "/no/such/folder.parquet"]) == 1


def test_a_watch_of_forecasts_shows_one_after_the_other(remote, capsys):
    _, address = remote
    watch = ["forecast", "branch", "--watch", "--server", address]
    assert main([*watch, "--after", "2009-01-23T00:00:00Z", "--count", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("branch: issued")]
    assert lines == [f"branch: issued 2009-01-23 0{hour}:00:00Z. Inputs held." for hour in (1, 2)]
    assert main([*watch, "--after", "2009-01-23T00:00:00Z", "--count", "2", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["issue_time"] for one in found] == ["2009-01-23T01:00:00Z", "2009-01-23T02:00:00Z"]


def test_a_watch_of_forecasts_begins_with_the_newest_and_ends_after_its_time(remote, capsys):
    _, address = remote
    assert main(["forecast", "branch", "--watch", "--json", "--for", "2s", "--server", address]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["issue_time"] == "2009-01-23T02:00:00Z"
    assert main(["forecast", "boiler", "--watch", "--server", address]) == 1
    assert "known: branch, washer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--as-of 2009-01-01 --issued", "exclude each other"),
        ("--watch --issued", "exclude each other"),
        ("--after 2009-01-01", "--after, --for and --count go with --watch"),
        ("--watch --csv x.csv", "do not go with --watch"),
        ("--from 2009-01-01", "--from and --to go with --issued"),
        ("--json --csv x.csv", "--json, --csv and --parquet exclude each other"),
    ],
)
def test_questions_for_forecasts_that_make_no_sense_are_wrong_usage(arguments, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["forecast", "branch", *arguments.split()])
    assert told in capsys.readouterr().err


def test_history_without_a_tag_lists_the_tags(remote, capsys):
    _, address = remote
    assert main(["history", "--server", address]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "2 tags"
    assert shown[2].split()[:2] == ["branch/1/temperature", "°C"]
    assert shown[3].split()[2:] == ["-", "-", "0"]
    document = run_json(capsys, "history", "--json", "--server", address)
    assert document["tags"][0]["last_time"] == "2009-01-23T02:15:00Z"
    assert document["tags"][1]["first_time"] is None


def test_history_reads_a_range(remote, capsys):
    _, address = remote
    tag = "branch/1/temperature"
    read = run_json(
        capsys,
        "history",
        tag,
        "--from",
        "2009-01-23T00:15:00Z",
        "--to",
        "2009-01-23T00:45",
        "--json",
        "--server",
        address,
    )
    assert len(read["tags"][0]["value"]) == 2
    newest = run_json(capsys, "history", tag, "--last", "30min", "--json", "--server", address)
    assert len(newest["tags"][0]["value"]) == 3
    assert main(["history", tag, "--limit", "1", "--server", address]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["2009-01-23T02:15:00Z", "90", "good"]


def test_history_in_few_points_says_how_they_were_chosen_and_where_the_line_breaks(remote, capsys, tmp_path):
    _, address = remote
    arguments = ["history", "branch/1/temperature", "--points", "3", "--server", address]
    assert main([*arguments, "--method", "lttb"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("2 of 999 samples, largest triangle of every 60 s")
    assert lines[-1].split() == ["2009-01-23T00:00:01Z", "91", "good", "line", "begins", "anew"]
    document = run_json(capsys, *arguments, "--json")
    assert (document["method"], document["resolution_ns"], document["line_start"]) == ("min-max", 60 * 10**9, [1])
    assert document["value"] == [363.15, 360.15]
    assert main([*arguments, "--csv", str(tmp_path / "few.csv")]) == 0
    assert "2 of 999 samples, min-max of every 60 s" in capsys.readouterr().err
    assert len((tmp_path / "few.csv").read_text().splitlines()) == 3


def test_history_lists_gaps(remote, capsys):
    _, address = remote
    assert main(["history", "--gaps", "--server", address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 gaps"
    row = "branch/4/temperature spool full 2009-01-23T00:00:00Z 2009-01-23T00:00:04Z 4.000"
    assert lines[3].split() == row.split()
    read = run_json(capsys, "history", "branch/1/temperature", "--gaps", "--json", "--server", address)
    (gap,) = read["gaps"]
    assert (gap["reason"], gap["end_time_ns"] - gap["start_time_ns"]) == ("link_down", 10**9)


def test_alarms_are_listed_with_their_state(remote, capsys):
    _, address = remote
    assert main(["alarms", "--history", "--server", address]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 alarms"
    assert lines[3].split() == ["2009-01-23T00:00:00Z", "hall", "medium", "returned", "pump", "alarm", "4", "hot"]
    assert "state 9 ~" in lines[4]
    read = run_json(capsys, "alarms", "hall", "--json", "--server", address)
    assert [(alarm["condition"], alarm["severity"]) for alarm in read["alarms"]] == [("c1", 100), ("c4", 400)]


def test_history_writes_csv_in_display_units(remote, capsys, tmp_path):
    _, address = remote
    file = tmp_path / "points.csv"
    assert main(["history", "branch/1/temperature", "--csv", str(file), "--server", address]) == 0
    with file.open() as written:
        rows = list(csv.DictReader(written))
    assert len(rows) == 10
    assert rows[0] == {
        "tag": "branch/1/temperature",
        "time": "2009-01-23T00:00:00Z",
        "value": "90",
        "unit": "Cel",
        "quality": "good",
    }
    assert main(["history", "branch/1/temperature", "--csv", "/no/such/folder.csv", "--server", address]) == 1
    assert "cannot write /no/such/folder.csv: No such file or directory" in capsys.readouterr().err


def test_history_writes_parquet_in_si(remote, capsys, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    _, address = remote
    file = tmp_path / "points.parquet"
    tags = ("branch/1/temperature", "branch/2/temperature")
    assert main(["history", *tags, "--parquet", str(file), "--server", address]) == 0
    table = parquet.read_table(file)
    assert table.column_names == ["tag", "time", "value", "unit", "quality"]
    rows = table.to_pydict()
    assert (rows["tag"][0], rows["tag"][-1], len(rows["tag"])) == (*tags, 20)
    assert (rows["value"][0], rows["unit"][0], rows["quality"][0]) == (363.15, "K", 0)
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert main(["history", tags[0], "--parquet", "/no/such/folder.parquet", "--server", address]) == 1
    assert "cannot write /no/such/folder.parquet" in capsys.readouterr().err


def test_history_of_all_tags_goes_into_one_file(remote, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TAGS_AT_ONCE", 1)
    _, address = remote
    file = tmp_path / "all.csv"
    assert main(["history", "--all", "--to", "2009-01-23T01:00", "--csv", str(file), "--server", address]) == 0
    assert "8 rows in" in capsys.readouterr().err
    tags = [line.split(",")[0] for line in file.read_text().splitlines()[1:]]
    assert tags == ["branch/1/temperature"] * 4 + ["branch/2/temperature"] * 4


def test_history_without_pyarrow_says_what_to_install(remote, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    _, address = remote
    arguments = ["history", "branch/1/temperature", "--parquet", str(tmp_path / "x"), "--server", address]
    assert main(arguments) == 1
    assert "pip install 'uem[parquet]'" in capsys.readouterr().err


def test_history_of_an_unknown_tag_is_one_clear_line(remote, capsys):
    _, address = remote
    assert main(["history", "boiler", "--server", address]) == 1
    assert "unknown tag 'boiler'; `uem history` lists the 2 tags" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("x --last 1h --from 2009-01-01", "--last and --from exclude each other"),
        ("x --from 2009-01-02 --to 2009-01-01", "--from must be before --to"),
        ("x --json --csv x.csv", "--json, --csv and --parquet exclude each other"),
        ("--limit 3", "--from, --to, --last, --limit, --csv and --parquet need a TAG"),
        ("--all", "--all goes with --csv or --parquet"),
        ("x --all --csv y", "--all goes with --csv or --parquet, and without a TAG"),
        ("x --method lttb", "--method goes with --points"),
        ("x y --points 9", "--points goes with one TAG"),
        ("x --points 9 --limit 3", "--points goes with one TAG"),
        ("--server nonsense", "'nonsense' is not an address such as 127.0.0.1:7650"),
        ("--server=", "'' is not an address such as 127.0.0.1:7650"),
        ("--server :7650", "':7650' is not an address"),
    ],
)
def test_questions_that_make_no_sense_are_wrong_usage(arguments, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["history", *arguments.split()])
    assert told in capsys.readouterr().err


def test_watch_writes_json_lines(remote, capsys):
    _, address = remote
    assert main(["watch", "branch", "--json", "--count", "3", "--server", address]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["tick"] for line in lines] == [1, 2, 3]
    assert lines[1]["missed"] == 2


def test_watch_prints_a_block_per_state_when_piped(remote, capsys):
    _, address = remote
    assert main(["watch", "branch", "--count", "1", "--server", address]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "branch (Buried branch), plant time 2009-01-23 00:01:00Z, step 1",
        "  node/2/temperature: measured 88.5 twin 89.0 °C, deviation -0.5 sigma 0.5, uncertain",
        "  node/1/temperature 90.0 °C, node/2/flow 0.050 kg/s, loss 1.50 kW, heat_lost 1.00 kWh",
    ]


def test_watch_ends_after_its_time(remote, capsys):
    _, address = remote
    began = time.monotonic()
    assert main(["watch", "--for", "0.5s", "--server", address]) == 0
    assert time.monotonic() - began < 30
    assert "washer" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_with_0_on_a_signal(remote, number):
    _, address = remote
    command = [sys.executable, "-m", "uem.clients.cli", "watch", "--json", "--server", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def in_a_terminal(*arguments, until=None, **environment):
    """What a command writes into a terminal of 80 x 24, and its exit code; interrupted once `until` is shown."""
    leader, follower = pty.openpty()
    variables = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"} | environment
    command = [sys.executable, "-m", "uem.clients.cli", *arguments]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=variables) as process:
        os.close(follower)
        written = b""
        while True:
            try:
                piece = os.read(leader, 65_536)
            except OSError:
                break  # the terminal is closed
            if not piece:
                break
            written += piece
            if until is not None and until in written.decode("utf-8", "ignore"):
                process.send_signal(signal.SIGINT)
                until = None
    os.close(leader)
    return written.decode(), process.returncode


def test_watch_draws_a_live_view_in_a_terminal(remote):
    _, address = remote
    line = "forecast node/2/temperature in 30 min ▁█ 88.0 °C (P5 87.0, P95 90.0, uncertain)"
    shown, code = in_a_terminal("watch", "--server", address, until=line)
    assert code == 0
    assert "node/2/temperature" in shown.replace(line, "")
    assert "Inputs held" not in shown


def test_no_color_is_respected(remote):
    _, address = remote
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    coloured, _ = in_a_terminal("watch", "--server", address, until="node/2/temperature")
    plain, code = in_a_terminal("watch", "--server", address, until="node/2/temperature", NO_COLOR="1")
    assert colour.search(coloured)
    assert not colour.search(plain)
    assert code == 0


def test_tables_are_drawn_in_a_terminal(remote):
    _, address = remote
    shown, code = in_a_terminal("state", "branch", "--server", address)
    assert code == 0
    assert "┃" in shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15min", 900), ("15m", 900), ("6h", 21_600), ("1h30m", 5400), ("2d", 172_800), ("20", 20)],
)
def test_reads_time_spans(text, seconds):
    assert common.span_s(text) == seconds


@pytest.mark.parametrize("text", ["", "6 hours", "-1h", "0", "h", "1h30", "nan", "inf"])
def test_refuses_what_is_not_a_time_span(text, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["forecast", "branch", f"--horizon={text}"])
    assert "is not a positive time span such as 90s" in capsys.readouterr().err


def test_times_are_utc_unless_they_say_otherwise(capsys):
    assert common.time_ns("2009-01-23T00:00:00") == 1_232_668_800 * 10**9
    assert common.time_ns("2009-01-23T01:00:00+01:00") == 1_232_668_800 * 10**9
    assert common.time_ns("1970-01-01T00:00:00+02:00") == 0
    assert common.time_ns("2261-12-31T23:59:59-12:00") < 2**63
    with pytest.raises(SystemExit, match="2"):
        main(["history", "x", "--from", "yesterday"])
    assert "'yesterday' is not a time such as" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "0001-01-01", "2262-01-01"])
def test_a_time_that_no_nanoseconds_can_hold_is_wrong_usage(text, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["history", "branch/1/temperature", "--from", text])
    assert f"{text!r} is not a time of the years 1970 to 2261" in capsys.readouterr().err


def test_counts_are_whole_and_positive(capsys):
    for text in ("0", "-1", "1.5"):
        with pytest.raises(SystemExit, match="2"):
            main(["watch", f"--count={text}"])
        assert "is not a whole number from 1 on" in capsys.readouterr().err


def test_status_tells_what_waits_what_was_lost_and_who_is_silent(remote, capsys, monkeypatch):
    fake, address = remote
    monkeypatch.setattr(fake, "alarm_states", (1, 3, 9))
    assert main(["status", "--server", address]) == 0
    shown = capsys.readouterr().out
    assert "server of quarter, version 1.2, up 10 min: 1 problems; history: 4000 samples, 1.5 MB" in shown
    assert "! store: no space left" in shown
    assert re.search(r"^washer +- +0 +0 +0 +0 +waits for washer/power, washer/state", shown, re.MULTILINE)
    assert "! no report for 30 s: gateway 01234567: 1000 samples wait (22 kB, the oldest for 2 h)" in shown
    assert "12345 delivered, 250 per second; rejected: 2 bad time; 1 batches set aside" in shown
    assert re.search(r"^hall +yes +2 +2 s +1 +500 +7 +5 +6 +4$", shown, re.MULTILINE)
    assert re.search(r"^yard +NO +0 +- +0 ", shown, re.MULTILINE)
    looks = r"^hall +jumped \(-3600.0 s, 2 jumps\) +drifting \(\+0.5 s, \+500 ppm\) +3 not finite, 1 out of range$"
    assert re.search(looks, shown, re.MULTILINE)
    assert re.search(r"^hall/flow +no node Hall/Flow$", shown, re.MULTILINE)
    assert re.search(r"^hall +hall/power +the plant says kW, the tag table W$", shown, re.MULTILINE)
    assert "1 active alarms" in shown  # the other is normal
    assert re.search(r"^\w+ +hall +pump +hot$", shown, re.MULTILINE)


def test_status_as_json_has_everything_and_null_for_what_is_not_known(remote, capsys):
    _, address = remote
    document = run_json(capsys, "status", "--json", "--server", address)
    (gateway,) = document["gateways"]
    assert (gateway["backlog_rows"], gateway["rejected"]) == (900, {"bad_time": 2})
    assert gateway["plants"][1]["newest_sample_age_s"] is None
    assert document["twins"][0]["late"] == 3


def test_status_is_shown_again_until_it_is_stopped(remote):
    _, address = remote
    command = [sys.executable, "-m", "uem.clients.cli", "status", "--watch", "--json", "--server", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert [line["territory"] for line in lines] == ["quarter", "quarter"]
