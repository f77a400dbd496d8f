"""The field protocols that the gateway speaks: one line each in PROTOCOLS, under the name that territory files use."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from uem.hardware_adapters.base import Adapter
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.identity import Identity
from uem.hardware_adapters.opcua.policies import check
from uem.hardware_adapters.opcua.redundancy import RedundantAdapter
from uem.hardware_adapters.replay import ReplayAdapter
from uem.territories.importers.extras import needs
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.plant.territory import Plant, TagBinding, Territory

Clock = Callable[[], int]  # the time at a plant in ns UTC, for values that come without one


class FieldProtocol(NamedTuple):
    """What the gateway has to know of a protocol."""

    endpoint: str  # an example, whose scheme every endpoint has; empty: there is none
    make: Callable[[Plant, str, Sequence[TagBinding], CertificateStore, Clock], Adapter]  # of a plant at an endpoint
    package: str = ""  # that it needs and not everybody has
    extra: str = ""  # which brings that package
    secure: str = ""  # scheme of endpoints with TLS


def _opcua(
    plant: Plant, endpoint: str, bindings: Sequence[TagBinding], certificates: CertificateStore, _: Clock
) -> Adapter:
    def make(endpoint: str, bindings: Sequence[TagBinding]) -> OpcUaAdapter:
        return OpcUaAdapter(
            endpoint,
            bindings,
            certificates,
            security_policy=plant.security_policy,
            identity=Identity(plant.name, certificates.folder.parent / "opcua" / plant.name),
            publish_interval_ms=plant.publish_interval_ms,
            alarms=plant.alarms,
        )

    endpoints = endpoint.split(",")
    return make(endpoint, bindings) if len(endpoints) == 1 else RedundantAdapter(endpoints, bindings, make)


# The others are imported when they are needed, since their packages need not be there.


def _modbus(plant: Plant, endpoint: str, bindings: Sequence[TagBinding], _: CertificateStore, clock: Clock) -> Adapter:
    from uem.hardware_adapters.modbus.client import ModbusAdapter

    return ModbusAdapter(endpoint, bindings, response_timeout_s=plant.response_timeout_s, clock=clock)


def _mbus(plant: Plant, endpoint: str, bindings: Sequence[TagBinding], _: CertificateStore, clock: Clock) -> Adapter:
    from uem.hardware_adapters.mbus.client import MbusAdapter

    return MbusAdapter(endpoint, bindings, response_timeout_s=plant.response_timeout_s, clock=clock)


def _mqtt(
    plant: Plant, endpoint: str, bindings: Sequence[TagBinding], certificates: CertificateStore, clock: Clock
) -> Adapter:
    from uem.hardware_adapters.mqtt.client import MqttAdapter
    from uem.hardware_adapters.mqtt.security import Credentials

    credentials = Credentials(plant.name, certificates.folder.parent / "mqtt" / plant.name)
    return MqttAdapter(endpoint, bindings, credentials, clock=clock)


def _replay(plant: Plant, endpoint: str, bindings: Sequence[TagBinding], _: CertificateStore, clock: Clock) -> Adapter:
    if plant.recording is None:
        raise InvalidInput(f"plant {plant.name}: protocol replay needs a recording")
    return ReplayAdapter(plant.recording, bindings)


PROTOCOLS: dict[str, FieldProtocol] = {
    "opcua": FieldProtocol("opc.tcp://host:port/path", _opcua),
    "modbus": FieldProtocol("modbus.tcp://host:502", _modbus, "pymodbus", "modbus"),
    "mbus": FieldProtocol("mbus.tcp://host:10001", _mbus, "meterbus", "mbus"),
    "mqtt": FieldProtocol("mqtt://host:1883", _mqtt, "aiomqtt", "mqtt", "mqtts"),
    "replay": FieldProtocol("", _replay),
}


def endpoints_of(territory: Territory, given: Mapping[str, str], *, allow_open: bool = False) -> dict[str, str]:
    """The endpoint of each plant: as given, else as the territory says. `allow_open`: OPC UA may be without security.

    Those of a redundant set are separated by commas.

    Raises:
        UnknownName: one is given for a plant that does not exist.
        InvalidInput: a plant has none, or one that is not of its protocol or not secure, or the package of a protocol
            is missing.
    """
    plants = {plant.name: plant for plant in territory.plants}
    for name in given:
        if name not in plants:
            raise UnknownName("plant", name, plants)
    endpoints = {
        name: given.get(name, ",".join((plant.endpoint, *plant.redundant_endpoints))) for name, plant in plants.items()
    }
    for name, endpoint in endpoints.items():
        protocol = PROTOCOLS[plants[name].protocol]
        if protocol.package:
            needs(protocol.package, protocol.extra)
        example = protocol.endpoint
        if not example:
            if endpoint:
                raise InvalidInput(f"plant {name}: protocol {plants[name].protocol} has no endpoint")
            continue
        if not endpoint:
            raise InvalidInput(f"plant {name} has no endpoint; give --endpoint {name}={example}")
        for each in endpoint.split(",") if plants[name].protocol == "opcua" else [endpoint]:
            _check_endpoint(plants[name], each, allow_open=allow_open)
    return endpoints


def _check_endpoint(plant: Plant, endpoint: str, *, allow_open: bool) -> None:
    """InvalidInput when it is not one of the plant's protocol, or not secure."""
    protocol = PROTOCOLS[plant.protocol]
    parts = urlsplit(endpoint)
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(f"plant {plant.name}: its endpoint holds a user or a password, which never belong there")
    if parts.scheme not in {urlsplit(protocol.endpoint).scheme, protocol.secure} or not parts.hostname:
        raise InvalidInput(f"plant {plant.name}: endpoint {endpoint!r} is not like {protocol.endpoint}")
    if plant.protocol == "opcua":
        check([plant.security_policy], parts.hostname, allow_open=allow_open, who=f"plant {plant.name}")
