"""A small picture as bands of detail: what stands there, apart from the light that falls on it.

Light multiplies; in the logarithm it adds, and what is added slowly over the picture is left out by a difference of two
blurs. So a lamp, a cloud or an exposure changes the bands little, and what stands there makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from camera_ingest.looking.small import Grey

Plane = npt.NDArray[np.float32]
"""float32 of shape (height, width), or of tiles (rows, columns)."""

_DARK = 12.0
"""Added to the light before the logarithm: what a dark place's noise is not told apart from."""
_LOGARITHM = np.log(np.arange(256) + _DARK).astype(np.float32)
_AROUND_PX = 9


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """One look at a scene."""

    fine: Plane
    """Detail of one or two pixels: what goes first when a camera is out of focus."""
    middle: Plane
    """Detail of two to ten pixels: what a place is known by."""
    light: Plane
    """Logarithm of light, smoothed by a pixel."""


def bands_of(small: Grey) -> Bands:
    """The bands of a small picture."""
    light = cv2.LUT(small, _LOGARITHM)
    smooth = cv2.GaussianBlur(light, (5, 5), 1.0)
    around = cv2.blur(cv2.blur(smooth, (_AROUND_PX, _AROUND_PX)), (_AROUND_PX, _AROUND_PX))
    return Bands(_plane(light - smooth), _plane(smooth - around), _plane(smooth))


def tile_means(plane: Plane, tile_px: int) -> Plane:
    """The mean of each whole tile: shape (height // tile_px, width // tile_px)."""
    rows, columns = (side // tile_px for side in plane.shape)
    cut = plane[: rows * tile_px, : columns * tile_px]
    return _plane(cv2.resize(cut, (columns, rows), interpolation=cv2.INTER_AREA))


def _plane(values: npt.NDArray[np.generic]) -> Plane:
    return np.asarray(values, dtype=np.float32)
