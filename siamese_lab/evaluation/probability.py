"""From scores to probabilities: fitted on validation pairs, judged on test pairs, by their cost and by coming true.

The maps and the costs are `tessera.domain.evidence`'s; here they are fitted and judged, with intervals. A probability
needs a prior: that of the pairs as they were drawn is one half, and no door has that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from siamese_lab.evaluation.estimates import Floats, resampled
from siamese_lab.evaluation.pairs import PairScores
from siamese_lab.verification import Estimate
from tessera.domain.evidence import (
    ReliabilityBin,
    cllr,
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    min_cllr,
    reliability,
)

PRIOR = 0.5
BINS = 10


class Scaling(StrEnum):
    """How scores become evidence."""

    PLATT = "platt"
    ISOTONIC = "isotonic"


@dataclass(frozen=True, slots=True)
class ProbabilityFigures:
    """How good the probabilities of one map are."""

    scaling: Scaling
    prior: float
    cllr: Estimate
    """Bits: 0 is perfect, 1 says nothing, above 1 misleads."""
    least_cllr: float
    """What the best never-falling map of these very scores would cost: what is lost before any calibration."""
    ece: Estimate
    """Expected calibration error, in [0, 1]. Chance alone makes it more than 0."""
    bins: tuple[ReliabilityBin, ...]


def judge_probabilities(
    validation: PairScores, test: PairScores, scaling: Scaling, rng: np.random.Generator, prior: float = PRIOR
) -> ProbabilityFigures:
    """Fit a map on one set of pairs and judge the probabilities that it gives to another.

    Args:
        validation: to fit on.
        test: other pairs, of other pictures.
        scaling: which map.
        rng: resamples units for the intervals.
        prior: how probable a mate is before anybody looked, in (0, 1).

    Raises:
        InvalidInputError: Platt's line falls: mated validation pairs score no higher than others.
    """
    llrs = fit_map(validation, scaling)(test.scores)

    def of(measure: Callable[[Floats, Floats], float]) -> Estimate:
        def measured(which: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
            part, mated = llrs[which], test.mated[which]
            return measure(part[mated], part[~mated])

        return resampled(measured, test.first, test.second, rng)

    def calibration_error(mated: Floats, others: Floats) -> float:
        return expected_calibration_error(reliability(mated, others, prior, BINS))

    return ProbabilityFigures(
        scaling=scaling,
        prior=prior,
        cllr=of(cllr),
        least_cllr=min_cllr(test.scores[test.mated], test.scores[~test.mated]),
        ece=of(calibration_error),
        bins=reliability(llrs[test.mated], llrs[~test.mated], prior, BINS),
    )


def fit_map(validation: PairScores, scaling: Scaling) -> Callable[[Floats], Floats]:
    """The map from scores to log-likelihood ratios."""
    mated, others = validation.scores[validation.mated], validation.scores[~validation.mated]
    if scaling is Scaling.PLATT:
        return fit_platt(mated, others).llr
    return fit_isotonic(mated, others).llr
