"""Steps of `tessera.imaging` over a whole set of pictures, by the names that recipes use.

Nothing is computed here: whoever serves a network that was trained on prepared pictures calls the same functions on the
same pixels. The set's red, green, blue become that package's blue, green, red on the way, and are turned back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from siamese_lab.data.sources import LabelledImages
from tessera.domain.errors import InvalidInputError
from tessera.imaging.binarise import binarise
from tessera.imaging.equalise import clahe, equalise
from tessera.imaging.filters import gaussian, median, non_local_means, normalise, to_levels
from tessera.imaging.picture_gate import PictureGate, PictureQuality, measure
from tessera.imaging.pixels import Bytes
from tessera.imaging.texture import canny_edges, sobel_magnitude
from tessera.imaging.wavelets import wavelet_shrinkage

STEPS: Mapping[str, Callable[[Bytes], Bytes]] = MappingProxyType({
    "normalise": lambda picture: to_levels(normalise(picture)),
    "gaussian": lambda picture: gaussian(picture, 0.7),
    "median": median,
    "non-local-means": non_local_means,
    "wavelet": wavelet_shrinkage,
    "equalise": equalise,
    "clahe": clahe,
    "otsu": binarise,
    "sobel": lambda picture: to_levels(normalise(sobel_magnitude(picture))),
    "canny": canny_edges,
})  # fmt: skip
"""Each from (h, w, c) to (h, w), or to as many channels as it was given."""


def prepare(images: LabelledImages, steps: Sequence[str]) -> LabelledImages:
    """Take each picture through steps, one after the other.

    Args:
        images: any; not changed.
        steps: keys of `STEPS`; none leaves the pictures as they are. One that makes gray pictures of coloured ones
            (`otsu`, `sobel`, `canny`) leaves one channel.

    Raises:
        InvalidInputError: no such step, or pictures are too small for it.
    """
    chosen = [_step(name) for name in steps]
    if not chosen or not len(images):
        return images
    prepared = np.stack([_through(picture, chosen) for picture in images.images])
    return LabelledImages(prepared, images.labels, images.names)


def measure_all(images: LabelledImages) -> list[PictureQuality]:
    """Sharpness, contrast and fidelity of each picture."""
    return [measure(_turned(picture)) for picture in images.images]


def accepted(images: LabelledImages, gate: PictureGate) -> npt.NDArray[np.bool_]:
    """Which pictures pass a gate, as (n,) of bool: an index for `subset`."""
    return np.array([not gate.reasons(quality) for quality in measure_all(images)], dtype=np.bool_)


def _step(name: str) -> Callable[[Bytes], Bytes]:
    if name not in STEPS:
        raise InvalidInputError("steps", name, f"of {', '.join(STEPS)}")
    return STEPS[name]


def _through(picture: Bytes, chosen: Sequence[Callable[[Bytes], Bytes]]) -> Bytes:
    seen = _turned(picture)
    for step in chosen:
        seen = step(seen)
    return _turned(seen.reshape(*picture.shape[:2], -1))


def _turned(picture: Bytes) -> Bytes:
    """Red, green, blue as blue, green, red, and back; one channel stays."""
    return np.ascontiguousarray(picture[:, :, ::-1]) if picture.shape[2] == 3 else picture
