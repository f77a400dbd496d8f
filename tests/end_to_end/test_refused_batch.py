"""The uplink against the ingestion service itself: what it refuses as a whole does not block what follows."""

import asyncio
import contextlib

import pytest

from uem.hardware_adapters.spool import Spool
from uem.hardware_adapters.uplink import Uplink
from uem.services import server
from uem.services.bus import SampleBus
from uem.services.health import Checks
from uem.services.history.sqlite import SqliteStore
from uem.services.ingestion.convert import MOST_ROWS
from uem.services.ingestion.servicer import IngestionServicer
from uem.services.ingestion.worker import Worker
from uem.services.metrics import Metrics
from uem.twin_core.measurements import Samples, Tag
from uem.v1 import ingestion_pb2_grpc

T0_NS = 1_700_000_000_000_000_000


def batch(second, rows=1):
    return Samples.from_rows([("hall/power", T0_NS + second * 10**9 + i, float(second), 0) for i in range(rows)])


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "gateway" / "spool.db") as opened:
        yield opened


@pytest.fixture
async def site(tmp_path):
    """Address of the service and the store behind it."""
    metrics = Metrics()
    with contextlib.closing(SqliteStore(tmp_path / "history.db", metrics)) as store:
        service = server.Service(
            name="uem.v1.IngestionService",
            add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
            servicer=IngestionServicer(Worker([Tag(name="hall/power", unit="W")], store, SampleBus(), metrics)),
        )
        running = await server.start([service], metrics=metrics, checks=Checks(metrics))
        yield running.address, store
        await running.drain(1.0)


async def delivered(address, spool):
    uplink = Uplink(address, spool)
    task = asyncio.create_task(uplink.run())
    try:
        end = asyncio.get_running_loop().time() + 60
        while spool.batch_count:
            assert asyncio.get_running_loop().time() < end, f"{spool.batch_count} batches wait still"
            await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return uplink


def stored_seconds(store):
    rows = store.read(["hall/power"], 0, 2**62)
    return rows.value.tolist()


@pytest.mark.parametrize("wrong", [[1], [3], [7], [3, 4], [1, 2, 3, 4, 5, 6, 7]])
async def test_a_batch_that_is_refused_is_set_aside_and_the_others_are_stored(wrong, site, spool, caplog):
    address, store = site
    for number in range(1, 8):
        assert spool.append(batch(number, MOST_ROWS + 1 if number in wrong else 1)) == number
    uplink = await delivered(address, spool)
    assert stored_seconds(store) == [float(number) for number in range(1, 8) if number not in wrong]
    assert store.last_sequence(spool.producer) == 7
    assert uplink.refused_batches == len(wrong)
    assert spool.refused_row_count == len(wrong) * (MOST_ROWS + 1)
    kept = spool._db.execute("SELECT sequence, reason FROM refused ORDER BY sequence").fetchall()
    assert [sequence for sequence, _ in kept] == wrong
    assert all("a batch has at most" in reason for _, reason in kept)
    assert f"refuses batch {wrong[0]} with {MOST_ROWS + 1} rows: samples.tag" in caplog.text


async def test_a_service_that_lost_acknowledged_batches_gets_the_rest_from_another_producer(site, spool, caplog):
    """Its history was restored from a copy: what we have forgotten is lost, what follows must not wait for it."""
    address, store = site
    producer = spool.producer
    store.append(producer, 1, batch(1)).result(10)
    for number in range(1, 6):
        spool.append(batch(number))
    spool.acknowledge(3)
    uplink = await delivered(address, spool)
    assert stored_seconds(store) == [1.0, 4.0, 5.0]
    assert uplink.refused_batches == 0
    assert spool.producer != producer
    assert "lost what it had acknowledged" in caplog.text
