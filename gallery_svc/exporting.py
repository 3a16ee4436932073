"""A collection on its way out: its subjects read from the store and handed on as the bytes of an export file.

Nothing stops while it runs. The heads are read first, then every subject: the file holds each one that was there at the
header's positions and was not erased before it was read, with every template that it had then and still has; what came
later may be in it or not. This module writes no file and sends no message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from gallery_svc.export_file import MAX_CHUNK_BYTES, ExportedSubject, ExportHeader, ExportWriter
from gallery_svc.ids import time_ordered_id
from gallery_svc.rows import HalfVectors, RowBatch
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord
from gallery_svc.store.keyring import KeyId, Keyring
from gallery_svc.store.protocol import Store, audit_log
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import InvalidInputError, NotFoundError, OverloadedError, RevisionChangedError
from tessera.domain.ids import CollectionId, SubjectId, TemplateId

EXPORTS_AT_ONCE = 2

_READ_AT_ONCE = 16  # opening as many records holds the loop for some 6 ms
_READ_AT_ONCE_WITH_PICTURES = 4  # a subject has up to 16 pictures of 20 MiB
_OF_NO_VECTOR = 1
"""Dimensions that the file of a collection without templates names."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What a caller wants exported."""

    collection_id: CollectionId
    key_id: str = ""
    """The key-encryption key that the file's key derives from; empty: the one that wraps."""
    with_pictures: bool = False
    caller: str = ""


@dataclass(slots=True)
class _Counts:
    """What went into a file, and what did not."""

    subjects: int = 0
    templates: int = 0
    without_vector: int = 0
    """Templates that the active model has no vector of: a re-embedding lost them, or they came while this ran."""


class Exporter:
    """Exports collections.

    Args:
        store: where they are kept.
        keyring: has the keys that files are sealed under.
        clock: for the times of records.
    """

    def __init__(self, store: Store, keyring: Keyring, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._running = 0

    async def export(self, wanted: ExportRequest) -> AsyncGenerator[bytes, None]:
        """The file, in parts of at most 1 MiB; the export is on record before the first of them.

        Raises:
            NotFoundError: the collection does not exist, or went while it was read.
            InvalidInputError: there is no such key, or a subject is too large with its pictures.
            RevisionChangedError: another model became the collection's while it was read.
            StoreCorruptError: what was read is not what the store's heads say.
            OverloadedError: so many exports are running that another would slow all of them.
        """
        if self._running >= EXPORTS_AT_ONCE:
            raise OverloadedError("exports", EXPORTS_AT_ONCE)
        self._running += 1
        try:
            async with aclosing(self._parts(wanted)) as parts:
                async for part in parts:
                    yield part
        finally:
            self._running -= 1

    async def _parts(self, wanted: ExportRequest) -> AsyncGenerator[bytes, None]:
        key_id = self._key_id(wanted.key_id)
        record, head = await self._existing(wanted.collection_id)
        await self._store.append_audit(audit_log(record.collection_id, 0), [self._audit(wanted)])
        async with aclosing(self._rows(record, head)) as rows:
            first = await anext(rows, None)
            header = self._header(record, head, first, key_id, wanted)
            writer, counts = ExportWriter(header, self._keyring.derived("export", key_id)), _Counts()
            for part in _cut(writer.opening()):
                yield part
            batch = first
            while batch is not None:
                for some in _slices(batch, _READ_AT_ONCE_WITH_PICTURES if header.with_pictures else _READ_AT_ONCE):
                    subjects = await self._joined(header, some, counts)
                    # Off the loop: a frame of 8 MiB takes a tenth of a second to pack and to seal.
                    for part in await asyncio.to_thread(_added, writer, subjects):
                        yield part
                batch = await anext(rows, None)
        await self._require_same(record)
        for part in _cut(await asyncio.to_thread(writer.closing)):
            yield part
        self._tell(header, counts)

    # ---- reading

    async def _existing(self, collection_id: CollectionId) -> tuple[CollectionRecord, CollectionHead]:
        record = await self._store.find_collection(collection_id)
        head = (await self._store.heads([collection_id])).get(collection_id)
        if record is None or head is None:
            raise NotFoundError("collection", collection_id)
        return record, head

    async def _rows(self, record: CollectionRecord, head: CollectionHead) -> AsyncGenerator[RowBatch, None]:
        for shard in range(len(head.positions)):
            async for batch in self._store.load_rows(record.collection_id, shard, record.active_epoch):
                if batch.template_ids:
                    yield batch

    async def _joined(self, header: ExportHeader, rows: Sequence[_Row], counts: _Counts) -> list[ExportedSubject]:
        found = await asyncio.gather(*(self._subject(header, row, counts) for row in rows))
        return [subject for subject in found if subject is not None]

    async def _subject(self, header: ExportHeader, row: _Row, counts: _Counts) -> ExportedSubject | None:
        """A subject with the templates that its record and its row have both; None: it was erased since."""
        collection_id = header.collection.collection_id
        record = await self._store.find_subject(collection_id, row.subject_id)
        if record is None:
            return None
        row_of = {template_id: at for at, template_id in enumerate(row.template_ids)}
        # The vectors are the active model's, also of templates that an earlier model saw first.
        templates = tuple(
            replace(template, model_id=header.model_id)
            for template in record.templates
            if template.template_id in row_of
        )
        counts.without_vector += len(record.templates) - len(templates)
        if not templates:
            return None
        counts.subjects += 1
        counts.templates += len(templates)
        pictures: tuple[bytes | None, ...] = ()
        if header.with_pictures:
            ids = [template.template_id for template in templates]
            pictures = tuple([await self._store.find_picture(collection_id, row.subject_id, each) for each in ids])
        vectors = row.vectors[[row_of[template.template_id] for template in templates]]
        return ExportedSubject(replace(record, templates=templates), vectors, pictures)

    async def _require_same(self, record: CollectionRecord) -> None:
        """The rows of an epoch may go once it is not the active one: what was read of it then need not be all."""
        now = await self._store.find_collection(record.collection_id)
        if now is None or now.generation != record.generation:
            raise NotFoundError("collection", record.collection_id, "it was deleted, or made anew, while it was read")
        if now.active_epoch != record.active_epoch:
            raise RevisionChangedError("collection", record.collection_id, record.revision, now.revision)

    # ---- what is told

    def _key_id(self, wanted: str) -> KeyId:
        key_id = KeyId(wanted) if wanted else self._keyring.wrapping
        if key_id not in self._keyring.key_ids:
            raise InvalidInputError("key_id", wanted, ", ".join(self._keyring.key_ids))
        return key_id

    def _header(
        self,
        record: CollectionRecord,
        head: CollectionHead,
        first: RowBatch | None,
        key_id: KeyId,
        wanted: ExportRequest,
    ) -> ExportHeader:
        return ExportHeader(
            collection=record,
            dimensions=first.vectors.shape[1] if first is not None else _OF_NO_VECTOR,
            positions=tuple(position.sequence for position in head.positions),
            subjects=head.subject_count,
            templates=head.template_count,
            created=self._clock.now(),
            key_id=key_id,
            with_pictures=wanted.with_pictures and record.keep_source_images,
        )

    def _audit(self, wanted: ExportRequest) -> AuditRecord:
        now = self._clock.now()
        evidence_id = time_ordered_id("ev", now)
        return AuditRecord("ExportCollection", now, evidence_id, wanted.caller, wanted.collection_id)

    def _tell(self, header: ExportHeader, counts: _Counts) -> None:
        get_logger().info(
            "collection.exported",
            collection=header.collection.collection_id,
            file=header.file_id,
            subjects=counts.subjects,
            templates=counts.templates,
            templates_without_vector=counts.without_vector,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One subject of a batch."""

    subject_id: SubjectId
    template_ids: Sequence[TemplateId]
    vectors: HalfVectors


def _slices(batch: RowBatch, count: int) -> Iterator[list[_Row]]:
    rows, at = [], 0
    for subject_id, templates in zip(batch.subject_ids, batch.counts, strict=True):
        ids = [TemplateId(name) for name in batch.template_ids[at : at + templates]]
        rows.append(_Row(SubjectId(subject_id), ids, batch.vectors[at : at + templates]))
        at += templates
        if len(rows) == count:
            yield rows
            rows = []
    if rows:
        yield rows


def _added(writer: ExportWriter, subjects: Sequence[ExportedSubject]) -> list[bytes]:
    return [part for subject in subjects for part in _cut(writer.add(subject))]


def _cut(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), MAX_CHUNK_BYTES):
        yield data[start : start + MAX_CHUNK_BYTES]
