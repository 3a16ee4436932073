"""Sets of whole numbers that mostly stand in a row, such as the counts that a writer used: kept as ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Span = tuple[int, int]
"""First and last, both inside."""


class Ranges:
    """Whole numbers as ranges in order that neither overlap nor touch.

    Args:
        spans: what is in it at first.
    """

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in spans:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Put in all from `first` to `last`."""
        if first > last:
            return
        begin, end = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]

    def remove(self, first: int, last: int) -> None:
        """Take out all from `first` to `last`."""
        if first > last:
            return
        kept = [span for old in self.spans for span in _without(old, first, last)]
        self._firsts, self._lasts = [span[0] for span in kept], [span[1] for span in kept]

    def gaps(self, first: int, last: int) -> list[Span]:
        """What of `first` to `last` is not in it."""
        missing: list[Span] = []
        at = bisect_left(self._lasts, first)
        while first <= last and at < len(self._firsts) and self._firsts[at] <= last:
            if first < self._firsts[at]:
                missing.append((first, self._firsts[at] - 1))
            first = self._lasts[at] + 1
            at += 1
        if first <= last:
            missing.append((first, last))
        return missing

    @property
    def spans(self) -> tuple[Span, ...]:
        """The ranges, in order."""
        return tuple(zip(self._firsts, self._lasts, strict=True))

    def __contains__(self, number: int) -> bool:
        """Whether it is in it."""
        at = bisect_left(self._lasts, number)
        return at < len(self._firsts) and self._firsts[at] <= number

    def __len__(self) -> int:
        """How many numbers are in it."""
        return sum(last - first + 1 for first, last in self.spans)

    def __eq__(self, other: object) -> bool:
        """Whether the same numbers are in both."""
        return isinstance(other, Ranges) and self.spans == other.spans

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        """The ranges."""
        return f"Ranges({list(self.spans)})"


def _without(old: Span, first: int, last: int) -> list[Span]:
    left, right = (old[0], min(old[1], first - 1)), (max(old[0], last + 1), old[1])
    if right[0] <= left[1]:
        return [old]
    return [span for span in (left, right) if span[0] <= span[1]]
