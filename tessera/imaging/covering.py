"""An aligned picture with parts of it covered, as an explanation shows it to a network; decides not which parts.

What covers is the picture itself, blurred until no feature is left: colours and light stay, so that the network is not
shown an edge or a patch that no camera gives.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.saliency import Cells
from tessera.imaging.decode import Image

BLUR_SHARE = 1 / 14
"""Standard deviation of the blur against the longer side: 8 pixels of an aligned face."""


def blurred(image: Image) -> Image:
    """The picture without its features.

    Args:
        image: uint8 (height, width, 3).
    """
    deviation_px = BLUR_SHARE * max(image.shape[:2])
    return cv2.GaussianBlur(image, (0, 0), deviation_px).astype(np.uint8, copy=False)


def cover(image: Image, filling: Image, covered: Cells) -> list[Image]:
    """The picture once for each variant, with its cells taken from the filling.

    Args:
        image: uint8 (height, width, 3).
        filling: of the same shape.
        covered: (n, rows, columns).

    Returns:
        n pictures of the same shape.
    """
    height_px, width_px = image.shape[:2]
    pixels = covered[:, cell_of(height_px, covered.shape[1])[:, None], cell_of(width_px, covered.shape[2])[None, :]]
    return list(np.where(pixels[..., None], filling, image))


def cell_of(length_px: int, cells: int) -> npt.NDArray[np.intp]:
    """The cell of each pixel along one side: as equal in size as whole pixels allow."""
    return np.arange(length_px) * cells // length_px
