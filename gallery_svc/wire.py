"""Messages of `GalleryService` to domain values and back: checks fields, and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import field_mask_pb2

from gallery_svc.claiming import VerifyQuestion
from gallery_svc.collections import DEFAULT_COLLECTION
from gallery_svc.coverage import SearchCoverage
from gallery_svc.enrolment_values import SampleOutcome
from gallery_svc.matching import (
    CompareQuestion,
    Comparison,
    FoundSubject,
    Identification,
    Identifications,
    IdentifyQuestion,
    MatchTimes,
    Verification,
)
from gallery_svc.probes import Picture, Probe, Sample
from gallery_svc.recording import Attempt, Recorded
from gallery_svc.store.collection_records import ShardPosition
from tessera.client import wire
from tessera.client.stream_values import StageTimes
from tessera.domain.calibration import USUAL_IMPOSTORS
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CollectionId, RequestId, SubjectId, checked_id, is_id
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import encoder_pb2, matching_pb2

MAX_PAGE = 1000
MAX_SHARDS = 64
_DEFAULT_PAGE = 100

# ---- what many requests have


def collection_id_from(value: str) -> CollectionId:
    """A collection's id; empty: `default`."""
    return CollectionId(checked_id("collection_id", value)) if value else DEFAULT_COLLECTION


def subject_id_from(value: str) -> SubjectId:
    """A subject's id."""
    return SubjectId(checked_id("subject_id", value))


def request_id_from(value: str) -> RequestId | None:
    """A request's id; empty: none."""
    return RequestId(checked_id("request_id", value)) if value else None


def camera_id_from(value: str) -> str:
    """A camera's id; empty: no camera asks."""
    return checked_id("camera_id", value) if value else ""


def positions_from(
    message: matching_pb2.VerifyRequest | matching_pb2.IdentifyRequest | matching_pb2.EvidencePiece,
) -> tuple[ShardPosition, ...]:
    """The positions that an answer must include."""
    if len(message.min_positions) > MAX_SHARDS:
        raise InvalidInputError("min_positions", f"{len(message.min_positions)} positions", f"at most {MAX_SHARDS}")
    return tuple(ShardPosition.from_wire(number) for number in (message.min_position, *message.min_positions) if number)


def attempt_from(
    method: str, message: matching_pb2.VerifyRequest | matching_pb2.IdentifyRequest, caller: str, where: CollectionId
) -> Attempt:
    """Who asks what, for the record."""
    return Attempt(method, caller, request_id_from(message.request_id) or "", where, message.camera_id)


def page_size_from(value: int) -> int:
    """1 to 1000; 0 stands for 100."""
    if value > MAX_PAGE:
        raise InvalidInputError("page_size", value, f"1 to {MAX_PAGE}; 0: {_DEFAULT_PAGE}")
    return value or _DEFAULT_PAGE


def id_from_token(token: str) -> str:
    """A page token of a list by id: the last id of the page before; empty: the first page."""
    if token and not is_id(token):
        raise InvalidInputError("page_token", token, "the token of the last answer")
    return token


def probe_from(message: pb.Probe, field: str) -> Probe:
    """A picture or an embedding."""
    match message.WhichOneof("sample"):
        case "image":
            return Picture(message.image.data)
        case "embedding":
            return wire.embedding_from_wire(message.embedding, f"{field}.embedding")
    raise InvalidInputError(field, "neither", "an image or an embedding")


def optional(message: Any, name: str) -> Any:  # noqa: ANN401 - whichever message has the field
    """A field that may be unset: its value, or None."""
    return getattr(message, name) if message.HasField(name) else None


def _in_range(field: str, value: int, default: int, most: int) -> int:
    if value > most:
        raise InvalidInputError(field, value, f"1 to {most}; 0: {default}")
    return value or default


def fields_from(mask: field_mask_pb2.FieldMask, allowed: Mapping[str, str]) -> frozenset[str]:
    """The fields of a record that a mask names.

    Args:
        mask: of an update.
        allowed: a record's field for each path that may be named.
    """
    unknown = sorted(set(mask.paths) - allowed.keys())
    if unknown or not mask.paths:
        raise InvalidInputError("update_mask", ", ".join(unknown), "one or more of " + ", ".join(sorted(allowed)))
    return frozenset(allowed[path] for path in mask.paths)


# ---- comparisons


def verify_question(message: matching_pb2.VerifyRequest) -> VerifyQuestion:
    """What a verification asks."""
    return VerifyQuestion(
        collection_id=collection_id_from(message.collection_id),
        subject_id=subject_id_from(message.subject_id),
        probe=probe_from(message.probe, "probe"),
        target_fmr=optional(message, "target_fmr"),
        min_positions=positions_from(message),
        camera_id=camera_id_from(message.camera_id),
    )


def verify_response(answer: Verification, *, with_score: bool) -> matching_pb2.VerifyResponse:
    """A verification's answer."""
    return matching_pb2.VerifyResponse(
        decision=decision_to_wire(answer.recorded, with_score=with_score),
        subject_id=answer.subject_id,
        template_id=answer.template_id or "",
        probe_quality=quality_of(answer.sample),
        probe_box=box_of(answer.sample),
        times=_times(answer.times),
        coverage=coverage_to_wire(answer.coverage),
        position=answer.position,
    )


def identify_question(message: matching_pb2.IdentifyRequest) -> IdentifyQuestion:
    """What a search asks."""
    return IdentifyQuestion(
        collection_id=collection_id_from(message.collection_id),
        probe=probe_from(message.probe, "probe"),
        target_fpir=optional(message, "target_fpir"),
        max_candidates=_in_range("max_candidates", message.max_candidates, 5, 100),
        max_faces=_in_range("max_faces", message.max_faces, 16, 64),
        all_candidates=message.with_score,
        min_positions=positions_from(message),
        labels=frozenset(message.labels),
        camera_id=camera_id_from(message.camera_id),
        include_not_valid=message.include_not_valid,
        allow_partial=message.allow_partial,
    )


def identify_response(answer: Identifications, *, with_score: bool) -> matching_pb2.IdentifyResponse:
    """A search's answer."""
    return matching_pb2.IdentifyResponse(
        identifications=[_identification(face, with_score=with_score) for face in answer.faces],
        position=answer.positions[0],
        positions=answer.positions,
        coverage=coverage_to_wire(answer.coverage),
    )


def compare_question(message: matching_pb2.CompareRequest) -> CompareQuestion:
    """What a comparison asks."""
    modality = wire.modality_from_wire(message.modality)
    return CompareQuestion(
        first=probe_from(message.first, "first"),
        second=probe_from(message.second, "second"),
        target_fmr=optional(message, "target_fmr"),
        modality=modality,
        impostors=wire.impostors_from_wire(message.impostors, USUAL_IMPOSTORS[modality]),
    )


def compare_response(answer: Comparison, *, with_score: bool) -> matching_pb2.CompareResponse:
    """A comparison's answer."""
    return matching_pb2.CompareResponse(
        decision=decision_to_wire(answer.recorded, with_score=with_score),
        first_quality=quality_of(answer.first),
        second_quality=quality_of(answer.second),
        first_box=box_of(answer.first),
        second_box=box_of(answer.second),
    )


def decision_to_wire(recorded: Recorded, *, with_score: bool) -> pb.Decision:
    """A decision that is on record."""
    return wire.decision_to_wire(recorded.decision, recorded.evidence_id, recorded.decided_at, with_score=with_score)


def _identification(face: Identification, *, with_score: bool) -> matching_pb2.Identification:
    return matching_pb2.Identification(
        decision=decision_to_wire(face.recorded, with_score=with_score),
        candidates=[_candidate(found, with_score=with_score) for found in face.candidates],
        box=box_of(face.sample),
        quality=quality_of(face.sample),
    )


def _candidate(found: FoundSubject, *, with_score: bool) -> matching_pb2.MatchCandidate:
    return matching_pb2.MatchCandidate(
        subject_id=found.hit.subject_id,
        display_name=found.hit.display_name,
        template_id=found.hit.template_id,
        above_threshold=found.above_threshold,
        score=found.hit.score if with_score else None,
    )


def coverage_to_wire(coverage: SearchCoverage) -> matching_pb2.SearchCoverage:
    """What an answer rests on."""
    mode = matching_pb2.SEARCH_MODE_EXACT if coverage.exact else matching_pb2.SEARCH_MODE_APPROXIMATE
    return matching_pb2.SearchCoverage(
        shards_total=coverage.shards_total,
        shards_searched=coverage.shards_searched,
        complete=coverage.complete,
        mode=mode,
        vectors_in_clear=coverage.vectors_in_clear,
        behind_changes=coverage.behind_changes,
        behind=wire.seconds_to_wire(coverage.behind_s) if coverage.behind_s else None,
        subjects_searched=coverage.subjects_searched,
    )


def quality_of(sample: Sample | SampleOutcome | None) -> pb.Quality | None:
    return wire.quality_to_wire(sample.quality) if sample is not None and sample.quality is not None else None


def box_of(sample: Sample | SampleOutcome | None) -> pb.Box | None:
    return wire.box_to_wire(sample.box) if sample is not None and sample.box is not None else None


def _times(times: MatchTimes) -> matching_pb2.VerifyTimes:
    return matching_pb2.VerifyTimes(
        encoder=_stages(times.encoder) if times.encoder is not None else None,
        encode_ms=times.encode_ms,
        compare_ms=times.compare_ms,
        store_ms=times.store_ms,
        total_ms=times.total_ms,
    )


def _stages(stages: StageTimes) -> encoder_pb2.StageTimes:
    return encoder_pb2.StageTimes(**{name: getattr(stages, name) for name in StageTimes.__dataclass_fields__})
