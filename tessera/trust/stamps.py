"""The stamp of an audit entry: who wrote it, its place in that writer's own count, and a MAC over all of it.

An entry cannot be changed without the audit key, and cannot be taken away unseen: each later stamp of the same writer
vouches for what came before it. `settled` says up to which count all are on record or told as given up; it is lower
than the count before by as many as are under way at the same time, so that writes may overtake each other honestly.

Source: RFC 2104 (HMAC).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tessera.trust.ranges import Span

MAC_BYTES = 32
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


def stamped_bytes(log: str, entry: bytes, stamp: Stamp) -> bytes:
    """What a stamp's MAC and a log's chain are over: every field, each after its length."""
    return _joined(
        log.encode(),
        stamp.writer.encode(),
        _NUMBER.pack(stamp.n),
        _NUMBER.pack(stamp.settled),
        struct.pack(f">{len(stamp.given_up)}Q", *stamp.given_up),
        entry,
    )


def mac_of(key: bytes, stamped: bytes) -> bytes:
    """The MAC over `stamped_bytes`, 32 bytes."""
    return hmac.digest(key, _PURPOSE + stamped, "sha256")


def is_genuine(keys: Sequence[bytes], stamped: bytes, mac: bytes) -> bool:
    """Whether one of the audit keys made this MAC."""
    return any(hmac.compare_digest(mac_of(key, stamped), mac) for key in keys)


_NUMBER = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")


def _joined(*parts: bytes) -> bytes:
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))
