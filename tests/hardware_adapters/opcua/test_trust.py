"""Chains, revocation lists and what else OPC 10000-4, 6.1.3 asks of a certificate."""

import importlib.util
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from uem.hardware_adapters.contract import collected
from uem.hardware_adapters.opcua import trust
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.client import OpcUaAdapter
from uem.hardware_adapters.opcua.trust import TrustList, parse_chain
from uem.hardware_adapters.simulator.server import PlantServer
from uem.twin_core.errors import NotTrusted

_spec = importlib.util.spec_from_file_location("uem_tests_authority", Path(__file__).with_name("authority.py"))
authority = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = authority
_spec.loader.exec_module(authority)
Authority, put = authority.Authority, authority.put


def der(*certificates):
    return b"".join(each.public_bytes(Encoding.DER) for each in certificates)


@pytest.fixture(scope="module")
def root():
    return Authority()


@pytest.fixture(scope="module")
def branch(root):
    return Authority("branch", above=root, number=2)


@pytest.fixture
def its(tmp_path, root):
    """A trust list that trusts the root."""
    put(root.certificate, tmp_path / "trusted", "root.der")
    (tmp_path / "issuers").mkdir()
    return TrustList(tmp_path, "gateway")


def rejected(its):
    return len(list((its.folder / "rejected").glob("*")))


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_whom_a_trusted_authority_issues_a_certificate_is_let_in(tmp_path, root, encoding):
    put(root.certificate, tmp_path / "trusted" / "certs", "root", encoding)
    peer = root.issue()
    assert TrustList(tmp_path, "gateway").check(der(peer), "urn:peer") == peer


def test_an_authority_in_issuers_alone_lets_nobody_in(tmp_path, root):
    put(root.certificate, tmp_path / "issuers", "root.der")
    its = TrustList(tmp_path, "gateway")
    with pytest.raises(
        NotTrusted, match=r"gateway: certificate of 'peer' is not trusted; to trust it, copy .*rejected"
    ):
        its.check(der(root.issue()))
    assert rejected(its) == 1


def test_a_chain_leads_through_issuers_or_through_what_the_peer_sends(its, branch):
    peer = branch.issue()
    with pytest.raises(NotTrusted, match=r"nor is a certificate of its issuer 'branch' in .*issuers"):
        its.check(der(peer))
    its.check(der(peer, branch.certificate))
    put(branch.certificate, its.folder / "issuers" / "certs", "branch.der")
    its.check(der(peer))


def test_the_name_of_an_authority_does_not_make_one(its):
    forger = Authority("root", number=3)
    with pytest.raises(NotTrusted, match="is not trusted"):
        its.check(der(forger.issue(), forger.certificate))


def test_who_was_issued_a_certificate_of_an_application_cannot_issue_any(its, root):
    posing = Authority("posing", above=root, number=4, is_authority=False)
    with pytest.raises(NotTrusted, match="was issued by 'posing', which may not issue any"):
        its.check(der(posing.issue(), posing.certificate))


def test_an_authority_issues_no_deeper_than_it_may(tmp_path):
    top = Authority("top", path_length=0)
    below = Authority("below", above=top, number=2)
    put(top.certificate, tmp_path / "trusted", "top.der")
    its = TrustList(tmp_path, "gateway")
    its.check(der(top.issue()))
    with pytest.raises(NotTrusted, match="'top', which may not issue any"):
        its.check(der(below.issue(), below.certificate))


def test_an_authority_out_of_its_time_lets_nobody_in(tmp_path):
    old = Authority(days=(-9, -1))
    put(old.certificate, tmp_path / "trusted", "old.der")
    with pytest.raises(NotTrusted, match="was issued by 'root', whose certificate is valid from"):
        TrustList(tmp_path, "gateway").check(der(old.issue()))


@pytest.mark.parametrize("usage", [(False, True), (True, False)], ids=["cannot sign", "cannot encrypt"])
def test_a_certificate_has_to_sign_and_to_encrypt(its, root, usage):
    with pytest.raises(NotTrusted, match="may not be used to sign and to encrypt; it needs the key usages"):
        its.check(der(root.issue(usage=usage)))


def test_a_short_key_is_refused(its, root):
    with pytest.raises(NotTrusted, match=r"RSA of 1024 bits; it needs one of RSA with 2048"):
        its.check(der(root.issue(holder=authority.key(5, 1024))))


@pytest.mark.parametrize("place", ["trusted", "trusted/crl", "issuers", "issuers/crl"])
def test_a_revoked_certificate_is_refused_and_the_list_is_named(its, root, place):
    bad, good = root.issue("bad"), root.issue("good")
    put(root.revocation_list(bad), its.folder / place, "root.crl")
    its.check(der(good))
    with pytest.raises(NotTrusted, match=rf"'bad' is revoked since .* by 'root' in .*{place}/root.crl; the peer needs"):
        its.check(der(bad))
    assert rejected(its) == 1


def test_a_revoked_certificate_is_refused_even_if_it_is_trusted_itself(its, root):
    bad = root.issue("bad")
    its.trust(bad)
    put(root.revocation_list(bad), its.folder / "issuers", "root.pem", Encoding.PEM)
    with pytest.raises(NotTrusted, match="is revoked"):
        its.check(der(bad))


def test_whom_a_revoked_authority_issued_a_certificate_is_refused(its, root, branch):
    put(root.revocation_list(branch.certificate), its.folder / "issuers", "root.crl")
    with pytest.raises(NotTrusted, match="was issued by 'branch', whose certificate is revoked"):
        its.check(der(branch.issue(), branch.certificate))


def test_a_list_that_is_out_of_date_is_refused_with_the_remedy_until_there_is_a_new_one(its, root):
    put(root.revocation_list(days=(-9, -1)), its.folder / "issuers", "old.crl")
    peer = der(root.issue())
    with pytest.raises(
        NotTrusted, match=r"old\.crl: it should have been renewed on .*; put the present list of 'root'"
    ):
        its.check(peer)
    put(root.revocation_list(), its.folder / "issuers", "new.crl")
    its.check(peer)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("root.crl", lambda content: content[:-20]),
        ("root.crl", lambda content: b""),
        ("crl/root", lambda content: b"half copied"),
        ("root.pem", lambda content: b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
        ("root.crl", lambda content: bytes(trust.MOST_FILE_BYTES + 1)),
    ],
    ids=["cut short", "empty", "in the folder of lists", "PEM", "too long"],
)
def test_a_list_that_cannot_be_read_lets_nobody_in_whom_an_authority_vouches_for(its, root, name, spoil):
    path = its.folder / "issuers" / name
    path.parent.mkdir(exist_ok=True)
    peer, own = root.issue(), root.issue("own")
    path.write_bytes(spoil(root.revocation_list(peer).public_bytes(Encoding.DER)))
    with pytest.raises(NotTrusted, match=rf"'peer' cannot be held against the revocation list .*{path.name}"):
        its.check(der(peer))
    alone = TrustList(its.folder / "alone", "gateway")  # who knows no authority needs no list
    put(own, alone.folder / "trusted", "own.der")
    (alone.folder / "issuers").mkdir()
    (alone.folder / "issuers" / "root.crl").write_bytes(b"")
    assert alone.check(der(own)) == own


def test_every_list_of_a_bundle_counts_whatever_stands_before_it(its, root, branch):
    bad = root.issue("bad")
    lists = [each.public_bytes(Encoding.PEM) for each in (branch.revocation_list(), root.revocation_list(bad))]
    (its.folder / "issuers" / "all.pem").write_bytes(b"Lists of the site\n" + b"and more\n".join(lists))
    its.check(der(root.issue("good")))
    with pytest.raises(NotTrusted, match="'bad' is revoked"):
        its.check(der(bad))


def test_a_list_by_somebody_else_revokes_nobody(its, root):
    peer = root.issue()
    put(Authority("root", number=3).revocation_list(peer), its.folder / "issuers", "forged.crl")
    its.check(der(peer))


def test_an_authority_without_a_list_is_told_once(its, root, caplog):
    for _ in range(3):
        its.check(der(root.issue()))
    assert sum("no revocation list of 'root'" in record.message for record in caplog.records) == 1


def test_what_expires_soon_and_another_host_are_warnings(its, root, caplog):
    its.check(der(root.issue(days=(-1, 9))), host="10.1.2.3")
    assert any("'peer' expires in 8 days" in record.message for record in caplog.records)
    assert any("not issued for the host 10.1.2.3" in record.message for record in caplog.records)
    caplog.clear()
    its.check(der(root.issue()), host="127.0.0.1")
    assert not any("host" in record.message for record in caplog.records)


def test_chains_without_end_are_refused(its, root, branch):
    peer = root.issue()
    assert parse_chain(der(peer, *[branch.certificate] * (trust.MOST_CHAIN - 1)))
    for chain in (der(peer, *[branch.certificate] * trust.MOST_CHAIN), der(peer) + bytes(trust.MOST_CHAIN_BYTES)):
        with pytest.raises(NotTrusted, match="no readable certificate"):
            its.check(chain)


def test_files_that_are_neither_let_nobody_in_and_do_no_harm(its, root):
    (its.folder / "trusted" / "notes.txt").write_text("no certificate")
    (its.folder / "trusted" / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (its.folder / "issuers" / "empty").write_bytes(b"")
    its.check(der(root.issue()))


def test_who_cannot_be_kept_is_refused_all_the_same(tmp_path, root):
    (tmp_path / "trusted").mkdir()
    (tmp_path / "rejected").write_text("in the way")
    with pytest.raises(NotTrusted, match=r"'peer' is not trusted.*; it could not be kept in .*rejected: File exists"):
        TrustList(tmp_path, "gateway").check(der(root.issue()))


MOVES = st.tuples(st.sampled_from(["change", "cut", "double"]), st.integers(0, 4000), st.integers(0, 255))


@given(longer=st.booleans(), moves=st.lists(MOVES, min_size=1, max_size=8))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory, root, branch, longer, moves):
    """Bytes of a chain changed, cut out and doubled: what was signed is let in, anything else is NotTrusted."""
    peer = branch.issue() if longer else root.issue()
    sent = bytearray(der(peer, branch.certificate) if longer else der(peer))
    for what, at, number in moves:
        at %= max(1, len(sent))
        if what == "change":
            sent[at : at + 1] = bytes([number])
        elif what == "cut":
            del sent[at : at + number]
        else:
            sent[at:at] = sent[at : at + number]
    folder = tmp_path_factory.getbasetemp() / "mutated"
    put(root.certificate, folder / "trusted", "root.der")
    with suppress(NotTrusted):
        let_in = TrustList(folder, "gateway").check(bytes(sent), "urn:peer", "127.0.0.1")
        assert let_in.tbs_certificate_bytes == peer.tbs_certificate_bytes
    assert len(list(folder.glob("rejected/*"))) <= trust.MOST_REJECTED


@pytest.fixture
def issued(tmp_path, root):
    """issued(name): the store of an application whose certificate is from the root, which it trusts."""

    def made(name):
        store = CertificateStore(tmp_path, name)
        store.ensure()
        holder = load_pem_private_key(store.key_path.read_bytes(), None)
        put(root.issue(name, store.application_uri, holder=holder), store.folder / "own", "certificate.der")
        put(root.certificate, store.folder / "trusted" / "certs", "root.der")
        put(root.revocation_list(), store.folder / "trusted" / "crl", "root.crl")
        return CertificateStore(tmp_path, name)

    return made


async def test_server_and_client_of_one_authority_trust_each_other_until_one_is_revoked(plant, bindings, root, issued):
    server_store, client_store = issued("simulator"), issued("gateway")
    async with PlantServer(plant, bindings, server_store) as server:

        def adapter():
            return OpcUaAdapter(server.endpoint, bindings, client_store, publish_interval_ms=50.0)

        async with adapter() as opened:
            await server.write(1_669_213_388_000_000_000, [1.0, 2.0, 3.0], [0, 0, 0])
            assert len(await collected(opened, 3, 60)) == 3
        put(root.revocation_list(client_store.certificate), server_store.folder / "trusted" / "crl", "root.crl")
        with pytest.raises(NotTrusted, match="the server refuses our certificate"):
            async with adapter():
                pass
        assert [path.read_bytes() for path in (server_store.folder / "rejected").iterdir()] == [
            der(client_store.certificate)
        ]
        put(root.revocation_list(server_store.certificate), client_store.folder / "trusted" / "crl", "root.crl")
        with pytest.raises(NotTrusted, match="'simulator' is revoked"):
            async with adapter():
                pass


async def test_a_plant_of_another_stack_is_trusted_by_its_authority_until_it_is_revoked(
    node_plant, node_certificates, node_tags, root, issued
):
    peer = issued("peer")
    plant = node_plant(counterMs=0)
    shutil.rmtree(node_certificates.folder / "trusted")
    put(root.certificate, node_certificates.folder / "trusted", "root.der")
    async with plant:
        async with OpcUaAdapter(plant.endpoint, node_tags("T1"), node_certificates) as opened:
            assert len(await collected(opened, 1, 60)) == 1
        put(root.revocation_list(peer.certificate), node_certificates.folder / "issuers", "root.crl")
        with pytest.raises(NotTrusted, match="'peer' is revoked"):
            async with OpcUaAdapter(plant.endpoint, node_tags("T1"), node_certificates):
                pass
