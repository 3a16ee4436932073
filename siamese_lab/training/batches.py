"""Which pictures each step of an epoch sees, as numbers: decided by the run's seed and the epoch alone.

No state goes from one epoch to the next, so that a run that was broken off sees what it would have seen. Knows labels
and no pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from siamese_lab.data.class_blocks import ClassBlocks
from siamese_lab.data.pairs import balanced_pairs, random_pairs
from siamese_lab.data.triplets import balanced_triplets
from siamese_lab.losses import LossKind
from siamese_lab.training.recipe import BatchKind, BatchPart
from tessera.domain.errors import InvalidInputError

Labels = npt.NDArray[np.int64]

FITTING = {
    LossKind.PAIR: (BatchKind.PAIRS, BatchKind.RANDOM_PAIRS),
    LossKind.TRIPLET: (BatchKind.TRIPLETS,),
    LossKind.BATCH: (BatchKind.BALANCED_CLASSES, BatchKind.PICTURES),
}
"""Which batches a loss can take."""


class Chance(IntEnum):
    """What random numbers are for; each has a stream of its own."""

    WEIGHTS = 1
    BATCHES = 2
    NETWORK = 3
    """Dropout."""
    AUGMENTATION = 4
    VALIDATION = 5
    PARTITION = 6
    NOISE = 7


def stream(seed: int, what_for: Chance, epoch: int = 0) -> np.random.Generator:
    """The random numbers of one purpose in one epoch of one run."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(what_for), epoch]))


def stream_seed(seed: int, what_for: Chance, epoch: int = 0) -> int:
    """As `stream`, for generators of torch: a whole number below 2^63."""
    return int(stream(seed, what_for, epoch).integers(0, 1 << 63))


@dataclass(frozen=True, slots=True, eq=False)
class EpochPlan:
    """Every batch of an epoch."""

    items: npt.NDArray[np.int64]
    """(items, sides): pictures; a pair has two sides, a triplet three, a picture one."""
    mated: npt.NDArray[np.bool_] | None
    """(items,), of pairs."""
    size: int
    """Items in a batch; the last may have fewer."""

    def __len__(self) -> int:
        """How many batches."""
        return (len(self.items) + self.size - 1) // self.size

    def batches(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]]:
        """Items and, of pairs, whether they are mated."""
        for start in range(0, len(self.items), self.size):
            rows = slice(start, start + self.size)
            yield self.items[rows], None if self.mated is None else self.mated[rows]


def plan_epoch(part: BatchPart, labels: Labels, rng: np.random.Generator) -> EpochPlan:
    """Draw an epoch.

    Args:
        part: of the recipe.
        labels: (n,) of the pictures.
        rng: decides.

    Raises:
        InvalidInputError: the pictures have no such batches.
    """
    count = part.per_epoch or len(labels)
    match part.kind:
        case BatchKind.PAIRS | BatchKind.RANDOM_PAIRS:
            make = balanced_pairs if part.kind is BatchKind.PAIRS else random_pairs
            pairs = make(labels, count, rng)
            return _trimmed(np.stack([pairs.first, pairs.second], axis=1), pairs.mated, part.size)
        case BatchKind.TRIPLETS:
            made = balanced_triplets(labels, count, rng)
            return _trimmed(np.stack([made.anchor, made.positive, made.negative], axis=1), None, part.size)
        case BatchKind.PICTURES:
            rounds = [rng.permutation(len(labels)) for _ in range(-(-count // max(1, len(labels))))]
            return _trimmed(np.concatenate(rounds)[:count, None], None, part.size)
        case BatchKind.BALANCED_CLASSES:
            return _balanced(part, labels, count, rng)


def epoch_plan(part: BatchPart, labels: Labels, seed: int, epoch: int) -> EpochPlan:
    """The plan of an epoch of a run.

    Args:
        part: of the recipe; where it is `fixed`, items are those of epoch 0, in another order.
        labels: (n,) of the training pictures.
        seed: of the run.
        epoch: from 0.
    """
    if not part.fixed:
        return plan_epoch(part, labels, stream(seed, Chance.BATCHES, epoch))
    plan = plan_epoch(part, labels, stream(seed, Chance.BATCHES))
    order = stream(seed, Chance.BATCHES, epoch + 1).permutation(len(plan.items))
    return EpochPlan(plan.items[order], None if plan.mated is None else plan.mated[order], plan.size)


def _trimmed(items: npt.NDArray[np.int64], mated: npt.NDArray[np.bool_] | None, size: int) -> EpochPlan:
    # A last batch of one item has no statistics for a batch norm, and no partner for a loss of a batch.
    kept = len(items) - 1 if len(items) % size == 1 and len(items) > 1 else len(items)
    return EpochPlan(items[:kept], None if mated is None else mated[:kept], size)


def _balanced(part: BatchPart, labels: Labels, count: int, rng: np.random.Generator) -> EpochPlan:
    """Batches of as many pictures of each of some classes; within a class each picture comes once before any twice."""
    blocks = ClassBlocks.of(labels)
    classes = part.classes or len(blocks.sizes)
    if not 2 <= classes <= len(blocks.sizes) or part.size % classes:
        allowed = f"2 to {len(blocks.sizes)} that divide the size, {part.size}"
        raise InvalidInputError("batches.classes", classes, allowed)
    each, batches = part.size // classes, max(1, count // part.size)
    chosen = np.concatenate([rng.permutation(len(blocks.sizes))[:classes] for _ in range(batches)])
    items = np.empty((batches * classes, each), np.int64)
    for one in range(len(blocks.sizes)):
        rows = np.flatnonzero(chosen == one)
        size, start = int(blocks.sizes[one]), int(blocks.starts[one])
        rounds = [rng.permutation(size) for _ in range(-(-len(rows) * each // size))]
        if rounds:
            items[rows] = blocks.order[start + np.concatenate(rounds)[: len(rows) * each]].reshape(-1, each)
    return EpochPlan(items.reshape(-1, 1), None, part.size)
