"""From a picture of one signature to the canvas that the encoder sees: the one preparation for training and serving.

The strokes that `tessera.imaging.ink` finds are cropped, brought to the size of a fixed canvas with their proportions
kept, and laid in its middle. Whoever changes what a canvas shows raises `SIGNATURE_PREPROCESSING`; the manifest of the
encoder names it. This module does not look for signatures on a page.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.reasons import Reason
from tessera.imaging.ink import Ink, Mask, find_ink
from tessera.imaging.pixels import Bytes

SIGNATURE_PREPROCESSING = "signature-80x320-1"
CANVAS_HEIGHT_PX = 80
CANVAS_WIDTH_PX = 320
MARGIN_PX = 4
"""Of the canvas, kept free on each side."""

_LEAST_STROKE_PX = 1.6
"""On the canvas. Thinner strokes are thickened to it, or they would fade away when the picture is shrunk."""

Canvas = npt.NDArray[np.uint8]
"""uint8 (80, 320): how much of each pixel is ink, 0 to 255."""
Box = tuple[int, int, int, int]


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
    to_picture: npt.NDArray[np.float64]
    """(2, 3): from a place (x, y, 1) on the canvas to one in the picture as sent, for maps that are laid over it."""


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
    return PreparedSignature(
        canvas=lay_on_canvas(ink.mask, box, ink.stroke_width_px),
        box_px=(left, top, width, height),
        contrast=ink.contrast,
        stroke_width_px=ink.stroke_width_px / ink.scale,
        reasons=gate.reasons(ink),
        to_picture=_back(box) / ink.scale,
    )


def signature_input(canvases: list[Canvas] | tuple[Canvas, ...] | npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Bring canvases to the encoder: float32 (n, 1, 80, 320), 0 = paper to 1 = ink."""
    return np.stack(list(canvases)).astype(np.float32)[:, None] / np.float32(255.0)


def lay_on_canvas(mask: Mask, box: Box, stroke_px: float, enlarged: int = 1) -> Canvas:
    """Fit strokes into the canvas, proportions kept, the middle of their box in its middle.

    Args:
        mask: uint8, 255 = ink.
        box: left, top, width, height of the strokes.
        stroke_px: their mean width in the mask.
        enlarged: how many times larger than 80 x 320 the canvas is; training starts from larger ones.

    Returns:
        uint8 (80, 320) times `enlarged`; all 0 where the box is empty.
    """
    height_px, width_px = CANVAS_HEIGHT_PX * enlarged, CANVAS_WIDTH_PX * enlarged
    canvas: Canvas = np.zeros((height_px, width_px), np.uint8)
    left, top, width, height = box
    if not width:
        return canvas
    scale = _fit(width, height) * enlarged
    cut = _thick_enough(mask[top : top + height, left : left + width], stroke_px, scale / enlarged)
    size = (min(width_px, max(1, round(cut.shape[1] * scale))), min(height_px, max(1, round(cut.shape[0] * scale))))
    resized = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR)
    y, x = (height_px - size[1]) // 2, (width_px - size[0]) // 2
    canvas[y : y + size[1], x : x + size[0]] = resized
    return canvas


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


def _back(box: Box) -> npt.NDArray[np.float64]:
    """From the canvas to the mask."""
    left, top, width, height = box
    if not width:
        return np.zeros((2, 3))
    scale = _fit(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = (CANVAS_WIDTH_PX - size[0]) // 2, (CANVAS_HEIGHT_PX - size[1]) // 2
    across, down = width / size[0], height / size[1]
    return np.array([[across, 0.0, left - x * across], [0.0, down, top - y * down]])
