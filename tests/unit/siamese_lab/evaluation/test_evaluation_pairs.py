"""Figures of pairs: by hand on a few scores, against naive loops, and the laws that scores and intervals keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese_lab.data.pairs import Pairs, balanced_pairs
from siamese_lab.evaluation import estimates as e
from siamese_lab.evaluation import pairs as p
from siamese_lab.evaluation.probability import Scaling, judge_probabilities
from tessera.domain.dependence import ListedPairs, dependence_adjusted_wilson
from tessera.domain.error_rates import wilson_interval
from tessera.domain.errors import InvalidInputError


def scored(scores: list[float], mated: list[bool]) -> p.PairScores:
    """Pairs no two of which share a picture."""
    count = len(scores)
    return p.PairScores(np.array(scores), np.array(mated), np.arange(count) * 2, np.arange(count) * 2 + 1)


def embedded(seed: int, count: int = 60, classes: int = 4, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Clouds that overlap."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    middles = rng.normal(size=(classes, d)) * 1.5
    return (middles[labels] + rng.normal(size=(count, d))).astype(np.float32), labels.astype(np.int64)


def rotation(d: int, seed: int) -> np.ndarray:
    """A turn of the space."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


# ---- by hand


def test_scores_are_minus_the_distance_or_the_cosine() -> None:
    """(3, 4) is 5 from the origin, which has no direction; (1, 0) and (0, 2) are at a right angle."""
    vectors = np.array([[0, 0], [3, 4], [1, 0], [0, 2]], np.float32)
    pairs = Pairs(np.array([0, 2, 1]), np.array([1, 3, 1]), np.array([True, False, True]))
    assert p.pair_scores(vectors, pairs, p.Comparison.EUCLIDEAN) == pytest.approx([-5.0, -np.sqrt(5.0), 0.0])
    assert p.pair_scores(vectors, pairs, p.Comparison.COSINE) == pytest.approx([0.0, 0.0, 1.0])


def test_every_figure_of_six_pairs() -> None:
    """At 0.5 two of three mated pairs match and one of three others: 4 of 6 are right, precision and recall 2 of 3."""
    test = scored([0.9, 0.6, 0.3, 0.5, 0.2, 0.1], [True, True, True, False, False, False])
    found = p.judge_pairs_at(0.5, test, np.random.default_rng(0), targets=(0.5,))
    for rate in (found.accuracy, found.precision, found.recall, found.f1):
        assert rate is not None
        assert rate.value == pytest.approx(2 / 3)
        assert rate.interval.low < rate.value < rate.interval.high
    assert found.fmr.value == pytest.approx(1 / 3)
    assert found.fnmr.value == pytest.approx(1 / 3)
    assert found.auc.value == pytest.approx(8 / 9)
    assert found.eer.value == pytest.approx(1 / 3)
    assert found.flattering_accuracy == pytest.approx(5 / 6)
    assert (found.pairs, found.mated) == (6, 3)
    assert found.curve[0].fmr == 1.0
    assert found.curve[0].fnmr == 0.0
    assert found.curve[-1].fmr == 0.0
    assert found.curve[-1].fnmr == 1.0


def test_the_threshold_is_the_validation_s_and_not_the_test_s() -> None:
    """Validation parts at 5; on the test 0.5 would have been right everywhere, and is not used."""
    validation = scored([6.0, 5.0, 1.0, 0.0], [True, True, False, False])
    test = scored([0.9, 0.8, 0.1, 0.0], [True, True, False, False])
    found = p.judge_pairs(validation, test, np.random.default_rng(0), targets=())
    assert found.threshold == 5.0
    assert found.accuracy.value == 0.5
    assert found.flattering_accuracy == 1.0


def test_a_rate_needs_three_over_it_pairs() -> None:
    """At a target of 1 in 2 six others are enough; one in ten needs thirty, and says so."""
    test = scored([0.9, 0.8, 0.1] + [0.1 * at for at in range(6)], [True] * 3 + [False] * 6)
    carried, beyond = p.fnmr_at_fmr(test, 0.5), p.fnmr_at_fmr(test, 0.1)
    assert carried.threshold == pytest.approx(0.2, abs=1e-9)
    assert carried.fmr is not None
    assert carried.fmr.value == pytest.approx(3 / 6)
    assert carried.fnmr is not None
    assert carried.fnmr.value == pytest.approx(1 / 3)
    assert carried.fmr.interval.high > wilson_interval(3, 6).high - 0.1
    assert beyond.needed == 30
    assert (beyond.threshold, beyond.fmr, beyond.fnmr) == (None, None, None)


def test_nothing_matches_so_that_nothing_is_precise() -> None:
    """Precision is not told, recall and F1 are 0."""
    found = p.judge_pairs_at(9.0, scored([1.0, 0.0, 0.5], [True, False, False]), np.random.default_rng(0))
    assert found.precision is None
    assert found.recall.value == 0.0
    assert found.f1.value == 0.0


def test_no_error_is_no_proof() -> None:
    """Where no pair errs, EER and accuracy still allow what so few pictures cannot exclude."""
    test = scored([0.9, 0.8, 0.7, 0.1, 0.0, 0.2], [True, True, True, False, False, False])
    found = p.judge_pairs_at(0.5, test, np.random.default_rng(0))
    assert found.eer.value == 0.0
    assert found.eer.interval.high > 0.3
    assert found.accuracy.interval.low < 0.7


@pytest.mark.parametrize("mated", [[True, True], [False, False]])
def test_one_kind_of_pairs_is_refused(mated: list[bool]) -> None:
    """Without mated pairs, or without others, there is nothing to tell apart."""
    with pytest.raises(InvalidInputError, match="mated"):
        scored([0.1, 0.2], mated)


# ---- against loops, and laws


def test_the_area_and_the_curve_against_naive_loops() -> None:
    """Ties count half; each point of the curve is what a loop over pairs gives at its threshold."""
    rng = np.random.default_rng(4)
    mated = rng.random(200) < 0.4
    scores = np.round(rng.normal(size=200) + mated, 1)
    mates, others = scores[mated], scores[~mated]
    wins = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in mates for b in others])
    assert p.area_under_curve(scores, mated) == pytest.approx(wins)
    for point in p.roc_curve(scores, mated, 40):
        assert point.fmr == pytest.approx(np.mean([one >= point.threshold for one in others]))
        assert point.fnmr == pytest.approx(np.mean([one < point.threshold for one in mates]))


@given(seed=st.integers(0, 200))
def test_a_turn_of_the_space_changes_no_score(seed: int) -> None:
    """Distances and cosines stay where the whole space is turned."""
    vectors, labels = embedded(seed)
    pairs = balanced_pairs(labels, 80, np.random.default_rng(seed))
    turned = (vectors @ rotation(5, seed)).astype(np.float32)
    for comparison in p.Comparison:
        before, after = p.pair_scores(vectors, pairs, comparison), p.pair_scores(turned, pairs, comparison)
        assert after == pytest.approx(before, abs=1e-5)


def test_a_turn_of_the_space_changes_no_figure() -> None:
    """The whole value object is the same, intervals too, to the rounding of float32."""
    vectors, labels = embedded(3)
    pairs = balanced_pairs(labels, 200, np.random.default_rng(3))
    found = []
    for space in (vectors, (vectors @ rotation(5, 8)).astype(np.float32)):
        scores = p.score_pairs(space, pairs, p.Comparison.EUCLIDEAN)
        # Rounded, so that no tie is broken by float32's last digit.
        kept = p.with_scores(np.round(scores.scores, 4), pairs)
        found.append(p.judge_pairs(kept, kept, np.random.default_rng(1)))
    assert found[0] == found[1]


@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: any(hit for _, _, hit in rows) and not all(hit for _, _, hit in rows)
    )
)
def test_the_interval_of_pairs_is_the_domain_s(pairs: list[tuple[int, int, bool]]) -> None:
    """Where no pair lies within one unit, the rate's interval is that of `tessera.domain.dependence`."""
    first, second, counted = (np.array(column) for column in zip(*pairs, strict=True))
    second = np.where(first == second, 7, second)
    found = e.rate_of_pairs(counted, first, second)
    expected = dependence_adjusted_wilson(first[counted], second[counted], ListedPairs(first, second))
    assert found.value == pytest.approx(counted.mean())
    assert found.interval.low == pytest.approx(expected.low, abs=1e-9)
    assert found.interval.high == pytest.approx(expected.high, abs=1e-9)


def test_pairs_that_share_a_picture_are_worth_less() -> None:
    """A hundred pairs of one picture that errs say less than a hundred of two hundred pictures."""
    counted = np.arange(200) < 100
    alone = e.rate_of_pairs(counted, np.arange(200) * 2, np.arange(200) * 2 + 1)
    shared = e.rate_of_pairs(counted, np.where(counted, 0, 1), np.arange(200) + 2)
    assert shared.interval.high - shared.interval.low > 2 * (alone.interval.high - alone.interval.low)


def test_pairs_within_a_unit_are_counted_once() -> None:
    """Mated pairs of classes: ten pairs of each of ten classes, of which one class is all wrong."""
    unit = np.repeat(np.arange(10), 10)
    found = e.rate_of_pairs(unit == 0, unit, unit)
    assert found.value == pytest.approx(0.1)
    assert found.interval.low < 0.03
    assert found.interval.high > 0.3
    nothing = e.rate_of_pairs(np.zeros(100, bool), unit, unit)
    assert nothing.interval.high == pytest.approx(wilson_interval(0, 10).high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_the_interval_of_a_mean_holds_it_and_stays_inside(values: list[float]) -> None:
    """Of any values in [0, 1], alike or not."""
    found = e.mean_of_items(values)
    assert found.value == pytest.approx(np.mean(values))
    assert 0.0 <= found.interval.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.interval.high <= 1.0


def test_the_interval_of_a_mean_covers() -> None:
    """Over 400 samples of a skewed distribution with a known mean, about 95 in 100 intervals hold it."""
    rng = np.random.default_rng(6)
    inside = 0
    for _ in range(400):
        interval = e.mean_of_items(rng.beta(0.5, 4.0, 60)).interval
        inside += interval.low <= 0.5 / 4.5 <= interval.high
    assert 0.91 <= inside / 400 <= 0.99


def test_resampling_weighs_pairs_by_their_units_and_repeats_itself() -> None:
    """The same seed gives the same interval; that of a hundred pairs of four units is as wide as four are."""
    values = np.repeat([0.0, 1.0], 50)
    unit = np.repeat(np.arange(4), 25)
    measures = [
        e.resampled(lambda which: float(values[which].mean()), unit, unit, np.random.default_rng(2)) for _ in range(2)
    ]
    assert measures[0] == measures[1]
    assert measures[0].value == 0.5
    assert measures[0].interval.low <= 0.1
    assert measures[0].interval.high >= 0.9


# ---- probabilities


def test_probabilities_are_fitted_on_one_set_and_judged_on_the_other() -> None:
    """Well parted normal scores: both maps cost little more than the least, and nearly come true."""
    rng = np.random.default_rng(0)
    sets = []
    for _ in range(2):
        mated = np.arange(600) % 2 == 0
        sets.append(scored(list(rng.normal(size=600) + 2.0 * mated), list(mated)))
    for scaling in Scaling:
        found = judge_probabilities(sets[0], sets[1], scaling, np.random.default_rng(1))
        assert found.least_cllr <= found.cllr.value < found.least_cllr + 0.08
        assert found.ece.value < 0.08
        assert found.cllr.interval.low <= found.cllr.value <= found.cllr.interval.high
        assert sum(part.weight for part in found.bins) == pytest.approx(1.0)


def test_scores_that_mislead_have_no_probability() -> None:
    """Platt's line must not fall: mated pairs that score lower are refused."""
    upside_down = scored([0.0, 0.1, 0.9, 1.0], [True, True, False, False])
    with pytest.raises(InvalidInputError, match="mated"):
        judge_probabilities(upside_down, upside_down, Scaling.PLATT, np.random.default_rng(0))
