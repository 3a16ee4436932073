"""Intervals of the lab's figures: pairs share pictures, so that a thousand pairs may be worth a hundred.

Beneath every figure of the evaluation. The unit that is drawn is a picture where classes are fixed (digits), and a
class where others will come (people, signers); who measures says which. No interval here knows of another training
run: seeds are compared by whoever trains several.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from siamese_lab.verification import Estimate
from tessera.domain.dependence import jackknife_spread, subject_adjusted_wilson, subject_resamples
from tessera.domain.error_rates import Z_95, Interval, wilson_interval, wilson_interval_of_rate
from tessera.domain.errors import InvalidInputError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

REPLICATES = 200
"""Resamples of units: they give the ends of a 95 % interval to about a seventh of its width."""

_MOST_TRIALS_PER_VALUE = 100.0
"""Values that hardly differ are worth more than as many coin tosses, but no more than so many each."""


def rate_of_pairs(counted: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> Estimate:
    """The share of pairs that were counted, with an interval over the units that pairs share.

    Args:
        counted: bool (n,): which pairs.
        first: (n,): the unit of each pair's first picture, numbered from 0.
        second: (n,): of its second; a pair within one unit has the same twice.

    Returns:
        The rate. Where no pair or every pair is counted, only pairs that share nothing count for the interval.

    Raises:
        InvalidInputError: there is no pair, or the lengths differ.

    Source: `tessera.domain.dependence`, for pairs that may also lie within one unit.
    """
    hits, one, other = _checked_pairs(counted, first, second)
    units = int(max(one.max(), other.max())) + 1
    trials, errors = _by_unit(one, other, units), _by_unit(one[hits], other[hits], units)
    total, rate = hits.size, float(hits.mean())
    if rate in (0.0, 1.0):
        shared = 1 if bool((one == other).all()) else 2
        return Estimate(rate, wilson_interval_of_rate(rate, max(1.0, float((trials > 0).sum() // shared))))
    rest = total - trials
    without = np.divide(rate * total - errors, rest, out=np.full(units, 1.0 - round(rate)), where=rest > 0)
    twice = _counted_twice(hits, one, other, rate) / total**2
    spread = jackknife_spread(without[trials > 0], rate, total, twice, rate * (1.0 - rate) / total)
    return Estimate(rate, spread.interval)


def _checked_pairs(
    counted: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike
) -> tuple[Bools, Indices, Indices]:
    hits, one, other = np.asarray(counted, np.bool_), np.asarray(first, np.intp), np.asarray(second, np.intp)
    if hits.ndim != 1 or hits.size == 0 or one.shape != hits.shape or other.shape != hits.shape:
        raise InvalidInputError("pairs", (hits.shape, one.shape, other.shape), "three rows of the same length")
    return hits, one, other


def _by_unit(first: Indices, second: Indices, units: int) -> Floats:
    """How many pairs each unit is in; a pair within one unit is one."""
    within = first == second
    counts = np.bincount(first, minlength=units) + np.bincount(second[~within], minlength=units)
    return counts.astype(np.float64)


def _counted_twice(hits: Bools, first: Indices, second: Indices, rate: float) -> float:
    """Over pairs of different units: the squared residuals, which leaving out either unit counts."""
    between = first != second
    keys = np.minimum(first, second) * (int(max(first.max(), second.max())) + 1) + np.maximum(first, second)
    _, where = np.unique(keys[between], return_inverse=True)
    residuals = np.bincount(where, hits[between] - rate)
    return float((residuals**2).sum())


def rate_of_items(counted: npt.ArrayLike, units: npt.ArrayLike | None = None) -> Estimate:
    """The share of items that were counted, such as queries that were answered well.

    Args:
        counted: bool (n,).
        units: (n,): whose each item is, numbered from 0; None: each stands for itself.
    """
    hits = np.asarray(counted, np.bool_)
    if hits.ndim != 1 or hits.size == 0:
        raise InvalidInputError("items", hits.shape, "one row of one or more")
    rate = float(hits.mean())
    if units is None:
        return Estimate(rate, wilson_interval(int(hits.sum()), hits.size))
    owner = np.asarray(units, np.intp)
    trials = np.bincount(owner)
    return Estimate(rate, subject_adjusted_wilson(np.bincount(owner[hits], minlength=trials.size), trials))


def mean_of_items(values: npt.ArrayLike) -> Estimate:
    """The mean of values in [0, 1], one for each independent item, such as a query's average precision.

    Returns:
        Wilson's interval of as many coin tosses as would have the mean's variance: inside [0, 1] at both ends.
    """
    row = np.asarray(values, np.float64)
    if row.ndim != 1 or row.size == 0 or not bool(((row >= 0.0) & (row <= 1.0)).all()):
        raise InvalidInputError("values", row.shape, "one row of one or more numbers in [0, 1]")
    mean, variance = float(row.mean()), float(row.var()) / max(row.size - 1, 1)
    least = mean * (1.0 - mean) / (_MOST_TRIALS_PER_VALUE * row.size)
    trials = float(row.size) if mean in (0.0, 1.0) or row.size == 1 else mean * (1.0 - mean) / max(variance, least)
    return Estimate(mean, wilson_interval_of_rate(min(max(mean, 0.0), 1.0), trials))


def mean_difference(before: npt.ArrayLike, after: npt.ArrayLike) -> Estimate:
    """By how much the mean of paired values fell, in their own unit; the interval is normal, over the items.

    Args:
        before: shape (n,).
        after: shape (n,), of the same items.
    """
    differences = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    mean = float(differences.mean())
    half = Z_95 * float(differences.std()) / math.sqrt(max(differences.size - 1, 1))
    return Estimate(mean, Interval(mean - half, mean + half))


def resampled(
    measure: Callable[[Indices], float],
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> Estimate:
    """Any figure of pairs, with the middle 95 % of what it is for resampled units.

    Args:
        measure: takes the indices of the pairs that count, some of them several times; raises InvalidInputError where
            they allow no figure, and such a draw is left out.
        first: (n,): the unit of each pair's first picture.
        second: (n,): of its second.
        rng: draws the units.
        replicates: how many draws.

    Returns:
        The figure of all pairs. A pair weighs the product of its units' numbers, one within a unit that number itself;
        the interval always holds the figure.
    """
    one, other = np.asarray(first, np.intp), np.asarray(second, np.intp)
    value, drawn = measure(np.arange(one.size)), []
    for weights in subject_resamples(int(max(one.max(), other.max())) + 1, rng, replicates):
        copies = np.where(one == other, weights[one], weights[one] * weights[other]).astype(np.intp)
        try:
            drawn.append(measure(np.repeat(np.arange(one.size), copies)))
        except InvalidInputError:
            continue
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (-math.inf, math.inf)
    return Estimate(value, Interval(min(float(low), value), max(float(high), value)))
