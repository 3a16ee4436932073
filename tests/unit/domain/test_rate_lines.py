"""Lines between and beyond measured rates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.error_rates import Interval
from tessera.domain.rate_lines import MeasuredRate, between, beyond, of_any, of_one

rates = st.floats(1e-9, 0.5)


def at(score: float, rate: float, factor: float = 2.0) -> MeasuredRate:
    """A rate with an interval of a factor to each side."""
    return MeasuredRate(score, rate, Interval(rate / factor, min(1.0, rate * factor)))


@given(rates, st.integers(1, 10_000))
def test_one_of_several_and_back(rate: float, chances: int) -> None:
    """What each chance must be for all of them together, and all together for each."""
    each = of_one(rate, chances)
    assert 0.0 < each <= rate * (1 + 1e-12)
    assert of_any(each, chances) == pytest.approx(rate, rel=1e-9)


def test_half_way_between_two_rates_is_their_geometric_mean() -> None:
    """1e-3 at 0.4 and 1e-5 at 0.6: 1e-4 at 0.5, and so the bounds."""
    found = between(at(0.4, 1e-3), at(0.6, 1e-5), 0.5)
    assert (found.score, found.rate) == pytest.approx((0.5, 1e-4))
    assert (found.interval.low, found.interval.high) == pytest.approx((0.5e-4, 2e-4))


def test_a_bound_of_zero_is_drawn_straight() -> None:
    """There is no logarithm of nothing."""
    found = between(MeasuredRate(0.4, 0.1, Interval(0.0, 0.2)), at(0.6, 0.01), 0.5)
    assert found.interval.low == pytest.approx(0.0025)


def test_beyond_a_straight_line_goes_on() -> None:
    """A decade for each 0.1: two more decades lie 0.2 further, and the interval is wider there."""
    tail = [at(0.4, 1e-3), at(0.5, 1e-4), at(0.6, 1e-5)]
    found = beyond(tail, 1e-7)
    assert found.extrapolated
    assert found.score == pytest.approx(0.8)
    # The outermost lines: from 2e-3 to 5e-6 and from 5e-4 to 2e-5, each as far again.
    assert found.interval.low == pytest.approx(5e-6 * (5e-6 / 2e-3), rel=1e-6)
    assert found.interval.high == pytest.approx(2e-5 * (2e-5 / 5e-4), rel=1e-6)
    assert found.interval.high / found.interval.low > tail[-1].interval.high / tail[-1].interval.low


def test_beyond_never_falls_back_behind_what_was_measured() -> None:
    """Where the line of least squares would give a lower score, the score lies above the last measured one."""
    tail = [at(0.4, 1e-3), at(0.41, 1e-4), at(0.9, 0.99e-4)]
    found = beyond(tail, 0.98e-4)
    assert found.score == math.nextafter(0.9, 1.0)
    assert found.interval.low <= found.rate <= found.interval.high


def test_beyond_an_interval_that_reaches_zero() -> None:
    """It goes on reaching zero, and up to what was measured last."""
    tail = [MeasuredRate(0.4, 1e-3, Interval(0.0, 1e-2)), at(0.5, 1e-4), at(0.6, 1e-5)]
    found = beyond(tail, 1e-6)
    assert found.interval.low <= 1e-6 <= found.interval.high
