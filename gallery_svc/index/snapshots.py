"""One state of the index, and the ways to search it: quickly by a bound, in batches, and at worst row by row.

Each way hands candidates to the ranking and says from which score on they are complete. When the last hit of an answer
is not above that, rows may be missing, and the search goes through everything: so a limit is always honoured, whatever
the filter and however many templates a subject has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gallery_svc.index.batches import Candidates, Gathered, gather
from gallery_svc.index.directory import Directory, segment_and_row
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.index.ranking import ranked
from gallery_svc.index.segments import Approximate, Piece, Segment
from gallery_svc.index.texts import Places
from gallery_svc.index.widening import SCALE, widened
from tessera.domain.embedding import Vector, Vectors

MIN_BATCH = 6
"""Probes from which on a matrix product is quicker than a scan for each."""
MAX_BATCH = 64
_FEW = 4
"""With no more rows than this times the limit, all of them are ranked."""
_ROWS_AT_A_TIME = 4096
_WORTH_SHARING = 16_384
"""Rows from which on another thread is asked to help: about half a millisecond for one probe."""
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One state; never changed."""

    segments: tuple[Segment | None, ...] = ()
    """By their numbers; None where one went."""
    tail: int = -1
    """The number of the segment that takes new rows; -1: there is none."""
    templates: int = 0
    """Rows that may be found."""
    subjects: int = 0
    """Subjects with at least one row."""

    @property
    def dimensions(self) -> int | None:
        """Of each vector; None while there is none."""
        return next((segment.halves.shape[1] for segment in self.segments if segment is not None), None)

    def find(self, directory: Directory, subject_id: str) -> int | None:
        """The place where a subject begins."""
        return next((place for place in directory.look(subject_id) if self.holds(place, subject_id)), None)

    def holds(self, place: int, subject_id: str) -> bool:
        """Whether a subject of that id begins at this place."""
        number, row = segment_and_row(place)
        segment = self.segments[number] if number < len(self.segments) else None
        return segment is not None and segment.holds(row, subject_id)

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
            return [self._one(pieces, probe, limit, helpers) for probe in probes]
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

    def _one(self, pieces: Sequence[Piece], probe: Vector, limit: int, helpers: Sequence[Executor]) -> list[Hit]:
        count = self._rows_for(limit) + limit // 4 + 8
        return _complete(_quick(pieces, probe, count, helpers), pieces, probe[np.newaxis], limit)[0]

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


def _quick(pieces: Sequence[Piece], probe: Vector, count: int, helpers: Sequence[Executor]) -> Gathered:
    """The best rows of each piece by approximate scores: what was left out is no better than the last of them."""

    def look(share: Sequence[Piece]) -> list[tuple[Piece, Places, Approximate]]:
        return [(piece, *piece.nearest(probe, count)) for piece in share]

    found = [each for part in _shared(look, pieces, helpers) for each in part]
    bound = max((float(scores[-1]) for piece, _, scores in found if scores.size < piece.count), default=-np.inf)
    if len(found) > 1:
        everywhere = sorted((score for _, _, scores in found for score in scores.tolist()), reverse=True)
        bound = max(bound, *everywhere[count : count + 1], -np.inf)
    candidates = []
    for piece, rows, scores in found:
        if near := int(np.count_nonzero(scores > bound)):  # they fall
            candidates.append(Candidates(piece, np.zeros(near, np.int64), rows[:near]))
    slack = max(piece.segment.slack for piece in pieces)
    return Gathered(candidates, np.nextafter([bound + slack], np.inf))


def _together(pieces: Sequence[Piece], probes: Vectors, count: int, helpers: Sequence[Executor]) -> Gathered:
    parts = _shared(lambda share: gather(share, probes, count), pieces, helpers)
    candidates = [found for part in parts for found in part.candidates]
    return Gathered(candidates, np.max([part.certain_from for part in parts], axis=0))


def _shared(
    work: Callable[[Sequence[Piece]], Part], pieces: Sequence[Piece], helpers: Sequence[Executor]
) -> list[Part]:
    """Work on pieces, shared between this thread and the helpers; what no helper began to do is done here."""
    if not helpers or sum(piece.count for piece in pieces) < _WORTH_SHARING:
        return [work(pieces)]
    own, *others = _shares(pieces, 1 + len(helpers))
    given = [(helper.submit(work, share), share) for helper, share in zip(helpers, others, strict=False)]
    parts = [work(own)]
    for future, share in given:
        parts.append(work(share) if future.cancel() else future.result())
    return parts


def _shares(pieces: Sequence[Piece], parts: int) -> list[list[Piece]]:
    """Pieces in as many parts of about as many rows; a piece of which not all rows may be found is not cut."""
    share = -(-sum(piece.count for piece in pieces) // parts)
    shares: list[list[Piece]] = [[]]
    room = share
    for piece in pieces:
        left = piece
        while left.mask is None and left.count > room > 0 and len(shares) < parts:
            cut = left.first + room
            shares[-1].append(Piece(left.segment, None, left.first, cut))
            left, room = Piece(left.segment, None, cut, left.end), share
            shares.append([])
        if room <= 0 and len(shares) < parts:
            shares.append([])
            room = share
        shares[-1].append(left)
        room -= left.count
    return shares


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
