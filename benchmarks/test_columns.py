"""Batches of columns to bytes and back, next to the generated classes on the same message, per row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from uem.v1.columns import INGEST_REQUEST, Columnar
from uem.v1.common_pb2 import Samples
from uem.v1.ingestion_pb2 import IngestRequest

NAMES = [f"tag/{i}" for i in range(50)]
Compare = Callable[..., None]


def columns_of(rows: int) -> dict[str, Any]:
    return {
        "tag": np.arange(rows, dtype=np.uint32) % 50,
        "source_time_ns": 10**18 + np.arange(rows, dtype=np.int64),
        "value": np.random.default_rng(7).normal(350.0, 0.1, rows),
        "quality": np.zeros(rows, np.uint32),
    }


def ours(columns: dict[str, Any]) -> bytes:
    message = IngestRequest(producer="p", sequence=7, samples=Samples(tag_name=NAMES))
    return INGEST_REQUEST.encode(Columnar(message, columns))


def through_lists(columns: dict[str, Any]) -> bytes:
    samples = Samples(tag_name=NAMES, **{name: column.tolist() for name, column in columns.items()})
    return IngestRequest(producer="p", sequence=7, samples=samples).SerializeToString()


@pytest.mark.parametrize("rows", [1000, 50])
def test_batch_encoded(compare: Compare, rows: int) -> None:
    columns = columns_of(rows)
    assert ours(columns) == through_lists(columns)
    compare(lambda: ours(columns), lambda: through_lists(columns), peer="protobuf", unit="ns/row", scale=1e9 / rows)


@pytest.mark.parametrize("rows", [1000, 50])
def test_batch_decoded(compare: Compare, rows: int) -> None:
    columns = columns_of(rows)
    data = ours(columns)

    def by_protobuf() -> list[Any]:
        samples = IngestRequest.FromString(data).samples
        return [np.array(getattr(samples, name), column.dtype) for name, column in columns.items()]

    compare(lambda: INGEST_REQUEST.decode(data), by_protobuf, peer="protobuf", unit="ns/row", scale=1e9 / rows)
