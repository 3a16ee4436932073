"""FPIR over all random galleries, against all galleries one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError
from tessera.domain.search_rates import (
    Searches,
    compare_searches,
    false_positive_rate,
    holds_one,
    measure_search_points,
    search_curve,
)


def people(count: int, samples: int, seed: int, dimensions: int = 8) -> tuple[Vectors, np.ndarray]:
    """Samples around centres that are random directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, dimensions))
    vectors = np.repeat(centres, samples, axis=0) + rng.normal(scale=0.4, size=(count * samples, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.repeat(np.arange(count), samples)


def drawn_searches(seed: int, subjects: int = 7) -> Searches:
    """Two probes of each of a few subjects, and the score of each with every other subject."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(subjects), 2)
    probe, reached = np.nonzero(owner[:, None] != np.arange(subjects)[None, :])
    scores = rng.random(probe.size)
    order = np.argsort(-scores)
    return Searches(scores[order], probe[order], reached[order], owner, subjects)


def enumerated(searches: Searches, threshold: float, size: int, without: int | None = None) -> float:
    """Every probe in every gallery of so many others: the share of searches that find somebody."""
    hits = {
        (int(probe), int(reached))
        for score, probe, reached in zip(searches.scores, searches.probe, searches.reached, strict=True)
        if score >= threshold
    }
    outcomes = []
    for probe, owner in enumerate(searches.probe_subject):
        others = [subject for subject in range(searches.subjects) if subject not in (owner, without)]
        if owner != without:
            outcomes += [
                any((probe, subject) in hits for subject in gallery) for gallery in itertools.combinations(others, size)
            ]
    return sum(outcomes) / len(outcomes)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_it_is_the_mean_over_all_galleries(size: int) -> None:
    """At every threshold there is, over each gallery of seven subjects that can be."""
    searches = drawn_searches(seed=3)
    curve = search_curve(searches, size)
    for at in range(0, searches.scores.size, 5):
        assert curve[at] == pytest.approx(enumerated(searches, searches.scores[at], size))


def test_its_interval_leaves_each_subject_out() -> None:
    """The variance is that of the rates without each subject, counted over all galleries, less what pairs add."""
    searches = drawn_searches(seed=4)
    threshold, size = float(searches.scores[12]), 3
    spread = false_positive_rate(searches, threshold, size)
    rate = enumerated(searches, threshold, size)
    jackknife = sum((enumerated(searches, threshold, size, without) - rate) ** 2 for without in range(7))
    assert spread.rate == pytest.approx(rate)
    # What two subjects have with each other: a hit's share of the galleries that hold one.
    chance = holds_one(5, size, 6)
    found = np.bincount(searches.probe[:13], minlength=14)
    pairs: dict[frozenset[int], float] = {}
    for probe, reached in zip(searches.probe[:13], searches.reached[:13], strict=True):
        pair = frozenset((int(searches.probe_subject[probe]), int(reached)))
        pairs[pair] = pairs.get(pair, 0.0) + float(chance[found[probe]] - chance[found[probe] - 1])
    single = sum(share**2 for share in pairs.values()) / 14**2
    assert spread.variance == pytest.approx(max(jackknife - single, single))


@given(st.integers(1, 40), st.data())
def test_the_chance_that_a_gallery_holds_one_is_hypergeometric(others: int, data: st.DataObject) -> None:
    """1 - C(m - k, n) / C(m, n), by whole numbers."""
    size, reached = data.draw(st.integers(1, others)), data.draw(st.integers(0, others))
    expected = [1 - math.comb(others - k, size) / math.comb(others, size) for k in range(reached + 1)]
    np.testing.assert_allclose(holds_one(others, size, reached), expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 4, 15])
def test_it_rises_with_the_gallery_and_falls_with_the_threshold(size: int) -> None:
    """A larger gallery holds whoever a smaller one does."""
    searches = compare_searches(*people(40, 3, seed=1), np.random.default_rng(2))
    curve, larger = search_curve(searches, size), search_curve(searches, size + 3)
    assert (np.diff(curve) >= -1e-15).all()
    assert (larger >= curve - 1e-15).all()


def test_scores_against_a_naive_loop() -> None:
    """Each sample against one sample of each other subject, over more rows than one block holds."""
    vectors, owner = people(180, 3, seed=5)
    searches = compare_searches(vectors, owner, np.random.default_rng(2))
    enrolled: dict[int, int] = {}
    assert (owner[searches.probe] != searches.reached).all()
    for probe, reached, score in zip(searches.probe, searches.reached, searches.scores, strict=True):
        scores = vectors[3 * reached : 3 * reached + 3] @ vectors[probe]
        at = int(np.argmin(np.abs(scores - score)))
        assert scores[at] == pytest.approx(score, abs=1e-6)
        assert enrolled.setdefault(int(reached), at) == at
    assert searches.scores.size == 540 * 179 // 50 + 1
    assert (np.diff(searches.scores) <= 0).all()


def test_intervals_hold_the_rate_of_other_people() -> None:
    """Of 100 times 150 people of 1,200, some 95 intervals hold the rate of all of them; 89 are three errors below."""
    vectors, owner = people(1200, 1, seed=9)
    everybody = compare_searches(vectors, owner, np.random.default_rng(0))
    truths = search_curve(everybody, 30)
    rng, held = np.random.default_rng(1), 0
    for _ in range(100):
        chosen = np.sort(rng.choice(1200, 150, replace=False))
        part = compare_searches(vectors[chosen], np.arange(150), rng)
        threshold = float(part.scores[np.searchsorted(search_curve(part, 30), 0.05)])
        interval = false_positive_rate(part, threshold, 30).interval
        held += interval.low <= truths[everybody.above(threshold) - 1] <= interval.high
    assert held >= 89


def test_points_are_what_the_curve_says() -> None:
    """By size, each strictly falling in rate, none below what so many probes can carry."""
    searches = compare_searches(*people(100, 3, seed=6), np.random.default_rng(2))
    points = measure_search_points(searches)
    assert [point.gallery_size for point in points] == sorted(point.gallery_size for point in points)
    assert {point.gallery_size for point in points} == {10, 20, 49}
    for size in (10, 49):
        of_size = [point for point in points if point.gallery_size == size]
        curve = search_curve(searches, size)
        for point in of_size:
            assert point.fpir == pytest.approx(curve[searches.above(point.threshold) - 1])
            assert point.fpir_interval.low < point.fpir < point.fpir_interval.high
            assert 0.0 < point.fpir <= 0.1
        assert all(one.threshold < other.threshold for one, other in itertools.pairwise(of_size))
    assert min(point.fpir for point in points) > 0.005


def test_what_cannot_be_searched_is_refused() -> None:
    """Too few subjects, more than there are, a threshold below what was kept."""
    vectors, owner = people(10, 2, seed=1)
    searches = compare_searches(vectors, owner, np.random.default_rng(1))
    with pytest.raises(InvalidInputError, match="subjects"):
        compare_searches(vectors[:4], owner[:4], np.random.default_rng(1))
    with pytest.raises(InvalidInputError, match="gallery_size"):
        search_curve(searches, 10)
    with pytest.raises(InvalidInputError, match="gallery_size"):
        false_positive_rate(searches, 0.9, 9)
    with pytest.raises(InvalidInputError, match="threshold"):
        false_positive_rate(searches, -1.0, 3)
