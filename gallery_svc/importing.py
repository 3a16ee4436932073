"""A collection on its way in: an export file is spooled and proved whole, then its subjects are enrolled one by one.

Ids of subjects and templates, times of enrolment and quality stay as the file has them. Each subject is a write of its
own, whose request id comes from the file: the same file again finds what is there and writes the rest. Whoever is there
already keeps what is said of them, and gets the templates that they lack. Nothing is written before the last byte is
proved. This module reads no message and decides about no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from gallery_svc.collections import DEFAULT_COLLECTION, Collections, require_persistent
from gallery_svc.export_file import MAX_CHUNK_BYTES, ExportDamagedError, ExportedSubject, ExportHeader, ExportReader
from gallery_svc.ids import time_ordered_id
from gallery_svc.probes import Deadline
from gallery_svc.replica import Replica
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord, ShardPosition
from gallery_svc.store.keyring import KeyId, Keyring
from gallery_svc.store.protocol import Store, shard_of
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, SubjectRecord
from gallery_svc.store.write_records import Enrolled, Enrollment, RequestKey
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    ModelMismatchError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    TesseraError,
)
from tessera.domain.ids import CollectionId, RequestId, SubjectId

IMPORTS_AT_ONCE = 2
MAX_FILE_BYTES = 64 << 30

_WRITES_AT_ONCE = 32
_SETTLING_TRIES = 5
_CAUGHT_UP_WITHIN_S = 10.0
_MAKING_TRIES = 5
_NOTE = "import"
"""Kept with each request id: by it the store knows whether the subject is still the one that was enrolled."""


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Where a file is to go."""

    collection_id: CollectionId
    """One of the same model; made like the file's own when there is none."""
    key_id: str = ""
    """The key that the file must name; empty: whichever it names."""
    request_id: str = ""
    """For the audit log."""
    caller: str = ""


@dataclass(frozen=True, slots=True)
class ImportPart:
    """Bytes of the file, in order."""

    chunk: bytes
    offset: int
    """Of its first byte in the file."""
    erased: Mapping[SubjectId, datetime] = field(default_factory=dict)
    """Subjects that were erased, and when; one that the file has from before then stays out."""


@dataclass(slots=True)
class ImportSummary:
    """What became of a file."""

    subjects: int = 0
    """That are in the collection now; not those that stayed out."""
    templates: int = 0
    written: int = 0
    """Subjects of which something was not there before."""
    left_out: int = 0
    """Subjects that were erased since the file has them."""
    positions: dict[int, int] = field(default_factory=dict)
    """The last change of each shard that this made, or found made."""

    @property
    def replayed(self) -> bool:
        """Whether all of it was there already."""
        return not self.written

    @property
    def position(self) -> int:
        """The last change, as callers carry it; of several shards that of the last one."""
        return max((position.wire for position in self.reached()), default=0)

    def reached(self) -> list[ShardPosition]:
        """One position for each shard that was written to."""
        return [ShardPosition(shard, sequence) for shard, sequence in self.positions.items()]


@dataclass(slots=True, eq=False)
class _Spooled:
    """A file that was received and proved."""

    file: BinaryIO
    header: ExportHeader
    erased: dict[SubjectId, datetime]
    shards: int = 1
    """Of the collection that it goes into."""


class Importer:
    """Imports export files.

    Args:
        store: where subjects are kept.
        replica: what must see them at once.
        collections: makes a collection that is missing.
        keyring: has the keys that files are sealed under.
        clock: for the times of records.
        folder: for the file while it comes in, readable for its owner alone; None: the system's.
        max_bytes: of a file.
    """

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        collections: Collections,
        keyring: Keyring,
        clock: Clock,
        folder: Path | None = None,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._store = store
        self._replica = replica
        self._collections = collections
        self._keyring = keyring
        self._clock = clock
        self._folder = folder
        self._max_bytes = max_bytes
        self._running = 0

    async def import_file(self, target: ImportTarget, parts: AsyncIterable[ImportPart]) -> ImportSummary:
        """Take a whole file, then write it.

        Args:
            target: where to.
            parts: the file, in order.

        Raises:
            InvalidInputError: the file is damaged, too large, not in order, or under another key than was named.
            KeyMissingError: its key is not in the key file.
            ModelMismatchError: the collection has another model.
            NoCalibrationError: the collection would have to be made, for a model that cannot decide.
            OverloadedError: so many imports are running that another would slow all of them.
        """
        if self._running >= IMPORTS_AT_ONCE:
            raise OverloadedError("imports", IMPORTS_AT_ONCE)
        self._running += 1
        try:
            # Without a name and with mode 0600: it ends with this process, however that ends.
            with tempfile.TemporaryFile(dir=self._folder, prefix="tessera-import-") as file:
                spooled = await self._received(target, parts, file)
                return await self._written(target, spooled)
        finally:
            self._running -= 1

    # ---- first pass: every byte is proved

    async def _received(self, target: ImportTarget, parts: AsyncIterable[ImportPart], file: BinaryIO) -> _Spooled:
        reader, at, header = ExportReader(self._key_for(target)), 0, None
        erased: dict[SubjectId, datetime] = {}
        async for part in parts:
            if part.offset != at:
                raise InvalidInputError("offset", part.offset, f"{at}: what follows the part before")
            at += len(part.chunk)
            if at > self._max_bytes:
                raise InvalidInputError("chunk", f"{at:,} bytes", f"a file of at most {self._max_bytes:,} bytes")
            erased.update(part.erased)
            with _told_as_input():
                await asyncio.to_thread(_take, reader, file, part.chunk)
            if header is None and reader.header is not None:
                header = reader.header
                await self._require_model(target.collection_id, header)
        with _told_as_input():
            return _Spooled(file, reader.finish().header, erased)

    def _key_for(self, target: ImportTarget) -> _KeyFor:
        def key_for(key_id: str) -> bytes:
            if target.key_id and key_id != target.key_id:
                raise InvalidInputError("key_id", target.key_id, f"{key_id}, which the file names")
            return self._keyring.derived("export", KeyId(key_id))

        return key_for

    async def _require_model(self, collection_id: CollectionId, header: ExportHeader) -> CollectionRecord | None:
        """The collection that the file goes into; None: it has to be made."""
        record = await self._store.find_collection(collection_id)
        if record is None or await self._is_nobodys(record):
            return None
        if record.model_id != header.model_id:
            raise ModelMismatchError(record.model_id, header.model_id, "export file")
        return record

    async def _is_nobodys(self, record: CollectionRecord) -> bool:
        """Whether it is the default collection as each gallery makes it, and nobody has used or changed it yet."""
        if record.collection_id != DEFAULT_COLLECTION or record.revision != 1 or record.request_id:
            return False
        head = (await self._store.heads([record.collection_id])).get(record.collection_id)
        return head is not None and not any(position.sequence for position in head.positions)

    # ---- second pass: every subject is written

    async def _written(self, target: ImportTarget, spooled: _Spooled) -> ImportSummary:
        header = spooled.header
        if await self._require_model(target.collection_id, header) is None:
            await self._make(target, header)
        into = await self._into(target.collection_id)
        spooled.shards = into.shards
        summary = ImportSummary()
        async with aclosing(self._read(target, spooled.file)) as frames:
            async for subjects in frames:
                if subjects:
                    require_persistent(into)
                for at in range(0, len(subjects), _WRITES_AT_ONCE):
                    await self._write_some(target, spooled, subjects[at : at + _WRITES_AT_ONCE], summary)
        with contextlib.suppress(TesseraError):  # it is written, whatever becomes of the index here
            until = Deadline(self._clock, _CAUGHT_UP_WITHIN_S)
            await self._replica.at_positions(target.collection_id, summary.reached(), until)
        get_logger().info(
            "collection.imported",
            collection=target.collection_id,
            file=header.file_id,
            subjects=summary.subjects,
            written=summary.written,
            left_out=summary.left_out,
        )
        return summary

    async def _make(self, target: ImportTarget, header: ExportHeader) -> None:
        """Make the collection as the file has it; a default one that nobody used makes room."""
        for left in reversed(range(_MAKING_TRIES)):
            record = await self._store.find_collection(target.collection_id)
            if record is not None and await self._is_nobodys(record):
                with contextlib.suppress(NotFoundError):
                    await self._collections.delete(target.collection_id, target.caller, force=False)
            try:
                await self._collections.create(_like(header, target.collection_id))
            except AlreadyExistsError:  # the followers bring the default one back
                if not left or target.collection_id != DEFAULT_COLLECTION:
                    raise
            else:
                return

    async def _into(self, collection_id: CollectionId) -> CollectionRecord:
        record = await self._store.find_collection(collection_id)
        if record is None:
            raise NotFoundError("collection", collection_id, "it was deleted while a file came in")
        return record

    async def _read(self, target: ImportTarget, file: BinaryIO) -> AsyncGenerator[list[ExportedSubject], None]:
        reader = ExportReader(self._key_for(target))
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, MAX_CHUNK_BYTES):
            yield await asyncio.to_thread(reader.feed, chunk)

    async def _write_some(
        self, target: ImportTarget, spooled: _Spooled, subjects: Iterable[ExportedSubject], summary: ImportSummary
    ) -> None:
        # All are waited for, so that no write is under way when the file is closed.
        done = await asyncio.gather(
            *(self._write(target, spooled, subject, summary) for subject in subjects), return_exceptions=True
        )
        for error in done:
            if error is not None:
                raise error

    async def _write(
        self, target: ImportTarget, spooled: _Spooled, subject: ExportedSubject, summary: ImportSummary
    ) -> None:
        record = subject.record
        erased_at = spooled.erased.get(record.subject_id)
        if erased_at is not None and record.created_at <= erased_at:
            summary.left_out += 1
            return
        existing = await self._store.find_subject(target.collection_id, record.subject_id)
        there = {template.template_id for template in existing.templates} if existing else set()
        missing = tuple(new for new in _templates(subject) if new.record.template_id not in there)
        try:
            enrolled = await self._enrolled(target, record, missing, _request_key(spooled, subject), existing)
        except NotFoundError as error:
            if error.kind != "subject":
                raise
            if missing:  # this file had enrolled somebody who was erased since
                summary.left_out += 1
                return
            enrolled = None
        summary.subjects += 1
        summary.templates += len(record.templates)
        if enrolled is not None:
            summary.written += not enrolled.replayed
            position = enrolled.position
            summary.positions[position.shard] = max(summary.positions.get(position.shard, 0), position.sequence)

    async def _enrolled(
        self,
        target: ImportTarget,
        record: SubjectRecord,
        missing: tuple[NewTemplate, ...],
        key: RequestKey,
        existing: SubjectRecord | None,
    ) -> Enrolled | None:
        """What this file wrote of a subject, now or before; None: all of it came otherwise."""
        if existing is not None:
            # What this file brought and somebody deleted stays away. Asking also settles what was unknown.
            earlier = await self._store.find_enrolled(target.collection_id, key)
            if earlier is not None or not missing:
                return earlier
        return await self._settled(self._enrollment(target, record, missing, key, existing))

    async def _settled(self, enrollment: Enrollment) -> Enrolled:
        """Write, and ask again by the same id while nobody can say whether it holds."""
        for _ in range(_SETTLING_TRIES - 1):
            with contextlib.suppress(OutcomeUnknownError):
                return await self._store.enroll(enrollment)
        return await self._store.enroll(enrollment)

    def _enrollment(
        self,
        target: ImportTarget,
        record: SubjectRecord,
        templates: tuple[NewTemplate, ...],
        key: RequestKey,
        existing: SubjectRecord | None,
    ) -> Enrollment:
        now = self._clock.now()
        audit = AuditRecord(
            method="ImportCollection",
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=target.caller,
            collection_id=target.collection_id,
            subject_id=record.subject_id,
            request_id=target.request_id or key.request_id,
        )
        # An empty profile leaves what is said of somebody who is here; of others the file says it.
        profile, at = (SubjectProfile(), now) if existing else (record.profile, record.created_at)
        return Enrollment(target.collection_id, record.subject_id, profile, templates, at, audit, key, _NOTE)


class _KeyFor(Protocol):
    def __call__(self, key_id: str, /) -> bytes: ...


@contextlib.contextmanager
def _told_as_input() -> Iterator[None]:
    try:
        yield
    except ExportDamagedError as error:
        raise InvalidInputError(
            "chunk", error.part, f"an export file as it was written, whole; here, {error.why}"
        ) from error


def _take(reader: ExportReader, file: BinaryIO, chunk: bytes) -> None:
    reader.feed(chunk)
    file.write(chunk)


def _like(header: ExportHeader, collection_id: CollectionId) -> CollectionRecord:
    """The collection that a file is of, as one that begins: with one epoch, of the file's model."""
    return replace(
        header.collection,
        collection_id=collection_id,
        request_id=f"import-{header.file_id}",
        generation="",
        revision=1,
        active_epoch=1,
        epochs=(),
    )


def _request_key(spooled: _Spooled, subject: ExportedSubject) -> RequestKey:
    """The same each time; in the shard of its subject, where both are one write."""
    told = hashlib.sha256(codec.dump(subject.record).encode())
    told.update(subject.vectors.tobytes())
    subject_id = subject.record.subject_id
    shard, number = shard_of(subject_id, spooled.shards), 0
    while shard_of(name := f"import-{spooled.header.file_id}/{subject_id}/{number}", spooled.shards) != shard:
        number += 1
    return RequestKey(RequestId(name), told.hexdigest())


def _templates(subject: ExportedSubject) -> Iterator[NewTemplate]:
    pictures = subject.pictures or (None,) * len(subject.record.templates)
    for record, vector, picture in zip(subject.record.templates, subject.vectors, pictures, strict=True):
        yield NewTemplate(record, vector, picture)
