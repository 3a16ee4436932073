"""What followers read from Redis: all rows of a shard at once, and the changes since.

A load opens and unpacks sealed rows while the next ones are on their way, and folds their tags: where the shard did not
move meanwhile, they must give what its head says. Processes beside this one open the rows of large loads; else it is
done on the event loop, in small pieces: on a thread beside it the same took 1.7 times the processor time, since opening
a value gives Python's lock away twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import numpy.typing as npt

from gallery_svc.rows import RowBatch
from gallery_svc.store.loading import request_of
from gallery_svc.store.records import Change, ChangeKind, CollectionRecord, Position
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_parts import Argument, RedisParts, mend, require_whole
from gallery_svc.store.redis_trimming import require_shard
from gallery_svc.store.redis_values import SubjectSeals
from gallery_svc.store.row_codec import batch_of_columns, unpack_rows
from gallery_svc.store.row_cutting import MalformedError
from tessera.chassis.tasks import end_tasks
from tessera.domain.errors import NotFoundError, StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId

SUBJECTS_A_READ = 4096
"""About so many of one read of a bulk load."""

SUBJECTS_A_BATCH = 1024
"""At most so many at once between two turns of the event loop: some milliseconds of work."""

TAG_BYTES = 16

Words = npt.NDArray[np.uint64]
"""An exclusive or of tags, as two numbers."""


_Page = tuple[list[bytes], list[bytes]]
"""Ids of subjects, and their sealed rows."""


class RedisFollowing(RedisParts):
    """Loads and changes; see `Store` for what each method promises."""

    async def load_rows(self, collection_id: CollectionId, shard: int, epoch: int) -> AsyncIterator[RowBatch]:
        """Every subject of a shard with its templates of one epoch."""
        record = await self._existing(collection_id, fresh=True)
        require_shard(record, shard)
        keys = ShardKeys(collection_id, shard)
        before, state = await self._standing(record, keys, epoch), np.zeros(2, np.uint64)
        (rows,) = await self._door.read(keys.tag, [("HLEN", keys.rows(epoch))])
        key_encryption_keys, _ = self._sealer.row_keys(record.generation, epoch)
        seen: set[bytes] = set()
        async with (
            self._load_processes.during(int(rows) * record.shards, key_encryption_keys),
            aclosing(self._scanned(keys, keys.rows(epoch), seen)) as pages,
            aclosing(self._opened(record.generation, epoch, pages, state)) as batches,
        ):
            async for batch in batches:
                yield batch
        after = await self._standing(record, keys, epoch)
        if before == after and state.tobytes() != (after[-1] or bytes(TAG_BYTES)):
            raise StoreCorruptError(
                keys.rows(epoch), mend(f"its {len(seen)} values do not fold to what the shard's head says")
            )

    async def _opened(
        self, generation: str, epoch: int, pages: AsyncIterator[_Page], state: Words
    ) -> AsyncGenerator[RowBatch, None]:
        """Pages as batches, and their tags into the fold; some pages at once where there are processes for it."""
        _, authenticated = self._sealer.row_keys(generation, epoch)
        under_way: deque[tuple[_Page, asyncio.Task[RowBatch | None]]] = deque()
        try:
            async for ids, sealed in pages:
                state ^= folded(sealed)
                room = self._load_processes.room
                while under_way and len(under_way) >= room:
                    async for batch in self._answered(generation, epoch, *under_way.popleft()):
                        yield batch
                if room:
                    under_way.append(((ids, sealed), asyncio.create_task(self._beside(authenticated, ids, sealed))))
                    continue
                async for batch in self._opened_here(generation, epoch, ids, sealed):
                    yield batch
            while under_way:
                async for batch in self._answered(generation, epoch, *under_way.popleft()):
                    yield batch
        finally:
            await end_tasks(*(task for _, task in under_way))

    async def _beside(self, authenticated: bytes, ids: list[bytes], sealed: list[bytes]) -> RowBatch | None:
        columns = await self._load_processes.columns(request_of(authenticated, ids, sealed))
        try:
            return None if columns is None else batch_of_columns([raw.decode() for raw in ids], columns)
        except MalformedError:
            return None

    async def _answered(
        self, generation: str, epoch: int, page: _Page, task: asyncio.Task[RowBatch | None]
    ) -> AsyncIterator[RowBatch]:
        batch = await task
        if batch is not None:
            yield batch
            return
        async for some in self._opened_here(generation, epoch, *page):
            yield some

    async def _opened_here(
        self, generation: str, epoch: int, ids: list[bytes], sealed: list[bytes]
    ) -> AsyncIterator[RowBatch]:
        for first in range(0, len(ids), SUBJECTS_A_BATCH):
            some = slice(first, first + SUBJECTS_A_BATCH)
            yield self._unpacked(generation, epoch, ids[some], sealed[some])
            await asyncio.sleep(0)

    async def _standing(self, record: CollectionRecord, keys: ShardKeys, epoch: int) -> list[bytes | None]:
        fields = ("generation", "pending", "begun", "position", "chain", f"state:rows:{epoch}")
        (found,) = await self._door.read(keys.tag, [("HMGET", keys.head, *fields)])
        if found[0] != record.generation.encode():
            raise NotFoundError("collection", record.collection_id, "it was deleted, or made anew, while it was read")
        require_whole(keys, found[1], found[2])
        return list(found)

    async def _scanned(self, keys: ShardKeys, key: str, seen: set[bytes]) -> AsyncGenerator[_Page, None]:
        """Fields and values of a hash, each field once; the next ones are read while the caller works."""

        async def read(cursor: bytes | int) -> list[Any]:
            (reply,) = await self._door.read(keys.tag, [("HSCAN", key, cursor, "COUNT", SUBJECTS_A_READ)])
            return list(reply)

        reading = asyncio.create_task(read(0))
        try:
            while True:
                cursor, told = await reading
                if int(cursor):
                    reading = asyncio.create_task(read(cursor))
                fields, values = told[::2], told[1::2]
                new = set(fields)
                if len(new) < len(fields) or not seen.isdisjoint(new):  # the table grew, or shrank, while it was read
                    first = {name: at for at, name in enumerate(fields) if name not in seen}
                    fields, values = list(first), [values[at] for at in first.values()]
                seen |= new
                if fields:
                    yield fields, values
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


def folded(sealed: list[bytes]) -> Words:
    """The exclusive or of the tags of many values."""
    tags = np.frombuffer(b"".join([value[-TAG_BYTES:] for value in sealed]), np.uint64)
    words: Words = np.bitwise_xor.reduce(tags.reshape(-1, 2), axis=0)
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
