"""What a twin needs from the model of an asset. Times int64 ns, everything else SI."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.state import Columns, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSignal:
    """A measured signal that the model can forecast; `prior_sd` until past forecasts tell better."""

    signal: Signal
    prior_sd: float
    low: float = -np.inf  # no quantile lies below


class Follower(Protocol):
    """A model with its state. Only `start`, `step` and `roll_back` change it."""

    name: str
    required_tags: Sequence[str]
    optional_tags: Sequence[str]
    step_s: float
    signals: tuple[Signal, ...]
    forecast_signals: tuple[ForecastSignal, ...]
    forecast_horizon_s: float
    forecast_step_s: float
    contradiction_count: int  # steps whose inputs contradicted each other or the model

    @property
    def forecast_method(self) -> str:
        """How `project` does it, in one sentence without its full stop."""
        ...

    @property
    def patience(self) -> Patience:
        """How long it goes without news."""
        ...

    def start(self, intake: Intake, time_ns: int) -> None:
        """Begin at a time all required tags are known for."""
        ...

    def step(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """Go from one known time to the next; raises InvalidInput or ModelFailure."""
        ...

    def roll_back(self, dt_s: float) -> None:
        """Undo the last step; its time is booked as not lived through."""
        ...

    def write(self, intake: Intake, time_ns: int, columns: Columns) -> None:
        """Put every signal at the time of the last step."""
        ...

    def project(self, intake: Intake, time_ns: int, step_s: float, count: int) -> NDArray[np.float64]:
        """Go on from a copy of the state with inputs held; shape (count, n_forecast_signals).

        A power is its mean over each step, all else the value at the step's end.
        """
        ...

    def observe(self, intake: Intake, time_ns: int) -> NDArray[np.float64]:
        """What was measured of the forecast signals, shape (n_forecast_signals,); NaN where it is not to be judged.

        Powers are means over the last forecast step, as those of `project`.
        """
        ...
