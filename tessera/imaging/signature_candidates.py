"""Marks of a page gathered into what may be signatures, and what each of them measures.

It stands after `tessera.imaging.page_strokes`. A signature is looked for among the marks that are clearly higher than
the letters of the running text: handwriting of the size of the print around it is not told from it. What a candidate
is, `tessera.imaging.signature_regions` decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.page_strokes import PageStrokes

MEASURES = (
    "height", "aspect", "pen", "pen_spread", "density", "outline", "directions", "upright", "marks",
    "baseline", "heights", "length", "depth",
)  # fmt: skip
"""What `measured` gives, in its order."""

_HIGHER = 2.0
"""Than the letters: ascenders and capitals have about 1.4."""
_CUT_HIGHER = 0.18
"""Of the highest mark, where there is no print."""
_MARK_REACH, _WORD_REACH, _CUT_REACH = 0.4, 1.1, 1.6
"""Gap between marks and between words of a signature, in heights of the higher one, and where there is no print."""
_WIDEST = 6.0
"""A signature of words far apart is not wider than this many of its heights; two beside each other mostly are."""
_FIELD_REACH, _FIELD_WIDEST = 2.2, 10.0
"""Between words on the same ruled line."""
_FIELD_SHARE = 0.16
"""Of the page's width, that a line to sign on has at least; head lines of words have less."""
_DRAWN_HEIGHT = 3.5
"""In letters; smaller marks are left to the measures."""
_DRAWN_OUTLINE = 0.6
_DRAWN_MARKS = 4
"""A stamp and a frame have letters inside; a round capital has next to nothing."""
_SQUARED = 0.93
_FILLED = 0.2
_FILLED_HEIGHT = 6.0
"""In letters: a scribble over and over itself is lower."""
_LETTER_GAP = 0.7
_WORD_HEIGHT = 1.9
"""Of a printed word, in letters."""
_MOST_SHARE = 0.7
"""Of a page's sides: what is larger is a frame or the desk."""
_MOST_MARKS = 400
_CUT_HEIGHTS = 5.0
"""A picture lower than this many heights of its highest marks is a cut of one signature."""

Floats = npt.NDArray[np.float64]
Members = npt.NDArray[np.int64]
Boxes = npt.NDArray[np.int64]
Stroked = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Marks that belong together."""

    members: Members
    """Indices into the page's parts."""
    box: tuple[int, int, int, int]
    """Left, top, width, height, at working size."""
    ink: Stroked
    """(height, width) of the box: the marks themselves."""


def candidates(page: PageStrokes) -> list[Candidate]:
    """Gather marks.

    Args:
        page: upright.

    Returns:
        Groups that share no mark, largest first.
    """
    boxes = page.parts.boxes.astype(np.int64)
    if not len(boxes):
        return []
    seeds = _seeds(page, boxes)
    if not seeds.any():
        return []
    drawn = _drawn(page, boxes, seeds) if page.letter_px else np.zeros(len(boxes), bool)
    seeds &= ~drawn
    if not seeds.any():
        return []
    groups = _page_groups(page, boxes, seeds, ~drawn) if page.letter_px else _cut_groups(page, boxes, seeds)
    groups = _with_small_marks(page, boxes, groups)
    found = [_candidate(page, boxes, group) for group in groups]
    return sorted(found, key=lambda one: -one.box[2] * one.box[3])


def _page_groups(page: PageStrokes, boxes: Boxes, seeds: Stroked, left: Stroked) -> list[Members]:
    """First marks join, then words; of what holds no high mark nothing is looked at."""
    marks = _highest(boxes, seeds | (_unprinted(page, boxes) & left))
    words = [marks[one] for one in _joined(boxes[marks], _MARK_REACH, page)]
    for _ in range(2):
        around = np.array([_box_around(boxes[word]) for word in words])
        words = [np.concatenate([words[one] for one in row]) for row in _joined(around, _WORD_REACH, page)]
    return [word for word in words if seeds[word].any()]


def _cut_groups(page: PageStrokes, boxes: Boxes, seeds: Stroked) -> list[Members]:
    marks = _highest(boxes, seeds)
    if min(page.mask.shape) < _CUT_HEIGHTS * boxes[marks, 3].max():
        return [marks]
    return [marks[one] for one in _joined(boxes[marks], _CUT_REACH, page)]


def whole(page: PageStrokes) -> Candidate | None:
    """All marks but specks, as one; None where there are none."""
    large = np.flatnonzero(page.parts.areas >= max(6, 0.002 * page.parts.areas.max(initial=0)))
    return _candidate(page, page.parts.boxes.astype(np.int64), large) if large.size else None


def _seeds(page: PageStrokes, boxes: Boxes) -> Stroked:
    """The marks that are higher than letters, without frames."""
    wide, high = boxes[:, 2], boxes[:, 3]
    if not page.letter_px:
        seeds: Stroked = high >= _CUT_HIGHER * high[page.parts.areas >= 12].max(initial=1)
        return seeds
    height, width = page.mask.shape
    seeds = (high >= max(_HIGHER * page.letter_px, 12.0)) & (wide < _MOST_SHARE * width) & (high < _MOST_SHARE * height)
    return seeds & (high <= 6 * wide)  # what is left of a frame is higher


def _drawn(page: PageStrokes, boxes: Boxes, seeds: Stroked) -> Stroked:
    """Stamps, frames and logos, with all that stands inside: their outline is all ink, or they are filled."""
    drawn = np.zeros(len(boxes), bool)
    x, y = boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3] / 2
    least_px = _DRAWN_HEIGHT * page.letter_px
    for at in np.flatnonzero(seeds & (boxes[:, 3] >= least_px) & (boxes[:, 2] >= least_px)):
        left, top, width, height = (int(side) for side in boxes[at])
        if drawn[at]:
            continue
        ink = np.pad((page.parts.labels[top : top + height, left : left + width] == at + 1).astype(np.uint8), 1)
        inside = (x >= left) & (x <= left + width) & (y >= top) & (y <= top + height)
        several = int((inside & (boxes[:, 3] >= 4)).sum()) > _DRAWN_MARKS
        large = min(width, height) >= _FILLED_HEIGHT * page.letter_px
        if (large and _filled(ink)) or ((several or _squared(ink)) and _outline_share(ink) >= _DRAWN_OUTLINE):
            drawn |= inside
            drawn[at] = True
    return drawn


def _squared(ink: npt.NDArray[np.uint8]) -> bool:
    """Whether its outline fills a rectangle, however that is turned."""
    hull = cv2.convexHull(cv2.findNonZero(ink))
    _, (width, height), _ = cv2.minAreaRect(hull)
    return bool(cv2.contourArea(hull) >= _SQUARED * max(width * height, 1.0))


def _filled(ink: npt.NDArray[np.uint8]) -> bool:
    """Whether somewhere it is far thicker than a pen's stroke in proportion to its size."""
    return bool(cv2.distanceTransform(ink, cv2.DIST_L2, 3).max() > _FILLED * min(ink.shape))


def _unprinted(page: PageStrokes, boxes: Boxes) -> Stroked:
    """Marks of the size of letters that stand in no printed word: a word closes up to a band as high as its letters."""
    wide, high = boxes[:, 2], boxes[:, 3]
    letters = (high >= 0.5 * page.letter_px) & (high < _HIGHER * page.letter_px) & (wide < 30 * high)
    letters &= page.parts.areas >= 6
    chosen = np.concatenate(([False], letters))
    mask = chosen[page.parts.labels].astype(np.uint8)
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((1, max(3, round(_LETTER_GAP * page.letter_px)) | 1), np.uint8))
    _, words, facts, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    at = np.flatnonzero(letters)
    rows, columns = _a_place_of(page, at, boxes)
    word = facts[words[rows, columns]]
    printed = (word[:, cv2.CC_STAT_HEIGHT] <= _WORD_HEIGHT * page.letter_px) & (
        word[:, cv2.CC_STAT_WIDTH] >= 1.5 * word[:, cv2.CC_STAT_HEIGHT]
    )
    unprinted = np.zeros(len(boxes), bool)
    unprinted[at[~printed]] = True
    return unprinted


def _a_place_of(page: PageStrokes, parts: Members, boxes: Boxes) -> tuple[Members, Members]:
    """The row and column of one pixel of each part: the first in the middle row of its box."""
    rows = boxes[parts, 1] + boxes[parts, 3] // 2
    columns = np.array(
        [
            left + int((page.parts.labels[row, left : left + width] == part + 1).argmax())
            for part, row, left, width in zip(parts, rows, boxes[parts, 0], boxes[parts, 2], strict=True)
        ],
        np.int64,
    )
    return rows, columns


def _highest(boxes: Boxes, chosen: Stroked) -> Members:
    marks = np.flatnonzero(chosen)
    return marks[np.argsort(-boxes[marks, 3], kind="stable")][:_MOST_MARKS]


def _joined(boxes: Boxes, reach: float, page: PageStrokes) -> list[Members]:
    """Groups of boxes, each near another of its group: beside it in the same field, or reaching into it from above or
    below."""
    left, top = boxes[:, 0], boxes[:, 1]
    right, bottom, high = left + boxes[:, 2], top + boxes[:, 3], boxes[:, 3]
    across = np.maximum(left[:, None] - right[None], left[None] - right[:, None])
    down = np.maximum(top[:, None] - bottom[None], top[None] - bottom[:, None])
    lower, higher = np.minimum(high[:, None], high[None]), np.maximum(high[:, None], high[None])
    field = _fields(boxes, page)
    same = (field[:, None] == field[None]) | (field[:, None] < 0) | (field[None] < 0)
    together = np.maximum(right[:, None], right[None]) - np.minimum(left[:, None], left[None])
    on_line = (field[:, None] == field[None]) & (field[:, None] >= 0)
    far = np.where(on_line, max(reach, min(_FIELD_REACH, 2 * reach)), reach)
    widest = np.where(on_line, _FIELD_WIDEST, _WIDEST)
    close = (across <= _MARK_REACH * higher) | (across <= far * higher) & (together <= widest * higher)
    beside = close & (-down >= 0.3 * lower) & same
    into = (across <= 0) & (down <= 0.15 * lower) & same
    near = beside | into
    group = np.arange(len(boxes))
    while True:
        least = np.where(near, group[None], len(boxes)).min(1)
        if (least == group).all():
            return [np.flatnonzero(group == one) for one in np.unique(group)]
        group = least


def _fields(boxes: Boxes, page: PageStrokes) -> Members:
    """The ruled line that each box stands on; -1: none. Signatures on two lines are two."""
    rules = page.lying[page.lying[:, 2] >= _FIELD_SHARE * page.mask.shape[1]].astype(np.int64)
    if not len(rules):
        return np.full(len(boxes), -1)
    middle, base = boxes[:, 0] + boxes[:, 2] // 2, boxes[:, 1] + boxes[:, 3]
    away = (rules[None, :, 1] + rules[None, :, 3] // 2) - base[:, None]
    over = (middle[:, None] >= rules[None, :, 0]) & (middle[:, None] <= rules[None, :, 0] + rules[None, :, 2])
    near = over & (away >= -0.4 * boxes[:, None, 3]) & (away <= 0.5 * boxes[:, None, 3] + 8)
    cost = np.where(near, np.abs(away), 1 << 30)
    best = cost.argmin(1)
    return np.where(cost[np.arange(len(boxes)), best] < 1 << 30, _lines(rules, page)[best], -1)


def _lines(rules: Boxes, page: PageStrokes) -> Members:
    """Pieces of one line have one number."""
    row, left, right = rules[:, 1] + rules[:, 3] // 2, rules[:, 0], rules[:, 0] + rules[:, 2]
    gap = np.maximum(left[:, None] - right[None], left[None] - right[:, None])
    near = (np.abs(row[:, None] - row[None]) <= 8) & (gap <= 0.02 * page.mask.shape[1])
    number = np.arange(len(rules))
    for _ in range(4):
        number = np.where(near, number[None], len(rules)).min(1)
    return number


def _with_small_marks(page: PageStrokes, boxes: Boxes, groups: list[Members]) -> list[Members]:
    """Dots and accents whose middle lies in a group's box are part of it; without print, those near it, too."""
    taken = np.zeros(len(boxes), bool)
    taken[np.concatenate(groups)] = True
    x, y = boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3] / 2
    grown = []
    for group in sorted(groups, key=lambda one: -int(boxes[one, 3].max())):
        left, top, right, bottom = _around(boxes[group])
        room = 0.0 if page.letter_px else 0.6 * (bottom - top)
        inside = (x >= left - room) & (x < right + room) & (y >= top - room) & (y < bottom + room) & ~taken
        inside &= (page.parts.areas >= 4) & (boxes[:, 3] <= bottom - top) & (boxes[:, 2] <= right - left)
        taken |= inside
        grown.append(np.concatenate((group, np.flatnonzero(inside))))
    return grown


def _box_around(boxes: Boxes) -> tuple[int, int, int, int]:
    left, top, right, bottom = _around(boxes)
    return left, top, right - left, bottom - top


def _around(boxes: Boxes) -> tuple[int, int, int, int]:
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _candidate(page: PageStrokes, boxes: Boxes, members: Members) -> Candidate:
    left, top, width, height = _box_around(boxes[members])
    chosen = np.zeros(len(boxes) + 1, bool)
    chosen[members + 1] = True
    ink = chosen[page.parts.labels[top : top + height, left : left + width]]
    return Candidate(members, (left, top, width, height), ink)


def measured(page: PageStrokes, candidate: Candidate) -> Floats:
    """What tells handwriting from print, stamps and logos.

    Args:
        page: of the candidate.
        candidate: any.

    Returns:
        float64 (13,), in the order of `MEASURES`, each about 0 to 1 or a logarithm.
    """
    left, top, width, height = candidate.box
    ink = np.pad(candidate.ink.astype(np.uint8), 1)
    area = int(ink.sum())
    distance = cv2.distanceTransform(ink, cv2.DIST_L2, 3)[ink > 0]
    pen = max(1.0, 4.0 * float(distance.mean()) - 1.0)
    levels = page.levels[top : top + height, left : left + width]
    bottoms, heights, count = _letters_of(page, candidate)
    return np.array(
        [
            np.log(height / page.letter_px) if page.letter_px else 1.5,
            np.log(width / height),
            np.log(pen / height),
            float(distance.std() / distance.mean()),
            np.log(area / (width * height)),
            _outline_share(ink),
            *_directions(levels, candidate.ink),
            np.log((count + 1) * height / width),
            bottoms,
            heights,
            np.log(area / pen / (width + height)),
            float(page.paper - levels[candidate.ink].mean()) / max(page.depth, 1.0),
        ]
    )


def _letters_of(page: PageStrokes, candidate: Candidate) -> tuple[float, float, int]:
    """How far the bases of larger marks are from one line, how unlike their heights are, and how many there are."""
    boxes = page.parts.boxes[candidate.members].astype(np.float64)
    height = float(boxes[:, 3].max())
    large = boxes[boxes[:, 3] >= 0.4 * height]
    if len(large) < 3:
        return 0.25, 0.35, len(large)
    bases, middles = large[:, 1] + large[:, 3], large[:, 0] + large[:, 2] / 2
    slope = np.polyfit(middles, bases, 1) if len(large) > 3 else np.array([0.0, float(np.median(bases))])
    away = np.abs(bases - np.polyval(slope, middles))
    away = np.abs(away - np.median(away)) if len(large) > 3 else away
    return float(np.clip(np.mean(away) / height, 0, 0.5)), float(large[:, 3].std() / height), len(large)


def _outline_share(ink: npt.NDArray[np.uint8]) -> float:
    """How much of the convex outline runs along ink: all of it round a ring or a frame, little round a signature."""
    points = cv2.findNonZero(ink)
    hull = cv2.convexHull(points)
    band = np.zeros_like(ink)
    cv2.polylines(band, [hull], True, 1, 1)
    near = cv2.dilate(ink, np.ones((5, 5), np.uint8))
    return float(near[band > 0].mean())


def _directions(levels: npt.NDArray[np.uint8], ink: Stroked) -> tuple[float, float]:
    """How evenly the strokes' edges point into all directions, and how many of them stand or lie straight."""
    smooth = cv2.GaussianBlur(levels, (3, 3), 0)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    near = cv2.dilate(ink.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    gx, gy = gx[near], gy[near]
    strength = np.hypot(gx, gy)
    bins = ((np.arctan2(gy, gx) / np.pi * 16 + 0.5) % 16).astype(np.int64)
    shares = np.bincount(bins, weights=strength, minlength=16)[:16] / max(float(strength.sum()), 1e-6)
    entropy = -float((shares * np.log(shares + 1e-9)).sum()) / np.log(16)
    return entropy, float(shares[0] + shares[8])
