"""`EventService`: what happened, told in order; each method translates, delegates, translates back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from gallery_svc import (
    alert_wire,
    event_wire,
    wire,
)
from gallery_svc.alert_desk import AlertDesk
from gallery_svc.events import EventLog
from gallery_svc.fencing import Fences
from gallery_svc.replica import Replica
from tessera.client import wire as shared
from tessera.domain.alerting.alerts import AlertState
from tessera.domain.errors import (
    InvalidInputError,
)
from tessera.domain.ids import CameraId, EventId, checked_id
from tessera.v1 import (
    events_pb2,
    events_pb2_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]


class EventServicer(events_pb2_grpc.EventServiceServicer):
    """What happened, told in order.

    Args:
        events: records and tells events.
        alerts: what people do about alerts.
        replica: knows subjects' names.
        fences: who may speak for a camera.
    """

    def __init__(self, events: EventLog, alerts: AlertDesk, replica: Replica, fences: Fences) -> None:
        self._events = events
        self._alerts = alerts
        self._replica = replica
        self._fences = fences

    async def WatchEvents(
        self, request: events_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[events_pb2.WatchEventsResponse]:
        """Events from a cursor on, then live."""
        watch = self._events.watch(request.after_cursor, event_wire.watch_filter(request))
        async with contextlib.aclosing(watch):
            async for told in watch:
                yield event_wire.told_to_wire(told, self._replica.name_of)

    async def PublishCameraEvent(
        self, request: events_pb2.PublishCameraEventRequest, context: Context
    ) -> events_pb2.PublishCameraEventResponse:
        """Record what a worker saw happen to a camera."""
        if not request.HasField("event_time"):
            raise InvalidInputError("event_time", "unset", "when it happened")
        camera_id = CameraId(checked_id("camera_id", request.camera_id))
        self._fences.require(camera_id, request.lease_token)
        record = await self._events.publish_camera_event(
            EventId(checked_id("event_id", request.event_id)),
            camera_id,
            shared.time_from_wire(request.event_time, "event_time"),
            event_wire.camera_event_from_wire(request.event),
            shared.seconds_from_wire(request.time_to_live) if request.HasField("time_to_live") else None,
        )
        return events_pb2.PublishCameraEventResponse(cursor=str(record.sequence))

    async def ListSightings(
        self, request: events_pb2.ListSightingsRequest, context: Context
    ) -> events_pb2.ListSightingsResponse:
        """Sightings, newest first."""
        records, next_before = await self._events.list_sightings(
            event_wire.sighting_query(request),
            event_wire.sequence_from_token(request.page_token),
            wire.page_size_from(request.page_size),
        )
        return events_pb2.ListSightingsResponse(
            events=[event_wire.event_to_wire(record, self._replica.name_of) for record in records],
            next_page_token=str(next_before) if next_before else "",
        )

    async def CheckSightings(
        self, request: events_pb2.CheckSightingsRequest, context: Context
    ) -> events_pb2.CheckSightingsResponse:
        """Which sightings are no longer kept, and which subjects are no longer there."""
        event_ids, subjects = event_wire.checked_sightings(request)
        return events_pb2.CheckSightingsResponse(
            gone_event_ids=await self._events.gone(event_ids),
            gone_subjects=[
                events_pb2.SightedSubject(collection_id=collection_id, subject_id=subject_id)
                for collection_id, subject_id in await self._events.gone_subjects(subjects)
            ],
        )

    async def ListAlerts(
        self, request: events_pb2.ListAlertsRequest, context: Context
    ) -> events_pb2.ListAlertsResponse:
        """Alerts, newest first."""
        alerts, next_before = await self._alerts.list(
            alert_wire.alert_query(request),
            event_wire.sequence_from_token(request.page_token) or 0,
            wire.page_size_from(request.page_size),
        )
        return events_pb2.ListAlertsResponse(
            alerts=[alert_wire.alert_to_wire(alert, self._replica.name_of) for alert in alerts],
            next_page_token=str(next_before) if next_before else "",
        )

    async def GetAlert(self, request: events_pb2.GetAlertRequest, context: Context) -> events_pb2.GetAlertResponse:
        """One alert."""
        alert = await self._alerts.get(checked_id("alert_id", request.alert_id))
        return events_pb2.GetAlertResponse(alert=alert_wire.alert_to_wire(alert, self._replica.name_of))

    async def AcknowledgeAlert(
        self, request: events_pb2.AcknowledgeAlertRequest, context: Context
    ) -> events_pb2.AcknowledgeAlertResponse:
        """Say who looks after an alert, or that it is settled."""
        alert = await self._alerts.settle(
            checked_id("alert_id", request.alert_id),
            AlertState.RESOLVED if request.resolve else AlertState.ACKNOWLEDGED,
            request.actor,
            request.comment,
            checked_id("request_id", request.request_id) if request.request_id else "",
        )
        return events_pb2.AcknowledgeAlertResponse(alert=alert_wire.alert_to_wire(alert, self._replica.name_of))
