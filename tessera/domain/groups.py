"""Error rates by group of subjects (age, sex, skin, site, ...), and whether a difference between groups may be claimed.

Groups come from the caller; nothing here guesses one from a picture. FMR of a group is that of pairs *within* it: two
people of the same group are those who are taken for each other. A difference is claimed only where it stays under 5 %
after correction for all the thresholds and both error rates that were looked at; data that could not have shown even
a fivefold rate gives NOT_ENOUGH_DATA, which is not the same as "no difference found".

The test permutes the subjects' group labels, so that it is exact where groups differ in nothing; its statistic is
studentised, so that it stays close where they differ in size and spread alone.

Source: ISO/IEC 19795-10:2024 for the terms; Grother, "Face recognition vendor test part 8", NISTIR 8429 (2022), for
max / min and max / geometric mean; Chung and Romano, "Exact and asymptotically robust permutation tests", Ann. Stat. 41
(2013), for studentising; Westfall and Young, "Resampling-based multiple testing" (1993), for the maximum
over pairs of groups; Holm, Scand. J. Stat. 6 (1979), over thresholds and rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tessera.domain.dependence import REPLICATES, Spread, student_quantile
from tessera.domain.error_rates import Z_95, Interval, comparisons_needed
from tessera.domain.errors import InvalidInputError
from tessera.domain.group_findings import (
    CrossRate,
    Disparity,
    ErrorKind,
    Finding,
    GroupDifference,
    GroupRate,
    GroupReport,
)
from tessera.domain.group_tallies import (
    Floats,
    GroupCounts,
    Indices,
    ListedMatchTally,
    MatchTally,
    MissTally,
    Tally,
)
from tessera.domain.measurement import Comparisons

SIGNIFICANCE = 0.05
PERMUTATIONS = 999
TELLING_RATIO = 5.0
"""A group must have so much data that this ratio of rates would be found four times out of five."""
_TELLING_ERRORS = 2.0 * ((Z_95 + 0.8416) / math.log(TELLING_RATIO)) ** 2
"""6.06: errors in each of two groups at which their log rates differ by 1.96 + 0.84 standard errors, if independent."""


@dataclass(frozen=True, slots=True, eq=False)
class ErrorTallies:
    """Errors of both kinds at one threshold, by subject."""

    threshold: float
    matches: MatchTally | ListedMatchTally
    misses: MissTally


def tallies_at(comparisons: Comparisons, threshold: float) -> ErrorTallies:
    """Count the errors of comparisons of all pairs.

    Args:
        comparisons: from `compare_all_pairs`.
        threshold: a score.

    Raises:
        InvalidInputError: scores so low were not kept.
    """
    c = comparisons
    kept_all = c.non_mated_scores.size >= c.non_mated_total
    if not math.isfinite(threshold) or not (kept_all or threshold > c.non_mated_scores[-1]):
        raise InvalidInputError(
            "thresholds", threshold, f"above {c.non_mated_scores[-1]:.4f}: lower scores were not kept"
        )
    above = int(np.searchsorted(-c.non_mated_scores, -threshold, side="right"))
    subjects = c.samples_by_subject.size
    missed = np.bincount(c.mated_subject[c.mated_scores < threshold], minlength=subjects).astype(np.float64)
    mated = np.bincount(c.mated_subject, minlength=subjects).astype(np.float64)
    matches = MatchTally.of(c.non_mated_first[:above], c.non_mated_second[:above], c.samples_by_subject)
    return ErrorTallies(float(threshold), matches, MissTally(missed, mated))


def compare_groups(
    tallies: Sequence[ErrorTallies],
    groups: Sequence[str | None],
    rng: np.random.Generator,
    *,
    kinds: Sequence[ErrorKind] = tuple(ErrorKind),
    across: bool = False,
    permutations: int = PERMUTATIONS,
    replicates: int = REPLICATES,
) -> GroupReport:
    """Measure each group, and say where a difference may be claimed.

    Args:
        tallies: of each threshold that is looked at, all of the same subjects.
        groups: of each subject; None: not known.
        rng: draws permutations and resamples.
        kinds: the error rates that are looked at; each shares in the 5 %.
        across: also the FMR between different groups, which is reported and not tested.
        permutations: p values are multiples of 1 / (permutations + 1), before correction.
        replicates: of subjects, for the intervals of ratios.

    Raises:
        InvalidInputError: not one label for each subject, or fewer than two groups.
    """
    names = sorted({group for group in groups if group is not None})
    if len(names) < 2:
        raise InvalidInputError("groups", f"{len(names)} groups", "two or more")
    for tally in tallies:
        if tally.misses.subjects != len(groups):
            raise InvalidInputError(
                "groups", f"{len(groups)} labels", f"one for each of {tally.misses.subjects} subjects"
            )
    place = {name: at for at, name in enumerate(names)}
    known = np.flatnonzero([group is not None for group in groups]).astype(np.intp)
    labels = np.array([place[group] for group in groups if group is not None], dtype=np.intp)
    draws = _Draws(rng, permutations, replicates)
    judged = [
        _judge(_Look(kind, tally.threshold, names, labels), _of_kind(tally, kind).restricted(known), draws)
        for tally in tallies
        for kind in kinds
    ]
    crossed = [rate for tally in tallies for rate in _across(tally, known, labels, names)] if across else []
    return GroupReport(tuple(_corrected(judged)), tuple(crossed), len(groups) - known.size, len(judged))


def _of_kind(tally: ErrorTallies, kind: ErrorKind) -> Tally:
    return tally.matches if kind is ErrorKind.FMR else tally.misses


# ---- one threshold, one error rate


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """What the permutations say, before correction over tests."""

    p_value: float
    """That no group differs from the others."""
    by_pair: Floats
    """The same of each two groups, corrected over pairs."""
    names: tuple[str, ...]
    """Of the groups that were compared."""


@dataclass(frozen=True, slots=True)
class _Judged:
    difference: GroupDifference
    test: _Test | None


@dataclass(frozen=True, slots=True)
class _Draws:
    rng: np.random.Generator
    permutations: int
    replicates: int


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What is looked at."""

    kind: ErrorKind
    threshold: float
    names: Sequence[str]
    labels: Indices


def _judge(look: _Look, tally: Tally, draws: _Draws) -> _Judged:
    counts = tally.by_group(look.labels, len(look.names))
    needed = _needed(counts)
    rates = tuple(_rate(counts, at, tally, look, needed) for at in range(len(look.names)))
    enough = [at for at, trials in enumerate(counts.trials) if trials >= needed]
    if len(enough) < 2:
        nothing = Disparity(None, None)
        told = GroupDifference(look.kind, look.threshold, rates, Finding.NOT_ENOUGH_DATA, None, nothing, nothing)
        return _Judged(told, None)
    kept = np.flatnonzero(np.isin(look.labels, enough))
    compared, labels = tally.restricted(kept), np.searchsorted(enough, look.labels[kept]).astype(np.intp)
    by_pair = _permutation_test(tally, look.labels, len(look.names), draws)
    over_min, over_mean = _disparities(compared, labels, [rates[at] for at in enough], draws)
    p_value = float(by_pair.min())
    told = GroupDifference(look.kind, look.threshold, rates, Finding.NO_DIFFERENCE_FOUND, p_value, over_min, over_mean)
    return _Judged(told, _Test(p_value, by_pair[np.ix_(enough, enough)], tuple(look.names[at] for at in enough)))


def _needed(counts: GroupCounts) -> int:
    """Comparisons at which a group of the common rate is expected to show enough errors, dependent as they are."""
    trials, errors = float(counts.trials.sum()), float(counts.errors.sum())
    if trials == 0:
        return 1
    if errors == 0:  # not even the common rate is known: it may be as high as the rule of 3 allows
        return math.ceil(_TELLING_ERRORS * trials / 3.0)
    rate = errors / trials
    rates = counts.rates()
    independent = float((counts.trials * rates * (1.0 - rates)).sum())
    dependence = max(1.0, float(counts.variance.sum()) / independent) if independent > 0 else 1.0
    return max(comparisons_needed(min(rate, 0.999)), math.ceil(_TELLING_ERRORS * dependence / rate))


def _rate(counts: GroupCounts, at: int, tally: Tally, look: _Look, needed: int) -> GroupRate:
    trials, errors = round(counts.trials[at]), round(counts.errors[at])
    members = np.flatnonzero(look.labels == at)
    return GroupRate(
        group=look.names[at],
        subjects=members.size,
        comparisons=trials,
        errors=errors,
        rate=errors / trials if trials else None,
        interval=tally.restricted(members).interval() if trials else None,
        needed=needed if trials < needed else None,
    )


# ---- the claim


def _permutation_test(tally: Tally, labels: Indices, groups: int, draws: _Draws) -> Floats:
    """P values of "the groups differ in nothing", of each two groups, by the maximum over all pairs.

    Which groups have enough data is decided anew in each permutation: it depends on the labels too, and a test of the
    groups that happened to pass would claim too often.
    """
    observed = _distances(tally.by_group(labels, groups))
    highest = np.array(
        [_distances(tally.by_group(draws.rng.permutation(labels), groups)).max() for _ in range(draws.permutations)]
    )
    reached = (highest[:, None, None] >= observed - 1e-12).sum(axis=0)
    by_pair: Floats = (1.0 + reached) / (draws.permutations + 1.0)
    return by_pair


def _distances(counts: GroupCounts) -> Floats:
    """How many standard errors the log rates of each two groups with enough data are apart: shape (groups, groups)."""
    log_rates, variance = counts.log_rates(), counts.log_variance()
    enough = counts.trials >= _needed(counts)
    apart = np.abs(log_rates[:, None] - log_rates) / np.sqrt(variance[:, None] + variance)
    compared: Floats = np.where(enough[:, None] & enough, apart, 0.0)
    return compared


def _corrected(judged: Sequence[_Judged]) -> list[GroupDifference]:
    """Holm's correction over all that was looked at, also where there was not enough data: that too was a look."""
    ordered = sorted(range(len(judged)), key=lambda at: _p_value(judged[at]))
    told = [one.difference for one in judged]
    highest = 0.0
    for rank, at in enumerate(ordered):
        factor = len(ordered) - rank
        highest = max(highest, min(1.0, factor * _p_value(judged[at])))
        if judged[at].test is not None:
            told[at] = _claimed(judged[at], factor, highest)
    return told


def _p_value(one: _Judged) -> float:
    return one.test.p_value if one.test is not None else 1.0


def _claimed(one: _Judged, factor: int, p_value: float) -> GroupDifference:
    differs = p_value < SIGNIFICANCE
    out = _standing_out(one.test, factor) if differs and one.test is not None else set()
    groups = tuple(replace(rate, stands_out=rate.group in out) for rate in one.difference.groups)
    finding = Finding.DIFFERENCE if differs else Finding.NO_DIFFERENCE_FOUND
    return replace(one.difference, groups=groups, finding=finding, p_value=p_value)


def _standing_out(test: _Test, factor: int) -> set[str]:
    """Those that differ from more than half of the others: of three of which one is high, that one and not the two."""
    apart = (factor * test.by_pair < SIGNIFICANCE).sum(axis=0)
    return {name for name, others in zip(test.names, apart, strict=True) if 2 * others > len(test.names) - 1}


# ---- ratios


def _disparities(
    tally: Tally, labels: Indices, rates: Sequence[GroupRate], draws: _Draws
) -> tuple[Disparity, Disparity]:
    """Max over min and max over geometric mean, with intervals that hold although maximum and minimum were chosen.

    The range of the true log rates differs from that of the measured ones by no more than the range of the errors
    made; so the 95 % quantile of that range, as resampled, is the interval's half width.
    """
    if any(rate.errors == 0 for rate in rates):
        return _without_an_error(rates), Disparity(None, None)
    errors = _resampled_errors(tally, labels, len(rates), draws)
    logs = np.log([rate.errors / rate.comparisons for rate in rates])
    over_min = _disparity(float(np.ptp(logs)), np.ptp(errors, axis=1))
    from_mean = errors - errors.mean(axis=1, keepdims=True)
    return over_min, _disparity(float(logs.max() - logs.mean()), np.abs(from_mean).max(axis=1))


def _disparity(log_ratio: float, log_errors: Floats) -> Disparity:
    half = float(np.quantile(log_errors, 0.95))
    return Disparity(math.exp(log_ratio), Interval(math.exp(max(0.0, log_ratio - half)), math.exp(log_ratio + half)))


def _without_an_error(rates: Sequence[GroupRate]) -> Disparity:
    """A ratio over zero is no number; what can be said is how small it is at least."""
    lowest = max((rate.interval.low for rate in rates if rate.interval is not None), default=0.0)
    ceiling = max(rate.interval.high for rate in rates if rate.interval is not None and rate.errors == 0)
    return Disparity(None, None, lowest / ceiling if lowest > ceiling > 0 else None)


def _resampled_errors(tally: Tally, labels: Indices, groups: int, draws: _Draws) -> Floats:
    """Of log rates, by resampling the subjects of each group: shape (replicates, groups).

    Weights of pairs are products of two subjects' and spread rare errors too widely (Davezies et al., Ann. Stat. 49,
    2021, section 3.3): as resampled, the intervals of three groups that do not differ held 1 in all of 250 cases. So
    the errors are brought to the spread that the jackknife finds, with Student's quantile: then they held it in 95 %.
    """
    counts = tally.by_group(labels, groups)
    measured = counts.log_rates()
    members = [np.flatnonzero(labels == at) for at in range(groups)]
    errors = np.empty((draws.replicates, groups))
    for replicate in range(draws.replicates):
        weights = np.zeros(tally.subjects)
        for mine in members:
            weights += np.bincount(draws.rng.choice(mine, mine.size), minlength=tally.subjects)
        wrong, trials = tally.resampled(labels, groups, weights)
        errors[replicate] = np.log((wrong + 0.5) / (trials + 1.0)) - measured
    errors -= errors.mean(axis=0)
    known = np.array([_log_deviation(tally.restricted(mine).spread()) for mine in members])
    scaled: Floats = errors * known / np.maximum(errors.std(axis=0), 1e-12)
    return scaled


def _log_deviation(spread: Spread) -> float:
    """Of the logarithm of a rate, wider where the deviation itself is hardly known."""
    return math.sqrt(spread.variance) / spread.rate * student_quantile(spread.degrees_of_freedom) / Z_95


def _across(tallies: ErrorTallies, known: Indices, labels: Indices, names: Sequence[str]) -> list[CrossRate]:
    errors, trials = tallies.matches.restricted(known).across(labels, len(names))
    return [
        CrossRate(
            first,
            second,
            tallies.threshold,
            round(trials[one, other]),
            round(errors[one, other]),
            float(errors[one, other] / trials[one, other]) if trials[one, other] else None,
        )
        for one, first in enumerate(names)
        for other, second in enumerate(names)
        if one < other
    ]
