import errno
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from uem.hardware_adapters.opcua import certificates, trust
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.trust import application_uris, parse
from uem.twin_core.errors import AdapterError, NotTrusted


@pytest.fixture
def store(tmp_path):
    made = CertificateStore(tmp_path, "gateway")
    assert made.ensure()
    return made


def der(certificate):
    return certificate.public_bytes(Encoding.DER)


def certificate_of_a_peer(name="peer", days=(-1, 1), uri="urn:peer"):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256())


def test_the_own_certificate_is_what_opc_ua_asks_for(store):
    usage = store.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    assert store.certificate.public_key().key_size == 2048
    assert application_uris(store.certificate) == [store.application_uri]
    assert store.application_uri.endswith(":uem:gateway")
    assert store.seconds_to_expiry() > 2 * 365 * 86_400


def test_the_key_is_readable_by_its_owner_only(store):
    assert store.key_path.stat().st_mode & 0o777 == 0o600


def test_certificates_are_made_once(store, tmp_path):
    again = CertificateStore(tmp_path, "gateway")
    assert not again.ensure()
    assert again.certificate == store.certificate


def test_two_processes_that_start_at_once_make_one_certificate(tmp_path):
    code = (
        "import sys; from pathlib import Path; from uem.hardware_adapters.opcua.certificates import CertificateStore;"
        "print(CertificateStore(Path(sys.argv[1]), 'gateway').ensure())"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert sorted(run.communicate(timeout=60)[0].strip() for run in runs) == ["False", "True"]


def test_an_unknown_peer_is_refused_and_the_remedy_works(store):
    peer = certificate_of_a_peer()
    with pytest.raises(NotTrusted) as refused:
        store.check(der(peer))
    (kept,) = (store.folder / "rejected").iterdir()
    assert str(kept) in str(refused.value)
    assert str(store.folder / "trusted") in str(refused.value)
    kept.rename(store.folder / "trusted" / kept.name)
    store.check(der(peer), "urn:peer")


@pytest.fixture
def full_disk():
    """A context in which files get half of what is written to them."""

    @contextmanager
    def full():
        def write_half(path, content):
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_bytes", write_half)
            yield

    return full


def test_a_certificate_is_kept_in_whole_or_not_at_all(store, full_disk):
    peer = certificate_of_a_peer()
    with full_disk(), pytest.raises(NotTrusted, match=r"could not be kept in .*rejected: No space left on device"):
        store.check(der(peer))
    assert [path for path in store.folder.rglob("*") if path.is_file() and path.parent.name != "own"] == []
    with pytest.raises(NotTrusted, match="copy"):
        store.check(der(peer))
    (kept,) = (store.folder / "rejected").iterdir()
    assert kept.read_bytes() == der(peer)


def test_a_trusted_certificate_outlives_a_full_disk(store, full_disk):
    peer = certificate_of_a_peer()
    store.trust(peer)
    with full_disk(), pytest.raises(OSError, match="No space left"):
        store.trust(peer)
    store.check(der(peer), "urn:peer")


def test_a_trusted_peer_may_send_its_chain_and_be_kept_as_pem(store):
    peer = certificate_of_a_peer()
    (store.folder / "trusted" / "peer.pem").write_bytes(peer.public_bytes(Encoding.PEM))
    (store.folder / "trusted" / "notes.txt").write_text("not a certificate")
    store.check(der(peer) + der(store.certificate))


def test_a_peer_under_another_name_is_refused(store):
    peer = certificate_of_a_peer()
    store.trust(peer)
    with pytest.raises(NotTrusted, match=r"urn:peer.*calls itself 'urn:other'"):
        store.check(der(peer), "urn:other")


@pytest.mark.parametrize("days", [(-9, -1), (1, 9)], ids=["expired", "not yet valid"])
def test_a_trusted_peer_out_of_its_time_is_refused(store, days):
    peer = certificate_of_a_peer(days=days)
    store.trust(peer)
    with pytest.raises(NotTrusted, match="is valid from"):
        store.check(der(peer))


@pytest.mark.parametrize("sent", [None, b"", b"abc", b"0\x82\x00\x04abcd"], ids=["none", "empty", "short", "broken"])
def test_no_certificate_is_no_entrance(store, sent):
    with pytest.raises(NotTrusted, match="no readable certificate"):
        store.check(sent)
    assert parse(sent) is None


def test_nameless_certificates_get_a_file_as_well(store):
    peer = certificate_of_a_peer(name="", uri="")
    with pytest.raises(NotTrusted, match="unnamed"):
        store.check(der(peer))
    assert application_uris(peer) == []


def test_a_flood_of_unknown_peers_does_not_fill_the_disk(store, monkeypatch):
    monkeypatch.setattr(trust, "MOST_REJECTED", 1)
    with pytest.raises(NotTrusted, match="copy"):
        store.check(der(certificate_of_a_peer("one")))
    with pytest.raises(NotTrusted, match="empty it"):
        store.check(der(certificate_of_a_peer("two")))
    assert len(list((store.folder / "rejected").iterdir())) == 1


def test_an_expired_own_certificate_stops_the_start_with_the_remedy(store):
    store.certificate_path.write_bytes(der(certificate_of_a_peer(days=(-9, -1))))
    fresh = CertificateStore(store.folder.parent, "gateway")
    with pytest.raises(AdapterError, match="does not belong"):
        fresh.ensure()


def test_an_expired_pair_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "VALID_DAYS", -1)
    with pytest.raises((AdapterError, ValueError)):
        CertificateStore(tmp_path, "gateway").ensure()


@pytest.mark.parametrize("name", ["key.pem", "certificate.der"])
def test_damaged_own_files_are_named_with_the_remedy(store, name):
    (store.folder / "own" / name).write_bytes(b"damaged")
    with pytest.raises(AdapterError, match=f"{name}.*remove"):
        CertificateStore(store.folder.parent, "gateway").ensure()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match="choose --pki"):
        CertificateStore(tmp_path / "file", "gateway").ensure()
