"""Follows a closed network beside its factories: their exact heat goes in, step by step, and their alarms come back.

Of the network nothing is measured but, where there are tags, the weather and the ground: its temperatures and flows are
what the model makes of the heat of the followed factories, the demand of the file, and the controls of its plants.
A step is that of `coupled.py` with followed factories in place of simulated ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.coupled import CoupledPlan, CoupledState
from uem.twin_core.errors import ModelFailure
from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.follow.energy import energy_signals, write_energy
from uem.twin_core.follow.factory import METER_CLASS, FactoryFollower
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.follow.ledger import LedgerTime
from uem.twin_core.follow.unit_ledger import UnitLedger
from uem.twin_core.follow.writer import Writer
from uem.twin_core.measurements import NS_PER_S, is_good
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.units import Substation
from uem.twin_core.state import Columns, Signal, Source
from uem.twin_core.thermal.network import NetworkInputs

Array = NDArray[np.float64]

UNMEASURED_SD_K = 5.0  # of temperatures in a network without sensors, demands as in the file
UNMEASURED_PART = 0.3  # of flows and heat that follow from such demands
SETTLE_S = 3 * 3600.0
SETTLE_STEP_S = 300.0
PATIENCE = Patience(wait_s=10.0, stale_s=3600.0, restart_s=120.0, gap_s=86_400.0, memory_s=0.0, warm_up_s=86_400.0)


class CoupledFollower:
    """A network, the factories that it takes heat from, and the loops between them."""

    forecast_method = "None, since nothing is measured by which a forecast of this network could be judged"

    def __init__(self, network: Network, factories: Sequence[FactoryFollower]) -> None:
        """`factories`: at least one, each with a stream that goes to the network; its step moves them too."""
        self.name = network.name
        self.factories = tuple(factories)
        self._network = network
        self._plan = CoupledPlan(network, [factory.site for factory in factories])
        weather = [tag for tag in (network.ambient_temperature_tag, network.outdoor_temperature_tag) if tag]
        self.required_tags: Sequence[str] = (*(t for f in factories for t in f.required_tags), *weather)
        self.optional_tags: Sequence[str] = (*(t for f in factories for t in f.optional_tags),)
        self.discrete_tags: Mapping[str, Sequence[str]] = {
            tag: gauges for f in factories for tag, gauges in f.discrete_tags.items()
        }
        self.step_s = min([network.step_s, *(factory.step_s for factory in factories)])
        self.forecast_horizon_s, self.forecast_step_s = network.forecast_horizon_s, network.forecast_step_s
        memory_s = max(factory.patience.memory_s for factory in factories)
        stale_s = max(factory.patience.stale_s for factory in factories)
        self.patience = replace(PATIENCE, memory_s=memory_s, stale_s=stale_s)
        self.signals = _signals(network, self._plan)
        self.forecast_signals: tuple[ForecastSignal, ...] = ()
        self.contradiction_count = 0

    # ---- time ----

    def start(self, intake: Intake, time_ns: int) -> None:
        """Factories as they are measured; the network as it is after hours of the present weather."""
        for factory in self.factories:
            factory.start(intake, time_ns)
        network, inputs = self._plan.network, self._inputs(intake, time_ns)
        heat = network.initial_state(_warm_k(self._network))
        for _ in range(round(SETTLE_S / SETTLE_STEP_S)):
            network.step(heat, SETTLE_STEP_S, inputs)
        self._state = self._plan.initial_state(heat.node_temp_k)
        self._given_j = np.zeros((3, len(self._plan.streams)))  # produced, taken, dumped in the last step
        self._times, self._dt_s = LedgerTime(), self.step_s
        self._units = UnitLedger(self._network.units)
        self._begun: list[FactoryFollower] = []
        self._keep()

    def _keep(self) -> None:
        self._before = self._plan.copy(self._state), self._times, self._units.copy()

    def _inputs(self, intake: Intake, time_ns: int) -> NetworkInputs:
        """What the network is told: weather and ground as measured, all else as the file says."""
        inputs, network = self._plan.inputs(), self._network
        if network.ambient_temperature_tag:
            inputs.ambient_temp_k[:] = intake.at(network.ambient_temperature_tag, time_ns).value
        if network.outdoor_temperature_tag:
            outdoor_k = intake.at(network.outdoor_temperature_tag, time_ns).value
            for commands in inputs.unit_commands.values():
                if "outdoor_temp_k" in commands:
                    commands["outdoor_temp_k"][:] = outdoor_k
        return inputs

    def step(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """Production first, then what it gave off, then the network; alarms act from the next step on."""
        self._keep()
        self._begun = []
        self._dt_s = (end_ns - begin_ns) / NS_PER_S
        for factory in self.factories:
            self._begun.append(factory)
            factory.step(intake, begin_ns, end_ns)
        totals_j = self._totals_j()
        given_j = [factory.heat_j for factory in self.factories]
        inputs = self._inputs(intake, (begin_ns + end_ns) // 2)
        self._heat(self._state, given_j, self._dt_s, inputs, act=True)
        if not np.isfinite(self._state.heat.node_temp_k).all():
            raise ModelFailure(f"network {self.name}: temperatures are not finite after a step")
        self._given_j = self._totals_j() - totals_j
        good = all(is_good(intake.before(tag, end_ns).quality) for tag in self.required_tags)
        self._times = self._times.plus(self._dt_s, measured=good)

    def _heat(
        self, state: CoupledState, given_j: Sequence[Array], dt_s: float, inputs: NetworkInputs, *, act: bool
    ) -> None:
        """The network over `dt_s`, in parts as short as its loops ask for; power of the streams even over them."""
        parts = self._plan.parts(dt_s)
        for _ in range(parts):
            alarms = self._plan.take(state, [streams_j / parts for streams_j in given_j], dt_s / parts, inputs)
            if act:
                self._units.add(self._plan.network.unit_results(state.heat))
            for site, utility, limit in alarms if act else ():
                self.factories[site].set_limit(utility, limit)

    def _totals_j(self) -> Array:
        return np.array([self._state.produced_j, self._state.taken_j, self._state.dumped_j])

    def roll_back(self, dt_s: float) -> None:
        """Undo the last step of network, loops and of the factories that had begun theirs."""
        kept, times, self._units = self._before
        self._plan.restore(self._state, kept)
        self._times = times.plus(dt_s, measured=False)
        for factory in self._begun:
            factory.roll_back(dt_s)
        self._begun = []
        self._given_j = np.zeros_like(self._given_j)
        self._keep()

    # ---- what is published ----

    def write(self, intake: Intake, time_ns: int, columns: Columns) -> None:
        """Temperatures and flows at the end of the step, powers of streams as means over it.

        The heat of a unit is the mean over the last part of the step, where that has several.
        """
        readings = {tag: intake.before(tag, time_ns) for tag in self.required_tags}
        writer = Writer(columns, time_ns, readings.values())
        network, heat = self._network, self._state.heat
        for kind in ("ambient", "outdoor"):
            if tag := getattr(network, f"{kind}_temperature_tag"):
                writer.measured(f"{kind}/temperature", readings[tag])
        for node, temp_k in zip(network.nodes, heat.node_temp_k[:, 0].tolist(), strict=True):
            writer.own(f"node/{node.name}/temperature/twin", temp_k, UNMEASURED_SD_K)
        for pipe, flow in zip(network.pipes, heat.pipe_flow_kg_s[:, 0].tolist(), strict=True):
            writer.own(f"pipe/{pipe.name}/flow", flow, UNMEASURED_PART * abs(flow))
        results = self._plan.network.unit_results(heat) if self._times.total_s else {}
        for unit in network.units:
            heat_w = float(results[unit.name]["heat_j"][0]) / self._part_s() if results else 0.0
            writer.own(f"unit/{unit.name}/heat", heat_w, UNMEASURED_PART * abs(heat_w))
        self._write_streams(writer)
        write_energy(
            writer,
            network,
            heat,
            self._units,
            dumped_j=float(self._state.dumped_j.sum()),
            unsure=UNMEASURED_PART,
            settled=self._times.is_measured,
        )

    def _part_s(self) -> float:
        """Length of the network's last step."""
        return self._dt_s / self._plan.parts(self._dt_s)

    def _write_streams(self, writer: Writer) -> None:
        state = self._state
        for k, name in enumerate(self._plan.streams):
            for kind, given_j in zip(("produced", "taken", "dumped"), self._given_j[:, k].tolist(), strict=True):
                heat_w = given_j / self._dt_s
                sd_w = METER_CLASS * heat_w if kind == "produced" else UNMEASURED_PART * abs(heat_w)
                writer.own(f"heat/{name}/{kind}", heat_w, sd_w)
            taken_j = float(state.taken_j[k])
            writer.own(f"heat/{name}/energy", taken_j, METER_CLASS * taken_j, settled=self._times.is_measured)
            writer.own(f"heat/{name}/temperature/twin", float(state.temp_k[k]), UNMEASURED_SD_K)
            writer.own(f"heat/{name}/alarm", float(state.alarm[k]), 0.0)

    # ---- forecasts ----

    def project(self, intake: Intake, time_ns: int, step_s: float, count: int) -> Array:
        """Nothing of this network is measured, so no forecast of it could be judged: none is given."""
        return np.empty((count, 0))

    def observe(self, intake: Intake, time_ns: int) -> Array:
        """Nothing is measured of what could be forecast."""
        return np.empty(0)


def _warm_k(network: Network) -> Array:
    """A beginning from which the network settles: as warm everywhere as its customers send it back."""
    back = [unit.primary_return_temp_k for unit in network.units if isinstance(unit, Substation)]
    return np.full(len(network.nodes), float(np.median(back)) if back else network.ambient_temp_k)


def _signals(network: Network, plan: CoupledPlan) -> tuple[Signal, ...]:
    found = [
        Signal(f"{kind}/temperature", "K", Source.MEASURED)
        for kind in ("ambient", "outdoor")
        if getattr(network, f"{kind}_temperature_tag")
    ]
    found += [Signal(f"node/{node.name}/temperature/twin", "K", Source.ESTIMATED) for node in network.nodes]
    found += [Signal(f"pipe/{pipe.name}/flow", "kg/s", Source.ESTIMATED) for pipe in network.pipes]
    found += [Signal(f"unit/{unit.name}/heat", "W", Source.ESTIMATED) for unit in network.units]
    for name in plan.streams:
        found += [Signal(f"heat/{name}/{kind}", "W", Source.ESTIMATED) for kind in ("produced", "taken", "dumped")]
        found.append(Signal(f"heat/{name}/energy", "J", Source.LEDGER))
        found.append(Signal(f"heat/{name}/temperature/twin", "K", Source.ESTIMATED))
        found.append(Signal(f"heat/{name}/alarm", "1", Source.ESTIMATED, state_names={0: "clear", 1: "too warm"}))
    found += energy_signals(network)
    return tuple(found)


def fed_by(network: Network, factory: FactoryFollower) -> bool:
    """Whether a stream of the factory goes to the network."""
    return any(s.loop is not None and s.loop.network == network.name for s in factory.site.heat)
