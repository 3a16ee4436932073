"""Trimming of change logs: seldom, and not below where a gallery that is alive still reads, within a bound.

The scripts never trim. A gallery that falls behind what is kept loads again.
"""

from __future__ import annotations

import contextlib

from gallery_svc.store.collection_records import CollectionRecord, ShardPosition
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_members import RedisMembers
from tessera.domain.errors import InvalidInputError, OutcomeUnknownError, UnavailableError
from tessera.domain.ids import CollectionId

_CHANGES_A_LOOK = 1024


class RedisTrimming(RedisMembers):
    """Trims change logs."""

    async def trim_log(self, collection_id: CollectionId, shard: int, up_to: int) -> None:
        """Forget changes."""
        record = await self._existing(collection_id)
        require_shard(record, shard)
        await self._door.write("trim_stream", [ShardKeys(collection_id, shard).log], [up_to])

    async def _trim_when_due(self, record: CollectionRecord, position: ShardPosition) -> None:
        """Trim after every thousandth change. The change before is written: nothing that fails here concerns it."""
        if position.sequence % _CHANGES_A_LOOK or position.sequence <= self._log_kept:
            return
        with contextlib.suppress(UnavailableError, OutcomeUnknownError):
            slowest = await self._slowest(record, position)
            up_to = min(position.sequence - self._log_kept, max(slowest, position.sequence - 2 * self._log_kept))
            await self.trim_log(record.collection_id, position.shard, up_to)

    async def _slowest(self, record: CollectionRecord, position: ShardPosition) -> int:
        """The least that a gallery which is alive has read of this shard."""
        told = [
            member.positions[record.collection_id][position.shard]
            for member in await self.members()
            if member.generations.get(record.collection_id) == record.generation
            and len(member.positions.get(record.collection_id, ())) > position.shard
        ]
        return min(told, default=position.sequence)


def require_shard(record: CollectionRecord, shard: int) -> None:
    """Refuse a shard that a collection does not have.

    Raises:
        InvalidInputError: there is no such shard.
    """
    if not 0 <= shard < record.shards:
        raise InvalidInputError("shard", shard, f"0 to {record.shards - 1}")
