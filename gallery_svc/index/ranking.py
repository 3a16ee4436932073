"""The last step of every search: candidates by exact scores, one hit a subject, in the one order that there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gallery_svc.index.batches import Candidates
from gallery_svc.index.protocol import Hit
from gallery_svc.index.texts import Places
from gallery_svc.index.widening import SCALE, widened
from gallery_svc.rows import HalfVectors
from tessera.domain.embedding import Vectors

Scores = npt.NDArray[np.float64]
_ROWS_AT_A_TIME = 8192


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
    products = np.sum(rows * probes.astype(np.float64), axis=1)
    scores: Scores = np.clip(products / np.sqrt(np.sum(rows * rows, axis=1)), -1.0, 1.0)
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Candidates of all pieces as columns, sorted by probe and then by falling score."""

    piece: Places
    probe: Places
    row: Places
    score: Scores


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
    table = _table(candidates, probes)
    bounds = np.searchsorted(table.probe, np.arange(len(probes) + 1)).tolist()
    alike = (table.score[1:] == table.score[:-1]) & (table.probe[1:] == table.probe[:-1])
    several = any(found.piece.segment.has_several for found in candidates)
    simple = not several and not alike.any()
    hits = []
    for first, end in pairwise(bounds):
        if simple or not (several or alike[first : max(first, end - 1)].any()):
            hits.append(_hits(table, candidates, first, min(end, first + limit)))
        else:
            hits.append(_one_each(_hits(table, candidates, first, end), limit))
    return hits


def _table(candidates: Sequence[Candidates], probes: Vectors) -> _Table:
    probe = np.concatenate([found.probes for found in candidates])
    row = np.concatenate([found.rows for found in candidates])
    piece = np.repeat(np.arange(len(candidates)), [found.rows.size for found in candidates])
    score = np.concatenate([_scores(found, probes) for found in candidates])
    order = np.lexsort((-score, probe))
    return _Table(piece[order], probe[order], row[order], score[order])


def _scores(found: Candidates, probes: Vectors) -> Scores:
    scores = np.empty(found.rows.size)
    halves = found.piece.segment.halves
    for first in range(0, found.rows.size, _ROWS_AT_A_TIME):
        part = slice(first, first + _ROWS_AT_A_TIME)
        scores[part] = exact_scores(halves[found.rows[part]], probes[found.probes[part]])
    return scores


def _hits(table: _Table, candidates: Sequence[Candidates], first: int, end: int) -> list[Hit]:
    columns = (table.piece[first:end].tolist(), table.row[first:end].tolist(), table.score[first:end].tolist())
    hits = []
    for piece, row, score in zip(*columns, strict=True):
        segment = candidates[piece].piece.segment
        begin = segment.first_row(row)
        hits.append(Hit(segment.subject_id(begin), segment.template_id(row), score, segment.name(begin)))
    return hits


def _one_each(hits: list[Hit], limit: int) -> list[Hit]:
    best: dict[str, Hit] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.score, hit.subject_id, hit.template_id)):
        best.setdefault(hit.subject_id, hit)
    return list(best.values())[:limit]
