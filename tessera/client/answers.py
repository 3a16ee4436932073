"""What the SDK answers, in the field's words: frozen values without any message or transport in them.

Those about people who are enrolled are in `subject_values`, those about collections in `collection_values`; all of
them can be had from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tessera.client.alert_values import Alert, AlertStep, AlertSubject, RuleTest, StoredRule, VerifyFailure
from tessera.client.collection_values import (
    Collection,
    DecisionPolicy,
    DuplicatePolicy,
    ModelEpoch,
    OutlierPolicy,
    QualityGate,
)
from tessera.client.person_values import AnonymousPerson
from tessera.client.subject_values import (
    Correction,
    CorrectionAction,
    DuplicateCandidate,
    Enrolment,
    ErasureReceipt,
    ErasureState,
    SampleResult,
    Subject,
    SubjectChange,
    Template,
    TemplateCorrection,
    Verdict,
)
from tessera.domain.calibration import Threshold
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason

__all__ = [
    "Alert",
    "AlertStep",
    "AlertSubject",
    "Answer",
    "Camera",
    "CameraChange",
    "CameraState",
    "CameraStatus",
    "Collection",
    "Comparison",
    "Correction",
    "CorrectionAction",
    "DecisionPolicy",
    "DuplicateCandidate",
    "DuplicatePolicy",
    "Enrolment",
    "ErasureReceipt",
    "ErasureState",
    "Event",
    "Identification",
    "MatchCandidate",
    "ModelEpoch",
    "OutlierPolicy",
    "QualityGate",
    "RuleTest",
    "SampleResult",
    "SearchCoverage",
    "SearchMode",
    "ServiceState",
    "ServiceStatus",
    "Sighting",
    "Snapshot",
    "StoredRule",
    "Subject",
    "SubjectChange",
    "Template",
    "TemplateCorrection",
    "Verdict",
    "Verification",
    "VerifyFailure",
    "VerifyTimes",
]

# ---- decisions


@dataclass(frozen=True, slots=True)
class Answer:
    """One decision and what it rests on."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    """Why it is inconclusive; otherwise what weakened it."""
    threshold: Threshold | None
    """The error rate that the decision stands for; None when inconclusive before one was chosen."""
    score: float | None
    """Higher = more alike, in [-1, 1]; None unless it was asked for."""
    model_id: str
    evidence_id: str
    """Names this answer in the audit log."""
    decided_at: datetime | None

    @property
    def is_match(self) -> bool:
        """The same person, at the error rate of the threshold."""
        return self.outcome is Outcome.MATCH


@dataclass(frozen=True, slots=True)
class VerifyTimes:
    """Where the time of a verification went, in milliseconds."""

    encode_ms: float
    """The call to the encoder as the gallery saw it."""
    compare_ms: float
    store_ms: float
    total_ms: float
    encoder_stages_ms: Mapping[str, float]
    """queue, decode, detect, align, quality, embed and total, as the encoder measured them; empty for embeddings."""


class SearchMode(StrEnum):
    """How an index searches."""

    EXACT = "EXACT"
    """Everybody was compared."""
    APPROXIMATE = "APPROXIMATE"
    """Somebody who is enrolled may be missed."""
    UNSPECIFIED = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class SearchCoverage:
    """What an answer of the gallery rests on."""

    shards_total: int
    shards_searched: int
    complete: bool
    """All shards were searched."""
    mode: SearchMode
    vectors_in_clear: bool
    """The index keeps templates unencrypted outside of the gallery."""
    behind_changes: int
    """That the store had and the gallery's index had not, as far as it knew."""
    behind_s: float
    """Since the index last had all changes; 0: it had."""
    subjects_searched: int


@dataclass(frozen=True, slots=True)
class Verification(Answer):
    """Whether a picture shows the subject that was claimed: MATCH, NO_MATCH or INCONCLUSIVE."""

    subject_id: str
    template_id: str
    """The template that scored highest."""
    quality: Quality | None
    """Of the probe; None for embeddings and where no face was found."""
    box: Box | None
    times: VerifyTimes | None
    coverage: SearchCoverage | None = None
    position: int = 0
    """Of the state that answered."""


@dataclass(frozen=True, slots=True)
class Comparison(Answer):
    """Whether two pictures show the same person: MATCH, NO_MATCH or INCONCLUSIVE."""

    first_quality: Quality | None
    second_quality: Quality | None
    first_box: Box | None
    second_box: Box | None


@dataclass(frozen=True, slots=True)
class MatchCandidate:
    """One enrolled subject that a search found."""

    subject_id: str
    display_name: str
    template_id: str
    above_threshold: bool
    score: float | None


@dataclass(frozen=True, slots=True)
class Identification(Answer):
    """Who one face of a picture is: MATCH, UNKNOWN or INCONCLUSIVE."""

    candidates: tuple[MatchCandidate, ...]
    """Best first."""
    box: Box | None
    quality: Quality | None
    coverage: SearchCoverage | None = None
    """The same for all faces of a picture."""
    positions: tuple[int, ...] = ()
    """Of each shard, of the state that answered."""

    @property
    def subject_id(self) -> str:
        """The matched subject; empty unless the outcome is MATCH."""
        return self.candidates[0].subject_id if self.is_match and self.candidates else ""

    @property
    def display_name(self) -> str:
        """The matched subject's name for people to read; empty unless the outcome is MATCH."""
        return self.candidates[0].display_name if self.is_match and self.candidates else ""


# ---- cameras


class CameraState(StrEnum):
    """How a camera does."""

    CONNECTING = "CONNECTING"
    ONLINE = "ONLINE"
    LOST = "LOST"
    FROZEN = "FROZEN"
    DISABLED = "DISABLED"
    ENDED = "ENDED"
    WAITING = "WAITING"
    UNSPECIFIED = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """How one camera does; frames are counted since its worker started."""

    camera_id: str
    state: CameraState
    detail: str
    """What the source said last, without credentials; empty while all is well."""
    last_frame_time: datetime | None
    frames_sampled: int
    frames_encoded: int
    frames_skipped: int
    frames_expired: int
    frames_failed: int
    frames_in_flight: int
    skip_counts: Mapping[Reason, int]
    width_px: int
    height_px: int
    latency_ms: float | None
    """From capture to the encoder's answer, newest frame."""
    active_tracklets: int
    reconnects: int
    sample_rate_hz: float = 0.0
    """Frames a second that are looked at now; below the camera's own while the encoder has no room. 0: not told."""
    worker_address: str = ""
    """host:port of the worker that watches it; empty: none does."""
    lease_token: int = 0
    """Of the lease that it is watched under."""
    clock: CameraClock | None = None
    """Where its capture times come from; None before the first frame."""
    quarantined_pictures: int = 0
    """Held back since they crashed whoever looked at them."""
    scene: str = ""
    """What the camera sees of its scene: UNWATCHED, LEARNING, CLEAR, COVERED, DEFOCUSED or MOVED; empty: not told."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A place in a camera's picture."""

    name: str
    """May be empty where it is masked."""
    corners: tuple[tuple[float, float], ...]
    """A polygon: (x, y) in fractions of width and height."""
    masked: bool = False
    """Nothing is looked at inside it."""


class Transport(StrEnum):
    """How an RTSP server sends its packets."""

    TCP = "TCP"
    """Within the connection: nothing is lost, and a bad network makes it late."""
    UDP = "UDP"
    """Beside it: never late, and a bad network tears pictures."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a camera's stream is read."""

    transport: Transport = Transport.TCP
    key_frames_only: bool = False
    """Key frames alone are decoded: one each second or two, for a fraction of the work."""
    sub_stream_url: str = ""
    """The smaller stream of the same camera, to be looked at instead; where it does not open, the main one is read."""
    hardware_decode: bool = False
    """Frames are decoded on a device where there is one."""
    as_fast_as_possible: bool = False
    """Files: every sampled frame, as fast as they are taken."""


class ClockKind(StrEnum):
    """Where capture times come from."""

    ARRIVAL = "ARRIVAL"
    STREAM = "STREAM"
    """The stream's own clock, mapped to the worker's by its arrivals."""
    SENDER = "SENDER"
    """The sender's wall clock, which is set as the worker's is."""
    FILE = "FILE"


@dataclass(frozen=True, slots=True)
class CameraClock:
    """Where a camera's capture times come from, and how well."""

    kind: ClockKind
    drift_ppm: float
    """By how much the stream's clock runs fast, in millionths."""
    delay_s: float
    """How much later than its least delay the newest packet came."""
    sender_offset_s: float | None
    """By how much the sender's clock is ahead of the worker's; None: it does not say."""
    host_clock_jumps: int


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera as it was set up, its URL without credentials, and how it does."""

    camera_id: str
    url: str
    sample_rate_hz: float
    collection_id: str
    enabled: bool
    status: CameraStatus | None
    zones: tuple[Zone, ...] = ()
    only_zones: bool = False
    min_side_px: int = 0
    motion_gate: bool = True
    watch_scene: bool = True
    stream: StreamOptions = field(default_factory=StreamOptions)
    labels: Mapping[str, str] = field(default_factory=dict)
    modalities: tuple[Modality, ...] = ()
    """What is looked for; empty: not told."""
    person_collection_id: str = ""
    """Where persons are looked for."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The newest sampled frame of a camera."""

    jpeg: bytes
    capture_time: datetime


# ---- events


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody was seen: one tracklet, and what was decided of it."""

    tracklet_id: str
    collection_id: str
    answer: Answer
    subject_id: str
    display_name: str
    first_seen: datetime
    last_seen: datetime
    frame_count: int
    ended: bool
    capture_to_decision_ms: float | None
    best_shot_id: str = ""
    """Names the picture that `Tessera.shot` fetches; empty: none is kept."""
    clip_id: str = ""
    """Names the clip that `Tessera.clip` fetches; empty: none is kept."""
    zones: tuple[str, ...] = ()
    """The camera's zones in which it was seen so far, by name."""
    link_id: str = ""
    """Of an unknown person: the same for all sightings that are taken for one person; empty otherwise."""
    labels: tuple[str, ...] = ()
    """Of the matched subject, when this was recorded."""
    person: AnonymousPerson | None = None
    """Of a body: who it is taken for; None: of a face, or told no longer."""


@dataclass(frozen=True, slots=True)
class CameraChange:
    """Something happened to a camera: ONLINE, LOST, FROZEN, COVERED, ..."""

    kind: str
    detail: str
    clip_id: str = ""
    """Names the clip that `Tessera.clip` fetches; empty: none is kept."""
    regions: tuple[Box, ...] = ()
    """Where in the picture, for scene changes; in pixels."""
    probability: float | None = None
    """How clear the evidence was, for scene changes; no error rate."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; exactly one of `sighting`, `camera_change`, `alert` and `verify_failure` is set, or none of them for a
    kind of a later version."""

    event_id: str
    revision: int
    cursor: str
    event_time: datetime
    recorded_at: datetime
    valid_until: datetime
    """Nothing may be done because of it after this moment."""
    camera_id: str
    replayed: bool
    """It was recorded before this watch began."""
    sighting: Sighting | None
    camera_change: CameraChange | None
    alert: Alert | None = None
    """As it was when this was told."""
    verify_failure: VerifyFailure | None = None


# ---- services


class ServiceState(StrEnum):
    """What a service's health check says."""

    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    UNREACHABLE = "UNREACHABLE"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service and whether it takes work."""

    name: str
    address: str
    state: ServiceState
