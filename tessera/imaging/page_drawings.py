"""What on a page was stamped or drawn rather than written: stamps, frames and filled logos.

It stands beside `tessera.imaging.signature_candidates`, which gathers marks without these. What it leaves in, the
measures judge.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.ink import Mask
from tessera.imaging.page_strokes import PageStrokes

_DRAWN_HEIGHT = 3.5
"""In letters; smaller marks are left to the measures."""
_DRAWN_OUTLINE = 0.6
_DRAWN_MARKS = 4
"""A stamp and a frame have letters inside; a round capital has next to nothing."""
_SQUARED = 0.93
_ENCLOSING = 0.7
"""Of the narrowest rectangle around it, that a ring's hull fills; a long stroke's hull is slim, or a triangle."""
_UPRIGHT, _FIELD_LETTERS = 0.88, 15.0
"""Of the upright box, that the frame of a field fills, and its width."""
_STAMP_GAP_PX = 15
_STAMP_INK = 0.35
"""Of what its outline encloses; a scribble closes up to more."""
_CLOSED = 0.8
"""Of its hull, that the outline of a ring or a frame encloses."""
_RINGED, _CIRCLE_LETTERS, _CIRCLE_ASPECT = 0.92, 8.0, 0.85
"""A circle whose line has gaps: how much of its hull runs along ink, its least side, and how round it is."""
_FILLED = 0.2
_FILLED_HEIGHT = 6.0
"""In letters: a scribble over and over itself is lower."""

Boxes = npt.NDArray[np.int64]
Stroked = npt.NDArray[np.bool_]


def drawn_marks(page: PageStrokes, boxes: Boxes, high: Stroked) -> Stroked:
    """Stamps, frames and logos, with all that stands inside: their outline is all ink, or they are filled.

    Args:
        page: with running text.
        boxes: int64 (n, 4), left, top, width and height of the page's parts.
        high: bool (n,), the parts that are clearly higher than letters.

    Returns:
        bool (n,); of the frame of a field to sign in only the frame itself, never what stands inside.
    """
    drawn = np.zeros(len(boxes), bool)
    x, y = boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3] / 2
    least_px = _DRAWN_HEIGHT * page.letter_px
    for at in np.flatnonzero(high & (boxes[:, 3] >= least_px) & (boxes[:, 2] >= least_px)):
        left, top, width, height = (int(side) for side in boxes[at])
        if drawn[at]:
            continue
        ink = np.pad((page.parts.labels[top : top + height, left : left + width] == at + 1).astype(np.uint8), 1)
        inside = (x >= left) & (x <= left + width) & (y >= top) & (y <= top + height)
        several = int((inside & (boxes[:, 3] >= 4)).sum()) > _DRAWN_MARKS
        large = min(width, height) >= _FILLED_HEIGHT * page.letter_px
        if (large and _filled(ink)) or (
            _hull_share(ink) >= (_ENCLOSING if several else _SQUARED) and outline_share(ink) >= _DRAWN_OUTLINE
        ):
            drawn[at] = True
            if not _field(ink, page.letter_px):
                drawn |= inside
    for left, top, width, height in _stamps(page):
        drawn |= (x >= left) & (x <= left + width) & (y >= top) & (y <= top + height)
    return drawn


def _stamps(page: PageStrokes) -> list[tuple[int, int, int, int]]:
    """Closed shapes in colour with several marks inside, whatever black print runs through them."""
    if not cv2.hasNonZero(page.coloured):
        return []
    inner, _ = cv2.findContours(page.coloured, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    marks = np.array([cv2.boundingRect(mark) for mark in inner], np.int64)
    marks = marks[marks[:, 3] >= 3]
    x, y = marks[:, 0] + marks[:, 2] / 2, marks[:, 1] + marks[:, 3] / 2
    closed = cv2.morphologyEx(page.coloured, cv2.MORPH_CLOSE, np.ones((_STAMP_GAP_PX, _STAMP_GAP_PX), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = np.array([cv2.boundingRect(outline) for outline in outlines], np.int64).reshape(-1, 4)
    least_px = _DRAWN_HEIGHT * page.letter_px
    found = []
    for at in np.flatnonzero((boxes[:, 2] >= 1.5 * least_px) & (boxes[:, 3] >= least_px)).tolist():
        left, top, width, height = (int(side) for side in boxes[at])
        inside = (x > left) & (x < left + width) & (y > top) & (y < top + height)
        if inside.sum() > _DRAWN_MARKS and _ringed(
            page.coloured[top : top + height, left : left + width], outlines[at], page.letter_px
        ):
            found.append((left, top, width, height))
    return found


def _ringed(coloured: Mask, outline: cv2.typing.MatLike, letter_px: float) -> bool:
    """Whether an outline closes around more paper than ink; a large circle may have gaps."""
    hull, ink = cv2.contourArea(cv2.convexHull(outline)), np.pad(coloured, 1)
    enclosed = cv2.contourArea(outline)
    if enclosed >= _CLOSED * max(hull, 1.0):
        return bool(np.count_nonzero(ink) <= _STAMP_INK * enclosed)
    low, high = sorted(coloured.shape)
    circle = low >= max(_CIRCLE_LETTERS * letter_px, _CIRCLE_ASPECT * high) and _hull_share(ink) >= _ENCLOSING
    return bool(circle and outline_share(ink) >= _RINGED and np.count_nonzero(ink) <= _STAMP_INK * hull)


def _field(ink: npt.NDArray[np.uint8], letter_px: float) -> bool:
    """Whether it is the frame of a field to sign in: upright and large. A stamp is pressed on askew."""
    height, width = ink.shape
    outline = cv2.contourArea(cv2.convexHull(cv2.findNonZero(ink)))
    return bool(outline >= _UPRIGHT * height * width and width >= _FIELD_LETTERS * letter_px)


def _hull_share(ink: npt.NDArray[np.uint8]) -> float:
    """How much of the narrowest rectangle around it, however turned, its hull fills."""
    hull = cv2.convexHull(cv2.findNonZero(ink))
    _, (width, height), _ = cv2.minAreaRect(hull)
    return float(cv2.contourArea(hull) / max(width * height, 1.0))


def _filled(ink: npt.NDArray[np.uint8]) -> bool:
    """Whether somewhere it is far thicker than a pen's stroke in proportion to its size."""
    return bool(cv2.distanceTransform(ink, cv2.DIST_L2, 3).max() > _FILLED * min(ink.shape))


def outline_share(ink: npt.NDArray[np.uint8]) -> float:
    """How much of the convex outline runs along ink: all of it round a ring or a frame, little round a signature.

    Args:
        ink: uint8 (height, width), not all 0.

    Returns:
        In [0, 1].
    """
    points = cv2.findNonZero(ink)
    hull = cv2.convexHull(points)
    band = np.zeros_like(ink)
    cv2.polylines(band, [hull], True, 1, 1)
    near = cv2.dilate(ink, np.ones((5, 5), np.uint8))
    return float(near[band > 0].mean())
