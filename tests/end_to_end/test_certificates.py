"""The steps of the guide for certificates, taken with `uem gateway` and a server that knows nothing of it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide" / "connect-your-plant.md").read_text("utf-8")
OWN, REJECTED, TRUSTED = "pki/gateway/own/certificate.der", "pki/gateway/rejected", "pki/gateway/trusted"
URI = "urn:plant:boiler"


class Boiler:
    """A plant of another maker: asyncua's own server, certificate and trust list."""

    def __init__(self, folder):
        self.trusted = folder / "trusted"
        self.trusted.mkdir(parents=True)
        self._key, self._certificate = folder / "key.pem", folder / "certificate.der"
        self._trust_list = TrustStore([self.trusted], [])

    async def start(self):
        await setup_self_signed_certificate(
            self._key, self._certificate, URI, "localhost", [ExtendedKeyUsageOID.SERVER_AUTH], {"commonName": "boiler"}
        )
        shutil.copy(self._certificate, self.trusted)  # its list may not be empty
        self.server = Server()
        await self.server.init()
        await self.server.set_application_uri(URI)
        self.server.set_endpoint("opc.tcp://127.0.0.1:0/boiler")
        self.server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await self.server.load_certificate(self._certificate)
        await self.server.load_private_key(self._key)
        peers = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_CLIENT
        self.server.set_certificate_validator(CertificateValidator(peers, self._trust_list))
        await self._trust_list.load()
        index = await self.server.register_namespace(URI)
        boiler = await self.server.nodes.objects.add_object(index, "Boiler")
        await boiler.add_variable(index, "Power", 5.0)
        await self.server.start()
        self.endpoint = f"opc.tcp://127.0.0.1:{self.server.bserver.port}/boiler"

    async def trust(self, path):
        """What the tool of its maker does."""
        shutil.copy(path, self.trusted)
        await self._trust_list.load()

    @property
    def fingerprint(self):
        return x509.load_der_x509_certificate(self._certificate.read_bytes()).fingerprint(SHA256())


@pytest.fixture
async def boiler(tmp_path):
    made = Boiler(tmp_path / "boiler")
    await made.start()
    yield made
    await made.server.stop()


@pytest.fixture
def site(tmp_path, boiler):
    """A folder to work in, with a territory that measures the boiler."""
    folder = tmp_path / "site"
    folder.mkdir()
    plant = f'[[plants]]\nname = "boiler"\nendpoint = "{boiler.endpoint}"\n'
    (folder / "territory.toml").write_text(f'name = "site"\ntags = "tags.csv"\n{plant}')
    (folder / "tags.csv").write_text(
        f"tag,plant,browse_path,namespace_uri,unit\nboiler/power,boiler,Boiler/Power,{URI},W\n"
    )
    return folder


def start(folder):
    command = [sys.executable, "-m", "uem.clients.cli", "gateway", ".", "--pki", "pki", "--metrics-port", "0"]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )


@asynccontextmanager
async def gateway(folder):
    """`uem gateway` in a folder; yields the address of its metrics."""
    process = start(folder)
    try:
        yield json.loads(await asyncio.to_thread(process.stdout.readline))["metrics"]
        process.terminate()
        assert await asyncio.to_thread(process.wait, 60) == 0
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


async def eventually(look, folder, timeout_s=60.0):
    """What `look` finds once it finds something."""
    end = asyncio.get_running_loop().time() + timeout_s
    while not (found := await asyncio.to_thread(look)):
        assert asyncio.get_running_loop().time() < end, (folder / "log").read_text()
        await asyncio.sleep(0.05)
    return found


def metric(address, name):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return float(re.search(rf'^uem_gateway_{name}{{plant="boiler"}} (\S+)$', text, re.MULTILINE)[1])


async def test_gateway_and_plant_trust_each_other_after_the_steps_of_the_guide(site, boiler):
    assert all(path in GUIDE for path in (OWN, REJECTED, TRUSTED))
    async with gateway(site) as metrics:
        # 1: the gateway refuses the plant and keeps its certificate.
        (kept,) = await eventually(lambda: list((site / REJECTED).glob("*")), site)
        assert metric(metrics, "connected") == 0
        assert x509.load_der_x509_certificate(kept.read_bytes()).fingerprint(SHA256()) == boiler.fingerprint
        shutil.move(kept, site / TRUSTED)
        # 2: the plant refuses the gateway.
        await eventually(lambda: "the server refuses our certificate" in (site / "log").read_text(), site)
        assert metric(metrics, "connected") == 0
        await boiler.trust(site / OWN)
        # 3: it connects by itself.
        await eventually(lambda: metric(metrics, "connected") == 1, site)
        await eventually(lambda: metric(metrics, "samples_received_total") >= 1, site)
    assert list((site / REJECTED).glob("*")) == []
