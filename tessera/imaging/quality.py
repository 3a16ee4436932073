"""How good a face sample is for comparison, and the gate that says when it is not good enough.

Each measure is in [0, 1], higher = better, and has its own reason code. None of them says whose face it is, and
none is mixed into a score. The bounds were set on 600 LFW pictures (ordinary press photographs) and on the same
faces blurred, darkened and shrunk; `docs/quality.md` has the shares that pass and the command that measures them. The
names in brackets are those of ISO/IEC 29794-5 and its reference software OFIQ; the measures are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.observation import Box, Landmarks, Quality, exposure
from tessera.domain.reasons import Reason
from tessera.imaging.align import CROP_PX
from tessera.imaging.decode import Image
from tessera.imaging.fidelity import fidelity
from tessera.imaging.occlusion import freedom_from_occlusion

Luminance = npt.NDArray[np.float32]
"""float32 of shape (height, width), 0 to 255."""

# The square's rim is hair, background, or black where it reaches past the picture.
_INNER = (slice(16, 104), slice(16, 96))
_NOISE_VARIANCE = 25.0
_HALF_SHARP = 0.03
_FULL_CONTRAST_DEVIATION = 64.0
_PROFILE_YAW_OFFSET = 0.6
_FRONTAL_NOSE_HEIGHT = 0.55
_EXTREME_PITCH_OFFSET = 0.35


@dataclass(frozen=True, slots=True)
class QualityGate:
    """The least that a sample must have to be enrolled or to open a door."""

    min_sharpness: float = 0.27
    """Every one of 600 LFW faces is above it; blurred by 4 pixels (sigma, on the square) 93 % are below."""
    min_brightness: float = 0.15
    """Mean luminance; the darkest of 600 LFW faces has 0.19."""
    max_brightness: float = 0.9
    """Mean luminance; the brightest of 600 LFW faces has 0.74."""
    min_contrast: float = 0.2
    """A deviation of 13 of 255 levels; the flattest of 600 LFW faces has 19."""
    min_size: float = 40 / CROP_PX
    """40 pixels on the box's shorter side; below it most of the square is interpolated."""
    min_pose: float = 0.2
    """A yaw of roughly 45 degrees; beyond it the landmark of the far eye is a guess."""
    min_detection_probability: float = 0.8
    """The least sure of 600 LFW faces has 0.89."""

    min_fidelity: float = 0.3
    """Compression that costs the embedding about 0.2 of its cosine; the least faithful of 900 LFW faces has 0.70, saved
    again at JPEG quality 10 92 % are below, at 5 all. A sample without this measure passes.
    """
    min_occlusion: float = 0.0
    """0: told, and never a reason. At 0.5 it would refuse 2 % of LFW and still miss most of what covers a face."""

    def reasons(self, quality: Quality, detection_probability: float) -> tuple[Reason, ...]:
        """The measures that fall outside the gate, in the order of the gate's fields."""
        failed = {
            Reason.LOW_SHARPNESS: quality.sharpness < self.min_sharpness,
            Reason.LOW_BRIGHTNESS: quality.brightness < self.min_brightness,
            Reason.HIGH_BRIGHTNESS: quality.brightness > self.max_brightness,
            Reason.LOW_CONTRAST: quality.contrast < self.min_contrast,
            Reason.SMALL_BOUNDING_BOX: quality.size < self.min_size,
            Reason.EXTREME_POSE: quality.pose < self.min_pose,
            Reason.LOW_DETECTION_PROBABILITY: detection_probability < self.min_detection_probability,
            Reason.LOW_FIDELITY: quality.fidelity is not None and quality.fidelity < self.min_fidelity,
            Reason.OCCLUDED: quality.occlusion is not None and quality.occlusion < self.min_occlusion,
        }
        return tuple(reason for reason, outside in failed.items() if outside)


DEFAULT_GATE = QualityGate()


def assess(
    crop: Image,
    box: Box,
    landmarks: Landmarks,
    detection_probability: float,
    gate: QualityGate = DEFAULT_GATE,
    *,
    picture: Image | None = None,
    factor: int = 1,
) -> Quality:
    """Measure a face sample and hold it against the gate.

    Args:
        crop: the aligned face, (112, 112, 3), blue, green, red.
        box: in pixels of the whole picture.
        landmarks: (5, 2), in pixels of the whole picture.
        detection_probability: in [0, 1]; gated only, since it is no quality.
        gate: the bounds.
        picture: the decoded picture that `crop` was cut from; None: fidelity is not measured.
        factor: pixels of the whole picture per pixel of `picture`.
    """
    luminance = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[_INNER].astype(np.float32)
    measured = Quality(
        sharpness=sharpness(luminance),
        brightness=float(luminance.mean()) / 255.0,
        contrast=contrast(luminance),
        size=min(1.0, max(0.0, box.shorter_side_px) / CROP_PX),
        pose=frontality(landmarks),
        overall=0.0,
        occlusion=freedom_from_occlusion(crop),
        fidelity=fidelity(picture, box, factor) if picture is not None else None,
    )
    return replace(measured, overall=_weakest(measured), reasons=gate.reasons(measured, detection_probability))


def _weakest(measured: Quality) -> float:
    # Without occlusion, which is not gated.
    parts = (measured.sharpness, exposure(measured.brightness), measured.contrast, measured.size, measured.pose)
    return min(*parts, measured.fidelity if measured.fidelity is not None else 1.0)


def sharpness(luminance: Luminance) -> float:
    """Fine detail against all detail: s / (s + 0.03), s = variance of the Laplacian / (variance + 25).

    Args:
        luminance: any size.

    Returns:
        A number in [0, 1). Dividing by the variance takes the contrast out, which has a measure of its own; the 25
        keeps sensor noise in a flat picture from looking like detail.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000, for the Laplacian
    [sharpness].
    """
    detail = float(cv2.Laplacian(luminance, cv2.CV_32F).var())
    relative = detail / (float(luminance.var()) + _NOISE_VARIANCE)
    return relative / (relative + _HALF_SHARP)


def contrast(luminance: Luminance) -> float:
    """How far the levels spread: their standard deviation against 64 of 255.

    Args:
        luminance: any size.

    Returns:
        A number in [0, 1]; 1 from a deviation of 64 on.
    """
    return min(1.0, float(luminance.std()) / _FULL_CONTRAST_DEVIATION)


def frontality(landmarks: Landmarks) -> float:
    """How frontal a face is, from where its nose stands between eyes and mouth; roll does not matter
    [head pose].

    Args:
        landmarks: (5, 2), in pixels.

    Returns:
        1 when the nose tip is midway between the eyes and 0.55 of the way down to the mouth; 0 when it is 0.6 eye
        distances off to a side, 0.35 of the way too high or too low, or when the landmarks make no face.
    """
    right_eye, left_eye, nose, right_mouth, left_mouth = landmarks.astype(np.float64)
    across = left_eye - right_eye
    eye_distance = float(np.hypot(*across))
    if eye_distance == 0.0:
        return 0.0
    across /= eye_distance
    down = np.array([-across[1], across[0]])
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    face_height = float((mouth - eyes) @ down)
    if face_height <= 0.0:
        return 0.0
    yaw = abs(float((nose - eyes) @ across)) / eye_distance / _PROFILE_YAW_OFFSET
    pitch = abs(float((nose - eyes) @ down) / face_height - _FRONTAL_NOSE_HEIGHT) / _EXTREME_PITCH_OFFSET
    return max(0.0, 1.0 - max(yaw, pitch))
