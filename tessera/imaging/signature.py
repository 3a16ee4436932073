"""From a picture of one signature to the canvas that the encoder sees: the one preparation for training and serving.

The strokes that `tessera.imaging.ink` finds are cropped, wide gaps between names are narrowed, and the whole is
brought to the size of a fixed canvas with its proportions kept, and laid in its middle. Slant, rotation and the width
of strokes stay as they are: the first two are the writer's, and training varies all three. Whoever changes what a
canvas shows raises `SIGNATURE_PREPROCESSING`; the manifest of the encoder names it. This module does not look for
signatures on a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.reasons import Reason
from tessera.imaging.ink import Ink, Mask, find_ink
from tessera.imaging.pixels import Bytes

SIGNATURE_PREPROCESSING = "signature-80x256-1"
CANVAS_HEIGHT_PX = 80
CANVAS_WIDTH_PX = 256
MARGIN_PX = 4
"""Of the canvas, kept free on each side."""

_LEAST_STROKE_PX = 1.6
"""On the canvas. Thinner strokes are thickened to it, or they would fade away when the picture is shrunk."""

_WIDEST_GAP = 0.35
"""Of the height of the strokes. How far apart somebody sets two names varies more from day to day than anything else,
and would move and shrink all strokes on the canvas."""

Canvas = npt.NDArray[np.uint8]
"""uint8 (80, 256): how much of each pixel is ink, 0 to 255."""
Box = tuple[int, int, int, int]
Places = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SignatureGate:
    """The least that a picture of a signature must have to be enrolled or compared."""

    min_contrast: float = 0.12
    """Of ink against paper, in [0, 1]: pencil has about 0.25."""
    min_side_px: int = 64
    """Of the longer side of the strokes' box, in pixels of the picture as sent: below it most is interpolated."""
    max_places_at_border: int = 3
    """A tight crop touches a stroke or two on each side; a cut runs through more of them."""

    def reasons(self, ink: Ink) -> tuple[Reason, ...]:
        """What falls outside the gate; NO_SIGNATURE alone where there is no ink."""
        _, _, width, height = ink.box_px
        if not width:
            return (Reason.NO_SIGNATURE,)
        failed = {
            Reason.FAINT_INK: ink.contrast < self.min_contrast,
            Reason.SMALL_BOUNDING_BOX: max(width, height) / ink.scale < self.min_side_px,
            Reason.CUT_OFF: ink.places_at_border > self.max_places_at_border,
        }
        return tuple(reason for reason, outside in failed.items() if outside)


DEFAULT_SIGNATURE_GATE = SignatureGate()


@dataclass(frozen=True, slots=True, eq=False)
class PreparedSignature:
    """A signature as the encoder sees it, and what was found on the way."""

    canvas: Canvas
    box_px: Box
    """Left, top, width and height of the strokes, in pixels of the picture as sent; zeros where there are none."""
    contrast: float
    """Of ink against paper, in [0, 1]."""
    stroke_width_px: float
    """In pixels of the picture as sent."""
    reasons: tuple[Reason, ...]
    """Why it should not be compared; empty: nothing speaks against it."""
    x_px: Places
    """(256,): where in the picture as sent the middle of each column of the canvas is; for maps laid over it."""
    y_px: Places
    """(80,): likewise of each row."""


def prepare_signature(picture: Bytes, gate: SignatureGate = DEFAULT_SIGNATURE_GATE) -> PreparedSignature:
    """Prepare a picture that shows one signature.

    Args:
        picture: uint8 (height, width[, 1 or 3]); colour is blue, green, red. Dark strokes on lighter paper.
        gate: the bounds of the reason codes.

    Returns:
        The canvas, empty where there is no ink, and the reasons.

    Raises:
        InvalidInputError: it is no picture of uint8.
    """
    ink = find_ink(picture)
    box = ink.box_px
    left, top, width, height = (round(side / ink.scale) for side in box)
    x_px, y_px = _places(ink.mask, box)
    return PreparedSignature(
        canvas=lay_on_canvas(ink.mask, box, ink.stroke_width_px),
        box_px=(left, top, width, height),
        contrast=ink.contrast,
        stroke_width_px=ink.stroke_width_px / ink.scale,
        reasons=gate.reasons(ink),
        x_px=x_px / ink.scale,
        y_px=y_px / ink.scale,
    )


def signature_input(canvases: list[Canvas] | tuple[Canvas, ...] | npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Bring canvases to the encoder: float32 (n, 1, 80, 256), 0 = paper to 1 = ink."""
    return np.stack(list(canvases)).astype(np.float32)[:, None] / np.float32(255.0)


def lay_on_canvas(mask: Mask, box: Box, stroke_px: float, enlarged: int = 1) -> Canvas:
    """Fit strokes into the canvas, proportions kept, the middle of their box in its middle.

    Args:
        mask: uint8, 255 = ink.
        box: left, top, width, height of the strokes.
        stroke_px: their mean width in the mask.
        enlarged: how many times larger than 80 x 256 the canvas is; training starts from larger ones.

    Returns:
        uint8 (80, 256) times `enlarged`; all 0 where the box is empty.
    """
    height_px, width_px = CANVAS_HEIGHT_PX * enlarged, CANVAS_WIDTH_PX * enlarged
    canvas: Canvas = np.zeros((height_px, width_px), np.uint8)
    if not box[2]:
        return canvas
    cut = _without_gaps(mask, box)[0]
    scale = _fit(cut.shape[1], cut.shape[0])
    cut = _thick_enough(cut, stroke_px, scale)
    sides = (cut.shape[1], cut.shape[0])
    size = [
        min(most, max(1, round(side * scale * enlarged)))
        for side, most in zip(sides, (width_px, height_px), strict=True)
    ]
    resized = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale * enlarged < 1.0 else cv2.INTER_LINEAR)
    y, x = (height_px - size[1]) // 2, (width_px - size[0]) // 2
    canvas[y : y + size[1], x : x + size[0]] = resized
    return canvas


def _without_gaps(mask: Mask, box: Box) -> tuple[Mask, npt.NDArray[np.intp]]:
    """The cut strokes with no gap wider than allowed, and which columns of the mask they are."""
    left, top, width, height = box
    cut = mask[top : top + height, left : left + width]
    limit_px = max(2, round(_WIDEST_GAP * height))
    inked = np.flatnonzero(cut.any(0))
    kept = np.ones(width, np.bool_)
    for before, after in pairwise(inked):
        if after - before - 1 > limit_px:
            kept[before + 1 + limit_px // 2 : after - (limit_px - limit_px // 2)] = False
    return np.ascontiguousarray(cut[:, kept]), np.flatnonzero(kept) + left


def _fit(width: int, height: int) -> float:
    return min((CANVAS_WIDTH_PX - 2 * MARGIN_PX) / width, (CANVAS_HEIGHT_PX - 2 * MARGIN_PX) / height)


def _thick_enough(cut: Mask, stroke_px: float, scale: float) -> Mask:
    lacking_px = (_LEAST_STROKE_PX / scale - stroke_px) / 2.0
    if lacking_px <= 0.25:
        return cut
    room = int(np.ceil(lacking_px))
    padded = cv2.copyMakeBorder(cut, room, room, room, room, cv2.BORDER_CONSTANT, value=0)
    away = cv2.distanceTransform(cv2.bitwise_not(padded), cv2.DIST_L2, 5)
    thicker: Mask = np.where(away <= lacking_px, np.uint8(255), np.uint8(0))
    return thicker


def _places(mask: Mask, box: Box) -> tuple[Places, Places]:
    """In pixels of the mask: x of each column of the canvas, y of each row; beyond the strokes they go on evenly."""
    if not box[2]:
        return np.zeros(CANVAS_WIDTH_PX), np.zeros(CANVAS_HEIGHT_PX)
    _, columns = _without_gaps(mask, box)
    scale = _fit(columns.size, box[3])
    x = (np.arange(CANVAS_WIDTH_PX) + 0.5 - CANVAS_WIDTH_PX / 2) / scale + columns.size / 2 - 0.5
    y = (np.arange(CANVAS_HEIGHT_PX) + 0.5 - CANVAS_HEIGHT_PX / 2) / scale + box[3] / 2
    inside = np.interp(x, np.arange(columns.size), columns)
    beyond = np.minimum(x, 0.0) + np.maximum(x - (columns.size - 1), 0.0)
    return np.asarray(inside + beyond + 0.5, np.float64), np.asarray(y + box[1], np.float64)
