"""Users of our servers: hashed in a file, let in by password, and no number of wrong ones stops the server."""

import asyncio
import io
import runpy
from pathlib import Path

import pytest
from asyncua import Client, ua
from asyncua.common.utils import ServiceError
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.identity import Identity
from uem.hardware_adapters.opcua.server import users as users_module
from uem.hardware_adapters.opcua.server.security import ChannelUsers, _certificate_of_user, _UserCertificate
from uem.hardware_adapters.opcua.server.server import PointServer
from uem.hardware_adapters.opcua.server.users import MOST_TRIES, UserFile
from uem.hardware_adapters.scada import main as scada
from uem.twin_core.errors import AdapterError, InvalidInput, LoginRefused

_AUTHORITY = runpy.run_path(str(Path(__file__).parents[1] / "authority.py"))
Authority, key, put = (_AUTHORITY[name] for name in ("Authority", "key", "put"))
CERTIFICATE = Authority().issue("engineer")
SECRET = "correct horse"


@pytest.fixture
def users(tmp_path):
    made = UserFile(tmp_path / "twin" / "users")
    made.add("operator", SECRET)
    return made


def test_a_user_is_accepted_with_the_password_and_not_without(users):
    assert users
    assert users.accepts("operator", SECRET, "app")
    assert not users.accepts("operator", SECRET.upper(), "app")
    assert not users.accepts("nobody", SECRET, "app")
    assert not users.accepts("operator", "x" * 10_000, "app")
    assert users.refused == 3


def test_the_file_has_no_password_and_is_its_owners_alone(users):
    text = users.path.read_text()
    assert text.startswith("operator:scrypt:16384:8:1:")
    assert SECRET not in text
    assert users.path.stat().st_mode & 0o777 == 0o600
    users.path.chmod(0o640)
    with pytest.raises(AdapterError, match="chmod 600"):
        users.accepts("operator", SECRET, "app")


def test_the_same_password_is_never_hashed_to_the_same(users):
    users.add("second", SECRET)
    first, second = (line.partition(":")[2] for line in users.path.read_text().splitlines())
    assert first != second


def test_another_password_takes_the_place_of_the_old_and_a_removed_user_is_out(users):
    users.add("operator", "another one")
    assert not users.accepts("operator", SECRET, "app")
    assert users.accepts("operator", "another one", "app")
    users.path.write_text("")
    assert not users.accepts("operator", "another one", "app")


def test_a_file_without_users_lets_nobody_in_and_no_file_every_trusted_application(users, shared_pki):
    manager = ChannelUsers(shared_pki.simulator, ["Basic256Sha256"], users)
    certificate = shared_pki.gateway.certificate_path.read_bytes()
    users.path.write_text("# the last one has left\n")
    assert manager.get_user(None, None, None, certificate) is None
    users.path.unlink()
    assert manager.get_user(None, None, None, certificate) is not None


@pytest.mark.parametrize(("name", "password"), [("a:b", SECRET), ("", SECRET), ("a\nb", SECRET), ("operator", "short")])
def test_names_and_passwords_that_are_none_are_refused(users, name, password):
    with pytest.raises(InvalidInput):
        users.add(name, password)


def test_a_damaged_line_is_told_and_lets_nobody_in(users, shared_pki, caplog):
    users.path.write_text("operator:scrypt:16384:8:1:zz:00\n")
    with pytest.raises(AdapterError, match="line of user 'operator' is damaged"):
        users.accepts("operator", SECRET, "app")
    manager = ChannelUsers(shared_pki.simulator, ["Basic256Sha256"], users)
    certificate = shared_pki.gateway.certificate_path.read_bytes()
    assert manager.get_user(None, "operator", SECRET, certificate) is None
    assert any("nobody can log in" in record.message for record in caplog.records)


def test_ten_thousand_wrong_passwords_are_hashed_a_few_times_and_lock_out_nobody_else(users, monkeypatch):
    hashed = []
    monkeypatch.setattr(users_module, "_hash", lambda *_: hashed.append(1) or bytes(32))
    for _ in range(10_000):
        assert not users.accepts("operator", "wrong", "attacker")
    assert len(hashed) <= MOST_TRIES + 2  # one more in 10 s
    monkeypatch.undo()
    assert users.accepts("operator", SECRET, "control room")
    assert not users.accepts("operator", SECRET, "attacker")
    assert users.refused == 10_001


def test_tries_come_back_with_time(users, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(users_module.time, "monotonic", lambda: now[0])
    for _ in range(MOST_TRIES + 3):
        assert not users.accepts("operator", "wrong", "app")
    assert not users.accepts("operator", SECRET, "app")
    now[0] += users_module.PACE_S
    assert users.accepts("operator", SECRET, "app")


async def describe(space):
    await space.point(space.objects, "P", await space.namespace("urn:uem:test"), identifier="P")


@pytest.fixture
def read(make_binding, shared_pki, tmp_path):
    """read(server, user, password): what a client that logs in gets; nobody logs in without a user."""
    tags = [make_binding("p", "P", "", namespace="urn:uem:test")]

    async def made(server, user="", password="", policy="Basic256Sha256"):
        variables = {"UEM_OPCUA_USER_T": user, "UEM_OPCUA_PASSWORD_T": password}
        identity = Identity("t", tmp_path / "nothing", variables)
        adapter = OpcUaAdapter(server.endpoint, tags, shared_pki.gateway, security_policy=policy, identity=identity)
        async with adapter as opened:
            server.write([7.0], [0], 1)
            return [row[2] for row in await collected(opened, 1, 60)]

    return made


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
async def test_only_users_are_let_in_where_there_are_some(users, read, shared_pki, policy):
    async with PointServer("test", describe, shared_pki.simulator, policies=[policy], users=users) as server:
        assert await read(server, "operator", SECRET, policy)
        with pytest.raises(LoginRefused, match="refuses user 'operator'"):
            await read(server, "operator", "wrong word", policy)
        with pytest.raises(LoginRefused, match="lets nobody in without a user"):
            await read(server, policy=policy)


@pytest.fixture
def holder(tmp_path, make_binding, shared_pki):
    """holder(server): what a client that logs in by a certificate gets."""

    async def made(server, policy):
        folder = tmp_path / "login"
        put(CERTIFICATE, folder, "certificate.der")
        kind = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(key(9).private_bytes(*kind))
        (folder / "key.pem").chmod(0o600)
        identity, tags = Identity("t", folder, {}), [make_binding("p", "P", "", namespace="urn:uem:test")]
        async with OpcUaAdapter(
            server.endpoint, tags, shared_pki.gateway, security_policy=policy, identity=identity
        ) as opened:
            server.write([7.0], [0], 1)
            return [row[2] for row in await collected(opened, 1, 60)]

    return made


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
async def test_who_holds_the_key_of_a_named_certificate_is_let_in_until_it_is_taken_out(
    users, holder, shared_pki, policy
):
    async with PointServer("test", describe, shared_pki.simulator, policies=[policy], users=users) as server:
        with pytest.raises(AdapterError):
            await holder(server, policy)  # a certificate that nobody has named
        users.add_certificate("engineer", CERTIFICATE.public_bytes(Encoding.PEM))
        assert await holder(server, policy)
        kept = [line for line in users.path.read_text().splitlines() if "engineer" not in line]
        users.path.write_text("\n".join(kept))
        with pytest.raises(AdapterError):
            await holder(server, policy)


async def test_a_certificate_without_its_key_lets_nobody_in(users, shared_pki):
    users.add_certificate("engineer", CERTIFICATE.public_bytes(Encoding.DER))
    async with PointServer("test", describe, shared_pki.simulator, users=users) as server:
        client = Client(server.endpoint)
        client.application_uri = shared_pki.gateway.application_uri
        keys = f"{shared_pki.gateway.certificate_path},{shared_pki.gateway.key_path}"
        await client.set_security_string(f"Basic256Sha256,SignAndEncrypt,{keys}")
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        client.user_private_key = key(8)
        with pytest.raises(ua.uaerrors.BadIdentityTokenInvalid):
            await client.activate_session(certificate=CERTIFICATE)
        client.user_private_key = key(9)
        await client.activate_session(certificate=CERTIFICATE)
        client.disconnect_socket()
        await asyncio.sleep(0.05)


def test_a_certificate_is_no_password_and_has_its_time(users):
    users.add_certificate("engineer", CERTIFICATE.public_bytes(Encoding.DER))
    der = CERTIFICATE.public_bytes(Encoding.DER)
    assert users.holder(der, "app") == "engineer"
    assert not users.accepts("engineer", users.path.read_text().split(":")[-1].strip(), "app")
    expired = Authority("late").issue("late", days=(-3, -1)).public_bytes(Encoding.DER)
    users.add_certificate("late", expired)
    assert users.holder(expired, "app") is None
    with pytest.raises(InvalidInput, match="no certificate"):
        users.add_certificate("x", b"nonsense")


def test_the_application_has_to_be_trusted_whoever_logs_in_there(users, shared_pki):
    users.add_certificate("engineer", CERTIFICATE.public_bytes(Encoding.DER))
    manager = ChannelUsers(shared_pki.simulator, ["Basic256Sha256"], users)
    token = _UserCertificate(CERTIFICATE.public_bytes(Encoding.DER))
    assert manager.get_user(None, certificate=token) is None
    token.channel = Authority("stranger").issue().public_bytes(Encoding.DER)
    assert manager.get_user(None, certificate=token) is None
    token.channel = shared_pki.gateway.certificate_path.read_bytes()
    assert manager.get_user(None, certificate=token).name.endswith(" engineer")
    assert ChannelUsers(shared_pki.simulator, ["Basic256Sha256"]).get_user(None, certificate=token) is None


def test_a_signature_by_sha1_is_none():
    sha1 = ua.SignatureData("http://www.w3.org/2000/09/xmldsig#rsa-sha1", b"x")
    with pytest.raises(ServiceError):
        _certificate_of_user(None, None, None, sha1)


async def test_a_trusted_application_is_enough_until_there_are_users(tmp_path, read, shared_pki):
    users = UserFile(tmp_path / "users")
    async with PointServer("test", describe, shared_pki.simulator, users=users) as server:
        assert await read(server)
        users.add("operator", SECRET)
        assert await read(server, "operator", SECRET)
        with pytest.raises(AdapterError):
            await read(server)


async def test_hundreds_of_wrong_passwords_on_the_line_do_not_disturb_who_is_there(users, read, shared_pki):
    async with PointServer("test", describe, shared_pki.simulator, users=users) as server:
        stranger = Client(server.endpoint)
        stranger.application_uri = shared_pki.gateway.application_uri
        keys = f"{shared_pki.gateway.certificate_path},{shared_pki.gateway.key_path}"
        await stranger.set_security_string(f"Basic256Sha256,SignAndEncrypt,{keys}")
        await stranger.connect_socket()
        await stranger.send_hello()
        await stranger.open_secure_channel()
        await stranger.create_session()
        for _ in range(300):
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await stranger.activate_session("operator", "wrong")
        assert users.refused == 300
        stranger.disconnect_socket()
        await asyncio.sleep(0.05)
        users._tries.clear()
        assert await read(server, "operator", SECRET)


def test_the_command_adds_a_user_from_the_input(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
    assert scada.main(["--add-user", "operator", "--state", str(tmp_path)]) == 0
    assert "operator may log in" in capsys.readouterr().out
    assert UserFile(tmp_path / "pki" / "twin" / "users").accepts("operator", SECRET, "app")
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert scada.main(["--add-user", "operator", "--state", str(tmp_path)]) == 1
    assert "a password has 8 to" in capsys.readouterr().err


def test_the_command_adds_a_user_with_a_certificate(tmp_path, capsys):
    put(CERTIFICATE, tmp_path, "engineer.pem", Encoding.PEM)
    command = ["--add-user", "engineer", "--state", str(tmp_path), "--certificate"]
    assert scada.main([*command, str(tmp_path / "engineer.pem")]) == 0
    users = UserFile(tmp_path / "pki" / "twin" / "users")
    assert users.holder(CERTIFICATE.public_bytes(Encoding.DER), "app") == "engineer"
    assert scada.main([*command, str(tmp_path / "nothing.pem")]) == 1
    assert "nothing.pem cannot be read" in capsys.readouterr().err
