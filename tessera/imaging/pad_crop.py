"""The square of a picture that presentation-attack detection looks at: the face and what surrounds it."""

from __future__ import annotations

import cv2
import numpy as np

from tessera.domain.observation import Box
from tessera.imaging.decode import Image

PAD_CROP_PX = 80


def crop_around(image: Image, box: Box, scale: float) -> Image:
    """Cut out a face's box, enlarged, and bring it to 80 x 80.

    The cut keeps the box's shape and stays inside the picture: it is made smaller where the picture is, and shifted
    where it would reach over an edge.

    Args:
        image: blue, green, red.
        box: in pixels of `image`.
        scale: sides of the cut against those of the box, such as 2.7 or 4.0.

    Returns:
        uint8 (80, 80, 3), blue, green, red.

    Source: the crop of minivision-ai/Silent-Face-Anti-Spoofing, which the published weights were trained with.
    """
    height_px, width_px = image.shape[:2]
    box_height_px, box_width_px = max(1.0, box.height_px), max(1.0, box.width_px)
    scale = min(scale, (height_px - 1) / box_height_px, (width_px - 1) / box_width_px)
    left, right = _inside(box.x_px + box.width_px / 2, box_width_px * scale, width_px)
    top, bottom = _inside(box.y_px + box.height_px / 2, box_height_px * scale, height_px)
    cut = cv2.resize(image[top : bottom + 1, left : right + 1], (PAD_CROP_PX, PAD_CROP_PX))
    return cut.astype(np.uint8, copy=False)


def _inside(centre_px: float, length_px: float, limit_px: int) -> tuple[int, int]:
    start_px = min(max(0.0, centre_px - length_px / 2), limit_px - 1 - length_px)
    return int(max(0.0, start_px)), int(max(0.0, start_px) + length_px)
