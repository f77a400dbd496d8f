"""The main job as a user starts it: real plants behind OPC UA, gateway, server, and clients in other processes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from csv import DictReader
from datetime import UTC, datetime
from pathlib import Path

import pytest

import uem.examples as uem_examples

pytestmark = pytest.mark.slow
EPOCH_NS = round(datetime(2009, 1, 23, tzinfo=UTC).timestamp()) * 10**9
UEM = [sys.executable, "-m", "uem.clients.cli"]


@contextmanager
def running_up(state, *arguments, territory="pongau"):
    """(process, address) of `uem up` once it shows a state; killed if the test leaves it running."""
    command = [*UEM, "up", territory, "--port", "0", "--metrics-port", "0", "--state", str(state), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, bufsize=1) as process:
        try:
            address, lines = "", []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("gRPC"):
                    address = line.split()[1]
                if ("measured" in line and "twin" in line) or ", plant time" in line:  # pairs, or a summary
                    break
            assert address, "".join(lines) + (process.stderr.read() if process.poll() is not None else "")
            yield process, address
        finally:
            if process.poll() is None:
                process.kill()


def uem(*arguments):
    done = subprocess.run([*UEM, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def processes_of(state):
    """Command lines of running processes that name the state folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode("utf-8", "replace").replace("\0", " ")
        except OSError:
            continue  # it ended in the meantime
        if str(state) in line and f"/{os.getpid()}/" not in str(path):
            found.append(line)
    return found


def compared(signals):
    return {s["name"]: s for s in signals if s["compared_with"] and s["source"] == "estimated"}


def test_up_shows_a_twin_that_other_processes_can_ask(tmp_path):
    with running_up(tmp_path) as (process, address):
        branch, washer = json.loads(uem("state", "--json", "--server", address))["assets"]
        assert (branch["asset"], washer["asset"]) == ("branch", "washer")
        measured = {s["name"]: s["value"] for s in branch["signals"]}
        pairs = compared(branch["signals"])
        assert set(pairs) == {f"node/{n}/temperature/twin" for n in (2, 3, 4)}
        for pair in pairs.values():
            assert abs(pair["value"] - measured[pair["compared_with"]]) < 15.0
        assert washer["signals"][0]["state_name"]
        assert any(s["name"] == "energy" and s["source"] == "ledger" for s in washer["signals"])

        states = [json.loads(s) for s in uem("watch", "--json", "--count", "3", "--server", address).splitlines()]
        assert len(states) == 3

        forecast = json.loads(uem("forecast", "branch", "--horizon", "2h", "--json", "--server", address))
        for series in forecast["series"]:
            assert len(series["value"]) == 8
            for value, (low, *_, high) in zip(series["value"], series["quantile"], strict=True):
                assert low <= value <= high

        assert "branch/1/temperature" in uem("history", "--server", address)
        read = json.loads(uem("history", "branch/1/temperature", "--json", "--server", address))["tags"][0]
        with (Path(uem_examples.__file__).parent / "pongau" / "ait_151218.csv").open(newline="") as file:
            recording = {EPOCH_NS + round(float(row["time_s"])) * 10**9: float(row["T1_K"]) for row in DictReader(file)}
        stored = dict(zip(read["source_time_ns"], read["value"], strict=True))
        assert stored
        assert stored == {time_ns: recording[time_ns] for time_ns in stored}

        process.terminate()
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "drained in" in rest
    assert not processes_of(tmp_path)


def test_ctrl_c_drains_and_leaves_no_process(tmp_path):
    with running_up(tmp_path) as (process, _):
        assert len(processes_of(tmp_path)) == 4
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "drained in" in rest
    assert not processes_of(tmp_path)


def test_nothing_is_left_when_up_is_killed(tmp_path):
    with running_up(tmp_path) as (process, _):
        process.kill()
        process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while processes_of(tmp_path):
        assert time.monotonic() < deadline, processes_of(tmp_path)
        time.sleep(0.2)


def test_a_port_in_use_is_told_with_its_remedy(tmp_path):
    with running_up(tmp_path / "one") as (_, address):
        port = address.rpartition(":")[2]
        command = [*UEM, "up", "pongau", "--port", port, "--metrics-port", "-1", "--state", str(tmp_path / "two")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr


def test_a_wrong_territory_is_told_with_every_problem(tmp_path):
    (tmp_path / "territory.toml").write_text('name = "x"\ntags = "none.csv"\nspeed = 3\n')
    command = [*UEM, "up", str(tmp_path / "territory.toml"), "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "2 problems" in done.stderr
    assert "speed: unknown key" in done.stderr
    assert "none.csv" in done.stderr
