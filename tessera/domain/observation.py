"""What the encoder saw in one picture: where, how surely, how well, and the embedding."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tessera.domain.embedding import Embedding
from tessera.domain.ids import TrackletId
from tessera.domain.reasons import Reason

_WELL_EXPOSED = (0.3, 0.75)


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in pixels of the picture as it was sent; the origin is its upper left corner."""

    x_px: float
    y_px: float
    width_px: float
    height_px: float

    @property
    def area_px(self) -> float:
        """Area in square pixels."""
        return self.width_px * self.height_px

    @property
    def shorter_side_px(self) -> float:
        """The shorter side, in pixels."""
        return min(self.width_px, self.height_px)

    def scaled(self, factor: float) -> Box:
        """The same place in a picture whose sides are `factor` times as long."""
        return Box(self.x_px * factor, self.y_px * factor, self.width_px * factor, self.height_px * factor)

    def iou(self, other: Box) -> float:
        """Intersection over union with `other`, in [0, 1]."""
        shared = self.shared_px(other)
        return shared / (self.area_px + other.area_px - shared) if shared > 0.0 else 0.0

    def shared_px(self, other: Box) -> float:
        """The area that lies in both, in square pixels."""
        width = min(self.x_px + self.width_px, other.x_px + other.width_px) - max(self.x_px, other.x_px)
        height = min(self.y_px + self.height_px, other.y_px + other.height_px) - max(self.y_px, other.y_px)
        return width * height if width > 0.0 and height > 0.0 else 0.0

    def share_within(self, other: Box) -> float:
        """The share of its area that lies in `other`, in [0, 1]; 0 where it has no area."""
        return self.shared_px(other) / self.area_px if self.area_px > 0.0 else 0.0


Landmarks = npt.NDArray[np.float32]
"""float32, shape (5, 2), x and y in pixels: the subject's right eye, left eye, nose, right and left mouth corner."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one sample is for comparison. Each measure is in [0, 1], higher = better; none is a score."""

    sharpness: float
    """Fine detail of the aligned sample."""
    brightness: float
    """Mean luminance of the aligned sample: 0 is black, 1 is white; both ends are bad."""
    contrast: float
    """Spread of the luminance of the aligned sample."""
    size: float
    """The shorter side of the box against the size that the encoder wants."""
    pose: float
    """1 is frontal, 0 is profile or beyond, from the landmarks."""
    overall: float
    """The weakest of the measures, as the gate sees it: what samples are ranked by. Frames weigh by all of them."""
    reasons: tuple[Reason, ...] = ()
    """The measures that fall below the gate; empty when the sample is good enough to enrol."""
    occlusion: float | None = None
    """Freedom from occlusion: 1 = the parts of the face agree in colour. None where it was not measured."""
    fidelity: float | None = None
    """Freedom from compression damage: 1 = none. None where it was not measured."""


def exposure(brightness: float) -> float:
    """How usable a mean luminance is: 1 between 0.3 and 0.75, falling to 0 at black and at white [luminance mean].

    Args:
        brightness: in [0, 1], 0 is black.
    """
    low, high = _WELL_EXPOSED
    return float(np.clip(min(brightness / low, (1.0 - brightness) / (1.0 - high)), 0.0, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One face (or signature, or person) in one picture."""

    box: Box
    landmarks: Landmarks
    detection_probability: float
    """How sure the detector is that this is a face at all, in [0, 1]; says nothing about whose."""
    quality: Quality
    embedding: Embedding | None = field(default=None)
    """None when the caller said that it needs no embedding of this one."""
    bona_fide_probability: float | None = field(default=None)
    """What presentation-attack weights say that somebody brought, in [0, 1]: 1 is a live face. None: there are none."""
    person: int | None = field(default=None)
    """Of a face: which of the persons of the same picture it belongs to, from 0. None: nobody looked for persons, or it
    lies in nobody's box."""


@dataclass(frozen=True, slots=True)
class FaceOnBody:
    """The face that lies in a person's box, over the frames of a tracklet so far."""

    tracklet_id: TrackletId
    """Of the face."""
    frames_together: int
    """In so many frames this face lay in this person's box."""
    frames_otherwise: int
    """In so many it lay in another person's box, or another face in this one."""
