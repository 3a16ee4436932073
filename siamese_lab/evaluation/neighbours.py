"""Figures of searches: which gallery pictures are nearest to a query, and how many of them are of its class.

After the embedding and before the page. Every distance is computed, block by block: nothing is approximated. Of equal
distances the gallery's order decides. Queries whose class the gallery does not have can be answered by nobody: they are
counted apart and are in no figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.comparison import Comparison
from siamese_lab.evaluation.embedding import Embeddings
from siamese_lab.evaluation.estimates import Bools, Floats, mean_of_items, rate_of_items
from siamese_lab.verification import Estimate
from tessera.domain.errors import InvalidInputError

Labels = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

KS = (1, 5, 10)
_BLOCK_ENTRIES = 8_000_000
"""Distances in memory at a time: 64 MB."""


@dataclass(frozen=True, slots=True)
class AtK:
    """Figures of the k nearest."""

    k: int
    knn_accuracy: Estimate
    """Queries whose class most of the k nearest have; of equally many classes the one that comes nearest."""
    precision: Estimate
    """Mean share of the k nearest that are of the query's class."""
    recall: Estimate
    """Mean share of all gallery pictures of the query's class that are among the k nearest."""
    hit: Estimate
    """Queries with at least one of their class among the k nearest; in metric learning also called recall@k."""


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourFigures:
    """Everything that is said of searches."""

    queries: int
    """That could be answered."""
    unanswerable: int
    gallery: int
    at: tuple[AtK, ...]
    """By rising k."""
    mean_average_precision: Estimate
    """Over the whole gallery's ranking."""
    confusion: npt.NDArray[np.int64]
    """Shape (classes, classes): queries by their class (row) and the class of the largest k's vote (column)."""

    def at_k(self, k: int) -> AtK:
        """The figures of one k."""
        return next(part for part in self.at if part.k == k)


def neighbours(
    gallery: Embeddings,
    gallery_labels: Labels,
    queries: Embeddings,
    query_labels: Labels,
    ks: Sequence[int] = KS,
    *,
    comparison: Comparison = Comparison.EUCLIDEAN,
) -> NeighbourFigures:
    """Search every query in the gallery.

    Args:
        gallery: float32 (m, d).
        gallery_labels: int64 (m,), from 0.
        queries: float32 (n, d), none of them in the gallery.
        query_labels: int64 (n,).
        ks: how many of the nearest are looked at; each at most m.
        comparison: what near is.

    Raises:
        InvalidInputError: shapes do not go together, a k is not in 1 to m, or no query can be answered.
    """
    return _figures(_Search(gallery, gallery_labels, queries, query_labels, comparison, within=False), ks)


def neighbours_within(
    embeddings: Embeddings, labels: Labels, ks: Sequence[int] = KS, comparison: Comparison = Comparison.EUCLIDEAN
) -> NeighbourFigures:
    """Search every picture of a set among all the others: none finds itself.

    Args:
        embeddings: float32 (n, d).
        labels: int64 (n,), from 0.
        ks: each at most n - 1.
        comparison: what near is.
    """
    return _figures(_Search(embeddings, labels, embeddings, labels, comparison, within=True), ks)


def nearest(
    gallery: Embeddings, queries: Embeddings, k: int, comparison: Comparison = Comparison.EUCLIDEAN
) -> tuple[Places, Floats]:
    """The k nearest of every query.

    Returns:
        (places, distances): each of shape (n, k), nearest first; places are rows of the gallery.
    """
    labels, asked = np.zeros(len(gallery), np.int64), np.zeros(len(queries), np.int64)
    blocks = list(_Search(gallery, labels, queries, asked, comparison, within=False).ranked(k))
    return np.concatenate([places for _, places, _ in blocks]), np.concatenate([far for _, _, far in blocks])


def vote(neighbour_labels: Labels, classes: int) -> Labels:
    """The class that most of the nearest have; of equally many the one that comes nearest.

    Args:
        neighbour_labels: (n, k), nearest first.
        classes: how many there are.

    Returns:
        (n,).

    Source: Cover and Hart, IEEE Transactions on Information Theory 13 (1967).
    """
    rows = np.arange(len(neighbour_labels))[:, None]
    votes = np.zeros((len(neighbour_labels), classes), np.int64)
    np.add.at(votes, (np.broadcast_to(rows, neighbour_labels.shape), neighbour_labels), 1)
    leading = votes[rows, neighbour_labels] == votes.max(axis=1, keepdims=True)
    return np.asarray(neighbour_labels[rows[:, 0], leading.argmax(axis=1)], np.int64)


class _Search:
    """Queries, a gallery, and their distances block by block."""

    def __init__(
        self,
        gallery: Embeddings,
        gallery_labels: Labels,
        queries: Embeddings,
        query_labels: Labels,
        comparison: Comparison,
        *,
        within: bool,
    ) -> None:
        for name, vectors, labels in (("gallery", gallery, gallery_labels), ("queries", queries, query_labels)):
            if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or not len(vectors) or labels.min() < 0:
                raise InvalidInputError(name, (vectors.shape, labels.shape), "rows (n, d) with one label from 0 each")
        if gallery.shape[1] != queries.shape[1]:
            raise InvalidInputError("queries", queries.shape, f"{gallery.shape[1]} dimensions, as the gallery has")
        self.gallery_labels, self.query_labels, self.within = gallery_labels, query_labels, within
        self.gallery, self.queries = _prepared(gallery, comparison), _prepared(queries, comparison)
        self.classes = int(max(gallery_labels.max(), query_labels.max())) + 1

    @property
    def candidates(self) -> int:
        """How many a query is compared with."""
        return len(self.gallery) - self.within

    def distances(self) -> Iterator[tuple[slice, Floats]]:
        """Squared distances (rows, gallery) of some queries at a time; a query's own is infinite."""
        squares = (self.gallery**2).sum(axis=1)
        rows = max(1, _BLOCK_ENTRIES // len(self.gallery))
        for start in range(0, len(self.queries), rows):
            some = self.queries[start : start + rows]
            block = (some**2).sum(axis=1)[:, None] + squares - 2.0 * (some @ self.gallery.T)
            if self.within:
                block[np.arange(len(some)), start + np.arange(len(some))] = np.inf
            yield slice(start, start + len(some)), block

    def ranked(self, k: int) -> Iterator[tuple[slice, Places, Floats]]:
        """The k nearest of some queries at a time, and how far they are."""
        if not 1 <= k <= self.candidates:
            raise InvalidInputError("k", k, f"1 to {self.candidates}, the gallery's size")
        for where, block in self.distances():
            places = _smallest(block, k)
            yield where, places, np.sqrt(np.maximum(np.take_along_axis(block, places, axis=1), 0.0))


def _prepared(vectors: Embeddings, comparison: Comparison) -> Floats:
    rows = vectors.astype(np.float64)
    if comparison is Comparison.EUCLIDEAN:
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0.0), np.float64)


def _smallest(block: Floats, k: int) -> Places:
    """Places of the k smallest of each row, in rising order; of equal ones the first."""
    if 4 * k >= block.shape[1]:
        return np.argsort(block, axis=1, kind="stable")[:, :k]
    bound = np.partition(block, k - 1, axis=1)[:, k - 1]
    rows = []
    for row, limit in zip(block, bound, strict=True):
        inside = np.flatnonzero(row <= limit)
        rows.append(inside[np.argsort(row[inside], kind="stable")[:k]])
    return np.stack(rows)


# ---- figures


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """What each query found."""

    found: Labels
    """(n, largest k): classes of the nearest."""
    right: Bools
    """(n, largest k): whether each is of the query's class."""
    relevant: Places
    """(n,): gallery pictures of the query's class, without itself."""
    average_precision: Floats
    """(n,)."""


def _figures(search: _Search, ks: Sequence[int]) -> NeighbourFigures:
    if not ks or min(ks) < 1 or max(ks) > search.candidates:
        raise InvalidInputError("ks", tuple(ks), f"1 to {search.candidates}, the gallery's size")
    answers = _answers(search, max(ks))
    can = answers.relevant > 0
    if not bool(can.any()):
        raise InvalidInputError("query_labels", f"{can.size} queries", "some whose class the gallery has")
    asked = search.query_labels[can]
    winner = vote(answers.found[can], search.classes)
    confusion = np.zeros((search.classes, search.classes), np.int64)
    np.add.at(confusion, (asked, winner), 1)
    return NeighbourFigures(
        queries=int(can.sum()),
        unanswerable=int((~can).sum()),
        gallery=search.candidates,
        at=tuple(_at_k(answers, can, asked, search.classes, k) for k in sorted(set(ks))),
        mean_average_precision=mean_of_items(answers.average_precision[can]),
        confusion=confusion,
    )


def _at_k(answers: _Answers, can: Bools, asked: Labels, classes: int, k: int) -> AtK:
    right = answers.right[can, :k]
    return AtK(
        k=k,
        knn_accuracy=rate_of_items(vote(answers.found[can, :k], classes) == asked),
        precision=mean_of_items(right.mean(axis=1)),
        recall=mean_of_items(right.sum(axis=1) / answers.relevant[can]),
        hit=rate_of_items(right.any(axis=1)),
    )


def _answers(search: _Search, k: int) -> _Answers:
    found, precisions = [], []
    counts = np.bincount(search.gallery_labels, minlength=search.classes)
    for where, block in search.distances():
        order = np.argsort(block, axis=1, kind="stable")[:, : search.candidates]
        labels = search.gallery_labels[order]
        found.append(labels[:, :k])
        precisions.append(_average_precision(labels == search.query_labels[where, None]))
    classes = np.concatenate(found)
    relevant = counts[search.query_labels] - search.within
    return _Answers(classes, classes == search.query_labels[:, None], relevant, np.concatenate(precisions))


def _average_precision(right: Bools) -> Floats:
    """Mean, over the relevant pictures, of the precision at the rank of each; 0 where there is none.

    Source: Manning, Raghavan and Schütze, "Introduction to information retrieval" (2008), section 8.4.
    """
    ranks = np.arange(1, right.shape[1] + 1)
    found = np.cumsum(right, axis=1)
    total = found[:, -1]
    sums = np.where(right, found / ranks, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, total, out=np.zeros(len(right)), where=total > 0), np.float64)
