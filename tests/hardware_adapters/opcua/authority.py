"""An authority of the tests: issues certificates and revocation lists with one key, since making keys takes time."""

import ipaddress
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

DAY = timedelta(days=1)


@cache
def key(number=0, bits=2048):
    """A key; the same one for the same number."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def named(name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


class Authority:
    """Issues to peers and to authorities below it."""

    def __init__(self, name="root", above=None, number=1, days=(-1, 100), path_length=None, is_authority=True):
        self.name, self.key = name, key(number)
        above = above or self
        basic = x509.BasicConstraints(is_authority, path_length)
        builder = _builder(name, above.name, self.key, days).add_extension(basic, critical=True)
        self.certificate = builder.sign(above.key, hashes.SHA256())

    def issue(self, name="peer", uri="urn:peer", days=(-1, 100), usage=(True, True), holder=None, host="127.0.0.1"):
        """A certificate of an application; `usage` is whether it may sign and encrypt."""
        builder = _builder(name, self.name, holder or key(9), days)
        names = [x509.UniformResourceIdentifier(uri), x509.IPAddress(ipaddress.ip_address(host))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        sign, encrypt = usage
        use = x509.KeyUsage(sign, True, encrypt, encrypt, False, False, False, False, False)
        return builder.add_extension(use, critical=True).sign(self.key, hashes.SHA256())

    def revocation_list(self, *revoked, days=(-1, 1)):
        """A list that is good for `days`."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(named(self.name))
        builder = builder.last_update(now + days[0] * DAY).next_update(now + days[1] * DAY)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256())


def put(item, folder, name, encoding=Encoding.DER):
    """Write a certificate or list to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(item.public_bytes(encoding))


def _builder(name, issuer, holder, days):
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
    builder = builder.public_key(holder.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + days[0] * DAY).not_valid_after(now + days[1] * DAY)
