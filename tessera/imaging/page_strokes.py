"""The marks on a page, turned upright, without its ruled lines: what signatures are looked for in.

It stands between a picture of a whole page and `tessera.imaging.signature_regions`. Everything is done in a copy of
limited size. Pages that lie askew by up to 20 degrees are turned; a page on its side or on its head is not recognised,
and a picture without printed text is left as it is, for the slope of a signature belongs to its writer.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.ink import Mask, level_counts, strokes_on, without_shading
from tessera.imaging.pixels import Bytes, connected, require_bytes, scaled

WORKING_SIDE_PX = 1280
"""Print of 10 points on a page of A4 still has letters of 8 pixels."""
MOST_ASKEW_DEGREES = 20.0

_LEAST_DEPTH = 14.0
_NOISE_DEVIATIONS = 5.0
_FAINTEST_SHARE = 0.22
"""Of the darkest ink's depth: patterns under the print have less, pencil beside black print more."""
_LOCAL_SHARE = 0.45
_NEIGHBOURHOOD_PX = 15
_TILE_PX = 32
_DEVIATION_OF_MEAN = 1.4
"""The deviation of noise, of its mean distance to the median of nine."""
_LEAST_LETTERS = 14
_LEAST_LETTERS_SHARE = 0.3
_HIGHEST_LETTER_SHARE = 0.06
"""Of the longer side; what is higher is no running text."""
_POINTS = 4000
_SOLID_PX = 11
"""Thicker than print and pens at half the working size: the desk that a page lies on, pictures, logos."""
_LEAST_PEAK = 3.0
_LEAST_ASKEW_DEGREES = 0.3
_RULE_PIECE_PX = 40
_LEAST_COLOUR = 24
"""Levels between the brightest and the darkest channel; of black ink after JPEG about 20 remain."""
_GROUND_PX = 9
"""At a quarter of the working size: no pen is as wide."""
_LEAST_GROUND, _LEAST_PAPER = 0.03, 0.1
_LEAST_RULE_SHARE = 0.09
"""Of the side, where there is print ..."""
_LEAST_CUT_RULE_SHARE = 0.98
"""... and where there is none: head lines of Devanagari names and flourishes are straight, too, but stop short ..."""
_RULE_BORDER_PX = 2
"""... of the picture's border by more."""
_RULE_RESIDUAL_PX = 0.8
_RULE_STRAIGHT_SHARE = 0.7
_RULE_THICK_PX = 6.0

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The connected marks of a mask, the paper not among them."""

    labels: Counts
    """(height, width): 0 is paper, k + 1 the mark k."""
    boxes: Counts
    """(n, 4): left, top, width, height."""
    areas: Counts
    """(n,), pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class PageStrokes:
    """A page's marks, upright, at working size."""

    mask: Mask
    levels: Bytes
    """The page without its shading: paper is about 255."""
    coloured: Mask
    """Those of the marks that are not black or gray, with what rules were taken off; all paper for a gray picture."""
    parts: Parts
    lying: Counts
    """(n, 4): left, top, width and height of the lying rules that were taken off ..."""
    standing: Counts
    """(n, 4): ... and of the standing ones."""
    paper: float
    """The paper's level."""
    depth: float
    """Of the page's dark ink below the paper, in levels."""
    letter_px: float
    """Height of the letters of the running text; 0: there is no such text."""
    angle_degrees: float
    """How far the page's lines fall to the right, in the picture as sent."""
    to_picture: Floats
    """(2, 3): from working places (x, y, 1) to those of the picture as sent."""


def page_strokes(picture: Bytes) -> PageStrokes:
    """Tell marks from paper on a whole page.

    Args:
        picture: uint8 (height, width[, 1 or 3]); colour is blue, green, red. Dark on light.

    Returns:
        The marks; an empty mask where there are none.

    Raises:
        InvalidInputError: it is no picture of uint8.
    """
    require_bytes(picture)
    working, scale = _shrunk(picture)
    raw, colour = _darkest(working)
    levels = without_shading(raw)
    printed, angle = _askew(levels)
    turn, size = _turned(angle, raw.shape[1], raw.shape[0]) if angle else (np.eye(2, 3), raw.shape[::-1])
    if angle:
        levels = np.asarray(cv2.warpAffine(levels, turn, size, flags=cv2.INTER_LINEAR, borderValue=255), np.uint8)
    # A page's marks are of many inks, and a stamp may be fainter than the print; one signature is of one pen.
    mask = _marked(levels) if printed else strokes_on(levels)[0]
    mask = _on_paper(mask, raw, turn)
    coloured = _coloured(mask, colour, turn)
    bare, lying, standing = _without_rules(mask, printed=printed)
    paper, _, depth = _depths(levels)
    parts = parts_of(bare)
    letters = _letters(parts.boxes, max(mask.shape))
    back = cv2.invertAffineTransform(turn) / scale
    return PageStrokes(
        bare, levels, coloured, parts, lying, standing, paper, depth, letters, angle, np.asarray(back, np.float64)
    )


def parts_of(mask: Mask) -> Parts:
    """The connected marks of a mask."""
    labels, facts = connected(mask)
    return Parts(labels, facts[1:, :4], facts[1:, cv2.CC_STAT_AREA])


def _shrunk(picture: Bytes) -> tuple[Bytes, float]:
    scale = min(1.0, WORKING_SIDE_PX / max(picture.shape[:2]))
    if scale == 1.0:
        return picture, 1.0
    # Down to half its size a line meets enough of its pixels.
    how = cv2.INTER_LINEAR if scale >= 0.5 else cv2.INTER_AREA
    return scaled(picture, scale, how), scale


def _reduced(levels: Bytes, times: int) -> Bytes:
    size = tuple(max(1, side // times) for side in levels.shape[::-1])
    return np.asarray(cv2.resize(levels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _darkest(picture: Bytes) -> tuple[Bytes, Bytes | None]:
    """The darkest channel, which sees ink of any colour, and how far the brightest is above it."""
    if picture.ndim == 2 or picture.shape[2] == 1:
        return picture.reshape(picture.shape[:2]), None
    blue, green, red = cv2.split(picture)
    least = cv2.min(cv2.min(blue, green), red)
    return np.asarray(least, np.uint8), np.asarray(cv2.subtract(cv2.max(cv2.max(blue, green), red), least), np.uint8)


def _coloured(mask: Mask, colour: Bytes | None, turn: Floats) -> Mask:
    if colour is None:
        return np.zeros_like(mask)
    if turn[0, 1]:
        colour = np.asarray(cv2.warpAffine(colour, turn, mask.shape[::-1], flags=cv2.INTER_NEAREST), np.uint8)
    return np.asarray(cv2.bitwise_and(mask, cv2.inRange(colour, np.array([_LEAST_COLOUR]), np.array([255]))), np.uint8)


def _depths(levels: Bytes) -> tuple[float, float, float]:
    """The paper's level, how far below it something may be a mark, and the depth of dark ink; 0 where there is none."""
    counts = level_counts(levels)
    paper = int(np.searchsorted(np.cumsum(counts), levels.size / 2))
    away = np.bincount(np.abs(np.arange(256) - paper), weights=counts, minlength=256)
    noise = 1.4826 * float(np.searchsorted(np.cumsum(away), levels.size / 2))
    least = max(_LEAST_DEPTH, _NOISE_DEVIATIONS * noise)
    below = np.cumsum(counts[: max(1, int(paper - least))])
    if not below[-1]:
        return float(paper), least, 0.0
    depth = paper - float(np.searchsorted(below, below[-1] * 0.25))
    return float(paper), max(least, _FAINTEST_SHARE * depth), depth


def _marked(levels: Bytes) -> Mask:
    """Each pixel is judged by the darkest ones near it, and by the noise around."""
    paper, least, depth = _depths(levels)
    if not depth:
        return np.zeros_like(levels)
    darkest = cv2.erode(levels, np.ones((_NEIGHBOURHOOD_PX, _NEIGHBOURHOOD_PX), np.uint8))
    table = np.minimum(paper - least, paper - _LOCAL_SHARE * (paper - np.arange(256.0)))
    threshold = cv2.LUT(darkest, np.clip(table, 0, 255).astype(np.uint8))
    marks = np.asarray(cv2.compare(levels, threshold, cv2.CMP_LE), np.uint8)
    deepest = np.clip(paper - _NOISE_DEVIATIONS * _noise(levels, marks), 0, 255).astype(np.uint8)
    threshold = cv2.min(threshold, cv2.resize(deepest, levels.shape[::-1], interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.compare(levels, threshold, cv2.CMP_LE), np.uint8)


def _noise(levels: Bytes, marks: Mask) -> npt.NDArray[np.float32]:
    """The deviation of the paper's noise, a tile at a time: paper in a shadow, made as bright as the other, has more
    of it."""
    away = cv2.absdiff(levels, cv2.medianBlur(levels, 3))
    tiles = tuple(max(1, side // _TILE_PX) for side in levels.shape[::-1])
    bare = cv2.bitwise_not(marks)
    mean, paper = (
        cv2.blur(cv2.resize(one.astype(np.float32), tiles, interpolation=cv2.INTER_AREA), (3, 3))
        for one in (cv2.bitwise_and(away, bare), bare)
    )
    return np.asarray(_DEVIATION_OF_MEAN * 255.0 * mean / np.maximum(paper, 1.0), np.float32)


def _letters(boxes: Counts, side_px: int, least_px: int = 4) -> float:
    """The height that most letters share; 0 where too few marks are alike for print."""
    heights = boxes[:, 3]
    letters = (heights >= least_px) & (heights <= _HIGHEST_LETTER_SHARE * side_px)
    letters &= (boxes[:, 2] < 20 * heights) & (boxes[:, 2] > 1)
    found = heights[letters]
    if found.size < _LEAST_LETTERS:
        return 0.0
    counts = np.bincount(found, minlength=8).astype(float)
    around = np.array([counts[int(0.8 * h) : int(1.25 * h) + 1].sum() for h in range(len(counts))])
    most = int(around.argmax())
    return float(most) if around[most] >= max(_LEAST_LETTERS, _LEAST_LETTERS_SHARE * found.size) else 0.0


def _askew(levels: Bytes) -> tuple[bool, float]:
    """Whether there is print, and how far its lines fall to the right; looked for in a copy of half the size."""
    small = _reduced(levels, 2)
    mask = _marked(small)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes = np.array([cv2.boundingRect(outline) for outline in outlines], np.int32).reshape(-1, 4)
    if not _letters(boxes, max(small.shape), 3):
        return False, 0.0
    angle = _sharpest(_without_specks(mask, boxes))
    return True, angle if abs(angle) >= _LEAST_ASKEW_DEGREES else 0.0


def _without_specks(mask: Mask, boxes: Counts) -> Mask:
    """A dark desk is full of them, in no order."""
    left, top, width, height = boxes[(boxes[:, 2] <= 2) & (boxes[:, 3] <= 2)].T
    clean = mask.copy()
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        clean[top + np.minimum(y, height - 1), left + np.minimum(x, width - 1)] = 0
    return clean


def _sharpest(mask: Mask) -> float:
    """The angle at which rows of marks begin and end most abruptly."""
    solid = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((_SOLID_PX, _SOLID_PX), np.uint8))
    thin = cv2.bitwise_and(mask, cv2.bitwise_not(cv2.dilate(solid, np.ones((_SOLID_PX, _SOLID_PX), np.uint8))))
    if not cv2.hasNonZero(thin):
        return 0.0
    places = cv2.findNonZero(thin).reshape(-1, 2)
    points = places[:: max(1, len(places) // _POINTS)].astype(np.float32)
    coarse = np.arange(-MOST_ASKEW_DEGREES, MOST_ASKEW_DEGREES + 0.1, 1.0)
    sharpness = np.array([_sharpness(points, angle) for angle in coarse])
    if sharpness.max() < _LEAST_PEAK * np.median(sharpness):
        return 0.0
    fine = float(coarse[sharpness.argmax()]) + np.arange(-0.8, 0.9, 0.2)
    return float(fine[int(np.argmax([_sharpness(points, angle) for angle in fine]))])


def _sharpness(points: npt.NDArray[np.float32], degrees: float) -> float:
    angle = np.deg2rad(degrees)
    rows = points @ np.array([-np.sin(angle), np.cos(angle)], np.float32)
    profile = np.bincount(((rows - rows.min()) / 1.5).astype(np.int64))
    return float((np.diff(profile.astype(np.float64)) ** 2).sum())


def _turned(degrees: float, width: int, height: int) -> tuple[Floats, tuple[int, int]]:
    """The turn that makes a page upright, and the size (width, height) that holds all of it."""
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = int(np.ceil(width * cosine + height * sine)), int(np.ceil(width * sine + height * cosine))
    shift = np.array([[0.0, 0.0, (size[0] - width) / 2], [0.0, 0.0, (size[1] - height) / 2]])
    return np.asarray(turn + shift, np.float64), size


def _on_paper(mask: Mask, raw: Bytes, turn: Floats) -> Mask:
    """Without the dark ground that a page lies on: where there is solid dark, the outline of the largest bright part
    is the page's."""
    small = _reduced(mask, 4)
    solid = cv2.morphologyEx(
        (small > 127).astype(np.uint8), cv2.MORPH_OPEN, np.ones((_GROUND_PX, _GROUND_PX), np.uint8)
    )
    if np.count_nonzero(solid) < _LEAST_GROUND * solid.size:
        return mask
    smaller = turn * np.array([1.0, 1.0, 0.25])
    bright = cv2.warpAffine(_reduced(raw, 4), smaller, solid.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    evened = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((_GROUND_PX, _GROUND_PX), np.uint8))
    _, paper = cv2.threshold(evened, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(paper, connectivity=4)
    largest = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else 0
    if not largest or facts[largest, cv2.CC_STAT_AREA] < _LEAST_PAPER * solid.size:
        return mask
    outlines, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    page = np.zeros(solid.shape, np.uint8)
    cv2.fillConvexPoly(page, cv2.convexHull(np.concatenate(outlines)), 1)
    inner = cv2.erode(page, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    full = cv2.resize(inner, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.bitwise_and(mask, mask, mask=full), np.uint8)


def _without_rules(mask: Mask, *, printed: bool) -> tuple[Mask, Counts, Counts]:
    """Take off straight lines, lying and standing; strokes that cross them stay whole."""
    lying, lying_boxes = _rules(mask, printed=printed)
    turned, turned_boxes = _rules(np.asarray(cv2.transpose(mask), np.uint8), printed=printed)
    standing, standing_boxes = cv2.transpose(turned), turned_boxes[:, [1, 0, 3, 2]]
    if not len(lying_boxes) + len(standing_boxes):
        return mask, lying_boxes, standing_boxes
    thick = int(_RULE_THICK_PX) + 2
    bare = cv2.bitwise_and(mask, cv2.bitwise_not(cv2.bitwise_or(lying, standing)))
    across = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8))
    along = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, thick), np.uint8))
    crossing = cv2.bitwise_or(
        cv2.bitwise_and(across, cv2.bitwise_and(lying, cv2.bitwise_not(standing))),
        cv2.bitwise_and(along, cv2.bitwise_and(standing, cv2.bitwise_not(lying))),
    )
    left = cv2.bitwise_or(bare, cv2.bitwise_and(mask, crossing))
    return np.asarray(left, np.uint8), lying_boxes, standing_boxes


def _rules(mask: Mask, *, printed: bool) -> tuple[Mask, Counts]:
    """The lying straight lines: long runs of marks that meet one line within a fraction of a pixel."""
    width, least_share = mask.shape[1], _LEAST_RULE_SHARE if printed else _LEAST_CUT_RULE_SHARE
    thicker = cv2.dilate(mask, np.ones((3, 3), np.uint8))  # over gaps of a pixel, and steps of one
    runs = cv2.morphologyEx(thicker, cv2.MORPH_OPEN, np.ones((1, _RULE_PIECE_PX), np.uint8))
    outlines, _ = cv2.findContours(runs, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    rules, boxes = np.zeros_like(mask), []
    for outline in outlines:
        left, top, across, down = cv2.boundingRect(outline)
        if across < max(_RULE_PIECE_PX, least_share * width):
            continue
        if not printed and not left <= _RULE_BORDER_PX <= width - _RULE_BORDER_PX <= left + across:
            continue
        patch = np.zeros((down, across), np.uint8)
        cv2.drawContours(patch, [outline], -1, 255, cv2.FILLED, offset=(-left, -top))
        straight = _straight(patch > 0)
        if straight is not None and np.count_nonzero(straight) <= (_RULE_THICK_PX + 2.0) * across:
            rules[top : top + down, left : left + across] |= np.where(straight, patch, np.uint8(0))
            boxes.append((left, top, across, down))
    return rules, np.array(boxes, np.int32).reshape(-1, 4)


def _straight(patch: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    """What of a run lies along its straight line, a flourish that rides on it left out; None where it has none."""
    counts = patch.sum(0)
    columns = np.flatnonzero(counts)
    middles = (patch * np.arange(patch.shape[0])[:, None]).sum(0)[columns] / counts[columns]
    slope, base = _line(columns, middles)
    for _ in range(2):
        away = np.abs(middles - slope * columns - base)
        near = away <= np.median(away) + 0.1
        slope, base = _line(columns[near], middles[near])
    away = np.abs(middles - slope * columns - base)
    if (away <= _RULE_RESIDUAL_PX).mean() < _RULE_STRAIGHT_SHARE:
        return None
    rows = np.arange(patch.shape[0])[:, None] - (slope * np.arange(patch.shape[1]) + base)[None]
    return patch & (np.abs(rows) <= _RULE_THICK_PX / 2.0 + 1.0)


def _line(x: npt.NDArray[np.int64], y: Floats) -> tuple[float, float]:
    """Slope and base of the line of least squares."""
    from_middle = x - x.mean()
    slope = float(from_middle @ y) / max(float(from_middle @ from_middle), 1e-9)
    return slope, float(y.mean()) - slope * float(x.mean())
