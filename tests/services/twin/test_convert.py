"""Assets as messages."""

import runpy
from pathlib import Path

from uem.services.twin import convert
from uem.twin_core.twin import make_twin
from uem.v1 import twin_pb2 as pb

_SHOPS = runpy.run_path(str(Path(__file__).resolve().parents[2] / "twin_core" / "follow" / "shops.py"))


def test_a_factory_is_a_kind_of_its_own_with_the_states_of_packml():
    site = _SHOPS["site"]()
    message = convert.asset(site, make_twin(site).signals)
    assert (message.name, message.kind) == ("line", pb.ASSET_KIND_FACTORY)
    state = next(signal for signal in message.signals if signal.name == "machine/mill/state")
    assert state.state_names[4] == "execute"
    assert len(state.state_names) == 17
    output = next(signal for signal in message.signals if signal.name == "output")
    assert (output.unit, output.display_unit) == ("1/s", "1/h")
