"""Parts: nothing is lost, nothing is in two of them, and each protocol keeps what it promises."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from siamese_lab.data.partition import (
    Partition,
    Protocol,
    Shares,
    balanced_sample,
    by_class,
    by_item,
    divide,
    joined,
)
from siamese_lab.data.sources import LabelledImages
from tessera.domain.errors import InvalidInputError

LABELS = nps.arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 6))
SEEDS = st.integers(0, 1000)
SHARES = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)).filter(any).map(
    lambda parts: Shares(parts[0] / sum(parts), parts[1] / sum(parts), 1 - (parts[0] + parts[1]) / sum(parts))
)  # fmt: skip


def _images(labels: np.ndarray, first: int = 0) -> LabelledImages:
    """Pictures that say which they are."""
    numbers = first + np.arange(len(labels))
    pixels = np.stack([numbers % 256, numbers // 256], axis=1).astype(np.uint8).reshape(-1, 1, 2, 1)
    return LabelledImages(pixels, labels, tuple("abcdefg"))


def _numbers(images: LabelledImages) -> list[int]:
    pixels = images.images[:, 0, :, 0].astype(int)
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


def _parts(cut: Partition) -> list[np.ndarray]:
    return [cut.train, cut.validation, cut.test]


@pytest.mark.parametrize("cut_by", [by_item, by_class])
@given(labels=LABELS, shares=SHARES, seed=SEEDS)
def test_every_picture_is_in_one_part(cut_by: object, labels: np.ndarray, shares: Shares, seed: int) -> None:
    """Together the parts are all pictures, each once, in rising order."""
    assert callable(cut_by)
    parts = _parts(cut_by(labels, np.random.default_rng(seed), shares))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert all((np.diff(part) > 0).all() for part in parts)


@given(labels=LABELS, shares=SHARES, seed=SEEDS)
def test_items_are_divided_within_each_class(labels: np.ndarray, shares: Shares, seed: int) -> None:
    """Each class gives each part its share, at most one picture more or less."""
    parts = _parts(by_item(labels, np.random.default_rng(seed), shares))
    for one, size in Counter(labels.tolist()).items():
        for part, share in zip(parts, (shares.train, shares.validation, shares.test), strict=True):
            assert abs(int((labels[part] == one).sum()) - share * size) <= 1 + 1e-9


@given(labels=LABELS, shares=SHARES, seed=SEEDS)
def test_no_class_is_in_two_parts(labels: np.ndarray, shares: Shares, seed: int) -> None:
    """Whoever is judged on was never trained on; and each part has its share of the classes."""
    parts = [set(labels[part].tolist()) for part in _parts(by_class(labels, np.random.default_rng(seed), shares))]
    classes = len(set(labels.tolist()))
    assert sum(map(len, parts)) == classes
    assert abs(len(parts[0]) - shares.train * classes) <= 1 + 1e-9


def test_the_papers_shares_are_the_default() -> None:
    """70/15/15, exactly where it divides."""
    labels = np.repeat(np.arange(5), 100)
    cut = by_item(labels, np.random.default_rng(0))
    assert [len(part) for part in _parts(cut)] == [350, 75, 75]
    assert Counter(labels[cut.test].tolist()) == dict.fromkeys(range(5), 15)


@pytest.mark.parametrize("cut_by", [by_item, by_class])
def test_a_partition_depends_on_its_seed_alone(cut_by: object) -> None:
    """The same seed cuts the same, another one otherwise."""
    assert callable(cut_by)
    labels = np.tile(np.arange(20), 10)
    cuts = [cut_by(labels, np.random.default_rng(seed)).test.tolist() for seed in (1, 1, 2)]
    assert cuts[0] == cuts[1] != cuts[2]


@given(train=LABELS, test=LABELS, seed=SEEDS)
def test_official_parts_stay_as_published(train: np.ndarray, test: np.ndarray, seed: int) -> None:
    """The test part is whole and in order; train and validation share what was published to train on."""
    parts = divide(_images(train), _images(test, 1000), Protocol.OFFICIAL, np.random.default_rng(seed))
    assert _numbers(parts.test) == list(range(1000, 1000 + len(test)))
    assert sorted(_numbers(parts.train) + _numbers(parts.validation)) == list(range(len(train)))


def test_official_without_validation_trains_on_everything() -> None:
    """As the papers do: all that was published to train on, in order."""
    labels = np.tile(np.arange(3), 10)
    parts = divide(_images(labels), _images(labels), Protocol.OFFICIAL, np.random.default_rng(0), Shares(0.8, 0.0, 0.2))
    assert _numbers(parts.train) == list(range(30))
    assert len(parts.validation) == 0


@pytest.mark.parametrize("protocol", [Protocol.ITEMS, Protocol.CLASSES])
def test_cutting_anew_pools_both_published_parts(protocol: Protocol) -> None:
    """All pictures of both are used, each once, with their labels; `classes` keeps the parts' classes apart."""
    labels = np.tile(np.arange(7), 20)
    parts = divide(_images(labels), _images(labels, 140), protocol, np.random.default_rng(3))
    found = [parts.train, parts.validation, parts.test]
    assert sorted(number for part in found for number in _numbers(part)) == list(range(280))
    for part in found:
        assert part.labels.tolist() == [number % 140 % 7 for number in _numbers(part)]
    shared = set(parts.train.labels.tolist()) & set(parts.test.labels.tolist())
    assert (not shared) == (protocol is Protocol.CLASSES)


def test_pictures_that_do_not_fit_are_not_joined() -> None:
    """Another size, other classes: the error says both."""
    one = _images(np.array([0, 1]))
    with pytest.raises(InvalidInputError):
        joined(one, LabelledImages(np.zeros((2, 3, 3, 1), np.uint8), one.labels, one.names))
    with pytest.raises(InvalidInputError):
        joined(one, LabelledImages(one.images, one.labels, ("a", "b")))


@given(labels=LABELS, count=st.integers(0, 80), seed=SEEDS)
def test_a_sample_is_even_as_far_as_classes_reach(labels: np.ndarray, count: int, seed: int) -> None:
    """No class has two more than another, unless that other one is used up."""
    chosen = balanced_sample(labels, count, np.random.default_rng(seed))
    assert len(chosen) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()
    sizes, taken = Counter(labels.tolist()), Counter(labels[chosen].tolist())
    most = max((taken[one] for one in sizes), default=0)
    assert all(taken[one] >= most - 1 or taken[one] == sizes[one] for one in sizes)


def test_a_sample_prefers_no_picture() -> None:
    """Over many seeds each picture of a class is taken about as often."""
    labels = np.repeat(np.arange(2), 5)
    times = Counter(
        at for seed in range(500) for at in balanced_sample(labels, 4, np.random.default_rng(seed)).tolist()
    )
    assert all(150 < times[at] < 250 for at in range(10))


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (-0.1, 0.6, 0.5), (0.7, 0.1, 0.1)])
def test_shares_that_are_none_are_refused(shares: tuple[float, float, float]) -> None:
    """They are of 0 to 1 and add up to 1."""
    with pytest.raises(InvalidInputError):
        Shares(*shares)


def test_other_refusals_of_parts() -> None:
    """A negative sample, and a division with nothing to train on."""
    with pytest.raises(InvalidInputError):
        balanced_sample(np.array([0, 1]), -1, np.random.default_rng(0))
    one = _images(np.array([0, 1]))
    with pytest.raises(InvalidInputError):
        divide(one, one, Protocol.OFFICIAL, np.random.default_rng(0), Shares(0.0, 0.0, 1.0))
