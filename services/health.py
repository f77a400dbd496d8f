"""Health of a server: named checks, asked every second, published as grpc.health.v1 statuses.

A check returns None when all is well, else the reason in words. A check may concern some services only; the overall
status "" is serving when every check is content.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable

from grpc_health.v1 import health, health_pb2

from uem.services.metrics import Labels, Metrics
from uem.twin_core.errors import InvalidInput

Check = Callable[[], str | None]
PERIOD_S = 1.0
_LOG = logging.getLogger(__name__)


class Checks:
    """Named checks and what they said last."""

    def __init__(self, metrics: Metrics) -> None:
        self._checks: dict[str, tuple[Check, frozenset[str]]] = {}
        self.reasons: dict[str, str] = {}  # of the checks that are not content
        metrics.gauge("uem_health_check_ok", "1 when the named check is content, else 0.", self._states, ["check"])

    def register(self, name: str, check: Check, services: Collection[str] = ()) -> None:
        """Add a check; `services` are the full names it concerns, none means all of them."""
        if name in self._checks:
            raise InvalidInput(f"health check {name!r} is registered twice")
        self._checks[name] = (check, frozenset(services))

    def ask(self) -> None:
        """Ask every check and log what has changed; a check that raises is not content."""
        found = {}
        for name, (check, _) in self._checks.items():
            reason = _ask(name, check)
            if reason is not None:
                found[name] = reason
        for name in found.keys() - self.reasons.keys():
            _LOG.warning("health check %s: %s", name, found[name])
        for name in self.reasons.keys() - found.keys():
            _LOG.info("health check %s: well again", name)
        self.reasons = found

    def is_well(self, service: str) -> bool:
        """Whether no check that concerns `service` complains; the empty name stands for the whole server."""
        concerned = (self._checks[name][1] for name in self.reasons)
        return not any(not services or not service or service in services for services in concerned)

    def _states(self) -> dict[Labels, float]:
        return {(name,): float(name not in self.reasons) for name in self._checks}


def _ask(name: str, check: Check) -> str | None:
    try:
        return check()
    except Exception as error:
        _LOG.exception("health check %s failed", name)
        return f"the check itself failed: {error}"


async def publish(checks: Checks, servicer: health.aio.HealthServicer, services: Iterable[str]) -> None:
    """Ask the checks once and set the status of every service and of the whole server."""
    checks.ask()
    status = health_pb2.HealthCheckResponse
    for service in ["", *services]:
        await servicer.set(service, status.SERVING if checks.is_well(service) else status.NOT_SERVING)


async def poll(checks: Checks, servicer: health.aio.HealthServicer, services: Iterable[str]) -> None:
    """Publish every second until cancelled."""
    names = list(services)
    while True:
        await publish(checks, servicer, names)
        await asyncio.sleep(PERIOD_S)
