"""The supervised contrastive loss: each anchor has to find all of its class among all others of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from siamese_lab.losses.distances import all_cosines
from siamese_lab.losses.kinds import BatchLoss, nothing_to_learn, require_embeddings, require_labels
from siamese_lab.options import require_above


class SupervisedContrastiveLoss(BatchLoss):
    """Cross-entropy of finding a positive among all others, by cosines.

    For an anchor i with positives P(i) and all others A(i): the mean over p in P(i) of
    -log( exp(cos(i, p) / T) / sum over a in A(i) of exp(cos(i, a) / T) ); the mean over anchors that have a positive.

    Args:
        temperature: T; the lower, the more the nearest negatives count.

    Raises:
        InvalidInputError: the temperature is not above 0.

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2.
    """

    def __init__(self, *, temperature: float = 0.1) -> None:
        super().__init__()
        require_above("temperature", temperature, 0.0, 100.0)
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """As BatchLoss; 0 where no anchor has a positive."""
        require_embeddings(embeddings=embeddings)
        require_labels(labels, len(embeddings))
        if len(embeddings) == 1:
            return nothing_to_learn(embeddings)
        self_pair = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = (labels[:, None] == labels) & ~self_pair
        logits = (all_cosines(embeddings) / self.temperature).masked_fill(self_pair, -torch.inf)
        log_found = logits - logits.logsumexp(1, keepdim=True)
        positives = positive.sum(1)
        anchors = positives > 0
        # where, and not a product: the pair of an anchor with itself has a logarithm of minus infinity
        terms = -log_found.where(positive, 0.0).sum(1) / positives.clamp_min(1)
        return terms.sum() / anchors.sum().clamp_min(1)
