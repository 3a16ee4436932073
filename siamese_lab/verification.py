"""How good a 1:1 comparison is: the LFW protocol, the equal error rate, FNMR at fixed FMR, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.error_rates import Interval, equal_error_rate
from tessera.domain.errors import InvalidInputError
from tessera.domain.measurement import Comparisons, subject_resamples

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.value:.5f} [{self.interval.low:.5f}, {self.interval.high:.5f}]"


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Pairs of a protocol and how alike a system found them."""

    scores: Floats
    """Shape (n,), higher = more alike; a pair that could not be compared has -1: it never matches."""
    mated: Bools
    """Shape (n,)."""
    fold: Indices
    """Shape (n,)."""


def best_threshold(scores: Floats, mated: Bools) -> float:
    """The score that gets most pairs right; of several, the lowest."""
    candidates = np.unique(scores)
    mates, others = np.sort(scores[mated]), np.sort(scores[~mated])
    right = (mates.size - np.searchsorted(mates, candidates, side="left")) + np.searchsorted(
        others, candidates, side="left"
    )
    return float(candidates[int(np.argmax(right))])


def accuracy(pairs: ScoredPairs) -> Estimate:
    """The LFW protocol: each fold judged at the threshold that was best on the others; the mean over folds.

    The interval is the mean +- 1.96 standard errors over folds.

    Source: Huang et al., UMass TR 07-49 (2007), View 2.
    """
    folds = np.unique(pairs.fold)
    if folds.size < 2:
        raise InvalidInputError("fold", folds.size, "at least two folds")
    rights = []
    for fold in folds:
        held_out = pairs.fold == fold
        threshold = best_threshold(pairs.scores[~held_out], pairs.mated[~held_out])
        rights.append(np.mean((pairs.scores[held_out] >= threshold) == pairs.mated[held_out]))
    mean, error = float(np.mean(rights)), float(np.std(rights, ddof=1) / np.sqrt(folds.size))
    return Estimate(mean, Interval(mean - 1.96 * error, min(1.0, mean + 1.96 * error)))


def pairs_equal_error_rate(pairs: ScoredPairs, rng: np.random.Generator, replicates: int = 400) -> Estimate:
    """EER over the pairs of a protocol; the interval resamples pairs."""

    def measure(chosen: Indices) -> float:
        scores, mated = pairs.scores[chosen], pairs.mated[chosen]
        return equal_error_rate(scores[mated], scores[~mated])[0]

    everything = np.arange(pairs.scores.size)
    drawn = [measure(rng.integers(0, everything.size, everything.size)) for _ in range(replicates)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(measure(everything), Interval(float(low), float(high)))


def fnmr_at_fmr(comparisons: Comparisons, fmr: float, rng: np.random.Generator, replicates: int = 400) -> Estimate:
    """FNMR at the threshold that gives `fmr` on the same comparisons.

    The interval resamples subjects, and sets the threshold anew each time: it holds the uncertainty of both.
    """
    weighted = WeightedFnmr(comparisons)
    subjects = comparisons.samples_by_subject.size
    drawn = [weighted.at(fmr, draw).rate for draw in subject_resamples(subjects, rng, replicates)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(weighted.at(fmr, np.ones(subjects)).rate, Interval(float(low), float(high)))


@dataclass(frozen=True, slots=True)
class Missed:
    """Mated comparisons that a threshold refuses, each as heavy as its subject."""

    missed: float
    mated: float

    @property
    def rate(self) -> float:
        """FNMR."""
        return self.missed / self.mated


class WeightedFnmr:
    """FNMR at an FMR of the same comparisons, where each subject counts as often as a resample drew it.

    Args:
        comparisons: of all pairs.
    """

    def __init__(self, comparisons: Comparisons) -> None:
        self._c = comparisons
        by_score = np.argsort(comparisons.mated_scores)
        self._mated_scores, self._mated_subject = (
            comparisons.mated_scores[by_score],
            comparisons.mated_subject[by_score],
        )

    def at(self, fmr: float, weights: Floats) -> Missed:
        """At the threshold that gives `fmr` under these weights.

        Args:
            fmr: the target.
            weights: shape (subjects,); all 1: as measured.

        Raises:
            InvalidInputError: too few non-mated scores were kept for that rate.
        """
        c = self._c
        pair_weights = np.cumsum(weights[c.non_mated_first] * weights[c.non_mated_second])
        samples = weights * c.samples_by_subject
        allowed = fmr * (samples.sum() ** 2 - (samples**2).sum()) / 2.0
        first_refused = int(np.searchsorted(pair_weights, allowed, side="right"))
        if first_refused == pair_weights.size:
            raise InvalidInputError("fmr", fmr, "a rate below the share of non-mated scores that were kept")
        mated_weights = weights[self._mated_subject]
        missed = np.searchsorted(self._mated_scores, c.non_mated_scores[first_refused], side="right")
        return Missed(float(mated_weights[:missed].sum()), float(mated_weights.sum()))
