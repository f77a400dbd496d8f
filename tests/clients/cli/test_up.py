"""`uem up` around fake processes, and the processes it supervises."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from uem.clients.cli import folders, up
from uem.clients.cli.children import Child, uem_child
from uem.clients.errors import ClientError

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def command(folder, *arguments):
    return [sys.executable, str(HERE / "run_up.py"), str(folder), *arguments]


def environment(folder):
    return os.environ | {"UEM_STATE": str(folder / "state")}


def run_up(folder, *arguments):
    return subprocess.run(
        command(folder, *arguments), capture_output=True, text=True, timeout=120, env=environment(folder)
    )


def started(folder, *options):
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(folder, "pongau", *options), stdout=pipe, stderr=pipe, text=True, env=environment(folder)
    )


def until_shown(process, text):
    """What a process has written up to the line with a text."""
    shown = ""
    for line in process.stdout:
        shown += line
        if text in line:
            break
    return shown


def notes(folder):
    return (folder / "notes").read_text().splitlines()


def left_running(folder):
    """Command lines of processes that were started with `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode().replace("\0", " ")
        except OSError:
            continue  # it ended in the meantime
        if "fake_child.py" in line and str(folder) in line:
            found.append(line)
    return found


def test_starts_all_shows_them_and_drains_in_order(tmp_path):
    with started(tmp_path) as process:
        shown = until_shown(process, "measured 88.5")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    shown += rest
    assert (process.returncode, errors) == (0, "")
    assert "starting serve     (twins, forecasts and history) ... ready in" in shown
    assert "http://127.0.0.1:1/metrics (serve)" in shown
    assert "plant    branch: opc.tcp://127.0.0.1:4/branch" in shown
    assert "try in a second terminal: uem watch --server 127.0.0.1:" in shown
    assert "node/2/temperature: measured 88.5 twin 89.0 °C" in shown
    assert "drained in" in shown
    written = notes(tmp_path)
    started_first = ["simulator", "serve", "gateway", "console"]
    assert [note.split()[0] for note in written] == started_first + started_first[::-1]
    assert "page     http://127.0.0.1:6/" in shown
    assert written[3].endswith("--port 7654")
    assert "--endpoint branch=opc.tcp://127.0.0.1:4/branch" in written[2]
    assert "--port 7650 --metrics-port 7651" in written[1]
    assert "--metrics-port 7653" in written[0]
    (run,) = (tmp_path / "state" / "pongau" / "runs").iterdir()
    assert f"--state {run} --pki {tmp_path}/state/pongau/pki" in written[0]
    assert f"--state {run} --port" in written[1]
    assert "some library says hello" in (run / "logs" / "serve.log").read_text()
    assert "and this is logged" in (run / "logs" / "serve.log").read_text()
    assert not left_running(tmp_path)


def test_control_systems_get_a_server_when_it_is_asked_for(tmp_path):
    with started(tmp_path, "--opcua") as process:
        shown = until_shown(process, "measured 88.5")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    pki = f"{tmp_path}/state/pongau/pki"
    assert f"OPC UA   opc.tcp://127.0.0.1:5/twins  lets in the certificates in {pki}/twin/trusted" in shown
    written = notes(tmp_path)
    (run,) = (tmp_path / "state" / "pongau" / "runs").iterdir()
    assert written[3].startswith(f"opcua started --state {run}/opcua --pki {pki} --server 127.0.0.1:")
    assert written[3].endswith("--port 4855 --metrics-port 7655")
    assert written[5:7] == ["console ended", "opcua ended"]  # before what they ask


@pytest.mark.parametrize(
    ("options", "port"), [(["--port", "0"], "0"), (["--port", "0", "--console-port", "7"], "7"), ([], "7654")]
)
def test_the_page_takes_a_free_port_where_the_server_does(tmp_path, options, port):
    with started(tmp_path, *options) as process:
        until_shown(process, "measured 88.5")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert notes(tmp_path)[3].endswith(f"--port {port}")


def test_there_is_no_page_where_nobody_wants_it(tmp_path):
    with started(tmp_path, "--console-port", "-1") as process:
        shown = until_shown(process, "measured 88.5")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert "page " not in shown
    assert not [note for note in notes(tmp_path) if note.startswith("console")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_and_ends_with_0(tmp_path, number):
    with started(tmp_path) as process:
        until_shown(process, "measured 88.5")
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "drained in" in rest
    assert notes(tmp_path)[-3:] == ["gateway ended", "serve ended", "simulator ended"]


def test_a_signal_during_the_start_ends_what_was_started(tmp_path):
    (tmp_path / "serve.json").write_text('{"silent": true}')
    with started(tmp_path) as process:
        while len((tmp_path / "notes").read_text().splitlines() if (tmp_path / "notes").exists() else []) < 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert "simulator ended" in notes(tmp_path)
    assert not left_running(tmp_path)


PARENT = """
import asyncio, sys
from pathlib import Path
from uem.clients.cli.children import Child

CHILD = "import os, time; from uem.clients.cli.child import end_with; end_with(os.getppid()); print(os.getpid(), flush=True); time.sleep(50)"

async def main():
    child = await Child.start("x", [], Path(sys.argv[1]), lambda name: [sys.executable, "-c", CHILD])
    print((await child.process.stdout.readline()).decode(), flush=True)
    await asyncio.sleep(50)

asyncio.run(main())
"""  # noqa: E501


def test_processes_end_when_up_is_killed(tmp_path):
    parent = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(parent, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 60
    while runs(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_is_started_as_a_child_of_this_one():
    assert uem_child("serve")[2:] == ["uem.clients.cli.child", str(os.getpid()), "serve"]


def test_a_child_whose_parent_is_gone_does_not_start():
    done = subprocess.run(
        [sys.executable, "-m", "uem.clients.cli.child", "1", "state"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_the_error_of_a_process_is_shown(tmp_path):
    (tmp_path / "serve.json").write_text('{"error": "port 7650 is in use: choose another one with --port"}')
    done = run_up(tmp_path, "pongau")
    assert done.returncode == 1
    assert "uem up: error: uem serve ended with exit code 1" in done.stderr
    assert "uem serve: error: port 7650 is in use: choose another one with --port" in done.stderr
    assert "a line of log" not in done.stderr
    assert notes(tmp_path)[-1] == "simulator ended"


def test_a_process_that_dies_ends_all_with_its_last_words(tmp_path):
    (tmp_path / "gateway.json").write_text('{"dies_after_s": 1}')
    done = run_up(tmp_path, "pongau")
    assert done.returncode == 1
    assert "uem gateway ended with exit code 3" in done.stderr
    assert "the disk is on fire" in done.stderr
    assert notes(tmp_path)[-2:] == ["serve ended", "simulator ended"]


@pytest.mark.parametrize("after_s", [0.0, 1.0])
def test_a_dying_server_is_named_as_the_cause(tmp_path, after_s):
    """Also when it dies before its assets were asked for, as it may on a slow machine."""
    (tmp_path / "serve.json").write_text(json.dumps({"dies_after_s": after_s}))
    done = run_up(tmp_path, "pongau")
    assert done.returncode == 1
    assert "uem serve ended with exit code 3" in done.stderr


def test_a_process_that_does_not_drain_cleanly_is_named(tmp_path):
    (tmp_path / "gateway.json").write_text('{"code": 4}')
    done = run_up(tmp_path, "pongau", "--for", "0.5s")
    assert "uem gateway did not drain cleanly: ended with exit code 4" in done.stderr
    assert "uem up: error: not drained: gateway" in done.stderr
    assert done.returncode == 1


def test_a_process_that_had_to_be_killed_is_not_called_drained(tmp_path):
    (tmp_path / "gateway.json").write_text('{"deaf": true}')
    done = run_up(tmp_path, "pongau", "--for", "0.5s")
    assert done.returncode == 1
    assert "uem gateway did not drain cleanly: did not end in time and was killed" in done.stderr
    assert "drained in" not in done.stdout
    assert not left_running(tmp_path)


def test_errors_of_processes_and_bad_health_stand_in_the_view(tmp_path):
    lost = "2026-01-01 12:00:00,123 ERROR uem.gateway: 12 rows lost"
    (tmp_path / "gateway.json").write_text(json.dumps({"logs": lost}))
    full = "2026-01-01T12:00:00.123+00:00 WARNING uem.services.health: health check history: no space"
    (tmp_path / "serve.json").write_text(json.dumps({"logs": full, "unwell": True}))
    with started(tmp_path) as process:
        shown = until_shown(process, "! serve: not well (gRPC health)")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert f"! gateway: {lost}" in (shown + rest).splitlines()
    assert f"! serve: not well (gRPC health). {full}" in (shown + rest).splitlines()


def test_a_log_that_cannot_be_written_does_not_hide_the_reason(tmp_path):
    logs = tmp_path / "mine" / "logs"
    logs.mkdir(parents=True)
    for name in ("simulator", "serve"):
        (logs / f"{name}.log").symlink_to("/dev/full")
    (tmp_path / "serve.json").write_text('{"error": "no space left for history.db"}')
    done = run_up(tmp_path, "pongau", "--state", str(tmp_path / "mine"))
    assert done.returncode == 1
    assert "uem serve: error: no space left for history.db" in done.stderr
    assert "serve.log, incomplete: No space left on device)" in done.stderr


def test_without_plants_the_simulator_is_not_started(tmp_path):
    done = run_up(tmp_path, "pongau", "--no-plant", "--for", "0.5s", "--port", "0", "--metrics-port", "-1")
    assert done.returncode == 0
    written = notes(tmp_path)
    assert not any(note.startswith("simulator") for note in written)
    assert "--port 0 --metrics-port -1" in written[0]
    assert f"--state {tmp_path}/state/pongau --port" in written[0]
    assert f"--state {tmp_path}/state/pongau --pki {tmp_path}/state/pongau/pki" in written[1]


def test_a_given_state_folder_is_used_as_it_is(tmp_path):
    done = run_up(tmp_path, "pongau", "--for", "0.5s", "--state", str(tmp_path / "mine"))
    assert done.returncode == 0
    assert f"--state {tmp_path}/mine --pki {tmp_path}/mine/pki" in notes(tmp_path)[0]


async def start(tmp_path, name="simulator"):
    return await Child.start(
        name, [], tmp_path / "log", lambda name: [sys.executable, str(HERE / "fake_child.py"), str(tmp_path), name]
    )


async def test_a_process_that_never_gets_ready_is_given_up(tmp_path):
    (tmp_path / "simulator.json").write_text('{"silent": true}')
    child = await start(tmp_path)
    while not (tmp_path / "notes").exists():  # noqa: ASYNC110 - of another process, which says hello next
        await asyncio.sleep(0.05)
    with pytest.raises(ClientError, match=r"not ready within 2 s\n  some library says hello\n  \(log:"):
        await child.wait_ready(2.0)
    assert await child.stop()


async def test_a_deaf_process_is_killed(tmp_path):
    (tmp_path / "simulator.json").write_text('{"deaf": true}')
    child = await start(tmp_path)
    await child.wait_ready(60.0)
    assert not await child.stop(drain_s=0.5)
    assert child.process.returncode == -signal.SIGKILL


def test_two_cannot_share_a_state_folder(tmp_path):
    folder = folders.state_folder("pongau", tmp_path, recorded=True)
    with pytest.raises(ClientError, match="is in use by another uem up"):
        folders.state_folder("pongau", tmp_path, recorded=True)
    folder.release()
    folders.state_folder("pongau", tmp_path, recorded=True).release()


def test_a_state_folder_that_cannot_be_made_is_named():
    with pytest.raises(ClientError, match="cannot write the state folder /proc/none"):
        folders.state_folder("pongau", Path("/proc/none"), recorded=True)


def test_old_runs_go_and_those_in_use_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("UEM_STATE", str(tmp_path))
    runs = tmp_path / "pongau" / "runs"
    for day in range(1, 9):
        (runs / f"2026010{day}-120000" / "logs").mkdir(parents=True)
    (runs / "kept by hand").mkdir()
    oldest = folders.StateFolder(runs / "20260101-120000", tmp_path / "pki")
    folder = folders.state_folder("pongau", None, recorded=True)
    kept = sorted(path.name for path in runs.iterdir())
    assert kept == [
        "20260101-120000",
        *(f"2026010{day}-120000" for day in (5, 6, 7, 8)),
        folder.path.name,
        "kept by hand",
    ]
    oldest.release()
    folder.release()


def test_runs_that_did_not_start_do_not_push_out_those_that_did(tmp_path, monkeypatch):
    monkeypatch.setenv("UEM_STATE", str(tmp_path))
    runs = tmp_path / "pongau" / "runs"
    real = folders.StateFolder(runs / "20260101-120000", tmp_path / "pki")
    real.has_started()
    real.release()
    for day in range(2, 9):
        (runs / f"2026010{day}-120000").mkdir()
    folder = folders.state_folder("pongau", None, recorded=True)
    folder.release()
    kept = sorted(path.name for path in runs.iterdir())
    assert kept == ["20260101-120000", *(f"2026010{day}-120000" for day in (5, 6, 7, 8)), folder.path.name]


def test_a_run_counts_as_started_when_all_processes_are_ready(tmp_path):
    run_up(tmp_path, "pongau", "--for", "0.5s")
    (tmp_path / "serve.json").write_text('{"error": "no"}')
    run_up(tmp_path, "pongau")
    runs = sorted((tmp_path / "state" / "pongau" / "runs").iterdir())
    assert [(run / "started").exists() for run in runs] == [True, False]


@pytest.mark.parametrize("name", ["..", ".", "", "-x", "../../x", "a/b", "x" * 201])
def test_a_name_that_would_leave_the_state_folder_is_refused(tmp_path, name):
    (tmp_path / "territory.toml").write_text(f'name = "{name}"\n')
    with pytest.raises(ClientError, match="a name begins with a letter or a digit"):
        folders.describe(str(tmp_path))


@pytest.mark.parametrize("name", ["nosuch", "", "no/such.toml", "x" * 300])
def test_a_territory_that_does_not_exist_is_told_with_the_known_ones_and_leaves_nothing(tmp_path, name):
    (tmp_path / "empty").mkdir()
    told = subprocess.run(
        command(tmp_path, name),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(tmp_path),
        cwd=tmp_path / "empty",
    )
    assert told.returncode == 1
    assert f"unknown territory {name!r}; known: pongau, quartier, vallee; or give the path" in told.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_second_up_at_the_same_port_names_the_first(tmp_path):
    with started(tmp_path) as first:
        until_shown(first, "measured 88.5")
        second = run_up(tmp_path, "pongau")
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    assert second.returncode == 1
    assert f"another uem up (pid {first.pid}) is running here with --port 7650" in second.stderr
    assert len(list((tmp_path / "state" / "pongau" / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    "wrong",
    ["--speed 0", "--speed nan", "--speed 1e300", "--port 99999999", "--port -4", "--metrics-port 65534"],
)
def test_options_that_no_process_could_take_are_wrong_usage(tmp_path, wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        up.main(["pongau", *wrong.split()])
    assert f"argument {wrong.split()[0]}: '{wrong.split()[1]}'" in capsys.readouterr().err


def test_two_runs_of_one_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("UEM_STATE", str(tmp_path))
    one, two = (folders.state_folder("pongau", None, recorded=True) for _ in range(2))
    assert one.path != two.path
    assert one.pki == two.pki
    one.release()
    two.release()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "site"\n[[plants]]\nname = "a"\nendpoint = "opc.tcp://x"\n', ("site", False)),
        ('name = "site"\n[[plants]]\nname = "a"\n[plants.recording]\nfile = "x.csv"\n', ("site", True)),
        ("name = [broken", ("folder", True)),
        ("name = " + "[" * 20_000, ("folder", True)),
    ],
    ids=lambda found: str(found)[:30],
)
def test_a_territory_is_only_looked_at(tmp_path, text, expected):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "territory.toml").write_text(text)
    assert folders.describe(str(folder)) == expected
    assert folders.describe(str(folder / "territory.toml")) == expected


def test_a_shipped_territory_is_known_by_name():
    assert folders.describe("pongau") == ("pongau", True)


def test_the_state_home_follows_the_environment(monkeypatch):
    monkeypatch.delenv("UEM_STATE", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert folders.home() == Path.home() / ".local" / "state" / "uem"
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert folders.home() == Path("/x/uem")
