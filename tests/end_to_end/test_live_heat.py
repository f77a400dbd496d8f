"""The district and its hardening shop as a user starts them: what stops in the plant is missing in the network."""

import json
import runpy
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import uem.examples as uem_examples

pytestmark = pytest.mark.slow
_TESTS = Path(__file__).resolve().parents[1]
_RECORDED = runpy.run_path(str(_TESTS / "twin_core" / "follow" / "recorded.py"))
_UP = runpy.run_path(str(Path(__file__).with_name("test_up.py")))
rows, write, running_up, UEM = _RECORDED["rows"], _RECORDED["write"], _UP["running_up"], _UP["UEM"]
HOURS, STOPPED_S = 2.5, 3600.0  # 60 s by the clock, at sixty times its speed
LONGEST_S = 240.0
FURNACES = ("furnaces-1", "furnaces-2")
CLEARING = 10.0


def territory(folder):
    """The shipped district, whose shop has both furnaces stop after an hour."""
    shipped = Path(uem_examples.__file__).parent / "quartier"
    for name in ("territory.toml", "tags.csv"):
        shutil.copy(shipped / name, folder / name)
    write(folder / "shop.csv", rows(HOURS, stops=FURNACES, stopped_after_s=STOPPED_S))
    return folder


def watched(address):
    """(asset, {signal: its row}) of every state that comes, for a bounded time."""
    command = [*UEM, "watch", "--json", "--for", f"{LONGEST_S:.0f}s", "--server", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            for line in process.stdout:
                state = json.loads(line)
                yield state["asset"], {signal["name"]: signal for signal in state["signals"]}
        finally:
            process.kill()


def test_furnaces_that_stop_in_the_plant_lower_the_heat_into_the_network(tmp_path):
    folder = tmp_path / "quartier"
    folder.mkdir()
    before, after, stopped, deadline = [], [], False, time.monotonic() + LONGEST_S
    with running_up(tmp_path / "state", territory=str(territory(folder))) as (_, address):
        for asset, signals in watched(address):
            if asset == "hardening-shop":
                stopped = all(signals[f"machine/{name}/state"]["value"] == CLEARING for name in FURNACES)
            elif stopped:
                after.append(signals)
            else:
                before.append(signals)
            if len(after) >= 60 or time.monotonic() > deadline:
                break
    assert before, "the furnaces stopped before the first state came"
    assert after, "the furnaces did not stop"
    # The network's state comes before that of the shop: the newest of those before may be later than the stop.
    moments = before[len(before) // 2], after[-1]
    produced, taken = (
        [signals[f"heat/hardening-shop/quench-loop/{kind}"]["value"] for signals in moments]
        for kind in ("produced", "taken")
    )
    assert produced[1] < 0.4 * produced[0]
    assert taken[1] < 0.7 * taken[0]
    signal = after[-1]["unit/waste-heat/heat"]
    assert signal["source"] == "estimated"
    assert signal["standard_deviation"] > 0.0
    assert signal["quality"] == 0
    assert 0.0 <= signal["age_s"] < 3 * 5400.0
