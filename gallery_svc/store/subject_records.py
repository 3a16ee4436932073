"""Subjects and their templates as they are kept. No record holds a picture. Times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gallery_svc.rows import HalfVector, SearchProfile
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.observation import Quality


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
