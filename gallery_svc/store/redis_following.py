"""What followers read from Redis: all rows of a shard at once, and the changes since.

A load opens and unpacks sealed rows while the next ones are on their way, and folds their tags: where the shard did not
move meanwhile, they must give what its head says. Processes beside this one open the rows of large loads; else it is
done on the event loop, in small pieces: on a thread beside it the same took 1.7 times the processor time, since opening
a value gives Python's lock away twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from gallery_svc.rows import JoinedTexts, Lengths, RowBatch
from gallery_svc.store.change_records import Change, ChangeKind
from gallery_svc.store.collection_records import CollectionRecord, Position
from gallery_svc.store.first_seen import FirstSeen
from gallery_svc.store.load_processes import OpenedPage
from gallery_svc.store.loading import pairs_of
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_parts import Argument, RedisParts, mend, require_whole
from gallery_svc.store.redis_trimming import require_shard
from gallery_svc.store.redis_values import SubjectSeals
from gallery_svc.store.row_codec import batch_of_columns, unpack_rows
from gallery_svc.store.row_cutting import MalformedError, cut_rows, pieces
from tessera.chassis.tasks import end_tasks
from tessera.domain.errors import NotFoundError, StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId

SUBJECTS_A_READ = 4096
"""About so many of one read of a bulk load: the server does nothing else for 4 ms."""

SUBJECTS_A_PAGE = 8192
"""About so many are opened, cut and indexed together: each time costs 3 ms beside what each subject costs."""

SUBJECTS_A_BATCH = 1024
"""At most so many at once between two turns of the event loop: some milliseconds of work."""

TAG_BYTES = 16

_FRONT_BYTES = 64
"""A reply of HSCAN says in fewer where it goes on and how much it has."""

Words = npt.NDArray[np.uint64]
"""An exclusive or of tags, as two numbers."""


_Page = list[bytes]
"""Ids of subjects and their sealed rows: some replies as the server wrote them, in pieces."""


class RedisFollowing(RedisParts):
    """Loads and changes; see `Store` for what each method promises."""

    async def load_rows(self, collection_id: CollectionId, shard: int, epoch: int) -> AsyncIterator[RowBatch]:
        """Every subject of a shard with its templates of one epoch."""
        record = await self._existing(collection_id, fresh=True)
        require_shard(record, shard)
        keys = ShardKeys(collection_id, shard)
        before = await self._standing(record, keys, epoch)
        (rows,) = await self._door.read(keys.tag, [("HLEN", keys.rows(epoch))])
        key_encryption_keys, _ = self._sealer.row_keys(record.generation, epoch)
        scan = _Scan(record.generation, epoch, FirstSeen(int(rows)))
        async with (
            self._load_processes.during(int(rows) * record.shards, key_encryption_keys),
            aclosing(self._scanned(keys, keys.rows(epoch))) as pages,
            aclosing(self._batches(scan, pages)) as batches,
        ):
            async for batch in batches:
                yield batch
        after = await self._standing(record, keys, epoch)
        if before == after and scan.state.tobytes() != (after[-1] or bytes(TAG_BYTES)):
            raise StoreCorruptError(
                keys.rows(epoch), mend(f"its {scan.values} values do not fold to what the shard's head says")
            )

    async def _batches(self, scan: _Scan, pages: AsyncIterator[_Page]) -> AsyncGenerator[RowBatch, None]:
        """Pages as batches, in their order; some pages at once where there are processes for it."""
        _, authenticated = self._sealer.row_keys(scan.generation, scan.epoch)
        under_way: deque[tuple[_Page, asyncio.Task[OpenedPage | None]]] = deque()
        try:
            async for page in pages:
                room = self._load_processes.room
                while under_way and len(under_way) >= room:
                    async for batch in self._answered(scan, *under_way.popleft()):
                        yield batch
                if room:
                    opening = self._load_processes.opened(authenticated, page)
                    under_way.append((page, asyncio.create_task(opening)))
                    continue
                async for batch in self._opened_here(scan, page):
                    yield batch
            while under_way:
                async for batch in self._answered(scan, *under_way.popleft()):
                    yield batch
        finally:
            await end_tasks(*(task for _, task in under_way))

    async def _answered(
        self, scan: _Scan, page: _Page, task: asyncio.Task[OpenedPage | None]
    ) -> AsyncIterator[RowBatch]:
        opened = await task
        if opened is None or not scan.takes(opened):
            async for batch in self._opened_here(scan, page):
                yield batch
            return
        subject_ids, row_lengths = ids_of(opened), lengths_of(opened.row_lengths)
        try:
            yield batch_of_columns(subject_ids, cut_rows(opened.rows, row_lengths))
        except MalformedError:
            rows = pieces(opened.rows, row_lengths)
            for first in range(0, len(rows), SUBJECTS_A_BATCH):
                some = slice(first, first + SUBJECTS_A_BATCH)
                yield unpack_rows(subject_ids[some], rows[some])
                await asyncio.sleep(0)

    async def _opened_here(self, scan: _Scan, page: _Page) -> AsyncIterator[RowBatch]:
        ids, sealed = scan.new_of(page)
        for first in range(0, len(ids), SUBJECTS_A_BATCH):
            some = slice(first, first + SUBJECTS_A_BATCH)
            yield self._unpacked(scan.generation, scan.epoch, ids[some], sealed[some])
            await asyncio.sleep(0)

    async def _standing(self, record: CollectionRecord, keys: ShardKeys, epoch: int) -> list[bytes | None]:
        fields = ("generation", "pending", "begun", "position", "chain", f"state:rows:{epoch}")
        (found,) = await self._door.read(keys.tag, [("HMGET", keys.head, *fields)])
        if found[0] != record.generation.encode():
            raise NotFoundError("collection", record.collection_id, "it was deleted, or made anew, while it was read")
        require_whole(keys, found[1], found[2])
        return list(found)

    async def _scanned(self, keys: ShardKeys, key: str) -> AsyncGenerator[_Page, None]:
        """Fields and values of a hash, some of them perhaps twice; the next ones are read while the caller works."""

        async def read(cursor: bytes | int) -> list[bytes]:
            return await self._door.read_raw(keys.tag, ("HSCAN", key, cursor, "COUNT", SUBJECTS_A_READ))

        page: _Page = []
        held = 0
        reading = asyncio.create_task(read(0))
        try:
            while True:
                reply = await reading
                cursor, count = cursor_of(reply)
                if int(cursor):
                    reading = asyncio.create_task(read(cursor))
                page += reply
                held += count // 2
                if held >= SUBJECTS_A_PAGE or (held and not int(cursor)):
                    yield page
                    page, held = [], 0
                if not int(cursor):
                    return
        finally:
            reading.cancel()

    def _unpacked(self, generation: str, epoch: int, ids: list[bytes], sealed: list[bytes]) -> RowBatch:
        subject_ids = [raw.decode() for raw in ids]
        return unpack_rows(subject_ids, self._sealer.open_rows(generation, epoch, subject_ids, sealed))

    async def changes_after(
        self, collection_id: CollectionId, shard: int, position: Position, limit: int
    ) -> list[Change] | None:
        """The changes that follow `position`, with their rows, from one script."""
        return await self._until_done(lambda: self._changes(collection_id, shard, position, limit))

    async def _changes(
        self, collection_id: CollectionId, shard: int, position: Position, limit: int
    ) -> list[Change] | None:
        try:
            record, keys = await self._existing(collection_id), ShardKeys(collection_id, shard)
            if shard >= record.shards:
                return None
            epoch = record.active_epoch
            args: list[Argument] = [record.generation, epoch, position.sequence, position.chain, limit]
            reply = await self._door.run("changes", [keys.head, keys.log, keys.rows(epoch)], args)
            if reply[0] not in (b"ok", b"gone"):
                raise await self._refusal(reply, record, keys)
        except NotFoundError:
            return None
        if reply[0] == b"gone":
            return None
        seals = SubjectSeals(self._sealer, record.generation)
        return [_change(seals, epoch, told) for told in reply[1:]]


class _Scan:
    """How far a load is: who was seen, and what the tags fold to."""

    def __init__(self, generation: str, epoch: int, seen: FirstSeen) -> None:
        self.generation = generation
        self.epoch = epoch
        self.values = 0
        self.state = np.zeros(2, np.uint64)
        self._seen = seen

    def takes(self, opened: OpenedPage) -> bool:
        """Take note of a page that was opened elsewhere; False: some of it came before, and nothing is noted."""
        subject_ids = ids_of(opened)
        hashes = (
            subject_ids.hashes
            if isinstance(subject_ids, JoinedTexts)
            else _hashes(name.encode() for name in subject_ids)
        )
        if not self._seen.take_all(hashes):
            return False
        self._count(len(subject_ids), opened.tags)
        return True

    def new_of(self, page: _Page) -> tuple[list[bytes], list[bytes]]:
        """Ids and sealed rows of a page, without those that came before."""
        ids, sealed = pairs_of(page)
        first = self._seen.take(_hashes(ids))
        if not first.all():
            ids, sealed = list(compress(ids, first)), list(compress(sealed, first))
        self._count(len(ids), b"".join([value[-TAG_BYTES:] for value in sealed]))
        return ids, sealed

    def _count(self, values: int, tags: bytes | memoryview) -> None:
        self.values += values
        self.state ^= _fold(tags)


def cursor_of(reply: Sequence[bytes]) -> tuple[bytes, int]:
    """Where a scan goes on, and how many fields and values its reply has."""
    front = reply[0] if len(reply[0]) >= _FRONT_BYTES else b"".join(reply)
    _, _, cursor, count = front[:_FRONT_BYTES].split(b"\r\n", 4)[:4]
    return cursor, int(count[1:])


def ids_of(opened: OpenedPage) -> Sequence[str]:
    """The subjects of a page."""
    raw, lengths = bytes(opened.ids), lengths_of(opened.id_lengths)
    return JoinedTexts(raw, lengths) if raw.isascii() else [each.decode() for each in pieces(raw, lengths)]


def lengths_of(packed: memoryview) -> Lengths:
    """Numbers that came from a process of a load."""
    return np.frombuffer(packed, np.uint32).astype(np.int64)


def _hashes(ids: Iterable[bytes]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(hash, ids), np.int64)


def folded(sealed: list[bytes]) -> Words:
    """The exclusive or of the tags of many values."""
    return _fold(b"".join([value[-TAG_BYTES:] for value in sealed]))


def _fold(tags: bytes | memoryview) -> Words:
    words: Words = np.bitwise_xor.reduce(np.frombuffer(tags, np.uint64).reshape(-1, 2), axis=0)
    return words


def _change(seals: SubjectSeals, epoch: int, told: list[Any]) -> Change:
    sequence, chain, kind, subject, sealed = told
    subject_id = SubjectId(subject.decode())
    return Change(
        Position(int(sequence), chain.decode()),
        ChangeKind(kind.decode()),
        subject_id,
        seals.row(subject_id, epoch, sealed) if sealed else None,
    )
