"""How good a look at a person is for re-identification, in the measures that every modality has.

A person has no pose: that measure is 1. What hides them is told by other boxes: of two people who overlap, the one
whose feet are lower in the picture stands before the other. The bounds are judged by eye and by what the encoder can
use, and have no error rate behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from tessera.domain.observation import Box, Quality, exposure
from tessera.domain.reasons import Reason
from tessera.imaging.decode import Image
from tessera.imaging.person import CROP_HEIGHT_PX, CROP_WIDTH_PX
from tessera.imaging.quality import contrast, sharpness

CUT_OFF_OVERALL = 0.3
"""`overall` of a person whom the picture's edge cuts off is at most this: any look at the whole person is better."""

_EDGE_SHARE = 0.01
"""A box that comes so near to the edge, in shares of its own height, touches it: detectors do not end on the pixel."""


@dataclass(frozen=True, slots=True)
class PersonGate:
    """The least that a look at a person must have to be enrolled."""

    min_size: float = 0.4
    """51 pixels of height or 26 of width: below it most of what the encoder sees is interpolated."""
    min_sharpness: float = 0.1
    min_brightness: float = 0.1
    max_brightness: float = 0.95
    min_contrast: float = 0.1
    min_detection_probability: float = 0.5
    min_occlusion: float = 0.5
    """At least half of the box must be free of people who stand before it."""

    def reasons(self, quality: Quality, detection_probability: float, *, cut_off: bool) -> tuple[Reason, ...]:
        """The measures that fall outside the gate."""
        free = 1.0 if quality.occlusion is None else quality.occlusion
        failed = {
            Reason.LOW_SHARPNESS: quality.sharpness < self.min_sharpness,
            Reason.LOW_BRIGHTNESS: quality.brightness < self.min_brightness,
            Reason.HIGH_BRIGHTNESS: quality.brightness > self.max_brightness,
            Reason.LOW_CONTRAST: quality.contrast < self.min_contrast,
            Reason.SMALL_BOUNDING_BOX: quality.size < self.min_size,
            Reason.LOW_DETECTION_PROBABILITY: detection_probability < self.min_detection_probability,
            Reason.OCCLUDED: free < self.min_occlusion,
            Reason.CUT_OFF: cut_off,
        }
        return tuple(reason for reason, outside in failed.items() if outside)


DEFAULT_PERSON_GATE = PersonGate()


def person_quality(
    crop: Image,
    box: Box,
    detection_probability: float,
    *,
    picture_px: tuple[int, int],
    others: Sequence[Box] = (),
    gate: PersonGate = DEFAULT_PERSON_GATE,
) -> Quality:
    """Measure a look at a person and hold it against the gate.

    Args:
        crop: as the encoder sees it, (128, 64, 3), blue, green, red.
        box: in pixels of the whole picture.
        detection_probability: in [0, 1]; gated only, since it is no quality.
        picture_px: height and width of the whole picture.
        others: the boxes of the other people in it.
        gate: the bounds.

    Returns:
        `size` is the box against the crop, `occlusion` the share of the box that nobody stands before.
    """
    luminance = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
    measured = Quality(
        sharpness=sharpness(luminance),
        brightness=float(luminance.mean()) / 255.0,
        contrast=contrast(luminance),
        size=min(1.0, box.height_px / CROP_HEIGHT_PX, box.width_px / CROP_WIDTH_PX),
        pose=1.0,
        overall=0.0,
        occlusion=1.0 - hidden_share(box, others),
    )
    cut_off = is_cut_off(box, picture_px)
    reasons = gate.reasons(measured, detection_probability, cut_off=cut_off)
    return replace(measured, overall=_weakest(measured, cut_off=cut_off), reasons=reasons)


def _weakest(measured: Quality, *, cut_off: bool) -> float:
    free = 1.0 if measured.occlusion is None else measured.occlusion
    whole = CUT_OFF_OVERALL if cut_off else 1.0
    return min(measured.sharpness, exposure(measured.brightness), measured.contrast, measured.size, free, whole)


def is_cut_off(box: Box, picture_px: tuple[int, int]) -> bool:
    """Whether a person's box touches an edge of the picture, so that a part of them may be beyond it.

    Args:
        box: in pixels of the picture.
        picture_px: its height and width.
    """
    height_px, width_px = picture_px
    near_px = max(1.0, _EDGE_SHARE * box.height_px)
    right_px, lower_px = box.x_px + box.width_px, box.y_px + box.height_px
    beyond = (box.x_px, box.y_px, width_px - right_px, height_px - lower_px)
    return min(beyond) < near_px


def hidden_share(box: Box, others: Sequence[Box]) -> float:
    """The largest share of a person's box that one person who stands before it covers, in [0, 1]."""
    before = [other for other in others if other.y_px + other.height_px > box.y_px + box.height_px]
    return max((box.share_within(other) for other in before), default=0.0)
