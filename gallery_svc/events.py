"""What happened, in order: recorded once, told to everyone who watches, for as long as it is kept.

A watcher stands at a cursor, which is the sequence of the last event it has seen. Behind the oldest event that is kept
nothing can be told in full, and the watcher is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.event_records import (
    CameraEventBody,
    EventHead,
    EventRecord,
    NewEvent,
    SightingBody,
    VerifyFailureBody,
)
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.chassis.tracing import current_span
from tessera.domain.alerting.alerts import Alert
from tessera.domain.decision import Outcome
from tessera.domain.errors import CursorTrimmedError, InvalidInputError
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId

FROM_NOW = ""
FROM_OLDEST = "0"
_EVENTS_A_READ = 256
_DEFAULT_CAMERA_TIME_TO_LIVE_S = 60.0
_LONGEST_TIME_TO_LIVE_S = 86_400.0


_KINDS: dict[type, str] = {
    SightingBody: "sighting",
    CameraEventBody: "camera",
    VerifyFailureBody: "verify_failure",
    Alert: "alert",
}


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which events a watcher wants."""

    camera_ids: frozenset[str] = frozenset()
    """Empty: all."""
    sightings: bool = True
    camera_events: bool = True
    verify_failures: bool = True
    alerts: bool = True
    collection_id: CollectionId | None = None
    """What is about this collection, and no camera events; None: all."""

    def takes(self, record: EventRecord) -> bool:
        """Whether an event is wanted."""
        body = record.event.body
        if self.camera_ids and record.event.camera_id not in self.camera_ids:
            return False
        if isinstance(body, CameraEventBody):
            return self.camera_events and self.collection_id is None
        if isinstance(body, Alert):
            named = {source.collection_id for source in body.sources}
            return self.alerts and (self.collection_id is None or self.collection_id in named)
        is_wanted = self.sightings if isinstance(body, SightingBody) else self.verify_failures
        return is_wanted and self.collection_id in (None, body.collection_id)


@dataclass(frozen=True, slots=True)
class Told:
    """One event on its way to a watcher."""

    record: EventRecord
    replayed: bool
    """Recorded before this watch began, or told too late to act on."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Nothing happened: this is where the watcher stands."""

    cursor: int
    at: datetime


@dataclass(frozen=True, slots=True)
class SightingQuery:
    """Which sightings."""

    collection_id: CollectionId | None = None
    camera_id: CameraId | None = None
    subject_id: SubjectId | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, record: EventRecord) -> bool:
        """Whether a sighting is wanted."""
        event, body = record.event, record.event.body
        return (
            isinstance(body, SightingBody)
            and self.collection_id in (None, body.collection_id)
            and self.camera_id in (None, event.camera_id)
            and self.subject_id in (None, body.subject_id)
            and self.outcome in (None, body.outcome)
            and (self.since is None or event.event_time >= self.since)
            and (self.until is None or event.event_time < self.until)
        )


class EventLog:
    """Records events and tells them.

    Args:
        store: where they are kept.
        clock: for heartbeats and for what is too late.
        metrics: where it counts.
        heartbeat_s: a watcher hears something at least so often.
        poll_interval_s: how often events that other galleries recorded are looked for.
    """

    def __init__(
        self, store: Store, clock: Clock, metrics: GalleryMetrics, heartbeat_s: float, poll_interval_s: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._poll_interval_s = poll_interval_s
        self._recorded = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        self._recorded.set()

    async def record(self, event: NewEvent, audit: AuditRecord | None) -> EventRecord:
        """Record an event and wake those who watch; one that is known already changes nothing."""
        record, is_new = await self._store.record_event(event, audit)
        if is_new:
            self.announce([record])
        return record

    def announce(self, records: Sequence[EventRecord]) -> None:
        """Count what was recorded and wake those who watch."""
        for record in records:
            self._metrics.events.labels(_KINDS[type(record.event.body)]).inc()
        self._recorded.set()
        self._recorded = asyncio.Event()

    async def something_new(self) -> None:
        """Return when an event is recorded here, or when it is time to look for those of others."""
        await self._wait(self._recorded)

    async def publish_camera_event(
        self,
        event_id: EventId,
        camera_id: CameraId,
        event_time: datetime,
        body: CameraEventBody,
        time_to_live_s: float | None,
    ) -> EventRecord:
        """Record what a worker saw happen to a camera; idempotent by event id.

        Raises:
            InvalidInputError: a time to live that is not above 0, or of more than a day.
        """
        lives_s = _DEFAULT_CAMERA_TIME_TO_LIVE_S if time_to_live_s is None else time_to_live_s
        if not 0 < lives_s <= _LONGEST_TIME_TO_LIVE_S:
            raise InvalidInputError("time_to_live", lives_s, f"more than 0 s, at most {_LONGEST_TIME_TO_LIVE_S:g} s")
        now = self._clock.now()
        event = NewEvent(
            event_id=event_id,
            camera_id=camera_id,
            event_time=event_time,
            recorded_at=now,
            valid_until=min(event_time, now) + timedelta(seconds=lives_s),
            body=body,
            content_key="once",
            traceparent=current_span().traceparent() or "",
        )
        return await self.record(event, None)

    async def watch(self, after_cursor: str, wanted: WatchFilter) -> AsyncGenerator[Told | Beat, None]:
        """Tell events from `after_cursor` on, then live; begins with a beat.

        Args:
            after_cursor: `FROM_NOW`, `FROM_OLDEST`, or the cursor of the last event seen.
            wanted: which events.

        Raises:
            CursorTrimmedError: events after the cursor are no longer kept, or it is of another log.
            InvalidInputError: it is no cursor.
        """
        head = await self._store.event_head()
        cursor = _start(after_cursor, head)
        began_at = head.newest
        self._metrics.watchers.inc()
        try:
            yield Beat(cursor, self._clock.now())
            beaten_s = self._clock.monotonic_s()
            while not self._closed:
                recorded = self._recorded
                found = await self._store.events_after(cursor, _EVENTS_A_READ)
                if found and found[0].sequence != cursor + 1:
                    _require_kept(cursor, await self._store.event_head())
                for record in found:
                    cursor = record.sequence
                    if wanted.takes(record):
                        yield Told(record, record.sequence <= began_at or record.event.valid_until < self._clock.now())
                        beaten_s = self._clock.monotonic_s()
                if self._clock.monotonic_s() - beaten_s >= self._heartbeat_s:
                    _require_kept(cursor, await self._store.event_head())
                    yield Beat(cursor, self._clock.now())
                    beaten_s = self._clock.monotonic_s()
                if not found:
                    await self._wait(recorded)
        finally:
            self._metrics.watchers.dec()

    async def gone(self, event_ids: Sequence[EventId]) -> list[EventId]:
        """Which of these events are no longer kept: erased with their subject, or older than what is kept."""
        kept = await self._store.newest_revisions(event_ids)
        return [event_id for event_id in event_ids if event_id not in kept]

    async def gone_subjects(
        self, subjects: Sequence[tuple[CollectionId, SubjectId]]
    ) -> list[tuple[CollectionId, SubjectId]]:
        """Which of these subjects are no longer there."""
        return [one for one in subjects if await self._store.find_subject(*one) is None]

    async def list_sightings(
        self, query: SightingQuery, before: int | None, limit: int
    ) -> tuple[list[EventRecord], int]:
        """Sightings, newest first, each in its newest revision.

        Args:
            query: which ones.
            before: go on before this sequence; None: from the newest.
            limit: at most so many.

        Returns:
            (records, next_before): 0 when there are no more.
        """
        at = (await self._store.event_head()).newest + 1 if before is None else before
        listed: list[EventRecord] = []
        while True:
            found = await self._store.events_before(at, _EVENTS_A_READ)
            newest = await self._store.newest_revisions([record.event.event_id for record in found])
            for record in found:
                at = record.sequence
                if newest.get(record.event.event_id) == record.sequence and query.takes(record):
                    listed.append(record)
                    if len(listed) == limit:
                        return listed, at
            if len(found) < _EVENTS_A_READ:
                return listed, 0

    async def _wait(self, recorded: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_interval_s):
                await recorded.wait()


def _start(after_cursor: str, head: EventHead) -> int:
    if after_cursor == FROM_NOW:
        return head.newest
    if after_cursor == FROM_OLDEST:
        return head.oldest - 1
    if not (after_cursor.isascii() and after_cursor.isdigit() and len(after_cursor) <= 18):
        raise InvalidInputError("after_cursor", after_cursor, "empty, 0, or a cursor from an event or a heartbeat")
    _require_kept(int(after_cursor), head)
    return int(after_cursor)


def _require_kept(cursor: int, head: EventHead) -> None:
    if not head.oldest - 1 <= cursor <= head.newest:
        raise CursorTrimmedError(str(cursor), head.oldest, head.newest)
