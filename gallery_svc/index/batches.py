"""Many probes at once: one pass over the rows by matrix products that keep only the best of each few rows, and then a
look at those few that can still matter.

The first pass gives the largest score of each *group* of 8 rows, and with them a *floor*: when n groups have a score of
at least f, then the best n rows have too, and a row below f need not be looked at. All groups at or above the floor are
scored again, row by row. Nothing is lost: the floor is lowered by what an approximate score can be off. What comes out
are candidates; the ranking by exact scores decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gallery_svc.index.products import Products
from gallery_svc.index.segments import Approximate, Piece
from gallery_svc.index.texts import Places
from gallery_svc.index.widening import SCALE, widened
from gallery_svc.rows import HalfVectors
from tessera.domain.embedding import Vectors

CHUNK_NUMBERS = 98_304
MAX_CHUNK_ROWS = 768
"""Numbers and rows that are widened at a time: with their products they stay in the second cache."""
GROUP_ROWS = 8
_COARSE_GROUPS = 64
"""The floor is found from joined groups, so many for each that is asked for: more change it by less than a row."""
_GATHERED_SHARE = 0.5
"""Where fewer of the rows may be found, they are copied together before they are multiplied."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Rows of one piece that may belong to an answer."""

    piece: Piece
    probes: Places
    """Which probe each is for."""
    rows: Places


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Candidates from everywhere, and how far they reach."""

    candidates: Sequence[Candidates]
    certain_from: npt.NDArray[np.float64]
    """Shape (probes,): every row whose exact score is at least this is among them."""


def gather(pieces: Iterable[Piece], probes: Vectors, count: int) -> Gathered:
    """The rows among which, for each probe, the `count` best ones surely are, and all that equal the last of them.

    Args:
        pieces: what to look through.
        probes: shape (n, d).
        count: at least 1.
    """
    scan = _Scan(probes, count)
    for piece in pieces:
        scan.look_at(piece)
    return Gathered(scan.candidates(), scan.certain_from())


class _Source:
    """The rows of a piece in the order in which they are multiplied: all of them, or those that may be found."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.rows = piece.end - piece.first
        self._halves = piece.segment.halves[piece.first : piece.end]
        self._flags = None if piece.mask is None else piece.mask.flags
        self._some: Places | None = None
        self._hidden: Places = np.empty(0, np.int64)
        if self._flags is not None:
            some = np.flatnonzero(self._flags)
            if some.size < _GATHERED_SHARE * self.rows:
                self._some, self.rows = some, some.size
            else:
                self._hidden = np.flatnonzero(~self._flags)
        self.hides = self._hidden.size > 0

    def halves(self, first: int, end: int) -> HalfVectors:
        """Rows at some positions, or as many as there are."""
        return self._halves[first:end] if self._some is None else self._halves[self._some[first:end]]

    def hide(self, scores: Approximate, first: int) -> None:
        """Overwrite the scores of rows that may not be found."""
        begin, end = np.searchsorted(self._hidden, (first, first + len(scores)))
        scores[self._hidden[begin:end] - first] = -np.inf

    def rows_at(self, positions: Places) -> Places:
        """Which rows of the segment they are."""
        return positions + self.piece.first if self._some is None else self._some[positions]

    def may_be_found(self, rows: Places) -> npt.NDArray[np.bool_] | bool:
        """Which of the rows may."""
        return True if self._flags is None else self._flags[rows]


@dataclass(frozen=True, slots=True, eq=False)
class _Marked:
    """Groups that were at or above the floor when they were met."""

    source: _Source
    positions: Places
    """Of each group's first row."""
    probes: Places
    best: Approximate


class _Scan:
    """One pass over rows for some probes."""

    def __init__(self, probes: Vectors, count: int) -> None:
        self._count = count
        self._probes = probes * SCALE
        number, dimensions = probes.shape
        self._chunk = max(GROUP_ROWS, min(MAX_CHUNK_ROWS, CHUNK_NUMBERS // dimensions // GROUP_ROWS * GROUP_ROWS))
        self._strides = self._chunk // GROUP_ROWS
        self._products = Products(probes, self._chunk)
        self._grouped = self._products.scores.reshape(GROUP_ROWS, -1)
        self._maxima: Approximate = np.empty((0, self._grouped.shape[1]), np.float32)
        self._best = np.full((number, count), -np.inf, np.float32)
        self._slack = 0.0
        self._marked: list[_Marked] = []

    def look_at(self, piece: Piece) -> None:
        """Score all rows of a piece, and mark the groups that can matter."""
        self._slack = max(self._slack, piece.segment.slack)
        source = _Source(piece)
        chunks = -(-source.rows // self._chunk)
        if chunks > len(self._maxima):
            self._maxima = np.empty((chunks, self._grouped.shape[1]), np.float32)
        maxima = self._maxima[:chunks]
        for first, best in zip(range(0, source.rows, self._chunk), maxima, strict=True):
            scores = self._products.of(source.halves(first, first + self._chunk))
            if source.hides:
                source.hide(scores, first)
            np.maximum.reduce(self._grouped, axis=0, out=best)
        if chunks:
            self._mark(source, maxima.reshape(chunks, self._strides, -1))

    def certain_from(self) -> npt.NDArray[np.float64]:
        """See `Gathered`; a row that was left out is below the floor less twice the slack, and off by one slack."""
        reached: npt.NDArray[np.float64] = self._best.min(axis=1).astype(np.float64) - self._slack
        return reached

    def candidates(self) -> list[Candidates]:
        """The rows of marked groups that are at or above what the floor has become."""
        return [found for marked in self._marked if (found := self._rows_of(marked)) is not None]

    @property
    def _floor(self) -> Approximate:
        floor: Approximate = self._best.min(axis=1) - np.float32(2 * self._slack)
        return floor

    def _mark(self, source: _Source, maxima: Approximate) -> None:
        chunks, strides, number = maxima.shape
        joined = max(1, chunks * strides // (_COARSE_GROUPS * self._count))
        coarse = np.concatenate([maxima[at : at + joined].max(axis=0) for at in range(0, chunks, joined)])
        self._raise_floor(coarse)
        floor = self._floor
        cell, probe = np.divmod(np.flatnonzero(coarse >= floor), number)
        part, stride = np.divmod(cell, strides)
        chunk = part[:, np.newaxis] * joined + np.arange(joined)
        best = maxima[np.minimum(chunk, chunks - 1), stride[:, np.newaxis], probe[:, np.newaxis]]
        at, of = np.nonzero((best >= floor[probe][:, np.newaxis]) & (chunk < chunks))
        self._marked.append(_Marked(source, chunk[at, of] * self._chunk + stride[at], probe[at], best[at, of]))

    def _raise_floor(self, coarse: Approximate) -> None:
        both = np.concatenate((self._best, coarse.T), axis=1)
        self._best = np.partition(both, both.shape[1] - self._count, axis=1)[:, -self._count :]

    def _rows_of(self, marked: _Marked) -> Candidates | None:
        floor = self._floor
        kept = np.flatnonzero(marked.best >= floor[marked.probes])
        if not kept.size:
            return None
        source, probes = marked.source, marked.probes[kept]
        positions = marked.positions[kept, np.newaxis] + np.arange(GROUP_ROWS) * self._strides
        rows = source.rows_at(np.minimum(positions, source.rows - 1))
        wide = widened(source.piece.segment.halves[rows.ravel()]).reshape(*rows.shape, -1)
        scores = np.matmul(wide, self._probes[probes][:, :, np.newaxis])[:, :, 0]
        fits = (scores >= floor[probes][:, np.newaxis]) & (positions < source.rows) & source.may_be_found(rows)
        at, of = np.nonzero(fits)
        return Candidates(source.piece, probes[at], rows[at, of])
