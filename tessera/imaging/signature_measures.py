"""What a group of marks measures: the numbers by which handwriting is told from print, stamps and logos.

It stands between `tessera.imaging.signature_candidates`, which gathers marks, and `tessera.imaging.signature_regions`,
which weighs the measures. Whoever changes a measure learns the weights anew.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.page_drawings import outline_share
from tessera.imaging.page_strokes import PageStrokes
from tessera.imaging.signature_candidates import Candidate, Stroked

MEASURES = (
    "height", "aspect", "pen", "pen_spread", "density", "outline", "directions", "upright", "marks",
    "baseline", "heights", "length", "depth",
)  # fmt: skip
"""What `measured` gives, in its order."""


Floats = npt.NDArray[np.float64]


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
            outline_share(ink),
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
