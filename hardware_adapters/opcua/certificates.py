"""Certificates of OPC UA applications on disk, and whom an application trusts.

    <pki>/<application>/own/       certificate.der and key.pem (readable by its owner only)
                        trusted/   certificates of the peers that are let in
                        rejected/  certificates of peers that were refused; copied to trusted/ they are let in

Trust is direct: the very certificate has to be in trusted/. Chains and revocation lists are not read.
"""

import fcntl
import os
import re
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
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from uem.twin_core.errors import AdapterError, NotTrusted

VALID_DAYS = 3 * 365
MOST_REJECTED = 100  # a peer that sends ever new certificates must not fill the disk


class CertificateStore:
    """The certificates of one application."""

    def __init__(self, pki: Path, application: str) -> None:
        """`pki` is the folder of all applications, `application` the name of ours in it."""
        self.folder = Path(pki) / application
        self.application = application
        self.certificate_path = self.folder / "own" / "certificate.der"
        self.key_path = self.folder / "own" / "key.pem"

    def ensure(self) -> bool:
        """Make the own certificate and key when there are none; whether they were made.

        Raises:
            AdapterError: the folder cannot be written, or what is in it is no certificate, expired or without its key.
        """
        try:
            with _locked(self.folder.parent):
                for name in ("own", "trusted", "rejected"):
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
        path = self.folder / "trusted" / _file_name(certificate)
        path.write_bytes(certificate.public_bytes(Encoding.DER))
        return path

    def check(self, der: bytes | None, application_uri: str | None = None) -> None:
        """Whether the peer with this certificate (DER; the first one of a chain counts) is let in.

        Args:
            der: what the peer sent.
            application_uri: what the peer calls itself; it has to be in its certificate.

        Raises:
            NotTrusted: it is not; the message names the file in rejected/ and the remedy.
        """
        certificate = parse(der)
        if certificate is None:
            raise NotTrusted(f"{self.application}: the peer sent no readable certificate")
        name = f"certificate of {_common_name(certificate)!r}"
        if certificate.fingerprint(SHA256()) not in self._trusted_fingerprints():
            raise NotTrusted(f"{self.application}: {name} is not trusted; {self._reject(certificate)}")
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise NotTrusted(
                f"{self.application}: {name} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
                f"to {certificate.not_valid_after_utc:%Y-%m-%d} only; the peer needs a new one"
            )
        uris = application_uris(certificate)
        if application_uri is not None and application_uri not in uris:
            raise NotTrusted(
                f"{self.application}: {name} is issued for {', '.join(uris) or 'no application'}, "
                f"but the peer calls itself {application_uri!r}"
            )

    def _trusted_fingerprints(self) -> set[bytes]:
        found = set()
        for path in (self.folder / "trusted").glob("*"):
            content = path.read_bytes()
            try:
                load = (
                    x509.load_pem_x509_certificate if content.startswith(b"-----") else x509.load_der_x509_certificate
                )
                found.add(load(content).fingerprint(SHA256()))
            except ValueError:
                continue  # whatever lies there besides certificates lets nobody in
        return found

    def _reject(self, certificate: x509.Certificate) -> str:
        """Keep a refused certificate; what the operator can do."""
        folder = self.folder / "rejected"
        path = folder / _file_name(certificate)
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if len(list(folder.iterdir())) >= MOST_REJECTED:
                return f"it was not kept since {folder} holds {MOST_REJECTED} files: empty it and try again"
            path.write_bytes(certificate.public_bytes(Encoding.DER))
        return f"to trust it, copy {path} to {self.folder / 'trusted'}{os.sep}"

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


def parse(der: bytes | None) -> x509.Certificate | None:
    """The first certificate of a DER chain, or None."""
    if not der or len(der) < 4:
        return None
    try:
        # SEQUENCE with a two-byte length: every RSA certificate is longer than 255 and shorter than 65,536 bytes
        return x509.load_der_x509_certificate(der[: int.from_bytes(der[2:4], "big") + 4])
    except ValueError:
        return None


def application_uris(certificate: x509.Certificate) -> list[str]:
    """The application URIs that a certificate is issued for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "unnamed"


def _file_name(certificate: x509.Certificate) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", _common_name(certificate))[:60]
    return f"{name}-{certificate.fingerprint(SHA256()).hex()[:16]}.der"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep two processes from making the same certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
