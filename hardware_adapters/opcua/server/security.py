"""Who may talk to one of our OPC UA servers, and how.

Only signed and encrypted sessions of trusted applications are let in. The library by itself would accept a session on
the open channel that exists for discovery; `ChannelUsers` refuses it, since such a channel has no certificate, and the
sessions of others cannot be had there, since their tokens cannot be guessed. Where there are users, one has to log in
as well; else the certificate of the application says who it is.
"""

import hashlib
import hmac
import logging
import secrets
import struct
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto import uacrypto
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.policies import OPEN
from uem.hardware_adapters.opcua.server.subscriptions import PointSubscriptions
from uem.hardware_adapters.opcua.server.users import UserFile
from uem.twin_core.errors import AdapterError, NotTrusted

_log = logging.getLogger(__name__)

POLICIES = {
    "Basic256Sha256": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    "Aes256Sha256RsaPss": ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
}


_DECRYPT: dict[str, Any] = {
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep": uacrypto.decrypt_rsa_oaep,
    "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256": uacrypto.decrypt_rsa_oaep_sha256,
}

_SIGNED = (
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://opcfoundation.org/UA/security/rsa-pss-sha2-256",
)


async def secure(
    server: Server, certificates: CertificateStore, policies: Sequence[str], users: UserFile | None = None
) -> None:
    """Offer `policies`, and let in the applications that `certificates` trust; anyone when the open policy is asked.

    With `users`, and where messages are encrypted, users can log in; once there are some, only they can.
    """
    types = [ua.SecurityPolicyType.NoSecurity if name == OPEN else POLICIES[name] for name in policies]
    await server.set_application_uri(certificates.application_uri)
    server.set_security_policy(types)
    tokens: list[type] = [] if users and OPEN not in policies else [ua.AnonymousIdentityToken]
    if users is not None and OPEN not in policies:
        tokens += [ua.UserNameIdentityToken, ua.X509IdentityToken]
    server.set_identity_tokens(tokens)
    server.iserver.decrypt_user_token = partial(_user_and_password, server)  # type: ignore[method-assign]
    server.iserver.verify_x509_token = partial(_certificate_of_user, server)  # type: ignore[method-assign]
    server.iserver.register_external_session = partial(_apart, server)  # type: ignore[method-assign]
    server.iserver.register_server = _register_nobody  # type: ignore[assignment, method-assign]
    server.iserver.register_server2 = _register_nobody  # type: ignore[assignment, method-assign]
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

    def __init__(self, certificates: CertificateStore, policies: Sequence[str], users: UserFile | None = None) -> None:
        self._certificates = certificates
        self._users = users
        self._is_open = OPEN in policies

    def get_user(
        self, iserver: object, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """The user of a session that is being activated, named by certificate and user name; None refuses it."""
        users_own = certificate if isinstance(certificate, _UserCertificate) else None
        if users_own is not None:
            certificate = users_own.channel
        if certificate or not self._is_open:
            try:
                self._certificates.check(certificate)
            except NotTrusted as error:
                _log.warning("refused a session: %s", error)
                return None
        name = hashlib.sha256(certificate).hexdigest() if certificate else ""
        if self._users is not None and not self._is_open:
            try:
                if users_own is not None:
                    username = self._users.holder(users_own, name)
                    if username is None:
                        return None
                elif username is None:
                    if self._users:
                        return None
                elif not self._users.accepts(username, password or "", name):
                    return None
            except AdapterError as error:
                _log.error("nobody can log in: %s", error)
                return None
            name += f" {username}" if username else ""
        elif users_own is not None:
            return None
        return User(role=UserRole.User, name=name)


class _UserCertificate(bytes):
    """The certificate of a user, whose key has signed, and the one that the secure channel was opened with."""

    channel: bytes | None = None


def _certificate_of_user(
    server: Server, session: Any, token: ua.X509IdentityToken, signature: ua.SignatureData
) -> _UserCertificate:
    """What a user proves to hold the key of: it signed the certificate of the server and the nonce of the session.

    The library would take a signature of SHA-1 as well.
    """
    if signature.Algorithm not in _SIGNED:
        raise ServiceError(ua.StatusCodes.BadIdentityTokenRejected)
    found = _UserCertificate(type(server.iserver).verify_x509_token(server.iserver, session, token, signature))
    found.channel = session.channel_certificate
    return found


def _activate(session: Any, params: Any, channel_certificate: bytes | None) -> Any:
    """Keep the certificate of the channel where that of a user takes its place for the library."""
    session.channel_certificate = channel_certificate
    return type(session).activate_session(session, params, channel_certificate)


def _apart(server: Server, session: Any) -> None:
    """Keep a session under a token that nobody can guess, and its subscriptions from other sessions.

    Who knows the token gets the session on any channel, also on the open one; the library would count tokens up, and
    let any session ask for any subscription.
    """
    if isinstance(session.subscription_service, PointSubscriptions):
        session.subscription_service = session.subscription_service.of(session.session_id)
    session.activate_session = partial(_activate, session)
    session.auth_token = ua.NodeId(secrets.token_bytes(32), 0, ua.NodeIdType.ByteString)
    type(server.iserver).register_external_session(server.iserver, session)


def _register_nobody(*_: object) -> NoReturn:
    """Other servers are not listed here; the library would take any number of them from anybody."""
    raise ServiceError(ua.StatusCodes.BadServiceUnsupported)


def _user_and_password(server: Server, session: Any, token: ua.UserNameIdentityToken) -> tuple[str, str]:
    """What a user logs in with, decrypted, and held to the nonce of the session against a second use.

    The library would take the padding of PKCS 1.5 as well, whose errors give away what is encrypted.
    """
    try:
        secret = token.Password or b""
        if token.EncryptionAlgorithm:
            plain = _DECRYPT[token.EncryptionAlgorithm](server.iserver.private_key, secret)
            (size,) = struct.unpack_from("<I", plain)
            secret, nonce = plain[4 : 4 + size - len(session.nonce)], plain[4 + size - len(session.nonce) : 4 + size]
            if not hmac.compare_digest(nonce, session.nonce):
                raise ValueError("an old secret")
        return str(token.UserName or ""), secret.decode("utf-8")
    except (KeyError, ValueError, TypeError, struct.error):
        raise ServiceError(ua.StatusCodes.BadIdentityTokenInvalid) from None
