"""What stands on two embeddings: the distance head, which says how likely a pair is mated.

A head belongs to training and to the papers' pair accuracy. A deployed encoder has none: there the gallery's
calibration decides.
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from torch import Tensor, nn

from siamese_lab.options import require_between
from tessera.domain.errors import InvalidInputError


class HeadKind(StrEnum):
    """What of two embeddings the head weighs."""

    EUCLIDEAN = "euclidean"
    """Their distance alone: logit = weight * |a - b|_2 + bias, two numbers learned."""
    COMPONENTWISE = "componentwise"
    """|a_i - b_i| for each i: logit = sum_i weight_i * |a_i - b_i| + bias. Source: Koch, Zemel and Salakhutdinov,
    "Siamese Neural Networks for One-shot Image Recognition", ICML workshop 2015, section 3.1."""


class DistanceHead(nn.Module):
    """Distance and sigmoid: the end of SN-LeNet-5.

    It starts as a judge that knows nothing but that a distance speaks against a pair.

    Args:
        dimensions: of the embeddings.
        kind: what is weighed.
        even_distance: that at which a pair is as likely mated as not, before the first step.
    """

    def __init__(self, dimensions: int, kind: HeadKind = HeadKind.EUCLIDEAN, even_distance: float = 1.0) -> None:
        super().__init__()
        require_between("dimensions", dimensions, 1, 4096)
        require_between("even_distance", even_distance, 0.0, 1e6)
        self.kind = kind
        self.dimensions = dimensions
        count = 1 if kind is HeadKind.EUCLIDEAN else dimensions
        self.weight = nn.Parameter(torch.full((count,), -1.0 / math.sqrt(count)))
        self.bias = nn.Parameter(torch.full((), float(even_distance)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Judge pairs.

        Args:
            first: (n, d) embeddings.
            second: (n, d), the other side of each pair.

        Returns:
            (n,) logits that a pair is mated; the sigmoid of one is its probability.

        Raises:
            InvalidInputError: the shapes are not those.
        """
        if first.shape != second.shape or first.ndim != 2 or first.shape[1] != self.dimensions:
            raise InvalidInputError(
                "embeddings", (tuple(first.shape), tuple(second.shape)), f"twice (n, {self.dimensions})"
            )
        apart = first - second
        if self.kind is HeadKind.EUCLIDEAN:
            distances: Tensor = torch.linalg.vector_norm(apart, dim=1)
            return distances * self.weight + self.bias
        # no matmul: autocast would take it in half precision
        return (apart.abs() * self.weight).sum(1) + self.bias

    def extra_repr(self) -> str:
        """Its kind and size."""
        return f"{self.kind}, dimensions={self.dimensions}"
