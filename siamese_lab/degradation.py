"""Pictures as a camera far away would have taken them: smaller, blurred, moved, darker, noisy, compressed; by a seed.

For measuring only: what a decision is worth on such frames. Each ill is drawn from a range that a severity names. The
ranges were set before anything was measured with them; they are no model of any one camera. `quality_study` has single
ills of fixed strength, for the quality gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from tessera.domain.errors import InvalidInputError
from tessera.imaging.decode import Image


class Severity(StrEnum):
    """How bad a camera's pictures are."""

    MILD = "MILD"
    MODERATE = "MODERATE"
    SEVERE = "SEVERE"


@dataclass(frozen=True, slots=True)
class Degradation:
    """What happens to one frame, in the order of the fields: optics, then light, then sensor, then coding."""

    scale: float = 1.0
    """Sides of the frame against those of the picture, in (0, 1]."""
    blur_sigma_px: float = 0.0
    """Out of focus, in pixels of the frame."""
    motion_px: float = 0.0
    """How far the face moves while the shutter is open, in pixels of the frame."""
    motion_angle_rad: float = 0.0
    gain: float = 1.0
    """Of the exposure; what exceeds white is lost."""
    noise_levels: float = 0.0
    """Deviation, in levels of 255."""
    jpeg_quality: int = 95
    """1 to 100."""


@dataclass(frozen=True, slots=True)
class _Ranges:
    scale: tuple[float, float]
    blur_sigma_px: tuple[float, float]
    motion_px: tuple[float, float]
    gain: tuple[float, float]
    noise_levels: tuple[float, float]
    jpeg_quality: tuple[int, int]


_RANGES = {
    Severity.MILD: _Ranges((0.6, 1.0), (0.0, 0.8), (0.0, 3.0), (0.7, 1.2), (0.0, 4.0), (50, 90)),
    Severity.MODERATE: _Ranges((0.35, 0.6), (0.4, 1.2), (0.0, 5.0), (0.45, 1.3), (2.0, 8.0), (30, 70)),
    Severity.SEVERE: _Ranges((0.22, 0.4), (0.6, 1.6), (0.0, 6.0), (0.3, 1.4), (4.0, 12.0), (20, 50)),
}
"""Of a picture of 250 px with a face of about 95 px the frame's face has 57 to 95, 33 to 57 and 21 to 38 px."""


def draw_degradation(severity: Severity, rng: np.random.Generator) -> Degradation:
    """One frame's ills, each drawn evenly from the severity's range."""
    ranges = _RANGES[severity]
    return Degradation(
        scale=rng.uniform(*ranges.scale),
        blur_sigma_px=rng.uniform(*ranges.blur_sigma_px),
        motion_px=rng.uniform(*ranges.motion_px),
        motion_angle_rad=rng.uniform(0.0, np.pi),
        gain=rng.uniform(*ranges.gain),
        noise_levels=rng.uniform(*ranges.noise_levels),
        jpeg_quality=int(rng.integers(*ranges.jpeg_quality, endpoint=True)),
    )


def degraded_jpeg(image: Image, ills: Degradation, rng: np.random.Generator) -> bytes:
    """The frame as a camera would send it.

    Args:
        image: (height, width, 3), blue, green, red.
        ills: what happens to it.
        rng: draws the noise.

    Raises:
        InvalidInputError: an ill is outside its range.
    """
    if not 0.0 < ills.scale <= 1.0 or min(ills.blur_sigma_px, ills.motion_px, ills.gain, ills.noise_levels) < 0.0:
        raise InvalidInputError("ills", ills, "a scale in (0, 1], and nothing below 0")
    frame: cv2.typing.MatLike = image.astype(np.float32)
    if ills.scale < 1.0:
        sides_px = (max(1, round(image.shape[1] * ills.scale)), max(1, round(image.shape[0] * ills.scale)))
        frame = cv2.resize(frame, sides_px, interpolation=cv2.INTER_AREA)
    if ills.blur_sigma_px > 0.0:
        frame = cv2.GaussianBlur(frame, (0, 0), ills.blur_sigma_px)
    if ills.motion_px > 0.0:
        frame = _moved(frame, ills.motion_px, ills.motion_angle_rad)
    noise = rng.normal(0.0, ills.noise_levels, frame.shape) if ills.noise_levels > 0.0 else np.float32(0.0)
    levels = np.clip(np.rint(np.minimum(frame * np.float32(ills.gain), 255.0) + noise), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, ills.jpeg_quality])
    return bytes(data)


def _moved(frame: cv2.typing.MatLike, length_px: float, angle_rad: float) -> cv2.typing.MatLike:
    """The mean of the picture along a straight line through each pixel."""
    steps = max(2, round(2 * length_px) + 1)
    along = np.linspace(-0.5, 0.5, steps) * length_px
    side = 2 * int(np.ceil(length_px / 2)) + 3
    kernel = np.zeros((side, side), np.float32)
    for offset in along:
        x, y = side // 2 + offset * np.cos(angle_rad), side // 2 + offset * np.sin(angle_rad)
        left, top = int(np.floor(x)), int(np.floor(y))
        right_share, low_share = x - left, y - top
        kernel[top : top + 2, left : left + 2] += np.outer(
            [1 - low_share, low_share], [1 - right_share, right_share]
        ).astype(np.float32)
    return cv2.filter2D(frame, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
