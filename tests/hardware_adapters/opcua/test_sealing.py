"""Chunks that we seal and unseal, against asyncua's own way with the same keys."""

import os

import pytest
from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.connection import MessageChunk, SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import (
    Cryptography,
    DecryptorAesCbc,
    EncryptorAesCbc,
    SecurityPolicyNone,
    SignerHMac256,
    VerifierHMac256,
)
from asyncua.crypto.uacrypto import InvalidSignature

from uem.hardware_adapters.opcua.line import Line
from uem.hardware_adapters.opcua.sealing import Sealer, Unsealer

SIZES = [1, 8, 15, 16, 17, 40, 100, 31_000]


class Keys:
    """Both ends of one direction."""

    def __init__(self):
        signing, key, vector = os.urandom(32), os.urandom(32), os.urandom(16)
        self.signer, self.verifier = SignerHMac256(signing), VerifierHMac256(signing)
        self.encryptor, self.decryptor = EncryptorAesCbc(key, vector), DecryptorAesCbc(key, vector)

    def policy(self):
        """A policy whose both ends have these keys."""
        policy = SecurityPolicyNone()
        crypto = policy.symmetric_cryptography = Cryptography(ua.MessageSecurityMode.SignAndEncrypt)
        crypto.Signer, crypto.Verifier = self.signer, self.verifier
        crypto.Encryptor, crypto.Decryptor = self.encryptor, self.decryptor
        return policy


@pytest.fixture
def keys():
    return Keys()


def test_what_we_seal_is_opened_by_asyncua_chunk_after_chunk(keys):
    sealer = Sealer(keys.encryptor.cipher, keys.signer.key)
    for number, size in enumerate(SIZES, start=1):
        body = os.urandom(size)
        sequence = number.to_bytes(4, "little") + (7).to_bytes(4, "little")
        chunk = MessageChunk.from_binary(keys.policy(), Buffer(sealer.seal(b"MSGF", 3, 5, sequence + body)))
        assert chunk.Body == body
        assert (chunk.MessageHeader.ChannelId, chunk.SecurityHeader.TokenId) == (3, 5)
        assert (chunk.SequenceHeader.SequenceNumber, chunk.SequenceHeader.RequestId) == (number, 7)


def test_what_asyncua_seals_is_opened_chunk_after_chunk(keys):
    sender = SecureConnection(keys.policy(), TransportLimits())
    unsealer = Unsealer(keys.decryptor.cipher, keys.verifier.key)
    for size in SIZES:
        body = os.urandom(size)
        assert bytes(unsealer.unseal(sender.message_to_binary(body))[8:]) == body


@pytest.mark.parametrize("at", [4, 8, 12, 16, 40, -1])
def test_a_bit_that_is_turned_over_is_noticed_and_the_next_chunk_is_read(keys, at):
    sender = SecureConnection(keys.policy(), TransportLimits())
    unsealer = Unsealer(keys.decryptor.cipher, keys.verifier.key)
    chunk = bytearray(sender.message_to_binary(b"body"))
    chunk[at] ^= 1
    with pytest.raises(InvalidSignature):
        unsealer.unseal(bytes(chunk))
    assert bytes(unsealer.unseal(sender.message_to_binary(b"body"))[8:]) == b"body"


@pytest.mark.parametrize("size", [16, 17, 31, 48])
def test_a_chunk_that_no_cipher_gives_is_an_error(keys, size):
    with pytest.raises(ua.UaError, match="encrypted bytes"):
        Unsealer(keys.decryptor.cipher, keys.verifier.key).unseal(bytes(size))


def test_keys_change_under_a_line_that_goes_on(keys):
    """The server may send with the keys of before until it has heard the new ones."""
    later = Keys()
    line = Line(1, keys.policy())
    line.connection_made(None)
    crypto = line._connection.security_policy.symmetric_cryptography
    old = SecureConnection(keys.policy(), TransportLimits())
    new = SecureConnection(later.policy(), TransportLimits())

    def read(sender, number):
        sender._sequence_number = number - 1
        return bytes(line._opened(sender.message_to_binary(b"body", request_id=number))[1])

    assert read(old, 1) == b"body"
    crypto.Prev_Decryptor, crypto.Prev_Verifier = crypto.Decryptor, crypto.Verifier
    crypto.prev_key_expiration = float("inf")
    crypto.Decryptor, crypto.Verifier = later.decryptor, later.verifier
    assert [read(sender, number) for number, sender in enumerate([old, new, old, new], start=2)] == [b"body"] * 4
    crypto.prev_key_expiration = 0.0
    assert read(new, 6) == b"body"
    with pytest.raises(InvalidSignature):
        read(old, 7)


def test_a_request_is_sealed_with_the_keys_and_numbers_of_the_connection(keys):
    sent = []

    class Transport:
        write = staticmethod(sent.append)

    line = Line(1, keys.policy())
    line.connection_made(Transport())
    answers = []
    line.publish(3, [1, 2], answers.append)
    line.publish(3, [], answers.append)
    server = UASocketProtocol(1, keys.policy())
    chunks = [MessageChunk.from_binary(server._connection.security_policy, Buffer(data)) for data in sent]
    assert [chunk.SequenceHeader.SequenceNumber for chunk in chunks] == [1, 2]
    line.connection_lost(None)
    assert [type(answer) for answer in answers] == [ConnectionError] * 2
    with pytest.raises(ConnectionError):
        line.publish(3, [], answers.append)
