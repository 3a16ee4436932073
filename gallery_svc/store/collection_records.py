"""Collections as they are kept: policy, gate, epochs of their models, and where their logs stand. Times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tessera.domain.calibration import (
    DEFAULT_TARGET_FMR,
    DEFAULT_TARGET_FPIR,
    PERSON_TARGET_FMR,
    PERSON_TRACKLET_FRAMES,
    USUAL_IMPOSTORS,
    Impostors,
)
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId, ModelId

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
