"""What goes over the two streams of a camera worker, as values: frames and answers, tracklets and decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tessera.domain.decision import Decision
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.ids import CameraId, CollectionId, EventId, ModelId, SubjectId, TrackletId
from tessera.domain.observation import Box, FaceOnBody, Observation, Quality
from tessera.domain.reasons import Reason

# ---- to the encoder and back


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """What to find in each frame of a stream, and how much to do."""

    modality: Modality = Modality.FACE
    model_id: ModelId | None = None
    """None: the modality's default encoder."""
    max_observations: int = 16
    """Largest first; 1 to 64."""
    min_detection_probability: float | None = None
    """In (0, 1]; None: the encoder's own."""
    min_side_px: int = 0
    """Observations whose shorter side is smaller come without an embedding."""
    min_embedded_probability: float | None = None
    """Observations of less detection probability come without one too; None: all have one."""
    persons: EncodeOptions | None = None
    """Look for persons in each frame as well, with these options; the others are of faces then. None: do not."""


@dataclass(frozen=True, slots=True)
class KnownTracklet:
    """A tracklet that has its decision: seen where it is expected, it is not embedded again."""

    tracklet_id: TrackletId
    predicted_box: Box
    best_quality: float
    """`Quality.overall` of its best sample so far; a clearly better one is embedded after all."""
    modality: Modality | None = None
    """Of what it is one; None: what the stream's own options look for."""


@dataclass(frozen=True, slots=True)
class FrameToEncode:
    """One frame on its way to the encoder."""

    frame_id: int
    """Grows with each frame of a camera; at least 1."""
    picture: bytes
    """A JPEG, or any other file that the encoder decodes."""
    capture_time: datetime
    """UTC."""
    expires_after_s: float
    """So long after `capture_time` nobody wants the answer."""
    known_tracklets: tuple[KnownTracklet, ...] = ()
    dropped_since_last: int = 0
    """Frames that were sampled and not sent since the last one."""
    traceparent: str = ""
    """Of the span of this frame; empty: it is not traced."""


class FrameOutcome(StrEnum):
    """What became of a frame; every frame has exactly one."""

    ENCODED = "ENCODED"
    SKIPPED = "SKIPPED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where the encoder's time went, in milliseconds of wall time."""

    queue_ms: float = 0.0
    decode_ms: float = 0.0
    detect_ms: float = 0.0
    align_ms: float = 0.0
    quality_ms: float = 0.0
    embed_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """The encoder's answer to one frame."""

    frame_id: int
    capture_time: datetime
    outcome: FrameOutcome
    observations: tuple[Observation, ...] = ()
    """Largest first; empty unless the outcome is ENCODED."""
    width_px: int = 0
    height_px: int = 0
    reason: Reason | None = None
    """Why it was skipped or failed; None otherwise."""
    detail: str = ""
    stage_times: StageTimes = field(default=StageTimes())
    persons: tuple[Observation, ...] | None = None
    """Largest first; None: nobody asked for them beside faces. A face names one by its place, `Observation.person`."""


# ---- to the gallery and back


@dataclass(frozen=True, slots=True, eq=False)
class TrackletSample:
    """One look at the person of a tracklet."""

    capture_time: datetime
    embedding: Embedding
    quality: Quality
    box: Box
    """In pixels of its own frame."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackletUpdate:
    """How a tracklet stands, and what is new since its last update."""

    camera_id: CameraId
    collection_id: CollectionId
    tracklet_id: TrackletId
    sequence: int
    """Grows with each update of the tracklet, from 1; the same number sent again changes nothing."""
    samples: tuple[TrackletSample, ...]
    first_seen: datetime
    last_seen: datetime
    box: Box
    frame_count: int
    """Frames in which it was seen so far."""
    ended: bool
    modality: Modality = Modality.FACE
    lease_token: int = 0
    """Of the lease that the camera is watched under; 0: none."""
    best_shot_id: str = ""
    """Of the picture that its worker keeps; empty: none."""
    clip_id: str = ""
    """Of the clip around its first decision; empty: none."""
    zones: tuple[str, ...] = ()
    """The camera's zones in which it was seen so far, by name."""
    face: FaceOnBody | None = None
    """Of a body: the face that was seen on it; None: none was."""
    traceparent: str = ""
    """Of the span of the frame that brought the newest sample; empty: it is not traced."""


@dataclass(frozen=True, slots=True)
class TrackletDecision:
    """What the gallery makes of a tracklet by now."""

    tracklet_id: TrackletId
    sequence: int
    """Of the update that this answers."""
    revision: int
    """Grows when the outcome or the subject changes."""
    decision: Decision
    subject_id: SubjectId | None
    """The matched subject."""
    display_name: str
    event_id: EventId | None
    """The event that told the world; None while nothing was published."""
    capture_to_decision_s: float
    link_id: str = ""
    """Of an unknown person, the same on every camera; empty otherwise."""
    person_id: str = ""
    """Of a body: who it is taken for, on every camera; empty otherwise."""


@dataclass(frozen=True, slots=True)
class TrackletRejected:
    """An update that could not be used; the stream goes on."""

    tracklet_id: TrackletId
    sequence: int
    reason: Reason
    detail: str
    newest_lease_token: int = 0
    """With LEASE_SUPERSEDED: the newest token of the camera that the gallery has seen."""
