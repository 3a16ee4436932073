"""The chain over a log: one digest that stands for every entry up to a sequence, and for their order.

Computed by whoever reads the log, not by the store. Beside it goes a sum that does not depend on order: a chain that
differs while the sum is right tells that entries changed their places. The sum proves nothing by itself.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from tessera.trust.stamps import StampedEntry, stamped_bytes

DIGEST_BYTES = 32
SUM_LIMIT = 2**256
_NUMBER = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log stands."""

    sequence: int
    """Of the last entry; 0: before the first."""
    chain: bytes
    """32 bytes over all entries up to it, in order."""
    total: int
    """Sum of the entries' digests modulo 2^256, whatever their order."""


def log_start(log: str, sequence: int = 0) -> Head:
    """The head before the first entry that is read.

    Args:
        log: its name.
        sequence: of the entry before the first one; 0 when the log is whole.
    """
    return Head(
        sequence, hashlib.sha256(b"tessera-audit-start-1\n" + _NUMBER.pack(sequence) + log.encode()).digest(), 0
    )


def extended(head: Head, entry: StampedEntry, stamped: bytes | None = None) -> Head:
    """The head behind one more entry.

    Args:
        head: before it.
        entry: the entry; its own sequence counts.
        stamped: its `stamped_bytes`, if they are at hand.
    """
    # No field can grow into its neighbour: those before have fixed lengths or tell theirs, and the MAC stands last.
    content = (stamped_bytes(entry.log, entry.entry, entry.stamp) if stamped is None else stamped) + entry.stamp.mac
    linked = b"tessera-audit-chain-1\n" + head.chain + _NUMBER.pack(entry.sequence) + content
    own = int.from_bytes(hashlib.sha256(b"tessera-audit-sum-1\n" + content).digest(), "big")
    return Head(entry.sequence, hashlib.sha256(linked).digest(), (head.total + own) % SUM_LIMIT)


def digest_of(text: str) -> bytes:
    """32 bytes from 64 hex digits.

    Raises:
        ValueError: it is something else.
    """
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST_BYTES or text != digest.hex():
        raise ValueError("not a sha256 in hex")
    return digest
