"""Logging of a service process: one line per event on stderr; stdout belongs to the ready line."""

import logging
import sys
from datetime import UTC, datetime


class OneLine(logging.Formatter):
    """UTC time, level, logger and text; the lines of a traceback are joined so that a record stays one line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """UTC with milliseconds."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        return " | ".join(line.strip() for line in super().format(record).splitlines() if line.strip())


def set_up(level: str = "INFO") -> None:
    """Send every record of `level` and above to stderr; replaces what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=level, handlers=[handler], force=True)
