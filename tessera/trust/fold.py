"""Reads a log entry by entry: keeps its chain and its writers' accounts, and notes what does not fit.

The gallery reads its own logs with it to take checkpoints; whoever checks an exported log reads with the same. Knows
nothing of checkpoints' files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tessera.trust.accounts import Account, AccountState, Hole
from tessera.trust.chain import Head, extended
from tessera.trust.findings import Finding, FindingKind
from tessera.trust.ranges import Ranges
from tessera.trust.stamps import StampedEntry, is_genuine, stamped_bytes


@dataclass(slots=True)
class _Stranger:
    """An entry that is in nobody's account."""

    sequence: int
    detail: str
    replaces: bool = False
    """It stands for one that is missing."""


class LogFold:
    """A log as far as it was read.

    Args:
        log: its name.
        head: where reading begins.
        accounts: of the writers up to there; None: not known, so that what came before is taken for good.
        mac_keys: the audit keys, old ones too; none: MACs are not checked.
    """

    def __init__(
        self, log: str, head: Head, accounts: Mapping[str, AccountState] | None, mac_keys: Sequence[bytes] = ()
    ) -> None:
        self.log = log
        self.head = head
        self._is_known = accounts is not None
        self._accounts = {name: Account.resumed(name, state) for name, state in (accounts or {}).items()}
        self._known = frozenset(self._accounts)
        self._keys = mac_keys
        self.began: dict[str, int] = {}
        """Writer -> sequence of its first entry that was read."""
        self._moved: set[str] = set()
        self._gaps = Ranges()
        self._filled: list[Finding] = []
        self._strangers: list[_Stranger] = []

    def take(self, entry: StampedEntry) -> None:
        """Read the next entry."""
        if entry.log != self.log:
            self._strangers.append(_Stranger(entry.sequence, f"it is of the log {entry.log!r}"))
            return
        stamped = stamped_bytes(entry.log, entry.entry, entry.stamp)
        if not self._is_in_place(entry, stamped):
            return
        if not self._keys or is_genuine(self._keys, stamped, entry.stamp.mac):
            self._take_genuine(self._account(entry), entry)
        else:
            self._take_forged(entry)

    def rebase(self, head: Head) -> None:
        """Go on from another head of the same sequence: that of a checkpoint."""
        self.head = head

    def skip_to(self, head: Head) -> None:
        """Go on from a later checkpoint: the entries up to it are not there."""
        self._gaps.add(self.head.sequence + 1, head.sequence)
        self.head = head

    @property
    def moved(self) -> dict[str, AccountState]:
        """The accounts that changed since `forget_moves` was last called."""
        return {name: self._accounts[name].state for name in sorted(self._moved)}

    def forget_moves(self) -> None:
        """Begin to collect `moved` anew."""
        self._moved.clear()

    @property
    def accounts(self) -> dict[str, AccountState]:
        """All writers' accounts."""
        return {name: account.state for name, account in self._accounts.items()}

    def lacks(self, recorded: Mapping[str, AccountState]) -> bool:
        """Whether entries that a checkpoint accounts for were not read."""
        return any(self._lacks(name, state) for name, state in recorded.items())

    def findings(self) -> list[Finding]:
        """What does not fit so far, by sequence; needs no checkpoint."""
        holes = [hole for account in self._accounts.values() for hole in account.holes]
        found = [self._reordered(hole) for hole in holes if hole.late_sequence]
        found += self._filled + [self._deleted(*span, "their sequences are not there") for span in self._gaps.spans]
        found += self._missing_and_replaced(sorted(holes, key=lambda hole: hole.sequence))
        return sorted(found + self._doubtful())

    def renumbered_from(self) -> tuple[int, int]:
        """Where entries went or came and all behind it moved, and by how many it is shorter for that; 0, 0: nowhere."""
        holes = [hole for account in self._accounts.values() for hole in account.holes if len(hole.open)]
        strangers = [one.sequence for one in self._strangers]
        strangers += [at for one in self._accounts.values() if not self._is_writer(one) for at in one.doubtful.values()]
        begins = [hole.sequence for hole in holes] + strangers
        shorter = sum(len(hole.open) for hole in holes) - len(strangers)
        return (min(begins), max(0, shorter)) if begins and not self._gaps else (0, 0)

    def _is_in_place(self, entry: StampedEntry, stamped: bytes) -> bool:
        if entry.sequence > self.head.sequence:
            self._gaps.add(self.head.sequence + 1, entry.sequence - 1)
            self.head = extended(self.head, entry, stamped)
            return True
        if entry.sequence in self._gaps:
            self._gaps.remove(entry.sequence, entry.sequence)
            detail = "the sequences do not stand in their order"
            self._filled.append(self._finding(FindingKind.REORDERED, entry.sequence, entry.sequence, detail))
            return True
        self._strangers.append(_Stranger(entry.sequence, "this sequence stands there twice"))
        return False

    def _account(self, entry: StampedEntry) -> Account:
        name = entry.stamp.writer
        if name not in self._accounts:
            self._accounts[name] = Account(name) if self._is_known else Account.begun_amid(name, entry.stamp)
        self._moved.add(name)
        self.began.setdefault(name, entry.sequence)
        return self._accounts[name]

    def _take_genuine(self, account: Account, entry: StampedEntry) -> None:
        stamp = entry.stamp
        account.proven = account.proven or bool(self._keys)
        if stamp.n in account.doubtful:
            # The right one has come: what stood for it before was put in.
            self._strangers.append(_Stranger(account.doubtful.pop(stamp.n), "no writer has put it there"))
            account.seen.remove(stamp.n, stamp.n)
        if not account.take(stamp, entry.sequence):
            detail = f"{stamp.writer} has its count {stamp.n} twice; one of the two is a copy"
            self._strangers.append(_Stranger(entry.sequence, detail))

    def _take_forged(self, entry: StampedEntry) -> None:
        n = entry.stamp.n
        # An account does not begin with what a forged stamp says.
        account = self._account(entry) if self._is_known or entry.stamp.writer in self._accounts else None
        if account is None or not account.expects(n):
            self._strangers.append(_Stranger(entry.sequence, "its MAC is wrong and it stands where none belongs"))
            return
        # What it says of other entries is not believed.
        account.seen.add(n, n)
        account.doubtful[n] = entry.sequence

    def _missing_and_replaced(self, holes: Sequence[Hole]) -> list[Finding]:
        found = []
        excused = len(self._gaps)
        strangers = [_Stranger(one.sequence, one.detail) for one in self._strangers]
        for hole in holes:
            left, excused = max(0, len(hole.open) - excused), max(0, excused - len(hole.open))
            for stranger in strangers:
                if left and not stranger.replaces and stranger.sequence < hole.sequence:
                    stranger.replaces, left = True, left - 1
            if left:
                counts = ", ".join(f"{first} to {last}" for first, last in hole.open.spans)
                detail = f"{left} entries of {hole.writer} are missing before this one: its counts {counts}"
                found.append(self._deleted(hole.sequence, hole.sequence, detail))
        return found + [self._stranger(stranger) for stranger in strangers]

    def _doubtful(self) -> list[Finding]:
        found = []
        for account in self._accounts.values():
            is_writer = self._is_writer(account)
            kind = FindingKind.EDITED if is_writer else FindingKind.FOREIGN
            detail = "its MAC is wrong" if is_writer else "its MAC is wrong and its writer wrote nothing else"
            found += [self._finding(kind, sequence, sequence, detail) for sequence in account.doubtful.values()]
        return found

    def _is_writer(self, account: Account) -> bool:
        return account.proven or account.writer in self._known

    def _lacks(self, name: str, state: AccountState) -> bool:
        account = self._accounts.get(name)
        return account is None or any(account.seen.gaps(*span) for span in state.seen)

    def _reordered(self, hole: Hole) -> Finding:
        detail = f"entries of {hole.writer} stand behind later ones of its own"
        return self._finding(FindingKind.REORDERED, hole.sequence, hole.late_sequence, detail)

    def _stranger(self, stranger: _Stranger) -> Finding:
        kind = FindingKind.EDITED if stranger.replaces else FindingKind.FOREIGN
        detail = "it stands for one that is missing" if stranger.replaces else stranger.detail
        return self._finding(kind, stranger.sequence, stranger.sequence, detail)

    def _deleted(self, first: int, last: int, detail: str) -> Finding:
        return self._finding(FindingKind.DELETED, first, last, detail)

    def _finding(self, kind: FindingKind, first: int, last: int, detail: str) -> Finding:
        return Finding(first, kind, self.log, last, detail)
