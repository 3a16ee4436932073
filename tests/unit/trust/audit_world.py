"""An audit log as galleries write it: three writers, writes that overtake each other, some given up; and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from gallery_svc.auditing import AuditStamper
from gallery_svc.checkpoints import CheckpointFile
from gallery_svc.signing import Signer
from tessera.chassis.clock import ManualClock
from tessera.trust.audit_check import AuditReport, verify_audit
from tessera.trust.stamps import Stamp, StampedEntry
from tessera.trust.trail import Trail, file_name, read_trail

LOG = "staff/00"
KEY = bytes(range(32))
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CHECKPOINTS = (10, 20, 30, 34)
ENTRIES = 40


@dataclass
class World:
    """A log, the file of its checkpoints, and who signed them."""

    entries: list[StampedEntry]
    content: bytes
    signer: Signer

    def check(self, entries: Sequence[StampedEntry] | None = None, *, with_key: bool = True) -> AuditReport:
        """Verify these entries, or the log as it is."""
        entries = self.entries if entries is None else entries
        return verify_audit(LOG, entries, self.trail, [KEY] if with_key else [])

    @cached_property
    def trail(self) -> Trail:
        """What the file says."""
        return read_trail(LOG, self.content, self.signer.public_keys)


class Writers:
    """Puts entries into a log as several galleries do.

    Args:
        log: the log's name.
        start: of the processes; another one has other writers.
    """

    def __init__(self, log: str = LOG, start: str = "") -> None:
        self.log = log
        self.entries: list[StampedEntry] = []
        self._stampers = [AuditStamper(KEY, f"gallery-{name}{start}") for name in "abc"]

    def stamp(self, writer: int) -> tuple[int, bytes, Stamp]:
        """Stamp an entry that is not written yet."""
        entry = f'{{"method":"Verify","evidence_id":"{writer}-{len(self.entries)}"}}'.encode()
        return writer, entry, self._stampers[writer].stamp(self.log, entry)

    def land(self, stamped: tuple[int, bytes, Stamp], *, known: bool = True) -> None:
        """Write it; without `known` the writer never hears of it."""
        writer, entry, stamp = stamped
        self.entries.append(StampedEntry(self.log, len(self.entries) + 1, entry, stamp))
        if known:
            self._stampers[writer].settled(self.log, stamp)
        else:
            self.give_up(stamped)

    def give_up(self, stamped: tuple[int, bytes, Stamp]) -> None:
        """It is not written, or nobody knows."""
        self._stampers[stamped[0]].gave_up(self.log, stamped[2])

    def write(self, writer: int) -> None:
        """One entry, start to end."""
        self.land(self.stamp(writer))


def honest_log() -> list[StampedEntry]:
    """Forty entries in which everything happens that may."""
    writers = Writers()
    while len(writers.entries) < ENTRIES:
        at = len(writers.entries)
        if at in {3, 17, 24}:  # three at once, the first lands last
            stamped = [writers.stamp(at % 3) for _ in range(3)]
            for one in (stamped[1], stamped[2], stamped[0]):
                writers.land(one)
        elif at in {7, 21}:  # given up and never written
            writers.give_up(writers.stamp(1))
            writers.write(1)
        elif at == 12:  # nobody heard of it, and it is there
            writers.land(writers.stamp(2), known=False)
            writers.write(2)
        elif at == 15:  # given up, told, and comes late all the same
            late = writers.stamp(0)
            writers.give_up(late)
            writers.write(0)
            writers.entries.append(StampedEntry(LOG, len(writers.entries) + 1, late[1], late[2]))
        else:
            writers.write(at % 3)
    return writers.entries


def checkpointed(folder: Path, entries: Sequence[StampedEntry], at: Sequence[int], signer: Signer) -> bytes:
    """The file of checkpoints that a gallery writes while it reads these entries."""
    with CheckpointFile.open(folder, LOG, signer, ManualClock(NOON)) as file:
        fold = file.fold([KEY])
        for entry in entries:
            fold.take(entry)
            if entry.sequence in at:
                file.checkpoint(fold)
    return (folder / file_name(LOG)).read_bytes()


def honest_world(folder: Path) -> World:
    """The log with its checkpoints."""
    signer = Signer.ephemeral()
    entries = honest_log()
    return World(entries, checkpointed(folder, entries, CHECKPOINTS, signer), signer)


def renumbered(entries: Sequence[StampedEntry]) -> list[StampedEntry]:
    """The same entries with sequences that have no gap."""
    return [replace(entry, sequence=at) for at, entry in enumerate(entries, 1)]
