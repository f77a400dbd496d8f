"""What control systems read of the twins: `uem up --opcua` seen by another stack, and a server that goes and comes."""

import asyncio
import json
import runpy
import shutil
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncua import Client as OpcUaClient
from asyncua import ua

from uem.clients.python import Client
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.twin_core.measurements import UNCERTAIN
from uem.twin_core.units import unit

pytestmark = pytest.mark.slow
_TESTS = Path(__file__).resolve().parents[1]
_INTEROP = runpy.run_path(str(_TESTS / "hardware_adapters" / "opcua" / "server" / "test_interop.py"))
_SERVE = runpy.run_path(str(Path(__file__).with_name("test_serve.py")))
UEM = [sys.executable, "-m", "uem.clients.cli"]
NAMESPACE = "urn:uem:twins"
GOOD, LAST_USABLE, WAITING = 0, 0x40900000, 0x80320000
BAD = 0x80000000
CHANGES = 400
# What meters would show, as OPC 34100 has it: of which signal, and SI per unit.
METERED = {
    "branch/Energy/Main/NeEnergyImportHp": ("energy/in", 3600.0),
    "branch/Energy/node.2/Temperature": ("node/2/temperature/twin", 1.0),
    "branch/Energy/node.2/MassFlowRate": ("node/2/flow", 1.0),
}
BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


def shown(signal, si):
    """A value in the unit that people read, as the guide says."""
    if signal.state_names or signal.display_unit == signal.unit:
        return si
    its = unit(signal.display_unit)
    return (si - its.offset) / its.scale


@asynccontextmanager
async def running(*arguments):
    """A process of ours whose log has to be free of exceptions; it gets SIGTERM at the end and has to end with 0."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*UEM, *arguments, stdout=pipe, stderr=pipe, limit=2**20)
    try:
        yield process
        process.terminate()
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, errors.decode()
        assert b"Traceback" not in errors, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def up_with_opcua(process):
    """Addresses of gRPC and of OPC UA, as `uem up` prints them."""
    said = {}
    async with asyncio.timeout(120):
        async for line in process.stdout:
            words = line.decode().split()
            if words[:1] == ["gRPC"]:
                said["gRPC"] = words[1]
            if words[:2] == ["OPC", "UA"]:
                return said["gRPC"], words[2]
    raise AssertionError((await process.stderr.read()).decode())


async def test_another_stack_reads_what_grpc_gives(tmp_path):
    scada = CertificateStore(tmp_path, "scada")
    scada.ensure()
    folder = tmp_path / "node"
    folder.mkdir()
    state = tmp_path / "state"
    arguments = ["pongau", "--opcua", "0", "--port", "0", "--metrics-port", "0", "--state", str(state), "--speed", "2"]
    async with running("up", *arguments) as process:
        address, endpoint = await up_with_opcua(process)
        # What the guide tells a user to do.
        shutil.copy(scada.certificate_path, state / "pki" / "twin" / "trusted")
        async with Client(address) as client:
            states = {}
            watching = asyncio.create_task(keep(client, states))
            assets = {asset.name: asset for asset in await client.assets()}
            signals = {
                f"{a.name}/State/{s.name}": (a.name, i, s) for a in assets.values() for i, s in enumerate(a.signals)
            }
            values = list(signals)
            deviations = [f"{node}/StandardDeviation" for node in values]
            ages = [f"{node}/Age" for node in values]
            nodes = [*values, *deviations, *ages]
            forecasts = ["branch/Forecast/node/2/temperature", "washer/Forecast/power"]
            parts = ["", "/ValidTimes", "/Lower", "/Upper", "/IssueTime", "/LowerLevel", "/Age"]
            shown_forecasts = [f"{forecast}{part}" for forecast in forecasts for part in parts]
            are_shown = False
            while not are_shown:  # forecasts are every ten seconds
                reader = await _INTEROP["node_client"](
                    folder,
                    scada,
                    CertificateStore(state / "pki", "twin"),
                    endpoint=endpoint,
                    policy="Aes256Sha256RsaPss",
                    nodes=[f"nsu={NAMESPACE};s={node}" for node in nodes],
                    rows=len(nodes) + CHANGES,
                    history=f"nsu={NAMESPACE};s={values[0]}",
                    read=[f"nsu={NAMESPACE};s={node}" for node in [*shown_forecasts, *METERED]],
                )
                async with asyncio.timeout(120):
                    out, errors = await reader.communicate()
                assert reader.returncode == 0, errors.decode()
                document = json.loads(out.splitlines()[-1])
                its = dict(zip([*shown_forecasts, *METERED], document["others"], strict=True))
                are_shown = all(its[forecast]["value"] for forecast in forecasts)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    compared = 0
    for change in document["changes"]:
        name = change["node"].partition(";s=")[2]
        compared += matches(states, signals, name, change)
    assert compared > len(nodes)  # of nearly all changes the state was seen by gRPC too
    assert {change["status"] for change in document["changes"]} >= {GOOD}
    history = [row for row in document["history"] if matches(states, signals, values[0], row)]
    assert history
    for node, (signal, si_per_unit) in METERED.items():
        state = states["branch", _INTEROP["nanoseconds"](its[node]["source"])]
        assert its[node]["value"] == pytest.approx(state[signal] / si_per_unit, rel=1e-6)  # some are 32 bits wide
        assert its[node]["status"] == state.quality[state.index(signal)]
    for forecast in forecasts:
        assert_is_a_forecast({part: its[f"{forecast}{part}"] for part in parts})


async def keep(client, states):
    async for state in client.watch():
        states[state.asset.name, state.plant_time_ns] = state


def matches(states, signals, name, read):
    """Whether a value is that of a state that gRPC gave; it fails when it is another."""
    node, kind = name, "value"
    for last in ("StandardDeviation", "Age"):
        if name.endswith(f"/{last}"):
            node, kind = name.removesuffix(f"/{last}"), last
    asset, at, signal = signals[node]
    if read["source"] is None:
        return False
    state = states.get((asset, _INTEROP["nanoseconds"](read["source"])))
    if state is None:  # before we watched, or one that was replaced by a newer one
        return False
    server_ns = _INTEROP["nanoseconds"](read["server"])
    assert 0 <= server_ns - state.published_time_ns // 1000 * 1000 < 60e9
    quality = int(state.quality[at]) if kind == "value" else GOOD
    expected = {
        "value": shown(signal, state.value[at]),
        "StandardDeviation": state.standard_deviation[at] * (shown(signal, 1.0) - shown(signal, 0.0)),
        "Age": state.age_s[at] * 1e3,
    }[kind]
    if expected != expected or quality >= BAD:
        assert read["value"] is None
        assert read["status"] >= BAD
    else:
        assert read["status"] == quality, name
        assert read["value"] == pytest.approx(expected, rel=1e-12), name
    return True


def assert_is_a_forecast(parts):
    value, times = parts[""]["value"], parts["/ValidTimes"]["value"]
    assert len(value) == len(times) == len(parts["/Lower"]["value"]) > 10
    assert times == sorted(times)
    assert parts["/IssueTime"]["value"] < times[0]
    assert parts["/LowerLevel"]["value"] == 0.05
    assert 0.0 <= parts["/Age"]["value"] < 3600e3
    rows = zip(parts["/Lower"]["value"], value, parts["/Upper"]["value"], strict=True)
    assert all(low <= middle <= high for low, middle, high in rows)


class Changes:
    """What a subscription of asyncua says of one node: (status, source time) of each change."""

    def __init__(self):
        self.seen = []

    def datachange_notification(self, node, value, data):
        read = data.monitored_item.Value
        self.seen.append((read.StatusCode.value, read.SourceTimestamp))

    async def until(self, status, later_than=BEGIN):
        async with asyncio.timeout(60):
            while not (self.seen and self.seen[-1][0] == status and self.seen[-1][1] > later_than):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return self.seen[-1][1]


async def test_values_are_uncertain_while_the_server_is_away_and_good_again_when_it_is_back(tmp_path, reserved_port):
    requests = await asyncio.to_thread(_SERVE["batches"])
    port = reserved_port()
    arguments = ["--insecure", "--port", "0", "--metrics-port", "-1", "--state", str(tmp_path / "opcua")]
    changes = Changes()
    async with running("opcua", "--server", f"127.0.0.1:{port}", *arguments) as process:
        async with served(tmp_path, port, requests[:30]):
            endpoint = json.loads(await asyncio.wait_for(process.stdout.readline(), 120))["endpoint"]
            client = OpcUaClient(endpoint)
            await client.connect()
            index = await client.get_namespace_index(NAMESPACE)
            node = client.get_node(ua.NodeId("branch/State/node/2/temperature/twin", index))
            subscription = await client.create_subscription(100, changes)
            await subscription.subscribe_data_change(node)
            newest = BEGIN + timedelta(microseconds=max(requests[29].samples.source_time_ns) // 1000)
            before = await changes.until(GOOD, later_than=newest - timedelta(microseconds=1))
        assert await changes.until(LAST_USABLE) == before  # the value of the time that it has
        async with served(tmp_path, port, requests[30:]):
            assert await changes.until(GOOD, later_than=before) > before
        await changes.until(LAST_USABLE)
        await client.disconnect()
    statuses = [status for status, _ in changes.seen]
    settled = statuses.index(GOOD)
    assert set(statuses[:settled]) <= {WAITING, UNCERTAIN}
    assert set(statuses[settled:]) == {GOOD, LAST_USABLE}


@asynccontextmanager
async def served(folder, port, requests):
    """A `uem serve` that has taken samples, until it is stopped."""
    with _SERVE["serve"](folder / "serve", port=port) as (_, channel):
        await asyncio.to_thread(_SERVE["ingest"], channel, requests)
        yield
