"""Intervals of error rates whose comparisons share people: what a million comparisons of a thousand people are worth.

Every comparison of one person errs with the others of that person: somebody who looks like many others is in many
false matches. An interval that takes comparisons for coin tosses is several times too narrow. Here the variance is
estimated over *subjects*, the comparisons are counted as so many independent ones as have that variance, and Wilson's
interval is taken of those. Nothing here is told a score: a threshold was applied before, and what comes in are the
comparisons that erred.

The variance is the jackknife over subjects, less what it counts twice: a comparison of two subjects goes with either
of them. That is the dyadic-robust sum of covariances over pairs that share a subject, with the correction for small
numbers of subjects that leaving each one out makes by itself. It is never taken to be below that of independent
comparisons.

Sources: Fogliato, Patil and Perona, "Confidence intervals for error rates in 1:1 matching tasks", IJCV 132 (2024), for
the variance with shared subjects and Wilson's interval of the effective number; Aronow, Samii and Assenova, Political
Analysis 23 (2015), for the dyadic variance; Efron and Stein, Annals of Statistics 9 (1981), for the jackknife's excess
and its correction; Satterthwaite, Biometrics Bulletin 2 (1946), for the degrees of freedom; Hill, CACM 13 (1970), for
Student's quantile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tessera.domain.error_rates import Z_95, Interval, wilson_interval_of_rate
from tessera.domain.errors import InvalidInputError

REPLICATES = 400
"""Subject resamples: they give the ends of a 95 % interval to about a tenth of its width."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


# ---- who is compared with whom


class PairTrials(Protocol):
    """How many comparisons there are of each pair of subjects; subjects are whole numbers from 0."""

    @property
    def total(self) -> int:
        """All comparisons."""

    @property
    def by_subject(self) -> Floats:
        """Shape (subjects,): the comparisons that each is part of."""

    @property
    def squares(self) -> float:
        """Over all pairs of subjects, the sum of the squared numbers of their comparisons."""

    def between(self, first: Indices, second: Indices) -> Floats:
        """The comparisons of each of these pairs of subjects."""

    def weighted_total(self, weights: Floats) -> float:
        """All comparisons, each weighing the product of its subjects' weights."""


class AllPairs:
    """Every sample was compared with every sample of every other subject.

    Args:
        samples_by_subject: shape (subjects,).
    """

    def __init__(self, samples_by_subject: npt.ArrayLike) -> None:
        self._samples = np.asarray(samples_by_subject, dtype=np.float64)
        everything = self._samples.sum()
        self.by_subject: Floats = self._samples * (everything - self._samples)
        self.total = round(float(self.by_subject.sum()) / 2.0)
        squared = self._samples**2
        self.squares = float(squared.sum() ** 2 - (squared**2).sum()) / 2.0

    def between(self, first: Indices, second: Indices) -> Floats:
        """The comparisons of each of these pairs of subjects."""
        return np.asarray(self._samples[first] * self._samples[second], dtype=np.float64)

    def weighted_total(self, weights: Floats) -> float:
        """All comparisons, each weighing the product of its subjects' weights."""
        samples = weights * self._samples
        return float(samples.sum() ** 2 - (samples**2).sum()) / 2.0


class ListedPairs:
    """Comparisons that were made one by one, of any subjects.

    Args:
        first: shape (n,): one subject of each comparison.
        second: shape (n,): the other.
    """

    def __init__(self, first: npt.ArrayLike, second: npt.ArrayLike) -> None:
        self._first, self._second = _checked_pairs(first, second)
        self.subjects = int(max(self._first.max(initial=-1), self._second.max(initial=-1))) + 1
        self._keys, counts = np.unique(_key(self._first, self._second, self.subjects), return_counts=True)
        self._counts = counts.astype(np.float64)
        self.total = int(self._first.size)
        self.by_subject: Floats = _by_subject(self._first, self._second, self.subjects)
        self.squares = float((self._counts**2).sum())

    def between(self, first: Indices, second: Indices) -> Floats:
        """The comparisons of each of these pairs of subjects."""
        keys = _key(first, second, self.subjects)
        at = np.minimum(np.searchsorted(self._keys, keys), self._keys.size - 1)
        return np.where(self._keys[at] == keys, self._counts[at], 0.0)

    def weighted_total(self, weights: Floats) -> float:
        """All comparisons, each weighing the product of its subjects' weights."""
        return float((weights[self._first] * weights[self._second]).sum())


def _checked_pairs(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Indices, Indices]:
    one, other = np.asarray(first, dtype=np.intp), np.asarray(second, dtype=np.intp)
    if (
        one.ndim != 1
        or one.shape != other.shape
        or bool((one == other).any())
        or bool((one < 0).any() | (other < 0).any())
    ):
        raise InvalidInputError("pairs", (one.shape, other.shape), "two rows of different subjects, numbered from 0")
    return one, other


def _key(first: Indices, second: Indices, subjects: int) -> Indices:
    return np.asarray(np.minimum(first, second) * subjects + np.maximum(first, second), dtype=np.intp)


def _by_subject(first: Indices, second: Indices, subjects: int) -> Floats:
    return (np.bincount(first, minlength=subjects) + np.bincount(second, minlength=subjects)).astype(np.float64)


# ---- the variance


@dataclass(frozen=True, slots=True)
class Spread:
    """How far a rate would have come out differently with other subjects."""

    rate: float
    variance: float
    degrees_of_freedom: float
    """How well the variance is known: few when few subjects make most of it."""
    trials: int

    @property
    def effective_trials(self) -> float:
        """As many independent comparisons have this variance; never more than there were. Not for rates 0 and 1."""
        return min(self.trials, self.rate * (1.0 - self.rate) / self.variance) if self.variance > 0.0 else self.trials

    @property
    def interval(self) -> Interval:
        """95 %, by Wilson, with Student's quantile."""
        return wilson_interval_of_rate(self.rate, self.effective_trials, student_quantile(self.degrees_of_freedom))


def dyadic_variance(first: npt.ArrayLike, second: npt.ArrayLike, trials: PairTrials) -> float:
    """The variance of a rate as the sum of covariances over comparisons that share a subject, without any correction.

    With r the errors of a pair of subjects less those expected: (sum_i (sum_j r_ij)^2 - sum_{i<j} r_ij^2) / n^2.

    Args:
        first: shape (errors,): one subject of each comparison that erred.
        second: shape (errors,): the other.
        trials: all comparisons, those that did not err too.

    Source: Aronow, Samii and Assenova (2015), equation 3; Fogliato et al. (2024).
    """
    errors = _PairErrors(first, second, trials)
    residuals = errors.by_subject - errors.rate * trials.by_subject
    return float((residuals**2).sum() - errors.squared_residuals()) / trials.total**2


def pair_spread(first: npt.ArrayLike, second: npt.ArrayLike, trials: PairTrials) -> Spread:
    """How far the rate of comparisons of two subjects each is uncertain: jackknife over subjects, corrected.

    Args:
        first: shape (errors,): one subject of each comparison that erred.
        second: shape (errors,): the other.
        trials: all comparisons, those that did not err too.
    """
    errors = _PairErrors(first, second, trials)
    twice = errors.squared_residuals() / trials.total**2
    return _spread(errors.by_subject, trials.by_subject, errors.rate, trials.total, twice)


def subject_spread(errors_by_subject: npt.ArrayLike, trials_by_subject: npt.ArrayLike) -> Spread:
    """How far a rate is uncertain whose every trial belongs to one subject, such as a mated comparison.

    Args:
        errors_by_subject: shape (subjects,).
        trials_by_subject: shape (subjects,).
    """
    errors, trials = np.asarray(errors_by_subject, np.float64), np.asarray(trials_by_subject, np.float64)
    if errors.shape != trials.shape or errors.ndim != 1 or not trials.sum() > 0.0 or bool((errors > trials).any()):
        raise InvalidInputError(
            "errors_by_subject", errors.shape, "at most the trials of each subject, some trials in all"
        )
    return _spread(errors, trials, float(errors.sum() / trials.sum()), round(float(trials.sum())), 0.0)


def _spread(errors: Floats, trials: Floats, rate: float, total: int, twice: float) -> Spread:
    rest = total - trials
    # Nothing remains without a subject of every single comparison: the rate of others may be as far off as can be.
    without = np.divide(rate * total - errors, rest, out=np.full(errors.size, 1.0 - round(rate)), where=rest > 0)
    return jackknife_spread(without[trials > 0], rate, total, twice, rate * (1.0 - rate) / total)


def jackknife_spread(without: Floats, rate: float, trials: int, twice: float, least: float) -> Spread:
    """The spread of a rate that was measured anew without each subject in turn.

    Args:
        without: shape (subjects,): the rate without each.
        rate: with all of them.
        trials: the number of comparisons; no more are claimed to be independent.
        twice: the variance of single comparisons, which leaving out either of two subjects counts twice.
        least: what the variance would be if all comparisons were independent.

    Source: Efron and Stein, Annals of Statistics 9 (1981).
    """
    squares = (without - rate) ** 2
    return Spread(rate, max(float(squares.sum()) - twice, least), _degrees_of_freedom(squares), trials)


def _degrees_of_freedom(squares: Floats) -> float:
    """Of a sum of squares that are not all alike: twice its square over its own variance."""
    sum_of_squares = float(squares.sum())
    variance = float((squares**2).sum()) - sum_of_squares**2 / max(squares.size, 1)
    if variance <= 1e-12 * sum_of_squares**2:
        return math.inf
    return max(1.0, 2.0 * sum_of_squares**2 / variance)


class _PairErrors:
    """The comparisons that erred, by pair of subjects."""

    def __init__(self, first: npt.ArrayLike, second: npt.ArrayLike, trials: PairTrials) -> None:
        one, other = _checked_pairs(first, second)
        subjects = trials.by_subject.size
        if one.size > trials.total or max(one.max(initial=-1), other.max(initial=-1)) >= subjects:
            raise InvalidInputError("pairs", one.size, f"at most {trials.total} errors, of {subjects} subjects")
        if not trials.total:
            raise InvalidInputError("trials", 0, "at least one comparison")
        self._trials = trials
        self.rate = one.size / trials.total
        self.by_subject = _by_subject(one, other, subjects)
        keys, counts = np.unique(_key(one, other, subjects), return_counts=True)
        self._counts = counts.astype(np.float64)
        self._of_these = trials.between(keys // subjects, keys % subjects) if keys.size else np.empty(0)

    def squared_residuals(self) -> float:
        """Over all pairs of subjects: errors less those expected, squared; pairs without an error need no look."""
        p = self.rate
        return float(
            (self._counts**2).sum() - 2 * p * (self._counts * self._of_these).sum() + p**2 * self._trials.squares
        )


# ---- the intervals


def dependence_adjusted_wilson(first: npt.ArrayLike, second: npt.ArrayLike, trials: PairTrials) -> Interval:
    """95 % interval of the rate of comparisons of two subjects each, such as an FMR.

    Without any error no variance can be seen. Then only comparisons that share nobody count: half as many as there are
    subjects, since one person who looks like everybody else would be found by any comparison of that person.

    Args:
        first: shape (errors,): one subject of each comparison that erred.
        second: shape (errors,): the other.
        trials: all comparisons, those that did not err too.

    Raises:
        InvalidInputError: there is no comparison, more errors than comparisons, or a subject that was not compared.
    """
    spread = pair_spread(first, second, trials)
    if spread.rate in (0.0, 1.0):
        return wilson_interval_of_rate(spread.rate, max(1.0, float((trials.by_subject > 0).sum() // 2)))
    return spread.interval


def chosen_threshold_interval(first: npt.ArrayLike, second: npt.ArrayLike, errors: int, trials: PairTrials) -> Interval:
    """95 % interval of the rate that others will see at a threshold that was chosen for its rate on these comparisons.

    Such a threshold lies just above the first comparison that must not match, and could lie anywhere down to it. So
    that comparison counts for the upper end, as in the exact interval of a binomial rate; it matters where errors are
    few.

    Args:
        first: shape (n,): one subject of each comparison, in falling order of scores; more than `errors`.
        second: shape (n,): the other.
        errors: those that match.
        trials: all comparisons.

    Source: Clopper and Pearson, Biometrika 26 (1934); the k-th of n independent ones exceeds a rate that has the
    distribution Beta(k, n - k + 1).
    """
    one, other = np.asarray(first, dtype=np.intp), np.asarray(second, dtype=np.intp)
    low = dependence_adjusted_wilson(one[:errors], other[:errors], trials).low
    high = dependence_adjusted_wilson(one[: errors + 1], other[: errors + 1], trials).high
    return Interval(low, high)


def subject_adjusted_wilson(errors_by_subject: npt.ArrayLike, trials_by_subject: npt.ArrayLike) -> Interval:
    """95 % interval of a rate whose every trial belongs to one subject, such as an FNMR.

    Without any error each subject counts once: all trials of a subject may be one.

    Args:
        errors_by_subject: shape (subjects,).
        trials_by_subject: shape (subjects,).

    Raises:
        InvalidInputError: there is no trial, or more errors than trials.
    """
    spread = subject_spread(errors_by_subject, trials_by_subject)
    if spread.rate in (0.0, 1.0):
        return wilson_interval_of_rate(spread.rate, float((np.asarray(trials_by_subject) > 0).sum()))
    return spread.interval


def subject_bootstrap(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    trials: PairTrials,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> Interval:
    """The middle 95 % of the rates of resampled subjects: a comparison weighs the product of its subjects' numbers.

    It makes no assumption on the shape of the distribution, and is too wide where errors are few: a single comparison's
    weight varies three times as much as its error does. Without any error it says nothing at all: [0, 0].

    Source: Bolle, Ratha and Pankanti, CVIU 93 (2004).
    """
    one, other = _checked_pairs(first, second)
    rates = []
    for weights in subject_resamples(trials.by_subject.size, rng, replicates):
        weight = trials.weighted_total(weights)
        rates.append(float((weights[one] * weights[other]).sum()) / weight if weight > 0.0 else 0.0)
    low, high = np.quantile(rates, [0.025, 0.975])
    return Interval(float(low), float(high))


def subject_resamples(subjects: int, rng: np.random.Generator, replicates: int) -> Iterator[Floats]:
    """How often each subject is drawn, for each replicate: shape (subjects,), with mean 1."""
    for _ in range(replicates):
        yield np.bincount(rng.integers(0, subjects, subjects), minlength=subjects).astype(np.float64)


def student_quantile(degrees_of_freedom: float) -> float:
    """The 97.5 % quantile of Student's distribution; to 1e-3 from 1 degree of freedom, to 1e-5 from 5.

    Source: Hill, CACM 13 (1970), algorithm 396.
    """
    n = degrees_of_freedom
    if not n >= 1.0:
        raise InvalidInputError("degrees_of_freedom", n, "at least 1")
    if n > 1e6:
        return Z_95
    if n <= 2.0:
        # Exact at 1 and at 2; between them on a line of the logarithms.
        return float(math.exp(np.interp(n, [1.0, 2.0], [math.log(12.706204736), math.log(4.302652730)])))
    return _hill(n)


def _hill(n: float) -> float:
    a = 1.0 / (n - 0.5)
    b = 48.0 / a**2
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * math.sqrt(a * math.pi / 2.0) * n
    y = (d * 0.05) ** (2.0 / n)
    if y <= 0.05 + a:
        tail = 1.0 / (((n + 6.0) / (n * y) - 0.089 * d - 0.822) * (n + 2.0) * 3.0) + 0.5 / (n + 4.0)
        return math.sqrt(n * ((tail * y - 1.0) * (n + 1.0) / (n + 2.0) + 1.0 / y))
    x = -Z_95
    if n < 5.0:
        c += 0.3 * (n - 4.5) * (x + 0.6)
    c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b
    z2 = x**2
    y = a * ((((((0.4 * z2 + 6.3) * z2 + 36.0) * z2 + 94.5) / c - z2 - 3.0) / b + 1.0) * x) ** 2
    return math.sqrt(n * math.expm1(y))
