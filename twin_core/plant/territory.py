"""A territory: networks, machines, factories, the field servers they are measured by and the tags."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from uem.twin_core.errors import InvalidTerritory, UnknownName
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.addresses import Address
from uem.twin_core.plant.factory import FactorySite, given_heat, shared_exchangers, slots_apart
from uem.twin_core.plant.machine import Machine
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.simulation import Simulation
from uem.twin_core.plant.units import HeatPump, WasteHeatExchanger

Asset = Network | Machine | FactorySite


@dataclass(frozen=True, slots=True, kw_only=True)
class TagBinding:
    """Where a tag comes from: si value = scale * raw value + offset."""

    tag: Tag
    plant: str  # name of the field server
    browse_path: str = ""  # OPC UA: names below Objects, separated by "/", all in the namespace
    namespace_uri: str = ""
    address: Address | None = None  # in other protocols
    display_unit: str  # unit that people read
    scale: float = 1.0
    offset: float = 0.0
    sampling_ms: float = 100.0
    deadband: float = 0.0  # OPC UA: in SI; the server does not tell of a change that is no larger
    deadband_percent: float = 0.0  # the same, of the range that the variable has at the server
    queue_size: int = 0  # OPC UA: readings that the server keeps between two messages; 0: enough for all
    column: str = ""  # column of the recording that a simulated plant serves here
    writable: bool = False  # whether the plant may be told a value here


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A measured recording that a simulated plant or the protocol `replay` plays back."""

    path: str  # absolute path of the CSV or Parquet file
    time_column: str
    epoch_ns: int  # source time of the recording's time zero, ns UTC
    speed: float = 1.0
    loop: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A field server that measures a part of the territory."""

    name: str
    protocol: str = "opcua"
    endpoint: str = ""  # empty: the simulator tells where it listens
    redundant_endpoints: tuple[str, ...] = ()  # OPC UA: of further servers with the same data
    security_policy: str = "Basic256Sha256"
    publish_interval_ms: float = 100.0
    alarms: bool = False  # OPC UA: whether its alarms and conditions are watched
    response_timeout_s: float = 3.0  # Modbus, M-Bus: how long a device may take for an answer
    recording: Recording | None = None
    simulated: bool = False  # the simulator is this plant, as the territory's `simulation` says

    @property
    def has_own_time(self) -> bool:
        """Whether its time is not ours: that of a recording or of a simulation."""
        return self.simulated or self.recording is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Territory:
    """Everything that one twin process knows of the world outside."""

    name: str
    title: str = ""
    networks: tuple[Network, ...] = ()
    machines: tuple[Machine, ...] = ()
    factories: tuple[FactorySite, ...] = ()
    plants: tuple[Plant, ...] = ()
    tags: tuple[TagBinding, ...] = ()
    simulation: Simulation | None = None

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidTerritory(f"territory {self.name}", problems)

    @property
    def assets(self) -> tuple[Asset, ...]:
        """All networks, machines and factories."""
        return (*self.networks, *self.machines, *self.factories)

    def asset(self, name: str) -> Asset:
        """The network, machine or factory called `name`."""
        for asset in self.assets:
            if asset.name == name:
                return asset
        raise UnknownName("asset", name, [asset.name for asset in self.assets])

    def binding(self, tag: str) -> TagBinding:
        """The binding of the tag called `tag`."""
        for binding in self.tags:
            if binding.tag.name == tag:
                return binding
        raise UnknownName("tag", tag, [b.tag.name for b in self.tags])

    def _problems(self) -> Iterator[str]:
        names = [asset.name for asset in self.assets]
        for name, count in Counter(names).items():
            if count > 1:
                yield f"asset {name!r} is defined {count} times"
        for name, count in Counter(b.tag.name for b in self.tags).items():
            if count > 1:
                yield f"tag {name!r} is defined {count} times"
        for name, count in Counter(plant.name for plant in self.plants).items():
            if count > 1:
                yield f'plants: name "{name}" is defined {count} times'
        for plant in self.plants:
            if plant.simulated and self.simulation is None:
                yield f"plant {plant.name}: is simulated, but the territory says nothing of its simulation"
        plants = {plant.name for plant in self.plants}
        for binding in self.tags:
            if binding.plant not in plants:
                yield (
                    f"tag {binding.tag.name}: plant {binding.plant!r} does not exist; "
                    f"plants are {', '.join(sorted(plants)) or 'none'}"
                )
        yield from self._heat_problems()
        known = {binding.tag.name for binding in self.tags}
        for asset, key, tag in self._used_tags():
            if tag not in known:
                yield f"{asset}: {key} {tag!r} is not in the tag table"

    def _heat_problems(self) -> Iterator[str]:
        """Heat that goes where there is no exchanger, or where other heat goes already."""
        yield from shared_exchangers(self.factories)
        networks = {network.name: network for network in self.networks}
        for site, stream, loop in given_heat(self.factories):
            where = f"factory {site.name}, heat {stream.name}"
            if loop.network not in networks:
                yield f"{where}: network {loop.network!r} does not exist; there are {', '.join(networks) or 'none'}"
                continue
            units = networks[loop.network].units
            fitting = [unit.name for unit in units if isinstance(unit, (WasteHeatExchanger, HeatPump))]
            if loop.unit not in fitting:
                known = ", ".join(fitting) or "none"
                what = f"no waste-heat exchanger or heat pump of {loop.network}"
                yield f"{where}: {loop.unit!r} is {what}; there are {known}"

    def _used_tags(self) -> Iterator[tuple[str, str, str]]:
        for network in self.networks:
            where = f"network {network.name}"
            for key in ("ambient_temperature_tag", "outdoor_temperature_tag"):
                if getattr(network, key):
                    yield where, key, getattr(network, key)
            for node in network.nodes:
                for key in ("temperature_tag", "flow_tag"):
                    if getattr(node, key):
                        yield f"{where}, node {node.name}", key, getattr(node, key)
        for machine in self.machines:
            where = f"machine {machine.name}"
            yield where, "state_tag", machine.state_tag
            yield where, "power_tag", machine.power_tag
            if machine.bath is not None:
                yield where, "bath.temperature_tag", machine.bath.temperature_tag
                yield where, "bath.hall_temperature_tag", machine.bath.hall_temperature_tag
        for site in self.factories:
            for name, tags in slots_apart(site).machine_tags.items():
                for key in ("state_tag", "good_tag", "scrap_tag", "batch_tag", "temperature_tag"):
                    if getattr(tags, key):
                        yield f"factory {site.name}, machine {name}", key, getattr(tags, key)
            for name, tag in site.level_tags.items():
                yield f"factory {site.name}, buffer {name}", "level_tag", tag
