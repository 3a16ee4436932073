"""The store in Redis or Valkey: one script a write. What its keys hold stands in `redis_keys`.

Needs Redis 7 or any Valkey. What it refuses: to retry a write by itself. A write whose answer was lost is settled by
the caller's `request_id`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from gallery_svc.store import codec
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
from gallery_svc.store.redis_keys import ROOT, SCHEMA, key_of, keys_of, request_key, seen_key
from gallery_svc.store.redis_server import RedisServer
from tessera.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    ModelMismatchError,
    NotEmptyError,
    NotFoundError,
    OverloadedError,
    RequestIdReusedError,
    StoreCorruptError,
)
from tessera.domain.ids import CollectionId, EventId, SubjectId, TemplateId

_SUBJECTS_A_READ = 500
_MAX_CONFLICTS = 16


class RedisStore:
    """Records in one Redis or Valkey.

    Args:
        url: `redis://host:port/db`.
        timeout_s: a command that takes longer counts as an unavailable store.
        log_kept: changes kept for followers, of each collection; about so many.
        events_kept: event revisions kept.
        audit_kept: audit entries kept, of each log; about so many.
        observe: told each call's operation (a script's name, or `read`) and its seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 2.0,
        log_kept: int = 100_000,
        events_kept: int = 100_000,
        audit_kept: int = 200_000,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self._server = RedisServer(url, timeout_s, observe)
        self._redis = self._server.commands
        self._log_kept = log_kept
        self._events_kept = events_kept
        self._audit_kept = audit_kept

    async def prepare(self) -> None:
        """Check the server's eviction policy and the schema of what it holds."""
        info = await self._server.ask(self._redis.info("memory"))
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise InvalidInputError("store", f"maxmemory-policy {policy}", "a server with maxmemory-policy noeviction")
        await self._server.ask(self._redis.set(ROOT + "schema", SCHEMA, nx=True))
        schema = await self._server.ask(self._redis.get(ROOT + "schema"))
        if schema is None or int(schema) != SCHEMA:
            raise InvalidInputError("store", f"schema {schema!r}", f"a server that holds schema {SCHEMA}, or nothing")

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    # ---- collections

    async def create_collection(self, record: CollectionRecord) -> None:
        """Add a collection: first to the directory, which promises nothing, then the record, which decides.

        A deletion under way may take the id out of the directory in between: so it is added once more.
        """
        collection_id = record.collection_id
        await self._server.ask(self._redis.sadd(ROOT + "collections", collection_id))
        keys = keys_of(collection_id, "head", "record")
        reply = await self._server.run(
            "create_collection", keys, [codec.dump(record), record.model_id, uuid.uuid4().hex]
        )
        await self._server.ask(self._redis.sadd(ROOT + "collections", collection_id))
        if reply[0] == b"exists":
            raise AlreadyExistsError("collection", collection_id)

    async def find_collection(self, collection_id: CollectionId) -> CollectionRecord | None:
        """A collection, or None."""
        key = key_of(collection_id, "record")
        raw = await self._server.ask(self._redis.get(key))
        return None if raw is None else codec.load(CollectionRecord, raw, key)

    async def list_collections(self) -> tuple[CollectionRecord, ...]:
        """All collections, by id."""
        ids = sorted(raw.decode() for raw in await self._server.ask(self._redis.smembers(ROOT + "collections")))
        pipeline = self._redis.pipeline(transaction=False)
        for collection_id in ids:
            pipeline.get(key_of(CollectionId(collection_id), "record"))
        records = await self._server.ask(pipeline.execute())
        return tuple(
            codec.load(CollectionRecord, raw, key_of(CollectionId(collection_id), "record"))
            for collection_id, raw in zip(ids, records, strict=True)
            if raw is not None
        )

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict[CollectionId, CollectionHead]:
        """Where the logs stand, in one round trip."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.ping()
        for collection_id in collection_ids:
            pipeline.hmget(key_of(collection_id, "head"), ["position", "chain", "subjects", "templates"])
        replies = (await self._server.ask(pipeline.execute()))[1:]
        return {
            collection_id: CollectionHead(Position(int(reply[0]), reply[1].decode()), int(reply[2]), int(reply[3]))
            for collection_id, reply in zip(collection_ids, replies, strict=True)
            if reply[0] is not None
        }

    async def delete_collection(self, collection_id: CollectionId, audit: AuditRecord, *, force: bool) -> int:
        """Remove a collection; its audit log stays."""
        keys = keys_of(collection_id, "head", "record", "subjects", "order", "vectors", "log", "audit")
        reply = await self._server.run("delete_collection", keys, [int(force), codec.dump(audit), self._audit_kept])
        if reply[0] == b"absent":
            raise NotFoundError("collection", collection_id)
        if reply[0] == b"not_empty":
            raise NotEmptyError("collection", collection_id, int(reply[1]))
        await self._server.ask(self._redis.srem(ROOT + "collections", collection_id))
        if await self._server.ask(self._redis.exists(key_of(collection_id, "record"))):  # made anew meanwhile
            await self._server.ask(self._redis.sadd(ROOT + "collections", collection_id))
        return int(reply[1])

    # ---- subjects

    async def enroll(self, enrollment: Enrollment) -> Enrolled:
        """Write an enrolment in one script; again from the start when somebody else changed the subject meanwhile."""
        for _ in range(_MAX_CONFLICTS):
            before = await self._subject_text(enrollment.collection_id, enrollment.subject_id)
            subject = merged(self._subject(enrollment.collection_id, before), enrollment)
            reply = await self._enroll_once(enrollment, before, subject)
            if reply[0] == b"ok":
                return Enrolled(subject, int(reply[1]), False, enrollment.note)
            if reply[0] == b"replayed":
                return await self._enrolled_again(reply, enrollment.collection_id)
            if reply[0] != b"changed":
                raise _refusal(reply, enrollment.collection_id, enrollment.subject_id, enrollment.request)
        raise OverloadedError("subject", _MAX_CONFLICTS)

    async def _enroll_once(self, enrollment: Enrollment, before: bytes, subject: SubjectRecord) -> list[Any]:
        request = enrollment.request
        keys = [
            *keys_of(enrollment.collection_id, "head", "subjects", "order", "vectors", "log", "audit"),
            request_key(enrollment.collection_id, request),
        ]
        after = codec.dump(subject)
        # Whose enrolment it was, and nothing about them: an erasure must not leave a name behind with a request id.
        answer = json.dumps([subject.subject_id, subject.created_at.isoformat(), enrollment.note])
        templates = [
            part
            for template in enrollment.templates
            for part in (template.record.template_id, template.record.model_id, codec.vector_bytes(template.vector))
        ]
        arguments = [
            subject.subject_id, before, after, request.content_digest if request else "", answer, REQUEST_KEPT_S * 1000,
            codec.dump(enrollment.audit), self._audit_kept, self._log_kept, *templates,
        ]  # fmt: skip
        reply: list[Any] = await self._server.run("enroll", keys, arguments)
        return reply

    async def find_enrolled(self, collection_id: CollectionId, request: RequestKey) -> Enrolled | None:
        """The answer that this request got before."""
        reply = await self._earlier(collection_id, request)
        return None if reply is None else await self._enrolled_again(reply, collection_id)

    async def _enrolled_again(self, reply: list[Any], collection_id: CollectionId) -> Enrolled:
        try:
            subject_id, created_at, note = json.loads(reply[2])
        except ValueError as error:
            raise StoreCorruptError(key_of(collection_id, "request"), "not the answer of an enrolment") from error
        subject = await self.find_subject(collection_id, SubjectId(subject_id))
        if subject is None or subject.created_at.isoformat() != created_at:
            raise NotFoundError("subject", subject_id, "it was erased after this enrolment")
        return Enrolled(subject, int(reply[1]), True, note)

    async def erase(self, erasure: Erasure) -> Erased:
        """Remove a subject in one script; again from the start when somebody else changed it meanwhile."""
        for _ in range(_MAX_CONFLICTS):
            before = await self._subject_text(erasure.collection_id, erasure.subject_id)
            subject = self._subject(erasure.collection_id, before)
            templates = subject.templates if subject else ()
            receipt = _receipt(erasure, len(templates))
            keys = [
                *keys_of(erasure.collection_id, "head", "subjects", "order", "vectors", "log", "audit"),
                request_key(erasure.collection_id, erasure.request),
            ]
            arguments = [
                erasure.subject_id, before, erasure.request.content_digest if erasure.request else "",
                codec.dump(receipt), REQUEST_KEPT_S * 1000, codec.dump(erasure.audit), self._audit_kept, self._log_kept,
                *(template.template_id for template in templates),
            ]  # fmt: skip
            reply = await self._server.run("erase", keys, arguments)
            if reply[0] == b"ok":
                return replace(receipt, position=int(reply[1]))
            if reply[0] == b"replayed":
                return _erased_again(reply, keys[-1])
            if reply[0] != b"changed":
                raise _refusal(reply, erasure.collection_id, erasure.subject_id, erasure.request)
        raise OverloadedError("subject", _MAX_CONFLICTS)

    async def find_erased(self, collection_id: CollectionId, request: RequestKey) -> Erased | None:
        """The receipt that this request got before."""
        reply = await self._earlier(collection_id, request)
        return None if reply is None else _erased_again(reply, request_key(collection_id, request))

    async def find_subject(self, collection_id: CollectionId, subject_id: SubjectId) -> SubjectRecord | None:
        """A subject, or None."""
        return self._subject(collection_id, await self._subject_text(collection_id, subject_id))

    async def list_subjects(self, collection_id: CollectionId, after: str, limit: int) -> SubjectPage:
        """Subjects by id."""
        await self._require(collection_id)
        low = f"({after}" if after else "-"
        ids = await self._server.ask(self._redis.zrangebylex(key_of(collection_id, "order"), low, "+", 0, limit + 1))
        if not ids:
            return SubjectPage((), "")
        texts = await self._server.ask(self._redis.hmget(key_of(collection_id, "subjects"), ids[:limit]))
        subjects = (self._subject(collection_id, text or b"") for text in texts)
        next_after = ids[limit - 1].decode() if len(ids) > limit else ""
        return SubjectPage(tuple(subject for subject in subjects if subject is not None), next_after)

    # ---- following

    async def load_subjects(self, collection_id: CollectionId) -> AsyncIterator[LoadedSubject]:
        """Every subject with its vectors, some hundred at a time."""
        cursor = 0
        while True:
            cursor, found = await self._server.ask(
                self._redis.hscan(key_of(collection_id, "subjects"), cursor, count=_SUBJECTS_A_READ)
            )
            subjects = [codec.load(SubjectRecord, raw, key_of(collection_id, "subjects")) for raw in found.values()]
            ids = [template.template_id for subject in subjects for template in subject.templates]
            raws = await self._server.ask(self._redis.hmget(key_of(collection_id, "vectors"), ids)) if ids else []
            vectors = {key: raw for key, raw in zip(ids, raws, strict=True) if raw is not None}
            for subject in subjects:
                held = (t.template_id for t in subject.templates if t.template_id in vectors)
                templates = tuple(TemplateVector(key, codec.vector_from(vectors[key])) for key in held)
                yield LoadedSubject(subject.subject_id, subject.profile.display_name, templates)
            if cursor == 0:
                return

    async def changes_after(self, collection_id: CollectionId, position: Position, limit: int) -> list[Change] | None:
        """The changes that follow `position`, with their vectors, from one script."""
        keys = keys_of(collection_id, "head", "log", "subjects", "vectors")
        reply = await self._server.run("changes", keys, [position.sequence, position.chain, limit])
        if reply[0] == b"gone":
            return None
        return [self._change(collection_id, raw) for raw in reply[1:]]

    def _change(self, collection_id: CollectionId, raw: list[Any]) -> Change:
        sequence, chain, kind, subject_id, text, templates = raw
        subject = self._subject(collection_id, text)
        return Change(
            position=Position(int(sequence), chain.decode()),
            kind=ChangeKind(kind.decode()),
            subject_id=SubjectId(subject_id.decode()),
            display_name=subject.profile.display_name if subject else "",
            templates=tuple(
                TemplateVector(TemplateId(key.decode()), codec.vector_from(vector))
                for key, vector in zip(templates[::2], templates[1::2], strict=True)
            ),
        )

    # ---- events

    async def record_event(self, event: NewEvent, audit: AuditRecord | None) -> tuple[EventRecord, bool]:
        """Append an event's next revision and its audit entry in one script."""
        body = event.body
        names = isinstance(body, SightingBody) and body.subject_id is not None
        seen = seen_key(body.collection_id, body.subject_id) if names else ""  # type: ignore[union-attr, arg-type]
        keys = [ROOT + "events:head", ROOT + "events", ROOT + "events:latest", ROOT + "audit"]
        arguments = [
            event.event_id, event.content_key, codec.dump(event), self._events_kept,
            codec.dump(audit) if audit else "", self._audit_kept, seen,
        ]  # fmt: skip
        reply = await self._server.run("record_event", keys, arguments)
        if reply[0] == b"corrupt":
            raise StoreCorruptError(reply[1].decode(), "its entries and its count disagree")
        if reply[0] == b"known":
            kept = await self.find_event(event.event_id)
            return kept or EventRecord(event, int(reply[1]), int(reply[2])), False
        return EventRecord(event, int(reply[1]), int(reply[2])), True

    async def find_event(self, event_id: EventId) -> EventRecord | None:
        """The newest revision of an event."""
        sequence = (await self.newest_revisions([event_id])).get(event_id)
        if sequence is None:
            return None
        entry = f"{sequence}-0"
        found = await self._server.ask(self._redis.xrange(ROOT + "events", entry, entry))
        return _event(found[0]) if found else None

    async def event_head(self) -> EventHead:
        """Where the event log stands."""
        newest, oldest = await self._server.ask(self._redis.hmget(ROOT + "events:head", ["newest", "oldest"]))
        return EventHead(int(newest or 0), int(oldest or 1))

    async def events_after(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events that follow, oldest first."""
        found = await self._server.ask(self._redis.xrange(ROOT + "events", f"{sequence + 1}-0", "+", count=limit))
        return [_event(entry) for entry in found]

    async def events_before(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events before, newest first."""
        if sequence <= 1:
            return []
        found = await self._server.ask(self._redis.xrevrange(ROOT + "events", f"{sequence - 1}-0", "-", count=limit))
        return [_event(entry) for entry in found]

    async def newest_revisions(self, event_ids: Sequence[EventId]) -> dict[EventId, int]:
        """The sequence of each event's newest revision."""
        if not event_ids:
            return {}
        raws = await self._server.ask(self._redis.hmget(ROOT + "events:latest", list(event_ids)))
        return {key: int(raw.split(b" ", 1)[0]) for key, raw in zip(event_ids, raws, strict=True) if raw is not None}

    async def erase_events(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Remove the sightings of a subject."""
        keys = [ROOT + "events", ROOT + "events:latest", seen_key(collection_id, subject_id)]
        return int(await self._server.run("erase_events", keys, []))

    # ---- audit

    async def append_audit(self, record: AuditRecord) -> int:
        """Put an entry on record."""
        key = key_of(record.collection_id, "audit") if record.collection_id else ROOT + "audit"
        return int(await self._server.run("audit", [key], [codec.dump(record), self._audit_kept]))

    async def audit_after(self, collection_id: CollectionId | None, sequence: int, limit: int) -> list[AuditRecord]:
        """Entries, oldest first."""
        key = key_of(collection_id, "audit") if collection_id else ROOT + "audit"
        found = await self._server.ask(self._redis.xrange(key, f"{sequence + 1}-0", "+", count=limit))
        return [codec.load(AuditRecord, fields[b"entry"], key) for _, fields in found]

    # ---- inside

    async def _require(self, collection_id: CollectionId) -> None:
        if not await self._server.ask(self._redis.exists(key_of(collection_id, "head"))):
            raise NotFoundError("collection", collection_id)

    async def _subject_text(self, collection_id: CollectionId, subject_id: SubjectId) -> bytes:
        raw: Any = await self._server.ask(self._redis.hget(key_of(collection_id, "subjects"), subject_id))
        return raw or b""

    def _subject(self, collection_id: CollectionId, text: bytes) -> SubjectRecord | None:
        return codec.load(SubjectRecord, text, key_of(collection_id, "subjects")) if text else None

    async def _earlier(self, collection_id: CollectionId, request: RequestKey) -> list[Any] | None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hget(key_of(collection_id, "head"), "generation")
        pipeline.hmget(request_key(collection_id, request), ["generation", "digest", "position", "answer"])
        generation, found = await self._server.ask(pipeline.execute())
        if generation is None:
            raise NotFoundError("collection", collection_id)
        if found[0] != generation:
            return None
        if found[1].decode() != request.content_digest:
            raise RequestIdReusedError(request.request_id)
        return [b"replayed", found[2], found[3]]


def _event(entry: Any) -> EventRecord:  # noqa: ANN401 - Redis
    entry_id, fields = entry
    event = codec.load(NewEvent, fields[b"event"], ROOT + "events")
    return EventRecord(event, int(entry_id.split(b"-", 1)[0]), int(fields[b"revision"]))


def _receipt(erasure: Erasure, templates_erased: int) -> Erased:
    return Erased(
        receipt_id=erasure.receipt_id,
        collection_id=erasure.collection_id,
        subject_id=erasure.subject_id,
        templates_erased=templates_erased,
        events_erased=erasure.events_erased,
        erased_at=erasure.at,
        position=0,
        replayed=False,
    )


def _erased_again(reply: list[Any], key: str) -> Erased:
    return replace(codec.load(Erased, reply[2], key), position=int(reply[1]), replayed=True)


def _refusal(
    reply: list[Any], collection_id: CollectionId, subject_id: SubjectId, request: RequestKey | None
) -> Exception:
    match reply[0]:
        case b"absent":
            return NotFoundError("collection", collection_id)
        case b"no_subject":
            return NotFoundError("subject", subject_id)
        case b"reused":
            return RequestIdReusedError(request.request_id if request else "")
        case b"model":
            return ModelMismatchError(reply[1].decode(), reply[2].decode())
        case b"corrupt":
            return StoreCorruptError(reply[1].decode(), "its entries and its count disagree")
        case unknown:
            return StoreCorruptError(key_of(collection_id, "head"), f"a script answered {unknown!r}")
