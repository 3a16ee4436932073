"""Messages about subjects to the SDK's values, and its choices to numbers."""

from __future__ import annotations

import base64

from tessera.client import subject_values as v
from tessera.client import wire
from tessera.client.optional_fields import quality_of, time_of
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId
from tessera.v1 import subject_pb2


def subject_from_wire(message: subject_pb2.Subject) -> v.Subject:
    """One person who is enrolled."""
    return v.Subject(
        subject_id=message.subject_id,
        collection_id=message.collection_id,
        display_name=message.display_name,
        external_id=message.external_id,
        labels=tuple(message.labels),
        metadata=dict(message.metadata),
        valid_from=time_of(message, "valid_from"),
        valid_until=time_of(message, "valid_until"),
        camera_ids=tuple(message.camera_ids),
        distinct_from=tuple(message.distinct_from),
        consent_reference=message.consent_reference,
        templates=tuple(_template(template) for template in message.templates),
        created_at=wire.time_from_wire(message.created_at),
        updated_at=wire.time_from_wire(message.updated_at),
        revision=message.revision,
    )


def _template(message: subject_pb2.Template) -> v.Template:
    created_at = wire.time_from_wire(message.created_at)
    return v.Template(message.template_id, message.model_id, created_at, message.source_sha256)


def enrolment_from_wire(message: subject_pb2.EnrollSubjectResponse, request_id: str) -> v.Enrolment:
    """What an enrolment wrote."""
    return v.Enrolment(
        subject=subject_from_wire(message.subject),
        results=tuple(_sample_result(result) for result in message.results),
        position=message.position,
        replayed=message.replayed,
        request_id=request_id,
        duplicates=tuple(_duplicate(found) for found in message.duplicates),
        merged=message.merged,
    )


def _duplicate(message: subject_pb2.DuplicateCandidate) -> v.DuplicateCandidate:
    decision = message.decision
    has = decision.HasField("threshold")
    threshold = wire.threshold_from_wire(decision.threshold, ModelId(decision.model_id)) if has else None
    return v.DuplicateCandidate(message.subject_id, threshold)


def _sample_result(message: subject_pb2.SampleResult) -> v.SampleResult:
    return v.SampleResult(
        index=message.index,
        accepted=message.accepted,
        reasons=tuple(wire.reason_from_wire(reason) for reason in message.reasons),
        detail=message.detail,
        template_id=message.template_id,
        quality=quality_of(message, "quality"),
    )


def receipt_from_wire(message: subject_pb2.ErasureReceipt) -> v.ErasureReceipt:
    """What was erased."""
    state = wire.enum_name(subject_pb2.ErasureState, message.state, "ERASURE_STATE_")
    return v.ErasureReceipt(
        receipt_id=message.receipt_id,
        collection_id=message.collection_id,
        subject_id=message.subject_id,
        templates_erased=message.templates_erased,
        events_erased=message.events_erased,
        erased_at=wire.time_from_wire(message.erased_at),
        state=v.ErasureState.__members__.get(state, v.ErasureState.UNSPECIFIED),
        completed_at=time_of(message, "completed_at"),
        replicas_confirmed=message.replicas_confirmed,
        pictures_erased=message.pictures_erased,
        statement=message.statement,
        signature=base64.b64encode(message.signature).decode(),
        signing_key_id=message.signing_key_id,
    )


def correction_from_wire(message: subject_pb2.CorrectSubjectResponse) -> v.Correction:
    """What a verdict did."""
    return v.Correction(
        corrections=tuple(_template_correction(one) for one in message.corrections),
        subject=subject_from_wire(message.subject),
        position=message.position,
    )


def _template_correction(message: subject_pb2.TemplateCorrection) -> v.TemplateCorrection:
    action = wire.enum_name(subject_pb2.CorrectionAction, message.action, "CORRECTION_ACTION_")
    return v.TemplateCorrection(
        template_id=message.template_id,
        action=v.CorrectionAction.__members__.get(action, v.CorrectionAction.UNSPECIFIED),
        reasons=tuple(wire.reason_from_wire(reason) for reason in message.reasons),
        detail=message.detail,
    )


def verdict_to_wire(verdict: v.Verdict) -> subject_pb2.Verdict.ValueType:
    """`THIS_SUBJECT` as `VERDICT_THIS_SUBJECT`.

    Raises:
        InvalidInputError: no such verdict.
    """
    try:
        return subject_pb2.Verdict.Value(f"VERDICT_{v.Verdict(verdict)}")
    except ValueError:
        raise InvalidInputError("verdict", verdict, ", ".join(v.Verdict)) from None
