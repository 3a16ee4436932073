"""What is wrong with an audit trail, where it begins, and what to do now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What was done to a log."""

    EDITED = "EDITED"
    """An entry is not as it was written."""
    DELETED = "DELETED"
    """Entries are missing."""
    REORDERED = "REORDERED"
    """Entries are all there, and not in their places."""
    TRUNCATED = "TRUNCATED"
    """The log ends before a checkpoint that was taken of it."""
    REWRITTEN = "REWRITTEN"
    """Entries carry right MACs and are not those of a checkpoint: whoever did that has the audit key."""
    FOREIGN = "FOREIGN"
    """An entry that no writer put there, or a copy of one."""
    CHECKPOINTS_DAMAGED = "CHECKPOINTS_DAMAGED"
    """The file of checkpoints is not as it was written."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong."""

    sequence: int
    """The first sequence that cannot be trusted."""
    kind: FindingKind
    log: str
    last_sequence: int
    """The last one that it concerns; the same as `sequence` for a single entry."""
    detail: str


_KEEP = "keep the log, the checkpoints and a copy of the store's files as evidence before anything else is done"
_ADVICE = {
    FindingKind.EDITED: f"{_KEEP}; find the entry in a backup; find out who can write to the store",
    FindingKind.DELETED: f"{_KEEP}; look for the entries in a backup; find out who can write to the store",
    FindingKind.REORDERED: f"{_KEEP}; do not trust the order of these entries; find out who can write to the store",
    FindingKind.TRUNCATED: f"{_KEEP}; if a backup was restored, say so by a new START; else find out who did it",
    FindingKind.REWRITTEN: f"{_KEEP}; the audit key is known to somebody: rotate the keys, then find out how",
    FindingKind.FOREIGN: f"{_KEEP}; do not act on this entry; find out who can write to the store",
    FindingKind.CHECKPOINTS_DAMAGED: f"{_KEEP}; compare with the second folder; find out who can write to the folder",
}


def advice(kind: FindingKind) -> str:
    """What to do about a finding, as a phrase."""
    return _ADVICE[kind]
