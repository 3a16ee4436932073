"""Events as they are kept: who was seen, what happened to a camera, which claim failed. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tessera.domain.alerting.alerts import Alert
from tessera.domain.calibration import (
    Threshold,
)
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.ids import CameraId, CollectionId, EventId, ModelId, SubjectId, TrackletId
from tessera.domain.joint import JointThreshold
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason


class CameraState(StrEnum):
    """How a camera is."""

    CONNECTING = "CONNECTING"
    ONLINE = "ONLINE"
    LOST = "LOST"
    FROZEN = "FROZEN"
    DISABLED = "DISABLED"
    ENDED = "ENDED"


class BodyNameBasis(StrEnum):
    """Where a body has its name from."""

    OWN_FACE = "OWN_FACE"
    """From a face on this very body."""
    BODY_LINK = "BODY_LINK"
    """From a face on a body that this one looks like."""


@dataclass(frozen=True, slots=True)
class BodyNameRecord:
    """The name that a body has from a face; no decision about the body."""

    collection_id: CollectionId
    """Of the face."""
    subject_id: SubjectId
    basis: BodyNameBasis
    face_camera_id: CameraId
    face_seen_at: datetime
    face_event_id: EventId
    face_fpir: float
    """How often a face of somebody who is not enrolled gets such a match."""
    until: datetime
    """Nobody says it any longer after this moment."""
    threshold: JointThreshold | None
    """Of a BODY_LINK: what the sum of the evidence had to reach."""

    @property
    def who(self) -> tuple[CollectionId, SubjectId]:
        """Whom it names."""
        return self.collection_id, self.subject_id


@dataclass(frozen=True, slots=True)
class PersonOfSighting:
    """Who a body is taken for, across cameras and for some hours."""

    person_id: str
    """Stands for nobody who is enrolled."""
    until: datetime
    """It is told no longer after this moment."""
    name: BodyNameRecord | None = None
    """None: no face says who it is."""


@dataclass(frozen=True, slots=True)
class SightingBody:
    """Somebody was seen: one tracklet and what was decided of it. Carries no score and no name."""

    tracklet_id: TrackletId
    collection_id: CollectionId
    modality: Modality
    outcome: Outcome
    reasons: tuple[Reason, ...]
    threshold: Threshold | None
    model_id: ModelId | None
    evidence_id: str
    decided_at: datetime
    decision_revision: int
    """Of the tracklet's decision; grows when its outcome or its subject changes."""
    subject_id: SubjectId | None
    """The matched subject."""
    first_seen: datetime
    last_seen: datetime
    frame_count: int
    box: Box
    """Where it was seen best."""
    quality: Quality
    ended: bool
    capture_to_decision_s: float
    best_shot_id: str = ""
    """Of the picture that the camera's worker keeps; empty: none."""
    clip_id: str = ""
    """Of the clip around its first decision; empty: none."""
    zones: tuple[str, ...] = ()
    """The camera's zones in which it was seen, by name."""
    link_id: str = ""
    """Of an unknown person: the same for sightings that are taken for one person; empty otherwise."""
    link_until: datetime | None = None
    """The link is told no longer after this moment."""
    labels: tuple[str, ...] = ()
    """Of the matched subject, when it was decided."""
    person: PersonOfSighting | None = None
    """Of a body; None: of a face, or not known yet."""

    @property
    def named(self) -> tuple[tuple[CollectionId, SubjectId], ...]:
        """Whom it names: the subject that matched; or the anonymous person, and whose face gives it a name."""
        matched = [(self.collection_id, self.subject_id)] if self.subject_id is not None else []
        if self.person is None:
            return tuple(matched)
        face = [self.person.name.who] if self.person.name is not None else []
        return tuple(dict.fromkeys([*matched, (self.collection_id, SubjectId(self.person.person_id)), *face]))


@dataclass(frozen=True, slots=True)
class CameraEventBody:
    """What a camera worker saw happen to a camera."""

    kind: CameraEventKind
    state: CameraState | None
    detail: str
    regions: tuple[Box, ...] = ()
    probability: float | None = None
    clip_id: str = ""
    """Of the clip that the camera's worker keeps; empty: none."""


@dataclass(frozen=True, slots=True)
class VerifyFailureBody:
    """A claim to be somebody was not confirmed."""

    collection_id: CollectionId
    subject_id: SubjectId
    """Who it was claimed to be."""
    evidence_id: str


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A happening to be recorded; the store gives it revision and sequence."""

    event_id: EventId
    camera_id: CameraId
    event_time: datetime
    recorded_at: datetime
    valid_until: datetime
    body: SightingBody | CameraEventBody | VerifyFailureBody | Alert
    content_key: str
    """The same content has the same key: told again, nothing is written."""
    traceparent: str = ""
    """Of the span in which it was recorded; empty: that was not traced."""

    @property
    def named(self) -> tuple[tuple[CollectionId, SubjectId], ...]:
        """Whom it names; each once."""
        body = self.body
        if isinstance(body, Alert):
            return tuple((CollectionId(one), SubjectId(other)) for one, other in body.subjects)
        if isinstance(body, SightingBody):
            return body.named
        return () if isinstance(body, CameraEventBody) else ((body.collection_id, body.subject_id),)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One revision of one event, as recorded."""

    event: NewEvent
    sequence: int
    """Contiguous over all events when given; erasure and retention leave gaps behind."""
    revision: int
    """Of the event, from 1."""


@dataclass(frozen=True, slots=True)
class EventHead:
    """Where the event log stands."""

    newest: int
    """Sequence of the last event that was recorded; 0: none yet."""
    oldest: int
    """No event before this sequence is kept."""
