"""How a network does on the pictures that choose: after each epoch, on the same pairs every time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from siamese_lab.data.pairs import balanced_pairs
from siamese_lab.data.sources import LabelledImages
from siamese_lab.evaluation.embedding import Embeddings, embed, testing
from siamese_lab.evaluation.pairs import pair_scores
from siamese_lab.losses import LOSSES, LossKind
from siamese_lab.networks.heads import DistanceHead
from siamese_lab.training.batches import Chance, plan_epoch, stream
from siamese_lab.training.recipe import Recipe
from siamese_lab.verification import best_threshold

PAIRS = 10_000


@dataclass(frozen=True, slots=True)
class Validation:
    """What was found."""

    loss: float
    accuracy: float
    """Of balanced pairs."""


def validate(
    network: nn.Module, loss: nn.Module, recipe: Recipe, pictures: LabelledImages, device: torch.device
) -> Validation | None:
    """Judge a network while it trains.

    Args:
        network: as trained so far.
        loss: what is made small.
        recipe: of the run.
        pictures: that choose; where there are none, nothing is known.
        device: where both are.
    """
    if not len(pictures):
        return None
    embeddings = embed(network, pictures.images, str(device))
    with torch.inference_mode(), testing(loss):
        made = _loss(torch.from_numpy(embeddings).to(device), loss, recipe, pictures)
        accuracy = _accuracy(embeddings, loss, recipe, pictures, device)
    return Validation(made, accuracy)


def _loss(embeddings: Tensor, loss: nn.Module, recipe: Recipe, pictures: LabelledImages) -> float:
    """The mean over batches as in training, of embeddings that are known."""
    plan = plan_epoch(
        replace(recipe.batches, per_epoch=len(pictures)),
        pictures.labels,
        stream(recipe.evaluation.pair_seed, Chance.VALIDATION),
    )
    labels, total = torch.from_numpy(pictures.labels).to(embeddings.device), 0.0
    for items, mated in plan.batches():
        places = torch.from_numpy(items.T.reshape(-1)).to(embeddings.device)
        sides = torch.split(embeddings[places], len(items))
        if LOSSES[recipe.loss.name].kind is LossKind.TRIPLET:
            made = loss(*sides)
        elif mated is not None:
            made = loss(*sides, torch.from_numpy(mated).to(embeddings.device))
        else:
            made = loss(*sides, labels[places])
        total += float(made) * len(items)
    return total / len(plan.items)


def _accuracy(
    embeddings: Embeddings, loss: nn.Module, recipe: Recipe, pictures: LabelledImages, device: torch.device
) -> float:
    pairs = balanced_pairs(pictures.labels, PAIRS, stream(recipe.evaluation.pair_seed, Chance.VALIDATION, 1))
    head = getattr(loss, "head", None)
    if isinstance(head, DistanceHead):
        first, second = (torch.from_numpy(embeddings[side]).to(device) for side in (pairs.first, pairs.second))
        return float(np.mean((head(first, second) >= 0).cpu().numpy() == pairs.mated))
    scores = pair_scores(embeddings, pairs, recipe.evaluation.comparison)
    return float(np.mean((scores >= best_threshold(scores, pairs.mated)) == pairs.mated))
