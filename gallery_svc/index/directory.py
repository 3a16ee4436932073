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

Hashes = npt.NDArray[np.uint64]
PlaceNumbers = npt.NDArray[np.uint32]

_EMPTY, _REMOVED = 0, 1
_FIRST_CELLS = 1024
_FULL = 0.85
_FULL_AT_FIRST = 0.6
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


def hashes_of(packed_ids: Sequence[bytes]) -> Hashes:
    """Python's own hash, seeded by chance in each process, so that nobody can choose ids that collide."""
    return np.fromiter(map(hash, packed_ids), np.int64, len(packed_ids)).view(np.uint64)


class Directory:
    """A hash table of places. One writer; readers at any time.

    Args:
        cells: so many at first.
    """

    def __init__(self, cells: int = _FIRST_CELLS) -> None:
        self._cells = cells
        self._marks: npt.NDArray[np.uint8] = block(cells, np.uint8)
        self._places: PlaceNumbers = block(cells, np.uint32)
        self._looked_at = self._marks.data, self._places.data
        self._taken = 0

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
            cells = cells * 2 if cells < 1 << 16 else cells * 3 // 2
        return Directory(cells)

    def look(self, packed_id: bytes) -> Iterator[int]:
        """The places where a subject of this id may begin."""
        hashed = hash(packed_id) & 0xFFFFFFFFFFFFFFFF
        mark, cell = _mark(hashed), hashed % self._cells
        marks, places = self._looked_at
        while found := marks[cell]:
            if found == mark:
                yield places[cell]
            cell = cell + 1 if cell + 1 < self._cells else 0

    def look_all(self, hashes: Hashes) -> Iterator[tuple[int, int]]:
        """As `look` for many: which of them, and a place where it may begin."""
        cells, marks = (hashes % np.uint64(self._cells)).astype(np.int64), _marks(hashes)
        left = np.arange(hashes.size)
        while left.size:
            found = self._marks[cells[left]]
            alike = left[found == marks[left]]
            yield from zip(alike.tolist(), self._places[cells[alike]].tolist(), strict=True)
            left = left[found != _EMPTY]
            cells[left] = (cells[left] + 1) % self._cells

    def add(self, hashes: Hashes, places: PlaceNumbers) -> None:
        """Take places; there must be cells for them."""
        cells, marks = (hashes % np.uint64(self._cells)).astype(np.int64), _marks(hashes)
        left = np.arange(hashes.size)
        while left.size:
            free = left[self._marks[cells[left]] == _EMPTY]
            # Several may want one cell: the last one written has it, and the others see that they have not.
            self._places[cells[free]] = places[free]
            settled = free[self._places[cells[free]] == places[free]]
            self._marks[cells[settled]] = marks[settled]
            waits = np.ones(hashes.size, np.bool_)
            waits[settled] = False
            left = left[waits[left]]
            cells[left] = (cells[left] + 1) % self._cells
        self._taken += hashes.size

    def remove(self, hashes: Hashes, places: PlaceNumbers) -> None:
        """Take places away that were added with these hashes."""
        cells = (hashes % np.uint64(self._cells)).astype(np.int64)
        left = np.arange(hashes.size)
        while left.size:
            marks = self._marks[cells[left]]
            here = (self._places[cells[left]] == places[left]) & (marks > _REMOVED)
            self._marks[cells[left[here]]] = _REMOVED
            left = left[~here & (marks != _EMPTY)]
            cells[left] = (cells[left] + 1) % self._cells


def _mark(hashed: int) -> int:
    return (hashed >> 56) % 254 + 2


def _marks(hashes: Hashes) -> npt.NDArray[np.uint8]:
    return ((hashes >> np.uint64(56)) % np.uint64(254) + np.uint64(2)).astype(np.uint8)
