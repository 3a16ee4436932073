"""Pixels to network input: the one place where channel order, value range and scale are decided.

Training and serving both come through here. Whoever changes what an embedding sees raises `PREPROCESSING_VERSION`; the
manifest of each encoder names the version that it was measured with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.align import CROP_PX
from tessera.imaging.decode import Image

PREPROCESSING_VERSION = "face-112-1"
DETECT_SIDE_PX = 640
DETECT_MULTIPLE_PX = 32

NetworkInput = npt.NDArray[np.float32]
"""float32 of shape (n, 3, height, width), 0 to 255; the channels lie closest together in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectorInput:
    """A frame as the detector sees it."""

    values: NetworkInput
    """(1, 3, h, w), blue, green, red, 0 to 255; h and w are multiples of 32, black at the right and at the bottom."""
    scale: float
    """Pixels of the detector's input per pixel of the frame, in (0, 1]."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input; frames of one shape may share a batch."""
        return self.height_px, self.width_px

    @property
    def height_px(self) -> int:
        """Of the input, black rows included."""
        return int(self.values.shape[2])

    @property
    def width_px(self) -> int:
        """Of the input, black columns included."""
        return int(self.values.shape[3])


def detector_input(image: Image, detect_side_px: int = DETECT_SIDE_PX) -> DetectorInput:
    """Bring a frame to the detector's size.

    Args:
        image: blue, green, red.
        detect_side_px: the longer side is shrunk to this; a smaller frame keeps its size.
    """
    height_px, width_px = image.shape[:2]
    scale = min(1.0, detect_side_px / max(height_px, width_px))
    seen_height_px, seen_width_px = (max(1, round(side * scale)) for side in (height_px, width_px))
    seen = image
    if scale < 1.0:
        shrunk = cv2.resize(image, (seen_width_px, seen_height_px), interpolation=cv2.INTER_AREA)
        seen = shrunk.astype(np.uint8, copy=False)
    values = np.zeros((1, _padded(seen_height_px), _padded(seen_width_px), 3), dtype=np.float32)
    values[0, :seen_height_px, :seen_width_px] = seen
    return DetectorInput(values.transpose(0, 3, 1, 2), scale)


def embedder_input(crops: Sequence[Image]) -> NetworkInput:
    """Bring aligned faces to the embedder: red, green, blue, 0 to 255; the network itself centres and scales.

    Args:
        crops: n of (112, 112, 3), blue, green, red.

    Returns:
        (n, 3, 112, 112).
    """
    values = np.empty((len(crops), CROP_PX, CROP_PX, 3), dtype=np.float32)
    for row, crop in enumerate(crops):
        values[row] = crop[:, :, ::-1]
    return values.transpose(0, 3, 1, 2)


def views_input(views: Sequence[Image]) -> NetworkInput:
    """Bring views of one size to the detector: blue, green, red, 0 to 255.

    Args:
        views: n of (height, width, 3), such as `tessera.imaging.refine.cut_views` gives; both sides multiples of 32.

    Returns:
        (n, 3, height, width).
    """
    return np.stack(views).astype(np.float32).transpose(0, 3, 1, 2)


def _padded(side_px: int) -> int:
    return -(-side_px // DETECT_MULTIPLE_PX) * DETECT_MULTIPLE_PX
