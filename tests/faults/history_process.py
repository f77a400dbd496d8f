"""Ingestion and history as a process of their own, to be killed: `history_process.py FOLDER`.

Prints one line of JSON when ready. Rearranges its store all the time, so that a kill meets that too.
"""

import asyncio
import json
import sys
from pathlib import Path

from uem.services import server
from uem.services.bus import SampleBus
from uem.services.health import Checks
from uem.services.history.sqlite import SqliteStore, Tuning
from uem.services.ingestion.servicer import IngestionServicer
from uem.services.ingestion.worker import Worker
from uem.services.metrics import Metrics, serve_metrics
from uem.twin_core.measurements import Tag
from uem.v1 import ingestion_pb2_grpc


async def serve(folder):
    metrics = Metrics()
    checks = Checks(metrics)
    store = SqliteStore(folder / "history.db", metrics, Tuning(tail_rows=3000, tail_commits=20))
    worker = Worker([Tag(name=f"tag/{i}", unit="1") for i in range(4)], store, SampleBus(), metrics)
    service = server.Service(
        name="uem.v1.IngestionService",
        add=ingestion_pb2_grpc.add_IngestionServiceServicer_to_server,
        servicer=IngestionServicer(worker),
    )
    checks.register("store", store.problem)
    started = await server.start([service], metrics=metrics, checks=checks)
    with serve_metrics(metrics, 0) as endpoint:
        ready = {"ready": True, "address": started.address, "metrics": endpoint.address}
        print(json.dumps(ready), flush=True)
        await started.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
