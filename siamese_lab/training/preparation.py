"""Pictures as the recipe wants them: with noise, taken through steps, and the poor ones kept out of training.

The steps are those of `siamese_lab.data.preparation`, which serving takes too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from siamese_lab.data.partition import Parts
from siamese_lab.data.preparation import accepted
from siamese_lab.data.preparation import prepare as stepped
from siamese_lab.data.sources import LabelledImages
from siamese_lab.training.batches import Chance, stream
from siamese_lab.training.recipe import DataPart, NoiseKind, NoisePart

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The parts, and what the gate did."""

    parts: Parts
    refused: int


def prepare(parts: Parts, part: DataPart) -> Prepared:
    """Add noise, take steps, and keep poor pictures out of the training part.

    Args:
        parts: as divided.
        part: of the recipe.
    """
    made = [
        stepped(replace(images, images=noisy(images.images, part.noise, part.partition_seed, at)), part.steps)
        for at, images in enumerate((parts.train, parts.validation, parts.test))
    ]
    kept = np.ones(len(made[0]), np.bool_) if part.gate is None else accepted(made[0], part.gate)
    return Prepared(Parts(_some(made[0], kept), made[1], made[2]), int((~kept).sum()))


def noisy(images: Images, noise: NoisePart, seed: int, part: int) -> Images:
    """Pictures with noise.

    Args:
        images: (n, h, w, c).
        noise: of the recipe.
        seed: of the noise.
        part: which part the pictures are of; each has noise of its own.
    """
    rng = stream(seed, Chance.NOISE, part)
    match noise.kind:
        case NoiseKind.GAUSSIAN:
            made = np.empty_like(images)
            for at in range(0, len(images), 1024):  # float32 of all pictures would take much memory
                some = images[at : at + 1024]
                drawn = rng.standard_normal(some.shape, np.float32) * (255.0 * noise.level)
                made[at : at + 1024] = np.clip(some + drawn, 0.0, 255.0).round().astype(np.uint8)
            return made
        case NoiseKind.SALT_AND_PEPPER:
            chance = rng.random((*images.shape[:3], 1), np.float32)
            dark = np.where(chance < noise.level / 2.0, np.uint8(0), images)
            return np.where(chance >= 1.0 - noise.level / 2.0, np.uint8(255), dark)
        case _:
            return images


def _some(images: LabelledImages, kept: npt.NDArray[np.bool_]) -> LabelledImages:
    return images if kept.all() else images.subset(kept)
