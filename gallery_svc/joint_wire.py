"""Messages of `VerifyJointly` to domain values and back: checks fields, and decides nothing."""

from __future__ import annotations

from gallery_svc.claiming import VerifyQuestion
from gallery_svc.joint_verifying import METHOD, JointQuestion, JointVerification, JudgedPiece
from gallery_svc.recording import Attempt
from gallery_svc.wire import (
    box_of,
    camera_id_from,
    collection_id_from,
    coverage_to_wire,
    optional,
    positions_from,
    probe_from,
    quality_of,
    request_id_from,
)
from tessera.client import wire
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import SubjectId, checked_id
from tessera.domain.joint import JointThreshold
from tessera.v1 import matching_pb2

_MOST_PIECES = len(Modality)


def joint_question(message: matching_pb2.VerifyJointlyRequest) -> JointQuestion:
    """What a claim asks."""
    if not 2 <= len(message.pieces) <= _MOST_PIECES:
        raise InvalidInputError("pieces", len(message.pieces), f"2 to {_MOST_PIECES}, each of another modality")
    pieces = tuple(_piece(message, at) for at in range(len(message.pieces)))
    return JointQuestion(pieces, optional(message, "target_fmr"), message.require_all)


def joint_attempt(message: matching_pb2.VerifyJointlyRequest, caller: str) -> Attempt:
    """Who asks, for the record of each collection."""
    return Attempt(METHOD, caller, request_id_from(message.request_id) or "")


def joint_response(answer: JointVerification, *, with_score: bool) -> matching_pb2.VerifyJointlyResponse:
    """The answer; raw log-likelihood ratios only where they were asked for."""
    decision = answer.recorded.decision
    return matching_pb2.VerifyJointlyResponse(
        decision=matching_pb2.JointDecision(
            outcome=wire.outcome_to_wire(decision.outcome),
            reasons=[wire.reason_to_wire(reason) for reason in decision.reasons],
            threshold=joint_threshold_to_wire(answer.threshold) if answer.threshold is not None else None,
            llr=answer.llr if with_score else None,
            evidence_id=answer.recorded.evidence_id,
            decided_at=wire.time_to_wire(answer.recorded.decided_at),
        ),
        pieces=[_judged(piece, with_score=with_score) for piece in answer.pieces],
    )


def _piece(message: matching_pb2.VerifyJointlyRequest, at: int) -> VerifyQuestion:
    piece = message.pieces[at]
    own = f"pieces[{at}].subject_id"
    subject_id = checked_id(own, piece.subject_id) if piece.subject_id else checked_id("subject_id", message.subject_id)
    return VerifyQuestion(
        collection_id=collection_id_from(piece.collection_id),
        subject_id=SubjectId(subject_id),
        probe=probe_from(piece.probe, f"pieces[{at}].probe"),
        target_fmr=None,
        min_positions=positions_from(piece),
        camera_id=camera_id_from(message.camera_id),
    )


def joint_threshold_to_wire(threshold: JointThreshold) -> matching_pb2.JointThreshold:
    """What a sum must reach, and the rate that it stands for."""
    alone = threshold.pieces == 1
    return matching_pb2.JointThreshold(
        llr=threshold.llr,
        target_fmr=threshold.target_fmr,
        fmr=threshold.fmr,
        fmr_low=threshold.fmr_interval.low,
        fmr_high=threshold.fmr_interval.high,
        fmr_basis=matching_pb2.FMR_BASIS_ONE_PIECE if alone else matching_pb2.FMR_BASIS_INDEPENDENT_PIECES,
        fmr_any_dependence=threshold.fmr_any_dependence,
    )


def _judged(piece: JudgedPiece, *, with_score: bool) -> matching_pb2.PieceOfDecision:
    return matching_pb2.PieceOfDecision(
        collection_id=piece.collection_id,
        subject_id=piece.subject_id,
        modality=wire.modality_to_wire(piece.modality),
        model_id=piece.model_id,
        calibration_id=piece.calibration_id,
        counted=piece.llr is not None,
        reasons=[wire.reason_to_wire(reason) for reason in piece.reasons],
        template_id=piece.template_id or "",
        template_count=piece.templates,
        llr=piece.llr if with_score else None,
        probe_quality=quality_of(piece.sample),
        probe_box=box_of(piece.sample),
        coverage=coverage_to_wire(piece.coverage),
        position=piece.position,
        impostors=wire.impostors_to_wire(piece.impostors),
    )
