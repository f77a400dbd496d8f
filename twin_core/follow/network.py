"""Follows a heat network: supply temperature, flows and ambient in; temperatures, flows, heat and ledgers out.

Inputs are taken as linear between their samples and held at their value in the middle of a step. What the source gives
beyond the consumers leaves at the balance node; consumers that take more than it gives, or give, contradict the model:
such flows are held to what it can follow, counted, and all that was computed from them is Uncertain. Heat counts from 0
degC, as the ledger of the network does: the return is not part of the model. A sensor in standing water shows the room,
not the network, and is not judged.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput, ModelFailure
from uem.twin_core.estimation.intake import Intake, Patience
from uem.twin_core.estimation.residuals import RunningResiduals
from uem.twin_core.estimation.timeline import Reading
from uem.twin_core.follow.follower import ForecastSignal
from uem.twin_core.follow.ledger import LedgerTime
from uem.twin_core.follow.writer import Writer
from uem.twin_core.measurements import NS_PER_S, UNCERTAIN_SENSOR_NOT_ACCURATE, is_good
from uem.twin_core.plant.network import Network, Node, NodeKind, Pipe
from uem.twin_core.state import Columns, Signal, Source
from uem.twin_core.thermal import water
from uem.twin_core.thermal.network import NetworkInputs, NetworkPlan
from uem.twin_core.thermal.pipes import ENERGY_ZERO_K, HEAT_CAPACITY_J_KGK

PRIOR_SD_K = 2.0  # of a node's temperature until residuals tell: about what branches with handbook losses show
UNFLUSHED_SD_K = 10.0  # as long as water of unknown temperature may be on the way
FLOW_CLASS = 0.03  # part of a measured flow that may be wrong: heat meters of class 3, EN 1434
LOSS_CLASS = 0.15  # part of a loss from data sheets that may be wrong: Pongau loses 14 % more (docs/models/thermal.md)
FLUSHES = 2.0  # contents that must have passed: the wall holds heat too
RESIDUAL_MEMORY_S = 1800.0
STATE_MEMORY_S = 900.0
SETTLE_S = 3600.0  # after a standstill a sensor needs so long to show the water again: four rows of 15 min at Pongau
PRIOR_FLOW_SD_KG_S = 0.1
ZERO_FLOW_KG_S = 1e-3  # what a meter may show, in either direction, while nothing flows
TYPICAL_TEMP_K = 343.15


class NetworkFollower:
    """A network plan, its state and what was measured beside it."""

    forecast_method = (
        "Forward simulation from the present state, supply, flows and ambient held at their mean of the last 3 h, "
        "shifted by the bias and the fading present residual of the twin"
    )
    patience = Patience(
        wait_s=1800.0, stale_s=3600.0, restart_s=3600.0, gap_s=86_400.0, memory_s=3 * 3600.0, warm_up_s=48 * 3600.0
    )

    def __init__(self, network: Network) -> None:
        if not (network.flows_are_imposed and network.ambient_temperature_tag):
            raise InvalidInput(
                f"network {network.name}: only a tree with measured flows and ambient temperature can be followed; "
                f"`uem run` lets this one run by itself"
            )
        self.name = network.name
        self._network = network
        self._plan = NetworkPlan(network)
        self._inputs = self._plan.inputs()
        self._source = network.nodes[self._plan.source]
        self._consumers = [(i, node) for i, node in enumerate(network.nodes) if node.kind is NodeKind.CONSUMER]
        self._balance = next((i for i, node in enumerate(network.nodes) if node.kind is NodeKind.BALANCE), None)
        self._sensed = [(i, n) for i, n in enumerate(network.nodes) if n.temperature_tag and n is not self._source]
        self._ways = _ways(network)
        self._content_kg = np.array([_content_kg(network, pipe) for pipe in network.pipes])
        self.required_tags: Sequence[str] = self._input_tags()
        self.optional_tags: Sequence[str] = tuple(
            tag
            for node in network.nodes
            for tag in (node.temperature_tag, node.flow_tag)
            if tag and tag not in self.required_tags
        )
        self.discrete_tags: Mapping[str, Sequence[str]] = {}
        self.step_s = network.step_s
        self.forecast_horizon_s, self.forecast_step_s = network.forecast_horizon_s, network.forecast_step_s
        self.signals = _signals(network, [node for _, node in self._sensed])
        self.forecast_signals = self._forecast_signals()
        self.contradiction_count = 0
        self._errors = {i: RunningResiduals(PRIOR_SD_K) for i, _ in self._sensed}

    def _input_tags(self) -> tuple[str, ...]:
        flows = [node.flow_tag for _, node in self._consumers]
        if self._balance is not None:
            flows.append(self._source.flow_tag)
        return (self._source.temperature_tag, *flows, self._network.ambient_temperature_tag)

    def _forecast_signals(self) -> tuple[ForecastSignal, ...]:
        named = {signal.name: signal for signal in self.signals}
        temperatures = [
            ForecastSignal(signal=named[f"node/{node.name}/temperature"], prior_sd=2 * PRIOR_SD_K)
            for _, node in self._sensed
        ]
        flows = [
            ForecastSignal(signal=named[f"node/{node.name}/flow"], prior_sd=PRIOR_FLOW_SD_KG_S, low=0.0)
            for _, node in self._consumers
        ]
        return (*temperatures, *flows)

    def start(self, intake: Intake, time_ns: int) -> None:
        """Begin with pipes that go linearly between the measured node temperatures.

        A node without a usable sensor starts as warm as the node before it on the way from the source.
        """
        temps = np.empty(len(self._network.nodes))
        temps[self._plan.source] = intake.at(self._source.temperature_tag, time_ns).value
        self._consistent = self._fill(self._inputs, lambda tag: intake.at(tag, time_ns).value)
        stands = self._stands(intake, time_ns)
        for i, way in self._ways.items():
            if not way:
                continue
            node, pipe = self._network.nodes[i], self._network.pipes[way[-1]]
            before = self._plan.nodes.index(pipe.start if pipe.end == node.name else pipe.end)
            reading = intake.at(node.temperature_tag, time_ns) if node.temperature_tag else None
            usable = reading is not None and math.isfinite(reading.value) and not stands[i]
            temps[i] = reading.value if reading is not None and usable else temps[before]
        self._state = self._plan.initial_state(temps)
        self._before = self._state.copy()
        self._passed_kg = np.zeros(len(self._network.pipes))
        self._running_s = np.where(stands, 0.0, 2 * SETTLE_S)
        self._counts_before = self._passed_kg, self._running_s
        self._dt_s = self.step_s
        self._ledger_time = self._ledger_time_before = LedgerTime()
        self._largest_w = np.zeros(3)  # that came in, went out and was lost in any step
        self._judged: list[RunningResiduals] = []

    def step(self, intake: Intake, begin_ns: int, end_ns: int) -> None:
        """Step with the inputs in the middle; then judge each sensor that gave a new sample."""
        self._before, self._counts_before = self._state.copy(), (self._passed_kg, self._running_s)
        self._ledger_time_before, self._judged = self._ledger_time, []
        totals_j, middle_ns = self._totals_j(), (begin_ns + end_ns) // 2
        self._consistent = self._fill(self._inputs, lambda tag: intake.at(tag, middle_ns).value)
        self.contradiction_count += not self._consistent
        self._dt_s = (end_ns - begin_ns) / NS_PER_S
        self._plan.step(self._state, self._dt_s, self._inputs)
        if not (np.isfinite(self._state.node_temp_k).all() and np.isfinite(self._state.energy_loss_j).all()):
            raise ModelFailure(f"network {self.name}: temperatures or losses are not finite after a step")
        self._passed_kg = self._passed_kg + np.abs(self._state.pipe_flow_kg_s[:, 0]) * self._dt_s
        self._running_s = np.where(self._stands(intake, end_ns), 0.0, self._running_s + self._dt_s)
        measured = self._consistent and all(is_good(intake.at(tag, middle_ns).quality) for tag in self.required_tags)
        self._ledger_time = self._ledger_time.plus(self._dt_s, measured=measured)
        self._largest_w = np.maximum(self._largest_w, np.abs(self._totals_j() - totals_j) / self._dt_s)
        for i, node in self._sensed:
            if intake.measured_between(node.temperature_tag, begin_ns, end_ns) and self._is_judged(i):
                reading = intake.at(node.temperature_tag, end_ns)
                self._errors[i].add(reading.value - float(self._state.node_temp_k[i, 0]))
                self._judged.append(self._errors[i])

    def _totals_j(self) -> NDArray[np.float64]:
        """Energy that came in, went out and was lost, shape (3,)."""
        return np.array([t[0] for t in (self._state.total_in_j, self._state.total_out_j, self._state.total_loss_j)])

    def _fill(self, inputs: NetworkInputs, read: Callable[[str], float]) -> bool:
        """Set the inputs; whether the flows are consistent as far as their meters can tell."""
        demand, taken, consistent = inputs.node_demand_kg_s, 0.0, True
        for i, node in self._consumers:
            flow = read(node.flow_tag)
            demand[i] = flow if flow > node.minimum_flow_kg_s else 0.0
            taken += float(demand[i, 0])
            consistent &= flow >= -max(node.minimum_flow_kg_s, ZERO_FLOW_KG_S)
        if self._balance is not None:
            given = read(self._source.flow_tag)
            demand[self._balance] = max(0.0, given - taken)
            consistent &= given - taken >= -FLOW_CLASS * (abs(given) + taken)
        inputs.node_supply_temp_k[:] = read(self._source.temperature_tag)
        inputs.ambient_temp_k[:] = read(self._network.ambient_temperature_tag)
        return consistent

    def _stands(self, intake: Intake, time_ns: int) -> list[bool]:
        """Per node whether the water at a consumer does not move, or is about to stop."""
        stands = [False] * len(self._network.nodes)
        for i, node in self._consumers:
            ends = intake.at(node.flow_tag, time_ns).value <= node.minimum_flow_kg_s
            stands[i] = ends or float(self._inputs.node_demand_kg_s[i, 0]) <= node.minimum_flow_kg_s
        return stands

    def _is_flushed(self, i: int) -> bool:
        way = self._ways[i]
        return bool((self._passed_kg[way] >= FLUSHES * self._content_kg[way]).all())

    def _is_judged(self, i: int) -> bool:
        return self._is_flushed(i) and self._shows_water(i)

    def _shows_water(self, i: int) -> bool:
        """Whether a sensor at a node is washed by moving water, and has been for a while."""
        return float(self._running_s[i]) > SETTLE_S

    def roll_back(self, dt_s: float) -> None:
        """Undo the last step; its time is booked as not lived through."""
        self._state, (self._passed_kg, self._running_s) = self._before, self._counts_before
        self._ledger_time = self._ledger_time_before = self._ledger_time_before.plus(dt_s, measured=False)
        for error in self._judged:
            error.undo()

    def write(self, intake: Intake, time_ns: int, columns: Columns) -> None:
        """Temperatures and flows are means over the step that ended."""
        readings = [intake.at(tag, time_ns) for tag in self.required_tags]
        writer = Writer(columns, time_ns, readings, consistent=self._consistent)
        pooled_sd_k = max((error.standard_deviation for error in self._errors.values()), default=PRIOR_SD_K)
        for i, node in enumerate(self._network.nodes):
            if node.temperature_tag:
                reading = intake.at(node.temperature_tag, time_ns)
                if is_good(reading.quality) and not self._shows_water(i):
                    reading = reading._replace(quality=UNCERTAIN_SENSOR_NOT_ACCURATE)
                writer.measured(f"node/{node.name}/temperature", reading)
            if node.flow_tag:
                writer.measured(f"node/{node.name}/flow", intake.at(node.flow_tag, time_ns))
            if node is not self._source:
                self._write_node(writer, i, node, pooled_sd_k)
        for pipe, flow in zip(self._network.pipes, self._state.pipe_flow_kg_s[:, 0].tolist(), strict=True):
            writer.own(f"pipe/{pipe.name}/flow", flow, FLOW_CLASS * abs(flow))
        self._write_energy(writer, pooled_sd_k)

    def _write_node(self, writer: Writer, i: int, node: Node, pooled_sd_k: float) -> None:
        temp_k, settled, error = float(self._state.node_temp_k[i, 0]), self._is_flushed(i), self._errors.get(i)
        sd_k = UNFLUSHED_SD_K if not settled else pooled_sd_k if error is None else error.standard_deviation
        writer.own(f"node/{node.name}/temperature/twin", temp_k, sd_k, settled=settled)
        if error is not None:
            writer.own(f"node/{node.name}/temperature/bias", error.bias, error.standard_deviation, settled=settled)
        if node.kind in (NodeKind.CONSUMER, NodeKind.BALANCE):
            capacity_w_k = float(self._inputs.node_demand_kg_s[i, 0]) * HEAT_CAPACITY_J_KGK
            heat_w = capacity_w_k * (temp_k - ENERGY_ZERO_K)
            sd_w = math.hypot(FLOW_CLASS * heat_w, capacity_w_k * sd_k)
            writer.own(f"node/{node.name}/heat", heat_w, sd_w, settled=settled)

    def _write_energy(self, writer: Writer, pooled_sd_k: float) -> None:
        """What was not measured may be as much as the largest power of any step in that time."""
        state, settled = self._state, all(self._is_flushed(i) for i in self._ways)
        loss_w = float(state.energy_loss_j[0]) / self._dt_s
        in_j, out_j, loss_j = self._totals_j().tolist()
        gaps_j = (self._ledger_time.unmeasured_s * self._largest_w).tolist()
        in_sd_j, out_sd_j, loss_sd_j = (
            part * abs(total) + gap
            for part, total, gap in zip(
                (FLOW_CLASS, FLOW_CLASS, LOSS_CLASS), (in_j, out_j, loss_j), gaps_j, strict=True
            )
        )
        measured = self._ledger_time.is_measured
        stored_j = float(state.total_stored_change_j[0])
        stored_sd_j = HEAT_CAPACITY_J_KGK * float(self._content_kg.sum()) * pooled_sd_k
        writer.own("heat_loss", loss_w, LOSS_CLASS * abs(loss_w), settled=settled)
        writer.own("energy/in", in_j, in_sd_j, settled=measured)
        writer.own("energy/out", out_j, out_sd_j, settled=settled and measured)
        writer.own("energy/loss", loss_j, loss_sd_j, settled=settled and measured)
        writer.own("energy/stored_change", stored_j, stored_sd_j, settled=settled)
        writer.own("energy/imbalance", in_j - out_j - loss_j - stored_j, 0.0)

    def project(self, intake: Intake, time_ns: int, step_s: float, count: int) -> NDArray[np.float64]:
        """Supply, flows and ambient stay at their recent mean; temperatures are shifted by what the twin is off by.

        The present residual fades within `RESIDUAL_MEMORY_S` into the bias, the present temperature of the twin within
        `STATE_MEMORY_S` into the projected one, as inputs do not jump to their mean (figures: docs/models/forecast.md).
        A step of the plan gives mean temperatures: its last part is a step of the twin, for those at the valid time.
        """
        state, inputs = self._state.copy(), self._plan.inputs()
        self._fill(inputs, lambda tag: intake.mean(tag, time_ns))
        sensed = [i for i, _ in self._sensed]
        bias = np.array([self._errors[i].bias for i in sensed])
        present = self._state.node_temp_k[sensed, 0]
        residual = self.observe(intake, time_ns)[: len(sensed)] - present
        excess = np.where(np.isfinite(residual), residual - bias, 0.0)
        out = np.empty((count, len(self.forecast_signals)))
        out[:, len(sensed) :] = [intake.mean(node.flow_tag, time_ns) for _, node in self._consumers]
        for k in range(count):
            for part_s in (step_s - self.step_s, self.step_s) if step_s > self.step_s else (step_s,):
                self._plan.step(state, part_s, inputs)
            fading, staying = (math.exp(-(k + 1) * step_s / s) for s in (RESIDUAL_MEMORY_S, STATE_MEMORY_S))
            projected = (1.0 - staying) * state.node_temp_k[sensed, 0] + staying * present
            out[k, : len(sensed)] = projected + bias + fading * excess
        return out

    def observe(self, intake: Intake, time_ns: int) -> NDArray[np.float64]:
        """Measured temperatures of sensors with moving water, measured flows; as far as they are good."""

        def judged(reading: Reading, allowed: bool) -> float:
            return reading.value if allowed and is_good(reading.quality) else math.nan

        temperatures = [judged(intake.at(n.temperature_tag, time_ns), self._is_judged(i)) for i, n in self._sensed]
        flows = [judged(intake.at(node.flow_tag, time_ns), True) for _, node in self._consumers]
        return np.array([*temperatures, *flows])


def _ways(network: Network) -> dict[int, list[int]]:
    """Per node the pipes from the source to it; nodes in the order in which water reaches them."""
    index = {node.name: i for i, node in enumerate(network.nodes)}
    source = next(i for i, node in enumerate(network.nodes) if node.kind is NodeKind.SOURCE)
    ways: dict[int, list[int]] = {source: []}
    order = [source]
    for here in order:
        for k, pipe in enumerate(network.pipes):
            ends = index[pipe.start], index[pipe.end]
            if here in ends:
                other = ends[1] if ends[0] == here else ends[0]
                if other not in ways:
                    ways[other] = [*ways[here], k]
                    order.append(other)
    return ways


def _content_kg(network: Network, pipe: Pipe) -> float:
    """Water and wall of a pipe as the mass of water that holds as much heat."""
    made = network.pipe_class(pipe.pipe_class)
    inner_m2, outer_m2 = (math.pi / 4 * d**2 for d in (made.inner_diameter_m, made.outer_diameter_m))
    wall = (outer_m2 - inner_m2) * made.wall_density_kg_m3 * made.wall_heat_capacity_j_kgk / HEAT_CAPACITY_J_KGK
    return pipe.length_m * (inner_m2 * water.density_kg_m3(TYPICAL_TEMP_K) + wall)


def _signals(network: Network, sensed: list[Node]) -> tuple[Signal, ...]:
    found: list[Signal] = []
    for node in network.nodes:
        temperature, is_sensed = f"node/{node.name}/temperature", node in sensed
        if node.temperature_tag:
            found.append(Signal(temperature, "K", Source.MEASURED))
        if node.kind is not NodeKind.SOURCE:
            compared = temperature if is_sensed else ""
            found.append(Signal(f"{temperature}/twin", "K", Source.ESTIMATED, compared_with=compared))
        if is_sensed:
            found.append(Signal(f"{temperature}/bias", "K", Source.ESTIMATED, is_difference=True))
        if node.flow_tag:
            found.append(Signal(f"node/{node.name}/flow", "kg/s", Source.MEASURED))
        if node.kind in (NodeKind.CONSUMER, NodeKind.BALANCE):
            found.append(Signal(f"node/{node.name}/heat", "W", Source.ESTIMATED))
    found += [Signal(f"pipe/{pipe.name}/flow", "kg/s", Source.ESTIMATED) for pipe in network.pipes]
    found.append(Signal("heat_loss", "W", Source.ESTIMATED))
    for part in ("in", "out", "loss", "stored_change", "imbalance"):
        found.append(Signal(f"energy/{part}", "J", Source.LEDGER))
    return tuple(found)
