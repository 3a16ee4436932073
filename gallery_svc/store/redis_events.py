"""Events in Redis: one log for all collections in one slot. A sighting names a person by the subject id alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.event_records import EventHead, EventRecord, NewEvent
from gallery_svc.store.memory_side import EVENTS_NAMING
from gallery_svc.store.protocol import GLOBAL_LOG
from gallery_svc.store.redis_alerts import RedisAlerts
from gallery_svc.store.redis_keys import EVENTS, EVENTS_HEAD, EVENTS_LATEST, GLOBAL_TAG, audit_key, seen_key
from gallery_svc.store.redis_parts import Entry
from tessera.domain.ids import CollectionId, EventId, SubjectId


class RedisEvents(RedisAlerts):
    """Events; see `Store` for what each method promises."""

    async def record_event(self, event: NewEvent, audit: AuditRecord | None) -> tuple[EventRecord, bool]:
        """Append an event's next revision and its audit entry in one script."""
        keys = [
            EVENTS_HEAD,
            EVENTS,
            EVENTS_LATEST,
            audit_key(GLOBAL_LOG),
            *(seen_key(*subject) for subject in event.named),
        ]
        entry = Entry(self._stamps, GLOBAL_LOG, audit) if audit is not None else None
        args = [event.event_id, event.content_key, codec.dump(event), self._events_kept, *(entry.args if entry else ())]
        written = False
        try:
            reply = await self._door.write("record_event", keys, args)
            written = reply[0] == b"ok"
        finally:
            if entry is not None:
                entry.ended(written=written)
        record = EventRecord(event, int(reply[1]), int(reply[2]))
        return (record, True) if written else (await self.find_event(event.event_id) or record, False)

    async def find_event(self, event_id: EventId) -> EventRecord | None:
        """The newest revision of an event."""
        sequence = (await self.newest_revisions([event_id])).get(event_id)
        if sequence is None:
            return None
        (found,) = await self._door.read(GLOBAL_TAG, [("XRANGE", EVENTS, f"{sequence}-0", f"{sequence}-0")])
        return _event(found[0]) if found else None

    async def event_head(self) -> EventHead:
        """Where the event log stands."""
        ((newest, oldest),) = await self._door.read(GLOBAL_TAG, [("HMGET", EVENTS_HEAD, "newest", "oldest")])
        return EventHead(int(newest or 0), int(oldest or 1))

    async def events_after(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events that follow, oldest first."""
        command = ("XRANGE", EVENTS, f"{sequence + 1}-0", "+", "COUNT", limit)
        (found,) = await self._door.read(GLOBAL_TAG, [command])
        return [_event(entry) for entry in found]

    async def events_before(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events before, newest first."""
        if sequence <= 1:
            return []
        command = ("XREVRANGE", EVENTS, f"{sequence - 1}-0", "-", "COUNT", limit)
        (found,) = await self._door.read(GLOBAL_TAG, [command])
        return [_event(entry) for entry in found]

    async def newest_revisions(self, event_ids: Sequence[EventId]) -> dict[EventId, int]:
        """The sequence of each event's newest revision."""
        if not event_ids:
            return {}
        (raws,) = await self._door.read(GLOBAL_TAG, [("HMGET", EVENTS_LATEST, *event_ids)])
        return {key: int(raw.split(b" ", 1)[0]) for key, raw in zip(event_ids, raws, strict=True) if raw is not None}

    async def events_naming(self, collection_id: CollectionId, subject_id: SubjectId) -> list[EventRecord]:
        """The revisions that name a subject."""
        command = ("ZRANGE", seen_key(collection_id, subject_id), -EVENTS_NAMING, -1)
        (sequences,) = await self._door.read(GLOBAL_TAG, [command])
        if not sequences:
            return []
        entries = [f"{sequence.decode()}-0" for sequence in sequences]
        found = await self._door.read(GLOBAL_TAG, [("XRANGE", EVENTS, entry, entry) for entry in entries])
        return [_event(entry[0]) for entry in found if entry]

    async def erase_events(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Remove the events that name a subject, and the subject from alerts."""
        await self.erase_from_alerts(collection_id, subject_id)
        keys = [EVENTS, EVENTS_LATEST, seen_key(collection_id, subject_id)]
        return int(await self._door.write("erase_events", keys, []))


def _event(entry: Any) -> EventRecord:  # noqa: ANN401 - Redis
    entry_id, fields = entry
    told = dict(zip(fields[::2], fields[1::2], strict=True))
    event = codec.load(NewEvent, told[b"event"], EVENTS)
    return EventRecord(event, int(entry_id.split(b"-", 1)[0]), int(told[b"revision"]))
