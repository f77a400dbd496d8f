"""The living valley as `make run` starts it: what the processes beside the plants take, and how old its states are.

2,000 tags at 1 Hz through OPC UA, gateway, history, twins, their forecasts and the page, at real time. The simulated
plants are a process of their own and do not count. The simulator tells when its plant time began by our clock, so the
delay is from the moment that a value is the plant's until a client has the state that follows from it, the simulator's
own step included. Figures are medians of several windows; processor time is fair on a machine that others use as well,
delays are not. Last, in a run of its own that is quicker than time, how near the twin comes to the meters of stations.
"""

import asyncio
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import websockets
from numpy.typing import NDArray

from uem.clients.python import Client
from uem.territories.load import load
from uem.twin_core.measurements import NS_PER_S
from uem.twin_core.plant.units import Substation

WINDOWS, WINDOW_S, WARM_UP_S = 5, 30.0, 30.0
SHORT_WINDOWS, SHORT_WINDOW_S, SHORT_WARM_UP_S = 2, 10.0, 10.0
AGREED_AT_SPEED = 20.0  # two hours in six minutes; sensors that are polled are read as often by our clock as ever
READY_S = 120.0
OURS = ("serve", "gateway", "console")
NETWORK = "valley"

Array = NDArray[np.float64]


class Window(NamedTuple):
    """Some seconds of the running valley."""

    cores: float  # that our processes kept busy
    delay_s: Array  # of each state of each twin
    jitter: Array  # |time between two states - their plant time apart| / that, of the network's twin


class Figures(NamedTuple):
    """What the valley took."""

    windows: list[Window]
    rss_mb: float
    frames: int  # that the page was sent

    def median(self, of: Callable[[Window], float]) -> float:
        """Of a figure of each window."""
        return float(np.median([of(window) for window in self.windows]))


class Process(NamedTuple):
    """One of ours, by the accounts of the kernel."""

    pid: int

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Memory now."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0


class Valley(NamedTuple):
    """Where a running valley is."""

    server: str
    page: str
    processes: list[Process]
    speed: float
    began_s: Callable[[float], float]  # our time of a plant time
    epoch_s: float  # plant time at the start


@contextmanager
def valley(state: Path, speed: float = 1.0) -> Iterator[Valley]:
    """`uem up vallee` while the block runs."""
    log = state / "up.log"
    command = [sys.executable, "-m", "uem.clients.cli", "up", "vallee", "--state", str(state), "--port", "0"]
    with log.open("w") as out:
        up = subprocess.Popen([*command, "--metrics-port", "-1", "--speed", str(speed)], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + READY_S
        while not (page := re.search(r"^page +(\S+)$", log.read_text(), re.M)):
            assert time.monotonic() < deadline, log.read_text()
            assert up.poll() is None, log.read_text()
            time.sleep(0.1)
        server = re.search(r"^gRPC +(\S+)$", log.read_text(), re.M)
        assert server is not None
        children = Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text().split()
        ours = [Process(int(pid)) for pid in children if _is_ours(pid)]
        yield Valley(server[1], page[1], ours, speed, *_clock(state))
    finally:
        up.terminate()
        up.wait(60.0)


def _is_ours(pid: str) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return any(name in words for name in OURS)


def _clock(state: Path) -> tuple[Callable[[float], float], float]:
    told = json.loads((state / "plant_time.json").read_text("utf-8"))
    began_ns, epoch_ns, speed = told["start_ns"], told["epoch_ns"], told["speed"]
    return lambda plant_s: (began_ns + (plant_s * NS_PER_S - epoch_ns) / speed) / NS_PER_S, epoch_ns / NS_PER_S


@asynccontextmanager
async def _page_open(address: str) -> AsyncIterator[list[int]]:
    """One browser's worth of frames; how long each was."""
    lengths: list[int] = []

    async def read() -> None:
        async with websockets.connect(address.replace("http", "ws") + "live", max_size=None, proxy=None) as live:
            async for message in live:
                lengths.append(len(message))

    reading = asyncio.create_task(read())
    yield lengths
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


async def _window(running: Valley, span_s: float) -> Window:
    """Follow the states of all twins, and have a forecast of each."""
    rows: list[tuple[bool, float, float, float]] = []
    async with Client(running.server) as client:
        assets = [asset.name for asset in await client.assets()]
        before, began = sum(process.cpu_s() for process in running.processes), time.monotonic()

        async def follow() -> None:
            async for state in client.watch():
                plant_s, published_s = state.plant_time_ns / NS_PER_S, state.published_time_ns / NS_PER_S
                rows.append((state.asset.name == NETWORK, plant_s, published_s, time.time()))

        following = asyncio.create_task(follow())
        for asset in assets:
            await client.forecast(asset)
            await asyncio.sleep(span_s / len(assets))
        following.cancel()
        span_s = time.monotonic() - began
        after = sum(process.cpu_s() for process in running.processes)
    is_network, plant_s, published_s, here_s = np.array(rows[len(assets) :]).T  # the first ones were there before
    delay_s = here_s - np.array([running.began_s(time_s) for time_s in plant_s])
    mine = is_network > 0
    apart_s, apart_plant_s = np.diff(published_s[mine]), np.diff(plant_s[mine])
    return Window((after - before) / span_s, delay_s, np.abs(apart_s - apart_plant_s) / apart_plant_s)


async def _all_started(running: Valley) -> None:
    async with asyncio.timeout(READY_S), Client(running.server) as client:
        waiting = {asset.name for asset in await client.assets()}
        async for state in client.watch():
            waiting.discard(state.asset.name)
            if not waiting:
                return


async def _measure(running: Valley, short: bool) -> Figures:
    async with _page_open(running.page) as frames:
        await _all_started(running)
        await asyncio.sleep(SHORT_WARM_UP_S if short else WARM_UP_S)
        count, span_s = (SHORT_WINDOWS, SHORT_WINDOW_S) if short else (WINDOWS, WINDOW_S)
        windows = [await _window(running, span_s) for _ in range(count)]
        return Figures(windows, sum(process.rss_mb() for process in running.processes), len(frames))


@pytest.fixture(scope="module")
def figures(short: bool, tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Of one run for all rows."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("the living valley: processor time of other processes is read from /proc")
    with valley(tmp_path_factory.mktemp("valley")) as running:
        found = asyncio.run(_measure(running, short))
    assert found.frames > len(found.windows)
    return found


def _note(benchmark: Any, figure: float, unit: str, bar: float) -> None:
    """A row; `bar` is what it may be."""
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info.update(figure=figure, unit=unit, peer="bar", peer_figure=bar, ratio=bar / figure)


def test_valley_processor(benchmark: Any, figures: Figures) -> None:
    """Gateway, server with twins and forecasts, and page."""
    _note(benchmark, figures.median(lambda window: 50.0 * window.cores), "% of two cores, 1,974 tags at 1 Hz", 50.0)


def test_valley_memory(benchmark: Any, figures: Figures) -> None:
    """Of the same processes, at the end."""
    _note(benchmark, figures.rss_mb, "MB", 1000.0)


@pytest.mark.parametrize(("percentile", "bar_ms"), [(50, 250.0), (99, 1000.0)], ids=["median", "99 %"])
def test_valley_delay(benchmark: Any, figures: Figures, percentile: int, bar_ms: float) -> None:
    """From a value of the plant to the state that follows from it, at a gRPC client."""
    delay_s = figures.median(lambda window: float(np.percentile(window.delay_s, percentile)))
    _note(benchmark, 1000.0 * delay_s, "ms plant to client", bar_ms)


def test_valley_jitter_99(benchmark: Any, figures: Figures) -> None:
    """By how much the time between two states of the network is off."""
    part = figures.median(lambda window: float(np.percentile(window.jitter, 99)))
    _note(benchmark, 100.0 * part, "% of the period", 10.0)


# How near the twin is to its sensors.


async def _compared(running: Valley, nodes: list[str], from_s: float, span_s: float) -> dict[str, Array]:
    """Twin minus sensor in K of each of `nodes`, in the network's states from that time after the start on.

    For that span once all meters were read: on a slow machine some still wait for their first poll.
    """
    found: dict[str, list[float]] = {node: [] for node in nodes}
    unread, end_s = set(nodes), math.inf
    async with Client(running.server) as client:
        async for state in client.watch([NETWORK]):
            after_s = state.plant_time_ns / NS_PER_S - running.epoch_s
            if after_s < from_s:
                continue
            for signal in state.asset.signals:
                if signal.compared_with in found and signal.name.startswith("node/"):
                    off_k = state[signal.name] - state[signal.compared_with]
                    if math.isfinite(off_k):
                        found[signal.compared_with].append(off_k)
                        unread.discard(signal.compared_with)
            if not unread:
                end_s = min(end_s, after_s + span_s)
            if after_s > end_s:
                break
            assert after_s < from_s + span_s + READY_S * running.speed, f"never read: {sorted(unread)}"
    return {name: np.array(off_k) for name, off_k in found.items()}


@pytest.fixture(scope="module")
def station_rmse_k(short: bool, tmp_path_factory: pytest.TempPathFactory) -> Array:
    """Of supply and return at each station, over half an hour after the first two; a little of it in the short run."""
    speed, from_s, span_s = (60.0, 300.0, 300.0) if short else (AGREED_AT_SPEED, 7200.0, 1800.0)
    stations = [unit for unit in load("vallee").networks[0].units if isinstance(unit, Substation)]
    nodes = [f"node/{node}/temperature" for unit in stations for node in (unit.start, unit.end)]
    with valley(tmp_path_factory.mktemp("agreement"), speed) as running:
        found = asyncio.run(_compared(running, nodes, from_s, span_s))
    return np.array([math.sqrt(np.mean(np.square(found[node]))) for node in nodes])


def test_valley_station_temperatures_all(benchmark: Any, station_rmse_k: Array) -> None:
    """Twin against the meters of 120 stations, while the plants' parameters are not those of the twin."""
    _note(benchmark, math.sqrt(np.mean(np.square(station_rmse_k))), "K RMSE, twin minus meter", 1.0)


def test_valley_station_temperatures_worst(benchmark: Any, station_rmse_k: Array) -> None:
    """The supply or return of a station that is furthest off."""
    _note(benchmark, float(station_rmse_k.max()), "K RMSE, twin minus meter", 1.0)
