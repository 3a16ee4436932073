"""Public keys that signatures are checked with: one for each time the signing key was changed, in one file or several.

Keeps no private key. A key is named by its fingerprint, which a signature carries, so that old signatures still check
after the key was changed as long as the old public key is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tessera.domain.errors import InvalidInputError
from tessera.trust.canonical import signed_bytes

SIGNATURE_BYTES = 64
_FINGERPRINT_DIGITS = 32
_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_ALLOWED = "Ed25519 public keys as PEM (-----BEGIN PUBLIC KEY-----)"


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement and who stands for it."""

    text: str
    """Canonical JSON."""
    signature: bytes
    """Ed25519, 64 bytes."""
    key_id: str


class SignatureState(StrEnum):
    """What a signature is worth."""

    GOOD = "GOOD"
    WRONG = "WRONG"
    """The text or the signature was changed."""
    UNKNOWN_KEY = "UNKNOWN_KEY"
    """It names a key that is not among those that are trusted."""


def fingerprint(key: Ed25519PublicKey) -> str:
    """The id of a key: `ed25519-` and the first 32 hex digits of the sha256 of its 32 bytes."""
    return f"ed25519-{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_FINGERPRINT_DIGITS]}"


def public_pem(key: Ed25519PublicKey) -> str:
    """A public key as PEM text."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def public_pem_of(private_pem: str, source: str) -> str:
    """The public half of a private key, as PEM text.

    Args:
        private_pem: an Ed25519 private key, PKCS#8.
        source: where the text is from, for the error.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        key = load_pem_private_key(private_pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInputError("signing_key", source, "an Ed25519 private key as PEM, without a password")
    return public_pem(key.public_key())


class PublicKeys:
    """Public keys by their fingerprint.

    Args:
        keys: those that are trusted.
    """

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._by_id = {fingerprint(key): key for key in keys}

    @classmethod
    def parse(cls, text: str, source: str = "text") -> PublicKeys:
        """The keys of a PEM text.

        Args:
            text: one PEM block or several.
            source: where the text is from, for the error.

        Raises:
            InvalidInputError: there is none, or one of another kind.
        """
        blocks = _BLOCK.findall(text)
        if not blocks:
            raise InvalidInputError("key", source, _ALLOWED)
        return cls([_parsed(block, source) for block in blocks])

    @classmethod
    def load(cls, paths: Sequence[Path]) -> PublicKeys:
        """The keys of several files.

        Raises:
            InvalidInputError: a file cannot be read, or holds no public key.
        """
        return cls([key for path in paths for key in cls.parse(_read(path), str(path))._by_id.values()])

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The fingerprints."""
        return tuple(self._by_id)

    def joined(self, other: PublicKeys) -> PublicKeys:
        """These and those of another."""
        return PublicKeys([*self._by_id.values(), *other._by_id.values()])

    def check(self, kind: str, signed: Signed) -> SignatureState:
        """Whether a signature stands for a text.

        Args:
            kind: what the statement is; a signature of another kind is wrong.
            signed: text and signature.
        """
        key = self._by_id.get(signed.key_id)
        if key is None:
            return SignatureState.UNKNOWN_KEY
        try:
            key.verify(signed.signature, signed_bytes(kind, signed.text))
        except (InvalidSignature, UnicodeEncodeError):
            return SignatureState.WRONG
        return SignatureState.GOOD


def _parsed(block: str, source: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInputError("key", source, _ALLOWED) from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInputError("key", source, _ALLOWED)
    return key


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise InvalidInputError("key", str(path), _ALLOWED) from None
    except OSError as error:
        raise InvalidInputError("key", str(path), f"a file to read; {error.strerror}") from None
