"""Which pictures train, which choose, and which judge; decided once, before anything is looked at.

`official` keeps the parts in which a source is published, as the papers do. `items` and `classes` cut 70/15/15 anew:
the first within each class, the second so that no class (subject, writer) is in two parts. A figure for people never
seen needs `classes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from siamese_lab.data.class_blocks import ClassBlocks, Int64s
from siamese_lab.data.sources import LabelledImages
from tessera.domain.errors import InvalidInputError


class Protocol(StrEnum):
    """How pictures are divided."""

    OFFICIAL = "official"
    """Train and test as published; the choosing part, if any, is cut from train, evenly over the classes."""
    ITEMS = "items"
    """All pictures, divided evenly over the classes: each class is in each part."""
    CLASSES = "classes"
    """All pictures, divided by class: each class is in one part."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the pictures, or of the classes, each part gets; together 1."""

    train: float = 0.70
    validation: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        """Refuse shares that are negative or do not add up."""
        shares = (self.train, self.validation, self.test)
        if not all(0.0 <= share <= 1.0 for share in shares) or abs(sum(shares) - 1.0) > 1e-9:
            raise InvalidInputError("shares", shares, "three numbers of 0 to 1 that add up to 1")

    def counts(self, total: int) -> tuple[int, int, int]:
        """Whole numbers that add up to `total`, each at most one away from its share."""
        first = round(total * self.train)
        both = round(total * (self.train + self.validation))
        return first, both - first, total - both


PAPERS_SHARES = Shares()
"""70/15/15, the first paper's."""


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Three parts, as indices in rising order; together every picture once."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The pictures of three parts; `validation` may be empty."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages


def by_item(labels: npt.NDArray[np.int64], rng: np.random.Generator, shares: Shares = PAPERS_SHARES) -> Partition:
    """Divide pictures, each class by the same shares.

    Args:
        labels: (n,).
        rng: decides.
        shares: of each class's pictures, rounded to whole ones.
    """
    blocks = ClassBlocks.of(labels)
    parts: tuple[list[Int64s], list[Int64s], list[Int64s]] = ([], [], [])
    for start, size in zip(blocks.starts, blocks.sizes, strict=True):
        shuffled = rng.permutation(blocks.order[start : start + size])
        for part, taken in zip(parts, _cut(shuffled, shares), strict=True):
            part.append(taken)
    return Partition(*(_sorted(part) for part in parts))


def by_class(labels: npt.NDArray[np.int64], rng: np.random.Generator, shares: Shares = PAPERS_SHARES) -> Partition:
    """Divide classes, so that none is in two parts.

    Args:
        labels: (n,); what must not be divided: the subject, the writer, the class.
        rng: decides.
        shares: of the classes, rounded to whole ones.
    """
    blocks = ClassBlocks.of(labels)
    parts = _cut(rng.permutation(len(blocks.sizes)), shares)
    ends = blocks.starts + blocks.sizes
    return Partition(*(_sorted([blocks.order[blocks.starts[one] : ends[one]] for one in classes]) for classes in parts))


def divide(
    train: LabelledImages,
    test: LabelledImages,
    protocol: Protocol,
    rng: np.random.Generator,
    shares: Shares = PAPERS_SHARES,
) -> Parts:
    """Divide a source that is published in two parts.

    Args:
        train: as published.
        test: as published.
        protocol: how.
        rng: decides; `official` with no validation needs no chance.
        shares: of both together; `official` takes of them only how validation stands to train, and `test` stays whole.

    Raises:
        InvalidInputError: the two parts are of different sizes or classes.
    """
    if protocol is Protocol.OFFICIAL:
        return _official(train, test, rng, shares)
    pooled = joined(train, test)
    cut = by_item(pooled.labels, rng, shares) if protocol is Protocol.ITEMS else by_class(pooled.labels, rng, shares)
    return Parts(pooled.subset(cut.train), pooled.subset(cut.validation), pooled.subset(cut.test))


def joined(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """Pictures of the same size and classes, one after the other.

    Raises:
        InvalidInputError: their sizes or their classes differ.
    """
    if first.images.shape[1:] != second.images.shape[1:] or first.names != second.names:
        sides = f"{first.images.shape[1:]} of {len(first.names)} classes"
        raise InvalidInputError("images", f"{second.images.shape[1:]} of {len(second.names)} classes", sides)
    images = np.concatenate([first.images, second.images])
    return LabelledImages(images, np.concatenate([first.labels, second.labels]), first.names)


def balanced_sample(labels: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Int64s:
    """Some of the pictures, evenly over the classes as far as they have as many.

    Args:
        labels: (n,).
        count: how many; all of them where there are no more.
        rng: decides.

    Returns:
        Indices in rising order, (min(count, n),).

    Raises:
        InvalidInputError: `count` is negative.
    """
    if count < 0:
        raise InvalidInputError("count", count, "0 or more")
    blocks = ClassBlocks.of(labels)
    shuffled = rng.permutation(len(labels))
    by_rank = np.empty(len(labels), np.int64)
    in_class = np.argsort(labels[shuffled], kind="stable")
    by_rank[shuffled[in_class]] = np.arange(len(labels)) - np.repeat(blocks.starts, blocks.sizes)
    # Everybody's first picture, then everybody's second, ...; chance among those of the same rank.
    return np.sort(shuffled[np.argsort(by_rank[shuffled], kind="stable")][:count]).astype(np.int64)


def _official(train: LabelledImages, test: LabelledImages, rng: np.random.Generator, shares: Shares) -> Parts:
    kept = shares.train + shares.validation
    if kept == 0.0:
        raise InvalidInputError("shares", shares, "something to train on")
    of_train = Shares(shares.train / kept, 1.0 - shares.train / kept, 0.0)
    cut = by_item(train.labels, rng, of_train)
    return Parts(train.subset(cut.train), train.subset(cut.validation), test)


def _cut(values: Int64s, shares: Shares) -> tuple[Int64s, Int64s, Int64s]:
    first, second, _ = shares.counts(len(values))
    return values[:first], values[first : first + second], values[first + second :]


def _sorted(parts: list[Int64s]) -> Int64s:
    return np.sort(np.concatenate([*parts, np.empty(0, np.int64)])).astype(np.int64)
