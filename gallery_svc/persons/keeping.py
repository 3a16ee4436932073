"""Looks at persons as they are kept: written to the store, followed from there, and gone when their time is over.

Several galleries write into one store; each knows of the others' looks by asking for those after the last that it has.
How many there are says whether some have gone meanwhile.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.looks import Looks
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.person_records import PersonLook
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.domain.ids import CollectionId, TrackletId

LONGEST_S = 24 * 3600.0
"""No look outlives this, and no anonymous id, where persons may not be kept persistently."""
LONGEST_PERSISTENT_S = 30 * 24 * 3600.0
LEAST_S = 60.0

_LOOKS_A_READ = 512


def bound_s(record: CollectionRecord) -> float:
    """How long a collection may keep a look, and an anonymous id, at most."""
    return LONGEST_PERSISTENT_S if record.allow_persistent_persons else LONGEST_S


def retention_s(record: CollectionRecord) -> float:
    """How long a collection keeps a look."""
    return min(record.person_retention_s, bound_s(record))


@dataclass(slots=True)
class _Copy:
    """A collection's looks here, and up to where they were read."""

    generation: str
    looks: Looks
    sequence: int = 0


class LookKeeper:
    """Keeps looks.

    Args:
        store: where they are kept.
        clock: for their time.
        metrics: where it counts.
    """

    def __init__(self, store: Store, clock: Clock, metrics: GalleryMetrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._copies: dict[CollectionId, _Copy] = {}
        self._locks: weakref.WeakValueDictionary[CollectionId, asyncio.Lock] = weakref.WeakValueDictionary()

    def kept_since(self, record: CollectionRecord) -> datetime:
        """Nothing that was seen before this moment is kept."""
        return self._clock.now() - timedelta(seconds=retention_s(record))

    def until(self, look: PersonLook, record: CollectionRecord) -> datetime:
        """When the time of a look is over."""
        return look.seen_at + timedelta(seconds=retention_s(record))

    async def looks(self, record: CollectionRecord) -> Looks:
        """The looks of a collection as the store has them now, without those whose time is over.

        Raises:
            NotFoundError: the collection does not exist.
            UnavailableError: the store is away.
        """
        lock = self._locks.setdefault(record.collection_id, asyncio.Lock())
        async with lock:
            copy = await self._level(record)
        copy.looks.drop([look.tracklet_id for look in copy.looks.seen_before(self.kept_since(record))])
        return copy.looks

    async def put(self, record: CollectionRecord, look: PersonLook) -> None:
        """Write a look.

        Raises:
            NotFoundError: the collection does not exist.
            UnavailableError: the store is away.
        """
        await self._store.put_look(look, self.until(look, record))
        copy = self._copies.get(record.collection_id)
        if copy is not None:
            copy.looks.put(look.tracklet_id, look)

    async def drop(self, collection_id: CollectionId, tracklet_ids: Sequence[TrackletId], why: str) -> int:
        """Remove looks, here and from the store; returns how many went."""
        dropped = await self._store.drop_looks(collection_id, tracklet_ids)
        if collection_id in self._copies:
            self._copies[collection_id].looks.drop(tracklet_ids)
        self._metrics.person_looks_dropped.labels(why).inc(dropped)
        return dropped

    async def drop_expired(self, record: CollectionRecord) -> int:
        """Remove the looks whose time is over; returns how many went."""
        dropped = await self._store.drop_looks_seen_before(record.collection_id, self.kept_since(record))
        self._metrics.person_looks_dropped.labels("EXPIRED").inc(dropped)
        looks = await self.looks(record)
        self._metrics.person_looks.labels(record.collection_id).set(len(looks))
        self._metrics.persons.labels(record.collection_id).set(looks.person_count)
        return dropped

    def forget_all_but(self, records: Sequence[CollectionRecord]) -> None:
        """Let go of the looks of collections that are there no more."""
        there = {record.collection_id for record in records}
        for collection_id in [known for known in self._copies if known not in there]:
            del self._copies[collection_id]
            self._metrics.person_looks.labels(collection_id).set(0)
            self._metrics.persons.labels(collection_id).set(0)

    async def _level(self, record: CollectionRecord) -> _Copy:
        collection_id = record.collection_id
        copy = self._copies.get(collection_id)
        while True:
            told = await self._store.looks_after(collection_id, copy.sequence if copy else 0, _LOOKS_A_READ)
            if copy is None or copy.generation != told.head.generation or copy.looks.model_id != record.model_id:
                is_start = copy is None
                copy = self._copies[collection_id] = _Copy(told.head.generation, Looks(record.model_id))
                if not is_start:
                    continue
            for tracklet_id, look in told.looks:
                copy.looks.put(tracklet_id, look)
            copy.sequence = max(copy.sequence, told.up_to)
            if told.up_to >= told.head.newest:
                break
        if len(copy.looks) != told.head.count:  # some have gone
            kept = await self._store.look_ids(collection_id)
            copy.looks.drop(copy.looks.tracklet_ids - kept)
        return copy
