"""Embeddings laid out on a plane: principal components, and t-SNE for neighbourhoods.

After the embedding and before the page. A map loses most of a space: distances on it are no distances of the
embedding, and on a t-SNE map neither the size of a cluster nor the room between two says anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.evaluation.embedding import Embeddings
from siamese_lab.evaluation.neighbours import Labels
from tessera.domain.errors import InvalidInputError

MOST_POINTS = 2_000
PERPLEXITY = 30.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingMap:
    """Points on a plane."""

    method: str
    """In words, with its settings."""
    points: Floats
    """Shape (n, 2)."""
    labels: Labels
    """Shape (n,)."""
    kept: float | None
    """Share of the variance that the plane holds, in [0, 1]; None: the method knows none."""


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalAxes:
    """The directions in which embeddings spread most."""

    centre: Floats
    """Shape (d,)."""
    axes: Floats
    """Shape (k, d): orthonormal rows, the widest first; in each the largest entry is positive."""
    shares: Floats
    """Shape (k,): of the variance."""

    def project(self, vectors: npt.ArrayLike) -> Floats:
        """Coordinates along the axes: (n, d) gives (n, k)."""
        return np.asarray((np.asarray(vectors, np.float64) - self.centre) @ self.axes.T, np.float64)


def principal_axes(vectors: npt.ArrayLike, count: int = 2) -> PrincipalAxes:
    """The first principal components.

    Args:
        vectors: (n, d).
        count: how many, at most min(n, d).

    Source: Hotelling, Journal of Educational Psychology 24 (1933), by the singular values of the centred rows.
    """
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2 or not 1 <= count <= min(rows.shape):
        raise InvalidInputError("count", count, f"1 to the least side of {rows.shape}")
    centre = rows.mean(axis=0)
    _, values, axes = np.linalg.svd(rows - centre, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    total = float((values**2).sum())
    shares = values**2 / total if total > 0.0 else np.zeros_like(values)
    return PrincipalAxes(centre, (axes * signs[:, None])[:count], shares[:count])


def pca_map(embeddings: Embeddings, labels: Labels, rng: np.random.Generator, most: int = MOST_POINTS) -> EmbeddingMap:
    """A plane through the two widest directions of all embeddings, with some of them on it.

    Args:
        embeddings: float32 (n, d), d at least 2.
        labels: int64 (n,).
        rng: draws which are shown, where there are more than `most`.
        most: how many are shown.
    """
    axes = principal_axes(embeddings, 2)
    shown = _shown(len(embeddings), most, rng)
    method = "Principal components 1 and 2" if embeddings.shape[1] > 2 else "The embedding itself, turned"
    return EmbeddingMap(method, axes.project(embeddings[shown]), labels[shown], float(axes.shares.sum()))


def tsne_map(embeddings: Embeddings, labels: Labels, rng: np.random.Generator, most: int = MOST_POINTS) -> EmbeddingMap:
    """A plane on which neighbours stay neighbours.

    Args:
        embeddings: float32 (n, d), n at least 4.
        labels: int64 (n,).
        rng: draws which are mapped, where there are more than `most`, and seeds the method.
        most: how many are mapped.

    Source: van der Maaten and Hinton, JMLR 9 (2008), as scikit-learn computes it, started from the principal components
    (Kobak and Berens, Nature Communications 10, 2019).
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415 - takes seconds to import, and only who draws this map needs it
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - as above

    shown = _shown(len(embeddings), most, rng)
    if shown.size < 4:
        raise InvalidInputError("embeddings", shown.size, "at least 4 for a map")
    perplexity = min(PERPLEXITY, (shown.size - 1) / 3.0)
    start = "pca" if embeddings.shape[1] >= 2 else "random"
    seed = int(rng.integers(2**31))
    # One thread: several wait for each other at every one of a thousand steps, minutes long where others compute too.
    with threadpool_limits(1):
        fitted = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(embeddings[shown])
    return EmbeddingMap(f"t-SNE, perplexity {perplexity:.3g}", fitted.astype(np.float64), labels[shown], None)


def _shown(count: int, most: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    return np.sort(rng.permutation(count)[:most])
