"""Certificates of OPC UA applications on disk.

<pki>/<application>/own/       certificate.der and key.pem (readable by its owner only)
                    trusted/, issuers/, rejected/: whom the application trusts (`trust`)
"""

import fcntl
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key, generate_self_signed_app_certificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from uem.hardware_adapters.opcua.trust import SOON, TrustList, application_uris
from uem.twin_core.errors import AdapterError

_log = logging.getLogger(__name__)

VALID_DAYS = 3 * 365


class CertificateStore:
    """The certificates of one application."""

    def __init__(self, pki: Path, application: str, *, allow_insecure_loopback: bool = False) -> None:
        """`pki` is the folder of all applications, `application` the name of ours in it.

        `allow_insecure_loopback`: the application may do without certificates where the other side is this machine
        and the plant says so (security policy None).
        """
        self.allow_insecure_loopback = allow_insecure_loopback
        self.folder = Path(pki) / application
        self.application = application
        self._trust = TrustList(self.folder, application)
        self.certificate_path = self.folder / "own" / "certificate.der"
        self.key_path = self.folder / "own" / "key.pem"

    def ensure(self) -> bool:
        """Make the own certificate and key when there are none; whether they were made.

        Raises:
            AdapterError: the folder cannot be written, or what is in it is no certificate, expired or without its key.
        """
        try:
            with _locked(self.folder.parent):
                for name in ("own", "trusted", "issuers", "rejected"):
                    (self.folder / name).mkdir(parents=True, exist_ok=True)
                made = not self.certificate_path.exists()
                if made:
                    self._make()
        except OSError as error:
            raise AdapterError(f"cannot make the certificate of {self.application}: {error}; choose --pki") from None
        self._check_own()
        return made

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The own certificate."""
        try:
            return x509.load_der_x509_certificate(self.certificate_path.read_bytes())
        except (OSError, ValueError) as error:
            raise AdapterError(
                f"own certificate {self.certificate_path}: {error}; remove it to get a new one"
            ) from None

    @property
    def application_uri(self) -> str:
        """The application URI that the own certificate is issued for."""
        return next(iter(application_uris(self.certificate)), "")

    def seconds_to_expiry(self) -> float:
        """Seconds until the own certificate expires; negative when it has expired."""
        return (self.certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()

    def trust(self, certificate: x509.Certificate) -> Path:
        """Let the holder of `certificate` in from now on; the file in trusted/."""
        return self._trust.trust(certificate)

    def check(self, der: bytes | None, application_uri: str | None = None, host: str | None = None) -> x509.Certificate:
        """Whether the peer with this certificate (DER, or a chain) is let in, as `TrustList.check` says; NotTrusted."""
        return self._trust.check(der, application_uri, host)

    def _make(self) -> None:
        host = socket.gethostname()
        key = generate_private_key()
        certificate = generate_self_signed_app_certificate(
            key,
            f"uem {self.application}",
            {"organizationName": "uem"},
            [
                x509.UniformResourceIdentifier(f"urn:{host}:uem:{self.application}"),
                x509.DNSName(host),
                x509.DNSName("localhost"),
                x509.IPAddress(IPv4Address("127.0.0.1")),
            ],
            [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
            days=VALID_DAYS,
        )
        self.key_path.unlink(missing_ok=True)
        self.key_path.touch(mode=0o600, exist_ok=False)
        self.key_path.write_bytes(dump_private_key_as_pem(key))
        draft = self.certificate_path.with_suffix(".draft")
        draft.write_bytes(certificate.public_bytes(Encoding.DER))
        draft.rename(self.certificate_path)  # last and at once: a certificate on disk has its key beside it

    def _check_own(self) -> None:
        remedy = f"remove {self.folder / 'own'} to get a new one, then have it trusted again"
        try:
            key = load_pem_private_key(self.key_path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise AdapterError(f"own key {self.key_path}: {error}; {remedy}") from None
        if not isinstance(key, RSAPrivateKey) or key.public_key() != self.certificate.public_key():
            raise AdapterError(f"own key {self.key_path} does not belong to {self.certificate_path}; {remedy}")
        if self.seconds_to_expiry() <= 0:
            expired = self.certificate.not_valid_after_utc
            raise AdapterError(f"own certificate {self.certificate_path} expired on {expired:%Y-%m-%d}; {remedy}")
        if self.seconds_to_expiry() < SOON.total_seconds():
            days = self.seconds_to_expiry() / 86_400
            _log.warning("own certificate %s expires in %.0f days; %s", self.certificate_path, days, remedy)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep two processes from making the same certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
