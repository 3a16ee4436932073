"""From labelled embeddings to measured operating points: every pair compared, intervals that know who was in which.

Comparisons that share a subject are not independent; `tessera.domain.dependence` says what they are worth. The points
end at the strictest FMR that the data can carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.calibration import OperatingPoint
from tessera.domain.dependence import (
    AllPairs,
    PairTrials,
    chosen_threshold_interval,
    subject_adjusted_wilson,
    subject_resamples,
)
from tessera.domain.embedding import Vectors
from tessera.domain.error_rates import RULE_OF_THREE, Interval
from tessera.domain.errors import InvalidInputError

LOOSEST_FMR = 0.1
POINTS_PER_DECADE = 10
NOTHING_KNOWN = (1.0, Interval(0.0, 1.0))
"""FNMR without any mated comparison, as of a gallery with one template a subject: it may be anything, and the worst is
assumed."""
_ROWS_PER_BLOCK = 512
_MOST_KEPT = 2_000_000
"""Non-mated scores in memory: of more than some twenty million comparisons, the table begins at a lower FMR."""

__all__ = ["Comparisons", "compare_all_pairs", "measure_operating_points", "subject_resamples"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """The scores of all pairs, with the subjects that each pair joins."""

    mated_scores: Floats
    """Shape (m,)."""
    mated_subject: Indices
    """Shape (m,): the subject of each mated pair."""
    non_mated_scores: Floats
    """Shape (k,): the highest scores, in falling order; the rest are counted and not kept."""
    non_mated_first: Indices
    """Shape (k,): one subject of each pair."""
    non_mated_second: Indices
    """Shape (k,): the other."""
    non_mated_total: int
    """All non-mated pairs."""
    samples_by_subject: Indices
    """Shape (subjects,): how many samples each has."""
    non_mated_trials: PairTrials | None = None
    """How the non-mated pairs spread over subjects; None: every sample was compared with all of other subjects."""

    @property
    def trials(self) -> PairTrials:
        """How the non-mated pairs spread over subjects."""
        return self.non_mated_trials or AllPairs(self.samples_by_subject)


@dataclass(frozen=True, slots=True)
class _Block:
    """Scores, with the subjects that each joins."""

    scores: Floats
    first: Indices
    second: Indices


def compare_all_pairs(vectors: Vectors, subjects: npt.ArrayLike, keep_fmr: float = LOOSEST_FMR) -> Comparisons:
    """Score every pair of samples once.

    Args:
        vectors: shape (n, d), unit rows.
        subjects: shape (n,), integers from 0 without gaps: whose each row is.
        keep_fmr: the share of non-mated scores, from the top, that are kept.

    Raises:
        InvalidInputError: the two differ in length, or there is no non-mated pair.
    """
    owner = np.asarray(subjects, dtype=np.intp)
    if owner.shape != vectors.shape[:1]:
        raise InvalidInputError("subjects", owner.shape, f"one for each of {vectors.shape[0]} vectors")
    counts = np.bincount(owner)
    total = owner.size * (owner.size - 1) // 2
    mated_total = int((counts * (counts - 1) // 2).sum())
    if mated_total == total:
        raise InvalidInputError("subjects", f"{counts.size} subjects", "two or more")
    keep = scores_kept(total - mated_total, keep_fmr)
    mated: list[_Block] = []
    top = _Block(np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp))
    for start in range(0, owner.size, _ROWS_PER_BLOCK):
        same, others = _compare(vectors, owner, start, top.scores.min() if top.scores.size == keep else -np.inf)
        mated.append(same)
        top = _highest(top, others, keep)
    order = np.argsort(-top.scores, kind="stable")
    return Comparisons(
        mated_scores=np.concatenate([part.scores for part in mated]),
        mated_subject=np.concatenate([part.first for part in mated]),
        non_mated_scores=top.scores[order],
        non_mated_first=top.first[order],
        non_mated_second=top.second[order],
        non_mated_total=total - mated_total,
        samples_by_subject=counts,
    )


def scores_kept(non_mated: int, keep_fmr: float = LOOSEST_FMR) -> int:
    """How many of the highest non-mated scores the operating points need: at least what the rule of 3 is about."""
    return min(max(int(np.ceil(non_mated * keep_fmr)), int(RULE_OF_THREE)), _MOST_KEPT) + 1


def _compare(vectors: Vectors, owner: Indices, start: int, above: float) -> tuple[_Block, _Block]:
    """Some rows with all later ones: the mated pairs, and of the others those that score higher than `above`."""
    scores = vectors[start : start + _ROWS_PER_BLOCK] @ vectors[start:].T
    later = np.triu(np.ones(scores.shape, np.bool_), 1)
    same = owner[start : start + len(scores), None] == owner[None, start:]

    def pairs(chosen: npt.NDArray[np.bool_]) -> _Block:
        row, column = np.nonzero(chosen)
        return _Block(scores[row, column].astype(np.float64), owner[row + start], owner[column + start])

    return pairs(later & same), pairs(later & ~same & (scores > above))


def _highest(top: _Block, more: _Block, keep: int) -> _Block:
    scores = np.concatenate([top.scores, more.scores])
    first = np.concatenate([top.first, more.first])
    second = np.concatenate([top.second, more.second])
    if scores.size > keep:
        chosen = np.argpartition(-scores, keep - 1)[:keep]
        return _Block(scores[chosen], first[chosen], second[chosen])
    return _Block(scores, first, second)


def measure_operating_points(comparisons: Comparisons) -> tuple[OperatingPoint, ...]:
    """Operating points from the loosest FMR that was kept down to the strictest that the data can carry (rule of 3).

    Args:
        comparisons: from `compare_all_pairs`.

    Returns:
        Ten points a decade, on the powers of ten, strictly rising in threshold and strictly falling in FMR.

    Raises:
        InvalidInputError: no threshold tells non-mated comparisons apart.
    """
    points: list[OperatingPoint] = []
    for threshold in _thresholds(comparisons):
        point = _point(comparisons, float(threshold))
        if 0.0 < point.fmr < (points[-1].fmr if points else 1.0):
            points.append(point)
    if not points:
        raise InvalidInputError("non_mated", comparisons.non_mated_total, "scores that are not all alike")
    return tuple(points)


def _point(c: Comparisons, threshold: float) -> OperatingPoint:
    above = int(np.searchsorted(-c.non_mated_scores, -threshold, side="right"))
    fmr_interval = chosen_threshold_interval(c.non_mated_first, c.non_mated_second, above, c.trials)
    subjects = c.samples_by_subject.size
    mated = np.bincount(c.mated_subject, minlength=subjects)
    missed = np.bincount(c.mated_subject[c.mated_scores < threshold], minlength=subjects)
    fmr = above / c.non_mated_total
    if not c.mated_scores.size:
        return OperatingPoint(threshold, fmr, fmr_interval, *NOTHING_KNOWN)
    fnmr = float(missed.sum()) / c.mated_scores.size
    return OperatingPoint(threshold, fmr, fmr_interval, fnmr, subject_adjusted_wilson(missed, mated))


def _thresholds(c: Comparisons) -> Floats:
    """Just above the score of the first pair that may not match, at each target FMR."""
    strictest = RULE_OF_THREE / c.non_mated_total
    loosest = (c.non_mated_scores.size - 1) / c.non_mated_total
    first = np.ceil(-np.log10(loosest) * POINTS_PER_DECADE - 1e-9)
    last = np.floor(-np.log10(strictest) * POINTS_PER_DECADE + 1e-9)
    targets = np.append(10.0 ** (-np.arange(first, last + 1) / POINTS_PER_DECADE), strictest)
    may_match = np.floor(targets * c.non_mated_total + 1e-9).astype(np.intp)
    at = np.minimum(may_match, c.non_mated_scores.size - 1)
    return np.unique(np.nextafter(c.non_mated_scores[at], np.inf))
