"""Several pieces of evidence about one claim: what each score says, and what their sum must reach to be a match.

Behind the comparisons, in place of a threshold for each. A calibration's table says how often a score in each of its
bins comes from one person and how often from two; that ratio is the evidence of the bin. How often the evidence of a
non-mated claim takes each value stands in the same table, so that the FMR of a sum is known from the tables of its
parts, *if people who are unlike in one modality are no more alike in another*. That assumption is stated with every
threshold, beside the highest FMR that there can be without it.

It does not use that evidence of at least t has an FMR of at most exp(-t): that needs the same independence, and
calibrated evidence on top of it, and lies ten to a thousand times above what is measured (docs/fusion.md).

Source: Fawcett and Niculescu-Mizil, "PAV and the ROC convex hull", Machine Learning 68 (2007); Makarov, "Estimates for
the distribution function of a sum of two random variables when the marginal distributions are fixed" (1981).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tessera.domain.calibration import Calibration
from tessera.domain.error_rates import RULE_OF_THREE, Interval, comparisons_needed
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, PreconditionError
from tessera.domain.evidence import llrs_of_counts
from tessera.domain.logistic import Floats

LEAST_MATED = 30
"""Mated comparisons without which a table says nothing of how one person scores."""
_GRID = 2.0**-20
"""Evidence comes in multiples of it, so that sums are exact and the order of adding cannot matter."""

Bound = Literal["measured", "low", "high"]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreEvidence:
    """What the scores of one model say, as steps: a calibration's table read as evidence."""

    edges: Floats
    """Shape (n,), rising: a score of at least `edges[i]` lies in step i + 1 or above."""
    llrs: Floats
    """Shape (n + 1,), rising: natural logarithm of P(score | mated) / P(score | non-mated) of each step."""
    fmr: Floats
    """Shape (n,), falling: of one comparison, at each edge."""
    fmr_low: Floats
    """Shape (n,), not rising: lower ends of its 95 % intervals."""
    fmr_high: Floats
    """Shape (n,), not rising: upper ends."""

    def llr(self, score: float, templates: int = 1) -> float:
        """The evidence of the best of so many comparisons.

        Args:
            score: the highest of them.
            templates: how many there were; at least 1.

        Returns:
            That of one comparison, less log(templates): whoever is compared more often reaches a score by chance more
            often, at most so many times as often.
        """
        step = int(np.searchsorted(self.edges, score, side="right"))
        return float(self.llrs[step]) - _on_grid(math.log(templates))

    def rates(self, bound: Bound) -> Floats:
        """The FMR at each edge, or an end of its interval."""
        return {"measured": self.fmr, "low": self.fmr_low, "high": self.fmr_high}[bound]


def evidence_of(calibration: Calibration) -> ScoreEvidence:
    """Read a calibration's table as evidence.

    Within steps that the data cannot tell apart the higher score counts a millionth more: no order of scores is lost,
    and one piece of evidence alone is decided as a comparison of its own would be.

    Raises:
        PreconditionError: it was measured on too few mated comparisons to say how one person scores (NO_EVIDENCE).
    """
    mated, non_mated = calibration.data.mated, calibration.data.non_mated
    if mated < LEAST_MATED:
        raise PreconditionError(
            "NO_EVIDENCE",
            "calibration_id",
            calibration.calibration_id,
            f"a calibration of {LEAST_MATED} or more mated comparisons (this one has {mated}), from several samples of "
            f"each person: tessera calibrate fit --pictures DIR --model {calibration.model_id} --activate",
        )
    points = calibration.points
    fmr = np.array([point.fmr for point in points])
    missed = np.maximum.accumulate([point.fnmr for point in points])
    llrs = llrs_of_counts(mated * np.diff(missed, prepend=0.0, append=1.0), non_mated * _masses(fmr))
    ties = np.arange(llrs.size) * _GRID
    return ScoreEvidence(
        edges=np.array([point.threshold for point in points]),
        llrs=np.round(llrs / _GRID) * _GRID + ties,
        fmr=fmr,
        fmr_low=np.minimum.accumulate([point.fmr_interval.low for point in points]),
        fmr_high=np.maximum.accumulate([point.fmr_interval.high for point in reversed(points)])[::-1],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One piece of evidence, before its score is known."""

    evidence: ScoreEvidence
    templates: int = 1
    """That the sample is compared with; the best counts."""


@dataclass(frozen=True, slots=True)
class JointThreshold:
    """What a sum of evidence must reach, and the error rate that it stands for."""

    llr: float
    """Natural logarithm: a claim matches when its sum is at least this."""
    target_fmr: float
    """The rate that was asked for."""
    fmr: float
    """That two different people reach it, if the pieces err independently; at most the target."""
    fmr_interval: Interval
    """From the 95 % intervals of the pieces' rates, all at their lower and all at their upper ends."""
    fmr_any_dependence: float
    """The highest that it can be if they do not, however they hang together."""
    pieces: int
    """That count. 1: nothing is assumed."""


def joint_threshold(pieces: Sequence[Piece], target_fmr: float) -> JointThreshold:
    """The loosest sum of evidence that keeps the FMR of a claim for which exactly these pieces are there.

    Args:
        pieces: one or more; their order does not matter.
        target_fmr: in (0, 1), of the whole claim.

    Raises:
        InvalidInputError: there is no piece, or the target is no rate.
        CalibrationTooSmallError: not even the strongest evidence of all pieces is so rare among non-mated claims.
    """
    if not 0.0 < target_fmr < 1.0:
        raise InvalidInputError("target_fmr", target_fmr, "a rate in (0, 1)")
    if not pieces:
        raise InvalidInputError("pieces", 0, "one piece of evidence, or more")
    total = functools.reduce(_added, [_non_mated(piece, "measured") for piece in pieces])
    at = int(np.searchsorted(-total.reached, -target_fmr * (1 + 1e-12)))
    if at == total.llrs.size:
        strictest = float(total.reached[-1])
        raise CalibrationTooSmallError(target_fmr, comparisons_needed(target_fmr), int(RULE_OF_THREE / strictest))
    llr, fmr = float(total.llrs[at]), float(total.reached[at])
    low, high = (_reaching(pieces, llr, bound) for bound in ("low", "high"))
    any_dependence = float(_at_most([_non_mated(piece, "measured") for piece in pieces], np.array([llr]))[0])
    return JointThreshold(
        llr, target_fmr, fmr, Interval(min(low, fmr), max(high, fmr)), max(any_dependence, fmr), len(pieces)
    )


# ---- how non-mated claims spread


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """The evidence of non-mated claims."""

    llrs: Floats
    """Shape (n,), rising: each value that it takes."""
    reached: Floats
    """Shape (n,), falling from 1: how often it is at least that."""

    def reaching(self, llrs: Floats) -> Floats:
        """How often it is at least each of these values."""
        return np.append(self.reached, 0.0)[np.searchsorted(self.llrs, llrs, side="left")]


def _masses(fmr: Floats) -> Floats:
    """The share of non-mated comparisons in each step."""
    return -np.diff(fmr, prepend=1.0, append=0.0)


def _on_grid(llr: float) -> float:
    return round(llr / _GRID) * _GRID


def _non_mated(piece: Piece, bound: Bound) -> _Spread:
    rates = piece.evidence.rates(bound)
    with np.errstate(divide="ignore"):  # a rate of 1 stays 1
        of_best = -np.expm1(piece.templates * np.log1p(-np.minimum(rates, 1.0)))
    return _Spread(piece.evidence.llrs - _on_grid(math.log(piece.templates)), np.concatenate([[1.0], of_best]))


def _added(one: _Spread, other: _Spread) -> _Spread:
    """The sum of two that err independently."""
    sums = np.add.outer(one.llrs, other.llrs).ravel()
    masses = np.multiply.outer(_masses(one.reached[1:]), _masses(other.reached[1:])).ravel()
    llrs, which = np.unique(sums, return_inverse=True)
    share = np.bincount(which, masses, llrs.size)
    # Summed from the rare end, so that small rates are exact.
    return _Spread(llrs, np.minimum(np.cumsum(share[::-1])[::-1], 1.0))


def _reaching(pieces: Sequence[Piece], llr: float, bound: Bound) -> float:
    total = functools.reduce(_added, [_non_mated(piece, bound) for piece in pieces])
    return float(total.reaching(np.array([llr]))[0])


def _at_most(spreads: Sequence[_Spread], llrs: Floats) -> Floats:
    """How often their sum can be at least each value, whatever hangs together with what.

    For any x: a sum of at least t has a first part above x, or the rest is at least t - x.
    """
    first, rest = spreads[0], spreads[1:]
    if not rest:
        return first.reaching(llrs)
    above = np.append(first.reached[1:], 0.0)
    left = llrs[:, None] - first.llrs[None, :]
    either = above[None, :] + _at_most(rest, left.ravel()).reshape(left.shape)
    return np.asarray(np.minimum(either.min(axis=1), 1.0), dtype=np.float64)
