"""The keys that wrap the data keys of sealed values: one wraps, all open; and the keys that derive from them.

Stands before `sealing`, which does the wrapping. Seals nothing itself, and never shows or writes a key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tessera.chassis.key_files import KEY_BYTES, EncryptionKey, KeyId, new_key, parse_keys, read_key_file
from tessera.domain.errors import InvalidInputError, KeyMissingError

__all__ = ["KeyId", "Keyring"]

EPHEMERAL = "ephemeral"
_VARIABLE = "env:"


class Keyring:
    """Key-encryption keys, in the order of their file.

    Args:
        keys: at least one; the first is the one that wraps. No two of one fingerprint.
    """

    def __init__(self, keys: tuple[EncryptionKey, ...]) -> None:
        self._wrapping = keys[0]
        self._by_fingerprint = MappingProxyType({key.fingerprint: key for key in keys})
        self._by_id = {key.key_id: key for key in keys}

    @classmethod
    def load(cls, source: str) -> Keyring:
        """The keys that a setting names.

        Args:
            source: the path of a key file; `env:NAME`, a variable that holds the same lines; or `ephemeral`, a key
                that ends with this process.

        Raises:
            InvalidInputError: there is no such file or variable, the file may be read by others than its owner, or it
                holds something that is not a key.
        """
        if source == EPHEMERAL:
            return cls((EncryptionKey(KeyId(EPHEMERAL), new_key(datetime.now(UTC)).key),))
        if source.startswith(_VARIABLE):
            return cls(_of_variable(source, os.environ))
        if not source:
            raise InvalidInputError("keys", source, "the path of a key file, env:NAME, or ephemeral")
        return cls(read_key_file(Path(source).expanduser()))

    @property
    def wrapping(self) -> KeyId:
        """The key that new values are wrapped with."""
        return self._wrapping.key_id

    @property
    def wrapping_key(self) -> EncryptionKey:
        """The same, with its bytes."""
        return self._wrapping

    @property
    def key_ids(self) -> tuple[KeyId, ...]:
        """Every key, the wrapping one first."""
        return tuple(self._by_id)

    @property
    def by_fingerprint(self) -> Mapping[bytes, EncryptionKey]:
        """Every key, by the 4 bytes that sealed values name it with."""
        return self._by_fingerprint

    def derived(self, purpose: Literal["audit", "export"], key_id: KeyId | None = None) -> bytes:
        """A key for something else than wrapping, the same for the same key each time.

        Args:
            purpose: what it is for; other purposes have other keys.
            key_id: of which key; None: of the one that wraps.

        Returns:
            32 bytes.

        Raises:
            KeyMissingError: there is no key of this id.

        Source: RFC 5869 (HKDF) with SHA-256, no salt.
        """
        key = self._wrapping if key_id is None else self._by_id.get(key_id)
        if key is None:
            raise KeyMissingError(str(key_id))
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"tessera {purpose}".encode()).derive(key.key)

    def __repr__(self) -> str:
        """The ids alone."""
        return f"Keyring({', '.join(self._by_id)})"


def _of_variable(source: str, environ: Mapping[str, str]) -> tuple[EncryptionKey, ...]:
    text = environ.get(source.removeprefix(_VARIABLE))
    if text is None:
        raise InvalidInputError("keys", source, "a variable that is set, to lines KEYID BASE64")
    return parse_keys(text, source)
