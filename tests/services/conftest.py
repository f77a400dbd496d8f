import contextlib
import logging

import grpc
import numpy as np
import pytest

from uem.services import server
from uem.services.bus import SampleBus
from uem.services.health import Checks
from uem.services.history.servicer import HistoryServicer
from uem.services.history.sqlite import SqliteStore
from uem.services.ingestion.servicer import IngestionServicer
from uem.services.ingestion.worker import Worker
from uem.services.metrics import Metrics
from uem.twin_core.measurements import Samples, Tag
from uem.twin_core.plant.territory import TagBinding
from uem.v1 import history_pb2_grpc, ingestion_pb2, ingestion_pb2_grpc

T0_NS = 1_700_000_000_000_000_000
TAGS = (
    Tag(name="branch/supply", unit="K", low=263.15, high=423.15),
    Tag(name="branch/flow", unit="kg/s", low=-100.0, high=100.0),
    Tag(name="washer/power", unit="W"),
)


def _samples(*rows):
    """Rows of (tag, seconds after T0, value) or with a quality as fourth."""
    return Samples.from_rows(
        (name, T0_NS + round(second * 1e9), value, quality[0] if quality else 0)
        for name, second, value, *quality in rows
    )


def _batch(producer, sequence, rows):
    """An IngestRequest of columns."""
    request = ingestion_pb2.IngestRequest(producer=producer, sequence=sequence)
    request.samples.tag_name.extend(rows.names)
    for field in ("tag", "source_time_ns", "value", "quality"):
        getattr(request.samples, field).extend(getattr(rows, field).tolist())
    return request


class Site:
    """Ingestion and history on a real server, and what stands behind them."""

    def __init__(self, path):
        self.metrics = Metrics()
        self.checks = Checks(self.metrics)
        self.store = SqliteStore(path, self.metrics)
        self.bus = SampleBus()

    async def start(self, **options):
        worker = Worker(TAGS, self.store, self.bus, self.metrics)
        bindings = [
            TagBinding(tag=tag, plant="p", browse_path=tag.name, namespace_uri="urn:p", display_unit="Cel")
            for tag in TAGS
        ]
        self.server = await server.start(
            [
                server.Service(
                    name="uem.v1.IngestionService",
                    add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
                    servicer=IngestionServicer(worker),
                ),
                server.Service(
                    name="uem.v1.HistoryService",
                    add=history_pb2_grpc.add_HistoryServiceServicer_to_server,
                    servicer=HistoryServicer(bindings, self.store, self.bus),
                ),
            ],
            metrics=self.metrics,
            checks=self.checks,
            **options,
        )
        self.channel = grpc.aio.insecure_channel(self.server.address, options=(("grpc.use_local_subchannel_pool", 1),))
        self.ingestion = ingestion_pb2_grpc.IngestionServiceStub(self.channel)
        self.history = history_pb2_grpc.HistoryServiceStub(self.channel)
        return self

    async def ingest(self, *requests):
        """Send requests over one stream; all responses."""
        return [response async for response in self.ingestion.Ingest(iter(requests), timeout=60)]

    async def close(self):
        await self.channel.close()
        await self.server.drain(1.0)
        self.store.close()


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Processes set logging up for themselves; a handler must not outlive the stream that its test captured."""
    before = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = before


@pytest.fixture(scope="session")
def site_at():
    """Makes a site with its history in a file, to be started."""
    return Site


@pytest.fixture
async def site(tmp_path):
    site = await Site(tmp_path / "history.db").start()
    yield site
    await site.close()


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(SqliteStore(tmp_path / "history.db", Metrics())) as store:
        yield store


def _same(a, b):
    assert [a.names[i] for i in a.tag] == [b.names[i] for i in b.tag]
    for field in ("source_time_ns", "value", "quality"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


@pytest.fixture(scope="session")
def samples():
    """Makes samples from rows of (tag, seconds after T0, value[, quality])."""
    return _samples


@pytest.fixture(scope="session")
def batch():
    """Makes an IngestRequest of (producer, sequence, samples)."""
    return _batch


@pytest.fixture(scope="session")
def same():
    """Asserts that two batches hold the same rows in the same order, NaN equal to NaN."""
    return _same


@pytest.fixture(scope="session")
def t0_ns():
    """Time zero of the rows."""
    return T0_NS
