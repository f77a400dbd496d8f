"""Chunks of an open channel, signed with HMAC-SHA256 and encrypted with AES in CBC (OPC 10000-6, 6.7.2 and 6.7.3).

All policies of ours do so. To make a cipher takes longer than to use it, so that one is made for each key and used for
all its chunks. It goes on from chunk to chunk, where the standard begins each with the vector that came with the key:
what that changes is set right in the first block.
"""

import struct
from hmac import compare_digest
from typing import Any

from asyncua import ua
from asyncua.crypto.uacrypto import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

PREFIX = struct.Struct("<4sI")  # kind, size
SECURITY = struct.Struct("<II")  # channel, token
HEAD_BYTES = PREFIX.size + SECURITY.size
_SIGNATURE_BYTES = 32
_BLOCK_BYTES = 16


class Unsealer:
    """The keys that the server seals with."""

    def __init__(self, cipher: Any, signing_key: bytes) -> None:
        """`cipher` is AES in CBC with its vector."""
        self._vector: bytes = cipher.mode.initialization_vector
        self._decrypt = cipher.decryptor().update
        self._signature = HMAC(signing_key, hashes.SHA256())

    def unseal(self, chunk: bytes) -> memoryview:
        """What stands behind the headers of a chunk.

        Raises:
            InvalidSignature: it is not from the server, or sealed with other keys.
            ua.UaError: it cannot be decrypted.
        """
        sealed = memoryview(chunk)[HEAD_BYTES:]
        if len(sealed) % _BLOCK_BYTES or len(sealed) <= _SIGNATURE_BYTES:
            raise ua.UaError(f"{len(sealed)} encrypted bytes")
        self._decrypt(self._vector)  # a block is decrypted with the one before it
        plain = memoryview(self._decrypt(sealed))
        end = len(plain) - _SIGNATURE_BYTES
        signature = self._signature.copy()
        signature.update(chunk[:HEAD_BYTES])
        signature.update(plain[:end])
        if not compare_digest(signature.finalize(), plain[end:]):
            raise InvalidSignature
        return plain[: end - 1 - plain[end - 1]]  # the last byte of the padding says how many more there are


class Sealer:
    """The keys that we seal with."""

    def __init__(self, cipher: Any, signing_key: bytes) -> None:
        """`cipher` is AES in CBC with its vector."""
        self._vector = self._before = int.from_bytes(cipher.mode.initialization_vector)
        self._encrypt = cipher.encryptor().update
        self._signature = HMAC(signing_key, hashes.SHA256())

    def seal(self, kind: bytes, channel: int, token: int, plain: bytes) -> bytes:
        """The chunk with `plain` behind its headers."""
        more = -(len(plain) + 1 + _SIGNATURE_BYTES) % _BLOCK_BYTES
        plain += bytes([more]) * (more + 1)
        head = PREFIX.pack(kind, HEAD_BYTES + len(plain) + _SIGNATURE_BYTES) + SECURITY.pack(channel, token)
        signature = self._signature.copy()
        signature.update(head + plain)
        # The cipher adds the block that it gave last to the first one, to which the vector is to be added.
        first = int.from_bytes(plain[:_BLOCK_BYTES]) ^ self._before ^ self._vector
        sealed: bytes = self._encrypt(first.to_bytes(_BLOCK_BYTES) + plain[_BLOCK_BYTES:] + signature.finalize())
        self._before = int.from_bytes(sealed[-_BLOCK_BYTES:])
        return head + sealed
