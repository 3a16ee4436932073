"""Sealed pieces of evidence: one file each, encrypted, and bound to its own name.

    magic "TSE1" | fingerprint of the wrapping key 4
    nonce 12 | data key 32 | tag 16                    the data key, wrapped by the key-encryption key
    nonce 12 | length 4 | sealed head                  what the piece is, under the data key
    nonce 12 | sealed body                             the picture or the clip, under the data key

All is AES-256-GCM, and every part authenticates the piece's id: a file under another name, or one that was cut or
changed, does not open. Does not know what a head says, and touches no disk.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tessera.chassis.key_files import EncryptionKey, new_key, parse_keys, read_key_file
from tessera.domain.errors import InvalidInputError

MAGIC = b"TSE1"
WRAP_AT, WRAP_BYTES = 8, 12 + 32 + 16
"""Where the wrapped data key lies: without it nobody opens the rest."""
HEAD_AT = WRAP_AT + WRAP_BYTES + 12 + 4
MAX_HEAD_BYTES = 1 << 20
EPHEMERAL = "ephemeral"
_VARIABLE = "env:"
_LENGTH = struct.Struct(">I")


class TornError(Exception):
    """A file is not what was written under its name."""


class UnknownKeyError(Exception):
    """A file was sealed with a key that is not here."""


class EvidenceKeys:
    """The keys of a worker: the first one wraps, all open.

    Args:
        keys: at least one.
    """

    def __init__(self, keys: tuple[EncryptionKey, ...]) -> None:
        self._wrapping = keys[0]
        self._by_fingerprint = {key.fingerprint: key for key in keys}

    @classmethod
    def load(cls, source: str, environ: Mapping[str, str] = os.environ) -> EvidenceKeys:
        """The keys that a setting names.

        Args:
            source: the path of a key file; `env:NAME`, a variable that holds the same lines; or `ephemeral`, a key that
                ends with this process.
            environ: where variables are looked up.

        Raises:
            InvalidInputError: there is no such file or variable, others than its owner may read the file, or it holds
                something that is not a key.
        """
        if source == EPHEMERAL:
            return cls((new_key(datetime.now(UTC)),))
        if source.startswith(_VARIABLE):
            text = environ.get(source.removeprefix(_VARIABLE))
            if text is None:
                raise InvalidInputError("evidence_keys", source, "a variable that is set, to lines KEYID BASE64")
            return cls(parse_keys(text, source))
        return cls(read_key_file(Path(source).expanduser()))

    def seal(self, piece_id: str, head: bytes, body: bytes) -> bytes:
        """The file of a piece."""
        name, data_key = piece_id.encode(), AESGCM.generate_key(256)
        wrap = _sealed(self._wrapping.key, data_key, b"key" + name)
        sealed_head, sealed_body = (
            _sealed(data_key, *part) for part in ((head, b"head" + name), (body, b"body" + name))
        )
        length = _LENGTH.pack(len(sealed_head) - 12)
        return b"".join(
            (MAGIC, self._wrapping.fingerprint, wrap, sealed_head[:12], length, sealed_head[12:], sealed_body)
        )

    def open_head(self, piece_id: str, start: bytes) -> tuple[bytes, int]:
        """What a piece is, from the start of its file.

        Args:
            piece_id: the file's name.
            start: the whole file, or at least `HEAD_AT + MAX_HEAD_BYTES` bytes of it.

        Returns:
            (head, where the body begins).

        Raises:
            TornError: it is not what was written under this name.
            UnknownKeyError: it was sealed with a key that is not here.
        """
        data_key = self._data_key(piece_id, start)
        (length,) = _LENGTH.unpack(start[HEAD_AT - 4 : HEAD_AT])
        if length > MAX_HEAD_BYTES:
            raise TornError(piece_id)
        sealed = start[HEAD_AT - 16 : HEAD_AT - 4] + start[HEAD_AT : HEAD_AT + length]
        return _opened(data_key, sealed, b"head" + piece_id.encode(), piece_id), HEAD_AT + length

    def open_body(self, piece_id: str, file: bytes) -> bytes:
        """The picture or the clip.

        Raises:
            TornError: it is not what was written under this name.
            UnknownKeyError: it was sealed with a key that is not here.
        """
        _, at = self.open_head(piece_id, file)
        return _opened(self._data_key(piece_id, file), file[at:], b"body" + piece_id.encode(), piece_id)

    def _data_key(self, piece_id: str, start: bytes) -> bytes:
        if len(start) < HEAD_AT or start[:4] != MAGIC:
            raise TornError(piece_id)
        key = self._by_fingerprint.get(start[4:WRAP_AT])
        if key is None:
            raise UnknownKeyError(piece_id)
        return _opened(key.key, start[WRAP_AT : WRAP_AT + WRAP_BYTES], b"key" + piece_id.encode(), piece_id)


def head_end(start: bytes) -> int:
    """Where the head of a file ends, as its first `HEAD_AT` bytes say; 0 where there are fewer."""
    return HEAD_AT + int(_LENGTH.unpack(start[HEAD_AT - 4 : HEAD_AT])[0]) if len(start) >= HEAD_AT else 0


def _sealed(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def _opened(key: bytes, sealed: bytes, bound_to: bytes, piece_id: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], bound_to)
    except (InvalidTag, ValueError):
        raise TornError(piece_id) from None
