"""Subjects in Redis: read, changed by the one rule of `merging`, sealed, and written in one script.

An enrolment first takes its subject for new, since most are: the script answers with what is there when it is not. What
it refuses: to retry a write whose answer was lost. The caller's request id settles that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from heapq import merge
from itertools import islice

from gallery_svc.store import codec, merging
from gallery_svc.store.change_records import ChangeKind
from gallery_svc.store.collection_records import CollectionRecord, ShardPosition
from gallery_svc.store.merging import SubjectState
from gallery_svc.store.redis_changes import Edit, RedisChanges, Written, layout_text, wrote
from gallery_svc.store.redis_collections import shards_of
from gallery_svc.store.redis_keys import ShardKeys, picture_field
from gallery_svc.store.redis_parts import Again, Entry, all_of
from gallery_svc.store.redis_requests import REQUEST_KEPT_MS, Answer, answer_of
from gallery_svc.store.redis_values import SealedSubject, SubjectSeals, tag_of
from gallery_svc.store.subject_records import SubjectPage, SubjectRecord
from gallery_svc.store.write_records import (
    Changed,
    Enrolled,
    Enrollment,
    Erased,
    Erasure,
    ProfileUpdate,
    RequestKey,
    TemplateDeletion,
)
from tessera.domain.errors import NotFoundError, RequestIdReusedError, StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId, TemplateId


class RedisSubjects(RedisChanges):
    """Subjects; see `Store` for what each method promises."""

    async def enroll(self, enrollment: Enrollment) -> Enrolled:
        """Write an enrolment in one script."""

        def change(record: CollectionRecord, subject_id: SubjectId, before: SubjectState | None) -> SubjectState:
            merging.require_model(record, enrollment)
            about = enrollment if subject_id == enrollment.subject_id else replace(enrollment, subject_id=subject_id)
            return merging.enrolled(before, about, record.active_epoch)

        edit = Edit(
            kind=ChangeKind.ENROLLED,
            collection_id=enrollment.collection_id,
            subject_id=enrollment.subject_id,
            change=change,
            audit=enrollment.audit,
            request=enrollment.request,
            template_ids=tuple([template.record.template_id for template in enrollment.templates]),
            note=enrollment.note,
            pictures=tuple([(t.record.template_id, t.picture) for t in enrollment.templates if t.picture is not None]),
        )
        done = await self._write(edit, SealedSubject())
        if isinstance(done, Answer):
            return await self._until_done(lambda: self._enrolled_again(edit.collection_id, edit.request_id, done))
        return Enrolled(done.subject, done.position, False, enrollment.note)

    async def update_profile(self, update: ProfileUpdate) -> Changed:
        """Change what is said of a subject."""

        def change(_: CollectionRecord, subject_id: SubjectId, before: SubjectState | None) -> SubjectState:
            return merging.updated(_known(before, subject_id), update)

        return await self._changed(
            Edit(
                kind=ChangeKind.UPDATED,
                collection_id=update.collection_id,
                subject_id=update.subject_id,
                change=change,
                audit=update.audit,
                request=update.request,
                template_ids=(),
            )
        )

    async def delete_template(self, deletion: TemplateDeletion) -> Changed:
        """Remove one template of a subject."""

        def change(_: CollectionRecord, subject_id: SubjectId, before: SubjectState | None) -> SubjectState:
            return merging.without_template(_known(before, subject_id), deletion)

        return await self._changed(
            Edit(
                kind=ChangeKind.TEMPLATE_DELETED,
                collection_id=deletion.collection_id,
                subject_id=deletion.subject_id,
                change=change,
                audit=deletion.audit,
                request=deletion.request,
                template_ids=(deletion.template_id,),
                pictures_end=(deletion.template_id,),
            )
        )

    async def _changed(self, edit: Edit) -> Changed:
        done = await self._earlier(edit.collection_id, edit.request, edit.kind) or await self._write(edit, None)
        if isinstance(done, Written):
            return Changed(done.subject, done.position, False)
        found = await self.find_subject(edit.collection_id, done.subject_id)
        return Changed(_still(found, done), done.position, True)

    # ---- the answers of before

    async def find_enrolled(self, collection_id: CollectionId, request: RequestKey) -> Enrolled | None:
        """The answer that this request got before."""
        answer = await self._earlier(collection_id, request, ChangeKind.ENROLLED)
        if answer is None:
            return None
        return await self._until_done(lambda: self._enrolled_again(collection_id, request.request_id, answer))

    async def find_erased(self, collection_id: CollectionId, request: RequestKey) -> Erased | None:
        """The receipt that this request got before."""
        answer = await self._earlier(collection_id, request, ChangeKind.ERASED)
        return None if answer is None else _erased(answer, request.request_id)

    async def _earlier(
        self, collection_id: CollectionId, request: RequestKey | None, kind: ChangeKind
    ) -> Answer | None:
        async def look() -> Answer | None:
            return await self._find_answer(await self._existing(collection_id), request)

        answer = await self._until_done(look)
        if answer is not None and request is not None and answer.kind != kind:
            raise RequestIdReusedError(request.request_id)
        return answer

    async def _enrolled_again(self, collection_id: CollectionId, request_id: str, answer: Answer) -> Enrolled:
        record = await self._existing(collection_id)
        keys = ShardKeys.holding(record, answer.subject_id)
        (sealed,) = await self._door.read(keys.tag, [("HGET", keys.subjects, answer.subject_id)])
        seals = SubjectSeals(self._sealer, record.generation)
        subject = _still(seals.record(answer.subject_id, sealed) if sealed else None, answer)
        try:
            note = seals.answer(answer.subject_id, request_id, answer.body, sealed)
        except StoreCorruptError:  # sealed for somebody of the same id and the same moment, who was erased
            raise merging.erased_since(answer.subject_id) from None
        return Enrolled(subject, answer.position, True, note)

    # ---- erasure

    async def erase(self, erasure: Erasure) -> Erased:
        """Remove a subject in one script."""
        request_id = erasure.request.request_id if erasure.request else ""
        earlier = await self._earlier(erasure.collection_id, erasure.request, ChangeKind.ERASED)
        if earlier is not None:
            return _erased(earlier, request_id)
        record = await self._existing(erasure.collection_id)
        log = ShardKeys.holding(record, erasure.subject_id).tag
        entry, written = Entry(self._stamps, log, erasure.audit), False
        try:
            done = await self._until_done(lambda: self._erase_once(erasure, entry))
            written = isinstance(done, Erased)
        finally:
            entry.ended(written=written)
        if isinstance(done, Answer):
            if done.kind != ChangeKind.ERASED:
                raise RequestIdReusedError(request_id)
            return _erased(done, request_id)
        await self._trim_when_due(record, done.position)
        return done

    async def _erase_once(self, erasure: Erasure, entry: Entry) -> Erased | Answer:
        record, subject_id, request = await self._existing(erasure.collection_id), erasure.subject_id, erasure.request
        claimed = await self._claim(record, request, subject_id)
        if isinstance(claimed, Answer):
            return claimed
        keys = ShardKeys.holding(record, subject_id)
        (sealed,) = await self._door.read(keys.tag, [("HGET", keys.subjects, subject_id)])
        subject = SubjectSeals(self._sealer, record.generation).record(subject_id, sealed) if sealed else None
        template_ids = [template.template_id for template in subject.templates] if subject else []
        receipt = _receipt(erasure, len(template_ids))
        epochs = self._kept_epochs(record, keys)
        request_id = request.request_id if request else ""
        reply = await self._door.write(
            "erase",
            [
                *(keys.head, keys.subjects, keys.order, keys.pictures, keys.log, keys.audit, keys.request(request_id)),
                *(keys.erasing, *map(keys.rows, epochs)),
            ],
            [
                *(record.generation, layout_text(record, epochs), subject_id, tag_of(sealed or b"")),
                *(erasure.receipt_id, codec.dump(receipt), len(template_ids)),
                *(request.content_digest if request else "", REQUEST_KEPT_MS, *entry.args),
                *(picture_field(subject_id, template_id) for template_id in template_ids),
            ],
            request_id,
            wrote=wrote,
        )
        match reply[0]:
            case b"ok":
                position = ShardPosition(keys.shard, int(reply[1]))
                return replace(receipt, position=position, pictures_erased=int(reply[2]))
            case b"replayed":
                return answer_of(reply[1:], keys.shard)
            case b"no_subject":
                raise NotFoundError("subject", subject_id)
            case b"reused" | b"claimed":  # an erasure names its subject: it is another request
                raise RequestIdReusedError(request_id)
            case b"changed":
                raise Again
            case _:
                raise await self._refusal(reply, record, keys)

    # ---- reading

    async def find_subject(self, collection_id: CollectionId, subject_id: SubjectId) -> SubjectRecord | None:
        """A subject, or None."""
        return await self._until_done(lambda: self._look_for_subject(collection_id, subject_id))

    async def _look_for_subject(self, collection_id: CollectionId, subject_id: SubjectId) -> SubjectRecord | None:
        found = await self._look(collection_id, subject_id, lambda keys: (keys.subjects, subject_id))
        if found is None:
            return None
        record, sealed = found
        return SubjectSeals(self._sealer, record.generation).record(subject_id, sealed)

    async def find_picture(
        self, collection_id: CollectionId, subject_id: SubjectId, template_id: TemplateId
    ) -> bytes | None:
        """The picture that a template was made from."""

        async def look() -> bytes | None:
            field = picture_field(subject_id, template_id)
            found = await self._look(collection_id, subject_id, lambda keys: (keys.pictures, field))
            if found is None:
                return None
            record, sealed = found
            return SubjectSeals(self._sealer, record.generation).picture(subject_id, template_id, sealed)

        return await self._until_done(look)

    async def _look(
        self, collection_id: CollectionId, subject_id: SubjectId, where: Callable[[ShardKeys], tuple[str, str]]
    ) -> tuple[CollectionRecord, bytes] | None:
        """A value of a subject, and the collection that it lies in; None: there is no such value, or no collection."""
        try:
            record = await self._existing(collection_id)
            keys = ShardKeys.holding(record, subject_id)
            commands = [("HGET", keys.head, "generation"), ("HGET", *where(keys))]
            generation, sealed = await self._door.read(keys.tag, commands)
            if generation != record.generation.encode():
                raise await self._refusal([b"absent"], record, keys)
        except NotFoundError:
            return None
        return (record, sealed) if sealed else None

    async def list_subjects(self, collection_id: CollectionId, after: str, limit: int) -> SubjectPage:
        """Subjects by id."""
        record = await self._existing(collection_id, fresh=True)
        seals = SubjectSeals(self._sealer, record.generation)
        low = f"({after}" if after else "-"

        async def some_ids(keys: ShardKeys) -> list[bytes]:
            (ids,) = await self._door.read(keys.tag, [("ZRANGEBYLEX", keys.order, low, "+", "LIMIT", 0, limit + 1)])
            return list(ids)

        ids = [raw.decode() for raw in islice(merge(*await all_of(some_ids, shards_of(record))), limit + 1)]
        by_shard: dict[ShardKeys, list[str]] = {}
        for subject_id in ids[:limit]:
            by_shard.setdefault(ShardKeys.holding(record, subject_id), []).append(subject_id)

        async def some_subjects(keys: ShardKeys) -> list[SubjectRecord]:
            (sealed,) = await self._door.read(keys.tag, [("HMGET", keys.subjects, *by_shard[keys])])
            pairs = zip(by_shard[keys], sealed, strict=True)
            return [seals.record(SubjectId(subject_id), raw) for subject_id, raw in pairs if raw is not None]

        found = {each.subject_id: each for part in await all_of(some_subjects, by_shard) for each in part}
        page = tuple(found[SubjectId(subject_id)] for subject_id in ids[:limit] if subject_id in found)
        return SubjectPage(page, ids[limit - 1] if len(ids) > limit else "")


def _known(before: SubjectState | None, subject_id: SubjectId) -> SubjectState:
    if before is None:
        raise NotFoundError("subject", subject_id)
    return before


def _still(subject: SubjectRecord | None, answer: Answer) -> SubjectRecord:
    if subject is None or subject.created_at.isoformat() != answer.created:
        raise merging.erased_since(answer.subject_id)
    return subject


def _receipt(erasure: Erasure, templates_erased: int) -> Erased:
    return Erased(
        receipt_id=erasure.receipt_id,
        collection_id=erasure.collection_id,
        subject_id=erasure.subject_id,
        templates_erased=templates_erased,
        events_erased=erasure.events_erased,
        erased_at=erasure.at,
        position=ShardPosition(0, 0),  # the script says it, and it is kept beside
        replayed=False,
    )


def _erased(answer: Answer, request_id: str) -> Erased:
    receipt = codec.load(Erased, answer.body, f"request {request_id}")
    return replace(receipt, position=answer.position, pictures_erased=answer.pictures, replayed=True)
