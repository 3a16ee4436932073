"""Rows in Redis one by one: those that are searched, and those of another model that are built beside them.

The change log says nothing of the latter.
"""

from __future__ import annotations

from gallery_svc.rows import SearchRow
from gallery_svc.store import merging
from gallery_svc.store.redis_collections import shards_of
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_parts import Again, Argument, RedisParts, all_of, layout_args
from gallery_svc.store.redis_values import SubjectSeals, tag_of
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CollectionId, SubjectId


class RedisEpochs(RedisParts):
    """Rows; see `Store` for what each method promises."""

    async def find_row(self, collection_id: CollectionId, subject_id: SubjectId) -> SearchRow | None:
        """A subject's templates of the active epoch."""
        record = await self._existing(collection_id, fresh=True)
        keys, epoch = ShardKeys.holding(record, subject_id), record.active_epoch
        (sealed,) = await self._door.read(keys.tag, [("HGET", keys.rows(epoch), subject_id)])
        return None if not sealed else SubjectSeals(self._sealer, record.generation).row(subject_id, epoch, sealed)

    async def put_row(self, collection_id: CollectionId, epoch: int, row: SearchRow, revision: int) -> bool:
        """Write a subject's templates of an epoch that is not active."""
        return await self._until_done(lambda: self._put_once(collection_id, epoch, row, revision))

    async def _put_once(self, collection_id: CollectionId, epoch: int, row: SearchRow, revision: int) -> bool:
        record = await self._existing(collection_id)
        try:
            merging.require_inactive(record, epoch, known=True)
        except InvalidInputError:  # it may be so only by an old record
            if await self._existing(collection_id, fresh=True) == record:
                raise
            raise Again from None
        keys, seals = ShardKeys.holding(record, row.subject_id), SubjectSeals(self._sealer, record.generation)
        commands = [("HGET", keys.head, "generation"), ("HGET", keys.subjects, row.subject_id)]
        generation, sealed = await self._door.read(keys.tag, commands)
        if generation != record.generation.encode():
            raise await self._refusal([b"absent"], record, keys)
        if not sealed or seals.record(row.subject_id, sealed).revision != revision:
            return False
        value = seals.seal_row(row, epoch, seals.data_key(row.subject_id, sealed))
        args: list[Argument] = [record.generation, epoch, row.subject_id, tag_of(sealed), value]
        reply = await self._door.write("put_row", [keys.head, keys.subjects, keys.rows(epoch)], args)
        match reply[0]:
            case b"ok":
                return True
            case b"changed":
                raise Again
            case b"layout":  # the shard has not heard of the epoch yet, or it is active since
                await self._follow_record(collection_id, keys)
                raise Again
            case _:
                raise await self._refusal(reply, record, keys)

    async def _follow_record(self, collection_id: CollectionId, keys: ShardKeys) -> None:
        record = await self._existing(collection_id, fresh=True)
        reply = await self._door.write("layout", [keys.head], layout_args(record))
        if reply[0] != b"ok":
            raise await self._refusal(reply, record, keys)

    async def drop_epoch(self, collection_id: CollectionId, epoch: int) -> None:
        """Remove all rows of an epoch that is not active."""
        await self._until_done(lambda: self._drop_once(collection_id, epoch))

    async def _drop_once(self, collection_id: CollectionId, epoch: int) -> None:
        record = await self._existing(collection_id, fresh=True)
        merging.require_inactive(record, epoch, known=False)

        async def drop(keys: ShardKeys) -> None:
            reply = await self._door.write("drop_epoch", [keys.head, keys.rows(epoch)], [record.generation, epoch])
            if reply[0] == b"layout":  # the shard takes it for active still
                await self._follow_record(collection_id, keys)
                raise Again
            if reply[0] != b"ok":
                raise await self._refusal(reply, record, keys)

        await all_of(drop, shards_of(record))
