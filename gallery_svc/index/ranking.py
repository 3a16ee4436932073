"""The last step of every search: candidates by exact scores, one hit a subject, in the one order that there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gallery_svc.index.batches import Candidates
from gallery_svc.index.protocol import Hit
from gallery_svc.index.segments import Segment
from gallery_svc.index.texts import Places
from gallery_svc.index.widening import SCALE, widened
from gallery_svc.rows import HalfVectors
from tessera.domain.embedding import Vector, Vectors
from tessera.domain.ids import SubjectId, TemplateId

Scores = npt.NDArray[np.float64]
_ROWS_AT_A_TIME = 8192
_FEW = 256


def exact_scores(halves: HalfVectors, probes: Vectors) -> Scores:
    """Cosine similarities in float64 of float16 rows with float32 probes, in [-1, 1].

    A row is divided by its own length, a probe is taken to have length 1. Summed row by row: the same row has the same
    score wherever it stands, which a matrix product does not promise.

    Args:
        halves: shape (n, d).
        probes: shape (n, d), or (d,) for all.

    Returns:
        Shape (n,).
    """
    rows = (widened(halves) * SCALE).astype(np.float64)
    products = rows * probes.astype(np.float64)
    # For a single row, `np.sum` and `np.clip` take several times as long as the ufuncs that they end up with.
    sums = np.add.reduce(products, axis=1)
    scores: Scores = sums / np.sqrt(np.add.reduce(np.multiply(rows, rows, out=rows), axis=1))
    return np.minimum(np.maximum(scores, -1.0, out=scores), 1.0, out=scores)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Candidates of all pieces as columns, sorted by probe and then by falling score."""

    piece: Places
    probe: Places
    row: Places
    score: Scores

    def taken(self, at: Places) -> _Table:
        """Some of them."""
        return _Table(self.piece[at], self.probe[at], self.row[at], self.score[at])


def ranked(candidates: Sequence[Candidates], probes: Vectors, limit: int) -> list[list[Hit]]:
    """The best `limit` subjects among the candidates of each probe.

    Args:
        candidates: of any pieces; a subject's rows are all in one piece.
        probes: shape (n, d).
        limit: at least 1.

    Returns:
        For each probe its hits by falling score; equal ones by subject id and then template id.
    """
    if not candidates:
        return [[] for _ in probes]
    if len(probes) == 1 and sum(found.rows.size for found in candidates) <= _FEW:
        return [_few_ranked(candidates, probes[0], limit)]
    table = _table(candidates, probes)
    bounds = np.searchsorted(table.probe, np.arange(len(probes) + 1))
    # Where a subject has one row and no two scores are alike, the order is there already, and the rest need no names.
    ties = (table.score[1:] == table.score[:-1]) & (table.probe[1:] == table.probe[:-1])
    unclear = np.zeros(len(probes), np.bool_)
    unclear[table.probe[1:][ties]] = True
    unclear |= any(found.piece.segment.has_several for found in candidates)
    kept = (np.arange(table.probe.size) - bounds[table.probe] < limit) | unclear[table.probe]
    table = table.taken(np.flatnonzero(kept))
    hits = _hits(table, [found.piece.segment for found in candidates])
    ends = np.searchsorted(table.probe, np.arange(len(probes) + 1)).tolist()
    of_probe = [hits[first:end] for first, end in pairwise(ends)]
    return [_one_each(found, limit) if ask else found for found, ask in zip(of_probe, unclear.tolist(), strict=True)]


def _few_ranked(candidates: Sequence[Candidates], probe: Vector, limit: int) -> list[Hit]:
    """As `ranked` for one probe: after a scan that emptied the caches, each call into NumPy costs 10 us."""
    halves = [found.piece.segment.halves[found.rows] for found in candidates]
    scores = exact_scores(np.concatenate(halves) if len(halves) > 1 else halves[0], probe).tolist()
    places = [(found.piece.segment, row) for found in candidates for row in found.rows.tolist()]
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    unclear = any(scores[one] == scores[next_] for one, next_ in pairwise(order[: limit + 1]))
    if unclear or any(found.piece.segment.has_several for found in candidates):
        return _one_each([places[at][0].hit(places[at][1], scores[at]) for at in order], limit)
    return [places[at][0].hit(places[at][1], scores[at]) for at in order[:limit]]


def _table(candidates: Sequence[Candidates], probes: Vectors) -> _Table:
    probe = np.concatenate([found.probes for found in candidates])
    row = np.concatenate([found.rows for found in candidates])
    piece = np.repeat(np.arange(len(candidates)), [found.rows.size for found in candidates])
    score = _scores(candidates, probe, probes)
    return _Table(piece, probe, row, score).taken(np.lexsort((-score, probe)))


def _scores(candidates: Sequence[Candidates], probe: Places, probes: Vectors) -> Scores:
    if probe.size <= _ROWS_AT_A_TIME:
        halves = [found.piece.segment.halves[found.rows] for found in candidates]
        return exact_scores(np.concatenate(halves), probes[probe])
    scores, at = np.empty(probe.size), 0
    for found in candidates:
        for first in range(0, found.rows.size, _ROWS_AT_A_TIME):
            rows = found.rows[first : first + _ROWS_AT_A_TIME]
            end = at + rows.size
            scores[at:end] = exact_scores(found.piece.segment.halves[rows], probes[probe[at:end]])
            at = end
    return scores


def _hits(table: _Table, segments: Sequence[Segment]) -> list[Hit]:
    by_piece = np.argsort(table.piece, kind="stable")
    bounds = np.searchsorted(table.piece[by_piece], np.arange(len(segments) + 1)).tolist()
    told: list[tuple[SubjectId, TemplateId, str]] = []
    for segment, (first, end) in zip(segments, pairwise(bounds), strict=True):
        told += segment.told(table.row[by_piece[first:end]])
    hits = [
        Hit(subject_id, template_id, score, name)
        for (subject_id, template_id, name), score in zip(told, table.score[by_piece].tolist(), strict=True)
    ]
    return [hits[at] for at in np.argsort(by_piece).tolist()]


def _one_each(hits: list[Hit], limit: int) -> list[Hit]:
    best: dict[str, Hit] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.score, hit.subject_id, hit.template_id)):
        best.setdefault(hit.subject_id, hit)
    return list(best.values())[:limit]
