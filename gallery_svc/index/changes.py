"""A step from one snapshot to the next: who goes is taken out of a copy of his segment, who comes stands at the end.

A segment of which more than an eighth is dead is written anew without the dead; one that is nearly empty then moves to
the end. Until the step is shown, no reader sees anything of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from gallery_svc.index.directory import Directory, Hashes, PlaceNumbers, places_of
from gallery_svc.index.segments import Columns, Flags, NewRows, Segment, segment_of, segment_rows
from gallery_svc.index.snapshots import Snapshot
from gallery_svc.index.texts import Places

_DEAD_SHARE = 1 / 8
_NEARLY_EMPTY = 1 / 4
_SUBJECTS_AT_A_TIME = 8192


class Beginnings:
    """Where subjects begin that come or go, with the hashes of their ids."""

    def __init__(self) -> None:
        self._hashes: list[Hashes] = []
        self._places: list[PlaceNumbers] = []

    def take(self, hashes: Hashes, segment: int, rows: Places) -> None:
        """Some more, all in one segment."""
        self._hashes.append(hashes)
        self._places.append(places_of(segment, rows))

    def __len__(self) -> int:
        """How many."""
        return sum(places.size for places in self._places)

    def __iter__(self) -> Iterator[tuple[Hashes, PlaceNumbers]]:
        """As they were taken."""
        return zip(self._hashes, self._places, strict=True)


class Change:
    """What becomes of a snapshot.

    Args:
        before: the snapshot; stays as it is.
        spoiled: the number of a segment behind whose last row something was written that belongs to nobody.
    """

    def __init__(self, before: Snapshot, spoiled: int | None = None) -> None:
        self._spoiled = spoiled
        self.added = Beginnings()
        self.removed = Beginnings()
        self._segments: list[Segment | None] = list(before.segments)
        self._tail = before.tail
        self._work: dict[int, tuple[Columns, Flags | None]] = {}
        self._left: list[Columns] = []
        self._homeless: list[NewRows] = []

    def drop(self, number: int, first_rows: Iterable[int]) -> None:
        """Take subjects out of a segment; once for each segment.

        Args:
            number: of the segment.
            first_rows: where the subjects begin.
        """
        segment = self._present(number)
        dead = _none_of(segment) if segment.dead is None else segment.dead.copy()
        rows = np.array(sorted(first_rows), np.int64)
        for row in rows.tolist():
            run = segment.run(row)
            dead[run.start : run.stop] = True
        self.removed.take(segment.hashes(rows), number, rows)
        if number == self._spoiled or dead.mean() > _DEAD_SHARE:
            self._rewrite(number, dead)
            return
        self._left.append(segment.columns)
        self._work[number] = (segment.columns.without(dead), dead)

    def append(self, new: NewRows) -> None:
        """Write subjects behind the last row."""
        first = 0
        while first < len(new.counts):
            ends = np.cumsum(new.counts[first:])
            number, columns, dead = self._open(int(new.counts[first]), new.vectors.shape[1])
            fit = int(np.searchsorted(ends, columns.capacity - columns.rows, "right"))
            part, begin = new.part(first, first + fit), columns.rows
            columns.append(part)
            self._work[number] = (columns, dead)
            self.added.take(part.hashes, number, begin + ends[:fit] - part.counts)
            first += fit

    def after(self) -> Snapshot:
        """The next snapshot."""
        for new in self._homeless:
            self.append(new)
        for number, (columns, dead) in self._work.items():
            still_dead = None if dead is None else np.pad(dead, (0, columns.rows - dead.size))
            self._segments[number] = segment_of(columns, still_dead)
        present = [segment for segment in self._segments if segment is not None]
        return Snapshot(
            tuple(self._segments),
            self._tail,
            sum(segment.live_rows for segment in present),
            sum(segment.live_subjects for segment in present),
        )

    def wipe_what_was_left(self) -> None:
        """When the next snapshot is shown: columns that only earlier ones read are wiped after their last reader."""
        for columns in self._left:
            columns.wipe_with_the_last_reader()

    def _present(self, number: int) -> Segment:
        segment = self._segments[number]
        if segment is None:
            raise LookupError(number)
        return segment

    def _rewrite(self, number: int, dead: Flags) -> None:
        segment = self._present(number)
        rows = segment.first_rows()
        rows = rows[~dead[rows]]
        capacity, living = segment.columns.capacity, segment.without(dead)
        self.removed.take(living.hashes, number, rows)
        self._left.append(segment.columns)
        if number != self._tail:
            if len(living.vectors) < _NEARLY_EMPTY * capacity:
                self._segments[number] = None
                self._homeless.append(living)
                return
            capacity = len(living.vectors)
        columns = Columns(capacity, living.vectors.shape[1], len(living.vectors))
        columns.append(living)
        self._work[number] = (columns, None)
        self.added.take(living.hashes, number, np.cumsum(living.counts) - living.counts)

    def _open(self, rows: int, dimensions: int) -> tuple[int, Columns, Flags | None]:
        """The segment at the end, or a new one when it has no room for so many rows."""
        if self._tail >= 0:
            columns, dead = self._work.get(self._tail) or _as_it_is(self._present(self._tail))
            if columns.rows + rows <= columns.capacity:
                return self._tail, columns, dead
            columns.settle()
        free = (at for at, segment in enumerate(self._segments) if segment is None and at not in self._work)
        self._tail = next(free, len(self._segments))
        if self._tail == len(self._segments):
            self._segments.append(None)
        return self._tail, Columns(max(rows, segment_rows(dimensions)), dimensions), None


def _as_it_is(segment: Segment) -> tuple[Columns, Flags | None]:
    return segment.columns, segment.dead


def _none_of(segment: Segment) -> Flags:
    return np.zeros(segment.rows, np.bool_)


def add_all(directory: Directory, segments: Sequence[Segment | None]) -> None:
    """Tell a directory where all subjects begin that are there."""
    for number, segment in enumerate(segments):
        if segment is not None:
            rows = segment.first_rows()
            for first in range(0, rows.size, _SUBJECTS_AT_A_TIME):
                some = rows[first : first + _SUBJECTS_AT_A_TIME]
                directory.add(segment.hashes(some), places_of(number, some))
