"""Ink and paper: a gray picture as black and white, by the level that divides its histogram best."""

from __future__ import annotations

import cv2
import numpy as np

from tessera.imaging.pixels import Bytes, gray, require_bytes, require_within

_MIDDLE = 127


def otsu_threshold(picture: Bytes) -> int:
    """The level that divides the pixels into two groups whose means lie farthest apart, weighed by their sizes.

    Args:
        picture: uint8; of a colour picture the luminance.

    Returns:
        0 to 254: pixels up to it are one group, brighter ones the other. The lowest of several that divide alike; 127
        for a picture of one level, where there is nothing to divide.

    Raises:
        InvalidInputError: it is no picture of uint8.

    Source: Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Systems, Man and Cybernetics 9
    (1979).
    """
    require_bytes(picture)
    levels = gray(picture)
    if levels.min() == levels.max():
        return _MIDDLE
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return int(threshold)


def binarise(picture: Bytes, threshold: int | None = None) -> Bytes:
    """Black up to a threshold and white above it; of a picture that is black and white already nothing changes.

    Args:
        picture: uint8; of a colour picture the luminance.
        threshold: 0 to 254; None: Otsu's.

    Returns:
        (height, width), 0 or 255.

    Raises:
        InvalidInputError: it is no picture of uint8, or the threshold is out of range.
    """
    require_bytes(picture)
    divides = otsu_threshold(picture) if threshold is None else threshold
    require_within("threshold", divides, 0, 254)
    return np.where(gray(picture) > divides, np.uint8(255), np.uint8(0))
