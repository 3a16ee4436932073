"""Where on a photographed or scanned page signatures are, and each of them upright: before `tessera.imaging.signature`.

Classical and deterministic: marks that `tessera.imaging.signature_candidates` gathers are judged by a logistic
regression over 13 measures. What is told apart is handwriting and everything else; whether handwriting is a signature
or, say, a date filled in by hand is not told. Handwriting no higher than the print around it, and light ink on dark,
are not looked for. A picture of one signature is one region, all of its ink.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.reasons import Reason
from tessera.imaging.page_strokes import PageStrokes, page_strokes
from tessera.imaging.pixels import Bytes, require_bytes, require_within
from tessera.imaging.signature_candidates import Candidate, candidates, joined, whole
from tessera.imaging.signature_measures import measured

LEAST_PROBABILITY = 0.5
"""Of handwriting, from which on a region is taken for a signature."""
DOUBTFUL = 0.6
"""Words below this are tried together with their neighbours."""
SURELY_PRINT = 0.05
"""Below this a word beside handwriting is a printed name rather than the neat half of a signature."""
MOST_LOOKED_AT = 48
"""Candidates that are judged, the largest ones; all others on a page are small."""
LEAST_SIDE_PX = 64
"""Of the longer side, in the picture as sent."""
LEAST_CONTRAST = 0.12
_FEW_LETTERS = 5.0
"""Heights of what is taken for letters, up to which all marks together may be one signature."""
PAPER_AROUND = 0.12
"""Of the region's height, that is cut along on each side."""

_WEIGHTS = np.array([1.99, -1.857, -1.709, -5.788, -1.02, -6.237, 7.089, -3.661, -4.162, -12.017, 1.811, 4.389, -0.726])
"""Of `MEASURES`, where there is running text around. By `benchmarks.signature_region_weights`: logistic regression (C =
1 on standardised measures) of 1069 candidates of 200 drawn pages and of printed lines, 295 of them signatures; 10 of
those and 14 of the others are judged wrongly. A third of the pages has strokes of BHSig260 (Hindi), writers 1 to 90."""
_BIAS = -5.919
_CUT_WEIGHTS = np.array(
    [0.0, -4.426, -5.405, 9.851, -6.437, -2.833, 19.369, -4.987, -10.658, -2.257, 14.692, 10.323, 0.0]
)
"""Where there is none. Likewise, of 1611 cuts of one signature, two thirds of them of the same writers, and 451 of
print, some of them shaded, ruled or blurred; 2 and 26 are judged wrongly. Nine times as many signatures as printed
lines are expected."""
_CUT_BIAS = -37.011

Floats = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]
Judged = tuple[float, Candidate]


@dataclass(frozen=True, slots=True)
class SignatureRegion:
    """A place on a page with handwriting, or, where there is none, with print."""

    box_px: Box
    """Left, top, width and height of its ink, in pixels of the picture as sent."""
    angle_degrees: float
    """How far the page's lines fall to the right; 0 where the picture shows no printed lines that tell it."""
    probability: float
    """That this is handwriting, in [0, 1]."""
    reasons: tuple[Reason, ...]
    """Why it should not be compared; empty: nothing speaks against it."""
    centre_px: tuple[float, float]
    """x and y of the middle of the upright region, in the picture as sent."""
    size_px: tuple[float, float]
    """Width and height of the upright region, in pixels of the picture as sent."""


def find_signatures(picture: Bytes, most: int = 16) -> tuple[SignatureRegion, ...]:
    """Find the signatures on a page, a cheque or a form, or in a picture of one signature.

    Args:
        picture: uint8 (height, width[, 1 or 3]); colour is blue, green, red. Dark on light, askew by 20 degrees at
            most.
        most: 1 or more; how many regions are returned at most.

    Returns:
        Regions, those without reasons first, then by probability and size. Where marks are found but no handwriting,
        the likeliest of them alone, with PRINTED_TEXT. Empty: nothing is on the paper.

    Raises:
        InvalidInputError: it is no picture of uint8, or `most` is below 1.
    """
    require_bytes(picture)
    require_within("most", most, 1, 1 << 16)
    page = page_strokes(picture)
    judged = _with_words_joined(page, [(_sure(page, one), one) for one in candidates(page)[:MOST_LOOKED_AT]])
    written = [(sure, one) for sure, one in judged if sure >= LEAST_PROBABILITY]
    if not written:
        return _printed(page, judged, picture)
    regions = [_region(page, one, sure, picture, ()) for sure, one in written]
    return tuple(
        sorted(regions, key=lambda one: (len(one.reasons) > 0, -round(one.probability, 1), -_area(one)))[:most]
    )


def cut_region(picture: Bytes, region: SignatureRegion) -> Bytes:
    """Cut a region out, upright, with some paper around.

    Args:
        picture: as it was searched.
        region: of this picture.

    Returns:
        uint8 (height, width[, 1 or 3]); what lies beyond the picture's border repeats it.

    Raises:
        InvalidInputError: it is no picture of uint8.
    """
    require_bytes(picture)
    room = max(8.0, PAPER_AROUND * region.size_px[1])
    width, height = (max(1, round(side + 2 * room)) for side in region.size_px)
    turn = cv2.getRotationMatrix2D(region.centre_px, region.angle_degrees, 1.0)
    turn = turn + np.array([[0, 0, width / 2 - region.centre_px[0]], [0, 0, height / 2 - region.centre_px[1]]])
    how = cv2.INTER_LINEAR if region.angle_degrees else cv2.INTER_NEAREST
    cut = cv2.warpAffine(picture, turn, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8).reshape(height, width, *picture.shape[2:])


def probability(measures: Floats, *, printed: bool) -> float:
    """Of handwriting, by the logistic regression.

    Args:
        measures: (13,), of `measured`.
        printed: whether there is running text around.

    Returns:
        In [0, 1].
    """
    weights, bias = (_WEIGHTS, _BIAS) if printed else (_CUT_WEIGHTS, _CUT_BIAS)
    return float(1.0 / (1.0 + np.exp(-np.clip(weights @ measures + bias, -30.0, 30.0))))


def _sure(page: PageStrokes, candidate: Candidate) -> float:
    return probability(measured(page, candidate), printed=page.letter_px > 0)


def _with_words_joined(page: PageStrokes, judged: list[Judged]) -> list[Judged]:
    """Words that alone are doubtful become one with a neighbour where both together look more like handwriting; where
    there is no running text, what may be handwriting beside handwriting is of it."""
    left = list(judged)
    least = 0.0 if page.letter_px else SURELY_PRINT
    for doubtful in sorted(judged, key=lambda one: -one[1].box[2]):
        if not least <= doubtful[0] < DOUBTFUL or not any(one is doubtful for one in left):
            continue
        best: tuple[Judged, Judged] | None = None
        for other in left:
            both = joined(page, doubtful[1], other[1]) if other is not doubtful else None
            alone = max(doubtful[0], other[0])
            sure = (_sure(page, both) if page.letter_px else alone) if both else 0.0
            if both and sure >= max(LEAST_PROBABILITY, alone, best[0][0] if best else 0.0):
                best = (sure, both), other
        if best:
            left = [one for one in left if one is not doubtful and one is not best[1]] + [best[0]]
    return left


def _printed(page: PageStrokes, judged: list[Judged], picture: Bytes) -> tuple[SignatureRegion, ...]:
    """All marks as one region; where nothing stood out among them, they may be a signature in little letters."""
    everything = whole(page)
    if everything is None:
        return ()
    alone = everything.box[3] <= _FEW_LETTERS * page.letter_px or not page.letter_px
    sure = max([_sure(page, everything) if alone else 0.0] + [sure for sure, _ in judged])
    known = () if sure >= LEAST_PROBABILITY else (Reason.PRINTED_TEXT,)
    return (_region(page, everything, sure, picture, known),)


def _area(region: SignatureRegion) -> int:
    return region.box_px[2] * region.box_px[3]


def _region(
    page: PageStrokes, candidate: Candidate, sure: float, picture: Bytes, known: tuple[Reason, ...]
) -> SignatureRegion:
    height, width = picture.shape[:2]
    left, top, right, bottom = ink_box(page, candidate, width, height)
    scale = float(np.hypot(*page.to_picture[:, 0]))
    x, y, wide, high = candidate.box
    middle = page.to_picture @ np.array([x + wide / 2, y + high / 2, 1.0])
    levels = page.levels[y : y + high, x : x + wide][candidate.ink]
    reasons = {
        Reason.FAINT_INK: (page.paper - float(levels.mean())) / 255.0 < LEAST_CONTRAST,
        Reason.SMALL_BOUNDING_BOX: max(right - left, bottom - top) < LEAST_SIDE_PX,
        Reason.CUT_OFF: min(left, top) <= 0 or right >= width or bottom >= height,
    }
    return SignatureRegion(
        box_px=(left, top, right - left, bottom - top),
        angle_degrees=page.angle_degrees,
        probability=sure,
        reasons=known + tuple(reason for reason, outside in reasons.items() if outside),
        centre_px=(float(middle[0]), float(middle[1])),
        size_px=(wide * scale, high * scale),
    )


def ink_box(page: PageStrokes, candidate: Candidate, width: int, height: int) -> Box:
    """Where a candidate's marks are in the picture as sent.

    Args:
        page: of the candidate.
        candidate: any.
        width: of the picture.
        height: of the picture.

    Returns:
        Left, top, right and bottom in pixels; the right and the bottom are just beyond.
    """
    outlines, _ = cv2.findContours(candidate.ink.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = np.concatenate(outlines).reshape(-1, 2).astype(np.float64) + np.array(candidate.box[:2])
    corners = np.concatenate((points, points + 1.0)) @ page.to_picture[:, :2].T + page.to_picture[:, 2]
    low, high = np.floor(corners.min(0) + 0.01).astype(int), np.ceil(corners.max(0) - 0.01).astype(int)
    return max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1]))
