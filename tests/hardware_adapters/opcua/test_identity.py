"""Users: from a file or the environment, at a server of another stack; a refusal is told and not repeated at once."""

import asyncio
import shutil

import pytest

from uem.hardware_adapters import supervise
from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.identity import Identity
from uem.hardware_adapters.supervise import PlantLink
from uem.twin_core.errors import AdapterError, LoginRefused


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "opcua" / "boiler"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def identity(folder):
    return Identity("boiler", folder, {})


def login(folder, text, mode=0o600):
    path = folder / "login"
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def read(node_tags, node_certificates):
    """read(plant, identity): one value of the plant."""

    async def made(plant, identity, policy="Basic256Sha256"):
        tags = node_tags("T1")
        async with OpcUaAdapter(
            plant.endpoint, tags, node_certificates, security_policy=policy, identity=identity
        ) as opened:
            return [row[2] for row in await collected(opened, 1, 60)]

    return made


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
async def test_a_user_logs_in_with_the_password_of_the_file_or_of_the_environment(
    lasting_plant, read, folder, identity, policy
):
    variables = {"UEM_OPCUA_USER_BOILER": "operator", "UEM_OPCUA_PASSWORD_BOILER": "secret"}
    async with lasting_plant(anonymous=False) as plant:
        with pytest.raises(LoginRefused, match=r"plant boiler lets nobody in without a user .*UEM_OPCUA_USER_BOILER"):
            await read(plant, identity, policy)
        login(folder, "operator\nsecret\n")
        assert await read(plant, identity, policy) == [1.0]
        login(folder, "operator\nwrong\n")
        assert await read(plant, Identity("boiler", folder, variables), policy) == [1.0]
        with pytest.raises(
            LoginRefused, match=r"plant boiler refuses user 'operator' \(.*\); correct .*login"
        ) as refused:
            await read(plant, identity, policy)
    assert "wrong" not in str(refused.value)


async def test_a_user_logs_in_with_a_certificate(node_plant, read, folder, identity, tmp_path):
    user = CertificateStore(tmp_path / "users", "operator")
    user.ensure()
    shutil.copy(user.certificate_path, folder / "certificate.der")
    shutil.copy(user.key_path, folder / "key.pem")
    async with node_plant(anonymous=False, user=str(user.certificate_path)) as plant:
        assert await read(plant, identity) == [1.0]
        stranger = CertificateStore(tmp_path / "users", "stranger")
        stranger.ensure()
        shutil.copy(stranger.certificate_path, folder / "certificate.der")
        with pytest.raises(AdapterError, match=r"key.pem is not the RSA key of .*certificate.der"):
            await read(plant, identity)
        shutil.copy(stranger.key_path, folder / "key.pem")
        with pytest.raises(LoginRefused, match="refuses the user with the certificate"):
            await read(plant, identity)


async def test_a_password_is_never_sent_without_encryption(node_plant, node_tags, shared_pki, folder, identity):
    login(folder, "operator\nsecret\n")
    async with node_plant(open=True) as plant:
        with pytest.raises(AdapterError, match="plant boiler: a user would log in without encryption"):
            async with OpcUaAdapter(
                plant.endpoint, node_tags("T1"), shared_pki.open, security_policy="None", identity=identity
            ):
                pass


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("operator\nsecret\n", 0o644, "may be read by others than its owner: chmod 600"),
        ("\nsecret\n", 0o600, "the user belongs in the first line"),
        ("", 0o600, "the user belongs in the first line"),
    ],
)
def test_a_file_that_is_open_to_others_or_wrong_is_told(folder, identity, text, mode, told):
    login(folder, text, mode)
    with pytest.raises(AdapterError, match=told):
        identity.apply(None, is_open=False)


def test_damaged_certificates_of_users_are_told(folder, identity):
    (folder / "certificate.pem").write_text("damaged")
    with pytest.raises(AdapterError, match=r"plant boiler: .*certificate.pem with .*key.pem cannot be used"):
        identity.apply(None, is_open=False)


async def test_a_refused_login_is_tried_ever_more_rarely_and_not_as_often_as_a_lost_line(monkeypatch):
    waits = []

    async def slept(wait_s):
        waits.append(wait_s)
        if len(waits) == 8:
            raise asyncio.CancelledError

    def refused():
        raise LoginRefused("wrong password")

    monkeypatch.setattr(supervise.asyncio, "sleep", slept)
    with pytest.raises(asyncio.CancelledError):
        await PlantLink("boiler", refused, lambda *_: None).run()
    assert waits == [30, 60, 120, 240, 480, 600, 600, 600]
