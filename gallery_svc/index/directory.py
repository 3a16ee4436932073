"""The directory: from a subject's id to where its rows begin; five bytes a place, and no id of its own.

A place is a segment's number and a row in it. The table says only where to look: whoever looks compares the id that is
written there, in the segments of his own snapshot, so that an entry of a later or an earlier state misleads nobody.
The writer adds before it shows a new snapshot and takes away afterwards.

Source: linear probing, Knuth, "The Art of Computer Programming", vol. 3, section 6.4, with some bits of the hash in
each cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gallery_svc.index.blocks import block
from gallery_svc.rows import JoinedTexts

Hashes = npt.NDArray[np.uint64]
PlaceNumbers = npt.NDArray[np.uint32]

_EMPTY, _REMOVED, _FIRST_MARK, _MARKS = 0, 1, 2, 254
_ALL_BITS = 0xFFFFFFFFFFFFFFFF
_FIRST_CELLS = 1024
_FULL = 0.85
_FULL_AS_EXPECTED = 0.75
_FULL_AT_FIRST = 0.57
_SMALL = 1 << 15
_ONE_BY_ONE = 48
"""So few are quicker one after the other than in arrays."""
ROW_BITS = 16


def place_of(segment: int, row: int) -> int:
    """One number for a row of a segment."""
    return segment << ROW_BITS | row


def segment_and_row(place: int) -> tuple[int, int]:
    """The segment's number, and the row in it."""
    return place >> ROW_BITS, place & ((1 << ROW_BITS) - 1)


def places_of(segment: int, rows: npt.NDArray[np.int64]) -> PlaceNumbers:
    """As `place_of` for many rows."""
    return (rows | segment << ROW_BITS).astype(np.uint32)


def hashes_of(subject_ids: Sequence[str]) -> Hashes:
    """Python's own hash, seeded by chance in each process, so that nobody can choose ids that collide."""
    if isinstance(subject_ids, JoinedTexts):
        return subject_ids.hashes.view(np.uint64)
    return np.fromiter(map(hash, subject_ids), np.int64, len(subject_ids)).view(np.uint64)


class Directory:
    """A hash table of places. One writer; readers at any time.

    Args:
        cells: so many at first.
    """

    def __init__(self, cells: int = _FIRST_CELLS) -> None:
        self._cells = cells
        self._marks: npt.NDArray[np.uint8] = block(cells, np.uint8)
        self._places: PlaceNumbers = block(cells, np.uint32)
        self._taken = 0

    @classmethod
    def of(cls, places: int) -> Directory:
        """An empty one that has room for so many places and a few more."""
        return cls(max(_FIRST_CELLS, int(places / _FULL_AS_EXPECTED)))

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return 5 * self._cells

    def has_room(self, more: int) -> bool:
        """Whether it can take so many more places, those included that were removed."""
        return self._taken + more <= _FULL * self._cells

    def larger(self, places: int) -> Directory:
        """An empty one with cells for so many places and some more."""
        cells = self._cells
        while places > _FULL_AT_FIRST * cells:
            cells = cells * 2 if cells < _SMALL else cells * 3 // 2
        return Directory(cells)

    def look(self, subject_id: str) -> Iterator[int]:
        """The places where the subject may begin."""
        hashed = hash(subject_id) & _ALL_BITS
        return self._look_from(hashed % self._cells, (hashed >> 56) % _MARKS + _FIRST_MARK)

    def look_all(self, hashes: Hashes) -> Iterator[tuple[int, int]]:
        """As `look` for many: which of them, and a place where it may begin."""
        left, cells, marks = np.arange(hashes.size), self._first_cells(hashes), _marks(hashes)
        while left.size > _ONE_BY_ONE:
            found = self._marks[cells]
            alike = np.flatnonzero(found == marks)
            yield from zip(left[alike].tolist(), self._places[cells[alike]].tolist(), strict=True)
            going_on = np.flatnonzero(found != _EMPTY)
            left, marks, cells = left[going_on], marks[going_on], (cells[going_on] + 1) % self._cells
        for at, cell, mark in zip(left.tolist(), cells.tolist(), marks.tolist(), strict=True):
            yield from ((at, place) for place in self._look_from(cell, mark))

    def add(self, hashes: Hashes, places: PlaceNumbers) -> None:
        """Take places; there must be cells for them."""
        self._taken += hashes.size
        cells, marks = self._first_cells(hashes), _marks(hashes)
        while hashes.size > _ONE_BY_ONE:
            # Several may want one cell: the last one written has it, and the others see that they have not.
            free = np.flatnonzero(self._marks[cells] == _EMPTY)
            self._places[cells[free]] = places[free]
            settled = free[self._places[cells[free]] == places[free]]
            self._marks[cells[settled]] = marks[settled]
            going_on = np.ones(hashes.size, np.bool_)
            going_on[settled] = False
            hashes, places, marks = hashes[going_on], places[going_on], marks[going_on]
            cells = (cells[going_on] + 1) % self._cells
        for cell, mark, place in zip(cells.tolist(), marks.tolist(), places.tolist(), strict=True):
            self._put(cell, mark, place)

    def remove(self, hashes: Hashes, places: PlaceNumbers) -> None:
        """Take places away that were added with these hashes."""
        cells = self._first_cells(hashes)
        while places.size:
            marks = self._marks[cells]
            here = (self._places[cells] == places) & (marks > _REMOVED)
            self._marks[cells[here]] = _REMOVED
            going_on = ~here & (marks != _EMPTY)
            places, cells = places[going_on], (cells[going_on] + 1) % self._cells

    def _first_cells(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        return (hashes % np.uint64(self._cells)).astype(np.int64)

    def _look_from(self, cell: int, mark: int) -> Iterator[int]:
        marks, places = self._marks.data, self._places.data
        while found := marks[cell]:
            if found == mark:
                yield places[cell]
            cell = cell + 1 if cell + 1 < self._cells else 0

    def _put(self, cell: int, mark: int, place: int) -> None:
        while self._marks[cell]:
            cell = cell + 1 if cell + 1 < self._cells else 0
        self._places[cell] = place
        self._marks[cell] = mark


def _marks(hashes: Hashes) -> npt.NDArray[np.uint8]:
    return ((hashes >> np.uint64(56)) % np.uint64(_MARKS) + np.uint64(_FIRST_MARK)).astype(np.uint8)
