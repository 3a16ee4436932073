"""The decisions of several encoders become one that keeps a stated FMR."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.decision_fusion import DecidedAt, DecisionFusion, fit_decision_fusion, independent_weights
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError


def decided(count: int, rates: list[float], seed: int) -> np.ndarray:
    """Independent decisions with these rates of yes."""
    return np.random.default_rng(seed).random((count, len(rates))) < np.array(rates)


MATED = decided(2000, [0.95, 0.90, 0.85], 1)
NON_MATED = decided(20_000, [0.01, 0.02, 0.05], 2)


@pytest.mark.parametrize("fmr", [0.05, 0.01, 0.002])
@pytest.mark.parametrize("weights", [None, [4.0, 3.0, 2.0]])
def test_the_joint_fmr_is_kept_and_no_smaller_sum_would_keep_it(fmr: float, weights: list[float] | None) -> None:
    """The least sum is the smallest of those that keep the target, as a plain loop over all patterns says."""
    fitted = fit_decision_fusion(MATED, NON_MATED, fmr, weights)
    say = np.array(weights or [1.0, 1.0, 1.0])
    kept = []
    for pattern in itertools.product([0, 1], repeat=3):
        least = float(say @ pattern)
        if least > 0 and sum(float(say @ row) >= least for row in NON_MATED.tolist()) / len(NON_MATED) <= fmr:
            kept.append(least)
    assert fitted.least == pytest.approx(min(kept))
    assert fitted.fmr <= fmr
    assert fitted.fnmr == pytest.approx(1 - fitted.match(MATED).mean())


def test_three_together_are_better_than_the_best_alone() -> None:
    """At the best encoder's own FMR three independent ones miss fewer mated claims than it does."""
    fitted = fit_decision_fusion(MATED, NON_MATED, 0.011)
    assert fitted.fnmr < 1 - MATED[:, 0].mean()


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 2), st.floats(0.1, 9.0))
def test_no_yes_more_turns_a_match_into_none(decisions: list[bool], encoder: int, least: float) -> None:
    """The joint decision is monotone in each encoder's."""
    fusion = DecisionFusion(np.array([4.0, 3.0, 2.0]), least, 0.0, 1.0)
    more = decisions.copy()
    more[encoder] = True
    assert fusion.match([more])[0] >= fusion.match([decisions])[0]


def test_weights_are_the_ratio_of_a_yes_to_a_no() -> None:
    """A stricter encoder that misses no more weighs more; one at chance weighs nothing."""
    strict, loose, chance = independent_weights([DecidedAt(1e-3, 0.1), DecidedAt(1e-2, 0.1), DecidedAt(0.5, 0.5)])
    assert strict == pytest.approx(math.log(0.9 / 1e-3) - math.log(0.1 / 0.999))
    assert strict > loose > chance == 0.0


def test_encoders_that_always_err_together_match_nothing_below_their_rate() -> None:
    """Two copies of one encoder are worth one: below its FMR nothing matches, where independence would promise it."""
    same = np.repeat(decided(20_000, [0.01], 3), 2, axis=1)
    fitted = fit_decision_fusion(np.ones((10, 2), bool), same, 0.001)
    assert not fitted.match([[True, True]])[0]


def test_few_claims_carry_no_strict_rate() -> None:
    """The rule of 3 holds for joint decisions too."""
    with pytest.raises(CalibrationTooSmallError):
        fit_decision_fusion(MATED, NON_MATED[:100], 0.001)


@pytest.mark.parametrize("wrong", [[[0.3, 0.4, 0.1]], [True, False, True], np.zeros((0, 3), bool)])
def test_what_is_no_decision_is_told(wrong: object) -> None:
    """Scores in place of decisions and wrong shapes are errors."""
    with pytest.raises(InvalidInputError):
        fit_decision_fusion(MATED, wrong, 0.1)
