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

from tessera.imaging.page_drawings import drawn_marks
from tessera.imaging.page_strokes import PageStrokes
from tessera.imaging.pixels import connected

_HIGHER = 2.0
"""Than the letters: ascenders and capitals have about 1.4."""
_CUT_HIGHER = 0.18
"""Of the highest mark, where there is no print."""
_MARK_REACH, _WORD_REACHES, _CUT_REACH = 0.4, (0.7, 1.1, 1.1), 1.6
"""Gap between marks and between words of a signature, in heights of the higher one, and where there is no print."""
_WIDEST = 6.0
"""A signature of words far apart is not wider than this many of its heights; two beside each other mostly are."""
_RULE_GAP, _CAPTION_GAP = 0.4, 0.8
"""In heights: nearer lines are pieces of one line, and nearer captions are words of one."""
_CAPTION_GAP_LETTERS = 6.0
"""A frame that runs through a caption breaks it up."""
_FIELD_REACH, _FIELD_WIDEST = 2.2, 10.0
"""Between words on the same ruled line."""
_DOUBTFUL_REACH = 1.4
"""Between words that alone are doubtful, where there is print and no line tells that they stand in one field."""
_FIELD_SHARE = 0.2
"""Of the page's width, that a line to sign on has at least; head lines of words have less."""
_LETTER_GAP, _LEAST_LETTER = 0.7, 0.4
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
    drawn = drawn_marks(page, boxes, seeds) if page.letter_px else np.zeros(len(boxes), bool)
    seeds &= ~drawn
    if not seeds.any():
        return []
    groups = _page_groups(page, boxes, seeds, ~drawn) if page.letter_px else _cut_groups(page, boxes, seeds)
    groups = [group for group in groups if group.size]
    if not groups:
        return []
    found = [_candidate(page, boxes, group) for group in _with_small_marks(page, boxes, groups)]
    return sorted(found, key=lambda one: -one.box[2] * one.box[3])


def _unspecked(page: PageStrokes) -> Members:
    if not page.parts.areas.size:
        return np.zeros(0, np.int64)
    return np.flatnonzero(page.parts.areas >= max(6, 0.002 * page.parts.areas.max()))


def _page_groups(page: PageStrokes, boxes: Boxes, seeds: Stroked, left: Stroked) -> list[Members]:
    """First marks join, then words; of what holds no high mark nothing is looked at."""
    unprinted, printed_words = _told_apart(page, boxes)
    marks = _highest(boxes, seeds | (unprinted & left))
    captions = _captions(printed_words, boxes[seeds & left], page.letter_px)
    words = [marks[one] for one in _joined(boxes[marks], _MARK_REACH, page, captions)]
    for reach in _WORD_REACHES:
        around = np.array([_box_around(boxes[word]) for word in words])
        words = [np.concatenate([words[one] for one in row]) for row in _joined(around, reach, page, captions)]
    return [word for word in words if seeds[word].any()]


def _cut_groups(page: PageStrokes, boxes: Boxes, seeds: Stroked) -> list[Members]:
    marks = _highest(boxes, seeds)
    if min(page.mask.shape) < _CUT_HEIGHTS * boxes[marks, 3].max():
        return [_unspecked(page)]
    return [marks[one] for one in _joined(boxes[marks], _CUT_REACH, page, boxes[:0])]


def joined(page: PageStrokes, one: Candidate, other: Candidate) -> Candidate | None:
    """Two candidates as one, where they stand beside each other as words of one signature may.

    Args:
        page: of both.
        one: any.
        other: any but that.

    Returns:
        None: they are too far apart, on different lines, or over different captions.
    """
    boxes = np.array([one.box, other.box], np.int64)
    left, top, right, bottom = _around(boxes)
    high, low = int(boxes[:, 3].max()), int(boxes[:, 3].min())
    gap, overlap = (right - left) - int(boxes[:, 2].sum()), int(boxes[:, 3].sum()) - (bottom - top)
    rules = _field_rules(page)
    rule = _standing_on(boxes, rules)
    reach = _FIELD_REACH if (rule >= 0).all() or not page.letter_px else _DOUBTFUL_REACH
    widest = _FIELD_WIDEST * high if page.letter_px else np.inf
    if gap > reach * high or right - left > widest or overlap < 0.5 * low:
        return None
    if _apart(rule, rules, np.full((2, 2), _RULE_GAP * high)).any():
        return None
    return _candidate(page, page.parts.boxes.astype(np.int64), np.concatenate((one.members, other.members)))


def whole(page: PageStrokes) -> Candidate | None:
    """All marks but specks, as one; None where there are none."""
    large = _unspecked(page)
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


def _told_apart(page: PageStrokes, boxes: Boxes) -> tuple[Stroked, Boxes]:
    """Marks of the size of letters that stand in no printed word, and the words: one closes up to a band as high as
    its letters."""
    wide, high = boxes[:, 2], boxes[:, 3]
    letters = (high >= _LEAST_LETTER * page.letter_px) & (high < _HIGHER * page.letter_px) & (wide < 30 * high)
    letters &= page.parts.areas >= 6
    chosen = np.concatenate(([False], letters))
    mask = np.take(chosen.astype(np.uint8), page.parts.labels, mode="clip")
    closed = cv2.morphologyEx(
        mask, cv2.MORPH_CLOSE, np.ones((1, max(3, round(_LETTER_GAP * page.letter_px)) | 1), np.uint8)
    )
    words, facts = connected(np.asarray(closed, np.uint8))
    at = np.flatnonzero(letters)
    rows, columns = _a_place_of(page, at, boxes)
    word = facts[words[rows, columns]]
    printed = (word[:, cv2.CC_STAT_HEIGHT] <= _WORD_HEIGHT * page.letter_px) & (
        word[:, cv2.CC_STAT_WIDTH] >= 1.5 * word[:, cv2.CC_STAT_HEIGHT]
    )
    unprinted = np.zeros(len(boxes), bool)
    unprinted[at[~printed]] = True
    words_boxes = facts[np.unique(words[rows[printed], columns[printed]]), :4]
    return unprinted, words_boxes.astype(np.int64)


def _captions(words: Boxes, seeds: Boxes, letter_px: float) -> Boxes:
    """The printed lines just below high marks."""
    base, high = (seeds[:, 1] + seeds[:, 3])[:, None], seeds[:, 3][:, None]
    down = words[None, :, 1] - base
    below = (down >= -0.4 * high) & (down <= 0.8 * high)
    below &= (words[None, :, 0] < (seeds[:, 0] + seeds[:, 2])[:, None]) & (
        (words[:, 0] + words[:, 2])[None] > seeds[:, :1]
    )
    lines: list[list[int]] = []
    for left, top, width, height in sorted(words[below.any(0)].tolist()):
        for line in lines:
            if left - line[0] - line[2] <= 2.0 * letter_px and abs(top + height - line[1] - line[3]) <= letter_px:
                line[2] = max(line[2], left + width - line[0])
                break
        else:
            lines.append([left, top, width, height])
    return np.array(lines, np.int64).reshape(-1, 4)


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


def _joined(boxes: Boxes, reach: float, page: PageStrokes, captions: Boxes) -> list[Members]:
    """Groups of boxes, each near another of its group: beside it in the same field, or reaching into it from above or
    below."""
    left, top = boxes[:, 0], boxes[:, 1]
    right, bottom, high = left + boxes[:, 2], top + boxes[:, 3], boxes[:, 3]
    across = np.maximum(left[:, None] - right[None], left[None] - right[:, None])
    down = np.maximum(top[:, None] - bottom[None], top[None] - bottom[:, None])
    lower, higher = np.minimum(high[:, None], high[None]), np.maximum(high[:, None], high[None])
    rules = _field_rules(page)
    rule, caption = _standing_on(boxes, rules), _standing_on(boxes, captions)
    between_captions = np.maximum(_CAPTION_GAP * higher, _CAPTION_GAP_LETTERS * page.letter_px)
    same = ~_apart(rule, rules, _RULE_GAP * higher) & ~_apart(caption, captions, between_captions)
    together = np.maximum(right[:, None], right[None]) - np.minimum(left[:, None], left[None])
    on_line = (rule[:, None] >= 0) & (rule[None] >= 0) & same
    far = np.where(on_line, max(min(_FIELD_REACH, 2 * reach), 1.5 * reach), reach)
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


def _field_rules(page: PageStrokes) -> Boxes:
    long: Stroked = page.lying[:, 2] >= _FIELD_SHARE * page.mask.shape[1]
    rules: Boxes = page.lying[long].astype(np.int64)
    return rules


def _apart(place: Members, lines: Boxes, gaps: Floats) -> Stroked:
    """Which boxes stand on lines that lie farther apart than a gap; pieces of one line do not."""
    if not len(lines):
        return np.zeros((len(place), len(place)), bool)
    left, right, row = lines[:, 0], lines[:, 0] + lines[:, 2], lines[:, 1] + lines[:, 3] // 2
    across = np.maximum(left[:, None] - right[None], left[None] - right[:, None])
    between = np.maximum(across, np.abs(row[:, None] - row[None]))[np.ix_(place, place)]
    apart: Stroked = (between > gaps) & (place[:, None] >= 0) & (place[None] >= 0)
    return apart


def _standing_on(boxes: Boxes, lines: Boxes) -> Members:
    """The nearest line under each box, or a little above its base; -1: none."""
    if not len(lines):
        return np.full(len(boxes), -1)
    left, right, base = boxes[:, 0], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    away = (lines[None, :, 1] + lines[None, :, 3] // 2) - base[:, None]
    over = (right[:, None] >= lines[None, :, 0]) & (left[:, None] <= lines[None, :, 0] + lines[None, :, 2])
    near = over & (away >= -0.4 * boxes[:, None, 3]) & (away <= 0.5 * boxes[:, None, 3] + 16)
    cost = np.where(near, np.abs(away), 1 << 30)
    best = cost.argmin(1)
    return np.where(cost[np.arange(len(boxes)), best] < 1 << 30, best, -1)


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
