"""Which of the runs of a territory `uem inject` reaches."""

import asyncio
import socket
import tempfile
from pathlib import Path

import pytest

from uem.clients.cli import inject
from uem.clients.errors import ClientError


def listening(folder):
    """A socket in a folder, as a simulator makes it."""
    folder.mkdir(parents=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(folder / inject.SOCKET))
    made.listen()
    return made


@pytest.fixture
def runs(monkeypatch):
    with tempfile.TemporaryDirectory() as home:  # a socket has a short path
        monkeypatch.setenv("UEM_STATE", home)
        yield Path(home) / "vallee" / "runs"


def test_the_newest_run_that_lives_is_reached_not_one_that_was_killed_since(runs):
    with listening(runs / "20260101-120000"), listening(runs / "20260102-120000"):
        listening(runs / "20260103-120000").close()  # leaves its file, as kill -9 does
        assert inject._socket("vallee", None) == runs / "20260102-120000" / inject.SOCKET


@pytest.mark.parametrize("line", [b"[" * 20_000 + b"]" * 20_000, b"nonsense", b""])
async def test_a_simulator_that_answers_nonsense_is_told(runs, line):
    async def answer(reader, writer):
        await reader.readline()
        writer.write(line + b"\n")
        writer.close()

    path = runs.parent / "s"
    path.parent.mkdir(parents=True)
    async with await asyncio.start_unix_server(answer, path):
        with pytest.raises(ClientError, match="does not answer"):
            await inject._ask(path, {"do": "list"})


def test_runs_that_were_all_killed_are_none(runs):
    listening(runs / "20260101-120000").close()
    with pytest.raises(ClientError, match="no simulated plant of vallee runs here"):
        inject._socket("vallee", None)
    assert inject.main(["vallee", "--list"]) == 1


def test_a_territory_that_does_not_exist_is_told_with_the_known_ones(capsys):
    assert inject.main(["nosuch", "--list"]) == 1
    assert "unknown territory 'nosuch'; known: pongau, quartier, vallee" in capsys.readouterr().err
