"""Messages of `ExplainMatch` to domain values and back."""

from __future__ import annotations

from gallery_svc.explaining import ExplainQuestion, MatchExplained
from gallery_svc.probes import Picture
from gallery_svc.recording import Attempt
from gallery_svc.wire import collection_id_from, request_id_from, subject_id_from
from tessera.client import wire
from tessera.client.explanation_wire import map_to_wire
from tessera.v1 import matching_pb2


def explain_question(message: matching_pb2.ExplainMatchRequest) -> ExplainQuestion:
    """What is to be explained."""
    return ExplainQuestion(
        collection_id=collection_id_from(message.collection_id),
        subject_id=subject_id_from(message.subject_id),
        picture=Picture(message.image.data),
        grid=message.grid,
        camera_id=message.camera_id,
    )


def explain_attempt(message: matching_pb2.ExplainMatchRequest, caller: str) -> Attempt:
    """Who asks, for the record."""
    request_id = request_id_from(message.request_id) or ""
    return Attempt("ExplainMatch", caller, request_id, collection_id_from(message.collection_id))


def explain_response(answer: MatchExplained) -> matching_pb2.ExplainMatchResponse:
    """The answer; it holds no score."""
    explanation = answer.explanation
    return matching_pb2.ExplainMatchResponse(
        template_id=answer.template_id,
        map=map_to_wire(explanation.map),
        quality=wire.quality_to_wire(explanation.quality),
        box=wire.box_to_wire(explanation.box),
    )
