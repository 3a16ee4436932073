"""Between and beyond measured rates: straight lines of the logarithm of a rate, and one chance out of several.

False matches thin out roughly exponentially towards high scores, so a line of the logarithm goes near two measured
rates and what lies between. Nothing here decides whether a line may be drawn: `tessera.domain.calibration` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tessera.domain.error_rates import Interval


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """A score and the rate at it."""

    score: float
    rate: float
    interval: Interval
    extrapolated: bool = False

    def of_any(self, chances: float) -> MeasuredRate:
        """That at least one of so many errs."""
        low, high = of_any(self.interval.low, chances), of_any(self.interval.high, chances)
        return MeasuredRate(self.score, of_any(self.rate, chances), Interval(low, high), self.extrapolated)


def of_any(rate: float, chances: float) -> float:
    """That at least one of so many independent chances comes true."""
    if chances == 1:
        return rate
    return 1.0 if rate >= 1.0 else -math.expm1(math.log1p(-rate) * chances)


def of_one(rate: float, chances: float) -> float:
    """What each of so many independent chances must be for `of_any` to be the rate."""
    return rate if chances == 1 else -math.expm1(math.log1p(-rate) / chances)


def share_of_way(start: float, end: float, at: float) -> float:
    """How far `at` lies on the way from one to the other: 0 to 1."""
    return min(1.0, max(0.0, (at - start) / (end - start))) if end > start else 0.0


def between(start: MeasuredRate, end: MeasuredRate, share: float) -> MeasuredRate:
    """So far on the way from one to the other: of the score, and of the logarithms of the rate and its bounds."""
    if share == 0.0:
        return start
    low = _rate_between(start.interval.low, end.interval.low, share)
    high = _rate_between(start.interval.high, end.interval.high, share)
    score = start.score + share * (end.score - start.score)
    return MeasuredRate(score, _rate_between(start.rate, end.rate, share), Interval(low, high))


def _rate_between(start: float, end: float, share: float) -> float:
    if start <= 0.0 or end <= 0.0:
        return start + share * (end - start)
    return math.exp((1.0 - share) * math.log(start) + share * math.log(end))


def beyond(tail: Sequence[MeasuredRate], rate: float) -> MeasuredRate:
    """A lower rate than any measured, on the line of least squares; marked as extrapolated.

    Its interval lies between the two outermost lines that the intervals of the first and the last of the tail allow,
    and so grows with the distance.

    Args:
        tail: two or more of falling rate and rising score.
        rate: in (0, 1).

    Returns:
        A score above that of the last.
    """
    first, last = tail[0], tail[-1]
    score = max(_score_at(tail, rate), math.nextafter(last.score, math.inf))
    low = _rate_at(first.score, first.interval.high, last.score, last.interval.low, score)
    high = _rate_at(first.score, first.interval.low, last.score, last.interval.high, score)
    return MeasuredRate(score, rate, Interval(min(low, rate), max(high, rate)), extrapolated=True)


def _score_at(measured: Sequence[MeasuredRate], rate: float) -> float:
    mean = math.fsum(one.score for one in measured) / len(measured)
    level = math.fsum(math.log(one.rate) for one in measured) / len(measured)
    spread = math.fsum((one.score - mean) ** 2 for one in measured)
    slope = math.fsum((one.score - mean) * (math.log(one.rate) - level) for one in measured) / spread
    return mean + (math.log(rate) - level) / slope


def _rate_at(start: float, start_rate: float, end: float, end_rate: float, score: float) -> float:
    """On the line through two scores and their rates, at a score beyond the end; never above the rate there."""
    if start_rate <= 0.0 or end_rate <= 0.0:
        return 0.0
    slope = (math.log(end_rate) - math.log(start_rate)) / (end - start)
    return min(end_rate, math.exp(math.log(end_rate) + slope * (score - end)))
