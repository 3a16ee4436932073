"""Crops as other cameras might have taken them: what the person encoder is trained to look past.

Each crop of a batch gets a camera of its own, so that two pictures of a person are mostly from different ones. The
operators work on values as they are stored. The benchmark of camera shifts has its own definition
(`benchmarks.person.shifts`), in linear light and with other operators; what both share is said there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.decode import Image
from tessera.imaging.person import CROP_HEIGHT_PX, CROP_WIDTH_PX, fit_crop

Values = npt.NDArray[np.float32]

_BLACK = 12
"""Rows and columns at the border of a letterboxed crop are at most so bright, after JPEG."""
_LEAST_PX = 8
_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)


@dataclass(frozen=True, slots=True)
class CameraChanges:
    """How likely each change is, and how far it goes; 0 switches one off."""

    plain: float = 0.15
    """Likelihood that a crop is flipped at most, and otherwise stays as it is."""
    unboxed: float = 0.5
    """Likelihood that black bars are cut off and the rest is stretched, as serving sees people."""
    flip: float = 0.5
    geometry: float = 0.8
    corner_shift: float = 0.1
    """Of each corner, in shares of the crop's sides: perspective, tight, loose and shifted boxes."""
    cut: float = 0.15
    """Likelihood that a share of the height is missing at the bottom or at the top."""
    most_cut: float = 0.4
    gains: float = 0.8
    gain_spread: float = 0.18
    """Standard deviation of each channel's log gain: white balance."""
    tone: float = 0.8
    gamma_spread: float = 0.3
    """Standard deviation of the log exponent."""
    contrast: float = 0.4
    brightness: float = 45.0
    """Of 255."""
    colour: float = 0.6
    saturation: float = 0.7
    mixing: float = 0.12
    """Of one channel into another."""
    gray: float = 0.06
    resolution: float = 0.5
    least_height_px: float = 24.0
    blur: float = 0.4
    most_blur_px: float = 1.8
    smear: float = 0.15
    """Likelihood of motion blur."""
    noise: float = 0.4
    most_noise: float = 14.0
    compression: float = 0.4
    least_quality: int = 20
    occluded: float = 0.3
    """Likelihood that a part of another crop lies over it."""
    erased: float = 0.35
    most_erased: float = 0.25
    """Of the area. Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020."""


def seen_by_another(crop: Image, other: Image, changes: CameraChanges, rng: np.random.Generator) -> Image:
    """One crop as another camera might have taken it.

    Args:
        crop: uint8 (128, 64, 3).
        other: a crop of anybody, which may lie over it.
        changes: how likely and how far.
        rng: decides.

    Returns:
        uint8 (128, 64, 3).
    """
    seen = fit_crop(without_bars(crop)) if rng.random() < changes.unboxed else crop
    if rng.random() < changes.flip:
        seen = np.ascontiguousarray(seen[:, ::-1])
    if rng.random() < changes.plain:
        return seen
    seen = _occluded(_moved(_cut(seen, changes, rng), changes, rng), other, changes, rng)
    seen = _coloured(seen, changes, rng)
    seen = _erased(_degraded(seen, changes, rng), changes, rng)
    return np.ascontiguousarray(seen)


def without_bars(crop: Image) -> Image:
    """Cut off the black bars of a letterboxed crop; one that is black all over stays."""
    bright = crop.max(2)
    rows, columns = (np.flatnonzero(np.median(bright, axis) > _BLACK) for axis in (1, 0))
    if rows.size < _LEAST_PX or columns.size < _LEAST_PX:
        rows, columns = (np.flatnonzero(bright.max(axis) > 2 * _BLACK) for axis in (1, 0))
    if rows.size < _LEAST_PX or columns.size < _LEAST_PX:
        return crop
    return crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _cut(crop: Image, changes: CameraChanges, rng: np.random.Generator) -> Image:
    if rng.random() >= changes.cut:
        return crop
    kept = CROP_HEIGHT_PX - round(CROP_HEIGHT_PX * rng.uniform(0.1, changes.most_cut))
    return fit_crop(crop[:kept] if rng.random() < 0.75 else crop[-kept:])


def _moved(crop: Image, changes: CameraChanges, rng: np.random.Generator) -> Image:
    if rng.random() >= changes.geometry:
        return crop
    size = np.array([CROP_WIDTH_PX, CROP_HEIGHT_PX], np.float32)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    whole = rng.uniform(-changes.corner_shift, changes.corner_shift, (1, 2))
    zoom = 1.0 + rng.uniform(-changes.corner_shift, changes.corner_shift)
    single = rng.uniform(-changes.corner_shift, changes.corner_shift, (4, 2)) / 2.0
    taken = ((corners - 0.5) * zoom + 0.5 + whole + single).astype(np.float32)
    there = cv2.getPerspectiveTransform(taken * size, corners * size)
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    moved = cv2.warpPerspective(crop, there, (CROP_WIDTH_PX, CROP_HEIGHT_PX), borderMode=border)
    return moved.astype(np.uint8, copy=False)


def _occluded(crop: Image, other: Image, changes: CameraChanges, rng: np.random.Generator) -> Image:
    if rng.random() >= changes.occluded:
        return crop
    covered = crop.copy()
    if rng.random() < 0.5:
        top = round(CROP_HEIGHT_PX * rng.uniform(0.55, 0.95))
        covered[top:] = other[top:]
    elif rng.random() < 0.5:
        left = round(CROP_WIDTH_PX * rng.uniform(0.6, 0.95))
        covered[:, left:] = other[:, left:]
    else:
        right = round(CROP_WIDTH_PX * rng.uniform(0.05, 0.4))
        covered[:, :right] = other[:, :right]
    return covered


def _coloured(crop: Image, changes: CameraChanges, rng: np.random.Generator) -> Image:
    values: Values = crop.astype(np.float32)
    if rng.random() < changes.gains:
        values = values * np.exp(rng.normal(0.0, changes.gain_spread, 3)).astype(np.float32)
    if rng.random() < changes.colour:
        values = _mixed(values, changes, rng)
    if rng.random() < changes.tone:
        gain = 1.0 + rng.uniform(-changes.contrast, changes.contrast)
        shift = rng.uniform(-changes.brightness, changes.brightness)
        bounded = np.clip((values - 128.0) * gain + 128.0 + shift, 0.0, 255.0) / 255.0
        values = 255.0 * bounded ** float(np.exp(rng.normal(0.0, changes.gamma_spread)))
    if rng.random() < changes.gray:
        values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
    return np.clip(values, 0.0, 255.0).astype(np.uint8)


def _mixed(values: Values, changes: CameraChanges, rng: np.random.Generator) -> Values:
    gray = values.mean(2, keepdims=True)
    saturated = gray + (values - gray) * (1.0 + rng.uniform(-changes.saturation, changes.saturation))
    mixing = np.eye(3) + rng.uniform(-changes.mixing, changes.mixing, (3, 3))
    mixed: Values = (saturated @ (mixing / mixing.sum(1, keepdims=True)).T).astype(np.float32)
    return mixed


def _degraded(crop: Image, changes: CameraChanges, rng: np.random.Generator) -> Image:
    seen = crop
    if rng.random() < changes.resolution:
        height = round(float(np.exp(rng.uniform(np.log(changes.least_height_px), np.log(CROP_HEIGHT_PX)))))
        small = cv2.resize(seen, (max(1, height // 2), height), interpolation=cv2.INTER_AREA)
        back = _INTERPOLATIONS[int(rng.integers(3))]
        seen = cv2.resize(small, (CROP_WIDTH_PX, CROP_HEIGHT_PX), interpolation=back).astype(np.uint8)
    if rng.random() < changes.blur:
        seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.3, changes.most_blur_px)).astype(np.uint8)
    if rng.random() < changes.smear:
        seen = _smeared(seen, rng)
    if rng.random() < changes.noise:
        noise = rng.normal(0.0, rng.uniform(1.0, changes.most_noise), seen.shape)
        seen = np.clip(seen + noise, 0.0, 255.0).astype(np.uint8)
    if rng.random() < changes.compression:
        quality = int(rng.integers(changes.least_quality, 96))
        _, packed = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, quality])
        unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        seen = seen if unpacked is None else unpacked.astype(np.uint8)
    return seen


def _smeared(crop: Image, rng: np.random.Generator) -> Image:
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    if rng.random() < 0.7:
        kernel[length // 2] = 1.0 / length
    else:
        kernel[:, length // 2] = 1.0 / length
    return cv2.filter2D(crop, -1, kernel).astype(np.uint8, copy=False)


def _erased(crop: Image, changes: CameraChanges, rng: np.random.Generator) -> Image:
    if rng.random() >= changes.erased:
        return crop
    area = CROP_HEIGHT_PX * CROP_WIDTH_PX * rng.uniform(0.03, changes.most_erased)
    proportion = float(np.exp(rng.uniform(np.log(0.4), np.log(3.3))))
    height = min(CROP_HEIGHT_PX - 1, round(float(np.sqrt(area * proportion))))
    width = min(CROP_WIDTH_PX - 1, round(float(np.sqrt(area / proportion))))
    top, left = int(rng.integers(CROP_HEIGHT_PX - height)), int(rng.integers(CROP_WIDTH_PX - width))
    erased = crop.copy()
    random = rng.random() < 0.5
    erased[top : top + height, left : left + width] = (
        rng.integers(0, 256, (height, width, 3)) if random else rng.integers(0, 256, 3)
    )
    return erased
