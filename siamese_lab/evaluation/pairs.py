"""Figures of pairs: a threshold from validation pairs, and what it does on test pairs, each figure with its interval.

After the embedding and before the page. Scores are similarities, higher = more alike, and a pair matches when its score
reaches the threshold. A threshold is never chosen on the pairs that it is judged on; the accuracy that such a choice
would have given is told apart, as the reading that flatters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from siamese_lab.comparison import Comparison
from siamese_lab.evaluation.embedding import Embeddings
from siamese_lab.evaluation.estimates import Bools, Floats, Indices, rate_of_pairs, resampled
from siamese_lab.verification import Estimate, best_threshold
from tessera.domain.dependence import ListedPairs, chosen_threshold_interval
from tessera.domain.error_rates import (
    Interval,
    comparisons_needed,
    equal_error_rate,
    threshold_at_fmr,
    wilson_interval_of_rate,
)
from tessera.domain.errors import InvalidInputError

TARGETS = (1e-1, 1e-2, 1e-3, 1e-4)
"""False match rates at which the false non-match rate is told, as far as the pairs carry them."""
_CURVE_POINTS = 200


class PairIndices(Protocol):
    """Which pictures are compared; `siamese_lab.data.pairs.Pairs` is one."""

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """Shape (n,): index of one picture of each pair."""

    @property
    def second(self) -> npt.NDArray[np.int64]:
        """Shape (n,): of the other."""

    @property
    def mated(self) -> Bools:
        """Shape (n,): whether both are of one class."""


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """Scored pairs, and the units that they share."""

    scores: Floats
    """Shape (n,), higher = more alike."""
    mated: Bools
    """Shape (n,)."""
    first: Indices
    """Shape (n,): the unit (picture or class) of each pair's first picture."""
    second: Indices
    """Shape (n,): of its second."""

    def __post_init__(self) -> None:
        shapes = {part.shape for part in (self.scores, self.mated, self.first, self.second)}
        if len(shapes) != 1 or self.scores.ndim != 1 or not bool(np.isfinite(self.scores).all()):
            raise InvalidInputError("pairs", shapes, "four rows of the same length, scores finite")
        if not bool(self.mated.any()) or bool(self.mated.all()):
            raise InvalidInputError("mated", int(self.mated.sum()), f"some and not all of {self.mated.size} pairs")

    def chosen(self, which: Indices | Bools) -> PairScores:
        """Some of the pairs, or some several times."""
        return PairScores(self.scores[which], self.mated[which], self.first[which], self.second[which])


def pair_scores(embeddings: Embeddings, pairs: PairIndices, comparison: Comparison) -> Floats:
    """How alike the two of each pair are.

    Args:
        embeddings: float32 (n, d).
        pairs: indices into them.
        comparison: Euclidean or cosine.

    Returns:
        float64 (pairs,), higher = more alike.
    """
    one = embeddings[pairs.first].astype(np.float64)
    other = embeddings[pairs.second].astype(np.float64)
    if comparison is Comparison.EUCLIDEAN:
        return np.asarray(-np.linalg.norm(one - other, axis=1), np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1)
    return np.asarray(np.divide(products, lengths, out=np.zeros(len(one)), where=lengths > 0.0), np.float64)


def score_pairs(
    embeddings: Embeddings, pairs: PairIndices, comparison: Comparison, units: npt.ArrayLike | None = None
) -> PairScores:
    """Scored pairs with their units.

    Args:
        embeddings: float32 (n, d).
        pairs: indices into them.
        comparison: Euclidean or cosine.
        units: (n,): the unit of each picture, numbered from 0, where classes are a sample of more that will come;
            None: each picture is its own.
    """
    return with_scores(pair_scores(embeddings, pairs, comparison), pairs, units)


def with_scores(scores: npt.ArrayLike, pairs: PairIndices, units: npt.ArrayLike | None = None) -> PairScores:
    """Pairs that something else scored, such as a network's own head."""
    owner = np.asarray(units, np.intp) if units is not None else None
    first, second = pairs.first.astype(np.intp), pairs.second.astype(np.intp)
    if owner is not None:
        first, second = owner[first], owner[second]
    return PairScores(np.asarray(scores, np.float64), np.asarray(pairs.mated, np.bool_), first, second)


# ---- figures


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One threshold of the ROC curve."""

    threshold: float
    fmr: float
    fnmr: float


@dataclass(frozen=True, slots=True)
class FnmrAtFmr:
    """What a target false match rate costs."""

    target_fmr: float
    needed: int
    """Non-mated pairs that the target needs: the rule of 3."""
    threshold: float | None
    """None: there are too few pairs, as for the rates below."""
    fmr: Estimate | None
    """As others will see it at a threshold that was set on these very pairs."""
    fnmr: Estimate | None
    """At that threshold; that it was chosen on the same pairs is in the interval of `fmr`, not in this one."""


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Everything that is said of pairs. "Positive" is mated; precision, recall and F1 hang on the share of such."""

    pairs: int
    mated: int
    threshold: float
    """Chosen on validation pairs."""
    accuracy: Estimate
    """Of all pairs at the threshold."""
    precision: Estimate | None
    """Of the pairs that match, those that are mated; None: no pair matches."""
    recall: Estimate
    """Of the mated pairs, those that match: 1 - FNMR."""
    f1: Estimate
    fmr: Estimate
    """At the threshold."""
    fnmr: Estimate
    """At the threshold."""
    eer: Estimate
    auc: Estimate
    """Area under the ROC curve: how often a mated pair scores above one that is not."""
    flattering_accuracy: float
    """At the threshold that is best on these very pairs; no figure for a claim."""
    curve: tuple[CurvePoint, ...]
    """From the lowest threshold."""
    fnmr_at: tuple[FnmrAtFmr, ...]


def judge_pairs(
    validation: PairScores, test: PairScores, rng: np.random.Generator, targets: Sequence[float] = TARGETS
) -> PairFigures:
    """Choose the threshold on one set of pairs and judge another by it.

    Args:
        validation: the threshold gets most of these right.
        test: other pairs, of other pictures.
        rng: resamples units for the intervals of EER, AUC and F1.
        targets: false match rates, in (0, 1).
    """
    return judge_pairs_at(best_threshold(validation.scores, validation.mated), test, rng, targets)


def judge_pairs_at(
    threshold: float, test: PairScores, rng: np.random.Generator, targets: Sequence[float] = TARGETS
) -> PairFigures:
    """Judge pairs by a threshold that is known, such as a head's own: probability one half.

    Args:
        threshold: a pair matches from here.
        test: the pairs.
        rng: resamples units for the intervals of EER, AUC and F1.
        targets: false match rates, in (0, 1).
    """
    matched = test.scores >= threshold
    recall, fmr = (_rate(test, matched, kind) for kind in (True, False))
    claimed = test.mated[matched]
    return PairFigures(
        pairs=test.mated.size,
        mated=int(test.mated.sum()),
        threshold=threshold,
        accuracy=rate_of_pairs(matched == test.mated, test.first, test.second),
        precision=rate_of_pairs(claimed, test.first[matched], test.second[matched]) if claimed.size else None,
        recall=recall,
        f1=_resampled(test, lambda part: f1_score(part.scores >= threshold, part.mated), rng),
        fmr=fmr,
        fnmr=_complement(recall),
        eer=_eer(test, rng),
        auc=_resampled(test, lambda part: area_under_curve(part.scores, part.mated), rng),
        flattering_accuracy=_best_accuracy(test),
        curve=roc_curve(test.scores, test.mated),
        fnmr_at=tuple(fnmr_at_fmr(test, target) for target in targets),
    )


def _rate(test: PairScores, counted: Bools, mated: bool) -> Estimate:
    kind = test.mated == mated
    return rate_of_pairs(counted[kind], test.first[kind], test.second[kind])


def _complement(rate: Estimate) -> Estimate:
    return Estimate(1.0 - rate.value, Interval(1.0 - rate.interval.high, 1.0 - rate.interval.low))


def _resampled(test: PairScores, measure: Callable[[PairScores], float], rng: np.random.Generator) -> Estimate:
    return resampled(lambda which: measure(test.chosen(which)), test.first, test.second, rng)


def _eer(test: PairScores, rng: np.random.Generator) -> Estimate:
    found = _resampled(test, lambda part: equal_error_rate(*_kinds(part))[0], rng)
    if found.interval.high > 0.0:
        return found
    # No resample errs where no pair does: what so many units without an error allow.
    units = np.unique(np.concatenate([test.first, test.second])).size
    return Estimate(0.0, wilson_interval_of_rate(0.0, max(1.0, float(units // 2))))


def _kinds(test: PairScores) -> tuple[Floats, Floats]:
    return test.scores[test.mated], test.scores[~test.mated]


def _best_accuracy(test: PairScores) -> float:
    return float(np.mean((test.scores >= best_threshold(test.scores, test.mated)) == test.mated))


def f1_score(matched: Bools, mated: Bools) -> float:
    """The harmonic mean of precision and recall, in [0, 1]; 0 where nothing is matched.

    Args:
        matched: bool (n,): what was claimed.
        mated: bool (n,): what is true.
    """
    found = int((matched & mated).sum())
    total = int(matched.sum()) + int(mated.sum())
    return 2.0 * found / total if total else 0.0


def area_under_curve(scores: Floats, mated: Bools) -> float:
    """How often a mated pair scores above a non-mated one; of equal scores half.

    Source: Mann and Whitney, Annals of Mathematical Statistics 18 (1947).
    """
    others = np.sort(scores[~mated])
    below = np.searchsorted(others, scores[mated], "left") + np.searchsorted(others, scores[mated], "right")
    return float(below.mean() / (2.0 * others.size))


def roc_curve(scores: Floats, mated: Bools, points: int = _CURVE_POINTS) -> tuple[CurvePoint, ...]:
    """FMR and FNMR over thresholds, from all that match to none.

    Args:
        scores: (n,).
        mated: (n,).
        points: at most so many, evenly spread over the curve's own length.
    """
    mates, others = np.sort(scores[mated]), np.sort(scores[~mated])
    thresholds = np.append(np.unique(scores), np.nextafter(scores.max(), np.inf))
    fnmr = np.searchsorted(mates, thresholds, "left") / mates.size
    fmr = 1.0 - np.searchsorted(others, thresholds, "left") / others.size
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(fnmr)) + np.abs(np.diff(fmr)))])
    at = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], points)))
    kept = np.unique(np.concatenate([[0], at, [thresholds.size - 1]]))
    return tuple(CurvePoint(float(thresholds[i]), float(fmr[i]), float(fnmr[i])) for i in kept)


def fnmr_at_fmr(test: PairScores, target: float) -> FnmrAtFmr:
    """The false non-match rate at the lowest threshold whose false match rate is at most the target.

    Args:
        test: the pairs.
        target: in (0, 1).

    Returns:
        Without rates where the pairs are fewer than the rule of 3 asks for.
    """
    needed = comparisons_needed(target)
    others = ~test.mated
    if needed > int(others.sum()):
        return FnmrAtFmr(target, needed, None, None, None)
    threshold = threshold_at_fmr(test.scores[others], target)
    falling = np.flatnonzero(others)[np.argsort(-test.scores[others], kind="stable")]
    matches = int((test.scores[others] >= threshold).sum())
    first, second = test.first[falling], test.second[falling]
    interval = chosen_threshold_interval(first, second, matches, ListedPairs(first, second))
    fnmr = _complement(_rate(test, test.scores >= threshold, mated=True))
    return FnmrAtFmr(target, needed, threshold, Estimate(matches / falling.size, interval), fnmr)
