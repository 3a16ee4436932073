"""Which of the subjects that a scan shows came before: a scan may show one twice, when its hash grows or shrinks.

Only a hash of each is kept, so that a million take 16 MB. Two subjects of one hash come once in tens of millions of
loads; the load then misses one of them, and is refused, since its tags do not fold to what the shard's head says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FIRST_CELLS = 1024
_FULL = 0.6
_EMPTY = np.uint64(0)

Hashes = npt.NDArray[np.int64]
Marks = npt.NDArray[np.uint64]


class FirstSeen:
    """The subjects of one scan.

    Args:
        expected: about so many.
    """

    def __init__(self, expected: int = 0) -> None:
        self._taken = 0
        self._make_cells(expected)

    def take_all(self, hashes: Hashes) -> bool:
        """Take note of these, if all of them come for the first time.

        Args:
            hashes: shape (n,).

        Returns:
            Whether they do; if not, nothing is noted.
        """
        marks = _marks(hashes)
        are_new = not self._knows_any(marks)
        if are_new:
            self._make_room(marks.size)
            self._put(marks)
        return are_new

    def take(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Take note of some.

        Args:
            hashes: shape (n,).

        Returns:
            Shape (n,): who comes for the first time.
        """
        marks = _marks(hashes)
        self._make_room(marks.size)
        first = np.zeros(marks.size, np.bool_)
        at = np.unique(marks, return_index=True)[1]
        first[at] = self._put(marks[at])
        return first

    def _knows_any(self, marks: Marks) -> bool:
        """Whether one of these came before, or comes twice among them."""
        ordered = np.sort(marks)
        if (ordered[1:] == ordered[:-1]).any():
            return True
        cells = self._first_cells(marks)
        while marks.size:
            found = self._cells[cells]
            if (found == marks).any():
                return True
            taken = found != _EMPTY
            marks, cells = marks[taken], self._next_cells(cells[taken])
        return False

    def _put(self, marks: Marks) -> npt.NDArray[np.bool_]:
        """Put marks that differ into their cells; which of them were not there."""
        new = np.ones(marks.size, np.bool_)
        left, cells = np.arange(marks.size), self._first_cells(marks)
        while left.size:
            wanted = marks[left]
            found = self._cells[cells]
            new[left[found == wanted]] = False
            free = found == _EMPTY
            # Several may want one cell: the last one written has it, and the others see that they have not.
            self._cells[cells[free]] = wanted[free]
            going_on = self._cells[cells] != wanted
            left, cells = left[going_on], self._next_cells(cells[going_on])
        self._taken += int(np.count_nonzero(new))
        return new

    def _make_room(self, more: int) -> None:
        if self._taken + more > _FULL * self._cells.size:
            kept, self._taken = self._cells[self._cells != _EMPTY], 0
            self._make_cells(2 * (kept.size + more))
            self._put(kept)

    def _make_cells(self, expected: int) -> None:
        cells = _FIRST_CELLS
        while cells * _FULL < expected:
            cells *= 2
        self._cells: Marks = np.zeros(cells, np.uint64)

    def _first_cells(self, marks: Marks) -> npt.NDArray[np.int64]:
        return (marks & np.uint64(self._cells.size - 1)).astype(np.int64)

    def _next_cells(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return (cells + 1) & (self._cells.size - 1)


def _marks(hashes: Hashes) -> Marks:
    """Hashes without that one that says of a cell that it is empty."""
    marks: Marks = hashes.view(np.uint64) | (hashes == 0)
    return marks
