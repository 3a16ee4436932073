"""What the filters of this package take: their contract in one place, checked before any pixel is touched.

A picture is (height, width), (height, width, 1) or (height, width, 3), either uint8, 0 to 255, or float32, 0 to 1.
Three channels are blue, green, red, as `decode` gives them, wherever their order matters. Nothing is converted in
silence: float64, other ranges and NaN are refused.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

Bytes = npt.NDArray[np.uint8]
"""uint8, 0 to 255."""
Floats = npt.NDArray[np.float32]
"""float32, 0 to 1."""
Picture = TypeVar("Picture", Bytes, Floats)
"""Either; what comes out is of the type that came in."""

Labels = npt.NDArray[np.int32]
Facts = npt.NDArray[np.int32]

_SHAPES = "(h, w), (h, w, 1) or (h, w, 3)"


def require_picture(picture: Bytes | Floats) -> None:
    """Raise InvalidInputError unless it is a picture as this module says."""
    _require_shape(picture)
    if picture.dtype == np.uint8:
        return
    if picture.dtype != np.float32:
        raise InvalidInputError("picture", f"{picture.dtype}", "uint8, 0 to 255, or float32, 0 to 1")
    low, high = float(picture.min()), float(picture.max())
    if not (low >= 0.0 and high <= 1.0):  # NaN is neither
        raise InvalidInputError("picture", f"float32 from {low:g} to {high:g}", "float32, 0 to 1")


def require_bytes(picture: Bytes) -> None:
    """Raise InvalidInputError unless it is a picture of uint8: what works on 256 levels takes no others."""
    _require_shape(picture)
    if picture.dtype != np.uint8:
        raise InvalidInputError("picture", f"{picture.dtype}", "uint8, 0 to 255")


def require_within(field: str, value: float, low: float, high: float) -> None:
    """Raise InvalidInputError unless a setting is in [low, high]."""
    if not low <= value <= high:
        raise InvalidInputError(field, value, f"{low:g} to {high:g}")


def scaled(picture: Bytes, factor: float, interpolation: int) -> Bytes:
    """Resize both sides by one factor; a strip that would vanish keeps one pixel.

    Args:
        picture: uint8 (height, width[, 3]).
        factor: more than 0.
        interpolation: of OpenCV, such as `cv2.INTER_AREA`.
    """
    width, height = (round(side * factor) for side in picture.shape[1::-1])
    if width and height:
        return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=interpolation), np.uint8)
    return np.asarray(cv2.resize(picture, (max(1, width), max(1, height)), interpolation=interpolation), np.uint8)


def connected(mask: Bytes) -> tuple[Labels, Facts]:
    """The connected marks of a mask, eight neighbours to a pixel.

    Args:
        mask: uint8 (height, width); what is not 0 is marked.

    Returns:
        int32 (height, width): 0 where there is nothing, k for the mark k; and int32 (n, 5), the row k for the mark k, 0
        for what is left: `cv2.CC_STAT_LEFT`, `_TOP`, `_WIDTH`, `_HEIGHT`, `_AREA`.

    Source: Grana et al., IEEE Trans. Image Processing 19 (2010); OpenCV's default gives the same labels in twice the
        time.
    """
    found = cv2.connectedComponentsWithStatsWithAlgorithm(mask, 8, cv2.CV_32S, cv2.CCL_BBDT)
    return np.asarray(found[1], np.int32), np.asarray(found[2], np.int32)


def gray(picture: Picture) -> Picture:
    """(height, width): the luminance of a colour picture, a gray one as it is.

    Raises:
        InvalidInputError: it is no picture.
    """
    require_picture(picture)
    if picture.ndim == 2:
        return picture
    flat = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.shape[2] == 3 else picture[:, :, 0]
    return flat.astype(picture.dtype, copy=False)


def _require_shape(picture: Bytes | Floats) -> None:
    right = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (1, 3))
    if not right or 0 in picture.shape:
        raise InvalidInputError("picture", f"shape {picture.shape}", _SHAPES)
