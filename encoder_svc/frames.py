"""What is asked of a picture, and what is known of it on its way: prepared, with faces found, encoded."""

from __future__ import annotations

from dataclasses import dataclass, field

from tessera.client.stream_values import StageTimes
from tessera.domain.embedding import Embedding
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box, Landmarks, Observation, Quality
from tessera.imaging.decode import Image, ScaledImage
from tessera.imaging.preprocess import DetectorInput


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """What to find and how much to do."""

    max_observations: int = 16
    """At most so many, the largest first."""
    min_detection_probability: float = 0.7
    """Detections at or below it are not reported."""
    min_side_px: float = 0.0
    """Observations whose shorter side is smaller are reported without an embedding."""
    with_embedding: bool = True
    """False: detect and measure only."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFrame:
    """A decoded picture, ready for the device."""

    data: bytes
    """As it was sent; small faces are cut from a second, full decoding."""
    scaled: ScaledImage
    """Decoded no larger than the detector needs."""
    detector: DetectorInput
    decode_ms: float
    """Decoding and shrinking."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """An observation, and the tracklet that the caller had predicted there."""

    observation: Observation
    tracklet_id: TrackletId | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """What was seen in one picture."""

    faces: tuple[SeenFace, ...]
    """The largest first."""
    height_px: int
    width_px: int
    times: StageTimes

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The observations alone."""
        return tuple(face.observation for face in self.faces)


@dataclass(slots=True, eq=False)
class Candidate:
    """One face that was found: what is known of it so far."""

    box: Box
    landmarks: Landmarks
    probability: float
    crop: Image
    quality: Quality
    tracklet_id: TrackletId | None = None
    embedding: Embedding | None = field(default=None)
    bona_fide_probability: float | None = None


@dataclass(slots=True, eq=False)
class FoundFaces:
    """The faces of one picture, the largest first, and which of them are to be embedded."""

    image: Image
    """What they are cut from."""
    factor: int
    """Pixels of the full picture per pixel of `image`, along each side."""
    candidates: list[Candidate] = field(default_factory=list)
    wanted: list[Candidate] = field(default_factory=list)
    views: list[Image] = field(default_factory=list)
    """For a closer look, `VIEWS` for each wanted face; none where the recipe has none."""
    surroundings: list[Image] = field(default_factory=list)
    """For presentation-attack weights, one for each wanted face; none where there are no weights."""
    decode_ms: float = 0.0
    """Of the full picture, where faces were too small in the one that the detector saw."""
    align_ms: float = 0.0
    quality_ms: float = 0.0
