"""The published sets themselves, as they lie in the folder that TESSERA_DATA names."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from siamese_lab.data.partition import Protocol, divide
from siamese_lab.data.sources import SOURCES, LabelledImages, Split, load
from tessera.domain.errors import InvalidInputError

pytestmark = [
    pytest.mark.dataset,
    pytest.mark.skipif(
        "TESSERA_DATA" not in os.environ,
        reason="TESSERA_DATA is not set: that the published files are read rightly stays unproved",
    ),
]


def _load(name: str, split: Split, cache: Path | None = None) -> LabelledImages:
    source = SOURCES[name]
    folder = Path(os.environ["TESSERA_DATA"])
    installed = Path(source.installed)
    if source.installed and not installed.is_dir() and not (folder / name).is_dir():
        pytest.skip(f"{name} is not installed: that its files are read rightly stays unproved")
    return load(name, folder, split, cache)


@pytest.mark.parametrize(
    ("name", "train", "shape", "mean"),
    [
        ("mnist", 60_000, (28, 28, 1), 33.3184),
        ("fashion-mnist", 60_000, (28, 28, 1), 72.9404),
        ("cifar10-jpeg", 50_000, (32, 32, 3), 120.688),
    ],
)
def test_a_published_set_is_whole(name: str, train: int, shape: tuple[int, ...], mean: float) -> None:
    """So many pictures of ten classes, of the mean that is known of the training part (0.1307 and 0.2860 of 255 for
    the two gray ones); all 10,000 others to judge on."""
    images = _load(name, Split.TRAIN)
    assert images.images.shape == (train, *shape)
    assert images.images.mean() == pytest.approx(mean, abs=0.01)
    assert np.bincount(images.labels).min() >= 5000
    test = _load(name, Split.TEST)
    assert len(test) == 10_000
    assert set(test.labels.tolist()) == set(range(10))


def test_mnist_begins_with_the_known_digits() -> None:
    """5, 0, 4, 1, 9 to train on, and 7, 2, 1, 0, 4 to judge on: as everybody who has seen it knows."""
    assert _load("mnist", Split.TRAIN).labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert _load("mnist", Split.TEST).labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_one_set_is_not_taken_for_another_of_the_same_file_names() -> None:
    """Fashion-MNIST asked for in MNIST's folder is refused."""
    with pytest.raises(InvalidInputError, match="fashion-mnist"):
        load("fashion-mnist", Path(os.environ["TESSERA_DATA"]) / "mnist", Split.TEST)


def test_cifar_from_the_cache_is_cifar(tmp_path: Path) -> None:
    """The same bytes, for less processor time than decoding costs."""
    cpu_s = []
    sets = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF)
        sets.append(_load("cifar10-jpeg", Split.TEST, tmp_path))
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s.append(after.ru_utime - before.ru_utime)
    np.testing.assert_array_equal(sets[0].images, sets[1].images)
    np.testing.assert_array_equal(sets[0].labels, sets[1].labels)
    assert cpu_s[1] < cpu_s[0]


def test_the_first_papers_partition_of_mnist() -> None:
    """70/15/15 of all 70,000."""
    parts = divide(_load("mnist", Split.TRAIN), _load("mnist", Split.TEST), Protocol.ITEMS, np.random.default_rng(0))
    assert len(parts.train) == pytest.approx(49_000, abs=10)
    assert len(parts.validation) == pytest.approx(10_500, abs=10)
    assert len(parts.train) + len(parts.validation) + len(parts.test) == 70_000
