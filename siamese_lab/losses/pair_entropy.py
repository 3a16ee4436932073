"""Binary cross-entropy on a distance: what SN-LeNet-5 is trained with, together with its head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from siamese_lab.losses.distances import in_full
from siamese_lab.losses.kinds import PairLoss, require_embeddings, require_mated
from siamese_lab.networks.heads import DistanceHead, HeadKind


class PairEntropyLoss(PairLoss):
    """-log of the probability that the head gives to what a pair is.

    With p = sigmoid(head(a, b)): -log p where the pair is mated, -log(1 - p) where it is not.

    Args:
        dimensions: of the embeddings.
        head: what the head weighs. The head is part of the loss, learns with it, and is found at `head` afterwards.
        even_distance: as DistanceHead's.

    Source: Koch, Zemel and Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition", ICML workshop
    2015, section 3.2, without its regulariser.
    """

    def __init__(self, dimensions: int, *, head: HeadKind = HeadKind.EUCLIDEAN, even_distance: float = 1.0) -> None:
        super().__init__()
        self.head = DistanceHead(dimensions, head, even_distance)

    def forward(self, first: Tensor, second: Tensor, mated: Tensor) -> Tensor:
        """As PairLoss."""
        require_embeddings(first=first, second=second)
        require_mated(mated, len(first))
        logits = self.head(in_full(first), in_full(second))
        return functional.binary_cross_entropy_with_logits(logits, mated.to(logits.dtype))
