"""Ink and paper of a signature's picture: shading, paper, ruled lines and specks are taken off, the strokes stay.

It stands between a picture (or a region that a detector cut out of a page) and `tessera.imaging.signature`, which puts
the strokes on a canvas. It refuses nothing: what there is too little of is told by the caller's reason codes. What is
light on dark is not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.pixels import Bytes, require_bytes

WORKING_SIDE_PX = 1024
"""The longer side is shrunk to this before anything else: strokes are still 3 pixels wide or more then."""

_BACKGROUND_SIDE_PX = 256
"""Shading is smooth: it is looked for in a small copy."""
_BACKGROUND_SHARE = 0.09
"""Of the small copy's longer side: wider than any stroke, and than most loops that strokes fill."""
_LEAST_DEPTH = 14
"""Levels below the paper, of 255, from which on something may be ink."""
_NOISE_DEVIATIONS = 5.0
_RULE_SPAN = 0.85
"""Share of the picture's width that a ruled line has at least; the underline of a signature has less, and is bent."""
_RULE_PIECE = 24
"""The pieces that ruled lines are found by have this part of the width: short enough for a page laid in askew."""
_SPECK = 0.35
"""Of the squared stroke width: a dot of a pen has about 0.8."""
_FAR_GAP = 0.12
"""Of the working side: what is farther from everything else is looked at as a part of its own ..."""
_FAR_SHARE = 0.02
"""... and dropped when it has less of the ink than this."""

Mask = npt.NDArray[np.uint8]
"""uint8 (height, width): 255 = ink, 0 = paper."""


@dataclass(frozen=True, slots=True, eq=False)
class Ink:
    """The strokes that a picture shows."""

    mask: Mask
    """Of the picture at its working size."""
    scale: float
    """Pixels of `mask` per pixel of the picture, in (0, 1]."""
    contrast: float
    """How much darker than the paper the ink is, in [0, 1]; 0 where there is none."""
    stroke_width_px: float
    """Mean width of the strokes, in pixels of `mask`; 0 where there are none."""
    places_at_border: int
    """How many strokes run into the picture's border."""

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of all strokes in `mask`; zeros where there are none."""
        left, top, width, height = cv2.boundingRect(self.mask)
        return left, top, width, height


def find_ink(picture: Bytes) -> Ink:
    """Tell ink from paper.

    Args:
        picture: uint8 (height, width), (height, width, 1) or (height, width, 3), blue, green, red; dark strokes on
            lighter paper, of any colour.

    Returns:
        The strokes; an empty mask where nothing is darker than the paper.

    Raises:
        InvalidInputError: it is no picture of uint8.

    Source: Otsu, IEEE Trans. Systems, Man and Cybernetics 9 (1979), for the threshold. It is taken over the
        surroundings of what may be ink alone, where ink and paper have about the same share, which the method assumes.
    """
    require_bytes(picture)
    levels, scale = _working(_darkest_channel(picture))
    flat = without_shading(levels)
    mask, contrast = _inked(flat)
    mask = _without_specks(_without_rules(mask))
    if not mask.any():
        return Ink(mask, scale, 0.0, 0.0, 0)
    return Ink(mask, scale, contrast, stroke_width_px(mask), _places_at_border(mask))


def without_shading(levels: Bytes) -> Bytes:
    """Divide a gray picture by its paper.

    Args:
        levels: uint8 (height, width).

    Returns:
        uint8 of the same size: paper has about 255 everywhere, ink keeps its share of the paper's level.
    """
    height_px, width_px = levels.shape
    factor = min(1.0, _BACKGROUND_SIDE_PX / max(height_px, width_px))
    small = cv2.resize(levels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    side_px = max(3, round(max(small.shape) * _BACKGROUND_SHARE)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side_px, side_px))
    paper = cv2.morphologyEx(cv2.medianBlur(small, 3), cv2.MORPH_CLOSE, kernel, borderType=cv2.BORDER_REPLICATE)
    paper = cv2.GaussianBlur(paper, (0, 0), side_px / 3, borderType=cv2.BORDER_REPLICATE)
    full = cv2.resize(paper, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    flat: Bytes = cv2.divide(levels, np.maximum(full, 1), scale=255).astype(np.uint8, copy=False)
    return flat


def stroke_width_px(mask: Mask) -> float:
    """Mean width of the strokes of a mask: across one of w pixels the distance to the paper averages w / 4 + 1 / 2."""
    if not mask.any():
        return 0.0
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    return max(1.0, 4.0 * float(distance[padded > 0].mean()) - 2.0)


def _darkest_channel(picture: Bytes) -> Bytes:
    """Blue ink is bright in blue and dark in red: the darkest channel sees ink of any colour."""
    if picture.ndim == 2:
        return picture
    darkest: Bytes = picture.min(axis=2)
    return darkest


def _working(levels: Bytes) -> tuple[Bytes, float]:
    scale = min(1.0, WORKING_SIDE_PX / max(levels.shape))
    if scale == 1.0:
        return levels, 1.0
    shrunk = cv2.resize(levels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return shrunk.astype(np.uint8, copy=False), scale


def _inked(flat: Bytes) -> tuple[Mask, float]:
    """The mask, and the contrast between its two sides."""
    middle, noise = _paper(flat)
    darker = middle - max(_LEAST_DEPTH, _NOISE_DEVIATIONS * noise)
    maybe = (flat < darker).astype(np.uint8)
    around = cv2.dilate(maybe, np.ones((5, 5), np.uint8)) > 0
    if not maybe.any():
        return np.zeros_like(flat), 0.0
    near = flat[around].reshape(1, -1)
    threshold, _ = cv2.threshold(near, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    ink = flat <= min(threshold, darker)  # where there is noise alone, the threshold would divide the noise
    contrast = (middle - float(flat[ink].mean())) / 255.0 if ink.any() else 0.0
    return np.where(ink, np.uint8(255), np.uint8(0)), max(0.0, contrast)


def _paper(flat: Bytes) -> tuple[float, float]:
    """The paper's level and the deviation of its noise: the median of all levels, and that of the distances to it."""
    counts = np.bincount(flat.ravel(), minlength=256)
    half = flat.size / 2
    middle = int(np.searchsorted(np.cumsum(counts), half))
    away = np.bincount(np.abs(np.arange(256) - middle), weights=counts, minlength=256)
    return float(middle), 1.4826 * float(np.searchsorted(np.cumsum(away), half))


def _without_rules(mask: Mask) -> Mask:
    """Take off straight lines from one side of the picture to the other; strokes that cross them stay whole."""
    width_px = mask.shape[1]
    piece = cv2.getStructuringElement(cv2.MORPH_RECT, (max(9, width_px // _RULE_PIECE), 1))
    pieces = cv2.morphologyEx(mask, cv2.MORPH_OPEN, piece)
    joined = cv2.morphologyEx(pieces, cv2.MORPH_CLOSE, np.ones((3, max(9, width_px // _RULE_PIECE)), np.uint8))
    count, labels, facts, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    rules = np.zeros_like(mask)
    for label in range(1, count):
        width, height, area = (
            int(facts[label, at]) for at in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA)
        )
        if width >= _RULE_SPAN * width_px and area / width <= max(6.0, 0.01 * width_px) and height < 0.1 * width_px:
            rules[labels == label] = 255
    if not rules.any():
        return mask
    near: Mask = cv2.dilate(pieces, np.ones((3, 1), np.uint8)).astype(np.uint8, copy=False)
    return _lifted(mask, rules & near)


def _lifted(mask: Mask, rules: Mask) -> Mask:
    """The mask without the rules, but with what runs through them from above to below."""
    bare = mask & ~rules
    thick = int(np.ceil(rules.astype(bool).sum(0).max())) + 1
    above = cv2.dilate(bare, np.ones((2 * thick + 1, 3), np.uint8)).astype(np.uint8, copy=False)
    crossing = (mask & rules & above).astype(np.uint8, copy=False)
    kept = cv2.morphologyEx(crossing, cv2.MORPH_OPEN, np.ones((max(2, thick - 1), 1), np.uint8))
    return bare | kept.astype(np.uint8, copy=False)


def _without_specks(mask: Mask) -> Mask:
    """Drop dots that no pen makes, and little marks far from all else."""
    if not mask.any():
        return mask
    least_px = max(3.0, _SPECK * stroke_width_px(mask) ** 2)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = facts[:, cv2.CC_STAT_AREA] >= least_px
    kept[0] = False
    clean = np.where(kept[labels], np.uint8(255), np.uint8(0)) if count > 1 else mask
    return _without_far_marks(clean)


def _without_far_marks(mask: Mask) -> Mask:
    gap_px = max(3, round(_FAR_GAP * max(mask.shape) / 8)) | 1
    small = cv2.resize(mask, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    parts = cv2.dilate((small > 0).astype(np.uint8), np.ones((gap_px, gap_px), np.uint8))
    count, labels = cv2.connectedComponents(parts, connectivity=8)
    if count <= 2:
        return mask
    full = cv2.resize(labels.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    ink = np.bincount(full[mask > 0], minlength=256)
    kept = ink >= _FAR_SHARE * ink.sum()
    near: Mask = np.where(kept[full], mask, np.uint8(0))
    return near


def _places_at_border(mask: Mask) -> int:
    """Runs of ink along the outermost rows and columns."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return sum(int((np.diff(np.concatenate(([0], side > 0, [0])).astype(np.int8)) == 1).sum()) for side in sides)
