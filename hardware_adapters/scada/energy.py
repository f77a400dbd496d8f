"""What meters would show, as OPC 34100 (ECM) and OPC 40001-4 (Machinery, Energy Management) have it.

    Twins/<asset>/Energy/<metering point>   EnergyMeasurementType; Main is that of the whole asset
        MassFlowRate, Temperature           IMassFlowType: of a node of a network, hot water
        NeEnergyImportHp, NeEnergyExportHp  INonElectricalEnergyType: heat into a network and out of it
        AcActivePowerTotal, ...ImportHp     of a machine, electricity

Names, identifiers, units and types of the values are those of the standards; the kelvin and the watt hour among them.
Each has its Resource, and as its accuracy domain one of ours: the standard deviation that stands beside it. The types
are there by their identifiers and names, without their instance declarations.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from asyncua import Node, ua

from uem.clients.records import Asset, Kind, Source
from uem.hardware_adapters.opcua.engineering_units import WATT_HOUR, engineering_units
from uem.hardware_adapters.opcua.server.server import AddressSpace

ECM = "http://opcfoundation.org/UA/ECM/"
INDUSTRIAL_AUTOMATION = "http://opcfoundation.org/UA/IA/"
MACHINERY_ENERGY = "http://opcfoundation.org/UA/Machinery/Energy/"

# Identifiers of the standards' NodeSets.
ENERGY_MEASUREMENT, ACCURACY_DOMAIN, MEASUREMENT_VALUE, ACCURACY_DOMAINS = 1006, 1014, 2002, 5009
NON_ELECTRICAL_ENERGY, BASE_FLOW, MASS_FLOW = 1003, 1006, 1008
STATISTIC_COMPONENT = 4002

NOT_SPECIFIED, ELECTRICITY, HOT_WATER = 0, 1, 7
RESOURCES = {NOT_SPECIFIED: "Not specified", ELECTRICITY: "Electricity", HOT_WATER: "Hot Water"}
NOT_KNOWN, STANDARD_DEVIATION = 0, 1
ACCURACIES = {NOT_KNOWN: "not known", STANDARD_DEVIATION: "standard deviation, in the property StandardDeviation"}
_WATT_HOUR_J = 3600.0
_SI = {"W.h": "J"}  # where the standards have another unit


class Measurement(NamedTuple):
    """A standardized measurement (OPC 34100, 6.2.2): of which MeasurementID, in which unit, of which type."""

    identifier: int
    unit: str
    kind: ua.VariantType
    interface: int = 0  # of Machinery Energy
    is_statistic: bool = False


MEASUREMENTS = {
    "MassFlowRate": Measurement(2101, "kg/s", ua.VariantType.Float, MASS_FLOW),
    "Temperature": Measurement(28684, "K", ua.VariantType.Float, MASS_FLOW),
    "NeEnergyImportHp": Measurement(2002, "W.h", ua.VariantType.Double, NON_ELECTRICAL_ENERGY, True),
    "NeEnergyExportHp": Measurement(2005, "W.h", ua.VariantType.Double, NON_ELECTRICAL_ENERGY, True),
    "AcActivePowerTotal": Measurement(1412, "W", ua.VariantType.Float),
    "AcActiveEnergyTotalImportHp": Measurement(1002, "W.h", ua.VariantType.Double, 0, True),
}

# Which signal is which measurement of which point; where there are several, the first: the twin's before a sensor's.
_RULES = {
    Kind.HEAT_NETWORK: (
        (r"(?P<point>node/.+)/flow", "MassFlowRate", HOT_WATER),
        (r"(?P<point>node/.+)/temperature/twin", "Temperature", HOT_WATER),
        (r"(?P<point>node/.+)/temperature", "Temperature", HOT_WATER),
        (r"energy/in", "NeEnergyImportHp", HOT_WATER),
        (r"energy/out", "NeEnergyExportHp", HOT_WATER),
    ),
    Kind.MACHINE: (
        (r"power/twin", "AcActivePowerTotal", ELECTRICITY),
        (r"power", "AcActivePowerTotal", ELECTRICITY),
        (r"energy/twin", "AcActiveEnergyTotalImportHp", ELECTRICITY),
        (r"energy", "AcActiveEnergyTotalImportHp", ELECTRICITY),
    ),
}


class Found(NamedTuple):
    """A signal that is a measurement."""

    signal: int
    point: str
    measurement: str
    resource: int


class Shown(NamedTuple):
    """Where it goes: shown = si / scale."""

    signal: int
    value_point: int
    deviation_point: int
    scale: float


def measured(asset: Asset) -> list[Found]:
    """The measurements of an asset, by metering point; those of the asset as a whole are at Main."""
    found: dict[tuple[str, str], Found] = {}
    for pattern, measurement, resource in _RULES.get(asset.kind, ()):
        for number, signal in enumerate(asset.signals):
            its_unit = MEASUREMENTS[measurement].unit
            match = re.fullmatch(pattern, signal.name)
            if match and signal.unit == _SI.get(its_unit, its_unit):
                point = match.groupdict().get("point", "Main").replace("/", ".")
                found.setdefault((point, measurement), Found(number, point, measurement, resource))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Meters:
    """The namespaces of the standards in one server, and what all metering points share."""

    twins: int
    ecm: int
    machinery: int
    statistic: ua.NodeId
    domain: ua.NodeId

    @classmethod
    async def described(cls, space: AddressSpace, twins: int) -> Self:
        """Make the types, and our accuracy domain."""
        ecm = await space.namespace(ECM)
        automation = await space.namespace(INDUSTRIAL_AUTOMATION)
        machinery = await space.namespace(MACHINERY_ENERGY)
        node = space.server.get_node
        components, objects = node(ua.ObjectIds.HasComponent), node(ua.ObjectIds.BaseObjectType)
        statistic = ua.NodeId(STATISTIC_COMPONENT, automation)
        await components.add_reference_type(statistic, ua.QualifiedName("HasStatisticComponent", automation))
        for number, name in ((ENERGY_MEASUREMENT, "EnergyMeasurementType"), (ACCURACY_DOMAIN, "AccuracyDomainType")):
            await objects.add_object_type(ua.NodeId(number, ecm), ua.QualifiedName(name, ecm))
        values = node(ua.ObjectIds.BaseDataVariableType)
        its_name = ua.QualifiedName("EnergyMeasurementValueType", ecm)
        await values.add_variable_type(
            ua.NodeId(MEASUREMENT_VALUE, ecm), its_name, ua.NodeId(ua.ObjectIds.BaseDataType)
        )
        interfaces = node(ua.ObjectIds.BaseInterfaceType)
        flow = await _interface(interfaces, BASE_FLOW, "IBaseFlowType", machinery)
        await _interface(flow, MASS_FLOW, "IMassFlowType", machinery)
        await _interface(interfaces, NON_ELECTRICAL_ENERGY, "INonElectricalEnergyType", machinery)
        domains = await node(ua.ObjectIds.Server_ServerCapabilities).add_folder(
            ua.NodeId(ACCURACY_DOMAINS, ecm), ua.QualifiedName("AccuracyDomains", ecm)
        )
        domain = await domains.add_object(
            ua.NodeId("StandardDeviation", twins),
            ua.QualifiedName("StandardDeviation", twins),
            objecttype=ua.NodeId(ACCURACY_DOMAIN, ecm),
        )
        await space.constant(domain, ua.QualifiedName("EnumValues"), twins, _enum_values(ACCURACIES))
        return cls(twins, ecm, machinery, statistic, domain.nodeid)

    async def of_asset(self, space: AddressSpace, parent: Node, asset: Asset) -> list[Shown]:
        """Make the metering points of an asset."""
        found = measured(asset)
        if not found:
            return []
        folder = f"{asset.name}/Energy"
        energy = await space.object(parent, "Energy", self.twins, ua.ObjectIds.FolderType, folder)
        shown, interfaces = [], set()
        for its in found:
            at = f"{folder}/{its.point}"
            type_id = ua.NodeId(ENERGY_MEASUREMENT, self.ecm)
            point = await space.object(energy, its.point, self.twins, type_id, at)
            if (its.point, 0) not in interfaces:
                tag = ua.Variant(f"{asset.name}/{its.point}")
                await space.constant(point, ua.QualifiedName("ApplicationTag", self.ecm), self.twins, tag)
            interface = MEASUREMENTS[its.measurement].interface
            for each in {interface} - {0}:
                if (its.point, each) not in interfaces:
                    await point.add_reference(ua.NodeId(each, self.machinery), ua.ObjectIds.HasInterface)
            interfaces |= {(its.point, 0), (its.point, interface)}
            shown.append(await self._value(space, point, at, its, asset.signals[its.signal].source))
        return shown

    async def _value(self, space: AddressSpace, parent: Node, at: str, its: Found, source: Source) -> Shown:
        standard = MEASUREMENTS[its.measurement]
        identifier = f"{at}/{its.measurement}"
        value, node = await space.point(
            parent,
            its.measurement,
            self.twins,
            identifier=identifier,
            kind=standard.kind,
            type_id=ua.NodeId(MEASUREMENT_VALUE, self.ecm),
            browse_namespace=self.ecm,
            reference=self.statistic if standard.is_statistic else None,
        )
        is_energy = standard.unit == "W.h"
        accuracy = STANDARD_DEVIATION if source is Source.ESTIMATED else NOT_KNOWN
        units = ua.Variant(WATT_HOUR if is_energy else engineering_units(standard.unit))
        number = ua.Variant(standard.identifier, ua.VariantType.UInt16)
        domain = ua.Variant(self.domain, ua.VariantType.NodeId)
        await space.constant(node, ua.QualifiedName("EngineeringUnits"), self.twins, units)
        await space.constant(node, ua.QualifiedName("MeasurementID", self.ecm), self.twins, number)
        await space.constant(node, ua.QualifiedName("AccuracyDomain", self.ecm), self.twins, domain)
        await self._choice(space, node, "AccuracyClass", accuracy, ACCURACIES)
        await self._choice(space, node, "Resource", its.resource, RESOURCES)
        deviation, _ = await space.point(
            node,
            "StandardDeviation",
            self.twins,
            identifier=f"{identifier}/StandardDeviation",
            type_id=ua.ObjectIds.PropertyType,
        )
        return Shown(its.signal, value, deviation, _WATT_HOUR_J if is_energy else 1.0)

    async def _choice(self, space: AddressSpace, parent: Node, name: str, value: int, texts: dict[int, str]) -> None:
        """A MultiStateValueDiscreteType that does not change."""
        number = ua.Variant(value, ua.VariantType.UInt32)
        its_name = ua.QualifiedName(name, self.ecm)
        node = await space.constant(parent, its_name, self.twins, number, ua.ObjectIds.MultiStateValueDiscreteType)
        await space.constant(node, ua.QualifiedName("EnumValues"), self.twins, _enum_values(texts))
        text = ua.Variant(ua.LocalizedText(texts[value]))
        await space.constant(node, ua.QualifiedName("ValueAsText"), self.twins, text)


async def _interface(parent: Node, number: int, name: str, namespace: int) -> Node:
    made = await parent.add_object_type(ua.NodeId(number, namespace), ua.QualifiedName(name, namespace))
    await made.write_attribute(ua.AttributeIds.IsAbstract, ua.DataValue(True))
    return made


def _enum_values(texts: dict[int, str]) -> ua.Variant:
    values = [
        ua.EnumValueType(number, ua.LocalizedText(text), ua.LocalizedText(text)) for number, text in texts.items()
    ]
    return ua.Variant(values, ua.VariantType.ExtensionObject, is_array=True)
