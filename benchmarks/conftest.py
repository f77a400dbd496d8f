"""What the benchmarks share.

A benchmark puts into `benchmark.extra_info`: `figure` and `unit`, and where it is held against something `peer`, its
`peer_figure` in the same unit and the `ratio` (how many times ours is better, median of interleaved pairs).
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"uem_benchmarks_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_timing = _load("timing")


@pytest.fixture(scope="session")
def networks() -> Any:
    """The module networks.py: towns of any size."""
    return _load("networks")


@pytest.fixture(scope="session")
def production_lines() -> Any:
    """The module production_lines.py: lines of any length."""
    return _load("production_lines")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates of an OPC UA server and of its client."""
    folder = tmp_path_factory.mktemp("opcua")
    _load("opcua_plant").stores(folder)
    return folder


@pytest.fixture(scope="session")
def short() -> bool:
    """Whether this is the short run: the smallest sizes that still tell something."""
    return os.environ.get("UEM_BENCH_SHORT") == "1"


@pytest.fixture
def compare(benchmark: Any, short: bool) -> Callable[..., None]:
    """compare(ours, theirs, peer=..., unit=..., scale=...): time both interleaved and note the figures.

    `scale` turns seconds per call into the unit; ours does the work `times` times in one call. `rounds`: pairs, at
    least 7 unless this is the short run; fewer than usual where the peer takes seconds.
    """

    def run(
        ours: Callable[[], object],
        theirs: Callable[[], object],
        *,
        peer: str,
        unit: str,
        scale: float,
        times: int = 1,
        rounds: int = 15,
    ) -> None:
        found = _timing.interleaved(ours, theirs, rounds=min(rounds, 5) if short else rounds)
        benchmark.pedantic(ours, rounds=1, iterations=1)
        benchmark.extra_info.update(
            figure=found.ours_s * scale / times,
            unit=unit,
            peer=peer,
            peer_figure=found.theirs_s * scale,
            ratio=found.ratio * times,
        )

    return run
