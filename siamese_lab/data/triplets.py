"""Triplets of pictures: an anchor, one of its class, one of another. Which are hard is for a loss's miner to say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.data.class_blocks import ClassBlocks, Int64s, require_count
from tessera.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, eq=False)
class Triplets:
    """Triplets of pictures, as indices."""

    anchor: npt.NDArray[np.int64]
    """(n,)."""
    positive: npt.NDArray[np.int64]
    """(n,): another picture of the anchor's class."""
    negative: npt.NDArray[np.int64]
    """(n,): a picture of another class."""

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        shapes = (self.anchor.shape, self.positive.shape, self.negative.shape)
        if set(shapes) != {(len(self.anchor),)}:
            raise InvalidInputError("triplets", shapes, "three of (n,)")

    def __len__(self) -> int:
        """How many triplets."""
        return len(self.anchor)


def balanced_triplets(labels: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Triplets:
    """The same number of anchors from each class, in random order.

    Within a class no picture is an anchor twice before each was once. Positives and negatives are drawn evenly from all
    that can be. A class of one picture has no positive: it gives negatives alone.

    Args:
        labels: (n,).
        count: how many triplets; where it does not divide evenly, some classes have one more.
        rng: decides.

    Raises:
        InvalidInputError: `count` is negative, all pictures are of one class, or no class has two.
    """
    require_count(count)
    blocks = ClassBlocks.of(labels)
    blocks.require_mates()
    blocks.require_strangers()
    anchor = rng.permutation(_anchors(blocks, count, rng))
    positive, negative = blocks.mate_of(anchor, rng), blocks.stranger_of(anchor, rng)
    return Triplets(blocks.order[anchor], blocks.order[positive], blocks.order[negative])


def _anchors(blocks: ClassBlocks, count: int, rng: np.random.Generator) -> Int64s:
    classes = rng.permutation(blocks.several)  # so that chance, not the alphabet, says who has one more
    each, more = divmod(count, len(classes))
    shares = [each + (at < more) for at in range(len(classes))]
    return np.concatenate(
        [_taken(blocks, int(one), share, rng) for one, share in zip(classes, shares, strict=True)]
    ).astype(np.int64)


def _taken(blocks: ClassBlocks, one: int, share: int, rng: np.random.Generator) -> Int64s:
    size = int(blocks.sizes[one])
    rounds = [rng.permutation(size) for _ in range(-(-share // size))]
    within: Int64s = blocks.starts[one] + np.concatenate([*rounds, np.empty(0, np.int64)])[:share]
    return within
