"""A small grey picture of a large one: all that the looks at motion and at the scene need. Runs off the event loop."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from camera_ingest.sources.source import Picture
from tessera.domain.errors import ImageRejectedError
from tessera.imaging.decode import DEFAULT_LIMITS, decode_for_detection

Grey = npt.NDArray[np.uint8]
"""uint8 of shape (height, width)."""

SMALL_WIDTH_PX = 320


def small_grey(picture: Picture, width_px: int = SMALL_WIDTH_PX) -> Grey | None:
    """A picture in grey at a small width, each pixel the mean of those that it stands for; None: it is no picture.

    A JPEG is decoded no larger than needed, which spares most of the work.
    """
    if isinstance(picture, bytes):
        try:
            picture = decode_for_detection(picture, DEFAULT_LIMITS, 2 * width_px).image
        except ImageRejectedError:
            return None
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    size = (width_px, max(1, round(height * width_px / width)))
    # A picture that is smaller is enlarged: it only looks softer, the same each time.
    way = cv2.INTER_AREA if width >= width_px else cv2.INTER_LINEAR
    return cv2.resize(grey, size, interpolation=way).astype(np.uint8, copy=False)
