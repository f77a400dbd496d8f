"""The modules of the page, run by Node: what they make of frames, flows and series."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from uem.clients.console import app
from uem.clients.console.frames import frame
from uem.clients.records import Asset, Kind, Signal, Source, State

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Two frames as the server makes them, for Node to read."""
    folder = tmp_path_factory.mktemp("frames")
    signals = tuple(Signal(f"s{i}", "K", "Cel", Source.ESTIMATED, "", {}) for i in range(3))
    common = {
        "asset": Asset("ring", Kind.HEAT_NETWORK, "Ring", signals, 1),
        "published_time_ns": 10**18,
        "standard_deviation": np.array([0.5, np.nan, 0.0]),
        "quality": np.array([0, 0x80000000, 0x40000000], np.uint32),
        "run_id": "a",
    }
    first = State(tick=1, plant_time_ns=10**18, value=np.array([1.5, np.nan, -3e9]), age_s=np.zeros(3), **common)
    second = State(
        tick=4,
        plant_time_ns=10**18 + 2 * 10**9,
        value=np.array([1.5, np.nan, 7.0]),
        age_s=np.array([2.0, 2.0, 0.0]),
        **common,
    )
    (folder / "first.bin").write_bytes(frame(0, first, None))
    (folder / "second.bin").write_bytes(frame(0, second, first))
    return folder


def test_the_modules_of_the_page_pass_their_own_tests(frames):
    node = shutil.which("node")
    assert node, "node is missing; on Debian: apt-get install nodejs"
    result = subprocess.run(
        [node, "--test", str(HERE / "page_test.mjs")],
        env={"STATIC": app.STATIC, "FRAMES": str(frames), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "# fail 0" in result.stdout
    assert "# pass 23" in result.stdout
