"""Several encoders decide, each at its own threshold; here their yes and no become one.

Beside `fusion`, which joins scores and evidence. For encoders that tell no more than a decision, or whose scores are
not calibrated. Where evidence can be had, adding it loses less. No rate is taken from the encoders' own: two that look
at the same picture err together, so the joint decision is measured on claims that both judged.

Sources: Chair and Varshney, "Optimal data fusion in multiple sensor detection systems", IEEE Trans. AES 22 (1986), for
the weights of independent encoders; Neyman and Pearson (1933) for taking patterns by their ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.error_rates import comparisons_needed
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError
from tessera.domain.logistic import Floats

Decisions = npt.NDArray[np.bool_]
"""Shape (n, encoders): whether each encoder says that a claim is mated."""

MOST_ENCODERS = 8


@dataclass(frozen=True, slots=True)
class DecidedAt:
    """The measured rates of one encoder's decisions."""

    fmr: float
    fnmr: float


@dataclass(frozen=True, slots=True, eq=False)
class DecisionFusion:
    """Match from a sum of weighed yeses on."""

    weights: Floats
    """Shape (encoders,), none below 0."""
    least: float
    """The sum that matches."""
    fmr: float
    """Measured on the claims that it was set on."""
    fnmr: float

    def match(self, decisions: npt.ArrayLike) -> Decisions:
        """Shape (n, encoders) gives (n,); no yes more turns a match into none.

        Raises:
            InvalidInputError: another number of encoders.
        """
        table = _checked("decisions", decisions)
        if table.shape[1] != self.weights.size:
            raise InvalidInputError("decisions", table.shape, f"of {self.weights.size} encoders")
        return np.asarray(table @ self.weights >= self.least - 1e-9, dtype=np.bool_)


def independent_weights(encoders: Sequence[DecidedAt]) -> Floats:
    """What a yes of each encoder weighs over its no, were they to err independently: a log-likelihood ratio.

    Args:
        encoders: the rates of each, in (0, 1).

    Returns:
        log((1 - FNMR) / FMR) - log(FNMR / (1 - FMR)), at least 0: one that is no better than chance has no say.
    """
    for encoder in encoders:
        if not (0.0 < encoder.fmr < 1.0 and 0.0 < encoder.fnmr < 1.0):
            raise InvalidInputError("encoders", encoder, "rates in (0, 1)")
    weights = [math.log((1 - e.fnmr) / e.fmr) - math.log(e.fnmr / (1 - e.fmr)) for e in encoders]
    return np.maximum(0.0, np.array(weights, dtype=np.float64))


def fit_decision_fusion(
    mated: npt.ArrayLike, non_mated: npt.ArrayLike, fmr: float, weights: npt.ArrayLike | None = None
) -> DecisionFusion:
    """Set the sum of yeses from which on claims match, so that the joint FMR is kept.

    Args:
        mated: shape (m, encoders): the decisions on mated claims, of people that the fusion is not judged on.
        non_mated: shape (n, encoders).
        fmr: the target of the joint decision, in (0, 1).
        weights: shape (encoders,), such as `independent_weights`; None: all 1, so that so many of them must agree.

    Returns:
        The least sum that keeps the target. Where not even all yeses together do, nothing matches.

    Raises:
        InvalidInputError: shapes do not fit, or a weight is below 0.
        CalibrationTooSmallError: too few non-mated claims to carry the rate (rule of 3).
    """
    mates, others = _checked("mated", mated), _checked("non_mated", non_mated)
    encoders = others.shape[1]
    say = np.ones(encoders) if weights is None else np.asarray(weights, dtype=np.float64)
    if mates.shape[1] != encoders or say.shape != (encoders,) or not bool((say >= 0.0).all()):
        raise InvalidInputError("weights", say.shape, f"{encoders} of 0 or more, one for each encoder")
    if comparisons_needed(fmr) > len(others):
        raise CalibrationTooSmallError(fmr, comparisons_needed(fmr), len(others))
    sums = np.unique(np.concatenate([mates @ say, others @ say]).round(9))
    for least in (*sums[sums > 0.0].tolist(), math.inf):
        fusion = DecisionFusion(say, least, 0.0, 1.0)
        false_matches = float(fusion.match(others).mean())
        if false_matches <= fmr:
            return DecisionFusion(say, least, false_matches, 1.0 - float(fusion.match(mates).mean()))
    raise AssertionError("nothing reaches infinity")


def _checked(name: str, decisions: npt.ArrayLike) -> Decisions:
    table = np.asarray(decisions)
    if table.ndim != 2 or table.dtype != np.bool_ or 0 in table.shape or table.shape[1] > MOST_ENCODERS:
        raise InvalidInputError(name, f"{table.dtype} {table.shape}", f"bools (n, 1 to {MOST_ENCODERS} encoders)")
    return table
