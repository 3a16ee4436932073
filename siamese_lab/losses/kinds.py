"""The three kinds of loss, by what they are given; and what all of them refuse.

A loss is a distance, then a choice of pairs or triplets, then a mean. `mated` is a bool wherever it stands: how a file
or a paper writes it down ends at `read_mated`. No loss refuses embeddings that are not finite; it becomes what they
are, and the training loop stops.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn

from tessera.domain.errors import InvalidInputError


class LossKind(StrEnum):
    """What a loss is given, and so what a batch has to hold."""

    PAIR = "pair"
    TRIPLET = "triplet"
    BATCH = "batch"


class LabelConvention(StrEnum):
    """How a source of pairs writes down whether a pair is mated."""

    MATED_IS_ONE = "mated-is-one"
    """1 for two of the same class: Koch et al. 2015, MATLAB's `getSiameseBatch`."""
    MATED_IS_ZERO = "mated-is-zero"
    """0 for two of the same class: Hadsell et al. 2006, where Y = 1 says "dissimilar"."""


class Reduction(StrEnum):
    """Over what the mean is taken."""

    MEAN = "mean"
    """Over all pairs or triplets."""
    MEAN_OF_ACTIVE = "mean-of-active"
    """Over those whose loss is above 0. Source: Hermans et al. 2017, section 3.2."""


class PairLoss(nn.Module):
    """A loss of pairs."""

    def forward(self, first: Tensor, second: Tensor, mated: Tensor) -> Tensor:
        """Mean over the pairs.

        Args:
            first: float (n, d) embeddings, n and d at least 1.
            second: float (n, d), the other side of each pair.
            mated: bool (n,), whether both sides are of one class.

        Returns:
            A scalar.

        Raises:
            InvalidInputError: a shape or a kind of number is not that.
        """
        raise NotImplementedError


class TripletLoss(nn.Module):
    """A loss of triplets."""

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Mean over the triplets.

        Args:
            anchor: float (n, d) embeddings, n and d at least 1.
            positive: float (n, d), of the anchor's class.
            negative: float (n, d), of another.

        Returns:
            A scalar.

        Raises:
            InvalidInputError: a shape or a kind of number is not that.
        """
        raise NotImplementedError


class BatchLoss(nn.Module):
    """A loss of a whole batch, which finds its pairs by the labels."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean over what the batch has to compare.

        Args:
            embeddings: float (n, d), n and d at least 1.
            labels: int64 (n,).

        Returns:
            A scalar. Where the batch has nothing to compare (no mated pair, no non-mated one), it is 0 and its
            gradient is 0: such a batch teaches nothing, and does not stop a training.

        Raises:
            InvalidInputError: a shape or a kind of number is not that.
        """
        raise NotImplementedError


def read_mated(labels: Tensor, convention: LabelConvention) -> Tensor:
    """Read the labels of pairs.

    Args:
        labels: (n,), each 0 or 1, of any kind of number.
        convention: what 1 means.

    Returns:
        bool (n,), whether each pair is mated.

    Raises:
        InvalidInputError: a label is neither 0 nor 1.
    """
    ones = labels == 1
    if labels.ndim != 1 or not bool((ones | (labels == 0)).all()):
        raise InvalidInputError("labels", tuple(labels.shape), "(n,), each 0 or 1")
    return ones if convention is LabelConvention.MATED_IS_ONE else ~ones


def require_embeddings(**given: Tensor) -> None:
    """Refuse embeddings that are not all floating (n, d) of one shape, n and d at least 1.

    Raises:
        InvalidInputError: one is not.
    """
    wanted: torch.Size | None = None
    for name, value in given.items():
        shape = tuple(value.shape)
        if value.ndim != 2 or 0 in shape:
            raise InvalidInputError(name, shape, "(n, d), n and d at least 1")
        if not value.is_floating_point():
            raise InvalidInputError(name, str(value.dtype), "floating numbers")
        if wanted is not None and value.shape != wanted:
            raise InvalidInputError(name, shape, f"{tuple(wanted)}, as the first side has")
        wanted = value.shape


def require_mated(mated: Tensor, count: int) -> None:
    """Refuse what is not bool (n,).

    Raises:
        InvalidInputError: it is not.
    """
    if mated.dtype is not torch.bool:
        raise InvalidInputError("mated", str(mated.dtype), "bool; `read_mated` reads labels of 0 and 1")
    if tuple(mated.shape) != (count,):
        raise InvalidInputError("mated", tuple(mated.shape), f"({count},), one for each pair")


def require_labels(labels: Tensor, count: int) -> None:
    """Refuse what is not int64 (n,).

    Raises:
        InvalidInputError: it is not.
    """
    if labels.dtype is not torch.int64:
        raise InvalidInputError("labels", str(labels.dtype), "int64")
    if tuple(labels.shape) != (count,):
        raise InvalidInputError("labels", tuple(labels.shape), f"({count},), one for each embedding")


def nothing_to_learn(*embeddings: Tensor) -> Tensor:
    """A loss of 0 whose gradient is 0, so that `backward` can be called on it."""
    # the sum of no numbers, and not 0 times the sum of all: that would overflow
    return sum((value[:0].sum() for value in embeddings), torch.zeros((), device=embeddings[0].device))


def reduced(terms: Tensor, reduction: Reduction) -> Tensor:
    """The mean of terms that are at least 0.

    Args:
        terms: (n,), n at least 1.
        reduction: over which.

    Returns:
        A scalar; 0 where no term is above 0.
    """
    if reduction is Reduction.MEAN:
        return terms.mean()
    return terms.sum() / (terms > 0).sum().clamp_min(1)
