"""The network step of a tree with imposed flows in plain Python: an oracle of graph.pyx, written to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from uem.twin_core.plant.network import Network, NodeKind, Pipe
from uem.twin_core.thermal import reference
from uem.twin_core.thermal.geometry import pipe_geometry
from uem.twin_core.thermal.reference import ENERGY_ZERO_K, HEAT_CAPACITY_J_KGK, LEAST_MOVE_CELLS, Array, Pipes

INNER_STEP_S = 60.0


@dataclass
class Mix:
    """Water that came to a node."""

    mass_kg: float = 0.0
    heat_kgk: float = 0.0

    def add(self, mass_kg: float, heat_kgk: float) -> None:
        """Let water come in."""
        self.mass_kg += mass_kg
        self.heat_kgk += heat_kgk

    @property
    def temp_k(self) -> float:
        """Temperature of the mixture."""
        return self.heat_kgk / self.mass_kg


@dataclass
class Ledger:
    """Energy above 0 degC in J that crossed the border of the network."""

    in_j: float = 0.0
    out_j: float = 0.0
    loss_j: float = 0.0


@dataclass
class ReferenceNetwork:
    """A network with its state. `pipes` holds one `Pipes` of one row per pipe, by name."""

    network: Network
    pipes: dict[str, Pipes]
    node_temp_k: dict[str, float]
    pipe_flow_kg_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def at(cls, network: Network, temp_k: Mapping[str, float], cells: int | None = None) -> "ReferenceNetwork":
        """A network whose pipes go linearly between the temperatures at their nodes."""
        pipes = {}
        for pipe in network.pipes:
            geometry = pipe_geometry(pipe, network.pipe_class(pipe.pipe_class), cells)
            pipes[pipe.name] = Pipes.at([geometry], _one(temp_k[pipe.start]), _one(temp_k[pipe.end]))
        return cls(network, pipes, dict(temp_k))

    def energy_j(self) -> float:
        """Heat content of all water and walls above 0 degC."""
        return float(sum(pipes.energy_j()[0] for pipes in self.pipes.values()))

    def step(
        self, dt_s: float, supply_temp_k: Mapping[str, float], demand_kg_s: Mapping[str, float], ambient_temp_k: float
    ) -> Ledger:
        """Advance by `dt_s`; inputs by node as in `NetworkInputs`."""
        ledger = Ledger()
        parts = ceil(dt_s / INNER_STEP_S)
        source = next(node.name for node in self.network.nodes if node.kind is NodeKind.SOURCE)
        demand = {node.name: demand_kg_s.get(node.name, 0.0) for node in self.network.nodes}
        demand[source] = 0.0
        demand[source] = -sum(demand.values())
        self.pipe_flow_kg_s = self._flows(source, demand, dt_s / parts)
        sums = dict.fromkeys(demand, 0.0)
        for _ in range(parts):
            mixes = self._inner_step(dt_s / parts, supply_temp_k, demand, ambient_temp_k, ledger)
            for name, mix in mixes.items():
                sums[name] += mix.temp_k if mix.mass_kg > 0.0 else self._standing_temp_k(name)
        self.node_temp_k = {name: total / parts for name, total in sums.items()}
        return ledger

    def _standing_temp_k(self, node: str) -> float:
        """Of the water at that end of the first pipe there."""
        pipe = self._pipes_at(node)[0]
        plugs, fill = self.pipes[pipe.name].plug_temp_k[0], self.pipes[pipe.name].fill[0]
        if pipe.end == node:
            return float(plugs[-1] if fill < 1.0 else plugs[-2])
        return float(plugs[0] if fill > 0.0 else plugs[1])

    def _flows(self, source: str, demand: Mapping[str, float], dt_s: float) -> dict[str, float]:
        """Flow of every pipe, positive from start to end, from what is needed behind it."""
        flows: dict[str, float] = {}

        def need(node: str, came_by: str) -> float:
            total = demand[node]
            for pipe in self._pipes_at(node):
                if pipe.name != came_by:
                    other = pipe.end if pipe.start == node else pipe.start
                    flow = need(other, pipe.name)
                    total += flow
                    if abs(flow) * dt_s < 2e3 * LEAST_MOVE_CELLS * self.pipes[pipe.name].cell_volume_m3[0]:
                        flow = 0.0
                    flows[pipe.name] = flow if pipe.start == node else -flow
            return total

        need(source, "")
        return flows

    def _pipes_at(self, node: str) -> list[Pipe]:
        return [pipe for pipe in self.network.pipes if node in (pipe.start, pipe.end)]

    def _inner_step(
        self,
        dt_s: float,
        supply_temp_k: Mapping[str, float],
        demand: Mapping[str, float],
        ambient_temp_k: float,
        ledger: Ledger,
    ) -> dict[str, Mix]:
        mixes: dict[str, Mix] = {}
        through: dict[str, tuple[float, float]] = {}

        def mixed(node: str) -> Mix:
            """What came to the node, after all pipes that bring water were stepped."""
            if node not in mixes:
                mix = Mix()
                if demand[node] < 0.0:
                    mass = -demand[node] * dt_s
                    mix.add(mass, mass * supply_temp_k[node])
                    ledger.in_j += HEAT_CAPACITY_J_KGK * mass * (supply_temp_k[node] - ENERGY_ZERO_K)
                for pipe in self._pipes_at(node):
                    flow = self.pipe_flow_kg_s[pipe.name]
                    if flow != 0.0 and (pipe.end if flow > 0.0 else pipe.start) == node:
                        mix.add(*stepped(pipe))
                mixes[node] = mix
            return mixes[node]

        def leaving(node: str) -> float:
            """Flow that leaves a node in all."""
            flows = [
                abs(flow)
                for pipe in self._pipes_at(node)
                if (flow := self.pipe_flow_kg_s[pipe.name]) != 0.0 and (pipe.start if flow > 0.0 else pipe.end) == node
            ]
            return sum(flows) + max(demand[node], 0.0)

        def stepped(pipe: Pipe) -> tuple[float, float]:
            """Mass and heat that came out of the pipe in this step."""
            if pipe.name not in through:
                flow = self.pipe_flow_kg_s[pipe.name]
                origin = pipe.start if flow > 0.0 else pipe.end
                mass, temp = 0.0, 300.0
                if flow != 0.0 and (mix := mixed(origin)).mass_kg > 0.0:
                    mass, temp = mix.mass_kg * flow / leaving(origin), mix.temp_k
                out_mass, out_heat, loss = reference.step(
                    self.pipes[pipe.name], _one(mass), _one(temp), dt_s, _one(ambient_temp_k)
                )
                ledger.loss_j += float(loss[0])
                through[pipe.name] = float(out_mass[0]), float(out_heat[0])
            return through[pipe.name]

        for pipe in self.network.pipes:
            stepped(pipe)
        for node in self.network.nodes:
            mix, total = mixed(node.name), leaving(node.name)
            share = 1.0 if total == 0.0 else max(demand[node.name], 0.0) / total
            ledger.out_j += HEAT_CAPACITY_J_KGK * share * (mix.heat_kgk - mix.mass_kg * ENERGY_ZERO_K)
        return mixes


def _one(value: float) -> Array:
    return np.array([value])
