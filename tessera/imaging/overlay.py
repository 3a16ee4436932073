"""A map of weights drawn over the picture that it is about, for people to look at; says nothing of any score.

The picture becomes grey, so that colour belongs to the map alone. Red speaks for the match and blue against it: a pair
that people with any usual colour blindness tell apart. Where the map is strong a line runs around it, white for and
black against, so that it can be read without any colour. What is weak keeps the picture's own grey.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.saliency import Weights
from tessera.imaging.decode import Image

LEAST_SIDE_PX = 448
"""A smaller picture is enlarged by a whole number."""

FOR_BGR = np.array([43.0, 24.0, 178.0], np.float32)
AGAINST_BGR = np.array([172.0, 102.0, 33.0], np.float32)
"""Both ends of ColorBrewer's red-blue scale, which is safe for colour-blind readers; about equally dark."""

_STRONG = 0.5
_MOST_OPAQUE = 0.8
_FAINT = 0.08
_GREY_SPAN = (40.0, 0.8)
"""Black and white are left to the lines: shadows are lifted, lights lowered."""

_Pixels = npt.NDArray[np.float32]


def draw(image: Image, weights: Weights) -> bytes:
    """A PNG of the picture with the map over it.

    Args:
        image: the aligned picture, blue, green, red.
        weights: the map, (rows, columns).
    """
    picture = _enlarged(image)
    height_px, width_px = picture.shape[:2]
    smooth = _smooth(weights, height_px, width_px)
    ok, png = cv2.imencode(".png", _lined(_tinted(picture, smooth), smooth))
    if not ok:
        raise RuntimeError("OpenCV wrote no PNG")
    return png.tobytes()


def _enlarged(image: Image) -> Image:
    times = max(1, -(-LEAST_SIDE_PX // max(image.shape[:2])))
    larger = cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    return larger.astype(np.uint8, copy=False)


def _smooth(weights: Weights, height_px: int, width_px: int) -> _Pixels:
    """The map at the picture's size; each weight stays where the middle of its cell is."""
    larger = cv2.resize(weights, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    return np.clip(larger, -1.0, 1.0).astype(np.float32, copy=False)


def _tinted(picture: Image, smooth: _Pixels) -> Image:
    lowest, span = _GREY_SPAN
    grey = lowest + span * cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    colours = np.where(smooth[..., None] >= 0, FOR_BGR, AGAINST_BGR)
    strength = np.clip((np.abs(smooth) - _FAINT) / (1.0 - _FAINT), 0.0, 1.0)
    opaque = _MOST_OPAQUE * (strength**0.7)[..., None]
    # The picture's light stays in the colour, so that features can be seen under it.
    shaded = colours * (0.6 + 0.6 * grey[..., None] / 255.0)
    blended: _Pixels = grey[..., None] * (1.0 - opaque) + shaded * opaque
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _lined(tinted: Image, smooth: _Pixels) -> Image:
    for sign, colour in ((1, (255, 255, 255)), (-1, (0, 0, 0))):
        inside = (sign * smooth >= _STRONG).astype(np.uint8)
        outlines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tinted, outlines, -1, colour, 2, cv2.LINE_AA)
    return tinted
