"""How a subject changes in Redis: what is taken to lie there is changed by the rule, sealed, and written in one script.

The script compares the tags of what lies there with those of what was changed. Where somebody was faster it answers
with what there is now, and the next try begins with that. An audit entry is stamped once for all tries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import ChangeKind
from gallery_svc.store.collection_records import CollectionRecord, ShardPosition
from gallery_svc.store.merging import SubjectState
from gallery_svc.store.redis_keys import ShardKeys, picture_field
from gallery_svc.store.redis_parts import Again, Entry
from gallery_svc.store.redis_requests import REQUEST_KEPT_MS, Answer, RedisRequests, answer_of
from gallery_svc.store.redis_trimming import RedisTrimming
from gallery_svc.store.redis_values import SealedSubject, SubjectSeals, tag_of
from gallery_svc.store.subject_records import SubjectRecord
from gallery_svc.store.write_records import RequestKey
from tessera.domain.errors import ModelMismatchError, RequestIdReusedError
from tessera.domain.ids import CollectionId, SubjectId, TemplateId

Change = Callable[[CollectionRecord, SubjectId, SubjectState | None], SubjectState]
"""What a write makes of a subject; raises where it may not be written."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One change of a subject, as each of its tries needs it."""

    kind: ChangeKind
    collection_id: CollectionId
    subject_id: SubjectId
    change: Change
    audit: AuditRecord
    request: RequestKey | None
    template_ids: tuple[TemplateId, ...]
    """Those that it is about, for the log."""
    note: str = ""
    pictures: tuple[tuple[TemplateId, bytes], ...] = ()
    """Those that come, where the collection keeps pictures."""
    pictures_end: tuple[TemplateId, ...] = ()
    """Those that go."""

    @property
    def request_id(self) -> str:
        """Of its request; empty: it has none."""
        return self.request.request_id if self.request else ""

    def about(self, subject_id: SubjectId) -> Edit:
        """The same of another subject: the one that the first call of this request made."""
        return replace(self, subject_id=subject_id, audit=replace(self.audit, subject_id=subject_id))


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """A change that is written."""

    subject: SubjectRecord
    position: ShardPosition


class RedisChanges(RedisRequests, RedisTrimming):
    """Writes changes of subjects."""

    async def _write(self, edit: Edit, guess: SealedSubject | None) -> Written | Answer:
        """Write a change, or find what its request got before.

        Args:
            edit: the change.
            guess: what is taken to lie there; None: look first.

        Raises:
            NotFoundError: the collection does not exist; and what `edit.change` raises.
            RequestIdReusedError: the request id came before with other content.
            OverloadedError: others kept coming before.
        """
        record, keys, subject_id = await self._until_done(lambda: self._claimed(edit))
        if isinstance(subject_id, Answer):
            return _of_kind(subject_id, edit)
        if subject_id != edit.subject_id:
            edit = edit.about(subject_id)
        entry = Entry(self._stamps, keys.tag, edit.audit)
        tries, written = _Tries(edit, entry, guess, record, keys), False
        try:
            done = await self._until_done(lambda: self._try(tries))
            written = isinstance(done, Written)
        finally:
            entry.ended(written=written)
        if isinstance(done, Written):
            await self._trim_when_due(record, done.position)
            return done
        if isinstance(done, Answer):
            return _of_kind(done, edit)
        return await self._write(edit.about(done), guess)

    async def _claimed(self, edit: Edit) -> tuple[CollectionRecord, ShardKeys, SubjectId | Answer]:
        record = await self._existing(edit.collection_id)
        keys = ShardKeys.holding(record, edit.subject_id)
        if edit.request is None or ShardKeys.holding(record, edit.request.request_id) == keys:
            return record, keys, edit.subject_id
        about = await self._claim(record, edit.request, edit.subject_id)
        if not isinstance(about, Answer) and about != edit.subject_id:
            keys = ShardKeys.holding(record, about)
        return record, keys, about

    async def _try(self, tries: _Tries) -> Written | Answer | SubjectId:
        """Write once; or the subject that the same request is about already."""
        edit, record = tries.edit, await self._existing(tries.edit.collection_id)
        keys = tries.keys_in(record)
        seals = SubjectSeals(self._sealer, record.generation)
        looked = tries.looked or await self._sealed_subject(record, keys, edit.subject_id)
        before = seals.state(edit.subject_id, looked)
        try:
            after = edit.change(record, edit.subject_id, before)
        except ModelMismatchError as mismatch:
            return await self._answer_of_another_time(record, edit, mismatch)
        epochs = self._kept_epochs(record, keys)
        script_keys = [
            *(keys.head, keys.subjects, keys.order, keys.pictures, keys.log, keys.audit),
            *(keys.request(edit.request_id), *map(keys.rows, epochs)),
        ]
        args = _arguments(
            edit,
            record=record,
            seals=seals,
            epochs=epochs,
            looked=looked,
            before=before,
            after=after,
            entry=tries.entry,
        )
        reply = await self._door.write("change", script_keys, args, edit.request_id, wrote=wrote)
        match reply[0]:
            case b"ok":
                return Written(after.subject, ShardPosition(keys.shard, int(reply[1])))
            case b"replayed":
                return answer_of(reply[1:], keys.shard)
            case b"claimed":
                return SubjectId(reply[1].decode())
            case b"reused":
                raise RequestIdReusedError(edit.request_id)
            case b"changed":
                tries.looked = SealedSubject(reply[1], dict(zip(epochs, reply[2:], strict=True)))
                raise Again
            case _:
                tries.looked = tries.guess
                raise await self._refusal(reply, record, keys)

    async def _answer_of_another_time(
        self, record: CollectionRecord, edit: Edit, mismatch: ModelMismatchError
    ) -> Answer:
        """A retry of what was written while another model was searched; else the mismatch, as it is now.

        Raises:
            Again: the collection's model changed since it was looked at.
            ModelMismatchError: it is no such retry.
        """
        if await self._existing(edit.collection_id, fresh=True) != record:
            raise Again
        answer = await self._find_answer(record, edit.request)
        if answer is None:
            raise mismatch
        return answer

    async def _sealed_subject(self, record: CollectionRecord, keys: ShardKeys, subject_id: SubjectId) -> SealedSubject:
        epochs = self._kept_epochs(record, keys)
        commands = [("HGET", keys.subjects, subject_id), *(("HGET", keys.rows(each), subject_id) for each in epochs)]
        sealed, *rows = await self._door.read(keys.tag, commands)
        return SealedSubject(sealed or b"", {epoch: row or b"" for epoch, row in zip(epochs, rows, strict=True)})


class _Tries:
    """What one try of a change leaves to the next."""

    def __init__(
        self, edit: Edit, entry: Entry, guess: SealedSubject | None, record: CollectionRecord, keys: ShardKeys
    ) -> None:
        self.edit = edit
        self.entry = entry
        self.guess = guess
        self.looked = guess
        self._record = record
        self._keys = keys

    def keys_in(self, record: CollectionRecord) -> ShardKeys:
        """The keys of the subject's shard, by a record that may be newer."""
        if record is not self._record:
            self._record, self._keys = record, ShardKeys.holding(record, self.edit.subject_id)
        return self._keys


def wrote(reply: Any) -> bool:  # noqa: ANN401 - Redis
    """Whether a script that changes a subject wrote something."""
    return bool(reply[0] in (b"ok", b"replayed"))


def layout_text(record: CollectionRecord, epochs: Sequence[int]) -> str:
    """What is taken for a shard's epochs, as the scripts compare it: active | kept."""
    return f"{record.active_epoch}|{','.join(map(str, epochs))}"


def _of_kind(answer: Answer, edit: Edit) -> Answer:
    if answer.kind != edit.kind:
        raise RequestIdReusedError(edit.request_id)
    return answer


def _arguments(
    edit: Edit,
    *,
    record: CollectionRecord,
    seals: SubjectSeals,
    epochs: Sequence[int],
    looked: SealedSubject,
    before: SubjectState | None,
    after: SubjectState,
    entry: Entry,
) -> list[bytes | str | int]:
    """What `change.lua` takes, in its order."""
    writing = seals.writing(edit.subject_id, looked.record)
    templates_before = len(before.subject.templates) if before else 0
    args: list[bytes | str | int] = [
        *(record.generation, layout_text(record, epochs), edit.subject_id),
        *(tag_of(looked.record), writing.record(after.subject), edit.kind, ",".join(edit.template_ids)),
        len(after.subject.templates) - templates_before,
        *(edit.request.content_digest if edit.request else "", codec.time_text(after.subject.created_at)),
        *(writing.answer(edit.request_id, edit.note) if edit.request else b"", REQUEST_KEPT_MS, *entry.args),
    ]
    for epoch, row in zip(epochs, writing.rows(before, after, epochs), strict=True):
        args += (tag_of(looked.row(epoch)), row)
    pictures = edit.pictures if record.keep_source_images else ()
    args.append(len(pictures))
    for template_id, picture in pictures:
        args += (picture_field(edit.subject_id, template_id), writing.picture(template_id, picture))
    args += [picture_field(edit.subject_id, template_id) for template_id in edit.pictures_end]
    return args
