"""IngestionService: batches in, acknowledgements out in their order."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

from uem.services.ingestion import convert
from uem.services.ingestion.worker import Taken, Worker
from uem.services.status import Context, errors_as_status
from uem.v1 import ingestion_pb2 as pb
from uem.v1 import ingestion_pb2_grpc
from uem.v1.columns import Columnar

MOST_IN_FLIGHT = 8  # batches of one stream that wait for their acknowledgement; then its sender is held back
Pending: TypeAlias = "asyncio.Queue[asyncio.Future[Taken] | Exception | None]"


class IngestionServicer(ingestion_pb2_grpc.IngestionServiceServicer):
    """Translates; the worker decides."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def Ingest(  # type: ignore[override]  # columns beside their message
        self, request_iterator: AsyncIterator[Columnar[pb.IngestRequest]], context: Context
    ) -> AsyncIterator[pb.IngestResponse]:
        """One acknowledgement per batch, after its commit; the first wrong batch ends the stream."""
        async with errors_as_status(context):
            pending: Pending = asyncio.Queue(MOST_IN_FLIGHT)
            reading = asyncio.create_task(self._read(request_iterator, pending))
            try:
                while (batch := await pending.get()) is not None:
                    if isinstance(batch, Exception):
                        raise batch
                    yield _response(await batch)
            finally:
                reading.cancel()

    async def GetProducer(self, request: pb.GetProducerRequest, context: Context) -> pb.GetProducerResponse:
        """The last sequence of a producer that is on disk."""
        async with errors_as_status(context):
            last = self._worker.last_sequence(convert.producer(request.producer))
            return pb.GetProducerResponse(last_sequence=last)

    async def _read(self, requests: AsyncIterator[Columnar[pb.IngestRequest]], pending: Pending) -> None:
        """Submit batch after batch; the error that ends it waits in line behind their acknowledgements."""
        error: Exception | None = None
        try:
            async for request, columns in requests:
                producer, sequence = convert.producer(request.producer), convert.sequence(request.sequence)
                samples, gaps = convert.samples(request.samples.tag_name, columns), convert.gaps(request.gaps)
                alarms = convert.alarms(request.alarms)
                await pending.put(await self._worker.submit(producer, sequence, samples, gaps, alarms, request.behind))
        except Exception as wrong:
            error = wrong
        await pending.put(error)


def _response(taken: Taken) -> pb.IngestResponse:
    return pb.IngestResponse(
        sequence=taken.sequence,
        stored_count=taken.stored.row_count,
        duplicate=taken.stored.duplicate,
        refused_gap_count=taken.refused_gaps,
        refused_alarm_count=taken.refused_alarms,
        rejections=[
            pb.Rejection(reason=reason, row_count=row_count, tag_name=tags) for reason, row_count, tags in taken.refused
        ],
    )
