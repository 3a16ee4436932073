"""Collections in Redis: made shards first and record last, taken away record first and shards last.

The record decides whether there is a collection. A crash in between leaves shards that belong to no record: whoever
makes the collection anew, or starts a store, takes them away. Only one process at a time makes, changes or deletes a
collection. Knows nothing of subjects but their number.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gallery_svc.store import codec, merging
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord, Position
from gallery_svc.store.protocol import audit_log
from gallery_svc.store.redis_keys import GLOBAL_TAG, ROOT, SCHEMA, ShardKeys, audit_key, record_key
from gallery_svc.store.redis_parts import Entry, RedisParts, all_of, layout_args, require_whole
from tessera.domain.errors import AlreadyExistsError, NotEmptyError, UnavailableError
from tessera.domain.ids import CollectionId

DIRECTORY = ROOT + "collections"
LOGS = ROOT + "logs"

_CLOSED_MS = 10_000
_DELETED_WITHIN_S = 5.0  # after which somebody may find a shard open again
_HEAD_FIELDS = ("generation", "position", "chain", "subjects", "templates", "pending", "begun")


class RedisCollections(RedisParts):
    """Collections; see `Store` for what each method promises."""

    async def create_collection(self, record: CollectionRecord) -> None:
        """Add a collection."""
        merging.require_shards(record)
        made = replace(record, generation=secrets.token_hex(16))
        async with self._leased(_lease(record.collection_id)):
            if await self._found(record.collection_id) is not None:
                raise AlreadyExistsError("collection", record.collection_id)
            logs = [keys.tag for keys in shards_of(made)]
            await self._door.read(GLOBAL_TAG, [("SADD", DIRECTORY, record.collection_id), ("SADD", LOGS, *logs)])
            await self._clear_leftovers(record.collection_id)
            await self._create_shards(made)
            key = record_key(record.collection_id)
            if (await self._door.write("write_record", [key], ["", codec.dump(made)]))[0] != b"ok":
                raise AlreadyExistsError("collection", record.collection_id)

    async def _create_shards(self, record: CollectionRecord) -> None:
        generation, revision, active, epochs = layout_args(record)
        args = [generation, record.shards, active, epochs, revision, SCHEMA]

        async def create(keys: ShardKeys) -> None:
            reply = await self._door.write("create_shard", [keys.head], args)
            if reply[0] != b"ok":  # somebody made one of this name although we hold the lease
                raise AlreadyExistsError("collection", record.collection_id)

        first, *others = shards_of(record)
        await create(first)  # says how many there are, for whoever finds them without a record
        await all_of(create, others)

    async def find_collection(self, collection_id: CollectionId) -> CollectionRecord | None:
        """A collection, or None."""
        return await self._found(collection_id)

    async def list_collections(self) -> tuple[CollectionRecord, ...]:
        """All collections, by id."""
        found = await all_of(self._found, await self._directory())
        return tuple(record for record in found if record is not None)

    async def _directory(self) -> list[CollectionId]:
        """The ids that there may be, sorted."""
        (raws,) = await self._door.read(GLOBAL_TAG, [("SMEMBERS", DIRECTORY)])
        return [CollectionId(name) for name in sorted(raw.decode() for raw in raws)]

    async def update_collection(self, record: CollectionRecord, expected_revision: int) -> CollectionRecord:
        """Write a collection's record anew, and have its shards follow it."""
        key = record_key(record.collection_id)
        async with self._leased(_lease(record.collection_id)):
            current = await self._existing(record.collection_id, fresh=True)
            written = merging.rewritten(current, record, expected_revision)
            reply = await self._door.write("write_record", [key], [self._text(current), codec.dump(written)])
            if reply[0] != b"ok":  # although we hold the lease: as if it had been written before we looked
                merging.rewritten(await self._existing(record.collection_id, fresh=True), record, expected_revision)
                raise UnavailableError("store", "the collection's record changed meanwhile")
            self._noted(record.collection_id, codec.dump(written).encode())
            if layout_args(current)[2:] != layout_args(written)[2:]:
                await self._have_shards_follow(written)
        return written

    async def _have_shards_follow(self, record: CollectionRecord) -> None:
        async def follow(keys: ShardKeys) -> None:
            reply = await self._door.write("layout", [keys.head], layout_args(record))
            if reply[0] not in (b"ok", b"closed"):  # who writes there next has it follow
                raise await self._refusal(reply, record, keys)

        await all_of(follow, shards_of(record))

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict[CollectionId, CollectionHead]:
        """Where the logs stand."""
        heads = await all_of(self._head, collection_ids)
        return {key: head for key, head in zip(collection_ids, heads, strict=True) if head is not None}

    async def _head(self, collection_id: CollectionId) -> CollectionHead | None:
        record = await self._found(collection_id)
        if record is None:
            return None

        async def read(keys: ShardKeys) -> list[Any]:
            (reply,) = await self._door.read(keys.tag, [("HMGET", keys.head, *_HEAD_FIELDS)])
            require_whole(keys, reply[5], reply[6])
            return list(reply)

        replies = await all_of(read, shards_of(record))
        if any(reply[0] != record.generation.encode() for reply in replies):  # deleted, or made anew, since
            return None
        return CollectionHead(
            record.generation,
            tuple(Position(int(reply[1]), reply[2].decode()) for reply in replies),
            sum(int(reply[3]) for reply in replies),
            sum(int(reply[4]) for reply in replies),
        )

    # ---- the end of a collection

    async def delete_collection(self, collection_id: CollectionId, audit: AuditRecord, *, force: bool) -> int:
        """Remove a collection; its audit logs stay."""
        async with self._leased(_lease(collection_id)):
            record = await self._existing(collection_id, fresh=True)
            text = self._text(record)
            give_up_s = time.monotonic() + _DELETED_WITHIN_S
            count = await self._close_shards(record, force=force)
            await self._log_deletion(collection_id, audit)
            if time.monotonic() > give_up_s:
                raise UnavailableError("store", f"collection {collection_id} was not deleted in time; try again")
            await self._door.write("delete_record", [record_key(collection_id)], [text])
            self._records.pop(collection_id, None)
            await self._delete_shards(collection_id, record.generation, record.shards)
            await self._door.read(GLOBAL_TAG, [("SREM", DIRECTORY, collection_id)])
        return count

    async def _close_shards(self, record: CollectionRecord, *, force: bool) -> int:
        """Keep writers out, so that nobody is enrolled between the look and the end."""

        async def close(keys: ShardKeys) -> list[Any]:
            reply = await self._door.write("close_shard", [keys.head], [record.generation, int(force), _CLOSED_MS])
            if reply[0] == b"absent":  # a record without its shards may go
                return [b"ok", 0]
            if reply[0] not in (b"ok", b"not_empty"):
                raise await self._refusal(reply, record, keys)
            return list(reply)

        async def reopen(keys: ShardKeys) -> None:
            await self._door.write("close_shard", [keys.head], [record.generation, 0, 0])

        replies = await all_of(close, shards_of(record))
        count = sum(int(reply[1]) for reply in replies)
        if any(reply[0] == b"not_empty" for reply in replies):
            await all_of(reopen, shards_of(record))
            raise NotEmptyError("collection", record.collection_id, count)
        return count

    async def _log_deletion(self, collection_id: CollectionId, audit: AuditRecord) -> None:
        log, written = audit_log(collection_id, 0), False
        entry = Entry(self._stamps, log, audit)
        try:
            await self._door.write("audit_many", [audit_key(log)], entry.args)
            written = True
        finally:
            entry.ended(written=written)

    async def _delete_shards(self, collection_id: CollectionId, generation: str, shards: int) -> None:
        async def delete(number: int) -> None:
            keys = ShardKeys(collection_id, number)
            (kept,) = await self._door.read(keys.tag, [("HGET", keys.head, "kept")])
            while kept is not None:
                rows = [keys.rows(int(epoch)) for epoch in kept.split(b",")]
                all_keys = [keys.head, keys.subjects, keys.order, keys.pictures, keys.log, *keys.look_keys, *rows]
                reply = await self._door.write("delete_shard", all_keys, [generation, kept])
                kept = reply[1] if reply[0] == b"layout" else None

        await all_of(delete, range(1, shards))
        await delete(0)  # last: it says how many there are

    async def _clear_leftovers(self, collection_id: CollectionId) -> None:
        """Take away shards that belong to no record: of a making or a deletion that did not end."""
        first = ShardKeys(collection_id, 0)
        (found,) = await self._door.read(first.tag, [("HMGET", first.head, "generation", "shards")])
        if found[0] is not None and await self._found(collection_id) is None:
            await self._delete_shards(collection_id, found[0].decode(), int(found[1]))

    async def _clear_abandoned(self, collection_id: CollectionId) -> None:
        """Finish what a process that died began to delete, or to make."""
        async with self._leased(_lease(collection_id)):
            await self._clear_leftovers(collection_id)
            if await self._found(collection_id) is None:
                await self._door.read(GLOBAL_TAG, [("SREM", DIRECTORY, collection_id)])


def shards_of(record: CollectionRecord) -> list[ShardKeys]:
    """The keys of each shard, in order."""
    return [ShardKeys(record.collection_id, number) for number in range(record.shards)]


def _lease(collection_id: CollectionId) -> str:
    return f"collection/{collection_id}"
