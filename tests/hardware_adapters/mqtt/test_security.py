"""Users, passwords and certificates, against mosquitto with a password file and TLS."""

import asyncio
import datetime
import ipaddress
import itertools
import shutil
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from uem.hardware_adapters.mqtt.client import MqttAdapter
from uem.hardware_adapters.mqtt.security import Credentials
from uem.hardware_adapters.supervise import PlantLink
from uem.hardware_adapters.tasks import end
from uem.twin_core.errors import AdapterError, NotTrusted
from uem.twin_core.measurements import Tag
from uem.twin_core.plant.addresses import MqttAddress
from uem.twin_core.plant.territory import TagBinding

TAGS = [TagBinding(tag=Tag(name="a", unit="1"), plant="p", display_unit="1", address=MqttAddress(topic="x"))]
USER, PASSWORD = "gateway", "bucket of steam"


class Authority:
    """A certificate authority that signs for 127.0.0.1."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {folder.name}")])
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._signed(self.name, self.key, is_authority=True))

    def _signed(self, name, key, *, is_authority=False):
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return made.add_extension(address, critical=False).sign(self.key, SHA256()).public_bytes(Encoding.PEM)

    def issue(self, certificate, key):
        """A certificate and its key, in two files."""
        its = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certificate.stem)])
        certificate.write_bytes(self._signed(name, its))
        key.write_bytes(its.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)


@pytest.fixture
def site(tmp_path):
    """An authority, lines for a broker with TLS and a password file, and the credentials of the gateway."""
    authority = Authority(tmp_path / "site")
    authority.issue(tmp_path / "broker.pem", tmp_path / "broker.key")
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto is not installed; on Debian: apt-get install mosquitto")
    subprocess.run([tool, "-b", "-c", str(tmp_path / "users"), USER, PASSWORD], check=True)
    folder = tmp_path / "pki" / "mqtt" / "p"
    folder.mkdir(parents=True)
    shutil.copy(authority.path, folder)
    authority.tls = [
        f"cafile {authority.path}",
        f"certfile {tmp_path / 'broker.pem'}",
        f"keyfile {tmp_path / 'broker.key'}",
    ]
    authority.users = ["allow_anonymous false", f"password_file {tmp_path / 'users'}"]
    authority.credentials = Credentials("p", folder, {})
    return authority


def log_in(credentials, user=USER, password=PASSWORD):
    path = credentials.folder / "login"
    path.write_text(f"{user}\n{password}\n")
    path.chmod(0o600)


async def test_a_broker_with_tls_lets_in_who_has_user_and_password(site, open_broker):
    log_in(site.credentials)
    async with (
        open_broker(*site.tls, *site.users, scheme="mqtts") as broker,
        MqttAdapter(broker.endpoint, TAGS, site.credentials) as adapter,
        MqttAdapter(broker.endpoint, TAGS, site.credentials) as other,
    ):
        await other._client.publish("x", b"3.5", 1)
        async for batch in adapter.batches():
            assert [row[2] for row in batch.rows()] == [3.5]
            break


async def test_the_environment_takes_the_place_of_the_file(site, open_broker):
    log_in(site.credentials, password="wrong")
    given = Credentials("p", site.credentials.folder, {"UEM_MQTT_USER_P": USER, "UEM_MQTT_PASSWORD_P": PASSWORD})
    async with open_broker(*site.users) as broker, MqttAdapter(broker.endpoint, TAGS, given) as adapter:
        assert adapter.connected


@pytest.mark.parametrize("password", ["wrong", None])
async def test_a_refused_login_is_told_with_the_file_to_correct(site, open_broker, password):
    if password:
        log_in(site.credentials, password=password)
    async with open_broker(*site.tls, *site.users, scheme="mqtts") as broker:
        with pytest.raises(NotTrusted, match=r"refuses the user or the password; .*/p/login .* or UEM_MQTT_USER_P"):
            async with MqttAdapter(broker.endpoint, TAGS, site.credentials):
                pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket open
async def test_a_broker_of_another_authority_is_not_believed(site, open_broker, tmp_path):
    shutil.copy(Authority(tmp_path / "elsewhere").path, site.credentials.folder)
    log_in(site.credentials)
    async with open_broker(*site.tls, *site.users, scheme="mqtts") as broker:
        with pytest.raises(NotTrusted, match=r"not to be trusted .*put that of the authority .*/p/ca.pem"):
            async with MqttAdapter(broker.endpoint, TAGS, site.credentials):
                pass
        assert f"'{USER}'" not in broker.log.read_text()  # the password did not leave


async def test_a_broker_that_asks_for_a_certificate_gets_it(site, open_broker):
    certificate, key = (site.credentials.folder / name for name in ("certificate.pem", "key.pem"))
    lines = [*site.tls, "require_certificate true", "use_identity_as_username true", "allow_anonymous false"]
    async with open_broker(*lines, scheme="mqtts") as broker:
        with pytest.raises(NotTrusted, match=r"refuses our certificate .*/p/certificate.pem, with .*/p/key.pem"):
            async with MqttAdapter(broker.endpoint, TAGS, site.credentials):
                pass
        site.issue(certificate, key)
        async with MqttAdapter(broker.endpoint, TAGS, site.credentials) as adapter:  # files are read at each try
            assert adapter.connected


async def test_a_broker_that_refuses_is_not_hammered(site, open_broker):
    log_in(site.credentials, password="wrong")
    async with open_broker(*site.users) as broker:
        tried_at_s, third = [], asyncio.Event()

        def made():
            tried_at_s.append(time.monotonic())
            if len(tried_at_s) == 3:
                third.set()
            return MqttAdapter(broker.endpoint, TAGS, site.credentials)

        running = asyncio.create_task(PlantLink("p", made, lambda *_: None).run())
        await asyncio.wait_for(third.wait(), 60)
        await end([running])  # the library below may swallow a cancellation
        waits_s = [after - before for before, after in itertools.pairwise(tried_at_s)]
        assert waits_s[0] >= 0.5
        assert waits_s[1] >= 1.0  # then 2 s, ... 16 s


def test_a_password_does_not_travel_in_clear_nor_lie_open(site):
    log_in(site.credentials)
    with pytest.raises(AdapterError, match="would travel in clear; use mqtts://"):
        site.credentials.access("mqtt://192.0.2.1")
    assert site.credentials.access("mqtts://192.0.2.1").port == 8883
    assert PASSWORD not in repr(site.credentials.access("mqtts://192.0.2.1"))
    (site.credentials.folder / "login").chmod(0o644)
    with pytest.raises(AdapterError, match="chmod 600"):
        site.credentials.access("mqtts://192.0.2.1")


def test_certificates_that_cannot_be_read_are_named(site):
    (site.credentials.folder / "ca.pem").write_text("none")
    with pytest.raises(AdapterError, match="cannot be used"):
        site.credentials.access("mqtts://127.0.0.1")
