"""Where a result goes is looked at before the work that makes it."""

import pytest

from uem.offline import run, simulate
from uem.offline.plot import main as plot
from uem.offline.validate import main as validate


@pytest.mark.parametrize(
    ("command", "arguments", "option"),
    [
        (run, ["quartier"], "--out"),
        (run, ["quartier"], "--plot"),
        (simulate, ["pongau"], "--out"),
        (plot, ["quartier", "--by", "flow"], "--out"),
        (validate, [], "--json"),
    ],
)
def test_a_place_that_cannot_be_written_ends_a_command_before_it_works(
    command, arguments, option, tmp_path, capsys, monkeypatch
):
    def work(*_, **__):
        pytest.fail("it worked for nothing")

    for name in ("run", "simulate", "run_task"):
        monkeypatch.setattr(command, name, work, raising=False)
    for place, why in (("no/x.svg", f"there is no folder {tmp_path}/no"), ("", "is a folder")):
        assert command.main([*arguments, option, str(tmp_path / place)]) == 1
        told = capsys.readouterr().err
        assert f"error: {option} {tmp_path / place}: {why}" in told
        assert told.count("\n") == 1
