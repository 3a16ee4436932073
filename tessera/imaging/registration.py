"""Lay a picture over a reference of the same scene: by phase correlation, by ECC, or by matched features.

Before two pictures are compared for change. However it was found, an alignment is judged in one way, on the pictures
themselves: the share of the reference's textured tiles whose pattern is met again. A person who walks by or an object
that was left spoils a few tiles and no more; a wrong alignment spoils them all. Refuses where there is too little
texture to tell, where too little is left in common, and where the patterns do not meet: whoever goes on all the same
would see change everywhere.

Sources: Kuglin and Hines (1975), phase correlation; Evangelidis and Psarakis, "Parametric image alignment using
enhanced correlation coefficient maximization", PAMI 30 (2008), which gain and offset of light do not move; Rublee et
al., "ORB: an efficient alternative to SIFT or SURF", ICCV 2011; Fischler and Bolles, CACM 24 (1981), RANSAC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError
from tessera.imaging.decode import Image

Luminance = npt.NDArray[np.float32]
"""float32 of shape (height, width), 0 to 255."""
Matrix = npt.NDArray[np.float64]
"""Shape (3, 3): from a pixel (x, y, 1) of the reference to that of the picture, the last row scaled to end in 1."""

TILE_PX = 16
LEAST_TILES = 12
"""Textured tiles of the reference that the picture covers; fewer could agree by luck."""
LEAST_QUALITY = 0.5
LEAST_OVERLAP = 0.5
"""Of the reference's area."""
_WORK_SIDE_PX = 640
_TEXTURED_DEVIATION = 6.0
_ALIKE = 0.6
_FLAT_VARIANCE = 4.0
_ECC_STEPS = 60
_ECC_LEAST_GAIN = 1e-4
_FEATURES = 1200
_LEAST_MATCHES = 12
_RATIO = 0.8
_RANSAC_PX = 3.0
_LEAST_AREA, _MOST_AREA = 0.25, 4.0


class Method(StrEnum):
    """How an alignment is looked for."""

    PHASE = "PHASE"
    """A shift alone, to a fraction of a pixel; the quickest, and blind to rotation."""
    ECC = "ECC"
    """Shift and rotation, from the shift that PHASE finds; exact near it."""
    FEATURES = "FEATURES"
    """A homography, from matched ORB features and refined by ECC: for a camera that was turned far."""


class Refusal(StrEnum):
    """Why an alignment is not to be used."""

    TOO_LITTLE_TEXTURE = "TOO_LITTLE_TEXTURE"
    NOT_FOUND = "NOT_FOUND"
    """The method came to nothing: too few features that match, or no convergence."""
    TOO_FAR = "TOO_FAR"
    """Too little of the reference is in the picture, or it would have to be stretched beyond sense."""
    POOR_FIT = "POOR_FIT"
    """The patterns of most tiles do not meet: another scene, a covered or a defocused camera."""


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """Where the reference's pixels are in a picture, and whether that can be believed."""

    method: Method
    matrix: Matrix
    """The identity where nothing was found."""
    quality: float
    """Share of the reference's textured tiles in the overlap whose pattern the picture repeats, in [0, 1]."""
    overlap: float
    """Share of the reference's area that the picture covers, in [0, 1]."""
    refusal: Refusal | None
    """None: it may be used."""

    def farthest_px(self, height_px: int, width_px: int) -> float:
        """The longest way that a corner of the reference moves."""
        corners = _corners(height_px, width_px)
        return float(np.linalg.norm(_moved(self.matrix, corners) - corners, axis=1).max())


def register(reference: Image, picture: Image, method: Method | None = None) -> Registration:
    """Find where the reference lies in a picture of the same scene.

    Args:
        reference: uint8 (h, w) or (h, w, 3).
        picture: of the same size.
        method: None: ECC, and features where ECC is refused or fits poorly; the better of the two, and the identity
            where neither betters it.

    Returns:
        The alignment, with a refusal where it cannot be trusted.

    Raises:
        InvalidInputError: sizes differ, or a side is below two tiles.
    """
    first, second, scale = _prepared(reference, picture)
    if textured_tiles(first).sum() < LEAST_TILES:
        return _refused(method or Method.ECC, Refusal.TOO_LITTLE_TEXTURE)
    if method is not None:
        return _in_full(_judged(first, second, method, _FINDERS[method](first, second)), scale)
    still = _judged(first, second, Method.PHASE, np.eye(3))
    best = _better(still, _judged(first, second, Method.ECC, _by_ecc(first, second)))
    if best.refusal is not None or best.quality < (1.0 + LEAST_QUALITY) / 2.0:
        best = _better(best, _judged(first, second, Method.FEATURES, _by_features(first, second)))
    return _in_full(best, scale)


def warped(picture: Image, registration: Registration) -> tuple[Image, npt.NDArray[np.bool_]]:
    """A picture brought onto its reference.

    Args:
        picture: as it was registered.
        registration: not refused.

    Returns:
        The picture in the reference's place, and (h, w) where it has any pixels.

    Raises:
        InvalidInputError: the registration was refused.
    """
    if registration.refusal is not None:
        raise InvalidInputError("registration", registration.refusal, "one that was not refused")
    height_px, width_px = picture.shape[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(
        picture, registration.matrix, (width_px, height_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return moved.astype(np.uint8, copy=False), _covered(registration.matrix, height_px, width_px)


def luminance(picture: Image) -> Luminance:
    """float32 luminance of a grey or a blue, green, red picture."""
    if picture.dtype != np.uint8 or picture.ndim not in {2, 3} or (picture.ndim == 3 and picture.shape[2] != 3):
        raise InvalidInputError("picture", f"{picture.dtype} {picture.shape}", "uint8 of (h, w) or (h, w, 3)")
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return grey.astype(np.float32)


def textured_tiles(values: Luminance) -> npt.NDArray[np.bool_]:
    """Which tiles have enough of a pattern to be met again: shape (h // 16, w // 16)."""
    deviation: npt.NDArray[np.bool_] = _tiled(_smoothed(values)).std(axis=2) > _TEXTURED_DEVIATION
    return deviation


# ---- looking for it


def _by_phase(first: Luminance, second: Luminance) -> Matrix:
    height_px, width_px = first.shape
    window = cv2.createHanningWindow((width_px, height_px), cv2.CV_32F)
    # Of the detail alone: a lamp that lights half the scene is no movement.
    (x_px, y_px), _ = cv2.phaseCorrelate(_detail(first), _detail(second), window)
    matrix: Matrix = np.eye(3)
    matrix[:2, 2] = x_px, y_px
    return matrix


def _by_ecc(first: Luminance, second: Luminance) -> Matrix | None:
    start = _by_phase(first, second)
    found = _ecc(first, second, start, cv2.MOTION_EUCLIDEAN)
    return start if found is None else found


def _ecc(first: Luminance, second: Luminance, start: Matrix, motion: int) -> Matrix | None:
    rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ECC_STEPS, _ECC_LEAST_GAIN)
    everywhere = np.full(first.shape, 255, np.uint8)
    try:
        _, found = cv2.findTransformECC(
            _detail(first), _detail(second), start[:rows].astype(np.float32), motion, criteria, everywhere, 3
        )
    except cv2.error:  # it did not converge, or the two have nothing in common
        return None
    matrix: Matrix = np.eye(3)
    matrix[:rows] = found
    matrix /= matrix[2, 2]
    return matrix


def _by_features(first: Luminance, second: Luminance) -> Matrix | None:
    here, there = _matched(first, second)
    if len(here) < _LEAST_MATCHES:
        return None
    cv2.setRNGSeed(1)  # the same pictures give the same alignment
    found, inliers = cv2.findHomography(here, there, cv2.RANSAC, _RANSAC_PX)
    if np.shape(found) != (3, 3) or int(np.sum(inliers)) < _LEAST_MATCHES:
        return None
    start: Matrix = np.asarray(found / found[2, 2], dtype=np.float64)
    # Corners are found to a pixel or so; between them, and at the rim, the whole picture knows better.
    refined = _ecc(first, second, start, cv2.MOTION_HOMOGRAPHY)
    return start if refined is None else refined


def _matched(first: Luminance, second: Luminance) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The places of features that are each other's only likeness: (n, 2) in both pictures."""
    finder = cv2.ORB.create(nfeatures=_FEATURES, fastThreshold=10)
    points, descriptors = finder.detectAndCompute(_levels(first), None)
    others, described = finder.detectAndCompute(_levels(second), None)
    if min(len(points), len(others)) < 2:
        return np.empty((0, 2)), np.empty((0, 2))
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(descriptors, described, k=2)
    kept = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < _RATIO * pair[1].distance]
    here = np.array([points[match.queryIdx].pt for match in kept]).reshape(-1, 2)
    there = np.array([others[match.trainIdx].pt for match in kept]).reshape(-1, 2)
    return here, there


_FINDERS: Mapping[Method, Callable[[Luminance, Luminance], Matrix | None]] = {
    Method.PHASE: _by_phase,
    Method.ECC: _by_ecc,
    Method.FEATURES: _by_features,
}


# ---- judging it


def _judged(first: Luminance, second: Luminance, method: Method, matrix: Matrix | None) -> Registration:
    if matrix is None:
        return _refused(method, Refusal.NOT_FOUND)
    height_px, width_px = first.shape
    covered = _covered(matrix, height_px, width_px)
    overlap = float(covered.mean())
    found = Registration(method, matrix, 0.0, overlap, None)
    if overlap < LEAST_OVERLAP or not _sensible(matrix, height_px, width_px):
        return replace(found, refusal=Refusal.TOO_FAR)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(second, matrix, (width_px, height_px), flags=flags).astype(np.float32, copy=False)
    whole = textured_tiles(first) & (_tiled(covered.astype(np.float32)).min(axis=2) > 0.5)
    if int(whole.sum()) < LEAST_TILES:
        return replace(found, refusal=Refusal.TOO_LITTLE_TEXTURE)
    alike = _tile_correlation(first, moved)[whole]
    quality = float((alike > _ALIKE).mean())
    return replace(found, quality=quality, refusal=Refusal.POOR_FIT if quality < LEAST_QUALITY else None)


def _better(one: Registration, other: Registration) -> Registration:
    if (one.refusal is None) != (other.refusal is None):
        return one if one.refusal is None else other
    return other if other.quality > one.quality else one


def _refused(method: Method, refusal: Refusal) -> Registration:
    return Registration(method, np.eye(3), 0.0, 0.0, refusal)


def _tile_correlation(first: Luminance, second: Luminance) -> npt.NDArray[np.float64]:
    one, other = (_tiled(_smoothed(values)).astype(np.float64) for values in (first, second))
    one, other = (tiles - tiles.mean(axis=2, keepdims=True) for tiles in (one, other))
    across = (one * other).mean(axis=2)
    spread = np.sqrt(((one**2).mean(axis=2) + _FLAT_VARIANCE) * ((other**2).mean(axis=2) + _FLAT_VARIANCE))
    return np.asarray(across / spread, dtype=np.float64)


def _sensible(matrix: Matrix, height_px: int, width_px: int) -> bool:
    corners = _moved(matrix, _corners(height_px, width_px)).astype(np.float32)
    if not bool(np.isfinite(corners).all()) or not cv2.isContourConvex(corners):
        return False
    area = float(cv2.contourArea(corners, oriented=True)) / ((height_px - 1) * (width_px - 1))
    return _LEAST_AREA <= area <= _MOST_AREA


def _corners(height_px: int, width_px: int) -> npt.NDArray[np.float64]:
    right, bottom = width_px - 1.0, height_px - 1.0
    return np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])


def _moved(matrix: Matrix, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    seen = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(seen[:, :2] / seen[:, 2:], dtype=np.float64)


def _covered(matrix: Matrix, height_px: int, width_px: int) -> npt.NDArray[np.bool_]:
    full = np.ones((height_px, width_px), np.uint8)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    covered: npt.NDArray[np.bool_] = cv2.warpPerspective(full, matrix, (width_px, height_px), flags=flags) > 0
    return covered


# ---- pixels


def _prepared(reference: Image, picture: Image) -> tuple[Luminance, Luminance, float]:
    """Both at a size at which the work is quick, and how many pixels of it are one of theirs."""
    first, second = luminance(reference), luminance(picture)
    if first.shape != second.shape or min(first.shape) < 2 * TILE_PX:
        raise InvalidInputError(
            "picture", second.shape, f"the reference's size {first.shape}, {2 * TILE_PX} pixels or more a side"
        )
    scale = min(1.0, _WORK_SIDE_PX / max(first.shape))
    if scale == 1.0:
        return first, second, 1.0
    size = (round(first.shape[1] * scale), round(first.shape[0] * scale))
    small, other = (cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (first, second))
    return small.astype(np.float32, copy=False), other.astype(np.float32, copy=False), scale


def _in_full(found: Registration, scale: float) -> Registration:
    """The same in pixels of the full pictures; a pixel's middle is half a pixel in."""
    off = 0.5 * scale - 0.5
    shrink = np.array([[scale, 0.0, off], [0.0, scale, off], [0.0, 0.0, 1.0]])
    matrix = np.linalg.inv(shrink) @ found.matrix @ shrink
    return replace(found, matrix=matrix / matrix[2, 2])


def _smoothed(values: Luminance) -> Luminance:
    return cv2.GaussianBlur(values, (0, 0), 1.0).astype(np.float32, copy=False)


def _detail(values: Luminance) -> Luminance:
    """What is left without slow changes of light, each place by its own contrast."""
    fine = _smoothed(values) - cv2.GaussianBlur(values, (0, 0), 12.0)
    strength = np.sqrt(cv2.GaussianBlur(fine**2, (0, 0), 12.0)) + 4.0
    return np.asarray(fine / strength, dtype=np.float32)


def _levels(values: Luminance) -> npt.NDArray[np.uint8]:
    levels: npt.NDArray[np.uint8] = np.clip(128.0 + 48.0 * _detail(values), 0, 255).astype(np.uint8)
    return levels


def _tiled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The pixels of each whole tile: shape (h // 16, w // 16, 256)."""
    rows, columns = (side // TILE_PX for side in values.shape)
    tiles = values[: rows * TILE_PX, : columns * TILE_PX].reshape(rows, TILE_PX, columns, TILE_PX)
    return tiles.swapaxes(1, 2).reshape(rows, columns, TILE_PX * TILE_PX)
