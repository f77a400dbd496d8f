"""Alarms of plants in the words of IEC 62682 (ISA-18.2), whatever protocol told them.

Priorities follow from the severity 1 to 1000 as OPC 10000-5, 6.4.2 divides it for clients with three: low up to 333,
medium up to 666, high above.
"""

from dataclasses import dataclass
from enum import StrEnum

from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import GOOD


class AlarmState(StrEnum):
    """Where an alarm stands; the letters are those of the state diagram in IEC 62682."""

    NORMAL = "normal"  # A
    UNACKNOWLEDGED = "unacknowledged"  # B: active, and nobody has said that he has seen it
    ACKNOWLEDGED = "acknowledged"  # C: active and seen
    RETURNED = "returned"  # D: active no more, and nobody has said that he has seen it
    SHELVED = "shelved"  # G: set aside by an operator for a time
    SUPPRESSED = "suppressed"  # H: by design, as while the machine is off
    OUT_OF_SERVICE = "out_of_service"  # I: switched off, as for maintenance


class Priority(StrEnum):
    """How urgent an alarm is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


MOST_SEVERITY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What a plant said of one of its conditions at one time.

    `condition` is its name at the plant for good; `branch` is empty but for an earlier state that still wants to be
    acknowledged while the condition went on. Two reports that differ in nothing but `event` say the same.
    """

    plant: str = ""  # the gateway knows it
    condition: str
    branch: str = ""
    source: str  # what the condition is about
    name: str  # of the condition
    message: str = ""
    state: AlarmState
    severity: int
    time_ns: int  # of this state, by the plant's clock, ns UTC
    quality: int = GOOD  # of what the condition looks at, OPC UA StatusCode
    event: str = ""  # by which the plant knows this report; acknowledging names it

    def __post_init__(self) -> None:
        if not self.condition:
            raise InvalidInput(f"plant {self.plant}: an alarm without a condition")
        if not 1 <= self.severity <= MOST_SEVERITY:
            raise InvalidInput(f"alarm {self.name}: severity {self.severity}; 1 to {MOST_SEVERITY} are possible")

    @property
    def priority(self) -> Priority:
        """How urgent it is."""
        return Priority.LOW if self.severity <= 333 else Priority.MEDIUM if self.severity <= 666 else Priority.HIGH

    @property
    def is_open(self) -> bool:
        """Whether it is anything but normal."""
        return self.state is not AlarmState.NORMAL
