"""Comparisons that share people are worth fewer than they are, by sums that can be checked one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.dependence import (
    AllPairs,
    ListedPairs,
    chosen_threshold_interval,
    dependence_adjusted_wilson,
    dyadic_variance,
    pair_spread,
    student_quantile,
    subject_adjusted_wilson,
    subject_bootstrap,
    subject_spread,
)
from tessera.domain.error_rates import wilson_interval
from tessera.domain.errors import InvalidInputError

Pair = tuple[int, int]


def comparisons_of(samples: list[int]) -> list[Pair]:
    """Every sample with every sample of every other subject, as pairs of subjects."""
    owners = [subject for subject, count in enumerate(samples) for _ in range(count)]
    return [(a, b) for a, b in itertools.combinations(owners, 2) if a != b]


def brute_variance(comparisons: list[Pair], errs: list[bool]) -> float:
    """The double sum itself: residual times residual of every two comparisons that share a subject."""
    rate = sum(errs) / len(errs)
    residuals = [error - rate for error in errs]
    total = 0.0
    for (one, r), (other, q) in itertools.product(zip(comparisons, residuals, strict=True), repeat=2):
        if set(one) & set(other):
            total += r * q
    return total / len(errs) ** 2


@given(st.data())
def test_the_dyadic_variance_is_the_sum_of_covariances_over_comparisons_that_share_a_subject(
    data: st.DataObject,
) -> None:
    """For any design of some people and any errors, whether the comparisons are all pairs or listed."""
    samples = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    comparisons = comparisons_of(samples)
    errs = data.draw(st.lists(st.booleans(), min_size=len(comparisons), max_size=len(comparisons)))
    first = [a for (a, _), error in zip(comparisons, errs, strict=True) if error]
    second = [b for (_, b), error in zip(comparisons, errs, strict=True) if error]
    expected = brute_variance(comparisons, errs)
    listed = ListedPairs([a for a, _ in comparisons], [b for _, b in comparisons])
    assert dyadic_variance(first, second, AllPairs(samples)) == pytest.approx(expected, abs=1e-12)
    assert dyadic_variance(second, first, listed) == pytest.approx(expected, abs=1e-12)


def test_four_people_by_hand() -> None:
    """A is like B and C, of A, B, C and D with one sample each.

    2 of 6 comparisons err, p = 1/3. Residuals: AB and AC 2/3, the other four -1/3. By subject: A 1, B 0, C 0, D -1.
    Sum of their squares 2; of all residuals 2 * 4/9 + 4 * 1/9 = 4/3; dyadic variance (2 - 4/3) / 36 = 1/54.
    Without A the rate is 0/3, without B or C 1/3, without D 2/3: the jackknife's sum is 2/9, less 4/3 / 36 it is 5/27.
    Worth (1/3 * 2/3) / (5/27) = 1.2 comparisons, of 6.
    """
    people = AllPairs([1, 1, 1, 1])
    spread = pair_spread([0, 0], [1, 2], people)
    assert dyadic_variance([0, 0], [1, 2], people) == pytest.approx(1 / 54)
    assert spread.variance == pytest.approx(5 / 27)
    assert spread.effective_trials == pytest.approx(1.2)
    # Two of four differ from the mean, by 1/3 each: 2 * (2/9)^2 / (2/81 - (2/9)^2 / 4) = 8.
    assert spread.degrees_of_freedom == pytest.approx(8.0)


def test_mated_comparisons_by_hand() -> None:
    """2 of 2, 0 of 2 and 0 of 2 errors: the rate without each person is 0, 1/2, 1/2; around 1/3 that is 1/6."""
    spread = subject_spread([2, 0, 0], [2, 2, 2])
    assert spread.rate == pytest.approx(1 / 3)
    assert spread.variance == pytest.approx(1 / 9 + 2 / 36)
    assert spread.effective_trials == pytest.approx((2 / 9) / (1 / 6))


def test_pairs_that_share_nobody_are_coin_tosses() -> None:
    """Where every comparison has people of its own, it counts as one, and the interval is that of coin tosses."""
    pairs = np.arange(400).reshape(200, 2)
    trials = ListedPairs(pairs[:, 0], pairs[:, 1])
    erred = pairs[:20]
    spread = pair_spread(erred[:, 0], erred[:, 1], trials)
    assert spread.effective_trials == pytest.approx(200, rel=0.03)
    interval, coins = spread.interval, wilson_interval(20, 200)
    assert (interval.low, interval.high) == pytest.approx((coins.low, coins.high), rel=0.06)


def test_one_person_like_many_costs_most_of_the_comparisons() -> None:
    """Thirty false matches of one person say far less than thirty of sixty people."""
    people = AllPairs(np.ones(100, int))
    of_one = pair_spread(np.zeros(30, int), np.arange(1, 31), people)
    of_many = pair_spread(np.arange(0, 60, 2), np.arange(1, 60, 2), people)
    assert of_one.effective_trials < 0.1 * of_many.effective_trials
    assert of_one.interval.high > 2 * of_many.interval.high


def wolves(rng: np.random.Generator, people: int) -> tuple[np.ndarray, np.ndarray]:
    """False matches of people who differ in how much they are like others."""
    strength = np.exp(rng.normal(scale=0.7, size=people))
    first, second = np.triu_indices(people, 1)
    erred = rng.random(first.size) < 0.01 * strength[first] * strength[second]
    return first[erred], second[erred]


def test_intervals_hold_the_rate_of_a_population_that_is_known() -> None:
    """Of 300 draws of 120 people from a boundless population, about 95 % of intervals hold its rate.

    The rate is 0.01 * E[strength]^2 = 0.01 * exp(0.49). At 300 draws 91 % is three standard errors
    below. The intervals of coin tosses hold it far less often.
    """
    rng = np.random.default_rng(5)
    truth, trials = 0.01 * math.exp(0.49), AllPairs(np.ones(120, int))
    held = naive = 0
    for _ in range(300):
        first, second = wolves(rng, 120)
        interval, coins = dependence_adjusted_wilson(first, second, trials), wilson_interval(first.size, trials.total)
        held += interval.low <= truth <= interval.high
        naive += coins.low <= truth <= coins.high
    assert 0.91 <= held / 300 <= 0.985
    assert naive / 300 < 0.75


def test_the_bootstrap_agrees_where_errors_are_many() -> None:
    """Where subjects and not single comparisons make the noise, both ways come to the same interval."""
    first, second = wolves(np.random.default_rng(2), 400)
    trials = AllPairs(np.ones(400, int))
    by_wilson = dependence_adjusted_wilson(first, second, trials)
    drawn = subject_bootstrap(first, second, trials, np.random.default_rng(3))
    assert (drawn.low, drawn.high) == pytest.approx((by_wilson.low, by_wilson.high), rel=0.07)


def test_the_bootstrap_of_listed_pairs_is_that_of_all_pairs() -> None:
    """The same comparisons, told in two ways."""
    samples = [2, 1, 3, 1, 2, 2]
    listed = ListedPairs(*np.array(comparisons_of(samples)).T)
    one = subject_bootstrap([0, 1, 2], [1, 2, 4], AllPairs(samples), np.random.default_rng(3), 50)
    other = subject_bootstrap([0, 1, 2], [1, 2, 4], listed, np.random.default_rng(3), 50)
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_without_an_error_only_people_who_share_nothing_count() -> None:
    """A thousand people, all compared, no error: 500 pairs are independent, so up to 0.8 %, not 8 in a million."""
    people = AllPairs(np.ones(1000, int))
    interval = dependence_adjusted_wilson([], [], people)
    assert interval == wilson_interval(0, 500)
    assert interval.high > 500 * wilson_interval(0, people.total).high
    assert subject_adjusted_wilson([0] * 40, [10] * 40) == wilson_interval(0, 40)
    assert subject_adjusted_wilson([10] * 40, [10] * 40) == wilson_interval(40, 40)


def test_a_chosen_threshold_counts_the_comparison_that_it_was_put_above() -> None:
    """On the upper side alone: of few errors that is much, and without any it is one error."""
    people = AllPairs(np.ones(200, int))
    first, second = np.arange(0, 100, 2), np.arange(1, 101, 2)
    for errors in (1, 5, 40):
        chosen = chosen_threshold_interval(first, second, errors, people)
        assert chosen.low == dependence_adjusted_wilson(first[:errors], second[:errors], people).low
        assert chosen.high == dependence_adjusted_wilson(first[: errors + 1], second[: errors + 1], people).high
        assert chosen.low < errors / people.total < chosen.high


def test_somebody_in_every_comparison_leaves_next_to_nothing_known() -> None:
    """One person against twenty others: how another person would fare cannot be told, and the interval says so."""
    trials = ListedPairs([0] * 20, list(range(1, 21)))
    interval = dependence_adjusted_wilson([0, 0], [1, 2], trials)
    assert interval.low < 0.1
    assert interval.high > 0.6


@given(st.lists(st.integers(1, 4), min_size=3, max_size=8), st.data())
def test_an_interval_lies_in_the_unit_interval_around_its_rate(samples: list[int], data: st.DataObject) -> None:
    """And never claims more than as many independent comparisons would."""
    comparisons = comparisons_of(samples)
    erred = data.draw(st.lists(st.sampled_from(comparisons), max_size=len(comparisons), unique_by=id))
    first, second = [a for a, _ in erred], [b for _, b in erred]
    interval = dependence_adjusted_wilson(first, second, AllPairs(samples))
    rate, coins = len(erred) / len(comparisons), wilson_interval(len(erred), len(comparisons))
    assert 0.0 <= interval.low <= rate + 1e-12
    assert rate - 1e-12 <= interval.high <= 1.0
    assert interval.high - interval.low >= coins.high - coins.low - 1e-12


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706205), (2, 4.302653), (3, 3.182446), (5, 2.570582), (10, 2.228139), (60, 2.000298)],
)
def test_students_quantile_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    """Golden numbers of the printed tables."""
    assert student_quantile(degrees) == pytest.approx(quantile, abs=1e-5)


def test_students_quantile_falls_to_that_of_the_normal() -> None:
    """The better the variance is known, the narrower."""
    values = [student_quantile(n) for n in (1, 1.5, 2, 2.1, 3, 4.9, 5.1, 30, 1000, 1e7, math.inf)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(("first", "second"), [([0], [0]), ([0, 1], [1]), ([0], [9]), ([-1], [0]), ([0] * 4, [1] * 4)])
def test_errors_that_cannot_be_are_refused(first: list[int], second: list[int]) -> None:
    """One with oneself, half a pair, somebody unknown, more errors than comparisons: refused by name."""
    with pytest.raises(InvalidInputError, match="pairs"):
        dependence_adjusted_wilson(first, second, AllPairs([1, 1, 1]))


def test_rates_of_nothing_are_refused() -> None:
    """No comparison, no rate."""
    with pytest.raises(InvalidInputError, match="trials"):
        dependence_adjusted_wilson([], [], AllPairs([3]))
    with pytest.raises(InvalidInputError, match="errors_by_subject"):
        subject_adjusted_wilson([0], [0])
    with pytest.raises(InvalidInputError, match="errors_by_subject"):
        subject_adjusted_wilson([2], [1])
