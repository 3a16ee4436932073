"""Whether a scene that is no longer met where it was is met elsewhere: the camera was pushed or turned.

First a shift alone, by phase correlation, which is quick; then rotation and scale, by the features and the alignment of
`tessera.imaging.registration`. An alignment counts only when the patterns of most tiles meet under it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from camera_ingest.looking.bands import Bands, Plane, tile_means
from camera_ingest.looking.reference import LEAST_TEXTURE, TILE_PX, Reference
from camera_ingest.looking.small import Grey

_LEAST_TILES = 8
_MATCHED = 0.5
_NOISE = 1e-4
_SCALE_LEVELS = 160.0


@dataclass(frozen=True, slots=True)
class Move:
    """Where the scene is now."""

    across: float
    """In widths of the picture; positive: to the right."""
    down: float
    """In heights."""
    degrees: float
    met: float
    """Of the textured tiles that both show, the share that is met."""


def shifted(reference: Reference, look: Bands) -> Move | None:
    """The shift under which a look meets the reference best; None where there is nothing to go by."""
    known = reference.dependable
    height_px, width_px = reference.shape
    window = cv2.createHanningWindow((width_px, height_px), cv2.CV_32F)
    (x_px, y_px), _ = cv2.phaseCorrelate(_equal(known), _equal(look.middle), window)
    x, y = round(x_px), round(y_px)
    if abs(x) > width_px // 2 or abs(y) > height_px // 2:
        return None
    usual, seen = _overlap(known, -x, -y), _overlap(look.middle, x, y)
    met = _met(usual, seen)
    return None if met is None else Move(x_px / width_px, y_px / height_px, 0.0, met)


def turned(reference: Reference, look: Bands) -> Move | None:
    """The rotation, scale and shift under which a look meets the reference best; None: none is found."""
    known = reference.dependable
    one, other = (_levels(middle) for middle in (known, look.middle))
    finder = cv2.ORB.create(nfeatures=500, fastThreshold=8, edgeThreshold=15, patchSize=21)
    points, descriptors = finder.detectAndCompute(one, None)
    others, described = finder.detectAndCompute(other, None)
    if min(len(points), len(others)) < _LEAST_TILES:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(descriptors, described)
    here = np.array([points[pair.queryIdx].pt for pair in pairs]).reshape(-1, 2)
    there = np.array([others[pair.trainIdx].pt for pair in pairs]).reshape(-1, 2)
    if len(here) < _LEAST_TILES:
        return None
    cv2.setRNGSeed(1)  # the same looks give the same answer
    matrix, _ = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=2.5)
    if np.shape(matrix) != (2, 3):
        return None
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not 0.5 <= scale <= 2.0:
        return None
    height_px, width_px = reference.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(look.middle, matrix, (width_px, height_px), flags=flags, borderValue=np.nan)
    covered = ~np.isnan(back)
    usual = np.where(covered, known, 0.0).astype(np.float32)
    met = _met(usual, np.nan_to_num(back).astype(np.float32))
    if met is None:
        return None
    centre = np.array([width_px / 2, height_px / 2])
    moved = matrix[:, :2] @ centre + matrix[:, 2] - centre
    degrees = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    return Move(float(moved[0]) / width_px, float(moved[1]) / height_px, degrees, met)


def _met(usual: Plane, seen: Plane) -> float | None:
    energy, other = tile_means(usual * usual, TILE_PX), tile_means(seen * seen, TILE_PX)
    textured = energy > LEAST_TEXTURE
    if int(textured.sum()) < _LEAST_TILES:
        return None
    likeness = tile_means(usual * seen, TILE_PX) / np.sqrt((energy + _NOISE) * (other + _NOISE))
    return float((likeness[textured] > _MATCHED).mean())


def _overlap(plane: Plane, x: int, y: int) -> Plane:
    """What is left of a plane when it is moved back by (x, y)."""
    height_px, width_px = plane.shape
    left: Plane = np.ascontiguousarray(plane[max(0, y) : height_px + min(0, y), max(0, x) : width_px + min(0, x)])
    return left


def _equal(middle: Plane) -> Plane:
    """Weak patterns beside strong ones: a single lamp is not the whole scene."""
    return np.asarray(np.tanh(middle * np.float32(8.0)), dtype=np.float32)


def _levels(middle: Plane) -> Grey:
    return np.asarray(np.clip(128.0 + _SCALE_LEVELS * np.tanh(4.0 * middle), 0, 255), dtype=np.uint8)
