"""What a twin needs from the model of an asset. Times int64 ns, everything else SI."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.state import Columns, Signal

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSignal:
    """A measured signal that the model can forecast; `prior_sd` until past forecasts tell better."""

    signal: Signal
    prior_sd: float
    low: float = -np.inf  # no quantile lies below
    # From so far ahead on it is mostly off by weather, as forecasts before and after are: bands learn less from each.
    weather_s: float = np.inf


class Follower(Protocol):
    """A model with its state. Only `start`, `step` and `roll_back` change it."""

    name: str
    required_tags: Sequence[str]
    optional_tags: Sequence[str]
    discrete_tags: Mapping[str, Sequence[str]]  # states and counts, each with the gauges of what it is of
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


@runtime_checkable
class CoarseFollower(Follower, Protocol):
    """One that is followed so finely that a past which is read again is followed in longer steps, by fewer samples."""

    @property
    def past_step_s(self) -> float:
        """Of that past; 0: as live."""
        ...

    @property
    def meter_tags(self) -> Sequence[str]:
        """Of which one sample a step tells enough: no states, no counters."""
        ...


@runtime_checkable
class ForkingFollower(Follower, Protocol):
    """One that tells of each time how sure it is, as by many futures of its state."""

    forecast_band: str  # how quantiles come about, in one sentence without its full stop
    forecast_fresh_s: float  # a forecast that is not older is given again

    def hear(self, asset: str, signal: str, valid_ns: NDArray[np.int64], values: Array) -> bool:
        """What is expected of another asset: SI values at its valid times. Most need not know.

        Whether it matters and nothing was heard of it before.
        """
        ...

    def fork(self, intake: Intake, time_ns: int, step_s: float, count: int) -> Callable[[], tuple[Array, Array]]:
        """Copy what futures start from; what is returned runs them, while the twin may go on in another thread.

        It gives the mean of the futures as `project` does, and their spread, both (count, n_forecast_signals).
        A spread is a standard deviation, sensors included; 0 where nothing can come otherwise. The band is as wide as
        that, times what was learned.
        """
        ...
