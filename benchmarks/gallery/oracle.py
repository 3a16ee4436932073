"""Every answer against float64: 10,000 probes, one row in a hundred a copy of another, every limit from 1 to 100.

The oracle compares everything with everything by one float64 matrix product, and then gives equal rows equal scores by
summing those row by row that can matter. Subjects, templates and their order must be the same; scores to the last bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.gallery import data
from benchmarks.gallery.plan import Plan, Story
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import Hit
from gallery_svc.rows import HalfVectors, half
from tessera.domain.embedding import Vector, Vectors

TEMPLATES = 20_000
PROBES = 10_000
MAX_LIMIT = 100
COPIES = 0.01
_TOGETHER = 64
_SINGLES_EVERY = 10
"""Of so many batches, one is asked probe by probe: the other way through the index."""
_SCORE_BAR = 1e-12
_ROUGH = 2e-3
"""Twice what rounding to float16 can change the length of a row by."""
Numbers = npt.NDArray[np.int64]
Wide = npt.NDArray[np.float64]


def oracle(plan: Plan) -> Story:
    """Count the answers that differ, of searches one by one and together."""
    story = Story()
    rows = rows_with_copies(plan.count(TEMPLATES, 5000))
    probes = _probes(rows, plan.count(PROBES, 640))
    index = ExactIndex(data.MODEL)
    for batch in data.batches(rows):
        index.load(batch)
    whole, wrong, furthest = rows.astype(np.float64), 0, 0.0
    for at, first in enumerate(range(0, len(probes), _TOGETHER)):
        part, limit = probes[first : first + _TOGETHER], 1 + at % MAX_LIMIT
        asked = data.embeddings(part)
        single = at % _SINGLES_EVERY == 0
        found = [index.search(one, limit) for one in asked] if single else index.search_many(asked, limit)
        rough = np.stack([probe.vector for probe in asked]).astype(np.float64) @ whole.T
        for hits, probe, line in zip(found, asked, rough, strict=True):
            same, off = compared(hits, best_rows(whole, line, probe.vector, limit))
            wrong, furthest = wrong + (not same), max(furthest, off)
    name = f"oracle: {len(probes):,} probes over {len(rows):,} templates, {COPIES:.0%} of them copies, limits 1 to 100"
    story.add(f"{name}: answers that differ", wrong, "answers", "0", wrong == 0)
    story.add(f"{name}: largest difference of a score", furthest, "", f"under {_SCORE_BAR:g}", furthest < _SCORE_BAR)
    return story


def rows_with_copies(count: int) -> HalfVectors:
    """Seeded rows, some of them exact copies of others."""
    rows, rng = data.templates(count), np.random.default_rng(12)
    copies = rng.choice(count, int(COPIES * count), replace=False)
    rows[copies] = rows[rng.integers(0, count, copies.size)]
    return rows


def compared(hits: list[Hit], wished: tuple[Numbers, Wide]) -> tuple[bool, float]:
    """Whether the hits are the oracle's, in its order; and how far off the furthest score is."""
    best, scores = wished
    names = [(data.subject_name(row), data.template_name(row)) for row in best.tolist()]
    if [(hit.subject_id, hit.template_id) for hit in hits] != names:
        return False, 0.0
    return True, float(np.abs(np.array([hit.score for hit in hits]) - scores).max())


def best_rows(whole: Wide, rough: Wide, probe: Vector, limit: int) -> tuple[Numbers, Wide]:
    """The rows most like the probe by float64, ties by number, and their scores.

    Args:
        whole: the float16 rows in float64, shape (n, d), one a subject; ids rise with the number.
        rough: their products with the probe in float64, shape (n,), off by the lengths of the rows.
        probe: shape (d,).
        limit: so many.
    """
    near = np.flatnonzero(rough >= np.partition(rough, -limit)[-limit] - _ROUGH)
    some = whole[near]
    scores = np.clip(np.sum(some * probe.astype(np.float64), axis=1) / np.sqrt(np.sum(some * some, axis=1)), -1.0, 1.0)
    order = np.lexsort((near, -scores))[:limit]
    return near[order], scores[order]


def _probes(rows: HalfVectors, count: int) -> Vectors:
    """A third strangers, a third people who are enrolled, a third the very templates, which tie with their copies."""
    rng, third = np.random.default_rng(13), count // 3
    known = rows[rng.integers(0, len(rows), third)].astype(np.float32)
    mated = data.noisy(rows[rng.integers(0, len(rows), third)])
    return np.concatenate([data.unit_rows(count - 2 * third, 14), mated, half(known).astype(np.float32)])
