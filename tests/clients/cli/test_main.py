import importlib.util
import json
import subprocess
import sys

import pytest

import uem
from uem.clients.cli import main as cli

HEAVY = ("numpy", "grpc", "rich", "asyncua", "google.protobuf", "pydantic", "asyncio")


def uem_command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "uem.clients.cli", *arguments], capture_output=True, text=True, timeout=120, **options
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom uem.clients.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    code = end.code\n"
        f"print('heavy:', [m for m in {HEAVY!r} if m in sys.modules], 'code:', code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "usage: uem" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy: [] code: 0"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_module_behind_it(name):
    assert importlib.util.find_spec(cli.COMMANDS[name][0]) is not None


@pytest.mark.parametrize("name", ["up", "state", "watch", "forecast", "history"])
def test_help_of_a_client_command_ends_with_examples_that_parse(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    shown = capsys.readouterr().out
    assert f"usage: uem {name}" in shown
    assert f"  uem {name}" in shown.partition("examples:")[2]


def test_version_is_the_one_of_the_package():
    done = uem_command("--version")
    assert (done.stdout, done.returncode) == (f"uem {uem.__version__}\n", 0)


def test_an_unknown_command_is_wrong_usage():
    done = uem_command("stat")
    assert done.returncode == 2
    assert "invalid choice: 'stat'" in done.stderr
    assert "'state'" in done.stderr


def test_without_a_command_the_help_is_shown(capsys):
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_says_that_no_server_is_there_in_one_line():
    done = uem_command("state", "--server", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == "uem state: error: no uem server at 127.0.0.1:1: start one with `uem up`\n"


def test_a_reader_that_goes_away_ends_the_command_quietly(remote):
    _, address = remote
    command = f'"{sys.executable}" -m uem.clients.cli watch --json --server {address}'
    done = subprocess.run(
        ["bash", "-c", f'{command} | head -n 1; echo "${{PIPESTATUS[0]}}"'], capture_output=True, text=True, timeout=120
    )
    first, code = done.stdout.splitlines()
    assert json.loads(first)["asset"] == "branch"
    assert (code, done.stderr) == ("0", "")


@pytest.mark.parametrize(
    ("redirect", "told"),
    [
        ("> /dev/full", "uem state: error: cannot write: No space left on device\n"),
        (">&-", "uem state: error: standard output is closed\n"),
    ],
)
@pytest.mark.parametrize("json_option", ["", "--json"])
def test_an_output_that_takes_nothing_is_an_error_of_one_line(remote, redirect, told, json_option):
    command = f'"{sys.executable}" -m uem.clients.cli state --server {remote[1]} {json_option} {redirect}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, told)


def test_an_interrupt_is_told_by_the_exit_code(monkeypatch):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr("uem.clients.cli.state.main", interrupted)
    assert cli.main(["state"]) == 130
