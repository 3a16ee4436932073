"""How far apart two embeddings are, for the losses: exact, and with finite gradients everywhere.

The Euclidean distance has a kink where both embeddings are the same, and a direction has none where an embedding is 0.
There the gradient is taken as 0: such a pair stays where it is until other pairs move it. Embeddings of half precision
are brought to float32 first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from siamese_lab.comparison import Comparison


def paired_distances(first: Tensor, second: Tensor, comparison: Comparison) -> Tensor:
    """The distance of each pair.

    Args:
        first: (n, d).
        second: (n, d).
        comparison: which distance.

    Returns:
        (n,), at least float32.
    """
    first, second = in_full(first), in_full(second)
    if comparison is Comparison.EUCLIDEAN:
        distances: Tensor = torch.linalg.vector_norm(first - second, dim=1)
        return distances
    return 1.0 - (unit_length(first) * unit_length(second)).sum(1)


def all_distances(embeddings: Tensor, comparison: Comparison) -> Tensor:
    """The distance of everything to everything.

    Args:
        embeddings: (n, d).
        comparison: which distance.

    Returns:
        (n, n), at least float32.
    """
    if comparison is Comparison.COSINE:
        return 1.0 - all_cosines(embeddings)
    full = in_full(embeddings)
    # Without the shortcut over products: that loses half the digits of small distances.
    return torch.cdist(full, full, compute_mode="donot_use_mm_for_euclid_dist")


def all_cosines(embeddings: Tensor) -> Tensor:
    """The cosine of everything to everything: (n, d) -> (n, n), at least float32."""
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = unit_length(in_full(embeddings))
        return unit @ unit.T


def unit_length(embeddings: Tensor) -> Tensor:
    """The direction of each embedding: (n, d) -> (n, d); one of length 0 stays 0."""
    lengths: Tensor = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    return embeddings / torch.where(lengths > 0, lengths, 1.0)


def in_full(embeddings: Tensor) -> Tensor:
    """float32 in place of half precision; float64 stays."""
    return embeddings if embeddings.dtype is torch.float64 else embeddings.float()
