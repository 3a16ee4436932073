"""What the SDK says of collections, and what their owners decide: frozen values without any message in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from tessera.domain.calibration import (
    DEFAULT_TARGET_FPIR,
    PERSON_TARGET_FMR,
    PERSON_TRACKLET_FRAMES,
    USUAL_IMPOSTORS,
    Impostors,
)
from tessera.domain.embedding import Modality


class DuplicatePolicy(StrEnum):
    """What an enrolment does with samples that already are another subject's."""

    REPORT = "REPORT"
    """Enrol, and say so in the answer."""
    REJECT = "REJECT"
    """Refuse, and name the other subject."""
    MERGE = "MERGE"
    """Add the samples to the other subject; refused when several look like it, or the named one is there already."""
    KEEP_APART = "KEEP_APART"
    """Enrol, and record that they are different people: they are not told as duplicates again."""
    IGNORE = "IGNORE"
    """Do not look."""


class OutlierPolicy(StrEnum):
    """What an enrolment does with a sample that does not look like the subject's others."""

    REJECT = "REJECT"
    """Leave the sample out."""
    REPORT = "REPORT"
    """Enrol it, and say so in its result."""
    IGNORE = "IGNORE"
    """Do not look."""


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """The error rates that decisions stand for."""

    verify_target_fmr: float | None = None
    """False match rate of a verification, in (0, 1). None: the usual one of its impostors, 1e-4 of strangers and 0.05
    of skilled forgers; what a gallery answers is always a rate."""
    identify_target_fpir: float = DEFAULT_TARGET_FPIR
    """False-positive identification rate of a search by somebody who is not enrolled, in (0, 1)."""
    planned_gallery_size: int = 0
    """Thresholds are set for the larger of this and the present number of subjects, so that they stay where they are
    while it fills. 0: the present number."""
    min_tracklet_frames: int = 2
    """Usable frames that a tracklet needs before it is decided; 1 to 100."""
    allow_extrapolation: bool = False
    """Rates up to a hundred times below what the calibration's data measured are allowed, and marked; else refused."""
    impostors: Impostors | None = None
    """Whose false matches `verify_target_fmr` counts; None: the modality's usual ones, which are skilled forgers for
    signatures. Searches are of strangers as they are, always."""

    @classmethod
    def usual(cls, modality: Modality) -> DecisionPolicy:
        """What a collection has where nobody says otherwise."""
        impostors = USUAL_IMPOSTORS[modality]
        if modality is Modality.PERSON:
            return cls(PERSON_TARGET_FMR, min_tracklet_frames=PERSON_TRACKLET_FRAMES, impostors=impostors)
        return cls(verify_target_fmr=impostors.default_target_fmr, impostors=impostors)


@dataclass(frozen=True, slots=True)
class QualityGate:
    """What a sample must reach to be enrolled. Each in [0, 1]; None: the encoder's own gate."""

    min_sharpness: float | None = None
    min_brightness: float | None = None
    max_brightness: float | None = None
    min_contrast: float | None = None
    min_size: float | None = None
    min_pose: float | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """Who is searched together, by which encoder."""

    collection_id: str
    display_name: str
    modality: Modality
    model_id: str
    subject_count: int
    template_count: int
    shard_count: int = 1
    positions: tuple[int, ...] = ()
    """Of the last change of each shard."""
    keep_source_images: bool = False
    """Pictures of templates are kept, sealed, so that another encoder can embed them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0
    epochs: tuple[ModelEpoch, ...] = ()
    """The models whose templates it holds, oldest first; one is active."""
    policy: DecisionPolicy = DecisionPolicy()
    quality_gate: QualityGate = QualityGate()
    duplicate_policy: DuplicatePolicy = DuplicatePolicy.REPORT
    outlier_policy: OutlierPolicy = OutlierPolicy.REJECT
    retention: timedelta | None = None
    """Subjects are erased so long after their last enrolment; None: kept until somebody erases them."""
    camera_policies: Mapping[str, DecisionPolicy] = field(default_factory=dict)
    """By camera, instead of `policy`, for questions and tracklets that name the camera."""
    allow_persistent_persons: bool = False
    """Of persons: they can be enrolled, and looks at them may be kept for more than a day."""
    person_retention: timedelta | None = None
    """Of persons: looks at them and their sightings are erased so long after they were seen; None: of anything else."""


@dataclass(frozen=True, slots=True)
class ModelEpoch:
    """The templates of one model."""

    epoch: int
    model_id: str
    state: str
    """SHADOW, ACTIVE or RETIRED."""
