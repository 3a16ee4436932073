"""Answers of a gallery as messages, for tests."""

from __future__ import annotations

from datetime import UTC, datetime

from tessera.client.wire import time_to_wire
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import events_pb2, matching_pb2, subject_pb2

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MODEL = "face-test-1@0123456789ab"


def decision(outcome: str, *reasons: str, fpir: bool = False, score: float | None = None) -> pb.Decision:
    """A decision with the default target rates."""
    threshold = pb.Threshold(score=0.4, fmr=9.7e-5, fmr_low=6e-5, fmr_high=1.5e-4, gallery_size=3, calibration_id="c")
    if fpir:
        threshold.target_fpir = 1e-2
    else:
        threshold.target_fmr = 1e-4
    return pb.Decision(
        outcome=pb.Outcome.Value(f"OUTCOME_{outcome}"),
        reasons=[pb.Reason.Value(f"REASON_{reason}") for reason in reasons],
        threshold=threshold,
        score=score,
        model_id=MODEL,
        evidence_id="evidence-1",
        decided_at=time_to_wire(NOW),
    )


def verified(outcome: str, *reasons: str, score: float | None = None) -> matching_pb2.VerifyResponse:
    """The answer of Verify."""
    return matching_pb2.VerifyResponse(decision=decision(outcome, *reasons, score=score), subject_id="alice")


def identified(*outcomes: str) -> matching_pb2.IdentifyResponse:
    """The answer of Identify: one face for each outcome; a match names Alice."""
    faces = []
    for outcome in outcomes:
        face = matching_pb2.Identification(decision=decision(outcome, fpir=True))
        if outcome == "MATCH":
            face.candidates.add(subject_id="alice", display_name="Alice Adams", template_id="t1", above_threshold=True)
        faces.append(face)
    return matching_pb2.IdentifyResponse(identifications=faces, position=7)


def subject(subject_id: str, templates: int = 1) -> subject_pb2.Subject:
    """A subject."""
    moment = time_to_wire(NOW)
    made = [
        subject_pb2.Template(template_id=f"t{number}", model_id=MODEL, created_at=moment, source_sha256="ab" * 32)
        for number in range(1, templates + 1)
    ]
    return subject_pb2.Subject(
        subject_id=subject_id,
        collection_id="default",
        display_name=subject_id.title(),
        templates=made,
        created_at=moment,
        updated_at=moment,
        revision=1,
    )


def sighting(
    event_id: str, revision: int = 1, outcome: str = "MATCH", cursor: str = "1", *, replayed: bool = False
) -> events_pb2.WatchEventsResponse:
    """An event of somebody who was seen."""
    moment = time_to_wire(NOW)
    matched = outcome == "MATCH"
    seen = events_pb2.Sighting(
        tracklet_id=f"tracklet-{event_id}",
        decision=decision(outcome, fpir=True),
        subject_id="barack-obama" if matched else "",
        display_name="Barack Obama" if matched else "",
        first_seen=moment,
        last_seen=moment,
        frame_count=5,
    )
    seen.capture_to_decision.FromMilliseconds(132)
    event = events_pb2.Event(
        event_id=event_id,
        revision=revision,
        cursor=cursor,
        event_time=moment,
        recorded_at=moment,
        valid_until=moment,
        camera_id="demo",
        sighting=seen,
    )
    return events_pb2.WatchEventsResponse(event=event, replayed=replayed)


def heartbeat(cursor: str) -> events_pb2.WatchEventsResponse:
    """Nothing happened."""
    return events_pb2.WatchEventsResponse(heartbeat=events_pb2.Heartbeat(cursor=cursor, time=time_to_wire(NOW)))
