"""What each writer of a log has put there, by its own count: which counts were seen, are excused, or are missing.

Order comes from `settled`: an entry says up to which count all of its writer's entries stand before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tessera.trust.ranges import Ranges, Span
from tessera.trust.stamps import Stamp


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account as a checkpoint keeps it."""

    seen: tuple[Span, ...]
    absent: tuple[Span, ...]
    """Given up by the writer, or already told as missing."""


@dataclass(slots=True)
class Hole:
    """Counts that should have come before an entry and had not."""

    writer: str
    sequence: int
    """Of that entry."""
    open: Ranges
    """Those that have not come since."""
    late_sequence: int = 0
    """Where the last of those that came later stood; 0: none did."""


@dataclass(slots=True)
class Account:
    """One writer's entries in one log."""

    writer: str
    seen: Ranges = field(default_factory=Ranges)
    absent: Ranges = field(default_factory=Ranges)
    """Given up: they may be there or not, and may come late."""
    settled: int = 0
    """The most that an entry vouched for."""
    holes: list[Hole] = field(default_factory=list)
    doubtful: dict[int, int] = field(default_factory=dict)
    """Count -> sequence of an entry whose MAC is wrong and that stands where this count belongs."""
    proven: bool = False
    """An entry of it has a right MAC."""

    @classmethod
    def resumed(cls, writer: str, state: AccountState) -> Account:
        """The account of a writer at a checkpoint."""
        # Whatever it vouched for before is accounted for; what it vouches for next is looked at from the start again.
        return cls(writer, Ranges(state.seen), Ranges(state.absent))

    @classmethod
    def begun_amid(cls, writer: str, stamp: Stamp) -> Account:
        """The account of a writer whose earlier entries were never read: they are taken for good."""
        return cls(writer, Ranges([(1, stamp.settled)]), Ranges([(stamp.settled + 1, stamp.n - 1)]), stamp.settled)

    @property
    def state(self) -> AccountState:
        """What a checkpoint keeps of it."""
        absent = Ranges(self.absent.spans)
        for span in [span for hole in self.holes for span in hole.open.spans]:
            absent.add(*span)
        return AccountState(self.seen.spans, absent.spans)

    def expects(self, n: int) -> bool:
        """Whether this count may come now: it has not come, and all before it are accounted for."""
        return n not in self.seen and not self._unaccounted(1, n - 1)

    def take(self, stamp: Stamp, sequence: int) -> bool:
        """Put an entry on the account.

        Returns:
            False: this count was there already.
        """
        if stamp.n in self.seen:
            return False
        self.seen.add(stamp.n, stamp.n)
        self._close_holes(stamp.n, sequence)
        for first, last in stamp.given_up_spans:
            self.absent.add(first, min(last, stamp.n - 1))
            for hole in self.holes:
                hole.open.remove(first, last)
        vouched = min(stamp.settled, stamp.n - 1)
        missing = self._unaccounted(self.settled + 1, vouched) if vouched > self.settled else []
        if missing:
            self.holes.append(Hole(self.writer, sequence, Ranges(missing)))
        self.settled = max(self.settled, vouched)
        return True

    def _close_holes(self, n: int, sequence: int) -> None:
        for hole in self.holes:
            if n in hole.open:
                hole.open.remove(n, n)
                hole.late_sequence = sequence

    def _unaccounted(self, first: int, last: int) -> list[Span]:
        return list(_outside([hole.open for hole in self.holes], _outside([self.seen, self.absent], [(first, last)])))


def _outside(sets: Iterable[Ranges], spans: Iterable[Span]) -> Iterable[Span]:
    for numbers in sets:
        spans = [gap for span in spans for gap in numbers.gaps(*span)]
    return spans
