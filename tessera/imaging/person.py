"""From a picture and a person's box to what the person encoder sees; training and serving both come through here.

A crop is stretched to one size, as the standard sets of re-identification are: a person who is cut off or bends fills
it as one who stands does. Whoever changes what an embedding sees raises `PERSON_PREPROCESSING`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError
from tessera.imaging.decode import Image

PERSON_PREPROCESSING = "person-128x64-1"
CROP_HEIGHT_PX = 128
CROP_WIDTH_PX = 64

Box = tuple[float, float, float, float]
"""Left, top, width, height, in pixels of the picture; it may reach beyond the picture."""

PersonInput = npt.NDArray[np.float32]
"""float32 (n, 3, 128, 64), red, green, blue, 0 to 1."""


def crop_person(picture: Image, box: Box) -> Image:
    """Cut a person out; what lies beyond the picture is left out, not made up.

    Args:
        picture: uint8 (height, width, 3), blue, green, red.
        box: around the whole person.

    Returns:
        uint8 (128, 64, 3).

    Raises:
        InvalidInputError: the box is not finite or has no pixel within the picture.
    """
    height_px, width_px = picture.shape[:2]
    left, top, width, height = box
    if not np.isfinite(box).all():
        raise InvalidInputError("box", box, "four finite numbers")
    x0, y0 = max(0, round(left)), max(0, round(top))
    x1, y1 = min(width_px, round(left + width)), min(height_px, round(top + height))
    if x1 <= x0 or y1 <= y0:
        raise InvalidInputError("box", box, f"a box with a pixel within {width_px} x {height_px}")
    return fit_crop(picture[y0:y1, x0:x1])


def fit_crop(crop: Image) -> Image:
    """Stretch a crop of any size to (128, 64, 3)."""
    height_px, width_px = crop.shape[:2]
    if (height_px, width_px) == (CROP_HEIGHT_PX, CROP_WIDTH_PX):
        return crop
    shrinks = height_px * width_px > CROP_HEIGHT_PX * CROP_WIDTH_PX
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    fitted = cv2.resize(crop, (CROP_WIDTH_PX, CROP_HEIGHT_PX), interpolation=interpolation)
    return fitted.astype(np.uint8, copy=False)


def person_input(crops: Sequence[Image]) -> PersonInput:
    """Bring crops to the encoder; the network itself centres and scales.

    Args:
        crops: n of (128, 64, 3), blue, green, red.

    Returns:
        (n, 3, 128, 64); the channels lie closest together in memory.
    """
    values = np.empty((len(crops), CROP_HEIGHT_PX, CROP_WIDTH_PX, 3), np.float32)
    for row, crop in enumerate(crops):
        values[row] = crop[:, :, ::-1]
    values *= np.float32(1.0 / 255.0)
    return values.transpose(0, 3, 1, 2)
