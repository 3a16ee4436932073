"""The store in memory: the reference that the others are compared with, and what tests use. Nothing outlives it.

It seals nothing, so there is nothing to rotate and nothing that a cut could leave half done.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

import numpy as np

from gallery_svc.rows import RowBatch, SearchRow
from gallery_svc.store import merging
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import Change, ChangeKind, StoreFinding
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord, Position, ShardPosition
from gallery_svc.store.memory_persons import MemoryLooks
from gallery_svc.store.memory_side import MemorySide
from gallery_svc.store.merging import SubjectState
from gallery_svc.store.person_records import LookChanges, PersonLook
from gallery_svc.store.protocol import REQUEST_KEPT_S, Stamps, audit_log, shard_of
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
from tessera.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotEmptyError,
    NotFoundError,
    RequestIdReusedError,
)
from tessera.domain.ids import CollectionId, RequestId, SubjectId, TemplateId, TrackletId

SUBJECTS_A_BATCH = 4096
"""Of a bulk load."""

A = TypeVar("A", Enrolled, Changed, Erased)


@dataclass(slots=True)
class _Entry:
    """One change, without vectors."""

    before: Position
    position: Position
    kind: ChangeKind
    subject_id: SubjectId


@dataclass(slots=True)
class _Answer:
    """What a request id got."""

    digest: str
    until: datetime
    given: Enrolled | Changed | Erased


@dataclass(slots=True)
class _Shard:
    """One part of a collection and its log."""

    position: Position
    subjects: dict[SubjectId, SubjectState] = field(default_factory=dict)
    pictures: dict[SubjectId, dict[TemplateId, bytes]] = field(default_factory=dict)
    log: deque[_Entry] = field(default_factory=deque)
    templates: int = 0

    def keep(self, subject_id: SubjectId, state: SubjectState | None) -> None:
        """Have a subject as it is now; None: it goes."""
        before = self.subjects.pop(subject_id, None)
        self.templates -= len(before.subject.templates) if before else 0
        if state is not None:
            self.subjects[subject_id] = state
            self.templates += len(state.subject.templates)


@dataclass(slots=True)
class _Collection:
    """One collection."""

    record: CollectionRecord
    shards: list[_Shard]
    answers: dict[RequestId, _Answer] = field(default_factory=dict)
    looks: MemoryLooks = field(default_factory=MemoryLooks)

    def shard_with(self, subject_id: SubjectId) -> tuple[int, _Shard]:
        """Where a subject lives."""
        number = shard_of(subject_id, self.record.shards)
        return number, self.shards[number]


class MemoryStore(MemorySide):
    """Records in dictionaries.

    Args:
        stamps: makes audit entries provable; None: they are not.
        log_kept: changes kept for followers, of each shard.
        events_kept: event revisions kept.
        alerts_kept: alerts kept.
        seconds: a clock that never goes back; for leases and signs of life.
    """

    def __init__(
        self,
        stamps: Stamps | None = None,
        log_kept: int = 100_000,
        events_kept: int = 100_000,
        seconds: Callable[[], float] = time.monotonic,
        alerts_kept: int = 100_000,
    ) -> None:
        super().__init__(stamps, events_kept, seconds, alerts_kept)
        self._log_kept = log_kept
        self._collections: dict[CollectionId, _Collection] = {}
        self._erasing: dict[tuple[CollectionId, str], OpenErasure] = {}
        self._ended: dict[tuple[CollectionId, str], tuple[float, Erased, ErasureEnd]] = {}

    async def prepare(self) -> None:
        """There is nothing to set up."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    # ---- collections

    async def create_collection(self, record: CollectionRecord) -> None:
        """Add a collection."""
        merging.require_shards(record)
        if record.collection_id in self._collections:
            raise AlreadyExistsError("collection", record.collection_id)
        made = replace(record, generation=uuid.uuid4().hex)
        shards = [_Shard(Position(0, made.generation)) for _ in range(record.shards)]
        self._collections[record.collection_id] = _Collection(made, shards)

    async def find_collection(self, collection_id: CollectionId) -> CollectionRecord | None:
        """A collection, or None."""
        found = self._collections.get(collection_id)
        return found.record if found else None

    async def list_collections(self) -> tuple[CollectionRecord, ...]:
        """All collections, by id."""
        return tuple(self._collections[key].record for key in sorted(self._collections))

    async def update_collection(self, record: CollectionRecord, expected_revision: int) -> CollectionRecord:
        """Write a collection's record anew."""
        collection = self._existing(record.collection_id)
        collection.record = merging.rewritten(collection.record, record, expected_revision)
        return collection.record

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict[CollectionId, CollectionHead]:
        """Where the logs stand."""
        return {key: _head(self._collections[key]) for key in collection_ids if key in self._collections}

    async def delete_collection(self, collection_id: CollectionId, audit: AuditRecord, *, force: bool) -> int:
        """Remove a collection; its audit logs stay."""
        collection = self._existing(collection_id)
        count = _head(collection).subject_count
        if count and not force:
            raise NotEmptyError("collection", collection_id, count)
        del self._collections[collection_id]
        self._write_audit(audit_log(collection_id, 0), audit)
        return count

    # ---- subjects

    async def enroll(self, enrollment: Enrollment) -> Enrolled:
        """Write an enrolment."""
        collection = self._existing(enrollment.collection_id)
        earlier = self._answer(collection, enrollment.request, enrollment.at, Enrolled)
        if earlier is not None:
            return self._enrolled_again(collection, earlier)
        merging.require_model(collection.record, enrollment)
        number, shard = collection.shard_with(enrollment.subject_id)
        before = shard.subjects.get(enrollment.subject_id)
        after = merging.enrolled(before, enrollment, collection.record.active_epoch)
        shard.keep(enrollment.subject_id, after)
        if collection.record.keep_source_images:
            pictures = {t.record.template_id: t.picture for t in enrollment.templates if t.picture is not None}
            shard.pictures.setdefault(enrollment.subject_id, {}).update(pictures)
        ids = [template.record.template_id for template in enrollment.templates]
        position = self._change(collection, number, ChangeKind.ENROLLED, enrollment.subject_id, ids)
        self._write_audit(audit_log(enrollment.collection_id, number), enrollment.audit)
        answer = Enrolled(after.subject, position, False, enrollment.note)
        _remember(collection, enrollment.request, enrollment.at, answer)
        return answer

    async def update_profile(self, update: ProfileUpdate) -> Changed:
        """Change what is said of a subject."""
        collection = self._existing(update.collection_id)
        earlier = self._answer(collection, update.request, update.at, Changed)
        if earlier is not None:
            return self._changed_again(collection, earlier)
        number, shard, before = self._subject(collection, update.subject_id)
        after = merging.updated(before, update)
        shard.keep(update.subject_id, after)
        position = self._change(collection, number, ChangeKind.UPDATED, update.subject_id, [])
        self._write_audit(audit_log(update.collection_id, number), update.audit)
        answer = Changed(after.subject, position, False)
        _remember(collection, update.request, update.at, answer)
        return answer

    async def delete_template(self, deletion: TemplateDeletion) -> Changed:
        """Remove one template of a subject."""
        collection = self._existing(deletion.collection_id)
        earlier = self._answer(collection, deletion.request, deletion.at, Changed)
        if earlier is not None:
            return self._changed_again(collection, earlier)
        number, shard, before = self._subject(collection, deletion.subject_id)
        after = merging.without_template(before, deletion)
        shard.keep(deletion.subject_id, after)
        shard.pictures.get(deletion.subject_id, {}).pop(deletion.template_id, None)
        kind = ChangeKind.TEMPLATE_DELETED
        position = self._change(collection, number, kind, deletion.subject_id, [deletion.template_id])
        self._write_audit(audit_log(deletion.collection_id, number), deletion.audit)
        answer = Changed(after.subject, position, False)
        _remember(collection, deletion.request, deletion.at, answer)
        return answer

    async def find_enrolled(self, collection_id: CollectionId, request: RequestKey) -> Enrolled | None:
        """The answer that this request got before."""
        collection = self._existing(collection_id)
        earlier = self._answer(collection, request, None, Enrolled)
        return None if earlier is None else self._enrolled_again(collection, earlier)

    async def erase(self, erasure: Erasure) -> Erased:
        """Remove a subject."""
        collection = self._existing(erasure.collection_id)
        earlier = self._answer(collection, erasure.request, erasure.at, Erased)
        if earlier is not None:
            return replace(earlier, replayed=True)
        number, shard, before = self._subject(collection, erasure.subject_id)
        shard.keep(erasure.subject_id, None)
        pictures = shard.pictures.pop(erasure.subject_id, {})
        position = self._change(collection, number, ChangeKind.ERASED, erasure.subject_id, [])
        self._write_audit(audit_log(erasure.collection_id, number), erasure.audit)
        receipt = Erased(
            receipt_id=erasure.receipt_id,
            collection_id=erasure.collection_id,
            subject_id=erasure.subject_id,
            templates_erased=len(before.subject.templates),
            events_erased=erasure.events_erased,
            erased_at=erasure.at,
            position=position,
            replayed=False,
            pictures_erased=len(pictures),
        )
        self._erasing[erasure.collection_id, erasure.receipt_id] = OpenErasure(receipt, collection.record.generation)
        _remember(collection, erasure.request, erasure.at, receipt)
        return receipt

    async def find_erased(self, collection_id: CollectionId, request: RequestKey) -> Erased | None:
        """The receipt that this request got before."""
        earlier = self._answer(self._existing(collection_id), request, None, Erased)
        return None if earlier is None else replace(earlier, replayed=True)

    async def find_subject(self, collection_id: CollectionId, subject_id: SubjectId) -> SubjectRecord | None:
        """A subject, or None."""
        collection = self._collections.get(collection_id)
        state = collection.shard_with(subject_id)[1].subjects.get(subject_id) if collection else None
        return state.subject if state else None

    async def list_subjects(self, collection_id: CollectionId, after: str, limit: int) -> SubjectPage:
        """Subjects by id."""
        shards = self._existing(collection_id).shards
        found = {key: state.subject for shard in shards for key, state in shard.subjects.items() if key > after}
        ids = sorted(found)
        return SubjectPage(tuple(found[key] for key in ids[:limit]), ids[limit - 1] if len(ids) > limit else "")

    async def find_picture(
        self, collection_id: CollectionId, subject_id: SubjectId, template_id: TemplateId
    ) -> bytes | None:
        """The picture that a template was made from."""
        collection = self._collections.get(collection_id)
        pictures = collection.shard_with(subject_id)[1].pictures if collection else {}
        return pictures.get(subject_id, {}).get(template_id)

    # ---- following

    async def load_rows(self, collection_id: CollectionId, shard: int, epoch: int) -> AsyncIterator[RowBatch]:
        """Every subject of a shard with its templates of one epoch."""
        subjects = _shard(self._existing(collection_id), shard).subjects
        rows = iter([state.rows[epoch] for state in subjects.values() if epoch in state.rows])
        while some := list(islice(rows, SUBJECTS_A_BATCH)):
            yield _batch(some)

    async def changes_after(
        self, collection_id: CollectionId, shard: int, position: Position, limit: int
    ) -> list[Change] | None:
        """The changes that follow `position`."""
        collection = self._collections.get(collection_id)
        if collection is None or shard >= len(collection.shards):
            return None
        part = collection.shards[shard]
        if part.position == position:
            return []
        entries = [entry for entry in part.log if entry.position.sequence > position.sequence][:limit]
        if not entries or entries[0].before != position:
            return None
        return [_told(part, entry, collection.record.active_epoch) for entry in entries]

    # ---- another model

    async def put_row(self, collection_id: CollectionId, epoch: int, row: SearchRow, revision: int) -> bool:
        """Write a subject's templates of an epoch that is not active."""
        collection = self._existing(collection_id)
        merging.require_inactive(collection.record, epoch, known=True)
        _, shard = collection.shard_with(row.subject_id)
        state = shard.subjects.get(row.subject_id)
        if state is None or state.subject.revision != revision:
            return False
        shard.subjects[row.subject_id] = replace(state, rows={**state.rows, epoch: row})
        return True

    async def find_row(self, collection_id: CollectionId, subject_id: SubjectId) -> SearchRow | None:
        """A subject's templates of the active epoch."""
        collection = self._existing(collection_id)
        state = collection.shard_with(subject_id)[1].subjects.get(subject_id)
        return state.rows.get(collection.record.active_epoch) if state is not None else None

    async def drop_epoch(self, collection_id: CollectionId, epoch: int) -> None:
        """Remove all rows of an epoch that is not active."""
        collection = self._existing(collection_id)
        merging.require_inactive(collection.record, epoch, known=False)
        for shard in collection.shards:
            for key, state in shard.subjects.items():
                rows = {number: row for number, row in state.rows.items() if number != epoch}
                shard.subjects[key] = replace(state, rows=rows)

    # ---- looks at persons

    async def put_look(self, look: PersonLook, until: datetime) -> None:  # noqa: ARG002 - nothing outlives this process
        """Write a look."""
        self._existing(look.collection_id).looks.put(look)

    async def looks_after(self, collection_id: CollectionId, sequence: int, limit: int) -> LookChanges:
        """The looks that were written after a sequence."""
        collection = self._existing(collection_id)
        return collection.looks.after(collection.record.generation, sequence, limit)

    async def look_ids(self, collection_id: CollectionId) -> frozenset[TrackletId]:
        """Of which tracklets a look is kept."""
        return frozenset(self._existing(collection_id).looks.kept)

    async def drop_looks(self, collection_id: CollectionId, tracklet_ids: Sequence[TrackletId]) -> int:
        """Remove looks."""
        collection = self._collections.get(collection_id)
        return collection.looks.drop(tracklet_ids) if collection else 0

    async def drop_looks_seen_before(self, collection_id: CollectionId, moment: datetime) -> int:
        """Remove the looks that were seen before a moment."""
        collection = self._collections.get(collection_id)
        return collection.looks.drop_seen_before(moment) if collection else 0

    async def persons_seen_before(self, collection_id: CollectionId, moment: datetime, limit: int) -> list[str]:
        """Anonymous ids whose time is over."""
        collection = self._collections.get(collection_id)
        seen = collection.looks.persons if collection else {}
        return sorted((key for key, at in seen.items() if at < moment), key=lambda key: (seen[key], key))[:limit]

    async def forget_person(self, collection_id: CollectionId, person_id: str) -> None:
        """Nothing is left to be erased of an anonymous id."""
        if collection_id in self._collections:
            self._collections[collection_id].looks.persons.pop(person_id, None)

    # ---- what is written outside of a subject's change

    async def values_by_key(self, collection_id: CollectionId) -> dict[str, int]:
        """Nothing is sealed here."""
        self._existing(collection_id)
        return {}

    async def rewrap(self, collection_id: CollectionId) -> AsyncIterator[int]:
        """Nothing is sealed here."""
        self._existing(collection_id)
        for looked_at in list[int]():
            yield looked_at

    async def check(self, collection_id: CollectionId) -> list[StoreFinding]:
        """A write here is whole, or never was."""
        self._existing(collection_id)
        return []

    async def repair(self, collection_id: CollectionId) -> list[StoreFinding]:
        """There is never anything to mend."""
        return await self.check(collection_id)

    async def trim_log(self, collection_id: CollectionId, shard: int, up_to: int) -> None:
        """Forget changes."""
        log = _shard(self._existing(collection_id), shard).log
        while log and log[0].position.sequence <= up_to:
            log.popleft()

    # ---- erasures that are not through

    async def open_erasures(self) -> list[OpenErasure]:
        """Erasures of which something is still to be done, oldest first."""
        return sorted(self._erasing.values(), key=lambda each: (each.erased.erased_at, each.erased.receipt_id))

    async def close_erasure(self, erasure: OpenErasure, end: ErasureEnd) -> None:
        """Nothing is left to be done for it."""
        key = (erasure.erased.collection_id, erasure.erased.receipt_id)
        if self._erasing.pop(key, None) is not None:
            self._ended[key] = (self._seconds() + REQUEST_KEPT_S, erasure.erased, end)

    async def find_receipt(
        self, collection_id: CollectionId, receipt_id: str
    ) -> tuple[Erased, ErasureEnd | None] | None:
        """A receipt, and the end of its erasure if it is through."""
        key = (collection_id, receipt_id)
        if key in self._erasing:
            return self._erasing[key].erased, None
        if key not in self._ended or self._ended[key][0] <= self._seconds():
            return None
        return self._ended[key][1:]

    async def rewrite_files(self) -> None:
        """There are no files."""

    # ---- inside

    def _existing(self, collection_id: CollectionId) -> _Collection:
        if collection_id not in self._collections:
            raise NotFoundError("collection", collection_id)
        return self._collections[collection_id]

    def _subject(self, collection: _Collection, subject_id: SubjectId) -> tuple[int, _Shard, SubjectState]:
        number, shard = collection.shard_with(subject_id)
        if subject_id not in shard.subjects:
            raise NotFoundError("subject", subject_id)
        return number, shard, shard.subjects[subject_id]

    def _change(
        self, collection: _Collection, number: int, kind: ChangeKind, subject_id: SubjectId, ids: Sequence[TemplateId]
    ) -> ShardPosition:
        shard = collection.shards[number]
        before, sequence = shard.position, shard.position.sequence + 1
        epoch = str(collection.record.active_epoch)
        told = "|".join([before.chain, str(sequence), kind.value, subject_id, epoch, ",".join(ids)])
        shard.position = Position(sequence, hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest())
        shard.log.append(_Entry(before, shard.position, kind, subject_id))
        while len(shard.log) > self._log_kept:
            shard.log.popleft()
        return ShardPosition(number, sequence)

    def _answer(
        self, collection: _Collection, request: RequestKey | None, at: datetime | None, kind: type[A]
    ) -> A | None:
        if request is None or request.request_id not in collection.answers:
            return None
        answer = collection.answers[request.request_id]
        if at is not None and at >= answer.until:
            del collection.answers[request.request_id]
            return None
        if answer.digest != request.content_digest or not isinstance(answer.given, kind):
            raise RequestIdReusedError(request.request_id)
        return answer.given

    def _enrolled_again(self, collection: _Collection, first: Enrolled) -> Enrolled:
        return replace(first, subject=_present(collection, first.subject), replayed=True)

    def _changed_again(self, collection: _Collection, first: Changed) -> Changed:
        return replace(first, subject=_present(collection, first.subject), replayed=True)


def _present(collection: _Collection, first: SubjectRecord) -> SubjectRecord:
    state = collection.shard_with(first.subject_id)[1].subjects.get(first.subject_id)
    if state is None or state.subject.created_at != first.created_at:
        raise merging.erased_since(first.subject_id)
    return state.subject


def _remember(
    collection: _Collection, request: RequestKey | None, at: datetime, answer: Enrolled | Changed | Erased
) -> None:
    if request is not None:
        until = at + timedelta(seconds=REQUEST_KEPT_S)
        collection.answers[request.request_id] = _Answer(request.content_digest, until, answer)


def _head(collection: _Collection) -> CollectionHead:
    return CollectionHead(
        collection.record.generation,
        tuple(shard.position for shard in collection.shards),
        sum(len(shard.subjects) for shard in collection.shards),
        sum(shard.templates for shard in collection.shards),
    )


def _shard(collection: _Collection, number: int) -> _Shard:
    if not 0 <= number < len(collection.shards):
        raise InvalidInputError("shard", number, f"0 to {len(collection.shards) - 1}")
    return collection.shards[number]


def _told(shard: _Shard, entry: _Entry, epoch: int) -> Change:
    state = shard.subjects.get(entry.subject_id)
    return Change(entry.position, entry.kind, entry.subject_id, state.rows.get(epoch) if state else None)


def _batch(rows: Sequence[SearchRow]) -> RowBatch:
    templates = [template for row in rows for template in row.templates]
    return RowBatch(
        subject_ids=[row.subject_id for row in rows],
        profiles=[row.profile for row in rows],
        counts=[len(row.templates) for row in rows],
        template_ids=[template.template_id for template in templates],
        vectors=np.ascontiguousarray([template.vector for template in templates], dtype=np.float16),
        names=[row.profile.display_name for row in rows],
    )
