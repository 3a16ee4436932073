"""Rotation of the key-encryption key: every sealed value is put under the key that wraps now, while everybody works.

The store does the writing; this goes from collection to collection and tells how far it is. Broken off, the next one
goes over all of it again and finds the most done. It takes no key away: that is done in the key file, by hand.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from gallery_svc.ids import time_ordered_id
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.protocol import Store, audit_log
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import NotFoundError
from tessera.domain.ids import CollectionId


@dataclass(frozen=True, slots=True)
class RotationProgress:
    """How far a rotation is."""

    done: int
    """Values that were looked at."""
    total: int
    """Values that there were when it began; more may come meanwhile."""
    by_key: Mapping[str, int] | None = None
    """Values under each key, by its fingerprint in hex; with the last message."""


class Rotator:
    """Rotates keys.

    Args:
        store: whose values are sealed.
        clock: for the times of audit entries.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def count(self, collection_id: CollectionId | None) -> RotationProgress:
        """How many values there are under each key; changes nothing.

        Raises:
            NotFoundError: the collection does not exist.
        """
        by_key = await self._by_key(await self._chosen(collection_id))
        total = sum(by_key.values())
        return RotationProgress(total, total, by_key)

    async def rotate(self, collection_id: CollectionId | None, caller: str = "") -> AsyncIterator[RotationProgress]:
        """Put every value under the first key.

        Args:
            collection_id: whose values; None: those of all collections.
            caller: for the audit log.

        Raises:
            NotFoundError: the collection does not exist.
            KeyMissingError: a value is under a key that is not in the key file.
        """
        chosen = await self._chosen(collection_id)
        total, done = sum((await self._by_key(chosen)).values()), 0
        yield RotationProgress(0, total)
        for each in chosen:
            await self._store.append_audit(audit_log(each, 0), [self._audit(each, caller)])
            with contextlib.suppress(NotFoundError):  # it was deleted since, and its values with it
                async for looked_at in self._store.rewrap(each):
                    done += looked_at
                    yield RotationProgress(done, max(total, done))
        by_key = await self._by_key(chosen)
        get_logger().info("keys.rotated", collections=len(chosen), values=done, by_key=by_key)
        yield RotationProgress(done, max(total, done), by_key)

    async def _chosen(self, collection_id: CollectionId | None) -> list[CollectionId]:
        if collection_id is None:
            return [record.collection_id for record in await self._store.list_collections()]
        if await self._store.find_collection(collection_id) is None:
            raise NotFoundError("collection", collection_id)
        return [collection_id]

    async def _by_key(self, chosen: Sequence[CollectionId]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for collection_id in chosen:
            with contextlib.suppress(NotFoundError):
                found.update(await self._store.values_by_key(collection_id))
        return dict(sorted(found.items()))

    def _audit(self, collection_id: CollectionId, caller: str) -> AuditRecord:
        now = self._clock.now()
        return AuditRecord("RotateKeys", now, time_ordered_id("ev", now), caller, collection_id)
