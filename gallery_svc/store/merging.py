"""What an enrolment makes of a subject: the one rule that every store follows."""

from __future__ import annotations

from dataclasses import fields, replace

from gallery_svc.store.records import Enrollment, SubjectProfile, SubjectRecord


def merged(before: SubjectRecord | None, enrollment: Enrollment) -> SubjectRecord:
    """The subject after an enrolment: its templates grow, and what the enrolment leaves empty stays as it was."""
    new = tuple(template.record for template in enrollment.templates)
    if before is None:
        return SubjectRecord(
            subject_id=enrollment.subject_id,
            collection_id=enrollment.collection_id,
            profile=enrollment.profile,
            templates=new,
            created_at=enrollment.at,
            updated_at=enrollment.at,
            revision=1,
        )
    return replace(
        before,
        profile=_merged_profile(before.profile, enrollment.profile),
        templates=before.templates + new,
        updated_at=enrollment.at,
        revision=before.revision + 1,
    )


def _merged_profile(before: SubjectProfile, after: SubjectProfile) -> SubjectProfile:
    return SubjectProfile(
        **{field.name: getattr(after, field.name) or getattr(before, field.name) for field in fields(SubjectProfile)}
    )
