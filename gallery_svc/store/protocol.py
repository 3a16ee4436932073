"""The store: what the gallery keeps, and the promises that every implementation holds.

One write is one change: all of it or nothing. What was acknowledged is there after a restart (as durably as the
server behind it is configured). A store knows nothing of pictures, scores, thresholds' meaning or messages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from gallery_svc.store.records import (
    AuditRecord,
    Change,
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
    SubjectPage,
    SubjectRecord,
)
from tessera.domain.ids import CollectionId, EventId, SubjectId

REQUEST_KEPT_S = 24 * 3600
"""How long a request id is remembered."""


class Store(Protocol):
    """Durable records. Every method raises UnavailableError("store") while the server behind it is away."""

    async def prepare(self) -> None:
        """Check the server and set it up; the same again does nothing.

        Raises:
            InvalidInputError: the server may not be used: it evicts keys, or holds another schema.
        """
        ...

    async def close(self) -> None:
        """Let go of the server."""
        ...

    # ---- collections

    async def create_collection(self, record: CollectionRecord) -> None:
        """Add a collection.

        Raises:
            AlreadyExistsError: there is one of that id.
        """
        ...

    async def find_collection(self, collection_id: CollectionId) -> CollectionRecord | None:
        """A collection, or None."""
        ...

    async def list_collections(self) -> tuple[CollectionRecord, ...]:
        """All collections, by id."""
        ...

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict[CollectionId, CollectionHead]:
        """Where the logs stand, in one round trip; collections that do not exist are left out."""
        ...

    async def delete_collection(self, collection_id: CollectionId, audit: AuditRecord, *, force: bool) -> int:
        """Remove a collection and everything in it.

        Returns:
            The number of subjects that went with it.

        Raises:
            NotFoundError: there is none.
            NotEmptyError: it has subjects, and `force` is false.
        """
        ...

    # ---- subjects

    async def enroll(self, enrollment: Enrollment) -> Enrolled:
        """Write subject, templates, change, audit entry and request key, at once or not at all.

        Raises:
            NotFoundError: the collection does not exist.
            ModelMismatchError: a template was made by another model than the collection's.
            NotFoundError: the request is a retry, and its subject was erased since: nothing of it is kept.
            RequestIdReusedError: the request id came before with other content.
        """
        ...

    async def find_enrolled(self, collection_id: CollectionId, request: RequestKey) -> Enrolled | None:
        """The answer that this request got before, with the subject as it is now; None when it is new.

        Raises:
            NotFoundError: the subject was erased since: nothing of it is kept.
            RequestIdReusedError: the request id came before with other content.
        """
        ...

    async def erase(self, erasure: Erasure) -> Erased:
        """Remove a subject with its templates; write change, audit entry and receipt, at once or not at all.

        Raises:
            NotFoundError: the collection or the subject does not exist, and the request is no retry.
            RequestIdReusedError: the request id came before with other content.
        """
        ...

    async def find_erased(self, collection_id: CollectionId, request: RequestKey) -> Erased | None:
        """The receipt that this request got before; None when it is new.

        Raises:
            RequestIdReusedError: the request id came before with other content.
        """
        ...

    async def find_subject(self, collection_id: CollectionId, subject_id: SubjectId) -> SubjectRecord | None:
        """A subject, or None."""
        ...

    async def list_subjects(self, collection_id: CollectionId, after: str, limit: int) -> SubjectPage:
        """Subjects by id, those after `after`."""
        ...

    # ---- following

    def load_subjects(self, collection_id: CollectionId) -> AsyncIterator[LoadedSubject]:
        """Every subject with its vectors, in no order.

        What changes meanwhile may be seen or not: read the head before, and apply the changes since afterwards.
        """
        ...

    async def changes_after(self, collection_id: CollectionId, position: Position, limit: int) -> list[Change] | None:
        """The changes that follow `position`, in order, at most `limit`.

        Returns:
            None when they cannot be told: the log was trimmed, rolled back or written anew. Load again.
        """
        ...

    # ---- events

    async def record_event(self, event: NewEvent, audit: AuditRecord | None) -> tuple[EventRecord, bool]:
        """Append an event's next revision and its audit entry, at once or not at all.

        Returns:
            (record, new): the record; False when the newest revision had this `content_key` and nothing was written.
        """
        ...

    async def find_event(self, event_id: EventId) -> EventRecord | None:
        """The newest revision of an event that is kept, or None."""
        ...

    async def event_head(self) -> EventHead:
        """Where the event log stands."""
        ...

    async def events_after(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events that follow `sequence`, oldest first; those that were erased are left out."""
        ...

    async def events_before(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events before `sequence`, newest first."""
        ...

    async def newest_revisions(self, event_ids: Sequence[EventId]) -> dict[EventId, int]:
        """The sequence of each event's newest revision; events that are not kept are left out."""
        ...

    async def erase_events(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Remove the sightings of a subject; return how many revisions went."""
        ...

    # ---- audit

    async def append_audit(self, record: AuditRecord) -> int:
        """Put an entry on record; return its sequence in its log, from 1."""
        ...

    async def audit_after(self, collection_id: CollectionId | None, sequence: int, limit: int) -> list[AuditRecord]:
        """Entries of a collection's log (None: of what belongs to no collection), oldest first."""
        ...
