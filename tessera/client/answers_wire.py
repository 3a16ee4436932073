"""Messages to the SDK's answers. The shared words are in `wire`; this module knows what only a client reads."""

from __future__ import annotations

from typing import Any

from tessera.client import alert_wire, wire
from tessera.client import answers as a
from tessera.client.optional_fields import box_of, milliseconds_of, quality_of, time_of
from tessera.client.person_wire import person_from_wire
from tessera.v1 import biometrics_pb2, camera_pb2, encoder_pb2, events_pb2, matching_pb2

# ---- decisions


def answer_from_wire(message: biometrics_pb2.Decision) -> a.Answer:
    """One decision."""
    decision = wire.decision_from_wire(message)
    return a.Answer(
        outcome=decision.outcome,
        reasons=decision.reasons,
        threshold=decision.threshold,
        score=decision.score,
        model_id=message.model_id,
        evidence_id=message.evidence_id,
        decided_at=time_of(message, "decided_at"),
    )


def verification_from_wire(message: matching_pb2.VerifyResponse) -> a.Verification:
    """The answer of a verification."""
    return a.Verification(
        **_decision(message.decision),
        subject_id=message.subject_id,
        template_id=message.template_id,
        quality=quality_of(message, "probe_quality"),
        box=box_of(message, "probe_box"),
        times=_times(message.times) if message.HasField("times") else None,
        coverage=coverage_from_wire(message),
        position=message.position,
    )


def comparison_from_wire(message: matching_pb2.CompareResponse) -> a.Comparison:
    """The answer of a comparison."""
    return a.Comparison(
        **_decision(message.decision),
        first_quality=quality_of(message, "first_quality"),
        second_quality=quality_of(message, "second_quality"),
        first_box=box_of(message, "first_box"),
        second_box=box_of(message, "second_box"),
    )


def identifications_from_wire(message: matching_pb2.IdentifyResponse) -> tuple[a.Identification, ...]:
    """The answers for the faces of a picture."""
    coverage, positions = coverage_from_wire(message), tuple(message.positions)
    return tuple(
        a.Identification(
            **_decision(face.decision),
            candidates=tuple(_candidate(candidate) for candidate in face.candidates),
            box=box_of(face, "box"),
            quality=quality_of(face, "quality"),
            coverage=coverage,
            positions=positions,
        )
        for face in message.identifications
    )


def coverage_from_wire(
    message: matching_pb2.VerifyResponse | matching_pb2.IdentifyResponse | matching_pb2.PieceOfDecision,
) -> a.SearchCoverage | None:
    """What an answer rests on; None: it does not say."""
    if not message.HasField("coverage"):
        return None
    coverage = message.coverage
    mode = wire.enum_name(matching_pb2.SearchMode, coverage.mode, "SEARCH_MODE_")
    return a.SearchCoverage(
        shards_total=coverage.shards_total,
        shards_searched=coverage.shards_searched,
        complete=coverage.complete,
        mode=a.SearchMode.__members__.get(mode, a.SearchMode.UNSPECIFIED),
        vectors_in_clear=coverage.vectors_in_clear,
        behind_changes=coverage.behind_changes,
        behind_s=wire.seconds_from_wire(coverage.behind),
        subjects_searched=coverage.subjects_searched,
    )


def _decision(message: biometrics_pb2.Decision) -> dict[str, Any]:
    answer = answer_from_wire(message)
    return {name: getattr(answer, name) for name in a.Answer.__dataclass_fields__}


def _candidate(message: matching_pb2.MatchCandidate) -> a.MatchCandidate:
    return a.MatchCandidate(
        subject_id=message.subject_id,
        display_name=message.display_name,
        template_id=message.template_id,
        above_threshold=message.above_threshold,
        score=message.score if message.HasField("score") else None,
    )


def _times(message: matching_pb2.VerifyTimes) -> a.VerifyTimes:
    stages: dict[str, float] = {}
    if message.HasField("encoder"):
        fields = encoder_pb2.StageTimes.DESCRIPTOR.fields
        stages = {field.name.removesuffix("_ms"): getattr(message.encoder, field.name) for field in fields}
    return a.VerifyTimes(message.encode_ms, message.compare_ms, message.store_ms, message.total_ms, stages)


# ---- cameras


def camera_from_wire(message: camera_pb2.Camera, status: a.CameraStatus | None = None) -> a.Camera:
    """A camera as it was set up."""
    return a.Camera(
        camera_id=message.camera_id,
        url=message.url,
        sample_rate_hz=message.sample_rate_hz,
        collection_id=message.collection_id,
        enabled=message.enabled if message.HasField("enabled") else True,
        status=status,
        zones=tuple(
            a.Zone(zone.name, tuple((corner.x, corner.y) for corner in zone.corners), zone.masked)
            for zone in message.zones
        ),
        only_zones=message.only_zones,
        min_side_px=message.min_side_px,
        motion_gate=message.motion_gate if message.HasField("motion_gate") else True,
        watch_scene=message.watch_scene if message.HasField("watch_scene") else True,
        stream=_stream_from_wire(message.stream),
        labels=dict(message.labels),
        modalities=tuple(wire.modality_from_wire(modality) for modality in message.modalities),
        person_collection_id=message.person_collection_id,
    )


def stream_to_wire(stream: a.StreamOptions) -> camera_pb2.StreamOptions:
    """How a camera's stream is read."""
    return camera_pb2.StreamOptions(
        transport=camera_pb2.StreamTransport.Value(f"STREAM_TRANSPORT_{stream.transport.value}"),
        key_frames_only=stream.key_frames_only,
        sub_stream_url=stream.sub_stream_url,
        hardware_decode=stream.hardware_decode,
        as_fast_as_possible=stream.as_fast_as_possible,
    )


def _stream_from_wire(message: camera_pb2.StreamOptions) -> a.StreamOptions:
    name = camera_pb2.StreamTransport.Name(message.transport).removeprefix("STREAM_TRANSPORT_")
    return a.StreamOptions(
        transport=a.Transport.UDP if name == "UDP" else a.Transport.TCP,
        key_frames_only=message.key_frames_only,
        sub_stream_url=message.sub_stream_url,
        hardware_decode=message.hardware_decode,
        as_fast_as_possible=message.as_fast_as_possible,
    )


def _clock_from_wire(message: camera_pb2.CameraClock) -> a.CameraClock:
    name = camera_pb2.CameraClockKind.Name(message.kind).removeprefix("CAMERA_CLOCK_KIND_")
    offset = message.sender_offset
    return a.CameraClock(
        kind=a.ClockKind(name),
        drift_ppm=message.drift_ppm,
        delay_s=wire.seconds_from_wire(message.delay),
        sender_offset_s=wire.seconds_from_wire(offset) if message.HasField("sender_offset") else None,
        host_clock_jumps=message.host_clock_jumps,
    )


def zone_to_wire(zone: a.Zone) -> camera_pb2.Zone:
    """A place in a camera's picture."""
    corners = [camera_pb2.FractionPoint(x=x, y=y) for x, y in zone.corners]
    return camera_pb2.Zone(name=zone.name, corners=corners, masked=zone.masked)


def camera_entry_from_wire(message: camera_pb2.CameraEntry) -> a.Camera:
    """A camera and how it does."""
    status = camera_status_from_wire(message.status) if message.HasField("status") else None
    return camera_from_wire(message.camera, status)


def camera_status_from_wire(message: camera_pb2.CameraStatus) -> a.CameraStatus:
    """How a camera does."""
    return a.CameraStatus(
        camera_id=message.camera_id,
        state=_camera_state(message.state),
        detail=message.detail,
        last_frame_time=time_of(message, "last_frame_time"),
        frames_sampled=message.frames_sampled,
        frames_encoded=message.frames_encoded,
        frames_skipped=message.frames_skipped,
        frames_expired=message.frames_expired,
        frames_failed=message.frames_failed,
        frames_in_flight=message.frames_in_flight,
        skip_counts={wire.reason_from_wire(count.reason): count.frames for count in message.skip_counts},
        width_px=message.width_px,
        height_px=message.height_px,
        latency_ms=milliseconds_of(message, "latency"),
        active_tracklets=message.active_tracklets,
        reconnects=message.reconnects,
        sample_rate_hz=message.sample_rate_hz,
        worker_address=message.worker_address,
        lease_token=message.lease_token,
        clock=_clock_from_wire(message.clock) if message.HasField("clock") else None,
        quarantined_pictures=message.quarantined_pictures,
        scene=wire.enum_name(camera_pb2.SceneState, message.scene, "SCENE_STATE_").replace("UNSPECIFIED", ""),
    )


def _camera_state(state: int) -> a.CameraState:
    name = wire.enum_name(camera_pb2.CameraState, state, "CAMERA_STATE_")
    return a.CameraState.__members__.get(name, a.CameraState.UNSPECIFIED)


# ---- events


def event_from_wire(message: events_pb2.Event, *, replayed: bool) -> a.Event:
    """One event."""
    body = message.WhichOneof("body")
    return a.Event(
        event_id=message.event_id,
        revision=message.revision,
        cursor=message.cursor,
        event_time=wire.time_from_wire(message.event_time),
        recorded_at=wire.time_from_wire(message.recorded_at),
        valid_until=wire.time_from_wire(message.valid_until),
        camera_id=message.camera_id,
        replayed=replayed,
        sighting=_sighting(message.sighting) if body == "sighting" else None,
        camera_change=_camera_change(message.camera_event) if body == "camera_event" else None,
        alert=alert_wire.alert_from_wire(message.alert) if body == "alert" else None,
        verify_failure=alert_wire.verify_failure_from_wire(message.verify_failure)
        if body == "verify_failure"
        else None,
    )


def _sighting(message: events_pb2.Sighting) -> a.Sighting:
    return a.Sighting(
        tracklet_id=message.tracklet_id,
        collection_id=message.collection_id,
        answer=answer_from_wire(message.decision),
        subject_id=message.subject_id,
        display_name=message.display_name,
        first_seen=wire.time_from_wire(message.first_seen),
        last_seen=wire.time_from_wire(message.last_seen),
        frame_count=message.frame_count,
        ended=message.ended,
        capture_to_decision_ms=milliseconds_of(message, "capture_to_decision"),
        best_shot_id=message.best_shot_id,
        clip_id=message.clip_id,
        zones=tuple(message.zones),
        link_id=message.link_id,
        labels=tuple(message.labels),
        person=person_from_wire(message.person) if message.HasField("person") else None,
    )


def _camera_change(message: events_pb2.CameraEvent) -> a.CameraChange:
    kind = wire.enum_name(events_pb2.CameraEventKind, message.kind, "CAMERA_EVENT_KIND_")
    return a.CameraChange(
        kind=kind or "UNSPECIFIED",
        detail=message.detail,
        clip_id=message.clip_id,
        regions=tuple(wire.box_from_wire(region) for region in message.regions),
        probability=message.probability if message.HasField("probability") else None,
    )
