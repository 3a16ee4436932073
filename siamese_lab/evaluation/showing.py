"""The pictures of a run's page: which queries, pairs and directions are shown, and their pixels as PNG.

After the figures and before the page. Chooses examples and says by what rule; measures nothing that is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from siamese_lab.comparison import Comparison
from siamese_lab.data.sources import LabelledImages
from siamese_lab.evaluation.attribution import Attribution, activation_maximisation, as_png, attribute_pair, smaller
from siamese_lab.evaluation.dimensions import squared_distance_shapley
from siamese_lab.evaluation.embedding import Embeddings
from siamese_lab.evaluation.estimates import Floats
from siamese_lab.evaluation.pairs import PairIndices
from siamese_lab.evaluation.retrieval import LabelledVectors, Retrieval, retrievals, worst_retrievals
from siamese_lab.evaluation.values import (
    ExplainedPair,
    ShapleyExample,
    ShownMap,
    ShownPicture,
    ShownPreferred,
    ShownRetrieval,
)


@dataclass(frozen=True, slots=True, eq=False)
class Showing:
    """Pictures of a gallery and of queries, with their embeddings."""

    gallery: LabelledImages
    queries: LabelledImages
    gallery_vectors: LabelledVectors
    query_vectors: LabelledVectors
    comparison: Comparison

    def retrievals(self, count: int, rng: np.random.Generator) -> tuple[ShownRetrieval, ...]:
        """Queries of every class in turn."""
        k = min(5, len(self.gallery_vectors.labels))
        found = retrievals(self.gallery_vectors, self.query_vectors, rng, count, k, comparison=self.comparison)
        return tuple(self._shown(one) for one in found)

    def wrong_retrievals(self, count: int, rng: np.random.Generator) -> tuple[ShownRetrieval, ...]:
        """Queries whose nearest is of another class."""
        k = min(5, len(self.gallery_vectors.labels))
        found = worst_retrievals(self.gallery_vectors, self.query_vectors, rng, count, k, comparison=self.comparison)
        return tuple(self._shown(one) for one in found)

    def _shown(self, one: Retrieval) -> ShownRetrieval:
        found = zip(one.found, one.found_labels, one.right, one.distances, strict=True)
        return ShownRetrieval(
            ShownPicture(as_png(self.queries.images[one.query]), self.queries.names[one.label]),
            tuple(
                ShownPicture(as_png(self.gallery.images[row]), self.gallery.names[label], right, far)
                for row, label, right, far in found
            ),
        )

    def preferred(self, network: nn.Module, count: int, generator: torch.Generator) -> tuple[ShownPreferred, ...]:
        """What the network likes to see along the way from the middle of all to the middle of each class."""
        vectors, labels = self.gallery_vectors.vectors, self.gallery_vectors.labels
        height, width, channels = self.gallery.images.shape[1:]
        made = []
        for label in np.unique(labels)[:count]:
            away = vectors[labels == label].mean(axis=0) - vectors.mean(axis=0)
            direction = away / max(float(np.linalg.norm(away)), 1e-12)
            found = activation_maximisation(network, direction, (channels, height, width), generator)
            shown = ShownPicture(as_png(found.picture), self.gallery.names[label])
            made.append(ShownPreferred(shown, found.before, found.after))
        return tuple(made)


@dataclass(frozen=True, slots=True, eq=False)
class PairShowing:
    """Pairs of pictures whose score is explained."""

    network: nn.Module
    pictures: LabelledImages
    comparison: Comparison
    device: str

    def explained(
        self, pairs: PairIndices, scores: Floats, threshold: float, rng: np.random.Generator
    ) -> tuple[ExplainedPair, ...]:
        """A mated pair and another by chance, the mated pair that scores lowest and the other that scores highest."""
        mated, others = np.flatnonzero(pairs.mated), np.flatnonzero(~np.asarray(pairs.mated))
        chosen = [
            int(rng.choice(mated)), int(rng.choice(others)),
            int(mated[scores[mated].argmin()]), int(others[scores[others].argmax()]),
        ]  # fmt: skip
        return tuple(self._explained(pairs, at, float(scores[at]), threshold) for at in dict.fromkeys(chosen))

    def _explained(self, pairs: PairIndices, at: int, score: float, threshold: float) -> ExplainedPair:
        one, other = int(pairs.first[at]), int(pairs.second[at])
        picture, reference = self.pictures.images[one], self.pictures.images[other]
        maps = []
        for method in Attribution:
            found = attribute_pair(
                self.network, picture, reference, method, comparison=self.comparison, device=self.device
            )
            maps.append(ShownMap(method.value, smaller(found.drawn), found.faithfulness))
        return ExplainedPair(
            self._shown(one), self._shown(other), score, bool(pairs.mated[at]), score >= threshold, tuple(maps)
        )

    def _shown(self, row: int) -> ShownPicture:
        return ShownPicture(as_png(self.pictures.images[row]), self.pictures.names[self.pictures.labels[row]])


def shapley_example(
    embeddings: Embeddings, pairs: PairIndices, scores: Floats, comparison: Comparison
) -> ShapleyExample:
    """How dimensions share the squared distance of the mated pair that scores lowest; exact, since it adds up."""
    mated = np.flatnonzero(pairs.mated)
    at = int(mated[scores[mated].argmin()])
    rows = embeddings.astype(np.float64)
    if comparison is Comparison.COSINE:
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    one, other = rows[pairs.first[at]], rows[pairs.second[at]]
    values = squared_distance_shapley(one, other, rows)
    order = np.argsort(-np.abs(values), kind="stable")
    return ShapleyExample(
        "Minus the squared distance of the mated pair that scores lowest, against all test pictures.",
        float(-((rows - other) ** 2).sum(axis=1).mean()),
        float(-((one - other) ** 2).sum()),
        tuple((int(which), float(values[which])) for which in order),
    )
