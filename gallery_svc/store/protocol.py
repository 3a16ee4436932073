"""The store: what the gallery keeps, and the promises that every implementation holds.

One write is one change: all of it or nothing. What was acknowledged is there after a restart (as durably as the
server behind it is configured). A store knows nothing of pictures, scores, thresholds' meaning or messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from gallery_svc.rows import RowBatch, SearchRow
from gallery_svc.store.alert_protocol import AlertStore
from gallery_svc.store.audit_records import AuditRecord, AuditStamp, StoredAudit
from gallery_svc.store.calibration_records import CalibrationChoice, CalibrationRecord
from gallery_svc.store.change_records import Change, Member, StoreFinding
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord, Position
from gallery_svc.store.event_records import EventHead, EventRecord, NewEvent
from gallery_svc.store.person_protocol import PersonStore
from gallery_svc.store.subject_records import SubjectPage, SubjectRecord
from gallery_svc.store.write_records import (
    Changed,
    Enrolled,
    Enrollment,
    Erased,
    Erasure,
    ErasureEnd,
    OpenErasure,
    ProfileUpdate,
    RequestKey,
    TemplateDeletion,
)
from tessera.domain.ids import CalibrationId, CollectionId, EventId, ModelId, SubjectId, TemplateId

REQUEST_KEPT_S = 24 * 3600
"""How long a request id is remembered."""


class Store(AlertStore, PersonStore, Protocol):
    """Durable records.

    Every method raises UnavailableError("store") while the server behind it is away; one that writes raises
    OutcomeUnknownError when the write went out and nobody can say whether it holds. The same request id again settles
    that, and is itself a write, so that what it waits for covers the first one.
    """

    async def prepare(self) -> None:
        """Check the server and set it up; the same again does nothing.

        Raises:
            InvalidInputError: the server may not be used: it evicts keys, is less durable than asked, or holds
                another schema.
            StoreCorruptError: it holds half of a write; the error says how to mend that.
            KeyMissingError: its values are sealed under a key that is not in the key ring.
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

    async def update_collection(self, record: CollectionRecord, expected_revision: int) -> CollectionRecord:
        """Write a collection's record anew; its shards, generation and modality stay.

        Raises:
            NotFoundError: there is none.
            RevisionChangedError: it is not at `expected_revision`.
        """
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

    async def update_profile(self, update: ProfileUpdate) -> Changed:
        """Change what is said of a subject.

        Raises:
            NotFoundError: the collection or the subject does not exist.
            RevisionChangedError: the subject is not at the expected revision.
            RequestIdReusedError: the request id came before with other content.
        """
        ...

    async def delete_template(self, deletion: TemplateDeletion) -> Changed:
        """Remove one template of a subject, its vector and its picture.

        Raises:
            NotFoundError: the collection, the subject or the template does not exist.
            PreconditionError: it is the last one (LAST_TEMPLATE): erase the subject.
            RequestIdReusedError: the request id came before with other content.
        """
        ...

    async def find_enrolled(self, collection_id: CollectionId, request: RequestKey) -> Enrolled | None:
        """The answer that this request got before, with the subject as it is now; None when it is new.

        It settles: where it finds an answer it writes, so that the answer is as durable as the store promises.

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

    async def find_picture(
        self, collection_id: CollectionId, subject_id: SubjectId, template_id: TemplateId
    ) -> bytes | None:
        """The picture that a template was made from; None where none is kept."""
        ...

    # ---- following

    def load_rows(self, collection_id: CollectionId, shard: int, epoch: int) -> AsyncIterator[RowBatch]:
        """Every subject of a shard with its templates of one epoch, some thousand at a time, in no order.

        What changes meanwhile may be seen or not: read the head before, and apply the changes since afterwards.

        Raises:
            StoreCorruptError: what was read does not fold to what the head says, although nothing changed meanwhile.
        """
        ...

    async def changes_after(
        self, collection_id: CollectionId, shard: int, position: Position, limit: int
    ) -> list[Change] | None:
        """The changes that follow `position`, in order, at most `limit`, with the subjects' rows of the active epoch.

        Returns:
            None when they cannot be told: the log was trimmed, rolled back or written anew. Load again.
        """
        ...

    # ---- another model

    async def put_row(self, collection_id: CollectionId, epoch: int, row: SearchRow, revision: int) -> bool:
        """Write a subject's templates of an epoch that is not active.

        Returns:
            False when the subject is not at this revision any more, or is gone; nothing was written.
        """
        ...

    async def drop_epoch(self, collection_id: CollectionId, epoch: int) -> None:
        """Remove all rows of an epoch that is not active; the same again does nothing."""
        ...

    # ---- what is written outside of a subject's change

    async def values_by_key(self, collection_id: CollectionId) -> dict[str, int]:
        """How many sealed values there are under each key-encryption key, by its fingerprint."""
        ...

    def rewrap(self, collection_id: CollectionId) -> AsyncIterator[int]:
        """Put every value under the key ring's first key; yields how many values were looked at since the last time."""
        ...

    async def check(self, collection_id: CollectionId) -> list[StoreFinding]:
        """Fold everything of a collection and compare it with its heads; an empty list: all agrees."""
        ...

    async def repair(self, collection_id: CollectionId) -> list[StoreFinding]:
        """Mend what `check` finds: keep each subject whose values open and agree, erase the others, write it down.

        Returns:
            What was mended.
        """
        ...

    async def trim_log(self, collection_id: CollectionId, shard: int, up_to: int) -> None:
        """Forget changes up to and including a sequence."""
        ...

    # ---- erasures that are not through

    async def open_erasures(self) -> list[OpenErasure]:
        """Erasures of which something is still to be done, of all collections."""
        ...

    async def close_erasure(self, erasure: OpenErasure, end: ErasureEnd) -> None:
        """Nothing is left to be done for it; what was told of its end first stays."""
        ...

    async def find_receipt(
        self, collection_id: CollectionId, receipt_id: str
    ) -> tuple[Erased, ErasureEnd | None] | None:
        """A receipt, and the end of its erasure if it is through; kept as long as a request id, from then on."""
        ...

    async def rewrite_files(self) -> None:
        """Have each server write its files anew, without what was erased; returns when all of them are through."""
        ...

    # ---- who else is there

    async def heartbeat(self, member: Member) -> None:
        """Say that this process follows, and how far it is."""
        ...

    async def members(self) -> list[Member]:
        """Who follows; those that were silent for 30 s are left out."""
        ...

    async def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Hold a lease, or hold it longer; False while somebody else does."""
        ...

    async def drop_lease(self, name: str, holder: str) -> None:
        """Give a lease back; nothing when somebody else holds it."""
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

    async def events_naming(self, collection_id: CollectionId, subject_id: SubjectId) -> list[EventRecord]:
        """The revisions of events that name a subject, oldest first; the newest 1000."""
        ...

    async def erase_events(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Remove the events that name a subject, and the subject from alerts; return how many revisions went."""
        ...

    async def find_row(self, collection_id: CollectionId, subject_id: SubjectId) -> SearchRow | None:
        """A subject's templates with their vectors, of the active epoch; None: it has none, or there is nobody.

        Raises:
            NotFoundError: the collection does not exist.
        """
        ...

    # ---- calibrations

    async def add_calibration(self, record: CalibrationRecord) -> None:
        """Keep a calibration; the very same one again does nothing.

        Raises:
            AlreadyExistsError: there is another one of that id.
        """
        ...

    async def find_calibration(self, calibration_id: CalibrationId) -> CalibrationRecord | None:
        """A calibration that was fitted here, or None."""
        ...

    async def list_calibrations(self) -> tuple[CalibrationRecord, ...]:
        """All calibrations that were fitted here, oldest first."""
        ...

    async def calibration_choices(self) -> dict[ModelId, CalibrationChoice]:
        """Which calibration decides, for each model for which one was ever chosen."""
        ...

    async def choose_calibration(self, choice: CalibrationChoice) -> None:
        """Write which calibration decides for a model; the very same choice again does nothing.

        Raises:
            RevisionChangedError: it does not follow the choice that stands.
        """
        ...

    # ---- audit

    async def append_audit(self, log: str, records: Sequence[AuditRecord]) -> list[int]:
        """Put entries on record, in order, in one write; return the sequence of each in its log, from 1.

        Args:
            log: of `audit_log`.
            records: at least one.
        """
        ...

    async def audit_logs(self) -> list[str]:
        """The logs that there are."""
        ...

    async def audit_after(self, log: str, sequence: int, limit: int) -> list[StoredAudit]:
        """Entries of a log, oldest first."""
        ...

    async def trim_audit(self, log: str, up_to: int) -> None:
        """Forget entries up to and including a sequence."""
        ...


class Stamps(Protocol):
    """Makes audit entries provable."""

    def stamp(self, log: str, entry: bytes) -> AuditStamp:
        """The stamp of an entry that is about to be written."""
        ...

    def settled(self, log: str, stamp: AuditStamp) -> None:
        """It is written."""
        ...

    def gave_up(self, log: str, stamp: AuditStamp) -> None:
        """It was not written, or nobody can say."""
        ...


GLOBAL_LOG = "_"
"""The audit log of what belongs to no collection."""


def audit_log(collection_id: CollectionId | None, shard: int) -> str:
    """The audit log of a shard; decisions of a collection may go to any of its shards."""
    return GLOBAL_LOG if collection_id is None else f"{collection_id}/{shard:02d}"


def shard_of(name: str, shards: int) -> int:
    """Where a subject (or a request) lives: the same for ever.

    Args:
        name: a subject id or a request id.
        shards: of the collection.
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") % shards
