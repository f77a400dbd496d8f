"""How the adapter shows itself to a broker, and whom it believes: files in a folder per plant, or the environment.

    FOLDER/ca.pem                    who has to have signed the broker's certificate, if not an authority of the system
    FOLDER/certificate.pem, key.pem  of the client, where the broker asks for one
    FOLDER/login                     `logins` says what is in it and what may stand in for it

Nothing of it is ever in a territory file. Files are read at each connection, so that what was mended counts at the next
try.
"""

import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from uem.hardware_adapters.logins import LoginSource, check_private
from uem.twin_core.errors import AdapterError, NotTrusted

SECURE_SCHEME = "mqtts"
PORT, SECURE_PORT = 1883, 8883
# How OpenSSL says that one side does not believe the other.
_NOT_BELIEVED = ("CERTIFICATE_VERIFY_FAILED", "IP address mismatch", "Hostname mismatch")
_NOT_LET_IN = ("ALERT", "CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")


@dataclass(frozen=True, slots=True)
class Access:
    """What a connection to a broker needs."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None


class Credentials:
    """The files of one plant, and the variables that stand in for them."""

    def __init__(self, plant: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """`folder` need not exist; `environment` is that of the process unless it is given."""
        self.folder = folder
        self._login = LoginSource("mqtt", plant, folder, os.environ if environment is None else environment)

    def access(self, endpoint: str) -> Access:
        """What is needed for `endpoint`, mqtt://host:port or mqtts://host:port.

        Raises:
            AdapterError: a file is missing, wrong or open to others, or a password would travel in clear.
        """
        parts = urlsplit(endpoint)
        host, is_secure = parts.hostname or "", parts.scheme == SECURE_SCHEME
        login = self._login.read()
        user, password = (login.user, login.password or None) if login is not None else (None, None)
        if password is not None and not is_secure and not _is_loopback(host):
            raise AdapterError(
                f"{endpoint}: a password would travel in clear; use {SECURE_SCHEME}://, or a broker on this machine"
            )
        port = parts.port or (SECURE_PORT if is_secure else PORT)
        return Access(host, port, user, password, self._tls(endpoint) if is_secure else None)

    def explained(self, endpoint: str, error: Exception, complaint: str = "") -> AdapterError:
        """A connection that failed, with its remedy where it was a matter of trust.

        `complaint` is what the library logged: in TLS 1.3 a refused certificate shows there alone.
        """
        said = f"{error}: {complaint}" if complaint else str(error)
        code = getattr(getattr(error, "rc", None), "value", getattr(error, "rc", None))
        if code in (4, 5, 134, 135):  # CONNACK of MQTT 3.1.1 (3.2.2.3) and of MQTT 5 (3.2.2.2)
            return NotTrusted(f"{endpoint}: the broker refuses the user or the password; correct {self._login}")
        if any(sign in said for sign in _NOT_BELIEVED):
            ca = self.folder / "ca.pem"
            return NotTrusted(
                f"{endpoint}: the certificate of the broker is not to be trusted ({said}); "
                f"put that of the authority that signed it into {ca}, or correct the host in the endpoint"
            )
        if any(sign in said.upper() for sign in _NOT_LET_IN):
            return NotTrusted(
                f"{endpoint}: the broker refuses our certificate ({said}); "
                f"put one that it trusts into {self.folder / 'certificate.pem'}, with {self.folder / 'key.pem'}"
            )
        return AdapterError(f"{endpoint}: {said}")

    def _tls(self, endpoint: str) -> ssl.SSLContext:
        ca, certificate, key = (self.folder / name for name in ("ca.pem", "certificate.pem", "key.pem"))
        try:
            context = ssl.create_default_context(cafile=ca if ca.exists() else None)
            if certificate.exists():
                check_private(key)
                context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise AdapterError(f"{endpoint}: the certificates in {self.folder} cannot be used: {error}") from None
        return context


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
