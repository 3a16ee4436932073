"""Signs what Tessera stands for: receipts of erasure and checkpoints of the audit log.

The private key is a PEM file (PKCS#8) that its owner alone may read, as `openssl genpkey -algorithm ed25519` writes it
too; it never leaves the process. Checks nothing: `tessera.trust.keys` does, with the public half.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tessera.domain.errors import AlreadyExistsError, InvalidInputError
from tessera.trust.canonical import canonical, signed_bytes
from tessera.trust.keys import PublicKeys, Signed, fingerprint, public_pem

_OWNER_ONLY = 0o077
_VARIABLE = "env:"
_PRIVATE = re.compile(r"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----", re.DOTALL)
_PUBLIC = "-----BEGIN PUBLIC KEY-----"
_ALLOWED = "an Ed25519 private key as PEM (-----BEGIN PRIVATE KEY-----)"


class Signer:
    """An Ed25519 key that signs.

    Args:
        key: the private key.
        old_keys: public halves of keys that signed before; what they signed is still believed.

    Source: RFC 8032 (Ed25519), RFC 8410 (its PEM form).
    """

    def __init__(self, key: Ed25519PrivateKey, old_keys: PublicKeys | None = None) -> None:
        self._key = key
        self.old_keys = old_keys or PublicKeys([])
        self._public = key.public_key()

    @classmethod
    def load(cls, source: str) -> Signer:
        """The key that a setting names.

        Args:
            source: the path of a file, or `env:NAME` for a variable that holds its text. Behind the private key it may
                hold the public keys that signed before.

        Raises:
            InvalidInputError: it cannot be read, others than its owner may read it, or it holds no such key.
        """
        text = _variable(source) if source.startswith(_VARIABLE) else _read_private(Path(source).expanduser())
        try:
            private, *_ = _PRIVATE.findall(text)
            key = load_pem_private_key(private.encode(), password=None)
        except (TypeError, ValueError, UnsupportedAlgorithm):
            # Never with the library's own words: they may quote what they read.
            raise InvalidInputError("signing_key", source, _ALLOWED) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidInputError("signing_key", source, _ALLOWED)
        return cls(key, PublicKeys.parse(text, source) if _PUBLIC in text else None)

    @classmethod
    def create(cls, path: Path) -> Signer:
        """Make a key and put it into a new file with mode 0600.

        Raises:
            AlreadyExistsError: there is a file.
            InvalidInputError: its folder cannot be written to.
        """
        signer = cls.ephemeral()
        pem = signer._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise AlreadyExistsError("signing key", str(path)) from None
        except OSError as error:
            raise InvalidInputError("signing_key", str(path), f"a file to write; {error.strerror}") from None
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        return signer

    @classmethod
    def ephemeral(cls) -> Signer:
        """A key that ends with this process."""
        return cls(Ed25519PrivateKey.generate())

    @property
    def key_id(self) -> str:
        """The fingerprint of the public key."""
        return fingerprint(self._public)

    @property
    def public_pem(self) -> str:
        """The public key as PEM, to be given to whoever checks."""
        return public_pem(self._public)

    @property
    def public_keys(self) -> PublicKeys:
        """The public key, to check with."""
        return PublicKeys([self._public])

    def sign(self, kind: str, statement: Mapping[str, object]) -> Signed:
        """Sign a statement.

        Args:
            kind: what it is, such as `receipt`; a signature of one kind is none of another.
            statement: fields that have a canonical form.

        Raises:
            InvalidInputError: the statement has no canonical form.
        """
        return self.sign_text(kind, canonical(statement))

    def sign_text(self, kind: str, text: str) -> Signed:
        """Sign a statement that is canonical text already."""
        return Signed(text, self._key.sign(signed_bytes(kind, text)), self.key_id)

    def __repr__(self) -> str:
        """The fingerprint alone."""
        return f"Signer({self.key_id})"


def _variable(source: str) -> str:
    text = os.environ.get(source.removeprefix(_VARIABLE))
    if text is None:
        raise InvalidInputError("signing_key", source, f"a variable that is set, to {_ALLOWED}")
    return text


def _read_private(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777  # of the open file: nobody can swap it in between
            if mode & _OWNER_ONLY:
                allowed = f"mode 0600 or stricter, it has {mode:04o}; run: chmod 600 {path}"
                raise InvalidInputError("signing_key", str(path), allowed)
            return file.read()
    except UnicodeDecodeError:
        raise InvalidInputError("signing_key", str(path), _ALLOWED) from None
    except OSError as error:
        raise InvalidInputError("signing_key", str(path), f"a file to read; {error.strerror}") from None
