"""What a score says for and against its being one person: log-likelihood ratios, how they are fitted, and their cost.

Behind the comparison and beside the threshold: a threshold turns a score into a decision, this turns it into evidence
that may be added to other evidence. All ratios are natural logarithms of P(score | mated) / P(score | non-mated): above
0 speaks for one person, below 0 against. No prior is mixed in: how likely a match was before anybody looked is not this
module's to know.

Source: Brümmer and du Preez, "Application-independent evaluation of speaker detection", Computer Speech and Language 20
(2006).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError
from tessera.domain.logistic import Floats, fit_logistic, log_odds

# ---- what was measured


@dataclass(frozen=True, slots=True, eq=False)
class _Pooled:
    """Both kinds of scores together, each different score once, in rising order."""

    scores: Floats
    mated: Floats
    """How many mated comparisons have the score."""
    non_mated: Floats


def _checked(name: str, values: npt.ArrayLike, *, finite: bool = True) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or bool((~np.isfinite(array) if finite else np.isnan(array)).any()):
        raise InvalidInputError(name, f"shape {array.shape}", "one row of one or more numbers")
    return array


def _pool(mated: npt.ArrayLike, non_mated: npt.ArrayLike) -> _Pooled:
    mates, others = _checked("mated", mated), _checked("non_mated", non_mated)
    scores, where = np.unique(np.concatenate([mates, others]), return_inverse=True)
    counts = [np.bincount(part, minlength=scores.size).astype(np.float64) for part in np.split(where, [mates.size])]
    return _Pooled(scores, *counts)


# ---- probabilities


def posterior(llr: npt.ArrayLike, prior: float) -> Floats:
    """How probable a match is once the evidence is in: Bayes' rule.

    Args:
        llr: log-likelihood ratios, any shape.
        prior: how probable it was before, in (0, 1). It belongs to the application, never to the comparison.

    Returns:
        Probabilities in [0, 1], of the same shape.
    """
    odds = np.asarray(llr, dtype=np.float64) + log_odds(prior)
    return np.asarray(np.exp(-np.logaddexp(0.0, -odds)), dtype=np.float64)


# ---- Platt scaling


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """A straight line from score to log-likelihood ratio: llr = slope * score + offset, slope above 0."""

    slope: float
    offset: float

    def llr(self, scores: npt.ArrayLike) -> Floats:
        """The evidence of each score, of the same shape; never falling in the score."""
        return self.slope * np.asarray(scores, dtype=np.float64) + self.offset


def fit_platt(mated: npt.ArrayLike, non_mated: npt.ArrayLike, prior: float = 0.5) -> PlattScaling:
    """The line that costs least, by logistic regression.

    Args:
        mated: shape (m,).
        non_mated: shape (n,).
        prior: where the line should fit best: near the evidence that outweighs this prior. Half fits the middle; a
            threshold of FMR 1e-3 lies nearer to the prior 1e-3.

    Raises:
        InvalidInputError: a kind is missing, or mated scores are no higher than non-mated ones.

    Source: Platt, "Probabilistic outputs for support vector machines" (1999), with the prior-weighted objective of
    Brümmer and du Preez (2006), section 6, in place of his adjusted targets.
    """
    mates, others = _checked("mated", mated)[:, None], _checked("non_mated", non_mated)[:, None]
    fitted = fit_logistic(mates, others, prior)
    slope = float(fitted.weights[0])
    if slope <= 0.0:
        raise InvalidInputError("mated", f"slope {slope:.3g}", "scores that are higher than the non-mated ones")
    return PlattScaling(slope, fitted.offset)


# ---- isotonic regression


def isotonic(values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """The never-falling row nearest to `values` in weighted squares: pool adjacent violators.

    Args:
        values: shape (n,).
        weights: shape (n,), above 0.

    Returns:
        Shape (n,).

    Source: Ayer et al., "An empirical distribution function for sampling with incomplete information", Annals of
    Mathematical Statistics 26 (1955).
    """
    row, weight = _checked("values", values), _checked("weights", weights)
    if weight.shape != row.shape or bool((weight <= 0.0).any()):
        raise InvalidInputError("weights", weight.shape, f"{row.size} numbers above 0")
    # Neighbours that do not rise end in one block in any case: taking falling runs at once spares the loop most rows.
    run = np.concatenate([[0], np.cumsum(np.diff(row) > 0.0)]).astype(np.intp)
    block = _pool_adjacent(np.bincount(run, row * weight).tolist(), np.bincount(run, weight).tolist())[run]
    means = np.bincount(block, row * weight) / np.bincount(block, weight)
    return np.asarray(np.maximum.accumulate(means)[block], dtype=np.float64)


def _pool_adjacent(sums: list[float], sizes: list[float]) -> npt.NDArray[np.intp]:
    """The block of each entry, counted from 0."""
    blocks: list[list[float]] = []
    for total, size in zip(sums, sizes, strict=True):
        blocks.append([total, size, 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return np.repeat(np.arange(len(blocks)), [int(entries) for _, _, entries in blocks])


@dataclass(frozen=True, slots=True, eq=False)
class IsotonicScaling:
    """A never-falling line of any shape from score to log-likelihood ratio: straight between knots, flat outside."""

    scores: Floats
    """Shape (knots,), rising."""
    llrs: Floats
    """Shape (knots,), never falling, finite."""

    def llr(self, scores: npt.ArrayLike) -> Floats:
        """The evidence of each score, of the same shape."""
        return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.llrs), dtype=np.float64)


def fit_isotonic(mated: npt.ArrayLike, non_mated: npt.ArrayLike) -> IsotonicScaling:
    """The never-falling map that costs least, with one comparison of each kind imagined on the wrong end.

    Args:
        mated: shape (m,).
        non_mated: shape (n,).

    Returns:
        The map. The two imagined comparisons keep it finite: no score says more than the numbers behind it can.

    Source: Zadrozny and Elkan, KDD 2002; the two comparisons are Laplace's rule of succession, as in Brümmer and de
    Villiers, "The BOSARIS toolkit" (2011).
    """
    pooled = _pool(mated, non_mated)
    llrs = llrs_of_counts(pooled.mated, pooled.non_mated)
    edge = np.flatnonzero(np.diff(llrs))
    knots = np.unique(np.concatenate([[0], edge, edge + 1, [llrs.size - 1]]))
    return IsotonicScaling(pooled.scores[knots], llrs[knots])


def llrs_of_counts(mated: npt.ArrayLike, non_mated: npt.ArrayLike) -> Floats:
    """The evidence of each bin of scores, never falling: what `fit_isotonic` gives where the scores are not at hand.

    Args:
        mated: shape (n,): mated comparisons in each bin, from the lowest scores to the highest; whole or not.
        non_mated: shape (n,); no bin without either kind.

    Returns:
        Shape (n,), finite: one comparison of each kind is imagined on the wrong end.
    """
    m = np.concatenate([[1.0], _checked("mated", mated), [0.0]])
    n = np.concatenate([[0.0], _checked("non_mated", non_mated), [1.0]])
    return _block_llrs(m, n)[1:-1]


def _block_llrs(mated: Floats, non_mated: Floats) -> Floats:
    """The optimal evidence of each score, from how many of each kind have it; infinite where one kind is absent."""
    share = isotonic(mated / (mated + non_mated), mated + non_mated)
    with np.errstate(divide="ignore"):
        return np.log(share) - np.log1p(-share) - math.log(mated.sum() / non_mated.sum())


# ---- what evidence costs


def cllr(mated_llrs: npt.ArrayLike, non_mated_llrs: npt.ArrayLike) -> float:
    """The cost of log-likelihood ratios, in bits: 0 is perfect, 1 says nothing, above 1 misleads.

    Args:
        mated_llrs: shape (m,); may be infinite.
        non_mated_llrs: shape (n,); may be infinite.

    Source: Brümmer and du Preez (2006), equation 11.
    """
    mates = _checked("mated_llrs", mated_llrs, finite=False)
    others = _checked("non_mated_llrs", non_mated_llrs, finite=False)
    return float(np.logaddexp(0.0, -mates).mean() + np.logaddexp(0.0, others).mean()) / (2.0 * math.log(2.0))


def min_cllr(mated: npt.ArrayLike, non_mated: npt.ArrayLike) -> float:
    """What the scores would cost after the best never-falling map, in bits: what is lost before any calibration.

    Args:
        mated: scores of mated comparisons, shape (m,).
        non_mated: shape (n,).

    Returns:
        In [0, 1]; `cllr` of any never-falling map of the same scores is at least this.
    """
    pooled = _pool(mated, non_mated)
    llrs = _block_llrs(pooled.mated, pooled.non_mated)
    mates, others = pooled.mated > 0.0, pooled.non_mated > 0.0
    for_mates = np.average(np.logaddexp(0.0, -llrs[mates]), weights=pooled.mated[mates])
    for_others = np.average(np.logaddexp(0.0, llrs[others]), weights=pooled.non_mated[others])
    return float(for_mates + for_others) / (2.0 * math.log(2.0))


# ---- whether probabilities come true


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Comparisons that were told about the same probability, and how many of them matched."""

    predicted: float
    """Mean of what was told, in [0, 1]."""
    observed: float
    """Share that were mated, each kind weighted by the prior, in [0, 1]."""
    weight: float
    """Share of all comparisons, weighted alike; the bins' sum is 1."""


def reliability(
    mated_llrs: npt.ArrayLike, non_mated_llrs: npt.ArrayLike, prior: float = 0.5, bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """Told against observed probabilities, in bins of equal width.

    Args:
        mated_llrs: shape (m,).
        non_mated_llrs: shape (n,).
        prior: of the application, in (0, 1); it also weighs the kinds.
        bins: at least 1.

    Returns:
        The bins that are not empty, in rising order.

    Source: Murphy and Winkler, Applied Statistics 26 (1977).
    """
    if bins < 1:
        raise InvalidInputError("bins", bins, "at least 1")
    mates = posterior(_checked("mated_llrs", mated_llrs, finite=False), prior)
    others = posterior(_checked("non_mated_llrs", non_mated_llrs, finite=False), prior)
    told = np.concatenate([mates, others])
    weight = np.repeat([prior / mates.size, (1.0 - prior) / others.size], [mates.size, others.size])
    which = np.minimum((told * bins).astype(np.intp), bins - 1)
    total = np.bincount(which, weight, bins)
    predicted = np.bincount(which, weight * told, bins)
    observed = np.bincount(which[: mates.size], weight[: mates.size], bins)
    rows = zip(predicted, observed, total, strict=True)
    return tuple(ReliabilityBin(float(p / w), float(o / w), float(w)) for p, o, w in rows if w > 0.0)


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """How far told and observed probabilities lie apart on average, in [0, 1].

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015.
    """
    return sum(part.weight * abs(part.predicted - part.observed) for part in bins)
