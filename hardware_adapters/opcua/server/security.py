"""Who may talk to one of our OPC UA servers, and how.

Only signed and encrypted sessions of trusted applications are let in. The library by itself would accept a session on
the open channel that exists for discovery; `ChannelUsers` refuses it, since such a channel has no certificate.
"""

import hashlib
import ipaddress
import logging
from collections.abc import Sequence
from typing import Any

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.twin_core.errors import InvalidInput, NotTrusted

_log = logging.getLogger(__name__)

POLICIES = {
    "Basic256Sha256": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    "Aes256Sha256RsaPss": ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
}
OPEN = "None"


def check_policies(policies: Sequence[str], host: str) -> None:
    """InvalidInput for a policy that we do not offer, or for an open one that others than this machine could reach."""
    for policy in policies:
        if policy != OPEN and policy not in POLICIES:
            raise InvalidInput(f"security policy {policy!r}: {', '.join(POLICIES)} are offered")
    if OPEN in policies and not _is_loopback(host):
        raise InvalidInput(f"a server without security on {host}: only on a loopback address such as 127.0.0.1")


async def secure(server: Server, certificates: CertificateStore, policies: Sequence[str]) -> None:
    """Offer `policies`, and let in the applications that `certificates` trust; anyone when the open policy is asked."""
    types = [ua.SecurityPolicyType.NoSecurity if name == OPEN else POLICIES[name] for name in policies]
    await server.set_application_uri(certificates.application_uri)
    server.set_security_policy(types)
    server.set_identity_tokens([ua.AnonymousIdentityToken])  # the application's certificate says who it is
    await server.load_certificate(certificates.certificate_path)
    await server.load_private_key(certificates.key_path)

    async def let_in(certificate: x509.Certificate, application: ua.ApplicationDescription) -> None:
        try:
            certificates.check(certificate.public_bytes(Encoding.DER), application.ApplicationUri)
        except NotTrusted as error:
            _log.warning("refused: %s", error)
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted) from None

    if OPEN not in policies:
        server.iserver.certificate_validator = let_in


class ChannelUsers(UserManager):
    """Lets in who holds the key of a trusted certificate: the one that the secure channel was opened with."""

    def __init__(self, certificates: CertificateStore, policies: Sequence[str]) -> None:
        self._certificates = certificates
        self._is_open = OPEN in policies

    def get_user(
        self, iserver: object, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """The user of a session that is being activated, named by the certificate; None refuses it."""
        if certificate or not self._is_open:
            try:
                self._certificates.check(certificate)
            except NotTrusted as error:
                _log.warning("refused a session: %s", error)
                return None
        name = hashlib.sha256(certificate).hexdigest() if certificate else ""
        return User(role=UserRole.User, name=name)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
