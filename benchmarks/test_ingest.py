"""Samples through gRPC to disk and back: rates, next to a bare stream of ready bytes in the same run.

Run as a program (`test_ingest.py FOLDER`) this file is the server process that the benchmarks measure.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import grpc
import numpy as np
import pytest

from uem.services import server
from uem.services.bus import SampleBus
from uem.services.history import convert
from uem.services.history.servicer import FRAME_ROWS, HistoryServicer
from uem.services.history.sqlite import SqliteStore
from uem.services.ingestion.servicer import IngestionServicer
from uem.services.ingestion.worker import Worker
from uem.services.metrics import Metrics
from uem.services.twin import convert as twin_convert
from uem.services.twin.worker import Published
from uem.twin_core.measurements import Samples, Tag
from uem.twin_core.plant.territory import TagBinding
from uem.twin_core.state import Snapshot
from uem.v1 import history_pb2, history_pb2_grpc, ingestion_pb2, ingestion_pb2_grpc, twin_pb2_grpc
from uem.v1.columns import INGEST_REQUEST, READ_SAMPLES_RESPONSE, WATCH_STATE_RESPONSE, Columnar, read_samples

TAGS = tuple(f"tag/{i}" for i in range(50))
ROWS = 1_000  # of a batch
BATCHES = 200  # of a round
FRAMES = 2_000  # of a round
T0_NS = 1_700_000_000_000_000_000
Channels = tuple[Any, Any]  # to the services and to the bare server


def rows_of(sequence: int, count_: int = ROWS) -> Samples:
    """A batch: every tag in turn, values with two decimals as sensors give them."""
    tag = np.arange(count_, dtype=np.uint32) % len(TAGS)
    time = T0_NS + (sequence * count_ + np.arange(count_)) // len(TAGS) * 100_000_000
    value = np.round(350.0 + np.random.default_rng(sequence).normal(0, 0.1, count_), 2)
    return Samples(TAGS, tag, time, value, np.zeros(count_, np.uint32))


class Bare:
    """As little as a server can do: answers every message with a short one, or sends ready bytes."""

    def __init__(self) -> None:
        self.state = WATCH_STATE_RESPONSE.encode(twin_convert.update(published(), 0, 1, "run"))
        self.ready = READ_SAMPLES_RESPONSE.encode(convert.frame(rows_of(0, FRAME_ROWS)))

    async def take(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b"\x08\x01"

    async def send(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield self.ready

    async def send_states(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        for _ in range(FRAMES):
            yield self.state

    def add(self, grpc_server: grpc.aio.Server) -> None:
        handlers = {
            "Take": grpc.stream_stream_rpc_method_handler(self.take),
            "Send": grpc.unary_stream_rpc_method_handler(self.send),
            "SendStates": grpc.unary_stream_rpc_method_handler(self.send_states),
        }
        grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bare", handlers),))


def published() -> Published:
    """A state of ROWS signals."""
    rng = np.random.default_rng(3)
    value = rng.normal(350.0, 10.0, ROWS)
    snapshot = Snapshot("branch", 7, T0_NS, T0_NS, value, rng.uniform(0, 1, ROWS), np.zeros(ROWS, np.uint32), value)
    return Published(snapshot, T0_NS)


class Twins:
    """Always has one more state."""

    GetAsset = ListAssets = GetNetwork = None

    async def WatchState(self, request: object, context: object) -> AsyncIterator[Any]:
        state = published()
        for missed in range(FRAMES):
            yield twin_convert.update(state, missed, 1, "run")


async def serve(folder: Path) -> None:
    metrics = Metrics()
    store, bus = SqliteStore(folder / "history.db", metrics), SampleBus()
    tags = [Tag(name=name, unit="K", low=200.0, high=500.0) for name in TAGS]
    bindings = [
        TagBinding(tag=tag, plant="p", browse_path=tag.name, namespace_uri="urn:p", display_unit="K") for tag in tags
    ]
    services = [
        server.Service(
            name="uem.v1.IngestionService",
            add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
            servicer=IngestionServicer(Worker(tags, store, bus, metrics)),
        ),
        server.Service(
            name="uem.v1.HistoryService",
            add=history_pb2_grpc.add_HistoryServiceServicer_to_server,
            servicer=HistoryServicer(bindings, store, bus),
        ),
    ]
    services.append(
        server.Service(name="uem.v1.TwinService", add=twin_pb2_grpc.add_TwinServiceServicer_to_server, servicer=Twins())
    )
    started = await server.start(services, metrics=metrics)
    bare = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    Bare().add(bare)
    bare_port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    print(json.dumps({"address": started.address, "bare": f"127.0.0.1:{bare_port}"}), flush=True)
    await started.wait()


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("ingest")
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.kill()


@pytest.fixture
def channels(addresses: dict[str, str]) -> Iterator[Channels]:
    options = [("grpc.max_receive_message_length", 16 << 20)]
    with (
        grpc.insecure_channel(addresses["address"], options) as real,
        grpc.insecure_channel(addresses["bare"], options) as bare,
    ):
        yield real, bare


def request(producer: str, sequence: int, samples: Samples) -> bytes:
    """The bytes of an IngestRequest; a sender would make them once per batch."""
    frame, columns = convert.frame(samples)
    message = ingestion_pb2.IngestRequest(producer=producer, sequence=sequence, samples=frame.samples)
    return INGEST_REQUEST.encode(Columnar(message, columns))


def best_of(times: int, work: Callable[[], object]) -> float:
    """The shortest time of some runs, s."""

    def once() -> float:
        begin = perf_counter()
        work()
        return perf_counter() - begin

    return min(once() for _ in range(times))


def note_rate(benchmark: Any, samples: int, peer_s: float, peer: str) -> None:
    """Samples per second of the best round, next to the peer's best time for the same work."""
    best_s = benchmark.stats.stats.min
    benchmark.extra_info.update(
        figure=samples / best_s, unit="samples/s", peer=peer, peer_figure=samples / peer_s, ratio=peer_s / best_s
    )


@pytest.mark.parametrize("rows", [ROWS, 50], ids=["1000 rows per batch", "50 rows per batch"])
def test_durable_ingest(benchmark: Any, channels: Channels, short: bool, rows: int) -> None:
    """Batches over one stream, pipelined; done when the last is acknowledged, which means on disk."""
    real, bare = channels
    ingest = real.stream_stream("/uem.v1.IngestionService/Ingest")
    take = bare.stream_stream("/bench.Bare/Take")
    sequences = count(1)
    producer = f"bench {rows}"

    def prepared() -> tuple[tuple[list[bytes]], dict[str, Any]]:
        return ([request(producer, n := next(sequences), rows_of(n, rows)) for _ in range(BATCHES)],), {}

    def send(requests: list[bytes]) -> None:
        acknowledged = list(ingest(iter(requests)))
        assert len(acknowledged) == BATCHES
        last = ingestion_pb2.IngestResponse.FromString(acknowledged[-1])
        assert (last.stored_count, last.duplicate) == (rows, False)

    benchmark.pedantic(send, setup=prepared, rounds=3 if short else 12, warmup_rounds=1)
    (requests,), _ = prepared()
    bare_s = best_of(5, lambda: list(take(iter(requests))))
    note_rate(benchmark, BATCHES * rows, bare_s, "bare stream, nothing kept")


def test_acknowledgement_under_load(benchmark: Any, channels: Channels, short: bool) -> None:
    """Batches at their times, 200,000 samples a second: the wait of each for its acknowledgement, of which the p99."""
    ingest = channels[0].stream_stream("/uem.v1.IngestionService/Ingest")
    batches, period_s = 400 if short else 4_000, ROWS / 200_000
    requests = [request("paced", i + 1, rows_of(i % 50, ROWS)) for i in range(batches)]
    began = perf_counter() + 0.1
    due_s = [began + i * period_s for i in range(batches)]

    def paced() -> Iterator[bytes]:
        for due, message in zip(due_s, requests, strict=True):
            sleep(max(0.0, due - perf_counter()))
            yield message

    def send() -> list[float]:
        answers = ingest(paced())
        return [perf_counter() - due for due, _ in zip(due_s, answers, strict=True)]

    waits_s = np.array(benchmark.pedantic(send, rounds=1))
    benchmark.extra_info.update(figure=float(np.quantile(waits_s, 0.99)) * 1e3, unit="ms, p99 at 200,000 samples/s")
    benchmark.extra_info["p50_ms"] = float(np.median(waits_s)) * 1e3


def test_acknowledgement_of_a_single_batch(benchmark: Any, channels: Channels) -> None:
    """One batch at a time: the wait for others and the fsync are in it."""
    ingest = channels[0].stream_stream("/uem.v1.IngestionService/Ingest")
    sequences = count(1)

    def send() -> None:
        sequence = next(sequences)
        (response,) = ingest(iter([request("single", sequence, rows_of(sequence, 50))]))
        response = ingestion_pb2.IngestResponse.FromString(response)
        assert response.sequence == sequence

    benchmark.pedantic(send, rounds=100, warmup_rounds=5)


def test_history_read(benchmark: Any, channels: Channels, short: bool) -> None:
    """All tags over their whole range, into numpy columns; next to a stream of as many ready frames."""
    real, bare = channels
    ingest = real.stream_stream("/uem.v1.IngestionService/Ingest")
    rows = 50_000
    list(ingest(request("history", i + 1, rows_of(100_000 + i, rows)) for i in range(10)))
    stream = read_samples(real)
    start_ns = int(rows_of(100_000, rows).source_time_ns[0])
    question = history_pb2.ReadSamplesRequest(tag_name=TAGS, start_time_ns=start_ns)

    def read() -> int:
        return sum(len(frame.columns["tag"]) for frame in stream(question))

    assert benchmark.pedantic(read, rounds=3 if short else 12, warmup_rounds=1) == 10 * rows
    send = bare.unary_stream("/bench.Bare/Send", response_deserializer=READ_SAMPLES_RESPONSE.decode)
    frames = str(-(-10 * rows // FRAME_ROWS)).encode()
    bare_s = best_of(5, lambda: list(send(frames)))
    note_rate(benchmark, 10 * rows, bare_s, "stream of ready bytes")


def test_stream_of_states(benchmark: Any, channels: Channels, short: bool) -> None:
    """Frames of a thousand values with deviation, quality and age, made anew each; next to as many ready frames."""
    real, bare = channels
    watch, send = real.unary_stream("/uem.v1.TwinService/WatchState"), bare.unary_stream("/bench.Bare/SendStates")
    ours_s, bare_s = [], []

    def pair() -> None:
        ours_s.append(best_of(1, lambda: list(watch(b""))))
        bare_s.append(best_of(1, lambda: list(send(b""))))

    benchmark.pedantic(pair, rounds=3 if short else 12, warmup_rounds=1)
    assert (
        WATCH_STATE_RESPONSE.decode(next(iter(watch(b"")))).columns["value"].tolist()
        == published().snapshot.value.tolist()
    )
    benchmark.extra_info.update(
        figure=FRAMES * ROWS / min(ours_s),
        unit="values/s",
        peer="stream of ready bytes",
        peer_figure=FRAMES * ROWS / min(bare_s),
        ratio=min(bare_s) / min(ours_s),
    )


def test_read_of_one_tag(benchmark: Any, channels: Channels) -> None:
    """The newest thousand rows of one tag."""
    stream = read_samples(channels[0])
    question = history_pb2.ReadSamplesRequest(tag_name=[TAGS[7]], limit=1000)
    found = benchmark(lambda: sum(len(frame.columns["tag"]) for frame in stream(question)))
    assert found == 1000


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
