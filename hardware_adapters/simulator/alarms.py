"""Of what simulated plants raise alarms: units that trip, machines that fail.

Boilers speak Modbus, which has no alarms: a unit whose own plant has none is watched by the control system of the
first plant that has alarms and other units of the same network.
"""

from dataclasses import dataclass

from asyncua import ua

from uem.hardware_adapters.opcua.server.conditions import Condition
from uem.hardware_adapters.simulator.living import Living, Thing
from uem.twin_core.plant.territory import Territory

# By the priorities of IEC 62682: a unit that trips is to be looked at at once, a machine has its repairmen.
TRIP_SEVERITY, FAULT_SEVERITY = 800, 500


@dataclass(frozen=True, slots=True)
class Watched:
    """A thing of which a plant raises an alarm when it fails."""

    thing: Thing
    condition: Condition


def watched(territory: Territory, living: Living) -> dict[str, list[Watched]]:
    """By plant with alarms, what it watches."""
    found: dict[str, list[Watched]] = {plant.name: [] for plant in territory.plants if plant.alarms}
    units = {binding.plant: set[str]() for binding in territory.tags}
    for binding in territory.tags:
        if binding.column.startswith("unit/"):
            units[binding.plant].add(binding.column.split("/")[1])
    for network in living.networks.values():
        able = network.able_to_trip
        theirs = {plant: units.get(plant, set()).intersection(able) for plant in found}
        for unit in able:
            plant = next((name for name, its in theirs.items() if unit in its), None)
            plant = plant or next((name for name, its in theirs.items() if its), None)
            if plant is not None:
                found[plant].append(Watched((network.network.name, unit), _trip(unit)))
    for name in found.keys() & living.factories.keys():
        found[name] += [Watched((name, machine), _fault(machine)) for machine in living.factories[name].plan.machines]
    return found


def _trip(unit: str) -> Condition:
    return Condition(
        source=unit,
        name="Trip",
        severity=TRIP_SEVERITY,
        active="unit has tripped",
        normal="unit is ready again",
        type_id=ua.ObjectIds.TripAlarmType,
    )


def _fault(machine: str) -> Condition:
    return Condition(
        source=machine,
        name="Fault",
        severity=FAULT_SEVERITY,
        active="machine is down",
        normal="machine is repaired",
    )
