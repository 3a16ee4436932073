"""A claim that fails is an event, so that rules can tell one from many. It is recorded before the answer leaves."""

from __future__ import annotations

from datetime import timedelta

from gallery_svc.events import EventLog
from gallery_svc.recording import Recorded
from gallery_svc.store.event_records import NewEvent, VerifyFailureBody
from tessera.chassis.tracing import current_span
from tessera.domain.decision import Outcome
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId

TIME_TO_LIVE_S = 60.0


class VerifyFailures:
    """Records claims that were not confirmed.

    Args:
        events: where.
    """

    def __init__(self, events: EventLog) -> None:
        self._events = events

    async def note(
        self, recorded: Recorded, collection_id: CollectionId, subject_id: SubjectId, camera_id: str
    ) -> None:
        """Record a NO_MATCH; nothing for other outcomes: an inconclusive claim says nothing of who made it.

        Raises:
            UnavailableError: the store is away; the decision must not be told.
        """
        if recorded.decision.outcome is not Outcome.NO_MATCH:
            return
        event = NewEvent(
            event_id=EventId(f"verify-{recorded.evidence_id}"),
            camera_id=CameraId(camera_id),
            event_time=recorded.decided_at,
            recorded_at=recorded.decided_at,
            valid_until=recorded.decided_at + timedelta(seconds=TIME_TO_LIVE_S),
            body=VerifyFailureBody(collection_id, subject_id, recorded.evidence_id),
            content_key="once",
            traceparent=current_span().traceparent() or "",
        )
        await self._events.record(event, None)
