"""Pictures with less noise, and pixels in [0, 1]; the same for training and for serving.

What comes out has the shape of what went in, stays in its range, and is of its type unless the name says otherwise
(`rescale`, `to_levels`, `normalise`). Each filter is a function of the picture alone: no state, no chance. The one that
needs a library for wavelets is in `wavelets`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from tessera.domain.errors import InvalidInputError
from tessera.imaging.pixels import Bytes, Floats, Picture, require_bytes, require_picture, require_within

_KERNEL_SIGMAS = 3.0
"""A Gaussian is cut off there; 0.3 % of it lies beyond."""


def rescale(picture: Bytes | Floats) -> Floats:
    """Levels 0 to 255 as numbers 0 to 1; float32 is there already and comes back as it is.

    Raises:
        InvalidInputError: it is no picture.
    """
    require_picture(picture)
    if picture.dtype == np.float32:
        return np.asarray(picture, np.float32)
    return np.asarray(picture, np.float32) / np.float32(255.0)


def to_levels(picture: Bytes | Floats) -> Bytes:
    """Numbers 0 to 1 as the nearest of the levels 0 to 255; the way back from `rescale`.

    Raises:
        InvalidInputError: it is no picture.
    """
    require_picture(picture)
    if picture.dtype == np.uint8:
        return np.asarray(picture, np.uint8)
    levels: Bytes = np.rint(np.asarray(picture, np.float32) * np.float32(255.0)).astype(np.uint8)
    return levels


def normalise(picture: Bytes | Floats) -> Floats:
    """The darkest value becomes 0 and the brightest 1, all channels alike; a picture of one value becomes 0.

    Raises:
        InvalidInputError: it is no picture.
    """
    scaled = rescale(picture)
    low, high = scaled.min(), scaled.max()
    return (scaled - low) / (high - low) if high > low else np.zeros_like(scaled)


def gaussian(picture: Picture, sigma_px: float) -> Picture:
    """Blur: each pixel becomes a mean of those around it, weighed by their distance.

    Args:
        picture: any; its border is mirrored without repeating the outermost pixel.
        sigma_px: in (0, 50]; the kernel reaches 3 sigma, rounded up.

    Raises:
        InvalidInputError: it is no picture, or sigma is out of range.
    """
    require_picture(picture)
    if not 0.0 < sigma_px <= 50.0:
        raise InvalidInputError("sigma_px", sigma_px, "above 0, up to 50")
    side_px = 2 * math.ceil(_KERNEL_SIGMAS * sigma_px) + 1
    # On uint8 OpenCV rounds the weights to 1/256, and is off by more than a level.
    exact = picture.astype(np.float32, copy=False)
    blurred = cv2.GaussianBlur(exact, (side_px, side_px), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return _as(np.rint(blurred) if picture.dtype == np.uint8 else blurred, picture)


def median(picture: Picture, side_px: int = 3) -> Picture:
    """Each pixel becomes the median of the square around it, each channel on its own: single wrong pixels vanish.

    Args:
        picture: any; its outermost pixels are repeated beyond the border.
        side_px: of the square, 3 or 5.

    Raises:
        InvalidInputError: it is no picture, or the side is another.
    """
    require_picture(picture)
    if side_px not in (3, 5):
        raise InvalidInputError("side_px", side_px, "3 or 5")
    return _as(cv2.medianBlur(picture, side_px), picture)


def non_local_means(picture: Bytes, strength: float = 10.0, patch_px: int = 5, search_px: int = 11) -> Bytes:
    """Each pixel becomes a mean of those whose surroundings look alike: noise goes and edges stay.

    Args:
        picture: uint8.
        strength: in levels, in (0, 255]; near the noise's standard deviation. Surroundings that differ by this, root
            mean square, weigh 1/e.
        patch_px: the surroundings' side; odd, 3 to 21.
        search_px: how far around is looked, as the side of a square; odd, 3 to 35.

    Raises:
        InvalidInputError: it is no picture of uint8, or a setting is out of range.

    Source: Buades, Coll and Morel, "A non-local algorithm for image denoising", CVPR 2005; flat weights within a patch,
    as OpenCV computes it.
    """
    require_bytes(picture)
    if not 0.0 < strength <= 255.0:
        raise InvalidInputError("strength", strength, "above 0, up to 255")
    for field, side_px, most in (("patch_px", patch_px, 21), ("search_px", search_px, 35)):
        require_within(field, side_px, 3, most)
        if side_px % 2 == 0:
            raise InvalidInputError(field, side_px, "odd")
    return _as(cv2.fastNlMeansDenoising(picture, None, strength, patch_px, search_px), picture)


def _as(filtered: Bytes | Floats | cv2.typing.MatLike, picture: Picture) -> Picture:
    # OpenCV drops a channel that is alone, and float arithmetic may step over 1 by a rounding.
    shaped = np.asarray(filtered).reshape(picture.shape)
    return (shaped if picture.dtype == np.uint8 else np.clip(shaped, 0.0, 1.0)).astype(picture.dtype, copy=False)
