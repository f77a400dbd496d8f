"""Rows -> what goes over the wire."""

from uem.twin_core.measurements import Samples
from uem.v1 import common_pb2
from uem.v1 import history_pb2 as pb
from uem.v1.columns import READ_SAMPLES_RESPONSE, Columnar


def frame(samples: Samples) -> Columnar[pb.ReadSamplesResponse]:
    """A frame of rows."""
    names = common_pb2.Samples(tag_name=samples.names)
    return READ_SAMPLES_RESPONSE.columnar(pb.ReadSamplesResponse(samples=names), samples)
