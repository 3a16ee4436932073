"""Files of key-encryption keys: `KEYID BASE64` a line, the first one wraps, all of them open.

`tessera keys` writes them, the gallery's store reads them. A file that others than its owner may read is refused. No
error and no representation shows a key, and nothing here ever takes a key out of a file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import NewType

from tessera.domain.errors import AlreadyExistsError, InvalidInputError
from tessera.domain.ids import ALLOWED_TEXT, is_id

KeyId = NewType("KeyId", str)

KEY_BYTES = 32
FINGERPRINT_BYTES = 4

_ALLOWED_LINE = f"KEYID BASE64, the key being {KEY_BYTES} random bytes; `tessera keys new FILE` makes one"
_OWNER_ONLY = 0o077
_LEAST_DISTINCT = 8  # 32 random bytes have 30 distinct values or so; a placeholder such as AAAA...= has one
_DATED = re.compile(r"(\d{4}-\d{2}-\d{2})-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """One key-encryption key."""

    key_id: KeyId
    key: bytes = field(repr=False)
    """32 bytes."""

    @property
    def fingerprint(self) -> bytes:
        """4 bytes that name the key in every value that it wraps; they tell nothing of the key itself."""
        return hashlib.sha256(b"tessera-kek" + self.key).digest()[:FINGERPRINT_BYTES]

    @property
    def made_on(self) -> date | None:
        """The day in the id that `new_key` gives; None for ids of other making."""
        dated = _DATED.fullmatch(self.key_id)
        try:
            return date.fromisoformat(dated[1]) if dated else None
        except ValueError:
            return None


def new_key(now: datetime) -> EncryptionKey:
    """A key of fresh random bytes, called by the day and its own fingerprint."""
    key = EncryptionKey(KeyId(""), secrets.token_bytes(KEY_BYTES))
    return EncryptionKey(KeyId(f"{now:%Y-%m-%d}-{key.fingerprint.hex()}"), key.key)


def parse_keys(text: str, source: str) -> tuple[EncryptionKey, ...]:
    """The keys of a file's text, in its order.

    Args:
        text: lines `KEYID BASE64`; blank lines and those that begin with # do not count.
        source: where the text is from, for errors.

    Raises:
        InvalidInputError: a line is not a key, an id or a key comes twice, or there is no key at all.
    """
    lines = [(at, line.split()) for at, line in enumerate(text.splitlines(), 1)]
    keys = tuple(_parsed(words, f"line {at} of {source}") for at, words in lines if words and words[0][0] != "#")
    if not keys:
        raise InvalidInputError("keys", source, f"at least one line {_ALLOWED_LINE}")
    for names in ([str(key.key_id) for key in keys], [key.fingerprint.hex() for key in keys]):
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise InvalidInputError("keys", source, f"each key and each key id once; {min(twice)} comes twice")
    return keys


def _parsed(words: Sequence[str], where: str) -> EncryptionKey:
    # The line itself is never shown: whatever is wrong with it, it may hold a key.
    if len(words) != 2:
        raise InvalidInputError("keys", where, _ALLOWED_LINE)
    if not is_id(words[0]):
        raise InvalidInputError("keys", where, f"a KEYID of {ALLOWED_TEXT}")
    try:
        key = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("keys", where, _ALLOWED_LINE) from None
    if len(key) != KEY_BYTES or len(set(key)) < _LEAST_DISTINCT:
        raise InvalidInputError("keys", where, _ALLOWED_LINE)
    return EncryptionKey(KeyId(words[0]), key)


def read_key_text(path: Path) -> str:
    """The text of a key file that its owner alone may read.

    Raises:
        InvalidInputError: it cannot be read, or others than its owner may read or write it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            # Of the open file, not of the path: nobody can put another one there in between.
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & _OWNER_ONLY:
                allowed = f"mode 0600 or stricter, it has {mode:04o}; run: chmod 600 {path}"
                raise InvalidInputError("keys", str(path), allowed)
            return file.read()
    except UnicodeDecodeError:
        raise InvalidInputError("keys", str(path), "a text file of lines KEYID BASE64") from None
    except OSError as error:
        raise InvalidInputError("keys", str(path), f"a file to read; {error.strerror}") from None


def read_key_file(path: Path) -> tuple[EncryptionKey, ...]:
    """The keys of a file, in its order.

    Raises:
        InvalidInputError: as `read_key_text` and `parse_keys` tell.
    """
    return parse_keys(read_key_text(path), str(path))


def add_key(path: Path, now: datetime, *, last: bool = False) -> EncryptionKey:
    """Put a new key into a file, which is made with mode 0600 when there is none; no line that it has is changed.

    Args:
        path: the file; its folder must exist.
        now: goes into the key's id.
        last: behind all others, so that the key opens and does not wrap yet.

    Returns:
        The new key, after it has reached the disk.

    Raises:
        InvalidInputError: the file is not one of keys, or its folder cannot be written.
        AlreadyExistsError: another call changes the file now, or one was killed while it did.
    """
    path = path.resolve()
    draft = path.with_name(path.name + ".new")
    try:
        # Made before the old text is read: of two calls at once, one must not lose the other's key.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise AlreadyExistsError("key file draft", str(draft)) from None
    except OSError as error:
        raise InvalidInputError("keys", str(path), f"a file to write; {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            key = new_key(now)
            file.write(_with_key(read_key_text(path) if path.exists() else "", str(path), key, last=last))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return key


def _with_key(text: str, source: str, key: EncryptionKey, *, last: bool) -> str:
    if text.strip():
        parse_keys(text, source)
    line = f"{key.key_id} {base64.b64encode(key.key).decode()}\n"
    kept = text if not text or text.endswith("\n") else text + "\n"
    return kept + line if last else line + kept


def _sync_folder(folder: Path) -> None:
    # A rename is on the disk only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
