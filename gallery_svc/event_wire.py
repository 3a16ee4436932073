"""Messages of tracklets and events to domain values and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gallery_svc.alert_wire import NameOf, alert_to_wire
from gallery_svc.events import Beat, SightingQuery, Told, WatchFilter
from gallery_svc.person_wire import face_from_wire, person_to_wire
from gallery_svc.sightings import TrackletAnswer
from gallery_svc.store.event_records import CameraEventBody, CameraState, EventRecord, SightingBody, VerifyFailureBody
from gallery_svc.wire import collection_id_from, optional
from tessera.client import wire
from tessera.client.stream_values import TrackletSample, TrackletUpdate
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Decision
from tessera.domain.errors import (
    InvalidInputError,
    LeaseSupersededError,
    ModelMismatchError,
    NoCalibrationError,
    TesseraError,
)
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId, TrackletId, checked_id
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import camera_pb2, events_pb2, matching_pb2

MAX_CHECKED = 1000
MAX_ZONES = 64
MAX_ZONE_CHARACTERS = 128

# ---- tracklets


def update_from_wire(message: matching_pb2.TrackletUpdate) -> TrackletUpdate:
    """One update of a tracklet."""
    tracklet_id = TrackletId(checked_id("tracklet_id", message.tracklet_id))
    now = datetime.now(UTC)
    return TrackletUpdate(
        camera_id=CameraId(checked_id("camera_id", message.camera_id)),
        collection_id=collection_id_from(message.collection_id),
        tracklet_id=tracklet_id,
        sequence=message.sequence,
        samples=tuple(_sample(sample, f"samples[{at}]") for at, sample in enumerate(message.samples)),
        first_seen=wire.time_from_wire(message.first_seen, "first_seen") if message.HasField("first_seen") else now,
        last_seen=wire.time_from_wire(message.last_seen, "last_seen") if message.HasField("last_seen") else now,
        box=wire.box_from_wire(message.box),
        frame_count=message.frame_count,
        ended=message.ended,
        modality=wire.modality_from_wire(message.modality),
        lease_token=message.lease_token,
        best_shot_id=_piece_id("best_shot_id", message.best_shot_id),
        clip_id=_piece_id("clip_id", message.clip_id),
        zones=_zones(message.zones),
        face=face_from_wire(message),
        traceparent=message.traceparent,
    )


def answer_to_wire(answer: TrackletAnswer, name_of: NameOf) -> matching_pb2.MatchStreamResponse:
    """What is made of a tracklet by now; without scores."""
    return matching_pb2.MatchStreamResponse(
        decision=matching_pb2.TrackletDecision(
            tracklet_id=answer.tracklet_id,
            sequence=answer.sequence,
            revision=answer.revision,
            decision=wire.decision_to_wire(answer.decision, answer.evidence_id, answer.decided_at, with_score=False),
            subject_id=answer.subject_id or "",
            display_name=answer.display_name,
            event_id=answer.event_id or "",
            capture_to_decision=wire.seconds_to_wire(answer.capture_to_decision_s),
            link_id=answer.link_id,
            person=person_to_wire(answer.person, name_of),
        )
    )


def rejection_to_wire(message: matching_pb2.TrackletUpdate, error: TesseraError) -> matching_pb2.MatchStreamResponse:
    """Why an update could not be used; what no reason code tells stands in the detail."""
    reason = pb.REASON_UNSPECIFIED
    if isinstance(error, ModelMismatchError):
        reason = wire.reason_to_wire(Reason.MODEL_MISMATCH)
    elif isinstance(error, NoCalibrationError):
        reason = wire.reason_to_wire(Reason.NO_CALIBRATION)
    elif isinstance(error, LeaseSupersededError):
        reason = wire.reason_to_wire(Reason.LEASE_SUPERSEDED)
    return matching_pb2.MatchStreamResponse(
        rejected=matching_pb2.TrackletRejected(
            tracklet_id=message.tracklet_id,
            sequence=message.sequence,
            reason=reason,
            detail=str(error),
            newest_lease_token=error.newest if isinstance(error, LeaseSupersededError) else 0,
        )
    )


def _sample(message: matching_pb2.TrackletSample, field: str) -> TrackletSample:
    if not message.HasField("capture_time"):
        raise InvalidInputError(f"{field}.capture_time", "unset", "when the frame was taken")
    return TrackletSample(
        capture_time=wire.time_from_wire(message.capture_time, f"{field}.capture_time"),
        embedding=wire.embedding_from_wire(message.embedding, f"{field}.embedding"),
        quality=wire.quality_from_wire(message.quality),
        box=wire.box_from_wire(message.box),
    )


# ---- events


def watch_filter(message: events_pb2.WatchEventsRequest) -> WatchFilter:
    """Which events a watcher wants."""
    kinds = set(message.kinds)
    return WatchFilter(
        camera_ids=frozenset(message.camera_ids),
        sightings=not kinds or events_pb2.EVENT_KIND_SIGHTING in kinds,
        camera_events=not kinds or events_pb2.EVENT_KIND_CAMERA in kinds,
        verify_failures=not kinds or events_pb2.EVENT_KIND_VERIFY_FAILURE in kinds,
        alerts=not kinds or events_pb2.EVENT_KIND_ALERT in kinds,
        collection_id=collection_id_from(message.collection_id) if message.collection_id else None,
    )


def told_to_wire(told: Told | Beat, name_of: NameOf) -> events_pb2.WatchEventsResponse:
    """An event, or a heartbeat."""
    if isinstance(told, Beat):
        beat = events_pb2.Heartbeat(cursor=str(told.cursor), time=wire.time_to_wire(told.at))
        return events_pb2.WatchEventsResponse(heartbeat=beat)
    return events_pb2.WatchEventsResponse(event=event_to_wire(told.record, name_of), replayed=told.replayed)


def event_to_wire(record: EventRecord, name_of: NameOf) -> events_pb2.Event:
    """One event; names are those of today."""
    event, body = record.event, record.event.body
    message = events_pb2.Event(
        event_id=event.event_id,
        revision=record.revision,
        cursor=str(record.sequence),
        event_time=wire.time_to_wire(event.event_time),
        recorded_at=wire.time_to_wire(event.recorded_at),
        valid_until=wire.time_to_wire(event.valid_until),
        camera_id=event.camera_id,
        traceparent=event.traceparent,
    )
    if isinstance(body, SightingBody):
        message.sighting.CopyFrom(_sighting(body, name_of))
    elif isinstance(body, CameraEventBody):
        message.camera_event.CopyFrom(_camera_event(body))
    elif isinstance(body, VerifyFailureBody):
        message.verify_failure.CopyFrom(_verify_failure(body, name_of))
    else:
        message.alert.CopyFrom(alert_to_wire(body, name_of))
    return message


def camera_event_from_wire(message: events_pb2.CameraEvent) -> CameraEventBody:
    """What happened to a camera."""
    kind = wire.enum_name(events_pb2.CameraEventKind, message.kind, "CAMERA_EVENT_KIND_")
    if kind not in CameraEventKind.__members__:
        raise InvalidInputError("event.kind", kind or message.kind, ", ".join(CameraEventKind))
    state = wire.enum_name(camera_pb2.CameraState, message.state, "CAMERA_STATE_")
    return CameraEventBody(
        kind=CameraEventKind[kind],
        state=CameraState.__members__.get(state),
        detail=message.detail[:1024],
        regions=tuple(wire.box_from_wire(region) for region in message.regions),
        probability=optional(message, "probability"),
        clip_id=_piece_id("event.clip_id", message.clip_id),
    )


def sighting_query(message: events_pb2.ListSightingsRequest) -> SightingQuery:
    """Which sightings a list wants."""
    outcome = None if message.outcome == pb.OUTCOME_UNSPECIFIED else wire.outcome_from_wire(message.outcome)
    moments = {name: optional(message, name) for name in ("from", "until")}
    return SightingQuery(
        collection_id=collection_id_from(message.collection_id) if message.collection_id else None,
        camera_id=CameraId(message.camera_id) if message.camera_id else None,
        subject_id=SubjectId(message.subject_id) if message.subject_id else None,
        outcome=outcome,
        since=wire.time_from_wire(moments["from"], "from") if moments["from"] is not None else None,
        until=wire.time_from_wire(moments["until"], "until") if moments["until"] is not None else None,
    )


def checked_sightings(
    message: events_pb2.CheckSightingsRequest,
) -> tuple[list[EventId], list[tuple[CollectionId, SubjectId]]]:
    """The events and the subjects that a caller asks about."""
    for field, asked in (("event_ids", len(message.event_ids)), ("subjects", len(message.subjects))):
        if asked > MAX_CHECKED:
            raise InvalidInputError(field, f"{asked} entries", f"at most {MAX_CHECKED}")
    event_ids = [EventId(checked_id("event_ids", event_id)) for event_id in message.event_ids]
    subjects = [
        (collection_id_from(one.collection_id), SubjectId(checked_id("subjects.subject_id", one.subject_id)))
        for one in message.subjects
    ]
    return event_ids, subjects


def sequence_from_token(token: str) -> int | None:
    """A page token of a list of sightings; empty: the first page."""
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise InvalidInputError("page_token", token, "the token of the last answer")
    return int(token)


def _sighting(body: SightingBody, name_of: NameOf) -> events_pb2.Sighting:
    decision = Decision(body.outcome, body.reasons, body.threshold, None, body.model_id)
    return events_pb2.Sighting(
        tracklet_id=body.tracklet_id,
        collection_id=body.collection_id,
        modality=wire.modality_to_wire(body.modality),
        decision=wire.decision_to_wire(decision, body.evidence_id, body.decided_at, with_score=False),
        subject_id=body.subject_id or "",
        display_name=name_of(body.collection_id, body.subject_id) if body.subject_id else "",
        first_seen=wire.time_to_wire(body.first_seen),
        last_seen=wire.time_to_wire(body.last_seen),
        frame_count=body.frame_count,
        box=wire.box_to_wire(body.box),
        quality=wire.quality_to_wire(body.quality),
        ended=body.ended,
        capture_to_decision=wire.seconds_to_wire(body.capture_to_decision_s),
        best_shot_id=body.best_shot_id,
        clip_id=body.clip_id,
        zones=body.zones,
        link_id=body.link_id if body.link_until is not None and datetime.now(UTC) < body.link_until else "",
        labels=body.labels,
        person=person_to_wire(body.person, name_of),
    )


def _verify_failure(body: VerifyFailureBody, name_of: NameOf) -> events_pb2.VerifyFailure:
    return events_pb2.VerifyFailure(
        collection_id=body.collection_id,
        subject_id=body.subject_id,
        display_name=name_of(body.collection_id, body.subject_id),
        evidence_id=body.evidence_id,
    )


def _zones(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) > MAX_ZONES or any(len(name) > MAX_ZONE_CHARACTERS for name in names):
        allowed = f"{MAX_ZONES} of at most {MAX_ZONE_CHARACTERS} characters"
        raise InvalidInputError("zones", f"{len(names)} names", allowed)
    return tuple(dict.fromkeys(names))


def _piece_id(field: str, value: str) -> str:
    """The id of a shot or a clip; empty: none is kept."""
    return checked_id(field, value) if value else ""


def _camera_event(body: CameraEventBody) -> events_pb2.CameraEvent:
    state = f"CAMERA_STATE_{body.state}" if body.state is not None else "CAMERA_STATE_UNSPECIFIED"
    return events_pb2.CameraEvent(
        kind=events_pb2.CameraEventKind.Value(f"CAMERA_EVENT_KIND_{body.kind}"),
        state=camera_pb2.CameraState.Value(state),
        detail=body.detail,
        regions=[wire.box_to_wire(region) for region in body.regions],
        probability=body.probability,
        clip_id=body.clip_id,
    )
