"""Compares a log with its checkpoints and its entries with their MACs: was it edited, cut, shuffled, written anew?

Pure: entries and lines in, findings out. What it cannot tell is in `docs/audit.md`: entries behind the last checkpoint
are proven by their MACs alone, and nothing is proven against somebody who has the store, the audit key, and time until
the next checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from tessera.trust.accounts import AccountState
from tessera.trust.chain import SUM_LIMIT, log_start
from tessera.trust.findings import Finding, FindingKind
from tessera.trust.fold import LogFold
from tessera.trust.stamps import StampedEntry
from tessera.trust.trail import Checkpoint, Trail


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at, and what is wrong with it."""

    log: str
    findings: tuple[Finding, ...]
    """By sequence; empty: nothing is wrong."""
    notes: tuple[str, ...]
    """What a reader should know and is no sign of harm."""
    entries: int
    first: int
    """Sequence of the first entry; 0: there is none."""
    last: int
    checkpoint: int
    """Sequence of the last checkpoint; 0: of none."""
    checkpoint_at: datetime | None
    macs_checked: bool


@dataclass(slots=True)
class _Window:
    """Entries between two checkpoints that are not those of the second one."""

    first: int
    last: int
    lacks: bool
    """Entries that the checkpoint accounts for are not there."""
    shuffled: bool = False
    """All of them are there, in another order."""


def verify_audit(
    log: str, entries: Iterable[StampedEntry], trail: Trail, mac_keys: Sequence[bytes] = ()
) -> AuditReport:
    """Check a log.

    Args:
        log: its name.
        entries: all that are kept, in the order of the log.
        trail: its checkpoints.
        mac_keys: the audit keys, old ones too; none: MACs are not checked, and nothing behind the last checkpoint is.
    """
    check = AuditCheck(log, trail, mac_keys)
    for entry in entries:
        check.take(entry)
    return check.report()


class AuditCheck:
    """A check under way, which takes one entry after the other.

    Args:
        log: its name.
        trail: its checkpoints.
        mac_keys: as for `verify_audit`.
    """

    def __init__(self, log: str, trail: Trail, mac_keys: Sequence[bytes] = ()) -> None:
        self._log = log
        self._trail = trail
        self._keys = mac_keys
        self._next = 0
        self._base: Checkpoint | None = None
        self._recorded: dict[str, AccountState] = {}
        self._drift = 0
        self._windows: list[_Window] = []
        self._early: list[Finding] = []
        self._fold: LogFold | None = None
        self._entries = self._first = 0

    def take(self, entry: StampedEntry) -> None:
        """Look at the next entry."""
        self._entries += 1
        if self._fold is None:
            self._first = entry.sequence
            self._fold = self._begin(entry.sequence)
        self._pass_over(self._fold, entry.sequence)
        self._fold.take(entry)
        self._compare(self._fold)

    def report(self) -> AuditReport:
        """What was found."""
        fold, last = self._fold, self._trail.last
        # Without any entry the log stands where it was trimmed, whatever the checkpoints say.
        end = fold.head.sequence if fold else self._trail.trimmed
        own = fold.findings() if fold else []
        found = [*self._trail.findings, *self._early, *own, *self._beyond(end), *self._strangers_to_trail()]
        return AuditReport(
            self._log,
            tuple(_merged(found + self._unexplained(own))),
            tuple(self._trail.notes),
            self._entries,
            self._first,
            end if self._entries else 0,
            last.head.sequence if last else 0,
            last.at if last else None,
            bool(self._keys),
        )

    def _begin(self, first: int) -> LogFold:
        if self._trail.last is None and not self._trail.is_damaged:
            detail = "there are no checkpoints of this log"
            self._early.append(self._found(FindingKind.CHECKPOINTS_DAMAGED, first, first, detail))
        # Behind what was forgotten on purpose; some of that may still be there.
        origin = min(self._trail.trimmed, first - 1)
        for checkpoint in self._trail.checkpoints:
            if checkpoint.head.sequence <= origin:
                self._pass(checkpoint)
        if self._base and self._base.head.sequence == origin:
            return LogFold(self._log, self._base.head, self._trail.accounts_at(origin), self._keys)
        # What came before is not there to be read: the first checkpoint behind it is where comparing begins.
        self._base = None
        return LogFold(self._log, log_start(self._log, origin), None if origin else {}, self._keys)

    def _pass(self, checkpoint: Checkpoint) -> None:
        self._base = checkpoint
        self._recorded.update(checkpoint.accounts)
        self._next += 1

    def _pass_over(self, fold: LogFold, sequence: int) -> None:
        # A gap in the sequences swallowed the place of a checkpoint: comparing goes on behind it.
        for checkpoint in self._trail.checkpoints[self._next :]:
            if checkpoint.head.sequence >= sequence or checkpoint.head.sequence <= fold.head.sequence:
                return
            self._pass(checkpoint)
            if checkpoint.head.sequence == sequence - 1:
                fold.skip_to(checkpoint.head)
            else:
                self._base = None

    def _compare(self, fold: LogFold) -> None:
        while self._next < len(self._trail.checkpoints):
            checkpoint = self._trail.checkpoints[self._next]
            if checkpoint.head.sequence != fold.head.sequence:
                return
            before = self._base
            self._pass(checkpoint)
            if before and fold.head.chain != checkpoint.head.chain:
                self._suspect(fold, before, checkpoint)
            fold.rebase(checkpoint.head)

    def _suspect(self, fold: LogFold, before: Checkpoint, checkpoint: Checkpoint) -> None:
        first, last = before.head.sequence + 1, checkpoint.head.sequence
        self._drift = (self._drift + fold.head.total - checkpoint.head.total) % SUM_LIMIT
        self._windows.append(_Window(first, last, fold.lacks(self._recorded)))
        if self._drift == 0:
            # Whatever was missing before is here now.
            for window in self._windows:
                window.shuffled = True

    def _unexplained(self, own: Sequence[Finding]) -> list[Finding]:
        begins = self._fold.renumbered_from()[0] if self._fold else 0
        found = []
        for window in self._windows:
            is_explained = any(one.sequence <= window.last and window.first <= one.last_sequence for one in own)
            # Behind an entry that went or came, every entry has another number than at the checkpoint.
            if not is_explained and not (0 < begins < window.first):
                found.append(self._found(*self._kind_of(window)))
        return found

    def _kind_of(self, window: _Window) -> tuple[FindingKind, int, int, str]:
        span = window.first, window.last
        if window.shuffled:
            return FindingKind.REORDERED, *span, "the entries of a checkpoint are there, in another order"
        if window.lacks:
            return FindingKind.DELETED, *span, "entries that a checkpoint accounts for are not there"
        if self._keys:
            return FindingKind.REWRITTEN, *span, "the MACs are right, and the entries are not those of the checkpoint"
        return FindingKind.EDITED, *span, "one or more of these entries are not as they were at the checkpoint"

    def _beyond(self, end: int) -> list[Finding]:
        last = self._trail.last
        shorter = self._fold.renumbered_from()[1] if self._fold else 0
        if last is None or end + shorter >= last.head.sequence:
            return []
        detail = (
            f"the log ends at {end}, and a checkpoint of {last.at:%Y-%m-%d %H:%M:%S} UTC stands at {last.head.sequence}"
        )
        return [self._found(FindingKind.TRUNCATED, end + 1, last.head.sequence, detail)]

    def _strangers_to_trail(self) -> list[Finding]:
        """Without MACs: writers that no checkpoint knows, before the last checkpoint."""
        last, fold = self._trail.last, self._fold
        known = self._trail.accounts_at(last.head.sequence) if last else None
        if self._keys or fold is None or last is None or known is None:
            return []
        begun = {name: at for name, at in fold.began.items() if at <= last.head.sequence and name not in known}
        detail = "its writer is in no checkpoint"
        return [self._found(FindingKind.FOREIGN, at, at, detail) for at in begun.values()]

    def _found(self, kind: FindingKind, first: int, last: int, detail: str) -> Finding:
        return Finding(first, kind, self._log, last, detail)


def _merged(findings: Iterable[Finding]) -> Iterable[Finding]:
    """One finding for those of one kind that overlap or touch."""
    by_kind = sorted(findings, key=lambda one: (one.kind, one.sequence))
    merged: list[Finding] = []
    for _, group in groupby(by_kind, key=lambda one: one.kind):
        merged += _joined(group)
    return sorted(merged)


def _joined(group: Iterable[Finding]) -> list[Finding]:
    joined: list[tuple[Finding, int]] = []
    for one in group:
        before, more = joined[-1] if joined else (one, -1)
        if more >= 0 and one.sequence <= before.last_sequence + 1:
            last = max(before.last_sequence, one.last_sequence)
            joined[-1] = (Finding(before.sequence, one.kind, one.log, last, before.detail), more + 1)
        else:
            joined.append((one, 0))
    return [
        Finding(
            one.sequence, one.kind, one.log, one.last_sequence, f"{one.detail}; and {more} more" if more else one.detail
        )
        for one, more in joined
    ]
