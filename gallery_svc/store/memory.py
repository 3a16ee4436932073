"""The store in memory: the reference that the others are compared with, and what tests use. Nothing outlives it."""

from __future__ import annotations

import hashlib
import uuid
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gallery_svc.store.merging import merged
from gallery_svc.store.protocol import REQUEST_KEPT_S
from gallery_svc.store.records import (
    AuditRecord,
    Change,
    ChangeKind,
    CollectionHead,
    CollectionRecord,
    Enrolled,
    Enrollment,
    Erased,
    Erasure,
    EventHead,
    EventRecord,
    LoadedSubject,
    NewEvent,
    Position,
    RequestKey,
    SightingBody,
    SubjectPage,
    SubjectRecord,
    TemplateVector,
)
from tessera.domain.embedding import Vector
from tessera.domain.errors import (
    AlreadyExistsError,
    ModelMismatchError,
    NotEmptyError,
    NotFoundError,
    RequestIdReusedError,
)
from tessera.domain.ids import CollectionId, EventId, RequestId, SubjectId, TemplateId


@dataclass(slots=True)
class _Entry:
    """One change, without vectors."""

    position: Position
    kind: ChangeKind
    subject_id: SubjectId
    template_ids: tuple[TemplateId, ...]


@dataclass(slots=True)
class _Answer:
    """What a request id got."""

    digest: str
    until: datetime
    given: Enrolled | Erased


@dataclass(slots=True)
class _Collection:
    """One collection and its log."""

    record: CollectionRecord
    generation: str
    position: Position
    subjects: dict[SubjectId, SubjectRecord] = field(default_factory=dict)
    vectors: dict[TemplateId, Vector] = field(default_factory=dict)
    log: deque[_Entry] = field(default_factory=deque)
    answers: dict[RequestId, _Answer] = field(default_factory=dict)


class MemoryStore:
    """Records in dictionaries.

    Args:
        log_kept: changes kept for followers, of each collection.
        events_kept: event revisions kept.
    """

    def __init__(self, log_kept: int = 100_000, events_kept: int = 100_000) -> None:
        self._log_kept = log_kept
        self._events_kept = events_kept
        self._collections: dict[CollectionId, _Collection] = {}
        self._events: dict[int, EventRecord] = {}
        self._latest: dict[EventId, int] = {}
        self._event_head = EventHead(0, 1)
        self._audit: dict[CollectionId | None, list[AuditRecord]] = {}

    async def prepare(self) -> None:
        """There is nothing to set up."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    # ---- collections

    async def create_collection(self, record: CollectionRecord) -> None:
        """Add a collection."""
        if record.collection_id in self._collections:
            raise AlreadyExistsError("collection", record.collection_id)
        generation = uuid.uuid4().hex
        self._collections[record.collection_id] = _Collection(record, generation, Position(0, generation))

    async def find_collection(self, collection_id: CollectionId) -> CollectionRecord | None:
        """A collection, or None."""
        found = self._collections.get(collection_id)
        return found.record if found else None

    async def list_collections(self) -> tuple[CollectionRecord, ...]:
        """All collections, by id."""
        return tuple(self._collections[key].record for key in sorted(self._collections))

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict[CollectionId, CollectionHead]:
        """Where the logs stand."""
        found = {key: self._collections[key] for key in collection_ids if key in self._collections}
        return {key: CollectionHead(c.position, len(c.subjects), len(c.vectors)) for key, c in found.items()}

    async def delete_collection(self, collection_id: CollectionId, audit: AuditRecord, *, force: bool) -> int:
        """Remove a collection; its audit log stays."""
        collection = self._existing(collection_id)
        if collection.subjects and not force:
            raise NotEmptyError("collection", collection_id, len(collection.subjects))
        del self._collections[collection_id]
        await self.append_audit(audit)
        return len(collection.subjects)

    # ---- subjects

    async def enroll(self, enrollment: Enrollment) -> Enrolled:
        """Write an enrolment."""
        collection = self._existing(enrollment.collection_id)
        earlier = self._answer(collection, enrollment.request, enrollment.at)
        if isinstance(earlier, Enrolled):
            return earlier
        for template in enrollment.templates:
            if template.record.model_id != collection.record.model_id:
                raise ModelMismatchError(collection.record.model_id, template.record.model_id)
        subject = merged(collection.subjects.get(enrollment.subject_id), enrollment)
        collection.subjects[subject.subject_id] = subject
        collection.vectors |= {t.record.template_id: t.vector.copy() for t in enrollment.templates}
        ids = tuple(template.record.template_id for template in enrollment.templates)
        self._append(collection, ChangeKind.ENROLLED, subject.subject_id, ids)
        await self.append_audit(enrollment.audit)
        answer = Enrolled(subject, collection.position.sequence, False, enrollment.note)
        self._remember(collection, enrollment.request, enrollment.at, answer)
        return answer

    async def find_enrolled(self, collection_id: CollectionId, request: RequestKey) -> Enrolled | None:
        """The answer that this request got before."""
        earlier = self._answer(self._existing(collection_id), request, None)
        return earlier if isinstance(earlier, Enrolled) else None

    async def erase(self, erasure: Erasure) -> Erased:
        """Remove a subject."""
        collection = self._existing(erasure.collection_id)
        earlier = self._answer(collection, erasure.request, erasure.at)
        if isinstance(earlier, Erased):
            return earlier
        if erasure.subject_id not in collection.subjects:
            raise NotFoundError("subject", erasure.subject_id)
        subject = collection.subjects.pop(erasure.subject_id)
        for template in subject.templates:
            del collection.vectors[template.template_id]
        self._append(collection, ChangeKind.ERASED, subject.subject_id, ())
        await self.append_audit(erasure.audit)
        receipt = Erased(
            receipt_id=erasure.receipt_id,
            collection_id=erasure.collection_id,
            subject_id=erasure.subject_id,
            templates_erased=len(subject.templates),
            events_erased=erasure.events_erased,
            erased_at=erasure.at,
            position=collection.position.sequence,
            replayed=False,
        )
        self._remember(collection, erasure.request, erasure.at, receipt)
        return receipt

    async def find_erased(self, collection_id: CollectionId, request: RequestKey) -> Erased | None:
        """The receipt that this request got before."""
        earlier = self._answer(self._existing(collection_id), request, None)
        return earlier if isinstance(earlier, Erased) else None

    async def find_subject(self, collection_id: CollectionId, subject_id: SubjectId) -> SubjectRecord | None:
        """A subject, or None."""
        collection = self._collections.get(collection_id)
        return collection.subjects.get(subject_id) if collection else None

    async def list_subjects(self, collection_id: CollectionId, after: str, limit: int) -> SubjectPage:
        """Subjects by id."""
        collection = self._existing(collection_id)
        ids = sorted(subject_id for subject_id in collection.subjects if subject_id > after)
        page = tuple(collection.subjects[subject_id] for subject_id in ids[:limit])
        return SubjectPage(page, ids[limit - 1] if len(ids) > limit else "")

    # ---- following

    async def load_subjects(self, collection_id: CollectionId) -> AsyncIterator[LoadedSubject]:
        """Every subject with its vectors."""
        collection = self._existing(collection_id)
        for subject in list(collection.subjects.values()):
            ids = tuple(template.template_id for template in subject.templates)
            yield LoadedSubject(subject.subject_id, subject.profile.display_name, _vectors(collection, ids))

    async def changes_after(self, collection_id: CollectionId, position: Position, limit: int) -> list[Change] | None:
        """The changes that follow `position`."""
        collection = self._collections.get(collection_id)
        if collection is None or not self._knows(collection, position):
            return None
        entries = [entry for entry in collection.log if entry.position.sequence > position.sequence][:limit]
        if not entries:
            return [] if collection.position == position else None
        if entries[0].position.sequence != position.sequence + 1:
            return None
        return [_change(collection, entry) for entry in entries]

    def _knows(self, collection: _Collection, position: Position) -> bool:
        if position.sequence == 0:
            return position.chain == collection.generation
        known = {entry.position.sequence: entry.position for entry in collection.log} | {
            collection.position.sequence: collection.position
        }
        return known.get(position.sequence) == position

    # ---- events

    async def record_event(self, event: NewEvent, audit: AuditRecord | None) -> tuple[EventRecord, bool]:
        """Append an event's next revision."""
        latest = self._events.get(self._latest.get(event.event_id, 0))
        if latest is not None and latest.event.content_key == event.content_key:
            return latest, False
        sequence = self._event_head.newest + 1
        record = EventRecord(event, sequence, latest.revision + 1 if latest else 1)
        self._events[sequence] = record
        self._latest[event.event_id] = sequence
        oldest = self._event_head.oldest
        while sequence - oldest + 1 > self._events_kept:
            self._drop_event(oldest)
            oldest += 1
        self._event_head = EventHead(sequence, oldest)
        if audit is not None:
            await self._append_audit_to(None, audit)
        return record, True

    async def find_event(self, event_id: EventId) -> EventRecord | None:
        """The newest revision of an event."""
        return self._events.get(self._latest.get(event_id, 0))

    async def event_head(self) -> EventHead:
        """Where the event log stands."""
        return self._event_head

    async def events_after(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events that follow, oldest first."""
        return [self._events[key] for key in sorted(self._events) if key > sequence][:limit]

    async def events_before(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events before, newest first."""
        return [self._events[key] for key in sorted(self._events, reverse=True) if key < sequence][:limit]

    async def newest_revisions(self, event_ids: Sequence[EventId]) -> dict[EventId, int]:
        """The sequence of each event's newest revision."""
        return {event_id: self._latest[event_id] for event_id in event_ids if event_id in self._latest}

    async def erase_events(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Remove the sightings of a subject."""
        named = [key for key, record in self._events.items() if _names(record, collection_id, subject_id)]
        for sequence in named:
            self._drop_event(sequence)
        return len(named)

    # ---- audit

    async def append_audit(self, record: AuditRecord) -> int:
        """Put an entry on record."""
        return await self._append_audit_to(record.collection_id, record)

    async def audit_after(self, collection_id: CollectionId | None, sequence: int, limit: int) -> list[AuditRecord]:
        """Entries, oldest first."""
        return self._audit.get(collection_id, [])[sequence : sequence + limit]

    # ---- inside

    async def _append_audit_to(self, log: CollectionId | None, record: AuditRecord) -> int:
        entries = self._audit.setdefault(log, [])
        entries.append(record)
        return len(entries)

    def _existing(self, collection_id: CollectionId) -> _Collection:
        if collection_id not in self._collections:
            raise NotFoundError("collection", collection_id)
        return self._collections[collection_id]

    def _append(
        self, collection: _Collection, kind: ChangeKind, subject_id: SubjectId, ids: tuple[TemplateId, ...]
    ) -> None:
        sequence = collection.position.sequence + 1
        told = "|".join([collection.position.chain, str(sequence), kind.value, subject_id, ",".join(ids)])
        collection.position = Position(sequence, hashlib.sha1(told.encode()).hexdigest())  # noqa: S324 - what Lua has
        collection.log.append(_Entry(collection.position, kind, subject_id, ids))
        while len(collection.log) > self._log_kept:
            collection.log.popleft()

    def _answer(
        self, collection: _Collection, request: RequestKey | None, at: datetime | None
    ) -> Enrolled | Erased | None:
        if request is None or request.request_id not in collection.answers:
            return None
        answer = collection.answers[request.request_id]
        if at is not None and at >= answer.until:
            del collection.answers[request.request_id]
            return None
        if answer.digest != request.content_digest:
            raise RequestIdReusedError(request.request_id)
        if isinstance(answer.given, Erased):
            return replace(answer.given, replayed=True)
        first = answer.given.subject
        subject = collection.subjects.get(first.subject_id)
        if subject is None or subject.created_at != first.created_at:
            raise NotFoundError("subject", first.subject_id, "it was erased after this enrolment")
        return replace(answer.given, subject=subject, replayed=True)

    def _remember(
        self, collection: _Collection, request: RequestKey | None, at: datetime, answer: Enrolled | Erased
    ) -> None:
        if request is not None:
            until = at + timedelta(seconds=REQUEST_KEPT_S)
            collection.answers[request.request_id] = _Answer(request.content_digest, until, answer)

    def _drop_event(self, sequence: int) -> None:
        record = self._events.pop(sequence, None)
        if record is not None and self._latest.get(record.event.event_id) == sequence:
            del self._latest[record.event.event_id]


def _vectors(collection: _Collection, ids: Sequence[TemplateId]) -> tuple[TemplateVector, ...]:
    return tuple(TemplateVector(key, collection.vectors[key]) for key in ids if key in collection.vectors)


def _change(collection: _Collection, entry: _Entry) -> Change:
    subject = collection.subjects.get(entry.subject_id)
    name = subject.profile.display_name if subject else ""
    return Change(entry.position, entry.kind, entry.subject_id, name, _vectors(collection, entry.template_ids))


def _names(record: EventRecord, collection_id: CollectionId, subject_id: SubjectId) -> bool:
    body = record.event.body
    return isinstance(body, SightingBody) and (body.collection_id, body.subject_id) == (collection_id, subject_id)
