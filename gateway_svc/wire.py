"""Messages of the event log to what the gateway keeps of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection

import grpc

from gateway_svc.following import EventsGoneError, Told
from gateway_svc.happenings import Facts, Happening, Kind
from gateway_svc.messages import stamp
from tessera.chassis.status import detail_of
from tessera.client import wire
from tessera.domain.errors import UnavailableError
from tessera.v1 import (
    biometrics_pb2,
    camera_pb2,
    camera_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    gallery_pb2_grpc,
    subject_pb2,
)

_KINDS = {
    Kind.ALERT: events_pb2.EVENT_KIND_ALERT,
    Kind.SIGHTING: events_pb2.EVENT_KIND_SIGHTING,
    Kind.CAMERA: events_pb2.EVENT_KIND_CAMERA,
}
_SHOT_LIMIT_S = 5.0
_NAME_LIMIT_S = 1.0
"""A door waits for the message."""
_SILENCE_LIMIT_S = 30.0
"""The log beats at least every 10 s: a connection that is quiet for longer is a dead one."""


class WatchedEvents:
    """The gallery's event log.

    Args:
        channel: to the gallery.
        silence_limit_s: a stream that says nothing for so long is broken.
    """

    def __init__(self, channel: grpc.aio.Channel, silence_limit_s: float = _SILENCE_LIMIT_S) -> None:
        self._stub = events_pb2_grpc.EventServiceStub(channel)
        self._silence_limit_s = silence_limit_s

    async def watch(self, after_cursor: str, kinds: Collection[Kind]) -> AsyncGenerator[Told, None]:
        """Events from a cursor on, then live.

        Raises:
            EventsGoneError: events after the cursor are no longer kept.
            UnavailableError: the log does not answer, or the connection broke.
        """
        request = events_pb2.WatchEventsRequest(
            after_cursor=after_cursor, kinds=sorted(_KINDS[kind] for kind in kinds if kind in _KINDS)
        )
        stream = self._stub.WatchEvents(request)
        try:
            while True:
                async with asyncio.timeout(self._silence_limit_s):
                    response = await stream.read()
                if not isinstance(response, events_pb2.WatchEventsResponse):
                    raise UnavailableError("gallery", "the stream ended")
                yield _told(response)
        except TimeoutError:
            raise UnavailableError("gallery", f"silent for {self._silence_limit_s:g} s") from None
        except grpc.RpcError as error:
            detail = detail_of(error)
            if detail.code is grpc.StatusCode.OUT_OF_RANGE:
                raise EventsGoneError(after_cursor, detail.message) from None
            raise UnavailableError("gallery", detail.code.name) from None
        finally:
            stream.cancel()


class GalleryNames:
    """The names of the gallery's subjects.

    Args:
        channel: to the gallery.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = gallery_pb2_grpc.GalleryServiceStub(channel)

    async def name(self, collection_id: str, subject_id: str) -> str:
        """The name of a subject; empty: it has none, or there is no such subject.

        Raises:
            UnavailableError: the gallery does not answer.
        """
        request = subject_pb2.GetSubjectRequest(collection_id=collection_id, subject_id=subject_id)
        try:
            response = await self._stub.GetSubject(request, timeout=_NAME_LIMIT_S)
        except grpc.RpcError as error:
            code = detail_of(error).code
            if code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}:
                return ""
            raise UnavailableError("gallery", code.name) from None
        return str(response.subject.display_name)


class CameraShots:
    """The camera worker's best shots.

    Args:
        channel: to the camera worker.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = camera_pb2_grpc.CameraServiceStub(channel)

    async def shot(self, shot_id: str) -> bytes | None:
        """A JPEG; None: it is not kept.

        Raises:
            UnavailableError: the worker does not answer.
        """
        try:
            response = await self._stub.GetShot(camera_pb2.GetShotRequest(shot_id=shot_id), timeout=_SHOT_LIMIT_S)
        except grpc.RpcError as error:
            code = detail_of(error).code
            if code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}:
                return None
            raise UnavailableError("ingest", code.name) from None
        return bytes(response.image.data)


def happening_from_wire(message: events_pb2.Event) -> Happening | None:
    """One event; None for a kind of a later version."""
    body = message.WhichOneof("body")
    if body == "alert":
        kind, facts = Kind.ALERT, _alert(message.alert)
    elif body == "sighting":
        kind, facts = Kind.SIGHTING, _sighting(message.sighting)
    elif body == "camera_event":
        kind, facts = Kind.CAMERA, _camera_event(message.camera_event)
    else:
        return None
    return Happening(
        kind=kind,
        event_id=message.event_id,
        revision=message.revision,
        event_time=wire.time_from_wire(message.event_time),
        recorded_at=wire.time_from_wire(message.recorded_at),
        valid_until=wire.time_from_wire(message.valid_until),
        camera_id=message.camera_id,
        facts=facts,
        traceparent=message.traceparent,
    )


def _told(response: events_pb2.WatchEventsResponse) -> Told:
    if response.WhichOneof("message") == "heartbeat":
        return Told(response.heartbeat.cursor, None)
    return Told(response.event.cursor, happening_from_wire(response.event))


def _alert(alert: events_pb2.Alert) -> Facts:
    return {
        "alert_id": alert.alert_id,
        "rule_id": alert.rule_id,
        "severity": wire.enum_name(events_pb2.Severity, alert.severity, "SEVERITY_"),
        "state": wire.enum_name(events_pb2.AlertState, alert.state, "ALERT_STATE_"),
        "change": wire.enum_name(events_pb2.AlertChange, alert.change, "ALERT_CHANGE_"),
        "rule_kind": wire.enum_name(events_pb2.RuleKind, alert.kind, "RULE_KIND_"),
        "rule_revision": alert.rule_revision,
        "title": alert.title,
        "summary": alert.summary,
        "camera_ids": list(alert.camera_ids),
        "subjects": [{"collection_id": one.collection_id, "subject_id": one.subject_id} for one in alert.subjects],
        "event_ids": list(alert.event_ids),
        "opened_at": stamp(wire.time_from_wire(alert.opened_at)),
        "updated_at": stamp(wire.time_from_wire(alert.updated_at)),
        "actor": alert.actor,
        "comment": alert.comment,
        "suppressed_events": alert.suppressed_events,
        "held_back": alert.held_back,
        "best_shot_id": alert.best_shot_id,
    }


def _sighting(sighting: events_pb2.Sighting) -> Facts:
    return {
        "tracklet_id": sighting.tracklet_id,
        "collection_id": sighting.collection_id,
        "outcome": wire.enum_name(biometrics_pb2.Outcome, sighting.decision.outcome, "OUTCOME_"),
        "subject_id": sighting.subject_id,
        "first_seen": stamp(wire.time_from_wire(sighting.first_seen)),
        "last_seen": stamp(wire.time_from_wire(sighting.last_seen)),
        "frame_count": sighting.frame_count,
        "zones": list(sighting.zones),
        "ended": sighting.ended,
        "best_shot_id": sighting.best_shot_id,
    }


def _camera_event(event: events_pb2.CameraEvent) -> Facts:
    return {
        "event_kind": wire.enum_name(events_pb2.CameraEventKind, event.kind, "CAMERA_EVENT_KIND_"),
        "state": wire.enum_name(camera_pb2.CameraState, event.state, "CAMERA_STATE_"),
        "detail": event.detail,
        "probability": event.probability if event.HasField("probability") else None,
    }
