"""Error rates of a comparison: FMR, FNMR, EER, and what a number of comparisons can prove.

Scores are similarities, higher = more alike; a comparison matches when `score >= threshold`.
Source: ISO/IEC 19795-1:2021 for the terms.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

Scores = npt.NDArray[np.float64]
"""float64, shape (n,): similarity scores."""

Z_95 = 1.959963984540054
RULE_OF_THREE = 3.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided 95 % interval of a rate."""

    low: float
    high: float


def _checked(name: str, scores: npt.ArrayLike) -> Scores:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not bool(np.isfinite(array).all()):
        raise InvalidInputError(name, f"shape {array.shape}", "one row of one or more finite scores")
    return array


def false_match_rate(non_mated: npt.ArrayLike, threshold: float) -> float:
    """FMR: the share of non-mated comparisons that reach the threshold, in [0, 1]."""
    return float(np.mean(_checked("non_mated", non_mated) >= threshold))


def false_non_match_rate(mated: npt.ArrayLike, threshold: float) -> float:
    """FNMR: the share of mated comparisons that stay below the threshold, in [0, 1]."""
    return float(np.mean(_checked("mated", mated) < threshold))


def threshold_at_fmr(non_mated: npt.ArrayLike, fmr: float) -> float:
    """The lowest threshold whose FMR on these scores is at most `fmr`.

    Args:
        non_mated: shape (n,).
        fmr: the target, in (0, 1].

    Returns:
        A score just above the first one that must not match, so that ties fall on the safe side.
    """
    if not 0.0 < fmr <= 1.0:
        raise InvalidInputError("fmr", fmr, "a rate in (0, 1]")
    ordered = np.sort(_checked("non_mated", non_mated))[::-1]
    may_match = math.floor(fmr * ordered.size + 1e-9)
    if may_match >= ordered.size:
        return float(ordered[-1])
    return float(np.nextafter(ordered[may_match], np.inf))


def equal_error_rate(mated: npt.ArrayLike, non_mated: npt.ArrayLike) -> tuple[float, float]:
    """EER: where FMR and FNMR meet.

    Returns:
        (rate, threshold): the mean of FMR and FNMR at the threshold where they are closest, in [0, 1], and that score.
    """
    mates = np.sort(_checked("mated", mated))
    others = np.sort(_checked("non_mated", non_mated))
    thresholds = np.unique(np.concatenate([mates, others]))
    fnmr = np.searchsorted(mates, thresholds, side="left") / mates.size
    fmr = 1.0 - np.searchsorted(others, thresholds, side="left") / others.size
    at = int(np.argmin(np.abs(fnmr - fmr)))
    return float((fnmr[at] + fmr[at]) / 2.0), float(thresholds[at])


def wilson_interval(errors: int, trials: int) -> Interval:
    """95 % interval of a rate from independent trials.

    Biometric comparisons that share subjects are *not* independent: `tessera.domain.dependence` is for those. This one
    is for independent decisions, and the optimistic bound beside the others.

    Source: Wilson, JASA 22 (1927).
    """
    if trials < 1 or not 0 <= errors <= trials:
        raise InvalidInputError("errors", (errors, trials), "0 <= errors <= trials, trials >= 1")
    return wilson_interval_of_rate(errors / trials, trials)


def wilson_interval_of_rate(rate: float, trials: float, deviations: float = Z_95) -> Interval:
    """Wilson's interval around a rate, for any effective number of independent trials.

    Args:
        rate: as measured, in [0, 1].
        trials: how many independent trials the measurement is worth; need not be whole.
        deviations: standard deviations to each side; 1.96 for 95 % where the variance is known.

    Source: Wilson, JASA 22 (1927).
    """
    if not (0.0 <= rate <= 1.0 and 0.0 < trials < math.inf and deviations > 0.0):
        raise InvalidInputError("rate", (rate, trials), "a rate in [0, 1] of more than 0 trials")
    z2 = deviations**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = deviations / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    # At the ends the bounds are exact; rounding would leave 1e-19 in their place.
    return Interval(0.0 if rate == 0.0 else max(0.0, centre - half), 1.0 if rate == 1.0 else min(1.0, centre + half))


def comparisons_needed(rate: float) -> int:
    """How many error-free comparisons a claim of `rate` needs at 95 % confidence: the rule of 3.

    Source: Hanley and Lippman-Hand, JAMA 249 (1983).
    """
    if not 0.0 < rate < 1.0:
        raise InvalidInputError("rate", rate, "a rate in (0, 1)")
    needed = RULE_OF_THREE / rate - 1e-9
    return math.ceil(needed) if math.isfinite(needed) else sys.maxsize


def fmr_for_fpir(fpir: float, gallery_size: int) -> float:
    """The FMR of one comparison that keeps the false-positive identification rate of a whole search at `fpir`.

    Args:
        fpir: the target for a search by somebody who is not enrolled, in (0, 1).
        gallery_size: subjects that are searched; at least 1.

    Returns:
        1 - (1 - fpir)^(1/n): exact if the comparisons of one search were independent, close and on the safe side
        otherwise, since dependent errors fall on fewer searches.
    """
    if not 0.0 < fpir < 1.0:
        raise InvalidInputError("target_fpir", fpir, "a rate in (0, 1)")
    if gallery_size < 1:
        raise InvalidInputError("gallery_size", gallery_size, "at least 1")
    return -math.expm1(math.log1p(-fpir) / gallery_size)
