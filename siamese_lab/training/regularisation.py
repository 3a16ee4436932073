"""L1 and L2 penalties, added to gradients: the same as adding them to the loss, without another pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siamese_lab.training.recipe import RegularisationPart


def weights_of(network: nn.Module) -> list[Tensor]:
    """The weights that are kept small: of convolutions and dense layers; no bias, no gain of a batch norm."""
    return [weight for weight in network.parameters() if weight.ndim >= 2 and weight.requires_grad]


@torch.no_grad()
def add_penalties(part: RegularisationPart, weights: list[Tensor]) -> None:
    """Add the gradient of l1 * sum |w| + l2 / 2 * sum w^2.

    Args:
        part: of the recipe.
        weights: as `weights_of` gives them; each has a gradient.
    """
    for weight in weights:
        if weight.grad is not None:
            if part.l2:
                weight.grad.add_(weight, alpha=part.l2)
            if part.l1:
                weight.grad.add_(weight.sign(), alpha=part.l1)


@torch.no_grad()
def penalty(part: RegularisationPart, weights: list[Tensor]) -> float:
    """What the penalties add to the loss."""
    return sum(part.l1 * float(w.abs().sum()) + part.l2 / 2.0 * float(w.square().sum()) for w in weights)
