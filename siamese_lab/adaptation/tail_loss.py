"""The loss of the rates that a deployment runs at: mated scores against the highest non-mated ones of everybody."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from siamese_lab.losses.distances import all_cosines
from siamese_lab.losses.kinds import BatchLoss, nothing_to_learn, require_embeddings, require_labels
from siamese_lab.options import require_above


class TailLoss(BatchLoss):
    """Softplus of how far one soft threshold, common to all, stands above each mated score.

    The threshold is T log(mean over non-mated pairs of exp(s / T)) - T log(fmr): at a low temperature it lies near the
    score that a share `fmr` of non-mated pairs reaches. Unlike a loss with a threshold for each anchor, it does not
    forgive people who look like many others: a threshold in the field does not either.

    Args:
        temperature: T.
        fmr: the share of non-mated pairs that the threshold is about.

    Raises:
        InvalidInputError: a value is out of range.
    """

    def __init__(self, *, temperature: float = 0.05, fmr: float = 1e-3) -> None:
        super().__init__()
        require_above("temperature", temperature, 0.0, 100.0)
        require_above("fmr", fmr, 0.0, 1.0)
        self.temperature = temperature
        self.fmr = fmr

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """As BatchLoss; 0 where no pair is mated, or none is not."""
        require_embeddings(embeddings=embeddings)
        require_labels(labels, len(embeddings))
        later = torch.ones(len(labels), len(labels), dtype=torch.bool, device=labels.device).triu(1)
        same = labels[:, None] == labels
        logits = all_cosines(embeddings) / self.temperature
        mated, others = logits[later & same], logits[later & ~same]
        if not len(mated) or not len(others):
            return nothing_to_learn(embeddings)
        threshold = others.logsumexp(0) - math.log(len(others) * self.fmr)
        return functional.softplus(threshold - mated).mean()
