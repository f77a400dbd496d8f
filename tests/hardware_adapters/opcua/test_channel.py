"""Channels to a server: whom they are opened to, and how often when it is of no use."""

import asyncio
import gc
import itertools
import warnings
from contextlib import suppress
from types import SimpleNamespace

import pytest
from asyncua import ua
from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.opcua import channel
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.channel import PACE_S, Channel, Opener
from uem.hardware_adapters.opcua.connection import Connection
from uem.hardware_adapters.opcua.desired import Desired
from uem.hardware_adapters.opcua.server.server import PointServer
from uem.hardware_adapters.opcua.services import Services
from uem.twin_core.errors import NotTrusted


async def describe(space):
    await space.point(space.objects, "P", await space.namespace("urn:uem:test"), identifier="P")


async def test_a_server_that_is_trusted_no_longer_is_refused_at_the_next_connection(tmp_path):
    plant, gateway = CertificateStore(tmp_path / "a", "plant"), CertificateStore(tmp_path / "b", "gateway")
    for store, peer in ((plant, gateway), (gateway, plant)):
        store.ensure()
        peer.ensure()
        store.trust(peer.certificate)
    async with PointServer("test", describe, plant) as server:
        opener = Opener(server.endpoint, gateway, "Basic256Sha256", None, timeout_s=30.0, session_timeout_s=60.0)
        (await opener.open()).drop()
        (await opener.open()).drop()
        for path in (tmp_path / "b").rglob("trusted/**/*.der"):
            path.unlink()
        with pytest.raises(NotTrusted):
            (await opener.open()).drop()
        await asyncio.sleep(0.05)


async def test_a_server_that_ends_each_session_at_once_is_not_tried_without_a_pause(tmp_path, monkeypatch):
    gateway = CertificateStore(tmp_path, "gateway", allow_insecure_loopback=True)
    gateway.ensure()
    plant = CertificateStore(tmp_path, "plant", allow_insecure_loopback=True)
    plant.ensure()
    async with PointServer("test", describe, plant, policies=["None"]) as server:
        opened = []
        opener = Opener(server.endpoint, gateway, "None", None, timeout_s=5.0, session_timeout_s=60.0)
        connection = Connection(opener, Desired(1), Services([], 100.0, 0.6), 5.0)

        async def broken():
            opened.append(1)
            raise ConnectionError("the server ends the line")

        monkeypatch.setattr(connection, "_set_up", broken)
        with suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await connection.recover()
        connection.drop()
        await asyncio.sleep(0.05)
    assert len(opened) <= 3.0 / PACE_S + 1


async def test_a_try_that_is_let_go_while_our_key_is_loaded_leaves_no_file_open(shared_pki):
    certificate = shared_pki.simulator.certificate.public_bytes(Encoding.DER)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for turns in range(200):
            opener = Opener(
                *("opc.tcp://127.0.0.1:1/x", shared_pki.gateway, "Basic256Sha256", None),
                timeout_s=5.0,
                session_timeout_s=60.0,
            )
            loading = asyncio.create_task(opener._secured_client(certificate))
            for _ in range(turns % 30):
                await asyncio.sleep(0)
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        gc.collect()
    assert [str(each.message) for each in told if each.category is ResourceWarning] == []


class Played:
    """A client whose renewals end as told, one after the other, on a clock that nobody waits for."""

    def __init__(self, monkeypatch, lifetime_ms, *ends):
        self.secure_channel_timeout = lifetime_ms
        self.server_url = SimpleNamespace(geturl=lambda: "opc.tcp://plant")
        self.uaclient = SimpleNamespace(session=None, revolve_security_token=lambda: None)
        self.line = SimpleNamespace(transport=SimpleNamespace(is_closing=lambda: not self._ends, abort=lambda: None))
        self.at_s = []
        self._ends = list(ends)
        self._now_s = 0.0
        here = SimpleNamespace(sleep=self._sleep, create_task=asyncio.create_task)
        monkeypatch.setattr(channel, "asyncio", here)
        monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: self._now_s))

    async def _sleep(self, wait_s):
        self._now_s += wait_s
        await asyncio.sleep(0)

    async def open_secure_channel(self, renew):
        self.at_s.append(self._now_s)
        end = self._ends.pop(0)
        if isinstance(end, Exception):
            raise end
        self.secure_channel_timeout = end

    async def renewed_at_s(self):
        """When it was tried."""
        await asyncio.wait_for(Channel(self, self.line)._renewing, 5.0)
        return self.at_s


async def test_keys_that_could_not_be_changed_are_tried_again_before_they_expire(monkeypatch):
    plant = Played(monkeypatch, 1_000_000, TimeoutError(), ConnectionError(), 1_000_000, 1_000_000)
    assert await plant.renewed_at_s() == [750.0, 812.5, 859.375, 859.375 + 750.0]


async def test_keys_are_changed_again_after_an_error_that_nobody_knows(monkeypatch, caplog):
    plant = Played(monkeypatch, 1_000_000, AssertionError("odd"), 1_000_000)
    assert await plant.renewed_at_s() == [750.0, 812.5]
    assert "odd" in caplog.text


async def test_keys_that_never_live_are_changed_at_the_usual_pace_not_without_a_pause(monkeypatch):
    plant = Played(monkeypatch, 1_000_000, 0, 0, TimeoutError(), 0)
    times = await plant.renewed_at_s()
    assert [after - before for before, after in itertools.pairwise(times)] == [PACE_S] * 3


async def test_keys_can_be_changed_after_a_change_that_was_answered_too_late(tmp_path, until):
    gateway, plant = (CertificateStore(tmp_path / name, name) for name in ("gateway", "plant"))
    for store, peer in ((plant, gateway), (gateway, plant)):
        store.ensure()
        peer.ensure()
        store.trust(peer.certificate)
    async with PointServer("test", describe, plant) as server:
        opener = Opener(server.endpoint, gateway, "Basic256Sha256", None, timeout_s=30.0, session_timeout_s=60.0)
        opened = await opener.open()
        protocol = opened.client.uaclient.protocol
        late = asyncio.create_task(opened.client.open_secure_channel(renew=True))
        await asyncio.sleep(0)
        late.cancel()
        await until(lambda: isinstance(protocol._open_secure_channel_exchange, ua.OpenSecureChannelResponse))
        await opened.client.open_secure_channel(renew=True)
        assert await opened.client.get_endpoints()
        opened.drop()
        await asyncio.sleep(0.05)
