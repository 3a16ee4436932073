"""A map of weights laid over the strokes of a signature's picture, for people to look at; says nothing of any score.

A map is made on the canvas that the encoder sees (`tessera.imaging.signature`); here it goes back to where the strokes
are in the picture. The paper becomes grey and the strokes take the colours of `tessera.imaging.overlay`: red speaks for
the match, blue against it. A black line runs around what speaks strongly against it, so that it can be read without any
colour. What the reference has and the picture lacks has no stroke here, and is not shown.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.saliency import Weights
from tessera.imaging.decode import Image
from tessera.imaging.ink import find_ink
from tessera.imaging.overlay import AGAINST_BGR, FOR_BGR
from tessera.imaging.pixels import scaled
from tessera.imaging.signature import CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, PreparedSignature

LEAST_SIDE_PX = 640
MOST_SIDE_PX = 1280
"""Of the longer side of what is drawn."""
_STRONG = 0.5
_FAINT = 0.05
_PAPER = (120.0, 0.5)
"""Paper and neutral ink: darkest level, and share of the picture's own light."""
_COLOURLESS = 70.0
_RING_PX = 9

_Pixels = npt.NDArray[np.float32]


def draw_strokes(picture: Image, prepared: PreparedSignature, weights: Weights) -> bytes:
    """A PNG of the picture with the map over its strokes.

    Args:
        picture: blue, green, red; one signature.
        prepared: from this picture.
        weights: the map over its canvas, (rows, columns).
    """
    shown = _sized(picture)
    smooth = weights_in_picture(prepared, weights, picture.shape[0], picture.shape[1], shown.shape[1], shown.shape[0])
    ink = _ink(picture, shown.shape[1], shown.shape[0])
    ok, png = cv2.imencode(".png", _ringed(_coloured(shown, ink, smooth), ink, smooth))
    if not ok:
        raise RuntimeError("OpenCV wrote no PNG")
    return png.tobytes()


def weights_in_picture(  # noqa: PLR0917 - two sizes, each in its order
    prepared: PreparedSignature,
    weights: Weights,
    height_px: int,
    width_px: int,
    shown_width_px: int,
    shown_height_px: int,
) -> _Pixels:
    """A map over the canvas, at each pixel of the picture as it is shown.

    Args:
        prepared: tells where the canvas's columns and rows are in the picture.
        weights: (rows, columns).
        height_px: of the picture.
        width_px: of the picture.
        shown_width_px: of what is shown.
        shown_height_px: of what is shown.

    Returns:
        float32 (shown height, shown width), each in [-1, 1].
    """
    on_canvas = cv2.resize(weights, (CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    columns = _places(prepared.x_px, width_px, shown_width_px)
    rows = _places(prepared.y_px, height_px, shown_height_px)
    at_x, at_y = np.meshgrid(columns, rows)
    found = cv2.remap(on_canvas, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(found, -1.0, 1.0).astype(np.float32, copy=False)


def _places(of_canvas: npt.NDArray[np.float64], length_px: int, shown_px: int) -> _Pixels:
    """For the middle of each pixel that is shown, its place on the canvas."""
    in_picture = (np.arange(shown_px) + 0.5) * length_px / shown_px
    return np.interp(in_picture, of_canvas, np.arange(of_canvas.size)).astype(np.float32)


def _sized(picture: Image) -> Image:
    longer_px = max(picture.shape[:2])
    scale = min(MOST_SIDE_PX / longer_px, max(1.0, LEAST_SIDE_PX / longer_px))
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    return scaled(picture, scale, how)


def _ink(picture: Image, width_px: int, height_px: int) -> _Pixels:
    """How much of each pixel is stroke, a little widened: colour on a hair line could not be seen."""
    mask = cv2.resize(find_ink(picture).mask, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return cv2.dilate(mask, np.ones((3, 3), np.uint8)).astype(np.float32) / 255.0


def _coloured(shown: Image, ink: _Pixels, smooth: _Pixels) -> Image:
    lowest, share = _PAPER
    grey = lowest + share * cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY).astype(np.float32)
    strength = np.clip((np.abs(smooth) - _FAINT) / (1.0 - _FAINT), 0.0, 1.0)[..., None] ** 0.6
    colours = np.where(smooth[..., None] >= 0, FOR_BGR, AGAINST_BGR)
    strokes = _COLOURLESS * (1.0 - strength) + colours * strength
    blended = grey[..., None] * (1.0 - ink[..., None]) + strokes * ink[..., None]
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _ringed(coloured: Image, ink: _Pixels, smooth: _Pixels) -> Image:
    against = ((smooth <= -_STRONG) & (ink > 0.5)).astype(np.uint8)
    around = cv2.dilate(against, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _RING_PX + 1,) * 2))
    outlines, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(coloured, outlines, -1, (0, 0, 0), 2, cv2.LINE_AA)
    return coloured
