import re

import pytest

from uem.clients.cli.main import main

COMMANDS = ["up", "serve", "serve history", "serve twin", "serve prediction", "gateway", "simulator"]


@pytest.mark.parametrize("command", COMMANDS)
def test_processes_that_are_given_no_territory_are_all_of_the_same(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert re.findall(r"\(default:\s+(\w+)\)", capsys.readouterr().out)[0] == "vallee"
