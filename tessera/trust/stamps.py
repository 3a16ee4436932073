"""The stamp of an audit entry: who wrote it, its place in that writer's own count, and a MAC over all of it.

An entry cannot be changed without the audit key, and cannot be taken away unseen: each later stamp of the same writer
vouches for what came before it. `settled` says up to which count all are on record or told as given up; it is lower
than the count before by as many as are under way at the same time, so that writes may overtake each other honestly.

Source: RFC 2104 (HMAC).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.trust.ranges import Span

MAC_BYTES = 32
_MOST = 2**63
_PURPOSE = b"tessera-audit-entry-1\n"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes an audit entry provable."""

    writer: str
    """The process that wrote it; another one after each start."""
    n: int
    """The writer's own count of entries in this log, from 1."""
    settled: int
    """When it was stamped, all of the writer's counts up to this one were on record or given up; below `n`."""
    given_up: tuple[int, ...]
    """Counts whose writing failed or is unknown, as ranges: first, last, first, last. Told until a stamp that tells
    them is on record."""
    mac: bytes
    """32 bytes."""

    @property
    def given_up_spans(self) -> tuple[Span, ...]:
        """The same as ranges."""
        return tuple(zip(self.given_up[::2], self.given_up[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class StampedEntry:
    """An audit entry as it stands in its log."""

    log: str
    sequence: int
    """In its log: contiguous, from 1."""
    entry: bytes
    """The record as text."""
    stamp: Stamp


def stamp_of(fields: Mapping[str, Any], mac: bytes) -> Stamp:
    """A stamp from what a file or a store holds, whoever wrote it.

    Args:
        fields: `writer`, `n`, `settled` and `given_up`.
        mac: its MAC.

    Raises:
        KeyError: a field is missing.
        TypeError: one is of another type.
        ValueError: one holds what cannot be.
    """
    given_up = tuple(count_of(number) for number in fields["given_up"])
    if len(given_up) % 2 or len(mac) != MAC_BYTES:
        raise ValueError("half a range, or half a MAC")
    return Stamp(text_of(fields["writer"]), count_of(fields["n"]), count_of(fields["settled"]), given_up, mac)


def count_of(value: object) -> int:
    """A count that comes from outside.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise ValueError("not a count")
    return value


def text_of(value: object) -> str:
    """A text that comes from outside.

    Raises:
        TypeError: it is none.
        ValueError: it holds half a character.
    """
    if not isinstance(value, str):
        raise TypeError("not text")
    value.encode()
    return value


def stamped_bytes(log: str, entry: bytes, stamp: Stamp) -> bytes:
    """What a stamp's MAC and a log's chain are over: every field, lengths first, so that none grows."""
    name, writer, given_up = log.encode(), stamp.writer.encode(), stamp.given_up
    told = struct.pack(f">{len(given_up)}Q", *given_up) if given_up else b""
    fixed = _FIXED.pack(len(name), len(writer), stamp.n, stamp.settled, len(told), len(entry))
    return b"".join((fixed, name, writer, told, entry))


def mac_of(key: bytes, stamped: bytes) -> bytes:
    """The MAC over `stamped_bytes`, 32 bytes."""
    return hmac.digest(key, _PURPOSE + stamped, "sha256")


class MacMaker:
    """Makes many MACs under one key, on one thread: the same as `mac_of`, with the key prepared once.

    It keeps the interpreter's lock over an entry of less than 2 KB. `hmac.digest` gives it away, and a busy event loop
    waits up to 0.4 ms to get it back.

    Args:
        key: the audit key.
    """

    def __init__(self, key: bytes) -> None:
        self._begun = hmac.new(key, _PURPOSE, "sha256")

    def mac_of(self, stamped: bytes) -> bytes:
        """The MAC over `stamped_bytes`, 32 bytes."""
        mac = self._begun.copy()
        mac.update(stamped)
        return mac.digest()


def audit_key_of(key: bytes) -> bytes:
    """The audit key that derives from a key-encryption key, for those who check and shall not open anything.

    Args:
        key: 32 bytes.

    Source: RFC 5869 (HKDF) with SHA-256, no salt, one block.
    """
    extracted = hmac.digest(bytes(MAC_BYTES), key, "sha256")
    return hmac.digest(extracted, b"tessera audit" + bytes([1]), "sha256")


def is_genuine(keys: Sequence[bytes], stamped: bytes, mac: bytes) -> bool:
    """Whether one of the audit keys made this MAC."""
    return any(hmac.compare_digest(mac_of(key, stamped), mac) for key in keys)


_FIXED = struct.Struct(">IIQQII")
"""Lengths of the log's name and the writer, count, settled, lengths of what was given up and of the entry."""
