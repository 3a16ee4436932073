"""What goes into an enrolment and what comes out of it, between the servicer, the judge and the store."""

from __future__ import annotations

from dataclasses import dataclass

from gallery_svc.integrity import DuplicateFound
from gallery_svc.probes import Probe
from gallery_svc.store.collection_records import DuplicatePolicy, OutlierPolicy
from gallery_svc.store.subject_records import SubjectProfile
from gallery_svc.store.write_records import Enrolled
from tessera.domain.ids import CollectionId, RequestId, SubjectId, TemplateId
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason


@dataclass(frozen=True, slots=True, eq=False)
class EnrolmentRequest:
    """What a caller wants enrolled."""

    collection_id: CollectionId
    subject_id: SubjectId | None
    """None: the gallery makes one."""
    samples: tuple[Probe, ...]
    """1 to 16 of one person."""
    profile: SubjectProfile
    request_id: RequestId | None
    require_all: bool
    """Every sample must be accepted."""
    caller: str = ""
    duplicate_policy: DuplicatePolicy | None = None
    """None: the collection's."""
    outlier_policy: OutlierPolicy | None = None
    """None: the collection's."""


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """What became of one sample."""

    reasons: tuple[Reason, ...]
    """Why it was not accepted; of one that was, what is told of it all the same."""
    detail: str
    template_id: TemplateId | None
    """None: it was not accepted."""
    quality: Quality | None
    box: Box | None


@dataclass(frozen=True, slots=True)
class SampleOutcomes:
    """What became of each sample, in order, and whom they look like; kept with the request id."""

    samples: tuple[SampleOutcome, ...]
    duplicates: tuple[DuplicateFound, ...] = ()
    merged: bool = False
    """The samples went to the subject that they already were."""


@dataclass(frozen=True, slots=True)
class EnrolmentAnswer:
    """What was written, now or the first time."""

    enrolled: Enrolled
    outcomes: tuple[SampleOutcome, ...]
    duplicates: tuple[DuplicateFound, ...] = ()
    merged: bool = False
