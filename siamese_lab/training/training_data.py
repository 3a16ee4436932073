"""The pictures of a run: read, divided, prepared as the recipe says, and known by their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siamese_lab.data.folders import load_folders
from siamese_lab.data.partition import Parts, Protocol, Shares, balanced_sample, divide
from siamese_lab.data.sources import SOURCES, LabelledImages, Split, load
from siamese_lab.training.batches import Chance, stream
from siamese_lab.training.preparation import prepare
from siamese_lab.training.recipe import DataPart
from tessera.domain.errors import InvalidInputError

FOLDERS = "folders"
"""The source that is not published: one folder for each class."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What a run trains, chooses and is judged on."""

    training: LabelledImages
    validation: LabelledImages
    """May be empty."""
    test: LabelledImages
    caveat: str = ""
    """What must stand beside every number that is measured on it."""
    refused: int = 0
    """Training pictures that the quality gate kept out."""

    def digests(self) -> Mapping[str, str]:
        """sha256 of the pictures and labels of each part, as networks see them."""
        parts = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: digest(part) for name, part in parts.items()}


def load_training_data(part: DataPart, folder: Path, cache: Path | None = None) -> TrainingData:
    """Read the pictures of a recipe.

    Args:
        part: of the recipe.
        folder: that `--data` names.
        cache: for decoded pictures; None: they are decoded anew.

    Raises:
        InvalidInputError: they are not there, or are not those; with where they can be had.
    """
    parts = _limited(_divided(part, folder, cache), part)
    prepared = prepare(parts, part)
    source = SOURCES.get(part.source)
    return TrainingData(
        prepared.parts.train,
        prepared.parts.validation,
        prepared.parts.test,
        source.caveat if source is not None else "",
        prepared.refused,
    )


def digest(images: LabelledImages) -> str:
    """sha256 of pictures and labels, 64 hex digits."""
    made = hashlib.sha256(repr((images.images.shape, images.names)).encode())
    made.update(np.ascontiguousarray(images.images).data)
    made.update(np.ascontiguousarray(images.labels).data)
    return made.hexdigest()


def _divided(part: DataPart, folder: Path, cache: Path | None) -> Parts:
    rng = stream(part.partition_seed, Chance.PARTITION)
    train, validation, test = part.shares
    shares = Shares(train, validation, test)
    if part.source != FOLDERS:
        splits = [load(part.source, folder, split, cache) for split in (Split.TRAIN, Split.TEST)]
        return divide(splits[0], splits[1], part.partition, rng, shares)
    if part.partition is Protocol.OFFICIAL:
        raise InvalidInputError("data.partition", part.partition.value, "items or classes: folders have no test part")
    whole = load_folders(folder, part.side_px, part.channels)
    return divide(whole, whole.subset([]), part.partition, rng, shares)


def _limited(parts: Parts, part: DataPart) -> Parts:
    rng = stream(part.partition_seed, Chance.PARTITION, 1)

    def some(images: LabelledImages, limit: int) -> LabelledImages:
        return images.subset(balanced_sample(images.labels, limit, rng)) if 0 < limit < len(images) else images

    train, test = some(parts.train, part.training_limit), some(parts.test, part.test_limit)
    return Parts(train, some(parts.validation, part.training_limit), test)
