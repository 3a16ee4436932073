"""The triplet loss: the anchor nearer to its own class than to another, by a margin; given triplets, or found ones."""

from __future__ import annotations

from torch import Tensor

from siamese_lab.comparison import Comparison
from siamese_lab.losses.distances import paired_distances
from siamese_lab.losses.kinds import (
    BatchLoss,
    Reduction,
    TripletLoss,
    nothing_to_learn,
    reduced,
    require_embeddings,
    require_labels,
)
from siamese_lab.losses.mining import Mining, TripletMiner
from siamese_lab.options import require_above


class TripletMarginLoss(TripletLoss):
    """max(0, D(anchor, positive) - D(anchor, negative) + margin).

    Args:
        margin: by how much the negative has to be further away.
        squared: whether D is the square of the distance, as in the paper.
        comparison: which distance.
        reduction: over which triplets the mean is taken.

    Raises:
        InvalidInputError: the margin is not above 0.

    Source: Schroff, Kalenichenko and Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering",
    CVPR 2015, eq. 3, on embeddings of length 1; the plain distance: Hermans et al. 2017, eq. 3.
    """

    def __init__(
        self,
        *,
        margin: float = 0.2,
        squared: bool = True,
        comparison: Comparison = Comparison.EUCLIDEAN,
        reduction: Reduction = Reduction.MEAN,
    ) -> None:
        super().__init__()
        require_above("margin", margin, 0.0, 1e6)
        self.margin = margin
        self.squared = squared
        self.comparison = comparison
        self.reduction = reduction

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """As TripletLoss."""
        require_embeddings(anchor=anchor, positive=positive, negative=negative)
        near = paired_distances(anchor, positive, self.comparison)
        far = paired_distances(anchor, negative, self.comparison)
        apart = near.square() - far.square() if self.squared else near - far
        return reduced((apart + self.margin).clamp_min(0.0), self.reduction)


class MinedTripletLoss(BatchLoss):
    """The triplet loss over triplets that a miner finds in the batch.

    Args:
        margin: as TripletMarginLoss's.
        squared: as TripletMarginLoss's.
        comparison: as TripletMarginLoss's; the miner looks at the same distance.
        reduction: as TripletMarginLoss's.
        mining: which triplets are found.
        seed: of a miner that draws.

    Raises:
        InvalidInputError: the margin is not above 0.
    """

    def __init__(
        self,
        *,
        margin: float = 0.2,
        squared: bool = True,
        comparison: Comparison = Comparison.EUCLIDEAN,
        reduction: Reduction = Reduction.MEAN,
        mining: Mining = Mining.SEMI_HARD,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.loss = TripletMarginLoss(margin=margin, squared=squared, comparison=comparison, reduction=reduction)
        self.miner = TripletMiner(mining, comparison, margin, squared=squared, seed=seed)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """As BatchLoss; 0 where the miner finds no triplet."""
        require_embeddings(embeddings=embeddings)
        require_labels(labels, len(embeddings))
        anchor, positive, negative = self.miner(embeddings, labels)
        if not len(anchor):
            return nothing_to_learn(embeddings)
        loss: Tensor = self.loss(embeddings[anchor], embeddings[positive], embeddings[negative])
        return loss
