"""Pictures as the recipe wants them before any network: with noise, filtered, and the poor ones kept out of training.

The filters are those of `tessera.imaging`, which serving uses too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from siamese_lab.data.partition import Parts
from siamese_lab.data.sources import LabelledImages
from siamese_lab.training.batches import Chance, stream
from siamese_lab.training.recipe import DataPart, Filter, NoiseKind, NoisePart
from tessera.imaging.binarise import binarise
from tessera.imaging.equalise import clahe, equalise
from tessera.imaging.filters import gaussian, median, non_local_means
from tessera.imaging.picture_gate import PictureGate, measure
from tessera.imaging.wavelets import wavelet_shrinkage

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The parts, and what the gate did."""

    parts: Parts
    refused: int


def prepare(parts: Parts, part: DataPart) -> Prepared:
    """Add noise, filter, and keep poor pictures out of the training part.

    Args:
        parts: as divided.
        part: of the recipe.
    """
    made = [
        replace(images, images=filtered(noisy(images.images, part.noise, part.partition_seed, at), part.filter))
        for at, images in enumerate((parts.train, parts.validation, parts.test))
    ]
    kept = passing(made[0].images, part.gate)
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


def filtered(images: Images, kind: Filter) -> Images:
    """Each picture through a filter.

    Args:
        images: (n, h, w, c).
        kind: which.
    """
    if kind is Filter.NONE:
        return images
    run, made = _FILTERS[kind], np.empty_like(images)
    for at, picture in enumerate(images):
        made[at] = _blue_first(np.reshape(run(_blue_first(picture)), (*images.shape[1:3], -1)))
    return made


def passing(images: Images, gate: PictureGate | None) -> npt.NDArray[np.bool_]:
    """Which pictures reach every level of the gate: (n,)."""
    if gate is None:
        return np.ones(len(images), np.bool_)
    return np.array([not gate.reasons(measure(_blue_first(picture))) for picture in images], np.bool_)


_FILTERS: Mapping[Filter, Callable[[Images], Images]] = {
    Filter.GAUSSIAN: partial(gaussian, sigma_px=0.8),
    Filter.MEDIAN: median,
    Filter.NON_LOCAL_MEANS: partial(non_local_means, strength=20.0),
    Filter.WAVELET: wavelet_shrinkage,
    Filter.EQUALISE: equalise,
    Filter.CLAHE: clahe,
    Filter.OTSU: binarise,
}


def _blue_first(picture: Images) -> Images:
    """The lab has red first, `tessera.imaging` blue; the way back is the same."""
    return np.ascontiguousarray(picture[..., ::-1]) if picture.shape[-1] == 3 else picture


def _some(images: LabelledImages, kept: npt.NDArray[np.bool_]) -> LabelledImages:
    return images if kept.all() else images.subset(kept)
