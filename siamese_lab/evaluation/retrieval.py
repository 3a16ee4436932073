"""Queries with their nearest gallery pictures, to be looked at: which answers are right, and what wrong ones look like.

Chooses examples by a generator and says how; draws nothing. A page of such examples is no measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from siamese_lab.comparison import Comparison
from siamese_lab.evaluation.embedding import Embeddings
from siamese_lab.evaluation.neighbours import Labels, nearest
from tessera.domain.errors import InvalidInputError

NEAREST = 5


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One query and what was found."""

    query: int
    """Row of the queries."""
    label: int
    found: tuple[int, ...]
    """Rows of the gallery, nearest first."""
    found_labels: tuple[int, ...]
    distances: tuple[float, ...]

    @property
    def right(self) -> tuple[bool, ...]:
        """Whether each found picture is of the query's class."""
        return tuple(label == self.label for label in self.found_labels)


@dataclass(frozen=True, slots=True)
class LabelledVectors:
    """Embeddings with their classes."""

    vectors: Embeddings
    """float32 (n, d)."""
    labels: Labels
    """int64 (n,)."""


def retrievals(
    gallery: LabelledVectors,
    queries: LabelledVectors,
    rng: np.random.Generator,
    count: int = 8,
    k: int = NEAREST,
    *,
    comparison: Comparison = Comparison.EUCLIDEAN,
) -> tuple[Retrieval, ...]:
    """Draw queries, one of each class before any class comes again.

    Args:
        gallery: to search in.
        queries: to draw from, none of them in the gallery.
        rng: draws.
        count: how many, at most.
        k: how many of the nearest.
        comparison: what near is.
    """
    return _told(gallery, queries, _one_of_each(queries.labels, count, rng), k, comparison)


def worst_retrievals(
    gallery: LabelledVectors,
    queries: LabelledVectors,
    rng: np.random.Generator,
    count: int = 4,
    k: int = NEAREST,
    *,
    comparison: Comparison = Comparison.EUCLIDEAN,
) -> tuple[Retrieval, ...]:
    """Draw queries whose nearest picture is of another class; none where there is no such query."""
    places, _ = nearest(gallery.vectors, queries.vectors, 1, comparison)
    wrong = np.flatnonzero(gallery.labels[places[:, 0]] != queries.labels)
    if not wrong.size:
        return ()
    return _told(gallery, queries, wrong[_one_of_each(queries.labels[wrong], count, rng)], k, comparison)


def _one_of_each(labels: Labels, count: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Places of rows in a drawn order in which each class has its turn, then by class."""
    if count < 1:
        raise InvalidInputError("count", count, "at least 1")
    order = rng.permutation(labels.size)
    turn = np.empty(labels.size, np.intp)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[order] == label)
        turn[own] = np.arange(own.size)
    chosen = order[np.argsort(turn, kind="stable")[:count]]
    return np.asarray(chosen[np.argsort(labels[chosen], kind="stable")], np.intp)


def _told(
    gallery: LabelledVectors,
    queries: LabelledVectors,
    rows: np.ndarray[tuple[int], np.dtype[np.intp]],
    k: int,
    comparison: Comparison,
) -> tuple[Retrieval, ...]:
    places, far = nearest(gallery.vectors, queries.vectors[rows], k, comparison)
    return tuple(
        Retrieval(
            int(row),
            int(queries.labels[row]),
            tuple(found.tolist()),
            tuple(gallery.labels[found].tolist()),
            tuple(distances.tolist()),
        )
        for row, found, distances in zip(rows, places, far, strict=True)
    )
