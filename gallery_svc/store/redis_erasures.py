"""Erasures in Redis that are not through, and their receipts; both outlive their collection."""

from __future__ import annotations

from dataclasses import replace

from gallery_svc.store import codec
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.store.protocol import REQUEST_KEPT_S
from gallery_svc.store.redis_collections import LOGS
from gallery_svc.store.redis_keys import GLOBAL_TAG, ShardKeys, keys_of_log
from gallery_svc.store.redis_parts import Argument, RedisParts, all_of
from gallery_svc.store.write_records import Erased, ErasureEnd, OpenErasure
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import CollectionId


class RedisErasures(RedisParts):
    """Open erasures; see `Store` for what each method promises."""

    async def open_erasures(self) -> list[OpenErasure]:
        """Erasures of which something is still to be done, oldest first."""

        async def look(keys: ShardKeys) -> list[OpenErasure]:
            (told,) = await self._door.read(keys.tag, [("HVALS", keys.erasing)])
            return [_erasure(raw, keys, keys.erasing) for raw in told]

        found = [each for some in await all_of(look, await self._shards_ever()) for each in some]
        return sorted(found, key=lambda each: (each.erased.erased_at, each.erased.receipt_id))

    async def close_erasure(self, erasure: OpenErasure, end: ErasureEnd) -> None:
        """Nothing is left to be done for it."""
        erased = erasure.erased
        keys = ShardKeys(erased.collection_id, erased.position.shard)
        args: list[Argument] = [erased.receipt_id, codec.dump(end), REQUEST_KEPT_S * 1000]
        await self._door.write("close_erasure", [keys.erasing, keys.receipt(erased.receipt_id)], args)

    async def find_receipt(
        self, collection_id: CollectionId, receipt_id: str
    ) -> tuple[Erased, ErasureEnd | None] | None:
        """A receipt, and the end of its erasure if it is through."""

        async def look(keys: ShardKeys) -> tuple[Erased, ErasureEnd | None] | None:
            key = keys.receipt(receipt_id)
            still_open, kept = await self._door.read(keys.tag, [("HGET", keys.erasing, receipt_id), ("GET", key)])
            if not still_open and not kept:
                return None
            receipt, _, end = (still_open or kept).partition(b"\n")
            return _erasure(receipt, keys, key).erased, codec.load(ErasureEnd, end, key) if end else None

        shards = [keys for keys in await self._shards_ever() if keys.collection_id == collection_id]
        return next((found for found in await all_of(look, shards) if found is not None), None)

    async def _shards_ever(self) -> list[ShardKeys]:
        """Every shard that there is or was."""
        (names,) = await self._door.read(GLOBAL_TAG, [("SMEMBERS", LOGS)])
        found = [keys_of_log(name.decode()) for name in sorted(names)]
        return [keys for keys in found if keys is not None]


def _erasure(raw: bytes, keys: ShardKeys, key: str) -> OpenErasure:
    try:
        position, pictures, generation, receipt = raw.split(b" ", 3)
        erased = replace(
            codec.load(Erased, receipt, key),
            position=ShardPosition(keys.shard, int(position)),
            pictures_erased=int(pictures),
        )
    except ValueError as error:
        raise StoreCorruptError(key, "not a receipt") from error
    return OpenErasure(erased, generation.decode())
