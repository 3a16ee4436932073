"""What tells mated, random and skilled apart: each group of a batch is of one writer, once genuine and once forged."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_lab.losses.distances import unit_length
from siamese_lab.losses.margin_softmax import CosFaceLoss


class SkilledContrastiveLoss(nn.Module):
    """Supervised contrastive loss in which the same writer's forgeries are the negatives that weigh most.

    A forged group stands for a writer of its own: forgers too are to be found by their hand, but an anchor that is
    forged counts less, since several people may have written one group.

    Args:
        temperature: of the cosines.
        skilled_weight: how many random negatives one skilled forgery is worth.
        forged_anchors: weight of a forged anchor; a genuine one has 1.

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2, for the loss with weights of 1.
    """

    def __init__(self, temperature: float = 0.1, skilled_weight: float = 3.0, forged_anchors: float = 0.5) -> None:
        super().__init__()
        self.temperature = temperature
        self.skilled_bonus = math.log(skilled_weight)
        self.forged_anchors = forged_anchors

    def forward(self, embeddings: Tensor, writer: Tensor, forged: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            embeddings: (n, d), of any length.
            writer: int64 (n,): whose signature it is, or is meant to be.
            forged: bool (n,).
        """
        units = unit_length(embeddings)
        itself = torch.eye(len(units), dtype=torch.bool, device=units.device)
        same_writer, same_kind = writer[:, None] == writer, forged[:, None] == forged
        positive = same_writer & same_kind & ~itself
        logits = units @ units.T / self.temperature + self.skilled_bonus * (same_writer & ~same_kind)
        logits = logits.masked_fill(itself, -torch.inf)
        found = (logits - logits.logsumexp(1, keepdim=True)).where(positive, 0.0)
        terms = -found.sum(1) / positive.sum(1).clamp_min(1)
        weights = positive.any(1) * (1.0 - (1.0 - self.forged_anchors) * forged.to(terms.dtype))
        return (terms * weights).sum() / weights.sum().clamp_min(1e-6)


class OneThresholdLoss(nn.Module):
    """Logistic loss of genuine pairs against skilled forgeries, with one bias for all writers.

    The contrastive loss is content when each anchor ranks its own first; a verifier has one threshold for everybody.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def forward(self, embeddings: Tensor, writer: Tensor, forged: Tensor) -> Tensor:
        """As `SkilledContrastiveLoss`; mated and skilled pairs weigh the same."""
        units = unit_length(embeddings)
        logits = self.gain * (units @ units.T) + self.bias
        same_writer = (writer[:, None] == writer).triu(1)
        mated = same_writer & ~forged[:, None] & ~forged
        skilled = same_writer & (forged[:, None] ^ forged)
        missed = functional.softplus(-logits).where(mated, 0.0).sum() / mated.sum().clamp_min(1)
        taken = functional.softplus(logits).where(skilled, 0.0).sum() / skilled.sum().clamp_min(1)
        return missed + taken


class SignatureLoss(nn.Module):
    """Sum of the contrastive, the one-threshold and the class loss.

    Args:
        dimensions: of the embeddings.
        class_count: writers x mirror images x (genuine, forged).
        threshold_weight: of `OneThresholdLoss`.
        class_weight: of the margin softmax (CosFace).
    """

    def __init__(
        self, dimensions: int, class_count: int, threshold_weight: float = 0.5, class_weight: float = 0.1
    ) -> None:
        super().__init__()
        self.contrastive = SkilledContrastiveLoss()
        self.threshold = OneThresholdLoss()
        self.classes = CosFaceLoss(dimensions, class_count, margin=0.2, scale=20.0)
        self.threshold_weight = threshold_weight
        self.class_weight = class_weight

    def forward(self, embeddings: Tensor, writer: Tensor, forged: Tensor, classes: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            embeddings: (n, d).
            writer: int64 (n,), of the batch.
            forged: bool (n,).
            classes: int64 (n,); -1 where a signature is of no class.
        """
        total: Tensor = self.contrastive(embeddings, writer, forged)
        if self.threshold_weight:
            total = total + self.threshold_weight * self.threshold(embeddings, writer, forged)
        known = classes >= 0
        if self.class_weight and bool(known.any()):
            total = total + self.class_weight * self.classes(embeddings[known], classes[known])
        return total
