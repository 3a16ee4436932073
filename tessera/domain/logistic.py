"""Logistic regression in numpy: the weighted sum of a few features that is a log-likelihood ratio.

Beneath `evidence` and `fusion`. For a handful of features and any number of comparisons; it refuses what is not finite,
and is no classifier: the prior that the cost is weighed with never enters what it gives back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

Floats = npt.NDArray[np.float64]

LOOSE_DEVIATION = 10.0
"""Of the normal prior on each weight of a fit, in deviations of its feature: loose, and finite on separable data."""

_MAX_STEPS = 100
_SMALL_GRADIENT = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """A weighted sum of features that is a log-likelihood ratio."""

    weights: Floats
    """Shape (features,)."""
    offset: float

    def llr(self, features: npt.ArrayLike) -> Floats:
        """The sum of each row: shape (n, features) gives (n,)."""
        return np.asarray(np.asarray(features, dtype=np.float64) @ self.weights + self.offset, dtype=np.float64)


def log_odds(probability: float) -> float:
    """log(p / (1 - p)).

    Args:
        probability: in (0, 1).
    """
    if not 0.0 < probability < 1.0:
        raise InvalidInputError("probability", probability, "a probability in (0, 1)")
    return math.log(probability) - math.log1p(-probability)


def fit_logistic(
    mated: npt.ArrayLike, non_mated: npt.ArrayLike, prior: float = 0.5, *, with_offset: bool = True
) -> Weighing:
    """Weights and offset of the least prior-weighted logistic cost.

    Args:
        mated: shape (m, features).
        non_mated: shape (n, features).
        prior: each kind's share of the cost, in (0, 1).
        with_offset: False for features that are calibrated evidence already: none of it means an LLR of 0.

    Returns:
        The fit. Each weight has a normal prior of `LOOSE_DEVIATION` deviations of its feature, so that separable data
        give finite evidence: the more of it, the stronger.

    Raises:
        InvalidInputError: shapes differ, a kind is missing, or a number is not finite.

    Source: Newton's method on P/m sum log(1 + exp(-x.w - b - logit P)) + (1-P)/n sum log(1 + exp(x.w + b + logit P)).
    """
    mates, others = _checked_rows("mated", mated), _checked_rows("non_mated", non_mated)
    if mates.shape[1] != others.shape[1]:
        raise InvalidInputError("non_mated", others.shape, f"{mates.shape[1]} features, as the mated ones have")
    features = np.concatenate([mates, others])
    share = np.repeat([prior / len(mates), (1.0 - prior) / len(others)], [len(mates), len(others)])
    sign = np.repeat([1.0, -1.0], [len(mates), len(others)])
    centre = (mates.mean(axis=0) + others.mean(axis=0)) / 2.0 if with_offset else np.zeros(features.shape[1])
    spread = np.sqrt((((mates - centre) ** 2).mean(axis=0) + ((others - centre) ** 2).mean(axis=0)) / 2.0)
    spread[spread == 0.0] = 1.0
    scaled = (features - centre) / spread
    if with_offset:
        scaled = np.column_stack([scaled, np.ones(len(scaled))])
    ridge = np.full(scaled.shape[1], 1.0 / (LOOSE_DEVIATION**2 * min(len(mates), len(others))))
    if with_offset:
        ridge[-1] = 0.0
    found = _least_cost(scaled, sign, share, log_odds(prior), ridge)
    weights = found[: features.shape[1]] / spread
    return Weighing(weights, float(found[-1] - weights @ centre) if with_offset else 0.0)


def _checked_rows(name: str, values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or not bool(np.isfinite(array).all()):
        raise InvalidInputError(name, f"shape {array.shape}", "one or more rows of one or more finite features")
    return array


def _least_cost(rows: Floats, sign: Floats, share: Floats, bias: float, ridge: Floats) -> Floats:
    """Newton's steps, each halved until the cost falls: the cost is convex, so they end at its least."""

    def cost(at: Floats) -> float:
        loss = np.logaddexp(0.0, -sign * (rows @ at + bias))
        return float(share @ loss + ridge @ at**2 / 2.0)

    at = np.zeros(rows.shape[1])
    now = cost(at)
    for _ in range(_MAX_STEPS):
        wrong = np.exp(-np.logaddexp(0.0, sign * (rows @ at + bias)))
        gradient = ridge * at - rows.T @ (share * sign * wrong)
        if float(np.abs(gradient).max()) < _SMALL_GRADIENT:
            break
        curvature = rows.T @ (rows * (share * wrong * (1.0 - wrong))[:, None]) + np.diag(ridge + 1e-12)
        step = np.linalg.solve(curvature, gradient)
        length = 1.0
        while (then := cost(at - length * step)) > now and length > 1e-6:
            length /= 2.0
        if then >= now:
            break
        at, now = at - length * step, then
    return at
