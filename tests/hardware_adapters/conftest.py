"""A small hall with three sensors behind a real OPC UA server, and certificates that trust each other."""

import asyncio
import getpass
import math
import os
import shutil
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import grpc
import pytest
from asyncua.server.standard_address_space import standard_address_space

from uem.hardware_adapters import supervise
from uem.hardware_adapters.mqtt.security import Credentials
from uem.hardware_adapters.simulator.recording import read_recording
from uem.hardware_adapters.simulator.server import PlantServer, columns_of
from uem.hardware_adapters.spool import Spool
from uem.twin_core.measurements import BAD_SENSOR_FAILURE, BAD_WAITING_FOR_INITIAL_DATA, Tag
from uem.twin_core.plant.territory import Plant, Recording, TagBinding
from uem.v1 import ingestion_pb2, ingestion_pb2_grpc

EPOCH_NS = 1_669_213_388_000_000_000  # November 2022
ROWS = 40
STEP_S = 0.25


@pytest.fixture(scope="session", autouse=True)
def _standard_nodes_untraced():
    """Each server makes the standard nodes of asyncua, which takes three times as long under the tracer of coverage."""
    fill = standard_address_space.fill_address_space

    def untraced(service):
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            fill(service)
        finally:
            sys.settrace(tracer)

    standard_address_space.fill_address_space = untraced
    yield
    standard_address_space.fill_address_space = fill


def binding(name, path, column, unit="1", scale=1.0, offset=0.0, namespace="urn:uem:test:hall"):
    return TagBinding(
        tag=Tag(name=name, unit=unit),
        plant="hall",
        browse_path=path,
        namespace_uri=namespace,
        display_unit=unit,
        scale=scale,
        offset=offset,
        sampling_ms=5.0,
        column=column,
    )


@pytest.fixture
def bindings():
    return (
        binding("hall/temperature", "Hall/Air/Temperature", "temp_c", "K", 1.0, 273.15),
        binding("hall/power", "Hall/Power", "power_kw", "W", 1000.0),
        binding("hall/state", "Hall/State", "state"),
    )


@pytest.fixture
def until():
    async def true_within(predicate, timeout_s=60.0):
        end = asyncio.get_running_loop().time() + timeout_s
        while not predicate():
            assert asyncio.get_running_loop().time() < end, "did not come true in time"
            await asyncio.sleep(0.01)

    return true_within


@pytest.fixture
def make_binding():
    return binding


@pytest.fixture
def plant(tmp_path):
    """The temperature starts late, the power repeats itself, the state fails in between."""
    lines = ["t,temp_c,power_kw,state"]
    for row in range(ROWS):
        temp = "" if row < 2 else f"{20 + row / 8}"
        state = "" if row % 7 == 3 else f"{row // 10}"
        lines.append(f"{row * STEP_S},{temp},1.5,{state}")
    path = tmp_path / "hall.csv"
    path.write_text("\n".join(lines) + "\n")
    recording = Recording(path=str(path), time_column="t", epoch_ns=EPOCH_NS, speed=12.5, loop=False)
    return Plant(name="hall", publish_interval_ms=50.0, recording=recording)


@pytest.fixture
def rows():
    """What the hall sends, in SI."""
    expected = []
    for row in range(ROWS):
        t = EPOCH_NS + int(row * STEP_S * 1e9)
        waiting = row < 2
        temp = (math.nan, BAD_WAITING_FOR_INITIAL_DATA) if waiting else (20 + row / 8 + 273.15, 0)
        state = (math.nan, BAD_SENSOR_FAILURE) if row % 7 == 3 else (float(row // 10), 0)
        expected.append(("hall/temperature", t, *temp))
        expected.append(("hall/power", t, 1500.0, 0))
        expected.append(("hall/state", t, *state))
    return expected


@pytest.fixture
def open_hall(plant, bindings, shared_pki):
    """A context manager that opens the plant; `start` on it begins to play the recording."""

    @asynccontextmanager
    async def opened(*, certificates=shared_pki.simulator, port=0, served=bindings):
        playing = []
        async with PlantServer(plant, served, certificates, port=port) as server:
            recording = read_recording(plant.recording.path, "t", columns_of(served, "hall"))

            async def start():
                playing.append(asyncio.create_task(server.play(recording)))

            try:
                yield SimpleNamespace(server=server, start=start, playing=playing)
            finally:
                for task in playing:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    return opened


@pytest.fixture
def proxy():
    """A TCP line in between that can swallow everything or be cut."""

    @asynccontextmanager
    async def between(endpoint):
        host, _, port = endpoint.removeprefix("opc.tcp://").partition("/")[0].partition(":")
        state = {"swallow": False, "writers": []}

        async def pump(reader, writer):
            try:
                while data := await reader.read(65536):
                    if not state["swallow"]:
                        writer.write(data)
            except ConnectionError:
                pass
            finally:
                writer.close()

        async def accept(reader, writer):
            there, back = await asyncio.open_connection(host, int(port))
            state["writers"] += [writer, back]
            await asyncio.gather(pump(reader, back), pump(there, writer))

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        its_port = listener.sockets[0].getsockname()[1]
        state["endpoint"] = f"opc.tcp://127.0.0.1:{its_port}/" + endpoint.rpartition("/")[2]

        def cut():
            for writer in state["writers"]:
                writer.transport.abort()

        state["cut"] = cut
        try:
            yield state
        finally:
            listener.close()
            cut()
            await asyncio.sleep(0.05)

    return between


class Ingestion(ingestion_pb2_grpc.IngestionServiceServicer):
    """Keeps batches as the real service does: once each, acknowledged in order."""

    def __init__(self):
        self.last = Counter()
        self.rows = []
        self.gaps = []
        self.alarms = []
        self.duplicates = 0
        self.rejections = []
        self.break_after = None
        self.is_mute = False
        self.refuses = lambda batch: False

    async def Ingest(self, request_iterator, context):
        async for batch in request_iterator:
            if self.is_mute:
                continue
            if self.refuses(batch):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not like this")
            duplicate = batch.sequence <= self.last[batch.producer]
            if duplicate:
                self.duplicates += 1
            else:
                known = self.last.get(batch.producer)  # one that is new may begin anywhere, as at the real store
                assert known is None or batch.sequence == known + 1, "a gap in the sequence"
                self.last[batch.producer] = batch.sequence
                self.gaps += batch.gaps
                self.alarms += batch.alarms
                s = batch.samples
                self.rows += [
                    (s.tag_name[t], time, value, quality)
                    for t, time, value, quality in zip(s.tag, s.source_time_ns, s.value, s.quality, strict=True)
                ]
            if self.break_after is not None:
                self.break_after -= 1
                if self.break_after < 0:
                    self.break_after = None
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose, before the acknowledgement")
            yield ingestion_pb2.IngestResponse(
                sequence=batch.sequence, duplicate=duplicate, rejections=self.rejections, stored_count=1
            )

    async def GetProducer(self, request, context):
        return ingestion_pb2.GetProducerResponse(last_sequence=self.last[request.producer])


@asynccontextmanager
async def _serving(service, port=0):
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    ingestion_pb2_grpc.add_IngestionServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield SimpleNamespace(address=f"127.0.0.1:{port}", port=port)
    finally:
        await server.stop(0)


@pytest.fixture
def service():
    """What stands behind `serving`."""
    return Ingestion()


@pytest.fixture
def serving():
    """A context manager that serves an IngestionService."""
    return _serving


@pytest.fixture
def _short_waits(monkeypatch):
    monkeypatch.setattr(supervise, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(supervise, "LONGEST_WAIT_S", 0.2)


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool.db") as opened:
        yield opened


@pytest.fixture
def open_broker(tmp_path, reserved_port):
    """A context manager that starts an MQTT broker, given lines of its configuration, and says where it is."""
    command = shutil.which("mosquitto", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")

    @asynccontextmanager
    async def opened(*lines, scheme="mqtt"):
        if command is None:
            assert os.environ.get("CI") != "true", "mosquitto is missing; on Debian: apt-get install mosquitto"
            pytest.skip("mosquitto is not installed; on Debian: apt-get install mosquitto")
        port = reserved_port()  # this broker cannot take a free one and say which
        config = tmp_path / "mosquitto.conf"
        log = tmp_path / "mosquitto.log"
        about = [f"user {getpass.getuser()}", f"log_dest file {log}", f"listener {port} 127.0.0.1"]
        config.write_text("\n".join([*about, *(lines or ["allow_anonymous true"]), ""]))
        process = await asyncio.create_subprocess_exec(command, "-c", str(config))
        try:
            async with asyncio.timeout(60):
                while True:
                    assert process.returncode is None, "mosquitto does not start"
                    with suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                        break
                    await asyncio.sleep(0.05)
            credentials = Credentials("p", tmp_path / "nobody")
            endpoint = f"{scheme}://127.0.0.1:{port}"
            yield SimpleNamespace(port=port, endpoint=endpoint, process=process, credentials=credentials, log=log)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    return opened
