"""Optimisers by name, in the form that costs least on small networks: all weights in one call."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from siamese_lab.training.recipe import OptimiserKind, OptimiserPart


def build_optimiser(part: OptimiserPart, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """An optimiser with no state yet.

    Args:
        part: of the recipe.
        parameters: what it changes.
    """
    weights, rate = list(parameters), part.learning_rate
    match part.kind:
        case OptimiserKind.SGD:
            return torch.optim.SGD(weights, rate, part.momentum, nesterov=part.nesterov, fused=True)
        case OptimiserKind.ADAM:
            return torch.optim.Adam(weights, rate, _betas(part), fused=True)
        case OptimiserKind.ADAMW:
            return torch.optim.AdamW(weights, rate, _betas(part), weight_decay=part.decay, fused=True)
        case OptimiserKind.RMSPROP:
            return torch.optim.RMSprop(weights, rate, part.smoothing, momentum=part.momentum, foreach=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step have this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def _betas(part: OptimiserPart) -> tuple[float, float]:
    first, second = part.betas
    return first, second
