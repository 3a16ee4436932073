"""Recorded events as rules judge them, and what rules decided as events that are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gallery_svc.store.event_records import CameraEventBody, EventRecord, NewEvent, SightingBody, VerifyFailureBody
from tessera.domain.alerting.alerts import Alert, AlertChange
from tessera.domain.alerting.happenings import AlertSettled, CameraHappened, Happening, Seen, VerifyFailed
from tessera.domain.embedding import Modality
from tessera.domain.ids import CameraId, EventId

OWN_TIME_TO_LIVE_S = 60.0
"""Of messages that call nobody to anything: that somebody looks after an alert, that it is over or called off."""

_CALLS = frozenset({AlertChange.OPENED, AlertChange.REMINDED, AlertChange.REVISED})


def happening_of(record: EventRecord) -> Happening | None:
    """An event as rules judge it; None: they do not, such as of the alerts that they made."""
    body = _body_of(record)
    if body is None:
        return None
    event = record.event
    event_s = event.event_time.timestamp()
    return Happening(
        event_id=event.event_id,
        revision=record.revision,
        camera_id=event.camera_id,
        event_s=event_s,
        recorded_s=event.recorded_at.timestamp(),
        valid_until_s=event.valid_until.timestamp(),
        body=body,
    )


def _body_of(record: EventRecord) -> Seen | CameraHappened | VerifyFailed | AlertSettled | None:
    body = record.event.body
    if isinstance(body, SightingBody):
        return Seen(
            collection_id=body.collection_id,
            outcome=body.outcome,
            subject_id=body.subject_id or "",
            labels=frozenset(body.labels),
            lasted_s=max(0.0, (body.last_seen - body.first_seen).total_seconds()),
            ended=body.ended,
            zones=frozenset(body.zones),
            link_id=body.person.person_id if body.person is not None else body.link_id,
            best_shot_id=body.best_shot_id,
            is_body=body.modality is Modality.PERSON,
        )
    if isinstance(body, CameraEventBody):
        return CameraHappened(body.kind, body.probability)
    if isinstance(body, VerifyFailureBody):
        return VerifyFailed(body.collection_id, body.subject_id)
    return AlertSettled() if body.change is AlertChange.RESOLVED else None


def alert_event(alert: Alert, at_s: float, now: datetime, traceparent: str = "") -> NewEvent:
    """A message of an alert, as it stands.

    Args:
        alert: what is told.
        at_s: when it happened.
        now: when it is told.
        traceparent: of what it is told because of; empty: that was not traced.
    """
    valid_until = moment(alert.valid_until_s)
    if alert.change not in _CALLS:
        valid_until = now + timedelta(seconds=OWN_TIME_TO_LIVE_S)
    return NewEvent(
        event_id=EventId(alert.alert_id),
        camera_id=CameraId(alert.camera_ids[0] if alert.camera_ids else ""),
        event_time=moment(at_s),
        recorded_at=now,
        valid_until=valid_until,
        body=alert,
        content_key=f"message {alert.messages}",
        traceparent=traceparent,
    )


def moment(at_s: float) -> datetime:
    """Seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(at_s, UTC)
