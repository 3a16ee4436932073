"""Levels spread over the whole range, over the picture or place by place; of a colour picture its luminance alone."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from tessera.domain.errors import InvalidInputError
from tessera.imaging.pixels import Bytes, require_bytes, require_within


def equalise(picture: Bytes) -> Bytes:
    """Spread the levels so that each part of the range holds about as many pixels.

    Of two pixels the darker is never the brighter one afterwards. A picture of one level stays as it is.

    Args:
        picture: uint8; three channels are blue, green, red.

    Raises:
        InvalidInputError: it is no picture of uint8.
    """
    return _on_luminance(picture, lambda levels: np.asarray(cv2.equalizeHist(levels), np.uint8))


def clahe(picture: Bytes, clip_limit: float = 2.0, tiles: int = 4) -> Bytes:
    """Equalise place by place, with a limit to how much contrast may grow.

    Args:
        picture: uint8, of at least `tiles` pixels to a side; three channels are blue, green, red.
        clip_limit: how many times the even share of pixels a level may count for, 1 to 100.
        tiles: places along each side, 1 to 64; between their middles the levels are interpolated.

    Raises:
        InvalidInputError: it is no picture of uint8 or too small, or a setting is out of range.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994), as OpenCV
    computes it.
    """
    require_within("clip_limit", clip_limit, 1.0, 100.0)
    require_within("tiles", tiles, 1, 64)
    require_bytes(picture)
    if min(picture.shape[:2]) < tiles:
        raise InvalidInputError("picture", f"shape {picture.shape}", f"{tiles} pixels or more to a side")
    adaptive = cv2.createCLAHE(clip_limit, (tiles, tiles))
    return _on_luminance(picture, lambda levels: np.asarray(adaptive.apply(levels), np.uint8))


def _on_luminance(picture: Bytes, spread: Callable[[Bytes], Bytes]) -> Bytes:
    require_bytes(picture)
    if picture.ndim == 2 or picture.shape[2] == 1:
        return spread(picture.reshape(picture.shape[:2])).reshape(picture.shape)
    parts = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YCrCb), np.uint8)
    parts[:, :, 0] = spread(np.ascontiguousarray(parts[:, :, 0]))
    return np.asarray(cv2.cvtColor(parts, cv2.COLOR_YCrCb2BGR), np.uint8)
