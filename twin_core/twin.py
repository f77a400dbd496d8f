"""A twin: the one place where time advances.

Samples go in with `take`; `advance` steps the model to the newest time that all its inputs are known for (or to an
earlier one) and gives a snapshot per step. Steps lie on a fixed grid from the first complete row of measurements on,
so the same samples give the same snapshots bit for bit, however they were cut into batches.

A network that takes the heat of followed factories moves in step with them: its twin leads, theirs are led by it. One
whose own meters tell that heat is followed by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from uem.twin_core.errors import InvalidInput, ModelFailure, NotConverged, NotReady
from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.witnesses import witnesses
from uem.twin_core.follow.coupled import CoupledFollower, fed_by
from uem.twin_core.follow.factory import FactoryFollower, is_watched
from uem.twin_core.follow.follower import CoarseFollower, Follower, ForkingFollower
from uem.twin_core.follow.machine import MachineFollower
from uem.twin_core.follow.metered import MeteredFollower
from uem.twin_core.follow.network import NetworkFollower
from uem.twin_core.follow.told import told_by
from uem.twin_core.forecast.bands import Forecast
from uem.twin_core.forecast.forks import ForkForecaster
from uem.twin_core.forecast.hold import HoldForecaster
from uem.twin_core.knowledge import Knowledge, Learner
from uem.twin_core.measurements import NS_PER_S, Samples
from uem.twin_core.plant.factory import FactorySite, given_heat
from uem.twin_core.plant.machine import Machine
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.territory import Asset, Territory
from uem.twin_core.state import Columns, Signal, Snapshot, Source, places

LEAST_STEP_S = 1e-3
LONGEST_STEP_S = 86_400.0
KNOWLEDGE_VERSION = 1  # of the meaning of its arrays
LIVE_STEP_S = 1.0  # of what is followed by meters, where they tell so often
_Failure: TypeAlias = InvalidInput | ModelFailure | NotConverged  # of a step, after which the twin goes on


class AssetTwin:
    """Follows one asset. Not for several threads at once."""

    def __init__(
        self,
        follower: Follower,
        step_s: float | None = None,
        led: Sequence["LedTwin"] = (),
        pause_s: float = 0.0,
        *,
        plants: Mapping[str, str] = MappingProxyType({}),
        forecasts: bool = True,
    ) -> None:
        """`step_s`: longest step, by default the asset's own; InvalidInput when it is not in (0, 1 day].

        `led`: twins of what the follower's step moves along with it. `pause_s`: while no sample comes, a step is as
        long as this, if that is longer. `plants`: which plant tells a tag, as far as that is known. Without `forecasts`
        none is issued on the way, from which bands would learn: snapshots are the same and cost a third.
        """
        step_s = follower.step_s if step_s is None else step_s
        if not LEAST_STEP_S <= step_s <= LONGEST_STEP_S:
            raise InvalidInput(f"step {step_s} s; {LEAST_STEP_S} to {LONGEST_STEP_S:.0f} s is allowed")
        self._pause_ns = round(pause_s * NS_PER_S)
        self._follower = follower
        self._forecaster = (
            ForkForecaster(follower) if isinstance(follower, ForkingFollower) else HoldForecaster(follower)
        )
        required, optional = follower.required_tags, follower.optional_tags
        beside = witnesses((*required, *optional), follower.discrete_tags, plants)
        self._intake = Intake(required, optional, follower.patience, self._end_of_time, beside)
        self.discrete_tags = frozenset(follower.discrete_tags)  # see Follower
        self._led = tuple(led)
        for twin in self._led:
            twin.follow(self._intake)
        self._forecasts = forecasts
        self._past_step_ns, self.meter_tags = 0, frozenset[str]()  # see CoarseFollower
        if isinstance(follower, CoarseFollower):
            self._past_step_ns = round(follower.past_step_s * NS_PER_S)
            self.meter_tags = frozenset(follower.meter_tags)
        self._finished: list[Snapshot] = []  # of a time that the plant has left
        self._step_ns = round(step_s * NS_PER_S)
        self._time_ns: int | None = None
        self._recalled: Knowledge | None = None  # whose time has not passed yet
        self._tick = 0
        self._places = places(follower.signals)
        self._own = np.array([signal.source is not Source.MEASURED for signal in follower.signals])
        self.snapshot: Snapshot | None = None  # the newest
        self._lacking: list[str] = []  # what the follower waits for
        self.failure: ModelFailure | None = None  # why the last step did not succeed
        self.failure_count = 0
        self.forecast_failure: ModelFailure | None = None  # why the last forecast on the grid did not succeed
        self.forecast_failure_count = 0

    @property
    def name(self) -> str:
        """The name of the asset."""
        return self._follower.name

    @property
    def signals(self) -> tuple[Signal, ...]:
        """What the columns of a snapshot are."""
        return self._follower.signals

    @property
    def required_tags(self) -> tuple[str, ...]:
        """Tags without which the twin cannot start."""
        return tuple(self._follower.required_tags)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags whose samples the twin takes."""
        return self._intake.tags

    @property
    def patience(self) -> Patience:
        """How long the twin goes without news."""
        return self._follower.patience

    @property
    def led(self) -> tuple["LedTwin", ...]:
        """Twins that this one moves along."""
        return self._led

    def count_on_from(self, tick: int) -> None:
        """Take the place of a twin that was at this step: the newest snapshot is the next one."""
        self._tick = tick + 1
        if self.snapshot is not None:
            self.snapshot = replace(self.snapshot, tick=self._tick)

    @property
    def knowledge_of(self) -> str:
        """A fingerprint of what this twin learns over days; empty where it learns nothing for so long."""
        texts = [learner.learned_of for learner in self._learners]
        return sha256(repr((KNOWLEDGE_VERSION, self.name, texts)).encode()).hexdigest()[:32] if texts else ""

    @property
    def knowledge(self) -> Knowledge | None:
        """What was learned so far; None before the twin has begun, or where it learns nothing for days."""
        if self._recalled is not None or self._time_ns is None or not self.knowledge_of:
            return self._recalled
        arrays = {name: array for learner in self._learners for name, array in learner.learned().items()}
        return Knowledge(self.knowledge_of, self._time_ns, arrays)

    def recall(self, known: Knowledge) -> None:
        """Know what another twin of the same fingerprint knew. A past until then teaches nothing that is not known yet.

        Raises:
            InvalidInput: it is of something else, or not sound; then the twin may know a part of it.
        """
        if known.of != self.knowledge_of:
            raise InvalidInput(f"asset {self.name}: what is known is of other signals, rules or machines")
        self._apply(known)
        self._recalled = known

    @property
    def _learners(self) -> list[Learner]:
        return [each for each in (self._follower, self._forecaster) if isinstance(each, Learner)]

    def _apply(self, known: Knowledge) -> None:
        for learner in self._learners:
            learner.recall(known.arrays, known.time_ns)

    def _learn_until(self, time_ns: int) -> None:
        """The twin has come to this time: beyond that of what was recalled it learns by itself.

        What the past before has taught was known already: it is undone.
        """
        if self._recalled is not None and time_ns > self._recalled.time_ns:
            self._apply(self._recalled)
            self._recalled = None

    @property
    def late_count(self) -> int:
        """Samples that came too late, or too far ahead of all others, to be used."""
        return self._intake.late_count

    @property
    def unusable_count(self) -> int:
        """Samples of Bad quality or without a number; the value before was held in their place."""
        return self._intake.unusable_count

    @property
    def restart_count(self) -> int:
        """How often the twin began anew because the plant's time jumped, back or far ahead."""
        return self._intake.restart_count

    @property
    def contradiction_count(self) -> int:
        """Steps whose inputs contradicted each other or the model; what came of them is Uncertain."""
        return self._follower.contradiction_count

    @property
    def past_step_s(self) -> float:
        """Of a past that is read again; 0: as live."""
        return self._past_step_ns / NS_PER_S

    def pop_late_ns(self) -> int | None:
        """The newest time of the samples that were too late since this was asked for last; None: there was none."""
        return self._intake.pop_late_ns()

    @property
    def newest_ns(self) -> int | None:
        """The newest source time of any sample."""
        return self._intake.newest_ns

    @property
    def waits_for(self) -> list[str]:
        """What the twin needs to start and that has not come yet: tags, or words of the follower."""
        return self._intake.missing or self._lacking

    def take(self, samples: Samples) -> None:
        """Take samples in; those of other assets are not looked at."""
        self._intake.take(samples)

    def advance(self, until_ns: int | None = None, *, coarsely: bool = False) -> list[Snapshot]:
        """Step as far as the inputs are known, at most to `until_ns`, which then is the end of a step; a snapshot each.

        `coarsely`: in whole steps of `past_step_s`, if the follower has such.

        A step that fails leaves the state as it was: the last snapshot again, marked Uncertain, and `failure` set; its
        time is booked in the ledgers as not measured.
        """
        taken, self._finished = self._finished, []
        if self._intake.start_ns is None or self._intake.watermark_ns is None:
            return taken
        known = self._intake.watermark_ns if until_ns is None else min(until_ns, self._intake.watermark_ns)
        while self._time_ns is None and self._intake.start_ns <= known:
            taken += self._try_to_start(self._intake.start_ns)
        if self._time_ns is None:
            return taken
        is_coarse = coarsely and self._past_step_ns > self._step_ns
        while (end_ns := self._next_ns(known, partial=until_ns is not None, is_coarse=is_coarse)) is not None:
            taken.append(self._step(end_ns))
        self._intake.forget_before(self._now_ns)
        return taken

    def forecast(self, horizon_s: float | None = None) -> Forecast:
        """What is expected from the present state on, by default over the asset's own horizon.

        Raises:
            NotReady: the twin has not started.
            InvalidInput: the horizon is not positive or longer than a day.
            ModelFailure: the model cannot go on from its state.
        """
        return self.prepare_forecast(horizon_s)()

    def prepare_forecast(self, horizon_s: float | None = None) -> Callable[[], Forecast]:
        """As `forecast`, from a copy of the present state: what is returned may run while the twin goes on."""
        if self._time_ns is None:
            waiting = ", ".join(self.waits_for) or "the first complete row"
            raise NotReady(f"asset {self.name}: no state yet, waiting for measurements: {waiting}")
        forecast = self._forecaster.forecast(self._intake, self._time_ns, horizon_s)
        return forecast if self.forecast_failure is None else lambda: forecast().as_uncertain()

    def hear(self, forecast: Forecast) -> None:
        """What is expected of another asset, which may matter to the forecasts of this one."""
        if isinstance(self._forecaster, ForkForecaster):
            self._forecaster.hear(forecast)

    @property
    def _now_ns(self) -> int:
        assert self._time_ns is not None
        return self._time_ns

    def _end_of_time(self) -> None:
        """The plant's time is about to jump: finish what is known, then begin anew."""
        self._finished = self.advance()
        self._time_ns = self._recalled = None  # what was recalled is known by now

    def _try_to_start(self, time_ns: int) -> list[Snapshot]:
        """The first snapshot; none if the model cannot begin with these measurements: the next are tried."""
        self._intake.start_ns = time_ns + self._step_ns
        try:
            self._follower.start(self._intake, time_ns)
        except NotReady as error:
            self._lacking = [str(error)]
            return []
        except (InvalidInput, ModelFailure, NotConverged) as error:
            self.failure = ModelFailure(f"asset {self.name} cannot start: {error}")
            return []
        self.failure, self._lacking = None, []
        self._begin_at(time_ns)
        for twin in self._led:
            twin.lead_from(time_ns)
        return [self._publish()]

    def _begin_at(self, time_ns: int) -> None:
        self._time_ns = self._origin_ns = time_ns
        self._forecaster.start(time_ns)
        if self._recalled is not None and time_ns >= self._recalled.time_ns:
            self._recalled = None

    def _next_ns(self, known_ns: int, *, partial: bool, is_coarse: bool) -> int | None:
        """The end of the next step: the next grid point that a sample comes before, or with `partial` what is known."""
        if is_coarse:
            end_ns = self._grid_after(self._now_ns, self._past_step_ns)
            return end_ns if end_ns <= known_ns else None
        end_ns = self._grid_after(self._now_ns, self._step_ns)
        if self._pause_ns > self._step_ns:
            quiet_ns = self._grid_after(self._now_ns, self._pause_ns)
            sample_ns = self._intake.next_ns(self._now_ns)
            if sample_ns is not None:
                quiet_ns = min(quiet_ns, self._grid_after(sample_ns - 1, self._step_ns))
            end_ns = max(end_ns, quiet_ns)
        if end_ns <= known_ns:
            return end_ns
        return known_ns if partial and known_ns > self._now_ns else None

    def _grid_after(self, time_ns: int, step_ns: int) -> int:
        return time_ns + step_ns - (time_ns - self._origin_ns) % step_ns

    def _step(self, end_ns: int) -> Snapshot:
        begin_ns, self._time_ns = self._now_ns, end_ns
        try:
            self._follower.step(self._intake, begin_ns, end_ns)
            snapshot = self._publish()
            for twin in self._led:
                twin.lead_to(end_ns)
        except Exception as error:
            self._follower.roll_back((end_ns - begin_ns) / NS_PER_S)
            if not isinstance(error, _Failure):
                raise
            for twin in self._led:
                twin.lead_to(end_ns, error)
            return self._publish_failure(error)
        self.failure = None
        self._learn_until(end_ns)
        self._tick_forecaster(end_ns)
        return snapshot

    def _tick_forecaster(self, time_ns: int) -> None:
        """A forecast that fails, for whatever reason, does not harm the twin: it is told in `forecast_failure`."""
        if not self._forecasts:
            return
        try:
            if self._forecaster.tick(self._intake, time_ns):
                self.forecast_failure = None
        except Exception as error:
            self.forecast_failure = ModelFailure(f"asset {self.name}: no forecast: {error}")
            self.forecast_failure_count += 1

    def _publish(self) -> Snapshot:
        columns = Columns(self._places)
        self._follower.write(self._intake, self._now_ns, columns)
        snapshot = columns.snapshot(self.name, self._tick + 1, self._now_ns, self._origin_ns)
        if not np.isfinite(snapshot.value[self._own]).all():
            wrong = [s.name for s, v in zip(self.signals, snapshot.value, strict=True) if not np.isfinite(v)]
            raise ModelFailure(f"asset {self.name}: {', '.join(wrong)} not finite after a step")
        self._tick += 1
        self.snapshot = snapshot
        return snapshot

    def _publish_failure(self, error: _Failure) -> Snapshot:
        assert self.snapshot is not None
        self.failure = error if isinstance(error, ModelFailure) else ModelFailure(str(error))
        self.failure_count += 1
        self._tick += 1
        self.snapshot = self.snapshot.as_stale()
        return self.snapshot


class LedTwin(AssetTwin):
    """The twin of an asset that the step of another twin moves; that one takes the samples of both.

    Its `advance` hands out the snapshots that came of the leading twin's steps.
    """

    def follow(self, intake: Intake) -> None:
        """Read what the leading twin takes in."""
        self._intake = intake

    def take(self, samples: Samples) -> None:
        """Nothing: the leading twin takes them."""

    def advance(self, until_ns: int | None = None, *, coarsely: bool = False) -> list[Snapshot]:
        """Snapshots since the last call; the leading twin sets the time."""
        taken, self._finished = self._finished, []
        return taken

    def lead_from(self, time_ns: int) -> None:
        """The leading twin began at this time."""
        self.failure = None
        self._begin_at(time_ns)
        self._finished.append(self._publish())

    def lead_to(self, end_ns: int, error: _Failure | None = None) -> None:
        """The leading twin stepped to this time, or could not."""
        self._time_ns = end_ns
        if error is not None:
            self._finished.append(self._publish_failure(error))
            return
        self.failure = None
        self._finished.append(self._publish())
        self._learn_until(end_ns)
        self._tick_forecaster(end_ns)


def make_twin(asset: Asset, step_s: float | None = None, *, forecasts: bool = True) -> AssetTwin:
    """The twin of a network, a machine or a factory; see AssetTwin."""
    return AssetTwin(_follower(asset), step_s, forecasts=forecasts)


def _follower(asset: Asset) -> Follower:
    match asset:
        case Network():
            return NetworkFollower(asset)
        case Machine():
            return MachineFollower(asset)
        case FactorySite():
            return FactoryFollower(asset)


def make_twins(territory: Territory) -> list[AssetTwin]:
    """A twin for every asset of a territory that can be followed.

    A closed network whose tags tell of its units is followed by them, and so are the factories beside it that are
    watched; those that are not have no twin. Other networks come with the factories whose heat they take, which they
    lead.
    """
    sensors = {binding.column: binding.tag.name for binding in territory.tags if binding.column}
    plants = {binding.tag.name: binding.plant for binding in territory.tags}
    closed = [network for network in territory.networks if not network.flows_are_imposed]
    streams = {
        (site.name, f"heat/{stream.name}"): (loop.network, loop.unit)
        for site, stream, loop in given_heat(territory.factories)
    }
    metered = {
        network.name: MeteredFollower(
            network, sensors, {key: unit for key, (name, unit) in streams.items() if name == network.name}
        )
        for network in closed
        if told_by(network, sensors)
    }
    watched = [site for site in territory.factories if is_watched(site) or not metered]
    followers = {site.name: FactoryFollower(site, sensors) for site in watched}
    found: list[AssetTwin] = []
    led: dict[str, LedTwin] = {}
    for network in territory.networks:
        if network.name in metered:
            found.append(AssetTwin(metered[network.name], LIVE_STEP_S, pause_s=network.step_s, plants=plants))
            continue
        mine = [f for name, f in followers.items() if name not in led and fed_by(network, f)]
        if network.flows_are_imposed or not mine:
            found.append(AssetTwin(_follower(network), plants=plants))
            continue
        beside = {follower.name: LedTwin(follower) for follower in mine}
        found.append(AssetTwin(CoupledFollower(network, mine), led=tuple(beside.values()), plants=plants))
        led |= beside
    found += [AssetTwin(_follower(machine), plants=plants) for machine in territory.machines]
    return found + [led.get(name) or _of_factory(follower, plants) for name, follower in followers.items()]


def _of_factory(follower: FactoryFollower, plants: Mapping[str, str]) -> AssetTwin:
    """Meters move the time of a factory on: then it is followed as often as they tell."""
    step_s = min(LIVE_STEP_S, follower.step_s) if follower.is_metered else follower.step_s
    return AssetTwin(follower, step_s, pause_s=follower.step_s, plants=plants)
