"""Stream values to messages and back: the only place where a client touches messages of the two streams."""

from __future__ import annotations

from dataclasses import asdict

from tessera.client import wire
from tessera.client.stream_values import (
    EncodeOptions,
    FrameAnswer,
    FrameOutcome,
    FrameToEncode,
    KnownTracklet,
    StageTimes,
    TrackletDecision,
    TrackletRejected,
    TrackletSample,
    TrackletUpdate,
)
from tessera.domain.ids import CameraId, EventId, SubjectId, TrackletId
from tessera.domain.observation import FaceOnBody, Observation
from tessera.domain.reasons import Reason
from tessera.v1 import encoder_pb2, matching_pb2

# ---- encoder


def stream_open_to_wire(
    camera_id: CameraId, options: EncodeOptions, resume_after_frame_id: int, wanted_credits: int
) -> encoder_pb2.EncodeStreamRequest:
    """The first message of an encode stream."""
    return encoder_pb2.EncodeStreamRequest(
        open=encoder_pb2.StreamOpen(
            camera_id=camera_id,
            options=_options_to_wire(options),
            resume_after_frame_id=resume_after_frame_id,
            persons=None if options.persons is None else _options_to_wire(options.persons),
            wanted_credits=wanted_credits,
        )
    )


def frame_to_wire(frame: FrameToEncode) -> encoder_pb2.EncodeStreamRequest:
    """One frame."""
    message = encoder_pb2.Frame(
        frame_id=frame.frame_id,
        capture_time=wire.time_to_wire(frame.capture_time),
        expires_after=wire.seconds_to_wire(frame.expires_after_s),
        known_tracklets=[_known_to_wire(known) for known in frame.known_tracklets],
        dropped_since_last=frame.dropped_since_last,
        traceparent=frame.traceparent,
    )
    message.image.data = frame.picture
    return encoder_pb2.EncodeStreamRequest(frame=message)


def answer_from_wire(message: encoder_pb2.FrameResult) -> FrameAnswer:
    """The answer to one frame; an outcome that this version does not know is a failure."""
    kind = message.WhichOneof("outcome")
    capture_time, stages = wire.time_from_wire(message.capture_time), stage_times_from_wire(message.stage_times)
    outcome, reason, detail = FrameOutcome.FAILED, Reason.INTERNAL, f"the encoder answered {kind}"
    match kind:
        case "encoded":
            return FrameAnswer(
                message.frame_id,
                capture_time,
                FrameOutcome.ENCODED,
                tuple(wire.observation_from_wire(seen) for seen in message.encoded.observations),
                message.encoded.width_px,
                message.encoded.height_px,
                stage_times=stages,
                persons=persons_from_wire(message.encoded),
            )
        case "skipped":
            outcome, reason, detail = FrameOutcome.SKIPPED, wire.reason_from_wire(message.skipped.reason), ""
        case "expired":
            outcome, reason, detail = FrameOutcome.EXPIRED, Reason.EXPIRED, ""
        case "failed":
            reason, detail = wire.reason_from_wire(message.failed.reason), message.failed.detail
        case _:
            pass
    return FrameAnswer(message.frame_id, capture_time, outcome, reason=reason, detail=detail, stage_times=stages)


def persons_from_wire(
    message: encoder_pb2.Encoded | encoder_pb2.EncodeResponse,
) -> tuple[Observation, ...] | None:
    """The persons that were looked for beside the faces of a picture; None: nobody asked for them."""
    if not message.HasField("persons"):
        return None
    return tuple(wire.observation_from_wire(seen) for seen in message.persons.observations)


def _options_to_wire(o: EncodeOptions) -> encoder_pb2.EncodeOptions:
    return encoder_pb2.EncodeOptions(
        modality=wire.modality_to_wire(o.modality),
        model_id=o.model_id or "",
        max_observations=o.max_observations,
        min_detection_probability=o.min_detection_probability,
        min_side_px=o.min_side_px,
        min_embedded_probability=o.min_embedded_probability,
    )


def _known_to_wire(known: KnownTracklet) -> encoder_pb2.KnownTracklet:
    message = encoder_pb2.KnownTracklet(
        tracklet_id=known.tracklet_id,
        predicted_box=wire.box_to_wire(known.predicted_box),
        best_quality=known.best_quality,
    )
    if known.modality is not None:
        message.modality = wire.modality_to_wire(known.modality)
    return message


def stage_times_to_wire(times: StageTimes) -> encoder_pb2.StageTimes:
    """Where the encoder's time went."""
    return encoder_pb2.StageTimes(**asdict(times))


def stage_times_from_wire(message: encoder_pb2.StageTimes) -> StageTimes:
    """Where the encoder's time went."""
    return StageTimes(**{name: getattr(message, name) for name in StageTimes.__dataclass_fields__})


# ---- gallery


def match_open_to_wire(worker_id: str) -> matching_pb2.MatchStreamRequest:
    """The first message of a match stream."""
    return matching_pb2.MatchStreamRequest(open=matching_pb2.MatchStreamOpen(worker_id=worker_id))


def update_to_wire(update: TrackletUpdate) -> matching_pb2.MatchStreamRequest:
    """One update of a tracklet."""
    return matching_pb2.MatchStreamRequest(
        update=matching_pb2.TrackletUpdate(
            camera_id=update.camera_id,
            collection_id=update.collection_id,
            tracklet_id=update.tracklet_id,
            sequence=update.sequence,
            samples=[_sample_to_wire(sample) for sample in update.samples],
            first_seen=wire.time_to_wire(update.first_seen),
            last_seen=wire.time_to_wire(update.last_seen),
            box=wire.box_to_wire(update.box),
            frame_count=update.frame_count,
            ended=update.ended,
            modality=wire.modality_to_wire(update.modality),
            lease_token=update.lease_token,
            best_shot_id=update.best_shot_id,
            clip_id=update.clip_id,
            zones=update.zones,
            face=_face_to_wire(update.face) if update.face is not None else None,
            traceparent=update.traceparent,
        )
    )


def match_answer_from_wire(message: matching_pb2.MatchStreamResponse) -> TrackletDecision | TrackletRejected | None:
    """The answer to one update; None for messages that are none."""
    match message.WhichOneof("message"):
        case "decision":
            return _decision_from_wire(message.decision)
        case "rejected":
            rejected = message.rejected
            reason = wire.reason_from_wire(rejected.reason)
            return TrackletRejected(
                TrackletId(rejected.tracklet_id),
                rejected.sequence,
                reason,
                rejected.detail,
                rejected.newest_lease_token,
            )
        case _:
            return None


def _face_to_wire(face: FaceOnBody) -> matching_pb2.FaceOnBody:
    return matching_pb2.FaceOnBody(**asdict(face))


def _sample_to_wire(sample: TrackletSample) -> matching_pb2.TrackletSample:
    return matching_pb2.TrackletSample(
        capture_time=wire.time_to_wire(sample.capture_time),
        embedding=wire.embedding_to_wire(sample.embedding),
        quality=wire.quality_to_wire(sample.quality),
        box=wire.box_to_wire(sample.box),
    )


def _decision_from_wire(message: matching_pb2.TrackletDecision) -> TrackletDecision:
    return TrackletDecision(
        tracklet_id=TrackletId(message.tracklet_id),
        sequence=message.sequence,
        revision=message.revision,
        decision=wire.decision_from_wire(message.decision),
        subject_id=SubjectId(message.subject_id) if message.subject_id else None,
        display_name=message.display_name,
        event_id=EventId(message.event_id) if message.event_id else None,
        capture_to_decision_s=wire.seconds_from_wire(message.capture_to_decision),
        link_id=message.link_id,
        person_id=message.person.person_id,
    )
