"""Indicators of ISO 22400-2 and PackML states, all from one ledger of time in state.

Times of ISO 22400 as the ledger tells them, per machine (slots added up):

    PBT  planned busy time         all but `off` and `maintenance`
    ADOT actual unit delay time    down, waiting for a crew, starved, blocked, short of a utility, asleep, warming up
    AUPT actual unit processing    busy and setup:  AUPT = PBT - ADOT
    APT  actual production time    busy
    AUST actual unit setup time    setup:           AUPT = APT + AUST
    PQ, SQ, GQ                     parts made, scrapped, good:  PQ = SQ + GQ
    PRI  planned run time per part the machine's mean cycle time, shared by the largest batch
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from uem.twin_core.errors import InvalidInput
from uem.twin_core.plant.production import Factory
from uem.twin_core.production.plan import STATES, Ledger

Array = NDArray[np.float64]


class PackML(IntEnum):
    """States of ISA-TR88.00.02 by the numbers of OPC 30060."""

    STOPPED = 0
    RESETTING = 1
    IDLE = 2
    STARTING = 3
    EXECUTE = 4
    COMPLETING = 5
    COMPLETE = 6
    ABORTING = 7
    ABORTED = 8
    STOPPING = 9
    CLEARING = 10
    SUSPENDING = 11
    SUSPENDED = 12
    UNSUSPENDING = 13
    HOLDING = 14
    HELD = 15
    UNHOLDING = 16


# Suspended: the cause is outside of the machine; held: it is inside. A failure aborts until somebody works on it.
PACKML = {
    "off": PackML.STOPPED,
    "sleeping": PackML.IDLE,
    "warming_up": PackML.STARTING,
    "starved": PackML.SUSPENDED,
    "setup": PackML.RESETTING,
    "busy": PackML.EXECUTE,
    "blocked": PackML.SUSPENDED,
    "down": PackML.CLEARING,
    "waiting_for_crew": PackML.ABORTED,
    "maintenance": PackML.HELD,
    "short": PackML.SUSPENDED,
}
# What `FactoryPlan.inject` is told of a machine that shows a state; suspended says neither starved nor blocked.
INJECTED = {
    PackML.EXECUTE: "busy",
    PackML.ABORTED: "down",
    PackML.CLEARING: "down",
    PackML.HELD: "down",
    PackML.IDLE: "starved",
}

_NOT_PLANNED = ("off", "maintenance")
_PROCESSING = ("busy", "setup")


@dataclass(frozen=True, slots=True)
class Indicators:
    """ISO 22400-2 per replication and machine, shapes (n, machines); NaN where there is nothing to divide by."""

    availability: Array  # APT / PBT
    allocation_efficiency: Array  # AUPT / PBT, the whole planned time being allocated
    technical_efficiency: Array  # APT / (APT + ADOT)
    utilisation_efficiency: Array  # APT / (APT + AUST)
    setup_ratio: Array  # AUST / AUPT
    effectiveness: Array  # PRI * PQ / APT
    quality_ratio: Array  # GQ / PQ
    scrap_ratio: Array  # SQ / PQ
    oee: Array  # availability * effectiveness * quality ratio
    nee: Array  # (AUPT / PBT) * effectiveness * quality ratio
    throughput_rate: Array  # PQ / elapsed time, parts per second
    mean_time_between_failures_s: Array  # APT / failures
    mean_time_to_repair_s: Array  # down, waiting for the crew included / failures
    energy_per_good_part_j: Array  # comprehensive energy consumption of the machine, the fuel of a furnace included


def indicators(factory: Factory, ledger: Ledger) -> Indicators:
    """Indicators of every machine; InvalidInput if the ledger is of another factory."""
    names = tuple(machine.name for machine in factory.machines)
    if names != ledger.machines:
        raise InvalidInput(f"a ledger of machines {ledger.machines} for factory {factory.name}")

    def time(*states: str) -> Array:
        return np.asarray(sum(ledger.time_s[:, :, STATES.index(state)] for state in states))

    planned = ledger.time_s.sum(axis=2) - time(*_NOT_PLANNED)
    busy, setup = time("busy"), time("setup")
    processing = time(*_PROCESSING)
    good = ledger.made - ledger.scrapped
    part_s = np.array([machine.cycle.mean / machine.batch[1] for machine in factory.machines])
    repairs = time("down", "waiting_for_crew")
    elapsed = ledger.elapsed_s[:, None]
    used_j = ledger.energy_j.sum(axis=2)
    used_j[:, [names.index(name) for name in ledger.furnaces.furnaces]] += ledger.furnaces.fuel_j
    with np.errstate(divide="ignore", invalid="ignore"):
        availability = busy / planned
        effectiveness = part_s * ledger.made / busy
        quality = good / ledger.made
        found = {
            "availability": availability,
            "allocation_efficiency": processing / planned,
            "technical_efficiency": busy / (busy + planned - processing),
            "utilisation_efficiency": busy / processing,
            "setup_ratio": setup / processing,
            "effectiveness": effectiveness,
            "quality_ratio": quality,
            "scrap_ratio": ledger.scrapped / ledger.made,
            "oee": availability * effectiveness * quality,
            "nee": processing / planned * effectiveness * quality,
            "throughput_rate": ledger.made / elapsed,
            "mean_time_between_failures_s": busy / ledger.failures,
            "mean_time_to_repair_s": repairs / ledger.failures,
            "energy_per_good_part_j": used_j / good,
        }
    return Indicators(**{name: np.where(np.isfinite(value), value, np.nan) for name, value in found.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatSplit:
    """Where the electric power of a state goes: shares that add up to 1."""

    part: float = 0.0
    coolant: float = 0.0
    hall: float = 1.0
    exhaust: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.part, self.coolant, self.hall, self.exhaust)
        if min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-12:
            raise InvalidInput(f"shares of heat {shares} must not be negative and add up to 1")


SINKS = ("part", "coolant", "hall", "exhaust")


def heat_j(ledger: Ledger, splits: dict[str, HeatSplit]) -> Array:
    """Heat by sink from the energy by state; shape (n, machines, sinks), its sum over sinks is the energy.

    `splits` by state; what is not told goes to the hall. The heating of furnaces is not split but balanced: parts carry
    heat away, forced cooling is coolant, walls, doors and casing warm the hall, and what the furnace holds more than at
    the beginning of the ledger is in no sink.
    """
    shares = np.array([[getattr(splits.get(state, HeatSplit()), sink) for sink in SINKS] for state in STATES])
    found = np.asarray(ledger.energy_j @ shares)
    furnaces = ledger.furnaces
    for f, name in enumerate(furnaces.furnaces):
        m = ledger.machines.index(name)
        if furnaces.electric[f]:
            found[:, m] -= furnaces.heating_j[:, f] @ shares
        to_hall = furnaces.casing_j + furnaces.walls_j + furnaces.doors_j
        sinks = (furnaces.load_j, furnaces.cooled_j, to_hall, furnaces.flue_j)  # in the order of SINKS
        found[:, m] += np.stack([sink[:, f] for sink in sinks], axis=1)
    return found
