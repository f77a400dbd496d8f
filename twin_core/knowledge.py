"""What a twin has learned over days, in a form that outlives it. Times int64 ns.

Only what is learned over more time than the past that a twin reads again at a start: bands of forecasts, the heating
curve of a network, what machines of a factory are like. States, biases and ledgers are none of it.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Knowledge(NamedTuple):
    """What was learned until a plant time."""

    of: str  # a fingerprint of what it was learned of: asset, signals, parameters of the rules
    time_ns: int
    arrays: Mapping[str, Array]  # by name, of any shapes


@runtime_checkable
class Learner(Protocol):
    """A part of a twin that learns over more time than the past that is read again at a start."""

    @property
    def learned_of(self) -> str:
        """Of what: where another text stands, what was learned means nothing."""
        ...

    def learned(self) -> dict[str, Array]:
        """What it knows now, by names of its own, in arrays that stay as they are."""
        ...

    def recall(self, arrays: Mapping[str, Array], time_ns: int) -> None:
        """Know what another of the same text knew at that time, before a start or on the way; InvalidInput if not."""
        ...
