"""Whom an application trusts: lists of certificates and of revoked ones on disk, as OPC 10000-12 (7.5) has them.

    trusted/   certificates of peers that are let in, or of authorities: whom these issue one is let in
    issuers/   authorities that are not trusted by themselves but complete the chain from a peer to one that is
    rejected/  certificates that were refused

Files are certificates or revocation lists, DER or PEM; they may lie in certs/ and crl/ below. The checks are those of
OPC 10000-4, 6.1.3. Of those that it lets an application leave out, these are: the list of an authority that has none
(it says nothing, and small plants have none); the issuer of a certificate that is itself trusted; the name of the host
(plants are reached by address or through a tunnel), which is a warning. A list that is out of date is refused: who
keeps one wants it observed, and to hold back the next must not let in whom it revokes.
"""

import logging
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NoReturn, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from uem.twin_core.errors import NotTrusted

_log = logging.getLogger(__name__)
E = TypeVar("E", bound=x509.ExtensionType)

MOST_REJECTED = 100  # a peer that sends ever new certificates must not fill the disk
MOST_CHAIN = 8
MOST_CHAIN_BYTES = 32 * 1024
MOST_FILE_BYTES = 16 * 2**20
KEY_BITS = (2048, 4096)  # of both policies (OPC 10000-7)
SOON = timedelta(days=30)
_DER = b"\x30"  # of a SEQUENCE
_PEM = re.compile(rb"(-----BEGIN (CERTIFICATE|X509 CRL)-----.*?-----END \2-----)", re.DOTALL)
_PEM_LIST = b"-----BEGIN X509 CRL-----"
# What the library raises for certificates that are no such thing, now or when a part of them is looked at.
_UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class TrustList:
    """The lists of one application, read anew at each check: what a person changes counts at once."""

    def __init__(self, folder: Path, application: str) -> None:
        """`folder` holds trusted/, issuers/ and rejected/; messages begin with `application`."""
        self.folder = folder
        self.application = application
        self._warned: set[tuple[bytes, str]] = set()

    def check(self, der: bytes | None, application_uri: str | None = None, host: str | None = None) -> x509.Certificate:
        """Whether the peer that sent this certificate, or chain of them, is let in; its certificate.

        Args:
            der: what the peer sent.
            application_uri: what the peer calls itself; it has to be in its certificate.
            host: where it was reached; only a warning if that is not in its certificate.

        Raises:
            NotTrusted: it is not; the message names the certificate, the list and the remedy.
        """
        sent = parse_chain(der)
        if not sent:
            raise NotTrusted(f"{self.application}: the peer sent no readable certificate")
        try:
            self._check(sent, application_uri)
            self._warn(sent[0], host)
        except _UNREADABLE as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise NotTrusted(f"{self.application}: the certificate of the peer cannot be read: {text[:200]}") from None
        return sent[0]

    def trust(self, certificate: x509.Certificate) -> Path:
        """Let the holder of `certificate` in from now on; the file in trusted/."""
        path = self.folder / "trusted" / _file_name(certificate)
        self._write(path, certificate)
        return path

    def _check(self, sent: list[x509.Certificate], application_uri: str | None) -> None:
        peer = sent[0]
        trusted, lists, unreadable = _read(self.folder / "trusted")
        issuers, more_lists, more_unreadable = _read(self.folder / "issuers")
        chain = _chain(peer, [*trusted, *issuers, *sent[1:]])
        in_trusted = {each.fingerprint(SHA256()) for each in trusted}
        if not any(each.fingerprint(SHA256()) in in_trusted for each in chain):
            top = chain[-1]
            missing = (
                ""
                if _is_issued_by(top, top)
                else (
                    f", nor is a certificate of its issuer {_text(top.issuer)!r} in {self.folder / 'issuers'}{os.sep}"
                )
            )
            self._refuse(
                peer, f"is not trusted{missing}", f"to trust it, copy {{path}} to {self.folder / 'trusted'}{os.sep}"
            )
        self._check_strength(peer)
        for below, certificate in enumerate(chain):
            self._check_time(peer, certificate)
            if certificate is not peer:
                self._check_authority(peer, certificate, below - 1)
        self._check_use(peer)
        if len(chain) > 1:
            self._check_readable(peer, [*unreadable, *more_unreadable])
        for certificate, issuer in pairwise(chain):
            self._check_revoked(peer, certificate, issuer, [*lists, *more_lists])
        uris = application_uris(peer)
        if application_uri is not None and application_uri not in uris:
            called = ", ".join(uris) or "no application"
            raise NotTrusted(
                f"{self.application}: certificate of {_name(peer)} is issued for {called}, "
                f"but the peer calls itself {application_uri!r}"
            )

    def _check_strength(self, peer: x509.Certificate) -> None:
        key = peer.public_key()
        if not isinstance(key, RSAPublicKey) or not KEY_BITS[0] <= key.key_size <= KEY_BITS[1]:
            kind = f"RSA of {key.key_size} bits" if isinstance(key, RSAPublicKey) else "not RSA"
            self._refuse(peer, f"has a key that is {kind}", f"it needs one of RSA with {KEY_BITS[0]} to {KEY_BITS[1]}")
        if peer.signature_hash_algorithm is None or peer.signature_hash_algorithm.digest_size <= SHA1.digest_size:
            self._refuse(peer, "is signed with a hash that can be forged", "it needs a new one with SHA-256")

    def _check_time(self, peer: x509.Certificate, certificate: x509.Certificate) -> None:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not start <= datetime.now(UTC) <= end:
            which = "" if certificate is peer else f"was issued by {_name(certificate)}, whose certificate "
            self._refuse(
                peer, f"{which}is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} only", "the peer needs a new one"
            )

    def _check_authority(self, peer: x509.Certificate, authority: x509.Certificate, below: int) -> None:
        """Whether a certificate may have issued others, with `below` authorities between it and the peer."""
        basic = _extension(authority, x509.BasicConstraints)
        usage = _extension(authority, x509.KeyUsage)
        may = basic is not None and basic.ca and (basic.path_length is None or below <= basic.path_length)
        if not may or (usage is not None and not usage.key_cert_sign):
            self._refuse(
                peer, f"was issued by {_name(authority)}, which may not issue any", "it needs one of an authority"
            )

    def _check_use(self, peer: x509.Certificate) -> None:
        usage = _extension(peer, x509.KeyUsage)
        if usage is not None and not (usage.digital_signature and (usage.key_encipherment or usage.data_encipherment)):
            self._refuse(
                peer,
                "may not be used to sign and to encrypt",
                "it needs the key usages digitalSignature, keyEncipherment and dataEncipherment",
            )

    def _check_readable(self, peer: x509.Certificate, unreadable: list[Path]) -> None:
        """Whose list a file was that cannot be read, nobody can tell: it may be the one that revokes the peer."""
        if unreadable:
            path = unreadable[0]
            self._refuse(
                peer, f"cannot be held against the revocation list {path}, which cannot be read", f"mend {path}"
            )

    def _check_revoked(
        self,
        peer: x509.Certificate,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        lists: list[tuple[Path, x509.CertificateRevocationList]],
    ) -> None:
        key = issuer.public_key()
        its = [
            (path, each)
            for path, each in lists
            if each.issuer == issuer.subject and isinstance(key, RSAPublicKey) and each.is_signature_valid(key)
        ]
        for path, each in its:
            entry = each.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None:
                which = "is" if certificate is peer else f"was issued by {_name(certificate)}, whose certificate is"
                self._refuse(
                    peer,
                    f"{which} revoked since {entry.revocation_date_utc:%Y-%m-%d} by {_name(issuer)} in {path}",
                    "the peer needs a new one",
                )
        if not its:
            self._once(issuer, "none", f"there is no revocation list of {_name(issuer)}: what it revoked is let in")
            return
        now = datetime.now(UTC)
        if not any(each.next_update_utc is None or each.next_update_utc >= now for _, each in its):
            path, newest = max(its, key=lambda each: each[1].last_update_utc)
            self._refuse(
                peer,
                f"cannot be held against the revocation list of {_name(issuer)}, {path}: "
                f"it should have been renewed on {newest.next_update_utc:%Y-%m-%d}",
                f"put the present list of {_name(issuer)} in its place",
            )

    def _warn(self, peer: x509.Certificate, host: str | None) -> None:
        left = peer.not_valid_after_utc - datetime.now(UTC)
        if left < SOON:
            self._once(peer, "soon", f"certificate of {_name(peer)} expires in {left.days} days")
        if host and host not in _hosts(peer):
            self._once(peer, host, f"certificate of {_name(peer)} is not issued for the host {host}")

    def _once(self, certificate: x509.Certificate, what: str, text: str) -> None:
        key = (certificate.fingerprint(SHA256()), what)
        if key not in self._warned:
            self._warned.add(key)
            _log.warning("%s: %s", self.application, text)

    def _refuse(self, peer: x509.Certificate, why: str, remedy: str) -> NoReturn:
        """NotTrusted, with the certificate kept in rejected/; `remedy` may name that {path}."""
        folder = self.folder / "rejected"
        path = folder / _file_name(peer)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                if len(list(folder.iterdir())) >= MOST_REJECTED:
                    remedy = f"it was not kept since {folder} holds {MOST_REJECTED} files: empty it and try again"
                else:
                    self._write(path, peer)
        except OSError as error:
            remedy = f"it could not be kept in {folder}: {error.strerror or error}"
        text = f"certificate of {_name(peer)} {why}; {remedy.replace('{path}', str(path))}"
        raise NotTrusted(f"{self.application}: {text}")

    def _write(self, path: Path, certificate: x509.Certificate) -> None:
        """In whole or not at all, from a draft beside the lists: who looks into one meanwhile finds no half file."""
        draft = self.folder / f"{os.getpid()}.draft"
        try:
            draft.write_bytes(certificate.public_bytes(Encoding.DER))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


_Lists = list[tuple[Path, x509.CertificateRevocationList]]


def _read(folder: Path) -> tuple[list[x509.Certificate], _Lists, list[Path]]:
    """Certificates, revocation lists, and files that should be such lists and cannot be read.

    Whatever else lies in the folder lets nobody in.
    """
    certificates: list[x509.Certificate] = []
    lists: _Lists = []
    unreadable: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        should_be_list = path.suffix.lower() == ".crl" or path.parent.name == "crl"
        try:
            if path.stat().st_size > MOST_FILE_BYTES:
                raise ValueError(f"more than {MOST_FILE_BYTES} bytes")
            content = path.read_bytes()
            should_be_list |= _PEM_LIST in content
            found, found_lists = _loaded(content)
            if should_be_list and not found_lists:
                raise ValueError("no revocation list")
        except (OSError, ValueError) as error:
            if should_be_list:
                unreadable.append(path)
            elif isinstance(error, OSError):
                _log.warning("%s cannot be read: %s", path, error.strerror)
            continue
        certificates += found
        lists += [(path, each) for each in found_lists]
    return certificates, lists, unreadable


def _loaded(content: bytes) -> tuple[list[x509.Certificate], list[x509.CertificateRevocationList]]:
    """What a file holds, DER or any number of PEM blocks; ValueError when a part of it is neither kind."""
    if content.startswith(_DER) or b"-----BEGIN " not in content:
        try:
            return [x509.load_der_x509_certificate(content)], []
        except ValueError:
            return [], [x509.load_der_x509_crl(content)]
    blocks = [(kind, block) for block, kind in _PEM.findall(content)]
    return (
        [x509.load_pem_x509_certificate(block) for kind, block in blocks if kind == b"CERTIFICATE"],
        [x509.load_pem_x509_crl(block) for kind, block in blocks if kind == b"X509 CRL"],
    )


def _chain(peer: x509.Certificate, known: list[x509.Certificate]) -> list[x509.Certificate]:
    """The peer, its issuer, the issuer of that, as far as they are known and the signatures are right."""
    chain = [peer]
    while len(chain) < MOST_CHAIN and not _is_issued_by(chain[-1], chain[-1]):
        issuer = next((each for each in known if each not in chain and _is_issued_by(chain[-1], each)), None)
        if issuer is None:
            break
        chain.append(issuer)
    return chain


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True


def parse_chain(der: bytes | None) -> list[x509.Certificate]:
    """The certificates that a peer sent, its own first; none when one cannot be read or they are too many."""
    if der is None or len(der) > MOST_CHAIN_BYTES:
        return []
    found: list[x509.Certificate] = []
    while der:
        # SEQUENCE with a two-byte length: every RSA certificate is longer than 255 and shorter than 65,536 bytes
        if not der.startswith(b"\x30\x82") or len(found) == MOST_CHAIN:
            return []
        size = int.from_bytes(der[2:4], "big") + 4
        try:
            found.append(x509.load_der_x509_certificate(der[:size]))
        except _UNREADABLE:
            return []
        der = der[size:]
    return found


def parse(der: bytes | None) -> x509.Certificate | None:
    """The first certificate of a DER chain, or None."""
    return next(iter(parse_chain(der)), None)


def application_uris(certificate: x509.Certificate) -> list[str]:
    """The application URIs that a certificate is issued for."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    return names.get_values_for_type(x509.UniformResourceIdentifier) if names else []


def _hosts(certificate: x509.Certificate) -> Iterator[str]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names:
        yield from names.get_values_for_type(x509.DNSName)
        yield from map(str, names.get_values_for_type(x509.IPAddress))


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _text(subject: x509.Name) -> str:
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "unnamed"


def _name(certificate: x509.Certificate) -> str:
    return repr(_text(certificate.subject)[:80])


def _file_name(certificate: x509.Certificate) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", _text(certificate.subject))[:60]
    return f"{name}-{certificate.fingerprint(SHA256()).hex()[:16]}.der"
