"""What a check says of an element."""

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"  # the network cannot work as it is meant to
    WARNING = "warning"  # probably a mistake
    NOTE = "note"  # worth a look


class Finding(NamedTuple):
    """One thing that is wrong or strange."""

    severity: Severity
    check: str  # which check found it
    element: str  # "pipe A-B"
    text: str
    remedy: str
