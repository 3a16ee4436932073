"""The circle loss: each similarity is pulled the harder the further it is from where it belongs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from siamese_lab.losses.distances import all_cosines
from siamese_lab.losses.kinds import BatchLoss, nothing_to_learn, require_embeddings, require_labels
from siamese_lab.options import require_above


class CircleLoss(BatchLoss):
    """For each anchor: softplus of how far its negatives' cosines stand above its positives', each weighted by itself.

    With m the margin and s the scale, for an anchor's cosines p to its positives and q to its negatives:
    log(1 + sum over q of exp(s [q + m]+ (q - m)) * sum over p of exp(-s [1 + m - p]+ (p - 1 + m))).
    The weights in [ ]+ are taken as they are: no gradient goes through them. The mean is over anchors that have both
    a positive and a negative.

    Args:
        margin: m; positives are to reach 1 - m, negatives m.
        scale: s.

    Raises:
        InvalidInputError: a value is out of range.

    Source: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 6 to 8.
    """

    def __init__(self, *, margin: float = 0.25, scale: float = 80.0) -> None:
        super().__init__()
        require_above("margin", margin, 0.0, 1.0)
        require_above("scale", scale, 0.0, 10_000.0)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """As BatchLoss; 0 where no anchor has both a positive and a negative."""
        require_embeddings(embeddings=embeddings)
        require_labels(labels, len(embeddings))
        negative = labels[:, None] != labels
        positive = (~negative).fill_diagonal_(False)
        anchors = positive.any(1) & negative.any(1)
        if not bool(anchors.any()):
            return nothing_to_learn(embeddings)
        cosines = all_cosines(embeddings)
        to_positives, to_negatives = self.weights(cosines.detach())
        return self.weighted(cosines, to_positives, to_negatives, positive, negative)[anchors].mean()

    def weights(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """How hard each cosine is pulled, as a positive's and as a negative's: (n, n) -> twice (n, n)."""
        return (1.0 + self.margin - cosines).clamp_min(0.0), (cosines + self.margin).clamp_min(0.0)

    def weighted(
        self, cosines: Tensor, to_positives: Tensor, to_negatives: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        """The loss of each anchor under weights that are given.

        Args:
            cosines: (n, n).
            to_positives: (n, n) weights.
            to_negatives: (n, n) weights.
            positive: bool (n, n), who is an anchor's positive.
            negative: bool (n, n).

        Returns:
            (n,); what stands for an anchor that lacks a positive or a negative says nothing.
        """
        # half of the lowest number: the sum of two of them is still a number, and so has a gradient
        absent = torch.finfo(cosines.dtype).min / 2
        pulled = (-self.scale * to_positives * (cosines - 1.0 + self.margin)).where(positive, absent)
        pushed = (self.scale * to_negatives * (cosines - self.margin)).where(negative, absent)
        return functional.softplus(pulled.logsumexp(1) + pushed.logsumexp(1))
