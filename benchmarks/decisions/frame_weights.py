"""How steeply a frame's weight should rise with its measures: fitted on some people, judged on others.

Where `FRAME_EXPONENTS` of `tessera/domain/fusion.py` come from, and what else was tried. Nothing here reads a frame, a
sequence or an enrolled picture of the people that a weight is judged on, nor compares with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tessera.domain.embedding import Vectors
from tessera.domain.logistic import fit_logistic

FMRS = (1e-3, 1e-4)
STEPS = 80
SOFTNESS = 0.03
"""Of a miss, in score: what lies so far from the threshold counts as 0.27 or 0.73 of one."""
RIDGE = 1e-3
"""On each exponent, in deviations of its feature."""
AROUND_RANK = 0.2
"""The threshold is the mean of the non-mated scores of so many ranks to either side, so that it moves smoothly."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class FittingSet:
    """Frames of the people that a weight is fitted on, with a gallery that has nobody else's sequences in it."""

    rows: Indices
    """Shape (n,): which frames of all they are."""
    sequence: Indices
    """Shape (n,): of each frame, from 0."""
    vectors: Vectors
    """Shape (n, d)."""
    enrolled: Vectors
    """Shape (sequences, d): what each sequence should match."""
    gallery: Vectors
    """Shape (people, d): one picture of each person."""
    owner: Indices
    """Shape (sequences,): whose a sequence is, in the gallery."""


Weigh = Callable[[FittingSet], Floats]
"""Fits on some frames, and gives logarithms of weights for all frames, those of other people too."""


def power_product(features: Floats) -> Weigh:
    """Weights exp(features @ exponents): with logarithms of measures, their product, each to its exponent."""

    def weigh(seen: FittingSet) -> Floats:
        return np.asarray(features @ fit_exponents(features, seen), np.float64)

    return weigh


def fit_exponents(features: Floats, seen: FittingSet) -> Floats:
    """The exponents of the least smoothed FNMR of joined probes: the mean over `FMRS` of its logarithm.

    Args:
        features: shape (all frames, k), such as logarithms of measures.
        seen: whom they are fitted on.

    Returns:
        Shape (k,).

    Source: learnt pooling weights as in NAN (Yang et al., CVPR 2017), from measures and not from the embedding.
    """
    own = features[seen.rows]
    spread = own.std(axis=0) + 1e-9
    scaled = torch.tensor((own - own.mean(axis=0)) / spread, dtype=torch.float32)
    exponents = torch.zeros(own.shape[1], requires_grad=True)
    steps = torch.optim.Adam([exponents], lr=0.1)
    for _ in range(STEPS):
        steps.zero_grad()
        cost = _smooth_misses(seen, torch.exp((scaled @ exponents).clamp(-12, 12)))
        (cost + RIDGE * (exponents**2).sum()).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        steps.step()
    return np.asarray(exponents.detach().numpy() / spread, np.float64)


def _smooth_misses(seen: FittingSet, weights: torch.Tensor) -> torch.Tensor:
    count = len(seen.enrolled)
    totals = torch.zeros(count, seen.vectors.shape[1]).index_add(
        0, torch.tensor(seen.sequence), torch.tensor(seen.vectors) * weights[:, None]
    )
    probes = totals / totals.norm(dim=1, keepdim=True)
    mated = (probes * torch.tensor(seen.enrolled)).sum(dim=1)
    own = torch.zeros(count, len(seen.gallery), dtype=torch.bool)
    own[torch.arange(count), torch.tensor(seen.owner)] = True
    non_mated = (probes @ torch.tensor(seen.gallery).T).masked_fill(own, -1.0)
    ranks = [round(non_mated.numel() * fmr) for fmr in FMRS]
    highest = torch.topk(non_mated.flatten(), round(max(ranks) * (1 + AROUND_RANK))).values
    misses = [torch.sigmoid((_around(highest, rank) - mated) / SOFTNESS).mean().log() for rank in ranks]
    return torch.stack(misses).mean()


def _around(highest: torch.Tensor, rank: int) -> torch.Tensor:
    side = max(5, round(rank * AROUND_RANK))
    return highest[max(0, rank - side) : rank + side].mean()


def chance_alone(features: Floats) -> Weigh:
    """The chance that a frame alone reaches what its person is enrolled with, at FMR 1e-3; by logistic regression."""

    def weigh(seen: FittingSet) -> Floats:
        reached = _reaches_alone(seen)
        own = features[seen.rows]
        fitted = fit_logistic(own[reached], own[~reached], float(reached.mean()))
        log_odds = fitted.llr(features) + np.log(reached.mean() / (1 - reached.mean()))
        return np.asarray(-np.logaddexp(0.0, -log_odds), np.float64)

    return weigh


def _reaches_alone(seen: FittingSet) -> npt.NDArray[np.bool_]:
    table = seen.vectors @ seen.gallery.T
    table[np.arange(len(table)), seen.owner[seen.sequence]] = -1.0
    highest = np.partition(table.ravel(), -round(table.size * FMRS[0]))
    mated = np.einsum("nd,nd->n", seen.vectors, seen.enrolled[seen.sequence])
    return np.asarray(mated > highest[-round(table.size * FMRS[0])], np.bool_)


def agreement(vectors: Vectors, weights: Floats, sequence: Indices) -> Floats:
    """How alike each frame is to the weighted mean of the others of its sequence; 0 for a frame without others.

    Args:
        vectors: shape (n, d), unit rows; 0 where no face was found.
        weights: shape (n,).
        sequence: shape (n,): which sequence each frame belongs to.
    """
    agreed = np.zeros(len(vectors))
    for one in np.unique(sequence):
        rows = np.flatnonzero((sequence == one) & vectors.any(axis=1))
        own = vectors[rows] * weights[rows, None]
        others = own.sum(axis=0) - own
        lengths = np.linalg.norm(others, axis=1)
        agreed[rows] = np.einsum("nd,nd->n", vectors[rows], others) / np.where(lengths > 1e-6, lengths, 1.0)
    return agreed
