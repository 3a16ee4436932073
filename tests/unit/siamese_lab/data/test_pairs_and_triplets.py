"""Pairs and triplets: the laws that each maker keeps, and how evenly each draws."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from siamese_lab.data.pairs import Pairs, balanced_pairs, random_pairs
from siamese_lab.data.triplets import Triplets, balanced_triplets
from tessera.domain.errors import InvalidInputError

Maker = Callable[[np.ndarray, int, np.random.Generator], Pairs]
BOTH: list[Maker] = [balanced_pairs, random_pairs]

LABELS = nps.arrays(np.int64, st.integers(3, 30), elements=st.integers(-2, 5)).filter(
    lambda labels: len(set(labels.tolist())) > 1 and max(Counter(labels.tolist()).values()) > 1
)
COUNTS = st.integers(0, 60)
SEEDS = st.integers(0, 1000)


@pytest.mark.parametrize("make", BOTH)
@given(labels=LABELS, count=COUNTS, seed=SEEDS)
def test_pairs_are_what_they_say(make: Maker, labels: np.ndarray, count: int, seed: int) -> None:
    """Mated pairs show one class, the others two; no picture meets itself, and as many come as were asked for."""
    pairs = make(labels, count, np.random.default_rng(seed))
    assert len(pairs) == count
    assert (pairs.mated == (labels[pairs.first] == labels[pairs.second])).all()
    assert (pairs.first != pairs.second).all()
    assert pairs.first.dtype == pairs.second.dtype == np.int64
    assert pairs.mated.dtype == np.bool_


@given(labels=LABELS, count=COUNTS, seed=SEEDS, start=st.integers(0, 10), size=st.integers(1, 10))
def test_every_batch_of_balanced_pairs_is_balanced(
    labels: np.ndarray, count: int, seed: int, start: int, size: int
) -> None:
    """In any run of even length as many are mated as not, so in the whole, too."""
    mated = balanced_pairs(labels, count, np.random.default_rng(seed)).mated
    batch = mated[start : start + 2 * size]
    assert abs(int(batch.sum()) - int((~batch).sum())) <= len(batch) % 2
    assert int(mated.sum()) == (count + 1) // 2


@pytest.mark.parametrize("make", [*BOTH, balanced_triplets])
def test_a_seed_repeats_what_it_drew(make: Callable[..., Pairs | Triplets]) -> None:
    """The same seed draws the same, another one something else."""
    labels = np.repeat(np.arange(4), 10)
    drawn = [make(labels, 40, np.random.default_rng(seed)) for seed in (7, 7, 8)]
    columns = [np.stack([getattr(one, name) for name in one.__slots__]) for one in drawn]
    assert (columns[0] == columns[1]).all()
    assert (columns[0] != columns[2]).any()


def _shares(keys: list[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    return {key: times / len(keys) for key, times in Counter(keys).items()}


def _close(found: dict[tuple[int, ...], float], expected: dict[tuple[int, ...], float], draws: int) -> None:
    """Each share within 5 of its standard deviations; none that is not expected."""
    assert set(found) == set(expected)
    for key, share in expected.items():
        assert abs(found[key] - share) < 5 * (share / draws) ** 0.5


def test_balanced_pairs_prefer_no_picture() -> None:
    """Any picture first, then any that it may meet: as a loop over all pairs counts them, in classes of 4, 2 and 1."""
    labels, draws = np.array([0, 1, 0, 2, 0, 1, 0]), 60_000
    pairs = balanced_pairs(labels, draws, np.random.default_rng(3))
    for mated in (True, False):
        partners = {
            one: [two for two in range(7) if one != two and (labels[one] == labels[two]) == mated] for one in range(7)
        }
        able = [one for one in range(7) if partners[one]]
        expected = {(one, two): 1 / len(able) / len(partners[one]) for one in able for two in partners[one]}
        chosen = pairs.mated == mated
        found = zip(pairs.first[chosen].tolist(), pairs.second[chosen].tolist(), strict=True)
        _close(_shares(list(found)), expected, draws // 2)


def test_random_pairs_draw_as_the_example_of_matlab() -> None:
    """A coin, then classes evenly, then pictures evenly: as a loop over its functions counts them."""
    labels, draws = np.array([0, 0, 0, 0, 1, 1, 2, 2]), 60_000
    pairs = random_pairs(labels, draws, np.random.default_rng(4))
    of = {one: np.flatnonzero(labels == one).tolist() for one in range(3)}
    expected: dict[tuple[int, ...], float] = {}
    for one in range(3):
        for a, b in itertools.permutations(of[one], 2):
            expected[a, b] = 0.5 / 3 / (len(of[one]) * (len(of[one]) - 1))
    for one, two in itertools.permutations(range(3), 2):
        for a, b in itertools.product(of[one], of[two]):
            expected[a, b] = 0.5 / 6 / (len(of[one]) * len(of[two]))
    assert sum(expected.values()) == pytest.approx(1)
    _close(_shares(list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))), expected, draws)


# ---- triplets


@given(labels=LABELS, count=COUNTS, seed=SEEDS)
def test_triplets_are_what_they_say(labels: np.ndarray, count: int, seed: int) -> None:
    """The positive is another of the anchor's class, the negative of another class."""
    triplets = balanced_triplets(labels, count, np.random.default_rng(seed))
    assert len(triplets) == count
    assert (labels[triplets.anchor] == labels[triplets.positive]).all()
    assert (triplets.anchor != triplets.positive).all()
    assert (labels[triplets.anchor] != labels[triplets.negative]).all()


@given(labels=LABELS, count=COUNTS, seed=SEEDS)
def test_each_class_has_as_many_anchors(labels: np.ndarray, count: int, seed: int) -> None:
    """Of classes with two pictures, whatever their size; and no picture comes again before all of its class have."""
    triplets = balanced_triplets(labels, count, np.random.default_rng(seed))
    sizes = Counter(labels.tolist())
    several = [one for one, size in sizes.items() if size > 1]
    anchors = Counter(labels[triplets.anchor].tolist())
    assert set(anchors) <= set(several)
    assert max(anchors.values(), default=0) - min((anchors[one] for one in several), default=0) <= 1
    times = Counter(triplets.anchor.tolist())
    for one in several:
        own = [times[at] for at in np.flatnonzero(labels == one).tolist()]
        assert max(own) - min(own) <= 1


def test_anchors_come_in_no_order() -> None:
    """A batch holds anchors of many classes."""
    labels = np.repeat(np.arange(10), 50)
    anchors = labels[balanced_triplets(labels, 500, np.random.default_rng(0)).anchor]
    assert all(len(set(anchors[at : at + 50].tolist())) >= 8 for at in range(0, 500, 50))


def test_negatives_and_positives_are_drawn_evenly() -> None:
    """Each partner that can be is as likely as any other."""
    labels, draws = np.array([0, 0, 0, 1, 1, 2]), 40_000
    triplets = balanced_triplets(labels, draws, np.random.default_rng(5))
    from_first = triplets.anchor == 0
    rows = zip(triplets.positive[from_first].tolist(), triplets.negative[from_first].tolist(), strict=True)
    expected = {(one, two): 1 / 6 for one in (1, 2) for two in (3, 4, 5)}
    _close(_shares(list(rows)), expected, int(from_first.sum()))


@pytest.mark.parametrize("make", [*BOTH, balanced_triplets])
@pytest.mark.parametrize(
    ("field", "labels", "count"),
    [
        ("count", np.array([0, 0, 1]), -1),
        ("labels", np.array([4, 4, 4]), 2),
        ("labels", np.array([0, 1, 2]), 2),
        ("labels", np.array([], np.int64), 2),
        ("labels", np.array([[0, 0, 1]]), 2),
        ("labels", np.array([0.0, 0.0, 1.0]), 2),
    ],
    ids=["negative", "one-class", "all-alone", "empty", "two-sides", "floats"],
)
def test_what_cannot_be_drawn_is_refused(
    make: Callable[..., Pairs | Triplets], field: str, labels: np.ndarray, count: int
) -> None:
    """The error says what is missing: a second class, or a second picture of one."""
    with pytest.raises(InvalidInputError) as caught:
        make(labels, count, np.random.default_rng(0))
    assert caught.value.field == field


def test_columns_of_different_lengths_are_refused() -> None:
    """Pairs and triplets are rows."""
    two, three = np.zeros(2, np.int64), np.zeros(3, np.int64)
    with pytest.raises(InvalidInputError):
        Pairs(two, three, np.zeros(2, np.bool_))
    with pytest.raises(InvalidInputError):
        Triplets(two, two, three)
