"""Security policies: which there are, and when a connection may do without.

Messages are always signed and encrypted. OPEN, "None", is for measuring and for demonstrations: it wants a loopback
address and that the application was told to allow it, so that no forgotten line of a file opens a plant.
"""

import ipaddress
from collections.abc import Iterable

from uem.twin_core.errors import InvalidInput

SECURE = ("Basic256Sha256", "Aes256Sha256RsaPss")
OPEN = "None"


def check(policies: Iterable[str], host: str, *, allow_open: bool, who: str = "OPC UA") -> None:
    """Whether these policies may be used at `host`.

    Raises:
        InvalidInput: one is unknown, or it is the open one and `host` is not this machine or nobody allowed it; the
            message begins with `who`.
    """
    for policy in policies:
        if policy != OPEN and policy not in SECURE:
            raise InvalidInput(f"{who}: security policy {policy!r} is not one of {', '.join(SECURE)}, {OPEN}")
        if policy == OPEN and not is_loopback(host):
            raise InvalidInput(
                f"{who}: security policy None is for loopback addresses such as 127.0.0.1 only, not for {host!r}; "
                f"use {SECURE[0]}"
            )
        if policy == OPEN and not allow_open:
            raise InvalidInput(
                f"{who}: security policy None neither signs nor encrypts and lets anyone in; "
                f"use {SECURE[0]}, or allow it with --allow-insecure-loopback"
            )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
