"""Messages about subjects to domain values and back: checks fields, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from datetime import datetime
from typing import Literal

from gallery_svc.correcting import Corrected, Correction, CorrectionRequest, Verdict
from gallery_svc.enrolment_values import EnrolmentAnswer, EnrolmentRequest, SampleOutcome
from gallery_svc.integrity import DuplicateFound
from gallery_svc.keeping_apart import MAX_DISTINCT
from gallery_svc.policy_wire import duplicate_policy_from, outlier_policy_from
from gallery_svc.store.subject_records import SubjectPage, SubjectProfile, SubjectRecord, TemplateRecord
from gallery_svc.subjects import SubjectChange, SubjectFilter, TemplateChoice
from gallery_svc.wire import (
    box_of,
    collection_id_from,
    fields_from,
    probe_from,
    quality_of,
    request_id_from,
    subject_id_from,
)
from tessera.client import wire
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import TemplateId, checked_id
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import subject_pb2

_CHANGEABLE = (
    "display_name",
    "external_id",
    "labels",
    "metadata",
    "valid_from",
    "valid_until",
    "consent_reference",
    "camera_ids",
    "distinct_from",
)
_VERDICT = "VERDICT_"

# ---- what is asked


def enrolment_request(message: subject_pb2.EnrollSubjectRequest, caller: str) -> EnrolmentRequest:
    """What a caller wants enrolled."""
    return EnrolmentRequest(
        collection_id=collection_id_from(message.collection_id),
        subject_id=subject_id_from(message.subject_id) if message.subject_id else None,
        samples=tuple(probe_from(sample, f"samples[{at}]") for at, sample in enumerate(message.samples)),
        profile=_profile(message),
        request_id=request_id_from(message.request_id),
        require_all=message.require_all,
        caller=caller,
        duplicate_policy=duplicate_policy_from(message.duplicate_policy),
        outlier_policy=outlier_policy_from(message.outlier_policy),
    )


def enrolment_response(answer: EnrolmentAnswer) -> subject_pb2.EnrollSubjectResponse:
    """What was written."""
    return subject_pb2.EnrollSubjectResponse(
        subject=subject_to_wire(answer.enrolled.subject),
        results=[_sample_result(at, outcome) for at, outcome in enumerate(answer.outcomes)],
        position=answer.enrolled.position.wire,
        replayed=answer.enrolled.replayed,
        duplicates=[_duplicate(found) for found in answer.duplicates],
        enrolled_at=wire.time_to_wire(answer.enrolled.subject.updated_at),
        merged=answer.merged,
    )


def correction_request(message: subject_pb2.CorrectSubjectRequest, caller: str) -> CorrectionRequest:
    """What somebody who knows says of a decision."""
    names = {number: name.removeprefix(_VERDICT) for name, number in subject_pb2.Verdict.items() if number}
    if message.verdict not in names:
        raise InvalidInputError("verdict", message.verdict, ", ".join(Verdict))
    return CorrectionRequest(
        collection_id=collection_id_from(message.collection_id),
        subject_id=subject_id_from(message.subject_id),
        sample=probe_from(message.sample, "sample"),
        verdict=Verdict(names[message.verdict]),
        dry_run=message.dry_run,
        evidence_id=checked_id("evidence_id", message.evidence_id) if message.evidence_id else "",
        request_id=request_id_from(message.request_id),
        caller=caller,
    )


def correction_response(corrected: Corrected) -> subject_pb2.CorrectSubjectResponse:
    """What became of a subject."""
    return subject_pb2.CorrectSubjectResponse(
        corrections=[_correction(one) for one in corrected.corrections],
        subject=subject_to_wire(corrected.subject),
        position=corrected.position,
    )


def _correction(one: Correction) -> subject_pb2.TemplateCorrection:
    return subject_pb2.TemplateCorrection(
        template_id=one.template_id or "",
        action=subject_pb2.CorrectionAction.Value(f"CORRECTION_ACTION_{one.action}"),
        reasons=[wire.reason_to_wire(reason) for reason in one.reasons],
        detail=one.detail,
    )


def _duplicate(found: DuplicateFound) -> subject_pb2.DuplicateCandidate:
    decision = pb.Decision(
        outcome=pb.OUTCOME_MATCH,
        threshold=wire.threshold_to_wire(found.threshold),
        model_id=found.threshold.model_id,
    )
    return subject_pb2.DuplicateCandidate(subject_id=found.subject_id, decision=decision)


def subject_change(message: subject_pb2.UpdateSubjectRequest, caller: str) -> SubjectChange:
    """What a caller wants changed of a subject."""
    return SubjectChange(
        collection_id=collection_id_from(message.subject.collection_id),
        subject_id=subject_id_from(message.subject.subject_id),
        profile=_profile(message.subject, "subject."),
        fields=fields_from(message.update_mask, {name: name for name in _CHANGEABLE}),
        expected_revision=message.expected_revision,
        request_id=request_id_from(message.request_id),
        caller=caller,
    )


def template_choice(message: subject_pb2.DeleteTemplateRequest, caller: str) -> TemplateChoice:
    """The template that a caller wants gone."""
    return TemplateChoice(
        collection_id=collection_id_from(message.collection_id),
        subject_id=subject_id_from(message.subject_id),
        template_id=TemplateId(checked_id("template_id", message.template_id)),
        request_id=request_id_from(message.request_id),
        caller=caller,
    )


def subject_filter(message: subject_pb2.ListSubjectsRequest) -> SubjectFilter:
    """Which subjects a list wants."""
    return SubjectFilter(frozenset(message.labels), message.external_id)


def subjects_response(page: SubjectPage) -> subject_pb2.ListSubjectsResponse:
    """One page of subjects."""
    return subject_pb2.ListSubjectsResponse(
        subjects=[subject_to_wire(subject) for subject in page.subjects], next_page_token=page.next_after
    )


def subject_to_wire(subject: SubjectRecord) -> subject_pb2.Subject:
    """One subject."""
    profile = subject.profile
    return subject_pb2.Subject(
        subject_id=subject.subject_id,
        collection_id=subject.collection_id,
        display_name=profile.display_name,
        external_id=profile.external_id,
        labels=profile.labels,
        metadata=profile.metadata,
        valid_from=wire.time_to_wire(profile.valid_from) if profile.valid_from else None,
        valid_until=wire.time_to_wire(profile.valid_until) if profile.valid_until else None,
        camera_ids=profile.camera_ids,
        consent_reference=profile.consent_reference,
        distinct_from=profile.distinct_from,
        templates=[_template(template) for template in subject.templates],
        created_at=wire.time_to_wire(subject.created_at),
        updated_at=wire.time_to_wire(subject.updated_at),
        revision=subject.revision,
    )


def _template(template: TemplateRecord) -> subject_pb2.Template:
    return subject_pb2.Template(
        template_id=template.template_id,
        model_id=template.model_id,
        quality=wire.quality_to_wire(template.quality) if template.quality is not None else None,
        created_at=wire.time_to_wire(template.created_at),
        source_sha256=template.source_sha256,
    )


def _sample_result(index: int, outcome: SampleOutcome) -> subject_pb2.SampleResult:
    return subject_pb2.SampleResult(
        index=index,
        accepted=outcome.template_id is not None,
        reasons=[wire.reason_to_wire(reason) for reason in outcome.reasons],
        detail=outcome.detail,
        template_id=outcome.template_id or "",
        quality=quality_of(outcome),
        box=box_of(outcome),
    )


def _profile(message: subject_pb2.EnrollSubjectRequest | subject_pb2.Subject, prefix: str = "") -> SubjectProfile:
    for name in ("display_name", "external_id", "consent_reference"):
        _require_short(prefix + name, getattr(message, name), 256)
    for name in ("labels", "camera_ids"):
        _require_few(prefix + name, getattr(message, name), 32)
    _require_each_short(prefix + "labels", message.labels, 64)
    _require_few(prefix + "metadata", message.metadata, 64)
    _require_each_short(prefix + "metadata", message.metadata.keys(), 64)
    _require_each_short(prefix + "metadata", message.metadata.values(), 1024)
    valid_from, valid_until = _moment(message, "valid_from", prefix), _moment(message, "valid_until", prefix)
    if valid_from is not None and valid_until is not None and valid_until <= valid_from:
        raise InvalidInputError(prefix + "valid_until", valid_until.isoformat(), "a moment after valid_from")
    return SubjectProfile(
        display_name=message.display_name,
        external_id=message.external_id,
        labels=tuple(message.labels),
        metadata=dict(message.metadata),
        consent_reference=message.consent_reference,
        valid_from=valid_from,
        valid_until=valid_until,
        camera_ids=tuple(checked_id(prefix + "camera_ids", camera_id) for camera_id in message.camera_ids),
        distinct_from=_distinct_from(message, prefix),
    )


def _distinct_from(message: subject_pb2.EnrollSubjectRequest | subject_pb2.Subject, prefix: str) -> tuple[str, ...]:
    if isinstance(message, subject_pb2.EnrollSubjectRequest):
        return ()
    _require_few(prefix + "distinct_from", message.distinct_from, MAX_DISTINCT)
    return tuple(checked_id(prefix + "distinct_from", subject_id) for subject_id in message.distinct_from)


def _moment(
    message: subject_pb2.EnrollSubjectRequest | subject_pb2.Subject,
    name: Literal["valid_from", "valid_until"],
    prefix: str,
) -> datetime | None:
    return wire.time_from_wire(getattr(message, name), prefix + name) if message.HasField(name) else None


def _require_few(field: str, values: Sized, most: int) -> None:
    if len(values) > most:
        raise InvalidInputError(field, f"{len(values)}", f"at most {most}")


def _require_short(field: str, text: str, most: int) -> None:
    if len(text) > most:
        raise InvalidInputError(field, text, f"at most {most} characters")


def _require_each_short(field: str, texts: Iterable[str], most: int) -> None:
    for text in texts:
        _require_short(field, text, most)
