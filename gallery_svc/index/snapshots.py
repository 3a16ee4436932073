"""One state of the index, and the ways to search it: quickly by a bound, in batches, and at worst row by row.

Each way hands candidates to the ranking and says from which score on they are complete. When the last hit of an answer
is not above that, rows may be missing, and the search goes through everything: so a limit is always honoured, whatever
the filter and however many templates a subject has.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from gallery_svc.index.batches import Candidates, Gathered, gather
from gallery_svc.index.directory import Directory, segment_and_row
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.index.ranking import ranked
from gallery_svc.index.segments import Approximate, Piece, Segment
from gallery_svc.index.texts import Places
from gallery_svc.index.widening import SCALE, widened
from tessera.domain.embedding import Vector, Vectors

MIN_BATCH = 4
"""Probes from which on a matrix product is quicker than a scan for each."""
MAX_BATCH = 64
_FEW = 4
"""With no more rows than this times the limit, all of them are ranked."""
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One state; never changed."""

    segments: tuple[Segment | None, ...] = ()
    """By their numbers; None where one went."""
    tail: int = -1
    """The number of the segment that takes new rows; -1: there is none."""

    @property
    def templates(self) -> int:
        """Rows that may be found."""
        return sum(segment.live_rows for segment in self.segments if segment is not None)

    @property
    def subjects(self) -> int:
        """Subjects with at least one row."""
        return sum(segment.live_subjects for segment in self.segments if segment is not None)

    @property
    def dimensions(self) -> int | None:
        """Of each vector; None while there is none."""
        return next((segment.halves.shape[1] for segment in self.segments if segment is not None), None)

    def find(self, directory: Directory, packed_id: bytes) -> int | None:
        """The place where a subject begins."""
        return next((place for place in directory.look(packed_id) if self.holds(place, packed_id)), None)

    def holds(self, place: int, packed_id: bytes) -> bool:
        """Whether a subject of that id begins at this place."""
        number, row = segment_and_row(place)
        segment = self.segments[number] if number < len(self.segments) else None
        return segment is not None and segment.holds(row, packed_id)

    def at(self, place: int) -> tuple[Segment, int]:
        """The segment and the row of a place that `find` gave."""
        number, row = segment_and_row(place)
        segment = self.segments[number]
        if segment is None:
            raise LookupError(place)
        return segment, row

    def search(self, probes: Vectors, limit: int, wanted: Wanted, helpers: Sequence[Executor] = ()) -> list[list[Hit]]:
        """The best subjects for each probe; see `Index.search`.

        Args:
            probes: shape (n, d).
            limit: at least 1.
            wanted: who may be found.
            helpers: threads that take a part of a batch each.
        """
        pieces = self._pieces(wanted)
        rows = sum(piece.count for piece in pieces)
        if rows <= _FEW * limit:
            return [_thorough(pieces, probe, limit) for probe in probes]
        if len(probes) < MIN_BATCH:
            return [self._one(pieces, probe, limit) for probe in probes]
        found: list[list[Hit]] = []
        for first in range(0, len(probes), MAX_BATCH):
            found += self._batch(pieces, probes[first : first + MAX_BATCH], limit, helpers)
        return found

    def _pieces(self, wanted: Wanted) -> list[Piece]:
        pieces = []
        for segment in self.segments:
            if segment is not None:
                mask = segment.masks.mask_of(segment, wanted)
                if mask is None or mask.count:
                    pieces.append(Piece(segment, mask, 0, segment.rows))
        return pieces

    def _rows_for(self, limit: int) -> int:
        """Among so many of the best rows there usually are `limit` subjects."""
        templates, subjects = self.templates, self.subjects
        return limit if templates == subjects else limit * -(-2 * templates // subjects) + 8

    def _one(self, pieces: Sequence[Piece], probe: Vector, limit: int) -> list[Hit]:
        count = self._rows_for(limit) + limit // 2 + 8
        return _complete(_quick(pieces, probe, count), pieces, probe[np.newaxis], limit)[0]

    def _batch(
        self, pieces: Sequence[Piece], probes: Vectors, limit: int, helpers: Sequence[Executor]
    ) -> list[list[Hit]]:
        gathered = _together(pieces, probes, self._rows_for(limit), helpers)
        return _complete(gathered, pieces, probes, limit)


def _complete(gathered: Gathered, pieces: Sequence[Piece], probes: Vectors, limit: int) -> list[list[Hit]]:
    found = ranked(gathered.candidates, probes, limit)
    for at, (hits, certain_from) in enumerate(zip(found, gathered.certain_from.tolist(), strict=True)):
        if len(hits) < limit or hits[-1].score < certain_from:
            found[at] = _thorough(pieces, probes[at], limit)
    return found


def _quick(pieces: Sequence[Piece], probe: Vector, count: int) -> Gathered:
    """The best rows of each piece by approximate scores: what was left out is no better than the last of them."""
    bound, slack, candidates = -np.inf, 0.0, []
    for piece in pieces:
        rows, scores = piece.segment.nearest(probe, count, piece.mask)
        candidates.append(Candidates(piece, np.zeros(rows.size, np.int64), rows))
        slack = max(slack, piece.segment.slack)
        if rows.size < piece.count:
            bound = max(bound, float(scores[-1]))
    return Gathered(candidates, np.nextafter([bound + slack], np.inf))


def _together(pieces: Sequence[Piece], probes: Vectors, count: int, helpers: Sequence[Executor]) -> Gathered:
    shares = _shares(pieces, 1 + len(helpers))
    waiting: list[Future[Gathered]] = [
        helper.submit(gather, share, probes, count) for helper, share in zip(helpers, shares[1:], strict=False)
    ]
    parts = [gather(shares[0], probes, count), *(future.result() for future in waiting)]
    candidates = [found for part in parts for found in part.candidates]
    return Gathered(candidates, np.max([part.certain_from for part in parts], axis=0))


def _shares(pieces: Sequence[Piece], parts: int) -> list[list[Piece]]:
    return [list(pieces)]


def _thorough(pieces: Sequence[Piece], probe: Vector, limit: int) -> list[Hit]:
    """All rows, by approximate scores; then those that may be among the best subjects' rows."""
    scored = [(piece, *_all_scores(piece, probe)) for piece in pieces]
    best = [_best_of_each(piece, rows, scores) for piece, rows, scores in scored]
    floor = -np.inf
    subjects = sum(of_piece.size for of_piece in best)
    if subjects > limit:
        everyone = np.concatenate(best)
        slack = max(piece.segment.slack for piece in pieces)
        floor = float(np.partition(everyone, subjects - limit)[subjects - limit]) - 2 * slack
    candidates = []
    for piece, rows, scores in scored:
        near = rows[scores >= floor]
        candidates.append(Candidates(piece, np.zeros(near.size, np.int64), near))
    return ranked(candidates, probe[np.newaxis], limit)[0]


def _all_scores(piece: Piece, probe: Vector) -> tuple[Places, Approximate]:
    rows = np.arange(piece.first, piece.end)
    if piece.mask is not None:
        rows = rows[piece.mask.flags[piece.first : piece.end]]
    scores, scaled = np.empty(rows.size, np.float32), probe * SCALE
    for first in range(0, rows.size, _ROWS_AT_A_TIME):
        part = rows[first : first + _ROWS_AT_A_TIME]
        np.dot(widened(piece.segment.halves[part]), scaled, out=scores[first : first + part.size])
    return rows, scores


def _best_of_each(piece: Piece, rows: Places, scores: Approximate) -> Approximate:
    if not piece.segment.has_several:
        return scores
    # Of a subject, all rows may be found or none, so that what begins with one ends before the next.
    best: Approximate = np.maximum.reduceat(scores, np.flatnonzero(piece.segment.begins(rows)))
    return best
