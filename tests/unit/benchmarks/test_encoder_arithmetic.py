"""The mathematics of the encoder's benchmark: percentiles, schedules, slopes, ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.encoder.arithmetic import (
    mean_between,
    median_ratio,
    percentile,
    percentile_interval,
    poisson_arrivals,
    slope,
)

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@given(VALUES, st.floats(0.01, 1.0))
def test_a_percentile_is_a_value_that_occurred_and_enough_others_do_not_exceed_it(
    values: list[float], share: float
) -> None:
    """Against a naive search: the smallest value that at least that share of the values does not exceed."""
    enough = [v for v in values if sum(other <= v for other in values) >= share * len(values) - 1e-9]
    assert percentile(values, share) == min(enough)


def test_the_p99_of_300_calls_is_the_fourth_slowest() -> None:
    """297 of 300 must be at most as slow, so three may be slower."""
    assert percentile([float(ms) for ms in range(1, 301)], 0.99) == 297.0


def test_nothing_has_no_percentile() -> None:
    """A bar that is compared with NaN does not hold."""
    assert math.isnan(percentile([], 0.99))
    assert not percentile([], 0.99) < 50.0


@given(VALUES)
def test_a_percentile_lies_in_its_interval(values: list[float]) -> None:
    """However few values there are."""
    low, high = percentile_interval(values, 0.9)
    assert low <= percentile(values, 0.9) <= high


def test_a_percentiles_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 400 samples of 300 draws, about 95 % have the true p90 in their interval."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        low, high = percentile_interval(rng.uniform(size=300).tolist(), 0.9)
        covered += low <= 0.9 <= high
    assert 0.92 <= covered / 400 <= 0.99


def test_arrivals_are_poisson() -> None:
    """Their number has the mean and variance of a Poisson count; the same seed gives the same moments, in order."""
    counts = [poisson_arrivals(50.0, 2.0, seed).size for seed in range(400)]
    assert np.mean(counts) == pytest.approx(100.0, rel=0.02)
    assert np.var(counts) == pytest.approx(100.0, rel=0.25)
    moments = poisson_arrivals(50.0, 2.0, 1)
    assert np.array_equal(moments, poisson_arrivals(50.0, 2.0, 1))
    assert (np.diff(moments) > 0).all()
    assert moments[-1] < 2.0


@given(st.floats(-10, 10), st.floats(-1e3, 1e3), st.integers(2, 40))
def test_the_slope_of_a_line_is_found(rate: float, start: float, points: int) -> None:
    """Exactly, wherever it starts."""
    at = [float(minute) for minute in range(points)]
    assert slope(at, [start + rate * minute for minute in at]) == pytest.approx(rate, abs=1e-6)


def test_a_single_point_has_no_slope() -> None:
    """And is no error: a service that died at once is told elsewhere."""
    assert slope([1.0], [5.0]) == 0.0


def test_a_mean_between_moments_takes_the_first_and_leaves_the_last() -> None:
    """By hand."""
    assert mean_between([0.0, 1.0, 2.0], [1.0, 3.0, 100.0], 0.0, 2.0) == 2.0
    assert math.isnan(mean_between([0.0], [1.0], 1.0, 2.0))


def test_a_drift_of_the_machine_falls_out_of_the_median_ratio() -> None:
    """Both are measured in turn on a machine that gets slower: their ratio stays."""
    assert median_ratio([90.0, 45.0, 9.0], [100.0, 50.0, 10.0]) == pytest.approx(0.9)
