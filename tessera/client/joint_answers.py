"""What the SDK asks and answers about several modalities at once, and the messages that say it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tessera.client import answers_wire, wire
from tessera.client.answers import SearchCoverage
from tessera.client.optional_fields import box_of, quality_of, time_of
from tessera.client.samples import Sample, probe_of
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.joint import JointThreshold
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason
from tessera.v1 import matching_pb2


@dataclass(frozen=True, slots=True)
class EvidencePiece:
    """One piece of evidence about a claimed person."""

    collection_id: str
    """With its own modality, encoder and calibration."""
    image: Sample
    """The probe."""
    subject_id: str = ""
    """The person in this collection; empty: as in the others."""
    model_id: str = ""
    """Who made the probe, when it is a bare array."""
    min_position: int = 0
    """Answer from a state that includes this enrolment (`Enrolment.position`)."""


@dataclass(frozen=True, slots=True)
class PieceOfDecision:
    """What became of one piece of evidence."""

    collection_id: str
    subject_id: str
    modality: Modality
    model_id: str
    calibration_id: str
    counted: bool
    """False: it could not be had and counts as 0."""
    reasons: tuple[Reason, ...]
    """Why it could not be had; otherwise what is weak about it."""
    template_id: str
    """The template that scored highest."""
    templates: int
    """That were compared."""
    llr: float | None
    """Natural logarithm of the likelihood ratio, above 0 for the claim; None unless asked for and counted."""
    quality: Quality | None
    """Of the probe; None for embeddings and where nothing was found in it."""
    box: Box | None
    coverage: SearchCoverage | None
    position: int
    """Of the state that answered."""


@dataclass(frozen=True, slots=True)
class JointVerification:
    """Whether all of the evidence together shows the claimed person: MATCH, NO_MATCH or INCONCLUSIVE."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    """Why it is inconclusive; otherwise what weakened it."""
    threshold: JointThreshold | None
    """None where no piece could be had, or those that could carry no such rate."""
    llr: float | None
    """The sum over the pieces that count; None unless it was asked for."""
    evidence_id: str
    """Names this answer in the audit log of each collection."""
    decided_at: datetime | None
    pieces: tuple[PieceOfDecision, ...]
    """In the order in which they were asked about."""

    @property
    def is_match(self) -> bool:
        """The same person, at the error rate of the threshold."""
        return self.outcome is Outcome.MATCH


def pieces_to_wire(pieces: Iterable[EvidencePiece]) -> list[matching_pb2.EvidencePiece]:
    """Pieces of evidence as messages.

    Raises:
        InvalidInputError: a picture is too large for a message, or an array has no model.
    """
    return [
        matching_pb2.EvidencePiece(
            collection_id=piece.collection_id,
            subject_id=piece.subject_id,
            probe=probe_of(piece.image, piece.model_id),
            min_position=piece.min_position,
        )
        for piece in pieces
    ]


def joint_from_wire(message: matching_pb2.VerifyJointlyResponse) -> JointVerification:
    """The answer of a joint verification."""
    decision = message.decision
    pieces = tuple(_piece(piece) for piece in message.pieces)
    counted = sum(piece.counted for piece in pieces)
    return JointVerification(
        outcome=wire.outcome_from_wire(decision.outcome),
        reasons=tuple(wire.reason_from_wire(reason) for reason in decision.reasons),
        threshold=_threshold(decision.threshold, counted) if decision.HasField("threshold") else None,
        llr=decision.llr if decision.HasField("llr") else None,
        evidence_id=decision.evidence_id,
        decided_at=time_of(decision, "decided_at"),
        pieces=pieces,
    )


def _threshold(message: matching_pb2.JointThreshold, counted: int) -> JointThreshold:
    return JointThreshold(
        llr=message.llr,
        target_fmr=message.target_fmr,
        fmr=message.fmr,
        fmr_interval=Interval(message.fmr_low, message.fmr_high),
        fmr_any_dependence=message.fmr_any_dependence,
        pieces=counted,
    )


def _piece(message: matching_pb2.PieceOfDecision) -> PieceOfDecision:
    return PieceOfDecision(
        collection_id=message.collection_id,
        subject_id=message.subject_id,
        modality=wire.modality_from_wire(message.modality),
        model_id=message.model_id,
        calibration_id=message.calibration_id,
        counted=message.counted,
        reasons=tuple(wire.reason_from_wire(reason) for reason in message.reasons),
        template_id=message.template_id,
        templates=message.template_count,
        llr=message.llr if message.HasField("llr") else None,
        quality=quality_of(message, "probe_quality"),
        box=box_of(message, "probe_box"),
        coverage=answers_wire.coverage_from_wire(message),
        position=message.position,
    )
