"""Pictures in the order of their classes, so that partners of the same or of another class are found by counting.

With the pictures of a class in one block, "another of my class" is a step within the block and "one of another class"
is a step past its end: each possible partner is as likely as any other, and nothing is drawn twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassBlocks:
    """All pictures, sorted by class."""

    order: Int64s
    """(n,): which picture stands at each place."""
    starts: Int64s
    """(classes,): the first place of each class's block."""
    sizes: Int64s
    """(classes,): how many pictures each has; never 0."""

    @classmethod
    def of(cls, labels: npt.NDArray[np.integer]) -> ClassBlocks:
        """Sort pictures by class.

        Args:
            labels: (n,) of integers; they need not be consecutive.

        Raises:
            InvalidInputError: the labels are no row of integers.
        """
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise InvalidInputError("labels", f"{labels.dtype} {labels.shape}", "integers of shape (n,)")
        order = np.argsort(labels, kind="stable").astype(np.int64)
        _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
        return cls(order, starts.astype(np.int64), sizes.astype(np.int64))

    @property
    def several(self) -> Int64s:
        """The classes with two pictures or more: those that mated pairs come from."""
        return np.flatnonzero(self.sizes > 1)

    def class_of(self, places: Int64s) -> Int64s:
        """Which block each place is in."""
        return np.searchsorted(self.starts, places, side="right").astype(np.int64) - 1

    def place_within(self, classes: Int64s, rng: np.random.Generator) -> Int64s:
        """A place in the block of each class, each as likely."""
        return self.starts[classes] + rng.integers(0, self.sizes[classes])

    def mate_of(self, places: Int64s, rng: np.random.Generator) -> Int64s:
        """For each place another of the same block; every block must have two."""
        own = self.class_of(places)
        start, size = self.starts[own], self.sizes[own]
        return start + (places - start + rng.integers(1, size)) % size

    def stranger_of(self, places: Int64s, rng: np.random.Generator) -> Int64s:
        """For each place one of another block; there must be another."""
        own = self.class_of(places)
        end, count = self.starts[own] + self.sizes[own], len(self.order)
        return (end + rng.integers(0, count - self.sizes[own])) % count

    def require_mates(self) -> None:
        """Raise InvalidInputError where no class has two pictures."""
        if not len(self.several):
            raise InvalidInputError("labels", f"{len(self.sizes)} classes of one", "a class with two pictures or more")

    def require_strangers(self) -> None:
        """Raise InvalidInputError where there is one class or none."""
        if len(self.sizes) < 2:
            raise InvalidInputError("labels", f"{len(self.sizes)} classes", "two classes or more")


def require_count(count: int) -> None:
    """Raise InvalidInputError for a negative number of pairs or triplets."""
    if count < 0:
        raise InvalidInputError("count", count, "0 or more")
