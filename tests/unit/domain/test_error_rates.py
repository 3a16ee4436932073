"""Error rates against hand-made score sets, naive loops, and the laws that they obey."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain import error_rates as er
from tessera.domain.errors import InvalidInputError

MATED = [0.9, 0.8, 0.7, 0.3]
NON_MATED = [0.1, 0.2, 0.35, 0.4, 0.75]

scores = st.lists(st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 3)), min_size=1, max_size=60)


def test_rates_by_hand() -> None:
    """A score equal to the threshold matches: one of five non-mated reaches 0.75, one of four mates misses 0.7."""
    assert er.false_match_rate(NON_MATED, 0.75) == pytest.approx(1 / 5)
    assert er.false_non_match_rate(MATED, 0.7) == pytest.approx(1 / 4)


def test_equal_error_rate_by_hand() -> None:
    """At 0.4 two of five others match and one of four mates misses; at 0.7 it is one of five and one of four."""
    rate, threshold = er.equal_error_rate(MATED, NON_MATED)
    assert rate == pytest.approx((1 / 5 + 1 / 4) / 2)
    assert threshold == pytest.approx(0.7)


@given(scores, st.floats(0.01, 1.0))
def test_threshold_keeps_its_promise(non_mated: list[float], fmr: float) -> None:
    """The FMR at the threshold is at most the target, and any lower score among the data would break it."""
    threshold = er.threshold_at_fmr(non_mated, fmr)
    assert er.false_match_rate(non_mated, threshold) <= fmr + 1e-9
    lower = [score for score in non_mated if score < threshold]
    if lower:
        assert er.false_match_rate(non_mated, max(lower)) > fmr


@given(scores, scores)
def test_equal_error_rate_against_a_naive_loop(mated: list[float], non_mated: list[float]) -> None:
    """No threshold among the scores brings the two rates closer than the one that was chosen."""
    rate, threshold = er.equal_error_rate(mated, non_mated)
    gaps = []
    for candidate in sorted(set(mated) | set(non_mated)):
        fnmr = sum(score < candidate for score in mated) / len(mated)
        fmr = sum(score >= candidate for score in non_mated) / len(non_mated)
        gaps.append((abs(fnmr - fmr), candidate, (fnmr + fmr) / 2))
    chosen = next(gap for gap in gaps if gap[1] == pytest.approx(threshold, abs=1e-12))
    assert chosen[0] == pytest.approx(min(gaps)[0], abs=1e-12)
    assert chosen[2] == pytest.approx(rate)


@given(scores, scores)
def test_equal_error_rate_ignores_the_scale_of_scores(mated: list[float], non_mated: list[float]) -> None:
    """A strictly rising map of the scores changes no error rate."""
    plain, _ = er.equal_error_rate(mated, non_mated)
    mapped, _ = er.equal_error_rate(np.exp(np.array(mated)) * 3, np.exp(np.array(non_mated)) * 3)
    assert mapped == pytest.approx(plain)


@given(st.integers(1, 10_000), st.data())
def test_wilson_interval_holds_its_rate(trials: int, data: st.DataObject) -> None:
    """The interval lies in [0, 1] and around the measured rate."""
    errors = data.draw(st.integers(0, trials))
    interval = er.wilson_interval(errors, trials)
    assert 0.0 <= interval.low <= errors / trials <= interval.high <= 1.0


def test_wilson_interval_by_the_book() -> None:
    """10 errors in 100: 5.5 % to 17.4 % (Brown, Cai and DasGupta 2001, table)."""
    interval = er.wilson_interval(10, 100)
    assert (interval.low, interval.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)


def test_the_rule_of_three() -> None:
    """An FMR of 1e-4 needs 30,000 error-free comparisons; the smallest rate there is needs more than anybody has."""
    assert er.comparisons_needed(1e-4) == 30_000
    assert er.comparisons_needed(5e-324) > 10**18


@given(st.floats(1e-4, 0.5), st.integers(1, 1_000_000))
def test_a_search_is_stricter_than_a_comparison(fpir: float, gallery_size: int) -> None:
    """Over `gallery_size` independent comparisons the FMR adds up to the FPIR again."""
    fmr = er.fmr_for_fpir(fpir, gallery_size)
    assert 0 < fmr <= fpir + 1e-12
    assert -math.expm1(gallery_size * math.log1p(-fmr)) == pytest.approx(fpir, rel=1e-6)


@pytest.mark.parametrize(
    ("fpir", "size", "field"), [(0.0, 5, "target_fpir"), (1.0, 5, "target_fpir"), (0.1, 0, "gallery_size")]
)
def test_a_rate_that_is_none_is_named(fpir: float, size: int, field: str) -> None:
    """The error names the field that is wrong."""
    with pytest.raises(InvalidInputError) as raised:
        er.fmr_for_fpir(fpir, size)
    assert raised.value.field == field


@pytest.mark.parametrize("bad", [[], [float("nan")], [[0.1, 0.2]]])
def test_scores_that_are_none_are_refused(bad: list[float]) -> None:
    """Empty, not finite or not one row: refused by name."""
    with pytest.raises(InvalidInputError, match="non_mated"):
        er.false_match_rate(bad, 0.5)
