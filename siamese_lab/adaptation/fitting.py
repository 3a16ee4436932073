"""Trains a head over frozen templates: identity at the start, and pulled back to it all the way.

The encoder is never run: templates come in, a head comes out. Nothing here knows whether the head is any good;
`guard` measures that on people whom no head has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from siamese_lab.adaptation.closed_forms import scatter
from siamese_lab.adaptation.head import Head, checked
from siamese_lab.adaptation.tail_loss import TailLoss
from siamese_lab.adaptation.templates import LabelledTemplates
from siamese_lab.losses import BatchLoss, build_loss
from siamese_lab.options import Option
from tessera.domain.errors import InvalidInputError

TAIL = "tail"
"""The loss of this package, beside those of `siamese_lab.losses` that take a batch."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How a head is trained."""

    loss: str = TAIL
    """`tail`, or a batch loss of `siamese_lab.losses.LOSSES`."""
    loss_options: Mapping[str, Option] = field(default_factory=dict)
    hidden: int = 0
    """Units of the second layer; 0: the head is affine."""
    pull: float = 30.0
    """Weight of the squared distance of the head from the identity, a dimension."""
    steps: int = 60
    learning_rate: float = 3e-3
    several: int = 300
    """Templates a batch of people who have two or more: what is pulled together."""
    alone: int = 300
    """Templates a batch of people who have one: more to be kept apart from."""
    seed: int = 1

    @property
    def title(self) -> str:
        """How the head is told from others, in words."""
        layers = f"two-layer, {self.hidden} hidden" if self.hidden else "linear"
        return f"trained, {layers}, {self.loss}, pull {self.pull:g}"


class ResidualHead(nn.Module):
    """z + z A + b + tanh(z U + c) V: with A, b and V at 0, as they start, the identity.

    Args:
        dimensions: of the vectors.
        hidden: units of the second layer; 0: none.
        generator: draws U.
    """

    def __init__(self, dimensions: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(dimensions, dimensions))
        self.bias = nn.Parameter(torch.zeros(dimensions))
        self.inward = nn.Parameter(torch.randn(dimensions, hidden, generator=generator))
        self.inner_bias = nn.Parameter(torch.zeros(hidden))
        self.outward = nn.Parameter(torch.zeros(hidden, dimensions))

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, d) -> (n, d), of any length."""
        inner = torch.tanh(vectors @ self.inward + self.inner_bias) @ self.outward
        return vectors + vectors @ self.linear + self.bias + inner

    def away_from_identity(self) -> Tensor:
        """The squared weights that make it differ, a dimension; a bias moves every vector alike and weighs as much."""
        d = len(self.bias)
        return (self.linear.square().sum() + d * self.bias.square().sum() + d * self.outward.square().sum()) / d


def train_head(templates: LabelledTemplates, plan: TrainingPlan) -> Head:
    """Train a head.

    Args:
        templates: of the people to learn from; some of them with two or more.
        plan: how.

    Returns:
        The head; the same for the same templates, plan and machine.

    Raises:
        InvalidInputError: nobody has two templates, or there is no such loss.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    middle = torch.from_numpy(scatter(templates).middle.astype(np.float32))
    vectors = functional.normalize(torch.from_numpy(templates.vectors) - middle, dim=1)
    labels = torch.from_numpy(templates.subjects.astype(np.int64))
    head = ResidualHead(vectors.shape[1], plan.hidden, generator)
    loss = _loss(plan, vectors.shape[1], int(labels.max()) + 1)
    optimiser = torch.optim.Adam([*head.parameters(), *loss.parameters()], lr=plan.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.steps)
    for _ in range(plan.steps):
        rows = _draw(templates, plan, generator)
        cost = loss(functional.normalize(head(vectors[rows]), dim=1), labels[rows])
        optimiser.zero_grad()
        (cost + plan.pull * head.away_from_identity()).backward()
        optimiser.step()
        falling.step()
    return exported(head, middle, plan.title, templates.model_id)


def _loss(plan: TrainingPlan, dimensions: int, people: int) -> BatchLoss:
    if plan.loss == TAIL:
        return TailLoss()
    loss = build_loss(plan.loss, dimensions, people, plan.loss_options)
    if not isinstance(loss, BatchLoss):
        raise InvalidInputError("loss", plan.loss, "one that takes a batch")
    return loss


def _draw(templates: LabelledTemplates, plan: TrainingPlan, generator: torch.Generator) -> Tensor:
    counts = np.bincount(templates.subjects)[templates.subjects]
    several, alone = (torch.from_numpy(np.flatnonzero(rows)) for rows in (counts > 1, counts == 1))
    return torch.cat(
        [
            rows[torch.randperm(len(rows), generator=generator)[:most]]
            for rows, most in ((several, plan.several), (alone, plan.alone))
        ]
    )


def exported(head: ResidualHead, middle: Tensor, name: str, encoder: str) -> Head:
    """What a trained head does, for numpy.

    Args:
        head: as trained.
        middle: shape (d,), what was taken off the vectors before they were brought to length 1.
        name: how it was made.
        encoder: a model id.
    """

    def values(part: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return part.detach().numpy().astype(np.float32)

    return checked(
        Head(
            name,
            encoder,
            values(middle),
            values(torch.eye(len(middle)) + head.linear),
            values(head.bias),
            values(head.inward),
            values(head.inner_bias),
            values(head.outward),
        )
    )
