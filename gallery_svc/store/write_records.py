"""What is asked of a store to be written, and what it answers. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, SubjectRecord
from tessera.domain.ids import CollectionId, RequestId, SubjectId, TemplateId


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
