"""Secure channels to one server: certificates checked, tries side by side, one that fell silent replaced.

Whether a line is alive is told by what was heard on it last, and that it is dead by nothing but a newer channel: when
one could be opened after the older fell silent, the answers on the older are lost.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from asyncua import Client, ua
from asyncua.crypto import security_policies, uacrypto
from cryptography import x509

from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.identity import Identity
from uem.hardware_adapters.opcua.line import Done, Line
from uem.hardware_adapters.opcua.policies import OPEN, check
from uem.hardware_adapters.opcua.trust import parse
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError, NotTrusted

_log = logging.getLogger(__name__)
T = TypeVar("T")

POLICIES: dict[str, Any] = {
    OPEN: security_policies.SecurityPolicyNone,
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
PACE_S = 0.5  # from one try to the next
MOST_TRIES = 6  # side by side
CONNECTION_ERRORS = (OSError, TimeoutError, ua.UaError)

_REFUSALS = (
    ua.uaerrors.BadCertificateUntrusted,
    ua.uaerrors.BadSecurityChecksFailed,
    ua.uaerrors.BadUserAccessDenied,
)


class Superseded(Exception):
    """The line fell silent; `newer` is a channel that was opened since."""

    def __init__(self, newer: "Channel") -> None:
        super().__init__("the line fell silent")
        self.newer = newer


class Channel:
    """A secure channel and asyncua's services on it."""

    def __init__(self, client: Client, line: Line) -> None:
        self.client = client
        self.session = client.uaclient.session
        self._line = line
        self._renewing = asyncio.create_task(self._renew())

    @property
    def heard_s(self) -> float:
        """When something was heard last, as `time.monotonic` tells."""
        return self._line.heard_s

    @property
    def is_open(self) -> bool:
        """Whether the line stands, as far as this side knows."""
        return self._line.transport is not None and not self._line.transport.is_closing()

    def publish(self, subscription: int, acknowledged: Sequence[int], done: Done) -> None:
        """Let a publish request wait at the server, as `Line.publish` says."""
        self._line.publish(subscription, acknowledged, done)

    def adopt(self, older: "Channel | None") -> None:
        """Take over the session of another channel; it has to be activated here."""
        if older is not None:
            self.client._server_nonce = older.client._server_nonce
            self.client._policy_ids = older.client._policy_ids
            self.session.restore_authentication_token(older.session.authentication_token)

    def drop(self) -> None:
        """Cut the line."""
        self._renewing.cancel()
        if self._line.transport is not None:
            self._line.transport.abort()

    async def _renew(self) -> None:
        """Change the keys before they expire; after a failure try again when a quarter of what is left is over."""
        share, expire_s = 0.75, self._expire_s()
        while self.is_open:
            await asyncio.sleep(max(share * (expire_s - time.monotonic()), PACE_S))
            try:
                await self.client.open_secure_channel(renew=True)
                self.client.uaclient.revolve_security_token()
            except Exception as error:  # whatever it is, without new keys the line is lost
                share, is_known = 0.25, isinstance(error, CONNECTION_ERRORS)
                level = logging.INFO if is_known else logging.ERROR
                endpoint = self.client.server_url.geturl()
                _log.log(level, "%s: keys not changed: %s", endpoint, text_of(error), exc_info=not is_known)
            else:
                share, expire_s = 0.75, self._expire_s()

    def _expire_s(self) -> float:
        """When keys of now expire, as `time.monotonic` tells."""
        return time.monotonic() + float(self.client.secure_channel_timeout) / 1000


class Opener:
    """Opens channels to one endpoint."""

    def __init__(
        self,
        endpoint: str,
        certificates: CertificateStore,
        policy: str,
        identity: Identity | None,
        *,
        timeout_s: float,
        session_timeout_s: float,
    ) -> None:
        """InvalidInput when the policy is not allowed at this endpoint."""
        host = urlsplit(endpoint).hostname or ""
        check([policy], host, allow_open=certificates.allow_insecure_loopback, who=endpoint)
        self.endpoint = endpoint
        self._certificates = certificates
        self._identity = identity
        self._policy = POLICIES[policy]
        self._policy_name = policy
        self._mode = ua.MessageSecurityMode.None_ if policy == OPEN else ua.MessageSecurityMode.SignAndEncrypt
        self._timeout_s = timeout_s
        self._session_timeout_s = session_timeout_s
        self.peer: x509.Certificate | None = None  # of the server, once it is trusted
        self._server_certificate: bytes | None = None
        self._own: tuple[Any, Any] | None = None

    async def open(self) -> Channel:
        """One try.

        Raises:
            NotTrusted: one side does not trust the other.
            AdapterError: the server does not offer the policy.
            OSError, TimeoutError, ua.UaError: there is no connection.
        """
        if self._server_certificate:
            try:  # what was trusted may have been removed or revoked since, or it has expired
                self._certificates.check(self._server_certificate)
            except NotTrusted:
                self._server_certificate = None
        if self._server_certificate is None:
            self._server_certificate = await self._trusted_server_certificate()  # empty where there is no security
        client = await self._secured_client(self._server_certificate)
        line = await self._connect(client)
        try:
            await client.send_hello()
            try:
                await client.open_secure_channel()
            except ua.UaStatusCodeError as error:
                self._server_certificate = None  # it may have a new one
                raise self.refused(error) or error from None
        except BaseException:
            if line.transport is not None:
                line.transport.abort()
            raise
        return Channel(client, line)

    async def race(self) -> Channel:
        """Try until a channel stands: tries begin at a steady pace, for an older one may wait for what is lost.

        Raises:
            AdapterError: trying again does not help.
        """
        tries: list[asyncio.Task[Channel]] = []
        loop = asyncio.get_running_loop()
        try:
            while True:
                tries.append(asyncio.create_task(self.open()))
                next_s = loop.time() + PACE_S
                while (left_s := next_s - loop.time()) > 0:
                    if not tries:
                        await asyncio.sleep(left_s)
                        break
                    done, _ = await asyncio.wait(tries, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        tries.remove(task)
                        if (channel := self._outcome(task)) is not None:
                            return channel
                if len(tries) >= MOST_TRIES:
                    await end([tries.pop(0)])
        finally:
            await end(tries)
            for task in tries:
                if not task.cancelled() and task.exception() is None:
                    task.result().drop()

    async def guard(self, work: Coroutine[Any, Any, T], channel: Channel, patience_s: float) -> T:
        """Do work on a channel for as long as it is not silent for longer than `patience_s`.

        Raises:
            Superseded: it was, and a newer channel could be opened since.
        """
        doing = asyncio.create_task(work)
        race: asyncio.Task[Channel] | None = None
        try:
            while not doing.done():
                silent_since = channel.heard_s
                left_s = silent_since + patience_s - time.monotonic()
                if left_s > 0:
                    await asyncio.wait([doing], timeout=left_s)
                    continue
                race = asyncio.create_task(self.race())
                while not (doing.done() or race.done()) and channel.heard_s == silent_since:
                    await asyncio.wait([doing, race], timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
                if race.done() and not doing.done():
                    newer = race.result()
                    if channel.heard_s == silent_since:
                        race = None
                        raise Superseded(newer)
                await _let_go(race)
                race = None
            return await doing
        finally:
            if race is not None:
                await _let_go(race)
            await end([doing])

    def _outcome(self, task: "asyncio.Task[Channel]") -> Channel | None:
        try:
            return task.result()
        except CONNECTION_ERRORS as error:
            _log.debug("%s: no channel: %s", self.endpoint, text_of(error))
            return None

    async def _connect(self, client: Client) -> Line:
        loop = asyncio.get_running_loop()
        url = client.server_url
        async with asyncio.timeout(self._timeout_s):
            _, line = await loop.create_connection(
                lambda: Line(self._timeout_s, client.security_policy), url.hostname or "", url.port or 4840
            )
        client.uaclient.protocol = line
        line.is_session_closing = lambda: True  # answers to requests that were let go are expected
        return line

    async def _secured_client(self, server_certificate: bytes) -> Client:
        client = self._new_client()
        if self._identity is not None:
            self._identity.apply(client, is_open=self._policy_name == OPEN)
        if self._policy_name == OPEN:
            return client
        if self._own is None:  # loading a key takes longer than opening a channel
            # Read here: the library reads in a thread, and a try that is let go meanwhile would leave the file open.
            self._own = (
                await uacrypto.load_certificate(self._certificates.certificate_path.read_bytes()),
                await uacrypto.load_private_key(self._certificates.key_path.read_bytes(), extension="pem"),
            )
        client.security_policy = self._policy(parse(server_certificate), *self._own, self._mode)
        client.uaclient.set_security(client.security_policy)
        return client

    def _new_client(self) -> Client:
        client = Client(self.endpoint, timeout=self._timeout_s)
        client.uaclient.pre_request_hook = None  # it waits for a reconnection of the library's own
        client.application_uri = self._certificates.application_uri
        client.name = client.description = "uem gateway"
        client.session_timeout = int(1000 * self._session_timeout_s)
        return client

    async def _trusted_server_certificate(self) -> bytes:
        """Ask for the endpoints on an open channel; the certificate of the right one, if it is trusted."""
        client = self._new_client()
        line = await self._connect(client)
        try:
            await client.send_hello()
            await client.open_secure_channel()
            endpoints = await client.get_endpoints()
        finally:
            if line.transport is not None:
                line.transport.abort()
        for offered in endpoints:
            if offered.SecurityMode == self._mode and offered.SecurityPolicyUri == self._policy.URI:
                if self._policy_name == OPEN:
                    return b""
                certificate = offered.ServerCertificate
                host = urlsplit(self.endpoint).hostname
                self.peer = self._certificates.check(certificate, offered.Server.ApplicationUri, host)
                return bytes(certificate)
        there = {f"{e.SecurityPolicyUri.rpartition('#')[2]}/{e.SecurityMode.name}" for e in endpoints}
        raise AdapterError(
            f"{self.endpoint}: the server does not offer {self._policy_name}/{self._mode.name}; "
            f"it offers {', '.join(sorted(there)) or 'nothing'}: change security_policy of the plant or the server"
        )

    def refused(self, error: Exception) -> NotTrusted | None:
        """What to tell when the server refused our user or our certificate."""
        if self._identity is not None and (login := self._identity.refused(self.endpoint, error)) is not None:
            return login
        if isinstance(error, _REFUSALS):
            return NotTrusted(
                f"{self.endpoint}: the server refuses our certificate ({text_of(error)}); copy "
                f"{self._certificates.certificate_path} into the trust list of the server"
            )
        return None


async def _let_go(race: "asyncio.Task[Channel]") -> None:
    """End a race whose winner nobody needs."""
    await end([race])
    if not race.cancelled() and race.exception() is None:
        race.result().drop()


def text_of(error: BaseException) -> str:
    """An error in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
