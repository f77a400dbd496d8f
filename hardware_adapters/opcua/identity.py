"""As whom we log in to an OPC UA server: as nobody, by user and password, or by a certificate of a user.

    FOLDER/login                     `logins` says what is in it and what may stand in for it
    FOLDER/certificate.der, key.pem  of the user; the certificate may be PEM

Which application we are, the secure channel says already; who is none of ours never sees a password: it is sent on
encrypted channels alone, and encrypted once more with the policy that the server asks for it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from asyncua import Client, ua
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from uem.hardware_adapters.logins import LoginSource, check_private
from uem.twin_core.errors import AdapterError, LoginRefused

_REFUSALS = (
    ua.uaerrors.BadUserAccessDenied,
    ua.uaerrors.BadIdentityTokenRejected,
    ua.uaerrors.BadIdentityTokenInvalid,
    ua.uaerrors.BadUserSignatureInvalid,
)


class Identity:
    """The user of one plant. Files are read at each connection: what was mended counts at the next try."""

    def __init__(self, plant: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """`folder` need not exist: then nobody logs in. `environment` is that of the process unless it is given."""
        self.plant = plant
        self.folder = folder
        self._login = LoginSource("opcua", plant, folder, os.environ if environment is None else environment)
        self._user = ""

    def apply(self, client: Client, *, is_open: bool) -> None:
        """Let a client log in; `is_open` on a channel without security.

        Raises:
            AdapterError: a file is wrong or open to others, or a secret would travel in clear.
        """
        self._user = ""
        certificate, login = self._certificate_path(), self._login.read()
        if certificate is None and login is None:
            return
        if is_open:
            raise AdapterError(
                f"plant {self.plant}: a user would log in without encryption; choose another security_policy, "
                f"or remove {self._login}"
            )
        if certificate is not None:
            client.user_certificate, client.user_private_key = self._pair(certificate)
            self._user = f"the user with the certificate {certificate}"
        elif login is not None:
            client.set_user(login.user)
            client.set_password(login.password)
            self._user = f"user {login.user!r}"

    def refused(self, endpoint: str, error: Exception) -> LoginRefused | None:
        """What to tell when the server let the application in and not the user."""
        if not isinstance(error, _REFUSALS):
            return None
        name = ua.StatusCode(error.code).name
        if self._user:
            return LoginRefused(f"{endpoint}: plant {self.plant} refuses {self._user} ({name}); correct {self._login}")
        if isinstance(error, ua.uaerrors.BadUserAccessDenied):  # of the application, as far as one can tell
            return None
        return LoginRefused(
            f"{endpoint}: plant {self.plant} lets nobody in without a user ({name}); give {self._login}"
        )

    def _certificate_path(self) -> Path | None:
        paths = (self.folder / name for name in ("certificate.der", "certificate.pem"))
        return next((path for path in paths if path.exists()), None)

    def _pair(self, path: Path) -> tuple[x509.Certificate, RSAPrivateKey]:
        key_path = self.folder / "key.pem"
        try:
            content = path.read_bytes()
            load = x509.load_pem_x509_certificate if path.suffix == ".pem" else x509.load_der_x509_certificate
            certificate, key = load(content), load_pem_private_key(key_path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise AdapterError(f"plant {self.plant}: {path} with {key_path} cannot be used: {error}") from None
        check_private(key_path)
        if not isinstance(key, RSAPrivateKey) or key.public_key() != certificate.public_key():
            raise AdapterError(f"plant {self.plant}: {key_path} is not the RSA key of {path}")
        return certificate, key
