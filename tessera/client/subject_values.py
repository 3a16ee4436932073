"""What the SDK says of people who are enrolled: frozen values without any message or transport in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tessera.domain.calibration import Threshold
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Template:
    """One enrolled sample, without its vector."""

    template_id: str
    model_id: str
    created_at: datetime
    source_sha256: str


@dataclass(frozen=True, slots=True)
class Subject:
    """One person who is enrolled."""

    subject_id: str
    collection_id: str
    display_name: str
    external_id: str
    labels: tuple[str, ...]
    consent_reference: str
    templates: tuple[Template, ...]
    created_at: datetime
    updated_at: datetime
    revision: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    valid_from: datetime | None = None
    """Decisions find the subject from then on; None: always."""
    valid_until: datetime | None = None
    """Decisions find the subject before then; None: for ever."""
    camera_ids: tuple[str, ...] = ()
    """Only these cameras find the subject; empty: all."""
    distinct_from: tuple[str, ...] = ()
    """Subjects that look like this one and are known to be others."""


@dataclass(frozen=True, slots=True)
class SampleResult:
    """What became of one sample of an enrolment."""

    index: int
    accepted: bool
    reasons: tuple[Reason, ...]
    """Why not. Of one that was accepted, what is told of it all the same: OUTLIER, where such samples are reported."""
    detail: str
    template_id: str
    quality: Quality | None

    @property
    def is_outlier(self) -> bool:
        """It does not look like the subject's others, whether it was accepted or not."""
        return Reason.OUTLIER in self.reasons


@dataclass(frozen=True, slots=True)
class DuplicateCandidate:
    """Another subject that the samples of an enrolment look like."""

    subject_id: str
    threshold: Threshold | None
    """Of the check: how often it takes a new person for somebody who is enrolled."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an enrolment wrote."""

    subject: Subject
    results: tuple[SampleResult, ...]
    position: int
    """A query that carries it as `min_position` sees this enrolment."""
    replayed: bool
    """The first answer to this request id, given again: nothing was written now."""
    request_id: str
    duplicates: tuple[DuplicateCandidate, ...] = ()
    """Other subjects that look like this one, best first."""
    merged: bool = False
    """The samples went to the subject that they already were: `subject` is that one."""

    @property
    def accepted(self) -> int:
        """Samples that became templates."""
        return sum(result.accepted for result in self.results)


@dataclass(frozen=True, slots=True)
class SubjectChange:
    """What a change of a subject wrote."""

    subject: Subject
    position: int
    """A query that carries it as `min_position` sees this change."""


class ErasureState(StrEnum):
    """How far an erasure is."""

    ACCEPTED = "ACCEPTED"
    """Gone from the store and from the gallery that answered; other galleries and the store's files follow."""
    COMPLETE = "COMPLETE"
    """Gone from everywhere."""
    UNSPECIFIED = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased. Written as JSON, it is what `tessera receipt verify` reads."""

    receipt_id: str
    collection_id: str
    subject_id: str
    templates_erased: int
    events_erased: int
    erased_at: datetime
    state: ErasureState = ErasureState.UNSPECIFIED
    completed_at: datetime | None = None
    replicas_confirmed: int = 0
    """Galleries that have told that their indexes are without it."""
    pictures_erased: int = 0
    statement: str = ""
    """The signed text: what stands above, as canonical JSON; empty when the gallery signs nothing."""
    signature: str = ""
    """Ed25519 over `statement`, base64."""
    signing_key_id: str = ""


# ---- corrections


class Verdict(StrEnum):
    """What somebody who knows says of a decision."""

    NOT_THIS_SUBJECT = "NOT_THIS_SUBJECT"
    """The sample does not show this subject, although it matched."""
    THIS_SUBJECT = "THIS_SUBJECT"
    """The sample shows this subject, although it did not match."""


class CorrectionAction(StrEnum):
    """What became of a template, or of the sample."""

    KEPT = "KEPT"
    """It matches the sample, and looks like the subject's others."""
    REMOVED = "REMOVED"
    """It matched the sample, and did not look like the subject's others."""
    ADDED = "ADDED"
    """The sample became a template."""
    REFUSED = "REFUSED"
    """The sample was not good enough, or is somebody else's."""
    UNSPECIFIED = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class TemplateCorrection:
    """What became of one template, or of the sample."""

    template_id: str
    """Empty: the sample did not become one."""
    action: CorrectionAction
    reasons: tuple[Reason, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Correction:
    """What a verdict did; of a dry run, what it would do."""

    corrections: tuple[TemplateCorrection, ...]
    """Of each template that matches the wrong sample, or of the sample that was missed. Empty: none matches it."""
    subject: Subject
    position: int
    """A query that carries it as `min_position` sees this change; 0: nothing was changed."""

    def having(self, action: CorrectionAction) -> tuple[TemplateCorrection, ...]:
        """Those with which this was done."""
        return tuple(one for one in self.corrections if one.action is action)
