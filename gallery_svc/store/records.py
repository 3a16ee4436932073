"""What the gallery keeps: collections, subjects, templates, changes, events, audit entries; as plain values.

Every store reads and writes these and nothing else. Times are UTC. No record holds a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gallery_svc.rows import HalfVector, SearchProfile, SearchRow
from tessera.domain.alerting.alerts import Alert
from tessera.domain.calibration import (
    DEFAULT_TARGET_FMR,
    DEFAULT_TARGET_FPIR,
    PERSON_TARGET_FMR,
    PERSON_TRACKLET_FRAMES,
    USUAL_IMPOSTORS,
    Impostors,
    Threshold,
)
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.ids import CameraId, CollectionId, EventId, ModelId, RequestId, SubjectId, TemplateId, TrackletId
from tessera.domain.joint import JointThreshold
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason
from tessera.trust.stamps import Stamp

# ---- collections

DEFAULT_PERSON_RETENTION_S = 8 * 3600.0


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """The error rates that a collection's decisions stand for."""

    verify_target_fmr: float = DEFAULT_TARGET_FMR
    """False match rate of one comparison, in (0, 1)."""
    identify_target_fpir: float = DEFAULT_TARGET_FPIR
    """False-positive identification rate of one search, in (0, 1)."""
    planned_gallery_size: int = 0
    """Subjects it is planned for; thresholds hold for the larger of this and the present number."""
    min_tracklet_frames: int = 2
    """Usable samples that a tracklet needs before it is decided; 1 to 100."""
    allow_extrapolation: bool = False
    """Thresholds beyond what the calibration's data measured are allowed, and marked."""
    impostors: Impostors = Impostors.RANDOM
    """Whose false matches `verify_target_fmr` counts; `identify_target_fpir` is of strangers as they are, always."""

    @classmethod
    def usual(cls, modality: Modality) -> PolicyRecord:
        """What a collection has where nobody says otherwise."""
        impostors = USUAL_IMPOSTORS[modality]
        if modality is Modality.PERSON:
            return cls(PERSON_TARGET_FMR, min_tracklet_frames=PERSON_TRACKLET_FRAMES, impostors=impostors)
        return cls(verify_target_fmr=impostors.default_target_fmr, impostors=impostors)


class DuplicatePolicy(StrEnum):
    """What an enrolment does with samples that already are another subject's."""

    REPORT = "REPORT"
    """Enrol, and say so."""
    REJECT = "REJECT"
    IGNORE = "IGNORE"
    """Do not look."""
    MERGE = "MERGE"
    """Add the samples to the other subject instead."""
    KEEP_APART = "KEEP_APART"
    """Enrol, and record that the two are known to differ."""


class OutlierPolicy(StrEnum):
    """What an enrolment does with a sample that does not look like the subject's others."""

    REJECT = "REJECT"
    REPORT = "REPORT"
    """Enrol it, and say so."""
    IGNORE = "IGNORE"
    """Do not look."""


@dataclass(frozen=True, slots=True)
class GateRecord:
    """What a sample must reach to be enrolled, beyond the encoder's own gate. Each in [0, 1]; None: not asked for."""

    min_sharpness: float | None = None
    min_brightness: float | None = None
    max_brightness: float | None = None
    min_contrast: float | None = None
    min_size: float | None = None
    min_pose: float | None = None


class EpochState(StrEnum):
    """What a collection's templates of one model are for."""

    SHADOW = "SHADOW"
    """Being built; searched by nobody."""
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"
    """Was active, and is kept so that the change can be taken back."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The templates of one model."""

    epoch: int
    """From 1; never used again."""
    model_id: ModelId
    state: EpochState


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """Who is searched together, by which encoder, at which error rates."""

    collection_id: CollectionId
    modality: Modality
    model_id: ModelId
    """The encoder whose embeddings are searched: that of the active epoch."""
    created_at: datetime
    display_name: str = ""
    policy: PolicyRecord = PolicyRecord()
    gate: GateRecord = GateRecord()
    labels: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    """Of the call that created it; empty: none was given."""
    shards: int = 1
    """Parts that its subjects are spread over; fixed when it is created. 1 to 64."""
    generation: str = ""
    """Made by the store at its creation: tells this collection from an earlier one of the same name."""
    revision: int = 1
    """Grows with each change of this record."""
    keep_source_images: bool = False
    """Keep the pictures of templates, sealed, so that they can be embedded again."""
    active_epoch: int = 1
    epochs: tuple[EpochRecord, ...] = ()
    """Empty: the active one alone, of `model_id`."""
    duplicate_policy: DuplicatePolicy = DuplicatePolicy.REPORT
    outlier_policy: OutlierPolicy = OutlierPolicy.REJECT
    retention_s: float | None = None
    """Subjects are erased so long after their last enrolment; None: kept until deleted."""
    camera_policies: Mapping[str, PolicyRecord] = field(default_factory=dict)
    """Instead of `policy`, for questions and tracklets of a camera."""
    allow_persistent_persons: bool = False
    """Of persons: they can be enrolled, and looks at them may be kept for longer than a day."""
    person_retention_s: float = DEFAULT_PERSON_RETENTION_S
    """Looks at persons and their sightings are erased so long after they were seen."""

    def policy_for(self, camera_id: str) -> PolicyRecord:
        """The policy of a question that a camera asks; of one that no camera asks where the id is empty."""
        return self.camera_policies.get(camera_id, self.policy)


@dataclass(frozen=True, slots=True)
class Position:
    """Where the change log of one shard stands."""

    sequence: int
    """Changes so far: contiguous, from 1; 0: none."""
    chain: str
    """Digest over all changes up to here: two histories of the same length with other content differ."""


@dataclass(frozen=True, slots=True, order=True)
class ShardPosition:
    """A place in the change log of one shard, as callers carry it."""

    shard: int
    sequence: int

    @property
    def wire(self) -> int:
        """As one number: the shard above bit 48. Shard 0 is the sequence itself."""
        return self.shard << 48 | self.sequence

    @classmethod
    def from_wire(cls, number: int) -> ShardPosition:
        """What `wire` gave."""
        return cls(number >> 48, number & (1 << 48) - 1)


@dataclass(frozen=True, slots=True)
class CollectionHead:
    """A collection's logs and its counts; each shard as one moment saw it."""

    generation: str
    positions: tuple[Position, ...]
    """One for each shard."""
    subject_count: int
    template_count: int


# ---- subjects


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """One enrolled sample, without its vector."""

    template_id: TemplateId
    model_id: ModelId
    created_at: datetime
    quality: Quality | None
    """None when it came as an embedding."""
    source_sha256: str
    """Of the picture it came from, hex; empty when it came as an embedding."""


@dataclass(frozen=True, slots=True)
class SubjectProfile:
    """What an enrolment says of a subject beyond its samples."""

    display_name: str = ""
    external_id: str = ""
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    consent_reference: str = ""
    valid_from: datetime | None = None
    """UTC, inclusive; None: always."""
    valid_until: datetime | None = None
    """UTC, exclusive; None: for ever."""
    camera_ids: tuple[str, ...] = ()
    """Only these cameras find the subject; empty: all."""
    distinct_from: tuple[str, ...] = ()
    """Subjects that look alike and are known to be others."""

    @property
    def searched(self) -> SearchProfile:
        """What an index needs of it."""
        return SearchProfile(
            self.display_name,
            tuple(sorted(set(self.labels))),
            tuple(sorted(set(self.camera_ids))),
            self.valid_from,
            self.valid_until,
        )


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """One person (or signer) of a collection."""

    subject_id: SubjectId
    collection_id: CollectionId
    profile: SubjectProfile
    templates: tuple[TemplateRecord, ...]
    created_at: datetime
    updated_at: datetime
    revision: int
    """Grows with each change, from 1."""


@dataclass(frozen=True, slots=True)
class SubjectPage:
    """Some subjects, by id."""

    subjects: tuple[SubjectRecord, ...]
    next_after: str
    """Give it as `after` to go on; empty: this was the last page."""


@dataclass(frozen=True, slots=True, eq=False)
class NewTemplate:
    """A sample to be enrolled."""

    record: TemplateRecord
    vector: HalfVector
    """Of `rows.half`."""
    picture: bytes | None = None
    """As it was sent; kept, sealed, only where the collection keeps pictures."""


# ---- writes and their answers


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a retry a retry."""

    request_id: RequestId
    content_digest: str
    """sha256 over all that the request asks for, hex."""


@dataclass(frozen=True, slots=True, eq=False)
class Enrollment:
    """One atomic change: templates for a subject, and the subject itself when it is new."""

    collection_id: CollectionId
    subject_id: SubjectId
    profile: SubjectProfile
    """Fields that are empty leave what the subject already has."""
    templates: tuple[NewTemplate, ...]
    at: datetime
    audit: AuditRecord
    request: RequestKey | None = None
    note: str = ""
    """Kept with the request key for its time and given back on a replay; the store does not read it."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment wrote, now or the first time."""

    subject: SubjectRecord
    position: ShardPosition
    replayed: bool
    note: str


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """One atomic change of what is said of a subject."""

    collection_id: CollectionId
    subject_id: SubjectId
    profile: SubjectProfile
    fields: frozenset[str]
    """Names of the profile's fields that are taken from `profile`; the others stay as they are."""
    at: datetime
    audit: AuditRecord
    expected_revision: int = 0
    """0: whatever it is."""
    request: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class TemplateDeletion:
    """One atomic change: a template of a subject goes; the last one may not."""

    collection_id: CollectionId
    subject_id: SubjectId
    template_id: TemplateId
    at: datetime
    audit: AuditRecord
    request: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of a subject wrote, now or the first time."""

    subject: SubjectRecord
    position: ShardPosition
    replayed: bool


@dataclass(frozen=True, slots=True)
class Erasure:
    """One atomic change: a subject and everything of it goes."""

    collection_id: CollectionId
    subject_id: SubjectId
    receipt_id: str
    events_erased: int
    at: datetime
    audit: AuditRecord
    request: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Erased:
    """The receipt: what was erased. Holds no name and no vector."""

    receipt_id: str
    collection_id: CollectionId
    subject_id: SubjectId
    templates_erased: int
    events_erased: int
    erased_at: datetime
    position: ShardPosition
    replayed: bool
    pictures_erased: int = 0


@dataclass(frozen=True, slots=True)
class OpenErasure:
    """An erasure of which something is still to be done: events, replicas, files."""

    erased: Erased
    generation: str


@dataclass(frozen=True, slots=True)
class ErasureEnd:
    """What was true when nothing was left to be done for an erasure."""

    at: datetime
    replicas_confirmed: int
    """Galleries that had told that their indexes are without the subject."""


# ---- what followers read


class ChangeKind(StrEnum):
    """What a change did."""

    ENROLLED = "ENROLLED"
    UPDATED = "UPDATED"
    TEMPLATE_DELETED = "TEMPLATE_DELETED"
    ERASED = "ERASED"
    REPAIRED = "REPAIRED"


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One entry of a shard's change log."""

    position: Position
    kind: ChangeKind
    subject_id: SubjectId
    row: SearchRow | None
    """The subject as it is now, in the active epoch; None: it is no longer there."""


@dataclass(frozen=True, slots=True)
class Member:
    """A gallery process that follows the store."""

    member_id: str
    at: datetime
    """Of its last sign of life."""
    positions: Mapping[str, tuple[int, ...]]
    """What its indexes hold: for each collection a sequence for each shard."""
    generations: Mapping[str, str] = field(default_factory=dict)
    """Of the collections that these positions mean."""


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """Something in a shard that no whole write left there."""

    collection_id: CollectionId
    shard: int
    what: str
    """PENDING, LOG, COUNTS, STATE, CHAIN or SEALED."""
    detail: str
    subject_id: SubjectId | None = None


# ---- audit, as it is kept


AuditStamp = Stamp
"""What makes a kept entry provable; anybody can check it, so it lives where the checks do."""


@dataclass(frozen=True, slots=True)
class StoredAudit:
    """An audit entry as it is kept."""

    sequence: int
    """In its log: contiguous, from 1."""
    entry: bytes
    """The record as text; the bytes that the stamp covers."""
    stamp: AuditStamp


# ---- events


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


# ---- audit


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who asked what, when, with which outcome. Holds no score, no name and no vector."""

    method: str
    at: datetime
    evidence_id: str
    caller: str = ""
    collection_id: CollectionId | None = None
    subject_id: SubjectId | None = None
    request_id: str = ""
    outcome: Outcome | None = None
    threshold: Threshold | None = None
    detail: str = ""
    """What else was asked, such as the id of a calibration."""
