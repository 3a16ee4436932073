"""Which triplets of a batch are worth a step.

A miner looks at embeddings without a gradient and names triplets by their positions; it computes no loss. Triplets come
ordered by anchor, then by positive, then by negative; of equals the first is taken.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn

from siamese_lab.comparison import Comparison
from siamese_lab.losses.distances import all_distances, in_full, unit_length

Triplets = tuple[Tensor, Tensor, Tensor]
"""int64 (k,) each: the anchor, its positive, its negative, as positions in the batch."""

NEAREST_WEIGHED = 0.5
"""DISTANCE_WEIGHTED draws nearer negatives as if they were this far, lest noise be drawn."""
FURTHEST_DRAWN = 1.4
"""DISTANCE_WEIGHTED draws none beyond it: sqrt(2) is where a random direction lies."""


class Mining(StrEnum):
    """Which triplets are found."""

    ALL = "all"
    """Every one. Source: Hermans, Beyer and Leibe, "In Defense of the Triplet Loss", arXiv 1703.07737 (2017), eq. 6."""
    HARD = "hard"
    """One for each anchor: its furthest positive, its nearest negative. Source: the same, eq. 5."""
    SEMI_HARD = "semi-hard"
    """One for each mated pair: the nearest negative that is further than the positive and within the margin; a pair
    without one is left out. Source: Schroff et al., CVPR 2015, eq. 4."""
    DISTANCE_WEIGHTED = "distance-weighted"
    """One for each mated pair: a negative drawn so that all distances on the sphere are drawn alike. Source: Wu et al.,
    "Sampling Matters in Deep Embedding Learning", ICCV 2017, eq. 7."""


class TripletMiner(nn.Module):
    """Finds triplets in a batch.

    Args:
        mining: which.
        comparison: the distance that decides.
        margin: of SEMI_HARD, on the scale of the loss.
        squared: whether the loss squares distances; SEMI_HARD's margin then is one of squares.
        seed: of DISTANCE_WEIGHTED. What it draws depends on the seed and on how often it was asked (kept with the
            weights), so that a training that is resumed draws what it would have drawn.
    """

    asked: Tensor

    def __init__(
        self, mining: Mining, comparison: Comparison, margin: float, *, squared: bool = True, seed: int = 0
    ) -> None:
        super().__init__()
        self.mining = mining
        self.comparison = comparison
        self.margin = margin
        self.squared = squared
        self.seed = seed
        self.register_buffer("asked", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        """Find triplets.

        Args:
            embeddings: float (n, d).
            labels: int64 (n,).

        Returns:
            As Triplets; none where the batch has no mated pair or only one class.
        """
        mated = labels[:, None] == labels
        non_mated = ~mated
        mated.fill_diagonal_(fill_value=False)
        match self.mining:
            case Mining.ALL:
                return _all(mated, non_mated)
            case Mining.HARD:
                return _hard(all_distances(embeddings, self.comparison), mated, non_mated)
            case Mining.SEMI_HARD:
                distances = all_distances(embeddings, self.comparison)
                return _semi_hard(distances.square() if self.squared else distances, mated, non_mated, self.margin)
            case Mining.DISTANCE_WEIGHTED:
                return self._distance_weighted(embeddings, mated, non_mated)

    def _distance_weighted(self, embeddings: Tensor, mated: Tensor, non_mated: Tensor) -> Triplets:
        self.asked += 1
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.asked))
        likelihood = inverse_density(embeddings, non_mated)
        pairs = mated & (likelihood > 0).any(1, keepdim=True)
        anchor, positive = pairs.nonzero(as_tuple=True)
        if not len(anchor):
            return anchor, positive, anchor
        drawn = torch.multinomial(likelihood[anchor].cpu(), 1, generator=generator)
        return anchor, positive, drawn[:, 0].to(anchor.device)


def inverse_density(embeddings: Tensor, among: Tensor) -> Tensor:
    """How rare the distance of each two directions is on the unit sphere, against the rarest in its row.

    Args:
        embeddings: (n, d); their directions count.
        among: bool (n, n), which are looked at.

    Returns:
        (n, n), at most 1; 0 beyond FURTHEST_DRAWN and for those that are not looked at.

    Source: Wu et al. 2017, eq. 6: q(D) ~ D^(d - 2) (1 - D^2 / 4)^((d - 3) / 2).
    """
    dimensions = embeddings.shape[1]
    distances = all_distances(unit_length(in_full(embeddings)), Comparison.EUCLIDEAN)
    seen = distances.clamp(NEAREST_WEIGHED, FURTHEST_DRAWN)
    log_density = (dimensions - 2) * seen.log() + (dimensions - 3) / 2 * (1.0 - seen.square() / 4).log()
    within = among & (distances <= FURTHEST_DRAWN)
    # Against those that can be drawn: in many dimensions a nearer one would push them below what a float holds.
    rarest = (-log_density).where(within, -torch.inf).amax(1, keepdim=True)
    return (-log_density - rarest).exp().where(within, 0.0)


def _all(mated: Tensor, non_mated: Tensor) -> Triplets:
    anchor, positive, negative = (mated[:, :, None] & non_mated[:, None, :]).nonzero(as_tuple=True)
    return anchor, positive, negative


def _hard(distances: Tensor, mated: Tensor, non_mated: Tensor) -> Triplets:
    anchor = (mated.any(1) & non_mated.any(1)).nonzero()[:, 0]
    furthest = distances.where(mated, -torch.inf)[anchor]
    nearest = distances.where(non_mated, torch.inf)[anchor]
    return (anchor, furthest.argmax(1), nearest.argmin(1)) if len(anchor) else (anchor, anchor, anchor)


def _semi_hard(distances: Tensor, mated: Tensor, non_mated: Tensor, margin: float) -> Triplets:
    anchor, positive = mated.nonzero(as_tuple=True)
    if not len(anchor):
        return anchor, positive, anchor
    near, far = distances[anchor, positive][:, None], distances[anchor]
    fit = non_mated[anchor] & (far > near) & (far < near + margin)
    found = fit.any(1)
    negative = far.where(fit, torch.inf).argmin(1)
    return anchor[found], positive[found], negative[found]
