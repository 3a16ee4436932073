"""What a store in Redis needs beside its daily work: a look at its start, keys that rotate, files written anew.

A rotation writes the first bytes of each value anew and reads no more of it: the wrap of its data key. Bodies, their
tags and the change log stay as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.door import NodeInfo
from gallery_svc.store.migrations import RedisMigration
from gallery_svc.store.redis_collections import shards_of
from gallery_svc.store.redis_hashes import SealedHash, hashes_of, looks_of
from gallery_svc.store.redis_keys import GLOBAL_TAG, ROOT, SCHEMA, ShardKeys
from gallery_svc.store.redis_parts import Again, Argument, all_of, mend, require_whole
from gallery_svc.store.redis_values import WRAP_BYTES, subject_place
from gallery_svc.store.sealing import LEAST_BYTES
from tessera.domain.errors import InvalidInputError, StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId

_HEADER_BYTES = 8  # of a sealed value: what names its wrapping key
_NO_BODY = bytes(LEAST_BYTES - WRAP_BYTES)
_VALUES_A_LOOK = 1000
_PICTURES_A_LOOK = 32


class RedisUpkeep(RedisMigration):
    """Upkeep; see `Store` for what each method promises."""

    async def prepare(self, *, migrate: bool = False) -> None:
        """Check servers, schema, keys, and that no shard holds half of a write.

        Args:
            migrate: bring a store of an older schema to this one.
        """
        await self._door.prepare()
        await self._prepare_schema(migrate=migrate)
        for collection_id in await self._directory():
            record = await self._found(collection_id)
            if record is None:
                await self._clear_abandoned(collection_id)
            else:
                await all_of(partial(self._prepare_shard, record), shards_of(record))

    async def nodes(self) -> list[NodeInfo]:
        """Each server that is known of, as it describes itself now.

        Raises:
            UnavailableError: the store is away.
        """
        return await self._door.nodes()

    async def _prepare_schema(self, *, migrate: bool) -> None:
        key = ROOT + "schema"
        _, schema = await self._door.read(GLOBAL_TAG, [("SET", key, SCHEMA, "NX"), ("GET", key)])
        if schema == b"1" and not migrate:
            raise InvalidInputError(
                "store", "schema 1", f"schema {SCHEMA}; bring it there with `tessera store migrate`"
            )
        if schema == b"1":
            await self._migrate_from_1()
            await self._door.read(GLOBAL_TAG, [("SET", key, SCHEMA)])
        elif schema != str(SCHEMA).encode():
            raise InvalidInputError("store", f"schema {schema!r}", f"a server that holds schema {SCHEMA}, or nothing")

    async def _prepare_shard(self, record: CollectionRecord, keys: ShardKeys) -> None:
        (generation, pending, begun, position, chain), newest, some = await self._door.read(
            keys.tag,
            [
                ("HMGET", keys.head, "generation", "pending", "begun", "position", "chain"),
                ("XREVRANGE", keys.log, "+", "-", "COUNT", 1),
                ("HRANDFIELD", keys.subjects, 1, "WITHVALUES"),
            ],
        )
        if generation != record.generation.encode():
            raise StoreCorruptError(keys.head, mend("it is not of the collection's generation"))
        require_whole(keys, pending, begun)
        if newest and (newest[0][0] != position + b"-0" or newest[0][1][-1] != chain):
            raise StoreCorruptError(keys.log, mend(f"its last entry is not change {position.decode()}"))
        for sealed in some[1::2]:
            self._sealer.key_id_of(sealed)

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()

    async def rewrite_files(self) -> None:
        """Have each server write its files anew."""
        await self._door.rewrite_files()

    # ---- keys

    async def values_by_key(self, collection_id: CollectionId) -> dict[str, int]:
        """How many sealed values there are under each key-encryption key."""
        record = await self._existing(collection_id, fresh=True)
        found: dict[str, int] = {}
        for keys in shards_of(record):
            for part in await self._hashes(record, keys):
                async for told in self._looks("count_keys", part, []):
                    for fingerprint, count in zip(told[::2], told[1::2], strict=True):
                        found[fingerprint.hex()] = found.get(fingerprint.hex(), 0) + int(count)
        return found

    async def rewrap(self, collection_id: CollectionId) -> AsyncIterator[int]:
        """Put every value under the key ring's first key."""
        record = await self._existing(collection_id, fresh=True)
        header = self._sealer.seal(subject_place(record.generation, SubjectId("")), b"")[:_HEADER_BYTES]
        for keys in shards_of(record):
            for part in await self._hashes(record, keys):
                async for told in self._looks("stale_wraps", part, [header]):
                    await self._rewrap_some(record, keys, part, told[1:])
                    yield int(told[0])

    async def _rewrap_some(
        self, record: CollectionRecord, keys: ShardKeys, part: SealedHash, told: list[bytes]
    ) -> None:
        args: list[Argument] = [record.generation]
        for field, wrap in zip(told[::2], told[1::2], strict=True):
            anew = self._sealer.rewrap(part.place(record.generation, field.decode()), wrap + _NO_BODY)
            args += [field, wrap, anew[:WRAP_BYTES]]
        if len(args) == 1:
            return

        async def write() -> None:
            reply = await self._door.write("rewrap", [keys.head, part.key], args)
            if reply[0] != b"ok":
                raise await self._refusal(reply, record, keys)

        await self._until_done(write)

    async def _looks(self, script: str, part: SealedHash, args: list[Argument]) -> AsyncIterator[list[Any]]:
        """What a script that only looks says of a hash, some values at a time."""
        cursor: bytes | int = 0
        while True:
            count = _PICTURES_A_LOOK if part.kind == "picture" else _VALUES_A_LOOK
            cursor, *told = await self._door.run(script, [part.key], [cursor, count, *args])
            yield told
            if not int(cursor):
                return

    async def _hashes(self, record: CollectionRecord, keys: ShardKeys) -> list[SealedHash]:
        (found,) = await self._door.read(keys.tag, [("HMGET", keys.head, "generation", "kept")])
        if found[0] != record.generation.encode():
            refusal = await self._refusal([b"absent"], record, keys)
            raise StoreCorruptError(keys.head, "it was made anew meanwhile") if isinstance(refusal, Again) else refusal
        return [*hashes_of(keys, [int(epoch) for epoch in found[1].split(b",")]), looks_of(keys)]
