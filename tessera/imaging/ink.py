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

from tessera.imaging.pixels import Bytes, connected, require_bytes, scaled

WORKING_SIDE_PX = 1024
"""The longer side is brought to this before anything else: strokes are still 3 pixels wide or more then."""
_LEAST_ENLARGEMENT = 1.5
_MOST_ENLARGEMENT = 4.0
"""Small pictures are enlarged while they are gray: a mask of few pixels would have steps where the stroke has none."""

_BACKGROUND_SIDE_PX = 256
"""Shading is smooth: it is looked for in a small copy."""
_BACKGROUND_SHARE = 0.09
"""Of the small copy's longer side: wider than any stroke, and than most loops that strokes fill."""
_LEAST_DEPTH = 14
"""Levels below the paper, of 255, from which on something may be ink."""
_NOISE_DEVIATIONS = 5.0
_RULE_BORDER_PX = 2
"""A ruled line goes on beyond the picture: it comes so near its borders; the underline of a signature ends before."""
_RULE_SPAN = 0.85
"""Share of its length that is there, at least."""
_RULE_PIECE = 24
"""The pieces that ruled lines are found by have this part of the width: short enough for a page laid in askew."""
_RULE_BAND_PX = 12
"""How far above and below a line its thickness is looked for."""
_RULE_SLACK_PX = 1
"""A line may be so much thicker in places before it counts as covered by a stroke."""
_SPECK = 0.35
"""Of the squared stroke width: a dot of a pen has about 0.8."""
_FAR_GAP = 0.12
"""Of the working side: what is farther from everything else is looked at as a part of its own ..."""
_FAR_SHARE = 0.02
"""... and dropped when it has less of the ink than this."""
_EDGE_LINE_SHARE = 0.15
"""A thin upright line far from all else is the edge of a sheet; it may have so much of the ink."""
_EDGE_LINE_WIDTH = 0.012
"""Of the picture's width."""

Mask = npt.NDArray[np.uint8]
"""uint8 (height, width): 255 = ink, 0 = paper."""


@dataclass(frozen=True, slots=True, eq=False)
class Ink:
    """The strokes that a picture shows."""

    mask: Mask
    """Of the picture at its working size."""
    scale: float
    """Pixels of `mask` per pixel of the picture, in (0, 4]."""
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
    mask, contrast = strokes_on(without_shading(levels))
    if not mask.any():
        return Ink(mask, scale, 0.0, 0.0, 0)
    return Ink(mask, scale, contrast, stroke_width_px(mask), _places_at_border(mask))


def strokes_on(flat: Bytes) -> tuple[Mask, float]:
    """Tell ink from paper that has one level everywhere, and take off ruled lines and specks.

    Args:
        flat: uint8 (height, width), of `without_shading`.

    Returns:
        The strokes, and the contrast between them and the paper, in [0, 1].
    """
    mask, contrast = _inked(flat)
    return _without_specks(_without_rules(mask)), contrast


def without_shading(levels: Bytes) -> Bytes:
    """Divide a gray picture by its paper.

    Args:
        levels: uint8 (height, width).

    Returns:
        uint8 of the same size: paper has about 255 everywhere, ink keeps its share of the paper's level.
    """
    height_px, width_px = levels.shape
    factor = min(1.0, _BACKGROUND_SIDE_PX / max(height_px, width_px))
    small = scaled(levels, factor, cv2.INTER_AREA)
    side_px = max(3, round(max(small.shape) * _BACKGROUND_SHARE)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side_px, side_px))
    # A shadow goes on beyond the border: closed without its other part, a corner of one would be filled.
    wider = cv2.copyMakeBorder(cv2.medianBlur(small, 3), *(side_px,) * 4, cv2.BORDER_REPLICATE)
    paper = cv2.GaussianBlur(cv2.morphologyEx(wider, cv2.MORPH_CLOSE, kernel), (0, 0), side_px / 3)
    paper = paper[side_px:-side_px, side_px:-side_px]
    full = cv2.resize(paper, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    flat: Bytes = cv2.divide(levels, np.maximum(full, 1), scale=255).astype(np.uint8, copy=False)
    return flat


def level_counts(levels: Bytes) -> npt.NDArray[np.float64]:
    """How many pixels have each of the 256 levels."""
    counts = cv2.calcHist([levels], [0], None, [256], [0.0, 256.0])  # as `np.bincount`, in a tenth of its time
    return np.asarray(counts, np.float64).ravel()


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
    darkest: Bytes = picture[..., 0]
    for channel in range(1, picture.shape[2]):  # as `min(axis=2)`, in a twentieth of its time
        darkest = np.minimum(darkest, picture[..., channel])
    return darkest


def _working(levels: Bytes) -> tuple[Bytes, float]:
    scale = min(_MOST_ENLARGEMENT, WORKING_SIDE_PX / max(levels.shape))
    if 1.0 <= scale < _LEAST_ENLARGEMENT:
        return levels, 1.0
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    return scaled(levels, scale, how), scale


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
    counts = level_counts(flat)
    half = flat.size / 2
    middle = int(np.searchsorted(np.cumsum(counts), half))
    away = np.bincount(np.abs(np.arange(256) - middle), weights=counts, minlength=256)
    return float(middle), 1.4826 * float(np.searchsorted(np.cumsum(away), half))


def _without_rules(mask: Mask) -> Mask:
    """Take off straight lines from one edge of the picture to another; strokes that cross or cover them stay."""
    width_px = mask.shape[1]
    piece_px = max(9, width_px // _RULE_PIECE)
    pieces = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, piece_px), np.uint8))
    joined = cv2.morphologyEx(pieces, cv2.MORPH_CLOSE, np.ones((3, piece_px), np.uint8))
    labels, facts = connected(np.asarray(joined, np.uint8))
    bare = mask.copy()
    for label in range(1, len(facts)):
        left, _, width, height = (int(side) for side in facts[label, :4])
        if not _is_flat(width_px, width, height):
            continue
        rows, columns = np.nonzero((labels == label) & (pieces > 0))  # closing has brought the pieces to the borders
        if rows.size and _goes_beyond(mask.shape, rows, columns):
            _lift_rule(bare, _line_through(columns, rows), left, left + width)
    return bare


def _is_flat(picture_px: int, width: int, height: int) -> bool:
    """Whether it lies along the picture, or cuts a corner of it."""
    lies = width >= _RULE_SPAN * picture_px or width >= max(0.05 * picture_px, 8 * height)
    return lies and height < 0.1 * picture_px


def _goes_beyond(shape: tuple[int, ...], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> bool:
    """Whether marks come to both sides of the picture, or to one and to its top or bottom."""
    near = _RULE_BORDER_PX
    at_left, at_right = columns.min() <= near, columns.max() >= shape[1] - 1 - near
    at_end = rows.min() <= near or rows.max() >= shape[0] - 1 - near
    return bool((at_left and at_right) or ((at_left or at_right) and at_end))


def _line_through(columns: npt.NDArray[np.intp], rows: npt.NDArray[np.intp]) -> np.poly1d:
    """The straight line on which most places lie: fitted twice, without what lies off the first fit."""
    line = np.poly1d(np.polyfit(columns, rows, 1))
    away = np.abs(rows - line(columns))
    near = away <= max(2.0, float(np.median(away)))
    return np.poly1d(np.polyfit(columns[near], rows[near], 1))


def _lift_rule(mask: Mask, line: np.poly1d, start_px: int, end_px: int) -> None:
    """Empty a mask along a line, in place, but only where nothing thicker than the line runs there."""
    height_px, along = mask.shape[0], np.arange(start_px, end_px)
    rows = np.round(line(along)).astype(np.intp) + np.arange(-_RULE_BAND_PX, _RULE_BAND_PX + 1)[:, None]
    columns = np.broadcast_to(along, rows.shape)
    inked = (mask[rows.clip(0, height_px - 1), columns] > 0) & (rows >= 0) & (rows < height_px)
    middle = _RULE_BAND_PX + np.array([0, -1, 1, -2, 2])
    start = middle[inked[middle].argmax(0)]
    of_run = _runs_through(inked, start)
    lengths = of_run.sum(0)
    present = lengths > 0
    if present.mean() < _RULE_SPAN:
        return
    thin = lengths <= np.percentile(lengths[present], 30) + _RULE_SLACK_PX
    emptied = of_run & thin
    mask[rows[emptied], columns[emptied]] = 0


def _runs_through(inked: npt.NDArray[np.bool_], start: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """(rows, columns): what hangs together with the row `start` of each column, along the column."""
    order = np.arange(len(inked))[:, None]
    # A place hangs together with the start when no paper lies between.
    gaps = np.cumsum(~inked, axis=0)
    at_start = np.take_along_axis(gaps, start[None], 0)
    above = (order <= start) & (gaps == at_start)
    below = (order >= start) & (gaps == at_start)
    runs: npt.NDArray[np.bool_] = (above | below) & inked & np.take_along_axis(inked, start[None], 0)
    return runs


def _without_specks(mask: Mask) -> Mask:
    """Drop dots that no pen makes, and little marks far from all else."""
    if not mask.any():
        return mask
    least_px = max(3.0, _SPECK * stroke_width_px(mask) ** 2)
    labels, facts = connected(mask)
    kept = np.where(facts[:, cv2.CC_STAT_AREA] >= least_px, np.uint8(255), np.uint8(0))
    kept[0] = 0
    clean = mask if kept[1:].all() else np.take(kept, labels, mode="clip")  # as indexing, in a third of its time
    return _without_far_marks(clean)


def _without_far_marks(mask: Mask) -> Mask:
    gap_px = max(3, round(_FAR_GAP * max(mask.shape) / 8)) | 1
    small = scaled(mask, 0.125, cv2.INTER_AREA)
    parts = cv2.dilate((small > 0).astype(np.uint8), np.ones((gap_px, gap_px), np.uint8))
    count, labels = cv2.connectedComponents(parts, connectivity=8)
    if count <= 2:
        return mask
    full = cv2.resize(labels.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    ink = np.bincount(full[mask > 0], minlength=256)
    kept = [_belongs(mask, full, part, share) for part, share in enumerate(ink / ink.sum())]
    near: Mask = np.where(np.array(kept)[full], mask, np.uint8(0))
    return near


def _belongs(mask: Mask, parts: npt.NDArray[np.uint8], part: int, share: float) -> bool:
    """Whether a part that is far from all else, with this share of the ink, is of the signature."""
    if not _FAR_SHARE <= share < _EDGE_LINE_SHARE:
        return share >= _FAR_SHARE
    _, _, width, height = cv2.boundingRect(np.where(parts == part, mask, np.uint8(0)))
    return width > _EDGE_LINE_WIDTH * mask.shape[1] or height < 6 * width


def _places_at_border(mask: Mask) -> int:
    """Runs of ink along the outermost rows and columns."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return sum(int((np.diff(np.concatenate(([0], side > 0, [0])).astype(np.int8)) == 1).sum()) for side in sides)
