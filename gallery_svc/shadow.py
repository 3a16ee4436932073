"""Embeds a collection's pictures with another model, beside the templates that are searched.

A template's vector follows from its picture and the model: what is there of a template is done, and a run that ended in
the middle is gone on with. The store keeps what it has of a subject's other rows in step when the subject changes, all
but new templates; those are found in the change log. Switches nothing: that is `reembedding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TypeVar

from gallery_svc.probes import Deadline, Picture, ProbeReader
from gallery_svc.rows import HalfVector, RowBatch, SearchRow, TemplateRow, half
from gallery_svc.store.change_records import Change, ChangeKind
from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, Position
from gallery_svc.store.protocol import Store
from gallery_svc.store.subject_records import SubjectRecord, TemplateRecord
from tessera.chassis.clock import Clock
from tessera.chassis.tasks import end_tasks
from tessera.client.encoder import Priority
from tessera.domain.errors import ImageRejectedError, NotFoundError, OverloadedError, UnavailableError
from tessera.domain.ids import SubjectId, TemplateId

T = TypeVar("T")

AT_ONCE = 8
"""Subjects that are embedded at once: keeps an encoder busy and leaves its queue to those who wait for an answer."""

SUBJECTS_A_PAGE = 32
SUBJECTS_A_TURN = 32
"""After which progress is told, and a call that ends is ended."""

ENCODE_S = 30.0
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before a picture is sent once more to an encoder that has no room."""

_CHANGES_A_READ = 500
_ROUNDS = 20
_WALKS = 3
_TRIES = 10

_NEW_TEMPLATES = frozenset({ChangeKind.ENROLLED, ChangeKind.REPAIRED})


@dataclass(frozen=True, slots=True)
class Counts:
    """How far an epoch is."""

    done: int
    """Templates that it has."""
    total: int
    """Templates of the collection."""
    failed: int
    """Templates that it cannot have, for want of a picture or of one face in it."""


class EpochBuilder:
    """Makes the rows of one epoch of one collection.

    Args:
        store: what is read and written.
        probes: sends pictures to the encoder.
        clock: for its deadlines.
        record: of the collection.
        epoch: which is not active.
    """

    def __init__(
        self, store: Store, probes: ProbeReader, clock: Clock, record: CollectionRecord, epoch: EpochRecord
    ) -> None:
        self._store = store
        self._probes = probes
        self._clock = clock
        self._record = record
        self._epoch = epoch
        self._lacking: dict[SubjectId, int] = {}
        self._positions: tuple[Position, ...] = ()
        self._done = 0
        self._total = 0
        self._walks = 0
        self._just_walked = False

    @property
    def counts(self) -> Counts:
        """How far it is."""
        return Counts(self._done, max(self._total, self._done), sum(self._lacking.values()))

    async def build(self) -> AsyncIterator[None]:
        """Embed what the epoch lacks, and what comes meanwhile; a turn after each few subjects.

        Raises:
            ModelMismatchError: the encoder does not have the model.
            OverloadedError: the encoder has no room for long.
            UnavailableError: the store or the encoder is away.
        """
        async for turn in self._walk():
            yield turn
        async for turn in self.settle():
            yield turn

    async def settle(self) -> AsyncIterator[None]:
        """Embed what came since, again and again, until nothing came; `counts` are exact afterwards."""
        for _ in range(_ROUNDS):
            changes = await self._changes()
            if changes is None:  # the log does not tell any more
                async for turn in self._walk():
                    yield turn
                continue
            ids = self._of_concern(changes)
            self._positions = _moved(self._positions, changes)
            if not ids:
                break
            # After a long walk most are done already; later it is quicker to embed the few anew than to read it all.
            held = await self._vectors(set(ids)) if self._just_walked else {}
            self._just_walked = False
            for some in _parts(ids, SUBJECTS_A_TURN):
                await _all(partial(self._look_again, subject_id, held.get(subject_id, {})) for subject_id in some)
                yield
        await self._count()

    async def is_late(self) -> bool:
        """Whether somebody got a template since `settle` that this epoch, which is active now, lacks."""
        changes = await self._changes()
        if changes is None:
            return True
        every = (change for part in changes for change in part)
        for change in {change.subject_id: change for change in every if change.kind in _NEW_TEMPLATES}.values():
            subject = await self._store.find_subject(self._record.collection_id, change.subject_id)
            held = {template.template_id for template in change.row.templates} if change.row else set[TemplateId]()
            if subject is not None and any(template.template_id not in held for template in subject.templates):
                return True
        return False

    # ---- all subjects

    async def _walk(self) -> AsyncIterator[None]:
        """Everybody; the position is read first, so that `settle` finds what this passes by."""
        self._walks += 1
        if self._walks > _WALKS:
            raise UnavailableError("store", "it changes faster than it can be embedded; raise log_kept")
        self._positions, self._just_walked = await self._count(), True
        self._lacking, self._done = {}, 0
        held = await self._held()
        partly: list[SubjectId] = []
        async for ids in self._differing(held):
            missing = [subject_id for subject_id in ids if subject_id not in held]
            partly += (subject_id for subject_id in ids if subject_id in held)
            for some in _parts(missing, SUBJECTS_A_TURN):
                await _all(partial(self._look_again, subject_id, {}) for subject_id in some)
                yield
            yield
        vectors = await self._vectors(set(partly))
        for some in _parts(partly, SUBJECTS_A_TURN):
            await _all(partial(self._look_again, subject_id, vectors.get(subject_id, {})) for subject_id in some)
            yield

    async def _held(self) -> dict[str, int]:
        """Whose templates the epoch has, and a digest of which."""
        held: dict[str, int] = {}
        async for batch in self._rows(self._epoch.epoch):
            held.update((name, _digest(batch.template_ids[rows.start : rows.stop])) for name, rows in row_ranges(batch))
        return held

    async def _differing(self, held: Mapping[str, int]) -> AsyncIterator[list[SubjectId]]:
        """Those who have other templates than the epoch has of them, by their rows that are searched.

        Rows are read a hundred times as quickly as records, and name all templates but those that an earlier move
        lost. Where there are such, the records are read too.
        """
        searched, told = 0, set[SubjectId]()
        async for batch in self._rows(self._record.active_epoch):
            differing: list[SubjectId] = []
            for name, rows in row_ranges(batch):
                searched += len(rows)
                if held.get(name) == _digest(batch.template_ids[rows.start : rows.stop]):
                    self._done += len(rows)
                else:
                    differing.append(SubjectId(name))
            told.update(differing)
            yield differing
        if searched < self._total:
            async for page in self._pages():
                others = (each for each in page if each.subject_id not in told)
                yield [each.subject_id for each in others if held.get(each.subject_id) != _digest_of(each)]

    async def _pages(self) -> AsyncIterator[Sequence[SubjectRecord]]:
        after = ""
        while True:
            page = await self._store.list_subjects(self._record.collection_id, after, SUBJECTS_A_PAGE)
            yield page.subjects
            if not page.next_after:
                return
            after = page.next_after

    async def _vectors(self, subject_ids: Collection[SubjectId]) -> dict[str, dict[TemplateId, HalfVector]]:
        """What the epoch has of some subjects."""
        found: dict[str, dict[TemplateId, HalfVector]] = {}
        if not subject_ids:
            return found
        async for batch in self._rows(self._epoch.epoch):
            for subject_id, rows in row_ranges(batch):
                if SubjectId(subject_id) in subject_ids:
                    found[subject_id] = {TemplateId(batch.template_ids[row]): batch.vectors[row].copy() for row in rows}
        return found

    async def _rows(self, epoch: int) -> AsyncIterator[RowBatch]:
        for shard in range(self._record.shards):
            async for batch in self._store.load_rows(self._record.collection_id, shard, epoch):
                yield batch

    # ---- one subject

    async def _look_again(self, subject_id: SubjectId, held: Mapping[TemplateId, HalfVector]) -> None:
        subject = await self._store.find_subject(self._record.collection_id, subject_id)
        if subject is None:
            self._lacking.pop(subject_id, None)
        else:
            await self._embed(subject, held)

    async def _embed(self, subject: SubjectRecord, held: Mapping[TemplateId, HalfVector]) -> None:
        """Write a subject's row with what is held of it and what can be embedded; anew while the subject changes."""
        vectors: dict[TemplateId, HalfVector | None] = dict(held)
        now: SubjectRecord | None = subject
        for _ in range(_TRIES):
            if now is None:
                self._lacking.pop(subject.subject_id, None)
                return
            for template in now.templates:
                if template.template_id not in vectors:
                    vectors[template.template_id] = await self._vector(now.subject_id, template)
            if await self._put(now, vectors, held):
                return
            now = await self._store.find_subject(self._record.collection_id, subject.subject_id)
        raise OverloadedError("subject", _TRIES)

    async def _put(
        self,
        subject: SubjectRecord,
        vectors: Mapping[TemplateId, HalfVector | None],
        held: Mapping[TemplateId, HalfVector],
    ) -> bool:
        rows = [
            TemplateRow(template.template_id, vector)
            for template in subject.templates
            if (vector := vectors[template.template_id]) is not None
        ]
        if any(row.template_id not in held for row in rows):
            row = SearchRow(subject.subject_id, subject.profile.searched, tuple(rows))
            epoch = self._epoch.epoch
            if not await self._store.put_row(self._record.collection_id, epoch, row, subject.revision):
                return False
        self._done += len(rows)
        self._lacking.pop(subject.subject_id, None)
        if len(rows) < len(subject.templates):
            self._lacking[subject.subject_id] = len(subject.templates) - len(rows)
        return True

    async def _vector(self, subject_id: SubjectId, template: TemplateRecord) -> HalfVector | None:
        """What the model makes of a template's picture; None: there is no picture, or not one face in it.

        The quality gate is not asked again: the picture was good enough when the person was enrolled.
        """
        picture = await self._store.find_picture(self._record.collection_id, subject_id, template.template_id)
        if picture is None:
            return None
        try:
            seen = await self._with_room(
                lambda: self._probes.read(
                    Picture(picture),
                    self._epoch.model_id,
                    self._record.modality,
                    priority=Priority.ENROLMENT,
                    deadline=Deadline(self._clock, ENCODE_S),
                    field=f"template {template.template_id}",
                )
            )
        except ImageRejectedError:
            return None
        sample, _ = seen.only()
        return half(sample.embedding.vector) if sample is not None else None

    async def _with_room(self, read: Callable[[], Awaitable[T]]) -> T:
        for pause_s in _PAUSES_S:
            try:
                return await read()
            except OverloadedError:
                await asyncio.sleep(pause_s)
        return await read()

    # ---- what came meanwhile

    async def _changes(self) -> list[list[Change]] | None:
        """The changes of each shard since the positions, which stay; None: the log cannot tell them."""
        found: list[list[Change]] = []
        for shard, position in enumerate(self._positions):
            changes: list[Change] = []
            while True:
                at = changes[-1].position if changes else position
                some = await self._store.changes_after(self._record.collection_id, shard, at, _CHANGES_A_READ)
                if some is None:
                    return None
                if not some:
                    break
                changes += some
            found.append(changes)
        return found

    def _of_concern(self, changes: Sequence[Sequence[Change]]) -> list[SubjectId]:
        """Who may have a template that the epoch lacks, or had one and has it no more."""
        every = (change for part in changes for change in part)
        return sorted({c.subject_id for c in every if c.kind in _NEW_TEMPLATES or c.subject_id in self._lacking})

    async def _count(self) -> tuple[Position, ...]:
        head = (await self._store.heads([self._record.collection_id])).get(self._record.collection_id)
        if head is None or head.generation != self._record.generation:
            raise NotFoundError("collection", self._record.collection_id, "it was deleted, or made anew, meanwhile")
        self._total = head.template_count
        self._done = max(0, self._total - sum(self._lacking.values()))
        return head.positions


def row_ranges(batch: RowBatch) -> list[tuple[str, range]]:
    """Each subject of a batch that has templates, with the rows of its vectors."""
    triples = zip(batch.subject_ids, batch.counts, accumulate(batch.counts), strict=True)
    return [(name, range(end - count, end)) for name, count, end in triples if count]


def _digest(template_ids: Iterable[str]) -> int:
    return hash(frozenset(template_ids))


def _digest_of(subject: SubjectRecord) -> int:
    return _digest(template.template_id for template in subject.templates)


def _moved(positions: Sequence[Position], changes: Sequence[Sequence[Change]]) -> tuple[Position, ...]:
    pairs = zip(positions, changes, strict=True)
    return tuple(part[-1].position if part else position for position, part in pairs)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


async def _all(works: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do all of these, some at once; when one fails, the others have ended before that is told."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(work: Callable[[], Awaitable[None]]) -> None:
        async with room:
            await work()

    tasks = [asyncio.create_task(one(work)) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end_tasks(*(task for task in tasks if not task.done()))
