"""Pairs of pictures to train and to judge on; which of two conventions a loss wants is not known here.

`mated` is True where both pictures show the same class. Papers write that as 1 (Koch; MATLAB's examples) or as 0
(Hadsell): no such number leaves this module, so that nobody can mistake one for the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.data.class_blocks import ClassBlocks, Int64s, require_count
from tessera.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of pictures, as indices."""

    first: npt.NDArray[np.int64]
    """(n,)."""
    second: npt.NDArray[np.int64]
    """(n,)."""
    mated: npt.NDArray[np.bool_]
    """(n,): True where both show the same class."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        if not self.first.shape == self.second.shape == self.mated.shape == (len(self.first),):
            raise InvalidInputError("pairs", (self.first.shape, self.second.shape, self.mated.shape), "three of (n,)")

    def __len__(self) -> int:
        """How many pairs."""
        return len(self.first)


def balanced_pairs(labels: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Pairs:
    """Half mated, half non-mated, in turns: each batch of even size is balanced too.

    Every picture is as likely as any other to be first (mated: of those whose class has two), and so is each of its
    possible partners. No picture is paired with itself; a pair may come twice.

    Args:
        labels: (n,).
        count: how many pairs; of an odd number one more is mated.
        rng: decides.

    Raises:
        InvalidInputError: `count` is negative, all pictures are of one class, or no class has two.
    """
    require_count(count)
    blocks = ClassBlocks.of(labels)
    blocks.require_mates()
    blocks.require_strangers()
    mated = np.arange(count) % 2 == 0
    with_mates = np.flatnonzero(np.repeat(blocks.sizes > 1, blocks.sizes))
    first = np.where(mated, rng.choice(with_mates, count), rng.integers(0, len(labels), count))
    return _paired(blocks, first, mated, rng)


def random_pairs(labels: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Pairs:
    """A coin for each pair, then classes, then pictures: as `getSiameseBatch` of MATLAB's examples draws.

    Mated: a class, each as likely, then two different pictures of it. Non-mated: two different classes, then a picture
    of each. Where classes differ in size this prefers the pictures of small ones, which `balanced_pairs` does not.

    Args:
        labels: (n,).
        count: how many pairs.
        rng: decides.

    Raises:
        InvalidInputError: `count` is negative, all pictures are of one class, or no class has two.

    Source: MathWorks, "Train a Siamese Network to Compare Images", functions getSiameseBatch, getSimilarPair and
    getDissimilarPair. A class of one picture, for which they fail, is left out of mated pairs.
    """
    require_count(count)
    blocks = ClassBlocks.of(labels)
    blocks.require_mates()
    blocks.require_strangers()
    mated = rng.random(count) < 0.5
    own = np.where(mated, rng.choice(blocks.several, count), rng.integers(0, len(blocks.sizes), count))
    other = (own + rng.integers(1, len(blocks.sizes), count)) % len(blocks.sizes)
    first, second = blocks.place_within(own, rng), blocks.place_within(other, rng)
    second[mated] = blocks.mate_of(first[mated], rng)
    return Pairs(blocks.order[first], blocks.order[second], mated)


def _paired(blocks: ClassBlocks, first: Int64s, mated: npt.NDArray[np.bool_], rng: np.random.Generator) -> Pairs:
    second = np.empty_like(first)
    second[mated] = blocks.mate_of(first[mated], rng)
    second[~mated] = blocks.stranger_of(first[~mated], rng)
    return Pairs(blocks.order[first], blocks.order[second], mated)
