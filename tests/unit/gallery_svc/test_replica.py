"""The replica: in step with the store whatever other galleries do, and never ahead of what its index holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import Update
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.replica import Replica
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.records import (
    AuditRecord,
    CollectionHead,
    CollectionRecord,
    Enrollment,
    NewTemplate,
    SubjectProfile,
    TemplateRecord,
)
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId

AT = datetime(2026, 11, 22, tzinfo=UTC)
STAFF, VISITORS, MODEL = CollectionId("staff"), CollectionId("visitors"), ModelId("m@1")


class RacedStore(MemoryStore):
    """Another gallery deletes a collection just after this one has read where the logs stand."""

    doomed: CollectionId | None = None

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict[CollectionId, CollectionHead]:
        """Where the logs stood."""
        found = await super().heads(collection_ids)
        doomed, self.doomed = self.doomed, None
        if doomed is not None:
            await self.delete_collection(doomed, AuditRecord("DeleteCollection", AT, "ev-0"), force=True)
        return found


class FailingIndex(ExactIndex):
    """Refuses what it is given for as long as it is told to."""

    fails = False

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates, or not."""
        if self.fails:
            raise MemoryError("no room")
        super().apply(updates)


async def _filled(store: MemoryStore, *collection_ids: CollectionId) -> None:
    for collection_id in collection_ids:
        await store.create_collection(CollectionRecord(collection_id, Modality.FACE, MODEL, AT))


def _enrollment(name: str) -> Enrollment:
    template = NewTemplate(TemplateRecord(TemplateId(name), MODEL, AT, None, ""), np.ones(4, dtype=np.float32) / 2)
    audit = AuditRecord("EnrollSubject", AT, "ev-1", collection_id=STAFF)
    return Enrollment(STAFF, SubjectId(name), SubjectProfile(), (template,), AT, audit)


async def test_a_collection_that_goes_while_it_is_followed_is_forgotten() -> None:
    """The look goes on with the other collections; it used to end the gallery."""
    store = RacedStore()
    await _filled(store, STAFF, VISITORS)
    replica = Replica(store, ExactIndex, GalleryMetrics(CollectorRegistry()))
    store.doomed = STAFF
    await replica.refresh()
    assert (await replica.collection(VISITORS)).record.collection_id == VISITORS
    assert [record.collection_id for record in await replica.refresh()] == [VISITORS]


async def test_a_change_that_the_index_refused_is_taken_the_next_time() -> None:
    """The position never promises what the index does not hold."""
    store = MemoryStore()
    await _filled(store, STAFF)
    replica = Replica(store, FailingIndex, GalleryMetrics(CollectorRegistry()))
    live = await replica.collection(STAFF)
    assert isinstance(live.index, FailingIndex)
    live.index.fails = True
    await store.enroll(_enrollment("ada"))
    with pytest.raises(MemoryError):
        await replica.catch_up(STAFF)
    assert (live.position.sequence, live.names) == (0, {})
    live.index.fails = False
    live = await replica.at_position(STAFF, 1)
    assert SubjectId("ada") in live.index
