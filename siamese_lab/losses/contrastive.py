"""The contrastive loss: mated pairs together, non-mated ones at least a margin apart."""

from __future__ import annotations

from torch import Tensor

from siamese_lab.comparison import Comparison
from siamese_lab.losses.distances import paired_distances
from siamese_lab.losses.kinds import PairLoss, Reduction, reduced, require_embeddings, require_mated
from siamese_lab.options import require_above


class ContrastiveLoss(PairLoss):
    """Pulls with the square of the distance, and pushes with the square of what lacks to the margin.

    With D the distance of a pair: 1/2 D^2 where it is mated, 1/2 max(0, margin - D)^2 where it is not. A pair is
    mated where the paper writes Y = 0, and where MATLAB's example writes 1; here it is a bool.

    Args:
        margin: non-mated pairs this far apart are left alone; MATLAB's example has 0.3.
        comparison: which distance D is.
        reduction: over which pairs the mean is taken.

    Raises:
        InvalidInputError: the margin is not above 0.

    Source: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, eq. 4.
    """

    def __init__(
        self,
        *,
        margin: float = 1.0,
        comparison: Comparison = Comparison.EUCLIDEAN,
        reduction: Reduction = Reduction.MEAN,
    ) -> None:
        super().__init__()
        require_above("margin", margin, 0.0, 1e6)
        self.margin = margin
        self.comparison = comparison
        self.reduction = reduction

    def forward(self, first: Tensor, second: Tensor, mated: Tensor) -> Tensor:
        """As PairLoss."""
        require_embeddings(first=first, second=second)
        require_mated(mated, len(first))
        distances = paired_distances(first, second, self.comparison)
        lacking = (self.margin - distances).clamp_min(0.0)
        return reduced(0.5 * distances.where(mated, lacking).square(), self.reduction)
