import sys
from functools import cache

import pytest
from shipped import shipped

from uem.offline.series import read_recording
from uem.twin_core.measurements import Samples
from uem.twin_core.twin import make_twin


@pytest.fixture(scope="session")
def pongau():
    return shipped("pongau")


@pytest.fixture(scope="session")
def recorded(pongau):
    """The measured recording of an asset as one batch in order of time."""

    @cache
    def samples(asset):
        rows = read_recording(pongau, make_twin(pongau.asset(asset)).tags).rows()
        return Samples.concatenate([batch for _, batch in rows])

    return samples


@pytest.fixture
def untraced():
    """Without the tracer of coverage, whose frames would count as memory that a step takes."""
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)
