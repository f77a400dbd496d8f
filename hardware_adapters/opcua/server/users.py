"""Users of one of our OPC UA servers: names and hashed passwords or certificates in a file, and how often one may try.

A line of the file is `NAME:scrypt:N:R:P:SALT:HASH`, salt and hash in hex (RFC 7914), or `NAME:x509:SHA256` of the
certificate whose key a user holds. A try of a password costs 16 MiB and some 40 ms,
in which the server does nothing else; so each application has MOST_TRIES at once and one more every PACE_S, and what is
beyond is refused unseen.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.logins import check_private
from uem.twin_core.errors import AdapterError, InvalidInput

_log = logging.getLogger(__name__)

MOST_TRIES = 5
PACE_S = 10.0
MOST_PASSWORD_BYTES = 1024
MOST_APPLICATIONS = 1000  # whose tries are remembered
_N, _R, _P = 2**14, 8, 1
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_NOBODY = f"scrypt:{_N}:{_R}:{_P}:{'00' * 16}:{'00' * 32}"  # so that an unknown name takes as long as a wrong password


class UserFile:
    """The users of one server; read anew at each try, so that who is removed is out at the next login."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist: nobody has to log in then. A file that names nobody lets nobody in."""
        self.path = path
        self.refused = 0
        self._tries: dict[str, tuple[float, float]] = {}  # by application: tries left, when that was

    def __bool__(self) -> bool:
        """Whether one has to log in."""
        return self.path.exists()

    def add(self, name: str, password: str) -> None:
        """Add a user, or give one another password.

        Raises:
            InvalidInput: the name has other characters than letters, digits and ._@-, or the password is too short.
            AdapterError: the file cannot be written.
        """
        if not 8 <= len(password.encode()) <= MOST_PASSWORD_BYTES:
            raise InvalidInput(f"user {name}: a password has 8 to {MOST_PASSWORD_BYTES} bytes")
        salt = secrets.token_bytes(16)
        self._keep(name, f"scrypt:{_N}:{_R}:{_P}:{salt.hex()}:{_hash(password, salt, _N, _R, _P).hex()}")

    def add_certificate(self, name: str, certificate: bytes) -> None:
        """Add a user who holds the key of a certificate (DER or PEM), in place of a password; raises as `add`."""
        is_text = certificate.lstrip().startswith(b"-----")
        try:
            read = x509.load_pem_x509_certificate if is_text else x509.load_der_x509_certificate
            found = read(certificate)
        except ValueError as error:
            raise InvalidInput(f"user {name}: no certificate: {error}") from None
        self._keep(name, _by_certificate(found.public_bytes(Encoding.DER)))

    def _keep(self, name: str, kept: str) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"user {name!r}: a name has up to 64 letters, digits and ._@-")
        users = self._read() | {name: kept}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_text("".join(f"{each}:{kept}\n" for each, kept in sorted(users.items())), "utf-8")
            draft.rename(self.path)
        except OSError as error:
            raise AdapterError(f"{self.path} cannot be written: {error.strerror}") from None

    def accepts(self, name: str, password: str, application: str) -> bool:
        """Whether this is a user with the right password, tried by an application that has not tried too often."""
        if self._may_try(application):
            if self._is_right(name, password):
                self._tries.pop(application, None)
                return True
            _log.warning("refused a login of user %r", name[:64])  # what is not even looked at fills no log
        self.refused += 1
        return False

    def holder(self, certificate: bytes, application: str) -> str | None:
        """Whose certificate (DER) this is, None if it is nobody's or not valid now; that its key is held is known."""
        if self._may_try(application):
            mine = _by_certificate(certificate)
            found = next((name for name, kept in self._read().items() if kept == mine), None)
            if found is not None and _is_valid(certificate):
                self._tries.pop(application, None)
                return found
            _log.warning("refused a certificate of %s", found or "no user")
        self.refused += 1
        return None

    def _may_try(self, application: str) -> bool:
        now = time.monotonic()
        left, since = self._tries.pop(application, (float(MOST_TRIES), now))
        left = min(float(MOST_TRIES), left + (now - since) / PACE_S)
        self._tries[application] = (max(left - 1.0, 0.0) if left >= 1.0 else left, now)
        while len(self._tries) > MOST_APPLICATIONS:
            del self._tries[next(iter(self._tries))]
        return left >= 1.0

    def _is_right(self, name: str, password: str) -> bool:
        if len(password.encode()) > MOST_PASSWORD_BYTES:
            return False
        users = {each: kept for each, kept in self._read().items() if not kept.startswith("x509:")}
        try:
            _, n, r, p, salt, kept = users.get(name, _NOBODY).split(":")
            found = _hash(password, bytes.fromhex(salt), int(n), int(r), int(p))
            return hmac.compare_digest(found, bytes.fromhex(kept)) and name in users
        except ValueError as error:
            raise AdapterError(f"{self.path}: the line of user {name!r} is damaged: add the user anew") from error

    def _read(self) -> dict[str, str]:
        try:
            check_private(self.path)
            lines = self.path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise AdapterError(f"{self.path} cannot be read: {error}") from None
        parts = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
        return {name: kept for name, _, kept in parts}


def _by_certificate(certificate: bytes) -> str:
    return f"x509:{hashlib.sha256(certificate).hexdigest()}"


def _is_valid(certificate: bytes) -> bool:
    known = x509.load_der_x509_certificate(certificate)
    return known.not_valid_before_utc <= datetime.now(UTC) <= known.not_valid_after_utc


def _hash(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=64 * 2**20, dklen=32)
