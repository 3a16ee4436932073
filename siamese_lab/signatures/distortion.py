"""What training does to signatures: pens, papers and scanners vary, and pseudo-writers are made of writers.

Two kinds of change are kept apart. A `Disguise` is one for all signatures of a writer, genuine and forged alike, within
a batch: mirrored, slanted, stretched or cut, they are the signatures of somebody else, and 90 writers become many. All
other changes are drawn for each signature anew: they are what must not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from siamese_lab.signatures.canvases import ENLARGED
from tessera.imaging.signature import CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX, MARGIN_PX

Large = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
_Matrix = npt.NDArray[np.float64]

_GRID_X, _GRID_Y = np.meshgrid(
    np.arange(CANVAS_WIDTH_PX, dtype=np.float32) + 0.5, np.arange(CANVAS_HEIGHT_PX, dtype=np.float32) + 0.5
)


@dataclass(frozen=True, slots=True)
class Disguise:
    """What makes another writer of a writer."""

    mirrored: bool = False
    upside_down: bool = False
    shear: float = 0.0
    """How far right per pixel up."""
    stretch: float = 1.0
    """Of the width against the height."""
    window: tuple[float, float] = (0.0, 1.0)
    """The share of the width that is kept, from and to."""

    @property
    def variant(self) -> int:
        """0 to 3: which of the four mirror images it is."""
        return self.mirrored + 2 * self.upside_down


@dataclass(frozen=True, slots=True)
class Disguises:
    """How far disguises go."""

    shear: float = 0.15
    """Standard deviation."""
    stretch: float = 0.12
    """Standard deviation of its logarithm."""
    windowed: float = 0.25
    """Share of disguises that keep a part of the width only."""


@dataclass(frozen=True, slots=True)
class Distortion:
    """How strongly single signatures are changed; 0 is not at all."""

    rotation_degrees: float = 3.0
    scale: float = 0.05
    shift_px: float = 3.0
    shear: float = 0.04
    stretch: float = 0.04
    bending_px: float = 1.0
    """Of the canvas: standard deviation of smooth displacements."""
    pen: float = 1.0
    """Stroke widths from half to double at 1."""
    noise: float = 0.12
    """Of the edges before they are made sharp again."""
    marks: float = 0.15
    """Chance of remains of a ruled line, and of a gap where one was taken off."""


NO_DISTORTION = Distortion(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def draw_disguise(rng: np.random.Generator, how: Disguises) -> Disguise:
    """A disguise for a writer in a batch."""
    window = (0.0, 1.0)
    if rng.random() < how.windowed:
        width = rng.uniform(0.5, 0.85)
        start = rng.uniform(0.0, 1.0 - width)
        window = (start, start + width)
    return Disguise(
        mirrored=bool(rng.random() < 0.5),
        upside_down=bool(rng.random() < 0.5),
        shear=float(rng.normal(0.0, how.shear)),
        stretch=float(np.exp(rng.normal(0.0, how.stretch))),
        window=window,
    )


def distort(large: Large, disguise: Disguise, how: Distortion, rng: np.random.Generator) -> Floats:
    """One signature as an augmented canvas.

    Args:
        large: uint8 (160, 512), 255 = ink.
        disguise: of its writer.
        how: how strongly.
        rng: draws.

    Returns:
        float32 (80, 256), 0 to 1.
    """
    cut = _windowed(large, disguise.window)
    points = _outline(cut)
    if points is None:
        return np.zeros((CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX), np.float32)
    shaped = _shape(disguise, how, rng)
    back = cv2.invertAffineTransform(_fitted(shaped, points @ shaped.T, how, rng)).astype(np.float32)
    x, y = _GRID_X, _GRID_Y
    if how.bending_px:
        x, y = x + _bend(how.bending_px, rng), y + _bend(how.bending_px, rng)
    across = back[0, 0] * x + back[0, 1] * y + (back[0, 2] - 0.5)
    down = back[1, 0] * x + back[1, 1] * y + (back[1, 2] - 0.5)
    seen = cv2.remap(cut, across, down, cv2.INTER_LINEAR)
    return _repenned(_marked(seen.astype(np.float32) / 255.0, how, rng), how, rng)


def join(left: Large, right: Large, gap_px: int) -> Large:
    """Two signatures beside each other, as one of a writer with two names.

    Args:
        left: uint8 (160, 512).
        right: likewise.
        gap_px: between them.
    """
    cuts = [picture[:, slice(*_columns(picture))] for picture in (left, right)]
    joined = np.hstack((cuts[0], np.zeros((left.shape[0], gap_px), np.uint8), cuts[1]))
    factor = min(1.0, left.shape[1] / joined.shape[1])
    small = cv2.resize(joined, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas = np.zeros_like(left)
    top, start = (canvas.shape[0] - small.shape[0]) // 2, (canvas.shape[1] - small.shape[1]) // 2
    canvas[top : top + small.shape[0], start : start + small.shape[1]] = small
    return canvas


def _columns(picture: Large) -> tuple[int, int]:
    inked = np.flatnonzero(picture.max(0))
    return (int(inked[0]), int(inked[-1]) + 1) if inked.size else (0, picture.shape[1])


def _windowed(large: Large, window: tuple[float, float]) -> Large:
    if window == (0.0, 1.0):
        return large
    start, end = _columns(large)
    cut = np.zeros_like(large)
    chosen = slice(start + int(window[0] * (end - start)), start + int(window[1] * (end - start)))
    cut[:, chosen] = large[:, chosen]
    return cut


def _outline(cut: Large) -> npt.NDArray[np.float64] | None:
    """(n, 2): corners of the pixels on the convex hull of the ink."""
    small = cut[::2, ::2]
    if not small.any():
        return None
    hull = cv2.convexHull(cv2.findNonZero(small)).reshape(-1, 2).astype(np.float64) * 2.0
    return np.concatenate([hull + corner for corner in ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0), (2.0, 2.0))])


def _shape(disguise: Disguise, how: Distortion, rng: np.random.Generator) -> _Matrix:
    """(2, 2): the disguise, then the signature's own rotation, slant and stretch."""
    angle = np.deg2rad(rng.normal(0.0, 0.5) * how.rotation_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = disguise.shear + rng.normal(0.0, 1.0) * how.shear
    stretch = disguise.stretch * np.exp(rng.normal(0.0, 1.0) * how.stretch)
    lean = np.array([[stretch, -shear], [0.0, 1.0]])
    mirror = np.diag([-1.0 if disguise.mirrored else 1.0, -1.0 if disguise.upside_down else 1.0])
    matrix: _Matrix = turn @ lean @ mirror
    return matrix


def _fitted(shaped: _Matrix, outline: npt.NDArray[np.float64], how: Distortion, rng: np.random.Generator) -> _Matrix:
    """(2, 3): so that the strokes fill the canvas, as serving lays them, give or take."""
    low, high = outline.min(0), outline.max(0)
    room = np.array([CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX]) - 2.0 * MARGIN_PX
    scale = float((room / np.maximum(high - low, ENLARGED)).min()) * float(np.exp(rng.normal(-0.3, 1.0) * how.scale))
    shift = rng.normal(0.0, 0.5, 2) * how.shift_px
    middle = np.array([CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX]) / 2.0 + shift
    return np.hstack((shaped * scale, (middle - scale * (low + high) / 2.0)[:, None]))


def _bend(deviation_px: float, rng: np.random.Generator) -> Floats:
    coarse = rng.normal(0.0, deviation_px, (4, 12)).astype(np.float32)
    return cv2.resize(coarse, (CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _marked(seen: Floats, how: Distortion, rng: np.random.Generator) -> Floats:
    for value in (0.0, 1.0):
        if rng.random() < how.marks:
            row, start = int(rng.integers(4, CANVAS_HEIGHT_PX - 4)), int(rng.integers(0, CANVAS_WIDTH_PX))
            length = CANVAS_WIDTH_PX if value == 0.0 else int(rng.integers(6, 60))
            seen[row : row + 1, start - start * (value == 0.0) : start + length] = value
    return seen


def _repenned(seen: Floats, how: Distortion, rng: np.random.Generator) -> Floats:
    """Another pen, another scanner: blurred, and made sharp again at another level."""
    if not how.pen:
        return seen
    blurred = np.asarray(cv2.GaussianBlur(seen, (0, 0), float(rng.uniform(0.5, 0.5 + 0.7 * how.pen))), np.float32)
    if how.noise:
        grain = rng.standard_normal((CANVAS_HEIGHT_PX // 2, CANVAS_WIDTH_PX // 2), dtype=np.float32)
        size = (CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX)
        grain = np.asarray(cv2.resize(grain, size, interpolation=cv2.INTER_LINEAR), np.float32)
        blurred = blurred + grain * np.float32(how.noise * rng.random()) * (blurred > 0.05)
    level = rng.uniform(0.5 - 0.3 * how.pen, 0.5)
    steepness = rng.uniform(0.5 / level, 5.0)  # no flatter, or the paper would turn gray
    sharp = (blurred - np.float32(level)) * np.float32(steepness) + np.float32(0.5)
    return np.asarray(np.clip(sharp, 0.0, 1.0), np.float32)
