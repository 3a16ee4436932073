"""Looks at persons in Redis, in the first shard of their collection: sealed one by one, removed by when they were seen.

They lie beside what the shard's head accounts for, and so in none of its digests: a look that a cut file lost is a look
that was seen by nobody. The whole hash ends by itself when the last look's time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from os import urandom

from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.person_protocol import MAX_LOOKS
from gallery_svc.store.person_records import LookChanges, LooksHead, PersonLook, pack_look, unpack_look
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_parts import Again, Argument, RedisParts
from gallery_svc.store.redis_values import look_place
from gallery_svc.store.sealing import DATA_KEY_BYTES
from tessera.chassis.logs import get_logger
from tessera.domain.errors import KeyMissingError, StoreCorruptError
from tessera.domain.ids import CollectionId, TrackletId

_DROPPED_AT_ONCE = 500


class RedisPersons(RedisParts):
    """Looks at persons; see `PersonStore` for what each method promises."""

    async def put_look(self, look: PersonLook, until: datetime) -> None:
        """Write a look."""

        async def put() -> None:
            record = await self._existing(look.collection_id)
            keys = ShardKeys(look.collection_id, 0)
            place = look_place(record.generation, look.tracklet_id)
            sealed = self._sealer.seal(place, pack_look(look), urandom(DATA_KEY_BYTES))
            args: list[Argument] = [record.generation, look.tracklet_id, sealed, _ms(look.seen_at), MAX_LOOKS]
            reply = await self._door.write(
                "put_look", [keys.head, *keys.look_keys], [*args, _ms(until), look.person_id]
            )
            if reply[0] != b"ok":
                raise await self._refusal(reply, record, keys)

        await self._until_done(put, "person looks")

    async def looks_after(self, collection_id: CollectionId, sequence: int, limit: int) -> LookChanges:
        """The looks that were written after a sequence."""

        async def read() -> LookChanges:
            record = await self._existing(collection_id)
            keys = ShardKeys(collection_id, 0)
            reply = await self._door.run("looks_after", [keys.head, *keys.look_keys], [sequence, limit])
            if reply[0] != record.generation.encode():
                if await self._existing(collection_id, fresh=True) != record:
                    raise Again
                raise await self._refusal([b"absent"], record, keys)
            told = list(zip(reply[3::3], reply[4::3], reply[5::3], strict=True))
            head = LooksHead(record.generation, int(reply[1]), int(reply[2]))
            up_to = int(told[-1][0]) if len(told) == limit else head.newest
            names = [TrackletId(name.decode()) for _, name, _ in told]
            looks = [self._opened(record, keys, name, told[at][2]) for at, name in enumerate(names)]
            return LookChanges(head, tuple(zip(names, looks, strict=True)), up_to)

        return await self._until_done(read, "person looks")

    async def look_ids(self, collection_id: CollectionId) -> frozenset[TrackletId]:
        """Of which tracklets a look is kept."""
        await self._existing(collection_id)
        keys = ShardKeys(collection_id, 0)
        (found,) = await self._door.read(keys.tag, [("ZRANGE", keys.look_keys[1], 0, -1)])
        return frozenset(TrackletId(name.decode()) for name in found)

    async def drop_looks(self, collection_id: CollectionId, tracklet_ids: Sequence[TrackletId]) -> int:
        """Remove looks."""
        keys, dropped = ShardKeys(collection_id, 0), 0
        for start in range(0, len(tracklet_ids), _DROPPED_AT_ONCE):
            some = tracklet_ids[start : start + _DROPPED_AT_ONCE]
            dropped += int(await self._door.write("drop_looks", list(keys.look_keys[:3]), list(some)))
        return dropped

    async def drop_looks_seen_before(self, collection_id: CollectionId, moment: datetime) -> int:
        """Remove the looks that were seen before a moment."""
        keys, dropped = ShardKeys(collection_id, 0), 0
        command = ("ZRANGEBYSCORE", keys.look_keys[1], "-inf", f"({_ms(moment)}", "LIMIT", 0, _DROPPED_AT_ONCE)
        while True:
            (found,) = await self._door.read(keys.tag, [command])
            if not found:
                return dropped
            dropped += await self.drop_looks(collection_id, [TrackletId(name.decode()) for name in found])

    async def persons_seen_before(self, collection_id: CollectionId, moment: datetime, limit: int) -> list[str]:
        """Anonymous ids whose time is over."""
        keys = ShardKeys(collection_id, 0)
        command = ("ZRANGEBYSCORE", keys.look_keys[4], "-inf", f"({_ms(moment)}", "LIMIT", 0, limit)
        (found,) = await self._door.read(keys.tag, [command])
        return [name.decode() for name in found]

    async def forget_person(self, collection_id: CollectionId, person_id: str) -> None:
        """Nothing is left to be erased of an anonymous id."""
        keys = ShardKeys(collection_id, 0)
        await self._door.read(keys.tag, [("ZREM", keys.look_keys[4], person_id)])

    def _opened(self, record: CollectionRecord, keys: ShardKeys, name: str, sealed: bytes) -> PersonLook | None:
        """A look; None: it is damaged, or its key is gone. Nobody is found by it then, and it ends with its time."""
        place = look_place(record.generation, name)
        try:
            return unpack_look(self._sealer.open(place, sealed), str(place))
        except (StoreCorruptError, KeyMissingError) as error:
            get_logger().error("person_look.unreadable", key=keys.look_keys[0], error=type(error).__name__)
            return None


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
