"""Not this person, and its opposite: templates are changed where that makes a subject's set better, nowhere else.

A person who knows says that a decision was wrong and shows the sample again. Of the subject's templates those go that
match the sample and do not look like the others: pictures of somebody else, or of nobody in particular. Templates that
agree with each other stay, although they matched: two people can look alike, and taking them away would only make the
subject harder to find. The sample that was missed becomes a template if it is good enough and nobody else's.

A retry of "not this person" is judged anew, over the templates that are left: the store keeps an answer with one write,
and this may be several. What broke off is finished by it; what is gone is not told again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gallery_svc.enrolment import Enroller
from gallery_svc.enrolment_values import EnrolmentRequest
from gallery_svc.gate import HINTS
from gallery_svc.ids import time_ordered_id
from gallery_svc.integrity import IntegrityChecks, unit_rows
from gallery_svc.probes import Deadline, Probe, ProbeReader, Sample
from gallery_svc.replica import Replica
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import DuplicatePolicy, OutlierPolicy
from gallery_svc.store.protocol import Store, audit_log
from gallery_svc.store.subject_records import SubjectProfile, SubjectRecord
from gallery_svc.subjects import Subjects, TemplateChoice
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.client.encoder import Priority
from tessera.domain.consistency import templates_to_remove
from tessera.domain.errors import (
    DuplicateSubjectError,
    ImageRejectedError,
    NotFoundError,
    SamplesRejectedError,
)
from tessera.domain.ids import CollectionId, RequestId, SubjectId, TemplateId
from tessera.domain.reasons import Reason


class Verdict(StrEnum):
    """What somebody who knows says of a decision."""

    NOT_THIS_SUBJECT = "NOT_THIS_SUBJECT"
    THIS_SUBJECT = "THIS_SUBJECT"


class CorrectionAction(StrEnum):
    """What became of a template, or of the sample."""

    KEPT = "KEPT"
    REMOVED = "REMOVED"
    ADDED = "ADDED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True, eq=False)
class CorrectionRequest:
    """What a caller says of a decision."""

    collection_id: CollectionId
    subject_id: SubjectId
    sample: Probe
    verdict: Verdict
    dry_run: bool
    """Say what would be done, and do nothing."""
    evidence_id: str
    """The decision that was wrong."""
    request_id: RequestId | None
    caller: str


@dataclass(frozen=True, slots=True)
class Correction:
    """What became of one template."""

    template_id: TemplateId | None
    action: CorrectionAction
    reasons: tuple[Reason, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Corrected:
    """What became of a subject."""

    corrections: tuple[Correction, ...]
    subject: SubjectRecord
    position: int
    """0: nothing was changed."""


_MISMATCH = "it matches the sample and does not look like the subject's other templates"
_CONSISTENT = (
    "it matches the sample and looks like the subject's other templates: the two people look alike; a stricter target "
    "rate, or more templates, tell them apart"
)
_ONLY_ONE = "it is the subject's only template: enrol good pictures of the subject first, then say this again"


class Corrector:
    """Corrects subjects.

    Args:
        store: where they are kept.
        replica: knows the collections.
        probes: makes samples.
        subjects: removes templates.
        enroller: adds templates.
        checks: knows what looks alike.
        thresholds: the error rates.
        clock: for the times of records.
    """

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        probes: ProbeReader,
        subjects: Subjects,
        enroller: Enroller,
        checks: IntegrityChecks,
        thresholds: Thresholds,
        clock: Clock,
    ) -> None:
        self._store = store
        self._replica = replica
        self._probes = probes
        self._subjects = subjects
        self._enroller = enroller
        self._checks = checks
        self._thresholds = thresholds
        self._clock = clock

    async def correct(self, request: CorrectionRequest, deadline: Deadline) -> Corrected:
        """Do what a verdict asks for.

        Raises:
            NotFoundError: the collection or the subject does not exist.
            ImageRejectedError: the picture cannot be used, or does not show exactly one.
            ModelMismatchError: the sample is of another model than the collection.
            NoCalibrationError: the collection's model has none.
            CalibrationTooSmallError: its data cannot carry the collection's rate.
        """
        await self._put_on_record(request)
        if request.verdict is Verdict.THIS_SUBJECT:
            return await self._add(request, deadline)
        return await self._remove(request, deadline)

    # ---- not this subject

    async def _remove(self, request: CorrectionRequest, deadline: Deadline) -> Corrected:
        record = (await self._replica.collection(request.collection_id)).record
        subject = await self._existing(request)
        sample = await self._sample(request, deadline)
        row = await self._store.find_row(request.collection_id, request.subject_id)
        ids = [template.template_id for template in row.templates] if row is not None else []
        rows = unit_rows([template.vector for template in row.templates] if row is not None else [])
        scores = [float(score) for score in rows @ sample.embedding.vector] if ids else []
        match = self._thresholds.for_comparison(
            record.model_id,
            record.policy.verify_target_fmr,
            impostors=record.policy.impostors,
            templates=max(1, len(ids)),
            allow_extrapolation=record.policy.allow_extrapolation,
        )
        alike = self._checks.alike_score(record.model_id)
        wrong = templates_to_remove(scores, rows, match.score, match.score if alike is None else alike)
        corrections = _corrections(ids, scores, match.score, wrong)
        return await self._carried_out(request, subject, corrections, deadline)

    async def _carried_out(
        self, request: CorrectionRequest, subject: SubjectRecord, corrections: Sequence[Correction], deadline: Deadline
    ) -> Corrected:
        position = 0
        for one in corrections:
            if one.action is CorrectionAction.REMOVED and one.template_id is not None and not request.dry_run:
                choice = TemplateChoice(
                    request.collection_id, request.subject_id, one.template_id, None, request.caller
                )
                changed = await self._subjects.delete_template(choice, deadline)
                subject, position = changed.subject, changed.position.wire
        return Corrected(tuple(corrections), subject, position)

    # ---- this subject after all

    async def _add(self, request: CorrectionRequest, deadline: Deadline) -> Corrected:
        subject = await self._existing(request)
        await self._sample(request, deadline)
        wanted = EnrolmentRequest(
            collection_id=request.collection_id,
            subject_id=request.subject_id,
            samples=(request.sample,),
            profile=SubjectProfile(),
            request_id=request.request_id,
            require_all=True,
            caller=request.caller,
            duplicate_policy=DuplicatePolicy.REJECT,
            # It was missed because it does not look like the others; somebody who knows has said that it is right.
            outlier_policy=OutlierPolicy.REPORT,
        )
        try:
            if request.dry_run:
                (seen,) = await self._enroller.look(wanted, deadline)
                would = Correction(None, CorrectionAction.ADDED, seen.reasons, seen.detail)
                return Corrected((would,), subject, 0)
            answer = await self._enroller.enroll(wanted, deadline)
        except SamplesRejectedError as error:
            detail = "; ".join(HINTS.get(reason, reason.value) for reason in error.reasons[0])
            refused = Correction(None, CorrectionAction.REFUSED, error.reasons[0], detail)
            return Corrected((refused,), subject, 0)
        except DuplicateSubjectError as error:
            detail = f"it looks like {', '.join(error.subject_ids)}"
            return Corrected((Correction(None, CorrectionAction.REFUSED, (Reason.DUPLICATE,), detail),), subject, 0)
        (outcome,) = answer.outcomes
        added = Correction(outcome.template_id, CorrectionAction.ADDED, outcome.reasons, outcome.detail)
        return Corrected((added,), answer.enrolled.subject, answer.enrolled.position.wire)

    # ---- inside

    async def _put_on_record(self, request: CorrectionRequest) -> None:
        """Before anything is changed: who said what of which decision."""
        now = self._clock.now()
        entry = AuditRecord(
            method="CorrectSubject",
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=request.caller,
            collection_id=request.collection_id,
            subject_id=request.subject_id,
            request_id=request.request_id or "",
            detail=f"{request.verdict} {request.evidence_id}{' (dry run)' if request.dry_run else ''}".strip(),
        )
        await self._store.append_audit(audit_log(request.collection_id, 0), [entry])

    async def _existing(self, request: CorrectionRequest) -> SubjectRecord:
        subject = await self._store.find_subject(request.collection_id, request.subject_id)
        if subject is None:
            raise NotFoundError("subject", request.subject_id)
        return subject

    async def _sample(self, request: CorrectionRequest, deadline: Deadline) -> Sample:
        record = (await self._replica.collection(request.collection_id)).record
        seen = await self._probes.read(
            request.sample,
            record.model_id,
            record.modality,
            priority=Priority.INTERACTIVE,
            deadline=deadline,
            field="sample",
        )
        sample, reason = seen.only()
        if sample is None:
            why = reason or Reason.NO_FACE
            raise ImageRejectedError(why, HINTS[why], "sample.image")
        return sample


def _corrections(
    ids: Sequence[TemplateId], scores: Sequence[float], match: float, wrong: Sequence[int]
) -> list[Correction]:
    """What becomes of each template that matches."""
    told: list[Correction] = []
    for at in [at for at, score in enumerate(scores) if score >= match]:
        if at in wrong:
            told.append(Correction(ids[at], CorrectionAction.REMOVED, (Reason.OUTLIER,), _MISMATCH))
        else:
            told.append(Correction(ids[at], CorrectionAction.KEPT, (), _ONLY_ONE if len(ids) == 1 else _CONSISTENT))
    return told
