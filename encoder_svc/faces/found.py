"""What is known of the faces of one picture on their way: decoded, found, to be embedded."""

from __future__ import annotations

from dataclasses import dataclass, field

from tessera.domain.embedding import Embedding
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box, Landmarks, Quality
from tessera.imaging.decode import Image, ScaledImage
from tessera.imaging.preprocess import DetectorInput


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
