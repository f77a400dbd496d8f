"""Where the services are: one address for all, or those of the processes that they are split into.

127.0.0.1:7650
127.0.0.1:7650,twin=127.0.0.1:7660,prediction=127.0.0.1:7670
"""

import re
from typing import NamedTuple

from uem.clients.errors import ClientError

DEFAULT_ADDRESS = "127.0.0.1:7650"


class Addresses(NamedTuple):
    """The address of each process, host:port; all the same when one has all services."""

    history: str
    twin: str
    prediction: str


def addresses(text: str) -> Addresses:
    """The addresses in a text: the first is of the server, or of its history; others by name.

    Raises:
        ClientError: it is not such a text.
    """
    first, *others = text.split(",")
    named = {name: address for name, _, address in (each.partition("=") for each in others)}
    for address in (first, *named.values()):
        host, _, number = address.rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,5}", number):
            raise ClientError(f"{address!r} is not an address such as {DEFAULT_ADDRESS}", "INVALID_ARGUMENT")
    unknown = named.keys() - {"twin", "prediction"}
    if unknown or len(named) < len(others):
        allowed = "behind the first address come twin=HOST:PORT and prediction=HOST:PORT, once each"
        raise ClientError(f"{text!r}: {allowed}", "INVALID_ARGUMENT")
    return Addresses(first, named.get("twin", first), named.get("prediction", first))
