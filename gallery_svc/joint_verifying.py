"""One decision about one person from several modalities: each scored as `Verify` does, their evidence added up.

What cannot be had counts as 0 and takes no part in the threshold: the answer stands for the same FMR, on less. It is
told for each piece, and no score of one is ever held against the threshold of another. A MATCH stays a match however
weak a probe; a sum below the threshold is INCONCLUSIVE where a better picture might have lifted it, as for `Verify`
(docs/adr/0005-inconclusive-answers.md, docs/adr/0018-evidence-of-several-modalities-is-added-up.md).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gallery_svc.claiming import Claims, Compared, VerifyQuestion
from gallery_svc.coverage import SearchCoverage
from gallery_svc.joint_thresholds import Evidence, JointThresholds
from gallery_svc.live import LiveCollection
from gallery_svc.probes import Deadline, ProbeReader, Sample
from gallery_svc.recording import Attempt, Recorded, Recorder
from gallery_svc.replica import Replica
from gallery_svc.verify_failures import VerifyFailures
from tessera.client.encoder import Priority
from tessera.domain.calibration import Impostors
from tessera.domain.decision import Decision, Outcome
from tessera.domain.embedding import Modality
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, NotFoundError
from tessera.domain.fusion import sum_of
from tessera.domain.ids import CalibrationId, CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.joint import JointThreshold
from tessera.domain.reasons import Reason

METHOD = "VerifyJointly"
_NOT_THE_PROBES = frozenset({Reason.NO_TEMPLATE})
"""What another picture would not change: it weakens no NO_MATCH."""


@dataclass(frozen=True, slots=True, eq=False)
class JointQuestion:
    """Is this the person, by all of this together?"""

    pieces: tuple[VerifyQuestion, ...]
    """Each about the person as its collection has him; their own target rates are not used."""
    target_fmr: float | None
    """Of the whole claim; None: the strictest of the collections' policies."""
    require_all: bool
    """Decide only where every piece can be had."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPiece:
    """One piece of evidence, and what became of it."""

    collection_id: CollectionId
    subject_id: SubjectId
    modality: Modality
    model_id: ModelId
    calibration_id: CalibrationId
    impostors: Impostors
    coverage: SearchCoverage
    position: int
    reasons: tuple[Reason, ...] = ()
    """Why it could not be had; otherwise what is weak about it."""
    llr: float | None = None
    """None: it could not be had, and counts as 0."""
    template_id: TemplateId | None = None
    templates: int = 0
    """That were compared."""
    sample: Sample | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JointVerification:
    """The answer to a claim about several pieces of evidence."""

    recorded: Recorded
    threshold: JointThreshold | None
    """None: no piece could be had, or those that could carry no such rate."""
    llr: float | None
    """The sum over the pieces that count; None: none does."""
    pieces: tuple[JudgedPiece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A piece before anything was compared."""

    question: VerifyQuestion
    live: LiveCollection
    evidence: Evidence
    enrolled: bool
    field: str
    """Of the request, for errors."""


class JointVerifier:
    """Answers claims about several pieces of evidence.

    Args:
        replica: the collections and their indexes.
        claims: find and compare whom each piece is about.
        probes: makes samples.
        thresholds: of sums.
        recorder: puts answers on record.
        failures: tells of claims that fail.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        claims: Claims,
        probes: ProbeReader,
        thresholds: JointThresholds,
        recorder: Recorder,
        failures: VerifyFailures,
    ) -> None:
        self._replica = replica
        self._claims = claims
        self._probes = probes
        self._thresholds = thresholds
        self._recorder = recorder
        self._failures = failures

    async def verify(self, question: JointQuestion, attempt: Attempt, deadline: Deadline) -> JointVerification:
        """Answer a claim.

        Raises:
            NotFoundError: a collection does not exist, or the person is in none of them.
            InvalidInputError: two pieces are of one modality, or the target is no rate.
            NoCalibrationError: a collection's model has no calibration.
            PreconditionError: a calibration says nothing of how one person scores (NO_EVIDENCE).
            CalibrationTooSmallError: not even all pieces together carry the rate that was asked for.
            ModelMismatchError: a probe is of another model than its collection.
            GalleryIncompleteError: a subject is held by another gallery, which does not answer.
        """
        asked = await asyncio.gather(*(self._asked(piece, at, deadline) for at, piece in enumerate(question.pieces)))
        _require_different_modalities(asked)
        if not any(one.enrolled for one in asked):
            raise NotFoundError("subject", question.pieces[0].subject_id)
        target_fmr = _target(question, asked)
        if question.target_fmr is not None:  # before any encoder is asked
            await self._thresholds.threshold([(one.evidence, 1) for one in asked], target_fmr)
        pieces = await asyncio.gather(*(self._judged(one, deadline) for one in asked))
        if all(piece.reasons == (Reason.NO_TEMPLATE,) for piece in pieces):
            raise NotFoundError("subject", question.pieces[0].subject_id)
        threshold = await self._threshold(asked, pieces, target_fmr)
        llr = _sum(pieces)
        decision = judge_jointly(pieces, llr, threshold, require_all=question.require_all)
        attempts = [(replace(attempt, collection_id=one.collection_id), one.subject_id) for one in pieces]
        recorded = await self._recorder.record_joint(attempts, decision, _detail(pieces, threshold, target_fmr))
        first, camera_id = attempts[0], question.pieces[0].camera_id
        await self._failures.note(recorded, pieces[0].collection_id, first[1], camera_id)
        return JointVerification(recorded, threshold, llr, tuple(pieces))

    # ---- inside

    async def _asked(self, piece: VerifyQuestion, at: int, deadline: Deadline) -> _Asked:
        enrolled = True
        try:
            live = await self._claims.live_with(piece, deadline)
        except NotFoundError as error:
            if error.kind != "subject":
                raise
            enrolled = False
            live = await self._replica.at_positions(piece.collection_id, piece.min_positions, deadline)
        impostors = live.record.policy_for(piece.camera_id).impostors
        evidence = self._thresholds.evidence(live.record.model_id, impostors)
        return _Asked(piece, live, evidence, enrolled, f"pieces[{at}].probe")

    async def _judged(self, asked: _Asked, deadline: Deadline) -> JudgedPiece:
        if not asked.enrolled:
            return self._without_template(asked)
        record = asked.live.record
        seen = await self._probes.read(
            asked.question.probe,
            record.model_id,
            record.modality,
            priority=Priority.INTERACTIVE,
            deadline=deadline,
            field=asked.field,
        )
        sample, why_not = seen.only()
        try:
            compared = await self._claims.compared(asked.question, asked.live, sample, deadline)
        except NotFoundError:  # another gallery does not hold it either, or not for this camera
            return self._without_template(asked)
        if sample is None and not await self._claims.is_valid(asked.question):
            why_not = Reason.NOT_VALID_NOW  # a covered face must not hide that
        return _scored(asked, compared, sample, why_not)

    def _without_template(self, asked: _Asked) -> JudgedPiece:
        uncompared = self._claims.uncompared(asked.question, asked.live, Reason.NO_TEMPLATE)
        return _scored(asked, uncompared, None, None)

    async def _threshold(
        self, asked: Sequence[_Asked], pieces: Sequence[JudgedPiece], target_fmr: float
    ) -> JointThreshold | None:
        """Of the pieces that can be had; None: there is none, or they carry no such rate."""
        had = [
            (one.evidence, piece.templates) for one, piece in zip(asked, pieces, strict=True) if piece.llr is not None
        ]
        try:
            return await self._thresholds.threshold(had, target_fmr) if had else None
        except CalibrationTooSmallError:
            return None


def judge_jointly(
    pieces: Sequence[JudgedPiece], llr: float | None, threshold: JointThreshold | None, *, require_all: bool
) -> Decision:
    """The answer to a claim.

    Args:
        pieces: one or more.
        llr: the sum over those that count; None: none does.
        threshold: for exactly those; None: they carry no such rate, or there are none.
        require_all: decide only where every piece counts.
    """
    reasons = tuple(dict.fromkeys(reason for piece in pieces for reason in piece.reasons))
    if Reason.NOT_VALID_NOW in reasons:  # says something of the person, and no other evidence outweighs it
        return _answer(Outcome.INCONCLUSIVE, (Reason.NOT_VALID_NOW,))
    missing = tuple(dict.fromkeys(reason for piece in pieces if piece.llr is None for reason in piece.reasons))
    if llr is None or (require_all and missing):
        return _answer(Outcome.INCONCLUSIVE, missing)
    if threshold is None:
        return _answer(Outcome.INCONCLUSIVE, (Reason.CALIBRATION_TOO_SMALL, *missing))
    if llr >= threshold.llr:
        return _answer(Outcome.MATCH, reasons)
    is_weak = bool(set(reasons) - _NOT_THE_PROBES)
    return _answer(Outcome.INCONCLUSIVE if is_weak else Outcome.NO_MATCH, reasons)


def _answer(outcome: Outcome, reasons: tuple[Reason, ...]) -> Decision:
    return Decision(outcome, reasons, threshold=None, score=None, model_id=None)


def _scored(asked: _Asked, compared: Compared, sample: Sample | None, why_not: Reason | None) -> JudgedPiece:
    record, hit = asked.live.record, compared.hit
    piece = JudgedPiece(
        collection_id=asked.question.collection_id,
        subject_id=asked.question.subject_id,
        modality=record.modality,
        model_id=record.model_id,
        calibration_id=asked.evidence.calibration_id,
        impostors=asked.evidence.impostors,
        coverage=compared.coverage,
        position=compared.position,
        sample=sample,
    )
    if sample is None or hit is None:
        return replace(piece, reasons=(why_not or compared.why_not or Reason.NO_TEMPLATE,))
    return replace(
        piece,
        reasons=sample.reasons,
        llr=asked.evidence.scores.llr(hit.score, hit.compared),
        template_id=hit.template_id,
        templates=hit.compared,
    )


def _sum(pieces: Sequence[JudgedPiece]) -> float | None:
    if all(piece.llr is None for piece in pieces):
        return None
    evidence = {piece.modality: piece.llr for piece in pieces}
    return sum_of(evidence.keys()).llr(evidence)


def _require_different_modalities(asked: Sequence[_Asked]) -> None:
    [(modality, count)] = Counter(one.live.record.modality for one in asked).most_common(1)
    if count > 1:
        raise InvalidInputError(
            "pieces", f"{count} of {modality}", "one of each modality: the same one again would say the same twice"
        )


def _target(question: JointQuestion, asked: Sequence[_Asked]) -> float:
    if question.target_fmr is not None:
        return question.target_fmr
    return min(one.live.record.policy_for(one.question.camera_id).verify_target_fmr for one in asked)


def _detail(pieces: Sequence[JudgedPiece], threshold: JointThreshold | None, target_fmr: float) -> str:
    """For the audit log: the rate, and which evidence counted by which calibration; no score."""
    rate = f"FMR {target_fmr:g}" + (f", threshold {threshold.llr:.6f}" if threshold is not None else "")
    told = (
        f"{piece.modality} {piece.collection_id} {piece.calibration_id}"
        + ("" if piece.llr is not None else f" ({', '.join(piece.reasons)})")
        for piece in pieces
    )
    return f"{rate}; " + "; ".join(told)
