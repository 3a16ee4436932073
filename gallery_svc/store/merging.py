"""What a change makes of a subject: the one rule that every store follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from gallery_svc.rows import SearchRow, TemplateRow
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.subject_records import SubjectProfile, SubjectRecord
from gallery_svc.store.write_records import Enrollment, ProfileUpdate, TemplateDeletion
from tessera.domain.errors import (
    InvalidInputError,
    ModelMismatchError,
    NotFoundError,
    PreconditionError,
    RevisionChangedError,
)
from tessera.domain.ids import SubjectId

MAX_SHARDS = 64
"""Parts that a collection can have."""

PROFILE_FIELDS = frozenset(field.name for field in fields(SubjectProfile))
"""What a profile update may name."""


@dataclass(frozen=True, slots=True, eq=False)
class SubjectState:
    """Everything that is kept of a subject, but its pictures."""

    subject: SubjectRecord
    rows: Mapping[int, SearchRow]
    """By epoch; an epoch may lack one."""


def require_shards(record: CollectionRecord) -> None:
    """Refuse a collection of no parts, or of too many.

    Raises:
        InvalidInputError: not 1 to 64.
    """
    if not 1 <= record.shards <= MAX_SHARDS:
        raise InvalidInputError("shards", record.shards, f"1 to {MAX_SHARDS}")


def require_model(record: CollectionRecord, enrollment: Enrollment) -> None:
    """Refuse templates that the collection's searches could not compare.

    Raises:
        ModelMismatchError: a template was made by another model.
    """
    for template in enrollment.templates:
        if template.record.model_id != record.model_id:
            raise ModelMismatchError(record.model_id, template.record.model_id)


def require_inactive(record: CollectionRecord, epoch: int, *, known: bool) -> None:
    """Refuse to touch the rows that searches use behind the change log's back.

    Args:
        record: of the collection.
        epoch: whose rows are to be written or removed.
        known: whether the record must name the epoch.

    Raises:
        InvalidInputError: it is the active one, or it must be named and is not.
    """
    named = {each.epoch for each in record.epochs}
    if epoch == record.active_epoch or (known and epoch not in named):
        others = ", ".join(str(each) for each in sorted(named - {record.active_epoch})) or "none"
        raise InvalidInputError("epoch", epoch, f"an epoch of the collection that is not active: {others}")


def enrolled(before: SubjectState | None, enrollment: Enrollment, epoch: int) -> SubjectState:
    """A subject after an enrolment: its templates grow, and what the enrolment leaves empty stays as it was.

    A template of an id that it has already takes that one's place. Rows of other epochs keep their templates: whoever
    builds them finds what they lack.
    """
    new = tuple(template.record for template in enrollment.templates)
    ids = {template.template_id for template in new}
    added = tuple(TemplateRow(template.record.template_id, template.vector) for template in enrollment.templates)
    if before is None:
        subject = SubjectRecord(
            subject_id=enrollment.subject_id,
            collection_id=enrollment.collection_id,
            profile=enrollment.profile,
            templates=new,
            created_at=enrollment.at,
            updated_at=enrollment.at,
            revision=1,
        )
        return SubjectState(subject, {epoch: SearchRow(subject.subject_id, subject.profile.searched, added)})
    subject = replace(
        before.subject,
        profile=_merged_profile(before.subject.profile, enrollment.profile),
        templates=tuple(each for each in before.subject.templates if each.template_id not in ids) + new,
        updated_at=enrollment.at,
        revision=before.subject.revision + 1,
    )
    held = tuple(t for t in before.rows[epoch].templates if t.template_id not in ids) if epoch in before.rows else ()
    row = SearchRow(subject.subject_id, subject.profile.searched, held + added)
    return SubjectState(subject, _with_profile(before.rows, subject.profile) | {epoch: row})


def updated(before: SubjectState, update: ProfileUpdate) -> SubjectState:
    """A subject after a change of what is said of it; the rows of all epochs follow.

    Raises:
        InvalidInputError: a field that a profile does not have.
        RevisionChangedError: it is not at the expected revision.
    """
    subject = before.subject
    if not update.fields <= PROFILE_FIELDS:
        raise InvalidInputError("fields", min(update.fields - PROFILE_FIELDS), ", ".join(sorted(PROFILE_FIELDS)))
    if update.expected_revision not in (0, subject.revision):
        raise RevisionChangedError("subject", subject.subject_id, update.expected_revision, subject.revision)
    profile = replace(subject.profile, **{name: getattr(update.profile, name) for name in update.fields})
    after = replace(subject, profile=profile, updated_at=update.at, revision=subject.revision + 1)
    return SubjectState(after, _with_profile(before.rows, profile))


def without_template(before: SubjectState, deletion: TemplateDeletion) -> SubjectState:
    """A subject after one of its templates went, in every epoch.

    Raises:
        NotFoundError: it has no such template.
        PreconditionError: it is the last one.
    """
    subject = before.subject
    kept = tuple(each for each in subject.templates if each.template_id != deletion.template_id)
    if len(kept) == len(subject.templates):
        raise NotFoundError("template", deletion.template_id)
    if not kept:
        raise PreconditionError(
            "LAST_TEMPLATE", "template_id", deletion.template_id, "any but the last one; erase the subject instead"
        )
    after = replace(subject, templates=kept, updated_at=deletion.at, revision=subject.revision + 1)
    left = {
        epoch: replace(row, templates=tuple(t for t in row.templates if t.template_id != deletion.template_id))
        for epoch, row in before.rows.items()
    }
    return SubjectState(after, {epoch: row for epoch, row in left.items() if row.templates})


def erased_since(subject_id: SubjectId) -> NotFoundError:
    """What a retry is told whose subject is there no more, even if somebody of its id was enrolled again."""
    return NotFoundError("subject", subject_id, "it was erased since this request was answered")


def rewritten(current: CollectionRecord, record: CollectionRecord, expected_revision: int) -> CollectionRecord:
    """A collection's record after a change; what was fixed at its creation stays.

    Raises:
        RevisionChangedError: it is not at the expected revision.
    """
    if current.revision != expected_revision:
        raise RevisionChangedError("collection", current.collection_id, expected_revision, current.revision)
    return replace(
        record,
        modality=current.modality,
        shards=current.shards,
        generation=current.generation,
        created_at=current.created_at,
        request_id=current.request_id,
        revision=current.revision + 1,
    )


def _with_profile(rows: Mapping[int, SearchRow], profile: SubjectProfile) -> dict[int, SearchRow]:
    searched = profile.searched
    return {epoch: replace(row, profile=searched) if row.profile != searched else row for epoch, row in rows.items()}


def _merged_profile(before: SubjectProfile, after: SubjectProfile) -> SubjectProfile:
    return SubjectProfile(
        **{field.name: getattr(after, field.name) or getattr(before, field.name) for field in fields(SubjectProfile)}
    )
