"""Pictures as the recipe wants them: with noise, taken through steps, and the poor ones kept out of training.

The steps are those of `siamese_lab.data.preparation`, which serving takes too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from siamese_lab.data.partition import Parts
from siamese_lab.data.preparation import accepted
from siamese_lab.data.preparation import prepare as stepped
from siamese_lab.data.sources import LabelledImages
from siamese_lab.training.batches import Chance, stream
from siamese_lab.training.recipe import DataPart, NoiseKind, NoisePart
from tessera.imaging.filters import gaussian

Images = npt.NDArray[np.uint8]

_SIGMA_PX = 10.0


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
    if noise.kind is NoiseKind.NONE or (noise.training_only and part != 0):
        return images
    rng = stream(seed, Chance.NOISE, part)
    harmed = rng.random(len(images)) < noise.share
    made = images.copy()
    for at in np.array_split(np.flatnonzero(harmed), 1 + len(images) // 1024):  # float32 of all would take much memory
        made[at] = _HARM[noise.kind](images[at], noise.level, rng)
    return made


def _gaussian(images: Images, level: float, rng: np.random.Generator) -> Images:
    drawn = rng.standard_normal(images.shape, np.float32) * np.float32(255.0 * level)
    return np.clip(images + drawn, 0.0, 255.0).round().astype(np.uint8)


def _salt_and_pepper(images: Images, level: float, rng: np.random.Generator) -> Images:
    chance = rng.random((*images.shape[:3], 1), np.float32)
    dark = np.where(chance < level / 2.0, np.uint8(0), images)
    return np.where(chance >= 1.0 - level / 2.0, np.uint8(255), dark)


def _blur(images: Images, level: float, rng: np.random.Generator) -> Images:  # noqa: ARG001 - as the others
    blurred = [gaussian(picture, _SIGMA_PX * level).reshape(picture.shape) for picture in images]
    return np.stack(blurred) if blurred else images


_HARM: Mapping[NoiseKind, Callable[[Images, float, np.random.Generator], Images]] = {
    NoiseKind.GAUSSIAN: _gaussian,
    NoiseKind.SALT_AND_PEPPER: _salt_and_pepper,
    NoiseKind.BLUR: _blur,
}


def _some(images: LabelledImages, kept: npt.NDArray[np.bool_]) -> LabelledImages:
    return images if kept.all() else images.subset(kept)
