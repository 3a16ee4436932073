"""The losses of the lab, each by name, with what it has to be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from siamese_lab.comparison import Comparison
from siamese_lab.losses.circle import CircleLoss
from siamese_lab.losses.contrastive import ContrastiveLoss
from siamese_lab.losses.kinds import BatchLoss, LabelConvention, LossKind, PairLoss, TripletLoss, read_mated
from siamese_lab.losses.margin_softmax import ArcFaceLoss, CosFaceLoss, CrossEntropyLoss
from siamese_lab.losses.pair_entropy import PairEntropyLoss
from siamese_lab.losses.supervised_contrastive import SupervisedContrastiveLoss
from siamese_lab.losses.triplet import MinedTripletLoss, TripletMarginLoss
from siamese_lab.options import Option, read_options
from tessera.domain.errors import InvalidInputError

__all__ = [
    "LOSSES",
    "BatchLoss",
    "Comparison",
    "LabelConvention",
    "LossEntry",
    "LossKind",
    "PairLoss",
    "TripletLoss",
    "build_loss",
    "read_mated",
]

Loss = PairLoss | TripletLoss | BatchLoss


@dataclass(frozen=True, slots=True)
class LossEntry:
    """One loss of the table."""

    kind: LossKind
    made_by: Callable[..., Loss]
    """Takes `dimensions` and `class_count` where it has weights of its own; its options are keyword parameters."""


LOSSES: Mapping[str, LossEntry] = {
    "contrastive": LossEntry(LossKind.PAIR, ContrastiveLoss),
    "pair-entropy": LossEntry(LossKind.PAIR, PairEntropyLoss),
    "triplet": LossEntry(LossKind.TRIPLET, TripletMarginLoss),
    "mined-triplet": LossEntry(LossKind.BATCH, MinedTripletLoss),
    "supervised-contrastive": LossEntry(LossKind.BATCH, SupervisedContrastiveLoss),
    "arcface": LossEntry(LossKind.BATCH, ArcFaceLoss),
    "cosface": LossEntry(LossKind.BATCH, CosFaceLoss),
    "circle": LossEntry(LossKind.BATCH, CircleLoss),
    "cross-entropy": LossEntry(LossKind.BATCH, CrossEntropyLoss),
}


def build_loss(name: str, dimensions: int, class_count: int, options: Mapping[str, Option]) -> Loss:
    """A loss of the table.

    Args:
        name: a key of `LOSSES`.
        dimensions: of the embeddings.
        class_count: of the training data; labels are 0 to class_count - 1.
        options: by name; see the class.

    Returns:
        The loss; some have weights, which learn with the network's and start the same each time.

    Raises:
        InvalidInputError: there is no such loss or option, or a value is out of range.
    """
    if name not in LOSSES:
        raise InvalidInputError("loss.name", name, f"one of {', '.join(LOSSES)}")
    made_by = LOSSES[name].made_by
    sizes = {"dimensions": dimensions, "class_count": class_count}
    wanted = {key: sizes[key] for key in inspect.signature(made_by).parameters if key in sizes}
    return made_by(**wanted, **read_options(made_by, options, "loss.options"))
