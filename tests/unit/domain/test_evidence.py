"""Log-likelihood ratios, their fits and their cost: by hand, against naive loops, and by their laws."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain import evidence as ev
from tessera.domain.errors import InvalidInputError
from tessera.domain.logistic import Floats, fit_logistic, log_odds

GOLDEN: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "golden" / "evidence_by_hand.json").read_text()
)

scores = st.lists(st.integers(-30, 30).map(lambda x: x / 10), min_size=1, max_size=40)
rows = st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 9)), min_size=1, max_size=12)

RISING: list[Callable[[Any], Any]] = [np.exp, np.arctan, lambda s: s**3 + s, lambda s: 0.01 * s - 7]
each_rising = st.sampled_from(RISING)


def _samples(seed: int, shift: float = 2.0, mates: int = 400, others: int = 4000) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, mates), rng.normal(0, 1, others)


# ---- by hand


@pytest.mark.parametrize("case", GOLDEN["cllr"], ids=lambda case: case["name"])
def test_cllr_by_hand(case: dict[str, Any]) -> None:
    """The cost is that of the hand's working."""
    assert ev.cllr(case["mated_llrs"], case["non_mated_llrs"]) == pytest.approx(case["cllr"], abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["min_cllr"], ids=lambda case: case["name"])
def test_min_cllr_by_hand(case: dict[str, Any]) -> None:
    """The least cost is that of the hand's working."""
    assert ev.min_cllr(case["mated"], case["non_mated"]) == pytest.approx(case["min_cllr"], abs=1e-9)


@pytest.mark.parametrize("case", GOLDEN["isotonic"], ids=lambda case: str(case["values"]))
def test_isotonic_by_hand(case: dict[str, Any]) -> None:
    """The pools are those of the hand's working."""
    assert ev.isotonic(case["values"], case["weights"]) == pytest.approx(case["expected"])


def test_platt_by_hand() -> None:
    """Three of four mates and one of four others score 1: the line gives ln 3 there, and -ln 3 at 0."""
    line = ev.fit_platt([1.0, 1.0, 1.0, 0.0] * 2000, [0.0, 0.0, 0.0, 1.0] * 2000)
    assert line.llr([0.0, 1.0]) == pytest.approx([-math.log(3), math.log(3)], rel=1e-4)


def test_posterior_by_hand() -> None:
    """Odds of 3 for, times odds of 1 to 9 before, are 1 to 3: a quarter."""
    assert ev.posterior([math.log(3), -math.inf, math.inf], 0.1) == pytest.approx([0.25, 0.0, 1.0])


def test_reliability_by_hand() -> None:
    """Told 3/4 to one mate and one other: half came true, a quarter off."""
    (told,) = ev.reliability([math.log(3)], [math.log(3)], bins=4)
    assert (told.predicted, told.observed, told.weight) == pytest.approx((0.75, 0.5, 1.0))
    assert ev.expected_calibration_error((told,)) == pytest.approx(0.25)


# ---- laws


@given(scores, scores, each_rising)
def test_min_cllr_ignores_the_scale_of_scores(
    mated: list[float], non_mated: list[float], rising: Callable[[Any], Any]
) -> None:
    """A strictly rising map of the scores leaves the least cost where it is, between 0 and 1."""
    least = ev.min_cllr(mated, non_mated)
    assert 0.0 <= least <= 1.0 + 1e-12
    assert ev.min_cllr(rising(np.array(mated)), rising(np.array(non_mated))) == pytest.approx(least, abs=1e-12)


@given(scores, scores, each_rising, st.floats(0, 9), st.floats(-5, 5))
def test_no_rising_map_costs_less(
    mated: list[float], non_mated: list[float], rising: Callable[[Any], Any], slope: float, offset: float
) -> None:
    """Whatever rising map makes evidence of the scores, it costs at least the least."""
    mates, others = (rising(np.array(side)) * slope + offset for side in (mated, non_mated))
    assert ev.min_cllr(mated, non_mated) <= ev.cllr(mates, others) + 1e-9


@given(scores, scores)
def test_isotonic_evidence_costs_at_least_the_least(mated: list[float], non_mated: list[float]) -> None:
    """The fitted map never falls, is finite, and costs at least the least on what it was fitted on."""
    fitted = ev.fit_isotonic(mated, non_mated)
    everywhere = fitted.llr(np.linspace(-5, 5, 101))
    assert bool(np.isfinite(everywhere).all())
    assert bool((np.diff(everywhere) >= 0).all())
    assert ev.min_cllr(mated, non_mated) <= ev.cllr(fitted.llr(mated), fitted.llr(non_mated)) + 1e-9


@given(rows)
def test_isotonic_never_falls_and_does_nothing_twice(row: list[tuple[int, int]]) -> None:
    """What comes out never falls, keeps the weighted mean, and comes out again unchanged."""
    values, weights = np.array(row, dtype=float).T
    fitted = ev.isotonic(values, weights)
    assert bool((np.diff(fitted) >= 0).all())
    assert np.average(fitted, weights=weights) == pytest.approx(np.average(values, weights=weights), abs=1e-9)
    assert ev.isotonic(fitted, weights) == pytest.approx(fitted, abs=1e-12)


@given(rows)
def test_isotonic_against_a_naive_formula(row: list[tuple[int, int]]) -> None:
    """Each entry is the greatest over starts of the least over ends of the means between: the min-max formula."""
    values, weights = np.array(row, dtype=float).T

    def mean(start: int, end: int) -> float:
        return float(np.average(values[start : end + 1], weights=weights[start : end + 1]))

    naive = [
        max(min(mean(start, end) for end in range(at, len(row))) for start in range(at + 1)) for at in range(len(row))
    ]
    assert ev.isotonic(values, weights) == pytest.approx(naive, abs=1e-9)


@given(st.integers(0, 50), st.floats(0.1, 50), st.floats(-20, 20))
def test_platt_ignores_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    """Scores on another scale give the same evidence."""
    mated, non_mated = _samples(seed, mates=40, others=60)
    here = ev.fit_platt(mated, non_mated).llr(mated)
    assert ev.fit_platt(mated * scale + shift, non_mated * scale + shift).llr(mated * scale + shift) == pytest.approx(
        here, rel=1e-5, abs=1e-5
    )


# ---- fits


def test_platt_finds_the_line_that_made_the_scores() -> None:
    """Between normal distributions two apart the evidence is 2 s - 2, at every prior."""
    mated, non_mated = _samples(1, mates=40_000, others=40_000)
    for prior in (0.5, 0.02):
        line = ev.fit_platt(mated, non_mated, prior)
        assert line.slope == pytest.approx(2.0, rel=0.05)
        assert line.offset == pytest.approx(-2.0, rel=0.05)


def test_platt_costs_little_more_than_the_least_on_other_samples() -> None:
    """Fitted on one half, both maps cost within three hundredths of a bit of the least on the other."""
    here, there = _samples(2), _samples(3)
    least = ev.min_cllr(*there)
    for fitted in (ev.fit_platt(*here), ev.fit_isotonic(*here)):
        assert least <= ev.cllr(*(fitted.llr(side) for side in there)) < least + 0.03


@pytest.mark.parametrize("each", [2, 10, 10_000])
def test_separable_scores_give_finite_evidence(each: int) -> None:
    """Where no score overlaps, the evidence is finite, right, and grows with the number of comparisons."""
    mated, non_mated = np.linspace(1, 2, each), np.linspace(-1, 0, each)
    for fitted in (ev.fit_platt(mated, non_mated), ev.fit_isotonic(mated, non_mated)):
        assert 0 < fitted.llr(mated[-1:])[0] < 1e3
        assert -1e3 < fitted.llr(non_mated[:1])[0] < 0
    assert ev.fit_isotonic(mated, non_mated).llr([2.0])[0] == pytest.approx(math.log(each))


def test_logistic_fit_is_the_least_cost() -> None:
    """No step in any direction costs less than the fit."""
    rng = np.random.default_rng(4)
    mated, non_mated, prior = rng.normal([1, 0.5], 1, (300, 2)), rng.normal(0, 1, (900, 2)), 0.1

    def cost(weights: Floats, offset: float) -> float:
        bias = offset + log_odds(prior)
        mates = np.logaddexp(0, -(mated @ weights + bias)).mean()
        return float(prior * mates + (1 - prior) * np.logaddexp(0, non_mated @ weights + bias).mean())

    fit = fit_logistic(mated, non_mated, prior)
    least = cost(fit.weights, fit.offset)
    for step in rng.normal(0, 0.05, (40, 3)):
        assert cost(fit.weights + step[:2], fit.offset + step[2]) > least


def test_constant_feature_gets_no_weight_of_its_own() -> None:
    """A feature that never changes leaves the others' fit where it was."""
    mated, non_mated = _samples(5, mates=200, others=200)
    with_one = fit_logistic(np.column_stack([mated, np.ones(200)]), np.column_stack([non_mated, np.ones(200)]))
    assert with_one.weights[0] == pytest.approx(fit_logistic(mated[:, None], non_mated[:, None]).weights[0], rel=1e-4)


# ---- what is refused


def test_backward_scores_are_refused() -> None:
    """Scores that are higher for strangers are no evidence, and are not turned around in silence."""
    with pytest.raises(InvalidInputError):
        ev.fit_platt([0.0, 0.1], [1.0, 0.9])


@pytest.mark.parametrize("bad", [[], [math.nan], [[0.0]]])
def test_what_is_no_row_of_numbers_is_refused(bad: Any) -> None:
    """An empty row, a table and a NaN are refused by every measure."""
    for measure in (ev.cllr, ev.min_cllr, ev.fit_platt, ev.fit_isotonic, ev.reliability):
        with pytest.raises(InvalidInputError):
            measure(bad, [0.0])
        with pytest.raises(InvalidInputError):
            measure([0.0], bad)


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, math.nan])
def test_a_prior_is_a_probability_between(prior: float) -> None:
    """Certainty before the comparison leaves nothing to compare."""
    with pytest.raises(InvalidInputError):
        ev.posterior([0.0], prior)


def test_other_wrong_inputs_are_refused() -> None:
    """Weights that do not fit, bins below one, features of two widths."""
    with pytest.raises(InvalidInputError):
        ev.isotonic([1.0, 2.0], [1.0])
    with pytest.raises(InvalidInputError):
        ev.isotonic([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(InvalidInputError):
        ev.reliability([0.0], [0.0], bins=0)
    with pytest.raises(InvalidInputError):
        fit_logistic([[1.0, 2.0]], [[1.0]])
    with pytest.raises(InvalidInputError):
        fit_logistic([[math.inf]], [[1.0]])
