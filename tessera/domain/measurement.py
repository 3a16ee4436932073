"""From labelled embeddings to measured operating points: every pair compared, intervals by resampling subjects.

Comparisons that share a subject are not independent, so the intervals resample whole subjects; an interval that
treated each pair as a coin toss would be several times too narrow.

Source: Bolle, Ratha and Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap", CVIU 93
(2004); for two-sample statistics as here: each pair weighs the product of its subjects' multiplicities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.calibration import OperatingPoint
from tessera.domain.embedding import Vectors
from tessera.domain.error_rates import RULE_OF_THREE, Interval
from tessera.domain.errors import InvalidInputError

LOOSEST_FMR = 0.1
POINTS_PER_DECADE = 10
REPLICATES = 400
_ROWS_PER_BLOCK = 512

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


@dataclass(frozen=True, slots=True)
class _Block:
    """The pairs of some rows with all later rows."""

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
        InvalidInputError: the two differ in length, or there is no mated or no non-mated pair.
    """
    owner = np.asarray(subjects, dtype=np.intp)
    if owner.shape != vectors.shape[:1]:
        raise InvalidInputError("subjects", owner.shape, f"one for each of {vectors.shape[0]} vectors")
    counts = np.bincount(owner)
    total = owner.size * (owner.size - 1) // 2
    mated_total = int((counts * (counts - 1) // 2).sum())
    if mated_total in (0, total):
        raise InvalidInputError("subjects", f"{counts.size} subjects", "two or more, one of them with two samples")
    keep = int(np.ceil((total - mated_total) * keep_fmr)) + 1
    mated: list[_Block] = []
    top = _Block(np.empty(0), np.empty(0, np.intp), np.empty(0, np.intp))
    for block in _blocks(vectors, owner):
        same = block.first == block.second
        mated.append(_Block(block.scores[same], block.first[same], block.second[same]))
        top = _highest(top, _Block(block.scores[~same], block.first[~same], block.second[~same]), keep)
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


def _blocks(vectors: Vectors, owner: Indices) -> Iterator[_Block]:
    for start in range(0, owner.size, _ROWS_PER_BLOCK):
        rows = np.arange(start, min(start + _ROWS_PER_BLOCK, owner.size))
        scores = vectors[rows] @ vectors[start:].T
        later = np.arange(start, owner.size)[None, :] > rows[:, None]
        first, second = np.broadcast_arrays(owner[rows][:, None], owner[None, start:])
        yield _Block(scores[later].astype(np.float64), first[later], second[later])


def _highest(top: _Block, more: _Block, keep: int) -> _Block:
    scores = np.concatenate([top.scores, more.scores])
    first = np.concatenate([top.first, more.first])
    second = np.concatenate([top.second, more.second])
    if scores.size > keep:
        chosen = np.argpartition(-scores, keep - 1)[:keep]
        return _Block(scores[chosen], first[chosen], second[chosen])
    return _Block(scores, first, second)


def measure_operating_points(
    comparisons: Comparisons, rng: np.random.Generator, replicates: int = REPLICATES
) -> tuple[OperatingPoint, ...]:
    """Operating points from the loosest FMR that was kept down to the strictest that the data can carry (rule of 3).

    Args:
        comparisons: from `compare_all_pairs`.
        rng: draws the subjects of each replicate.
        replicates: subject resamples; 400 give a 95 % interval to about a tenth of its width.

    Returns:
        Ten points a decade, on the powers of ten, strictly rising in threshold and strictly falling in FMR.
    """
    c = comparisons
    thresholds = _thresholds(c)
    fmr, fnmr = _rates(c, thresholds, np.ones(c.samples_by_subject.size))
    resampled = [
        _rates(c, thresholds, weights) for weights in subject_resamples(c.samples_by_subject.size, rng, replicates)
    ]
    fmr_low, fmr_high = np.quantile([rates[0] for rates in resampled], [0.025, 0.975], axis=0)
    fnmr_low, fnmr_high = np.quantile([rates[1] for rates in resampled], [0.025, 0.975], axis=0)
    points: list[OperatingPoint] = []
    for i, threshold in enumerate(thresholds):
        if points and fmr[i] >= points[-1].fmr:
            continue
        fmr_interval = Interval(float(min(fmr_low[i], fmr[i])), float(max(fmr_high[i], fmr[i])))
        fnmr_interval = Interval(float(min(fnmr_low[i], fnmr[i])), float(max(fnmr_high[i], fnmr[i])))
        points.append(OperatingPoint(float(threshold), float(fmr[i]), fmr_interval, float(fnmr[i]), fnmr_interval))
    return tuple(points)


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


def _rates(c: Comparisons, thresholds: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """FMR and FNMR at each threshold, each subject weighted."""
    pair_weights = weights[c.non_mated_first] * weights[c.non_mated_second]
    reached = np.concatenate([[0.0], np.cumsum(pair_weights)])
    above = np.searchsorted(-c.non_mated_scores, -thresholds, side="right")
    samples = weights * c.samples_by_subject
    non_mated_weight = (samples.sum() ** 2 - (samples**2).sum()) / 2.0
    order = np.argsort(c.mated_scores)
    missed = np.concatenate([[0.0], np.cumsum(weights[c.mated_subject[order]])])
    below = np.searchsorted(c.mated_scores[order], thresholds, side="left")
    return reached[above] / non_mated_weight, missed[below] / max(missed[-1], 1e-12)


def subject_resamples(subjects: int, rng: np.random.Generator, replicates: int) -> Iterator[Floats]:
    """How often each subject is drawn, for each replicate: shape (subjects,), with mean 1."""
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, subjects, subjects), minlength=subjects).astype(np.float64)
