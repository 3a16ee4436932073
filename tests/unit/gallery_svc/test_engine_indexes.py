"""Leases of an engine's tables: who cannot keep one neither searches nor writes, whoever else is at it by then."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from gallery_svc.engine_indexes import LEASE_S, EngineIndexes, TableIndex, is_elsewhere
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.milvus_engine import EngineAddress, EngineIndex, MilvusEngine
from gallery_svc.index.protocol import Removal
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.memory import MemoryStore
from tessera.chassis.clock import ManualClock
from tessera.chassis.ports import free_port
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId

STAFF, MODEL = CollectionId("staff"), ModelId("m@1")
RECORD = CollectionRecord(STAFF, Modality.FACE, MODEL, datetime(2026, 11, 22, tzinfo=UTC), generation="g1")
NOW = RECORD.created_at
PROBE = Embedding.from_raw(np.ones(4), MODEL)


def indexes(store: MemoryStore, holder: str, clock: ManualClock) -> EngineIndexes:
    """Of one process, on an engine that nobody runs: what is refused before it is asked is refused by the lease."""
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{free_port()}", timeout_s=0.1))
    return EngineIndexes(engine, EngineIndex.FLAT, store, holder, clock)


def refusal(index: TableIndex) -> str:
    """Why a search is refused."""
    with pytest.raises(UnavailableError) as refused:
        index.search(PROBE, 1)
    return str(refused.value)


async def test_a_table_has_one_user() -> None:
    """The second one is told whose fault it is, and gets it when the first one has gone."""
    store, clock = MemoryStore(), ManualClock(NOW)
    first, second = indexes(store, "first", clock), indexes(store, "second", clock)
    index = await first.open(RECORD)
    with pytest.raises(UnavailableError, match="another gallery uses the table of collection staff"):
        await second.open(RECORD)
    await first.close()
    assert index.is_shut
    assert not (await second.open(RECORD)).is_shut
    await second.close()


async def test_a_lease_that_ran_out_ends_an_index() -> None:
    """It stops writing in the last third, and searching at the end, without being told by anybody."""
    store, clock = MemoryStore(), ManualClock(NOW)
    here = indexes(store, "here", clock)
    index = await here.open(RECORD)
    clock.advance(0.7 * LEASE_S)
    with pytest.raises(UnavailableError, match="not held longer in time"):
        index.apply([Removal(SubjectId("ada"))])
    clock.advance(0.4 * LEASE_S)
    assert "ran out" in refusal(index)
    assert index.is_shut
    assert index.name_of(SubjectId("ada")) == ""
    await here.close()


async def test_a_lease_is_held_longer_while_it_is_ours() -> None:
    """And when it is somebody else's, the index is shut at once."""
    store, clock = MemoryStore(), ManualClock(NOW)
    here = indexes(store, "here", clock)
    index = await here.open(RECORD)
    for _ in range(3):
        clock.advance(0.6 * LEASE_S)
        await here.renew()
    assert "code" in refusal(index)  # the engine's own refusal: nobody runs it
    await store.drop_lease(f"milvus/{STAFF}", "here")
    assert await store.take_lease(f"milvus/{STAFF}", "somebody", 60.0)
    await here.renew()
    assert "another gallery uses its table" in refusal(index)
    await here.close()


async def test_a_table_that_is_opened_anew_has_one_index() -> None:
    """The one before it would see the table while it is being filled: it answers no more."""
    store, clock = MemoryStore(), ManualClock(NOW)
    here = indexes(store, "here", clock)
    before = await here.open(RECORD)
    after = await here.open(RECORD)
    assert (before.is_shut, after.is_shut, before.name) == (True, False, after.name)
    assert "opened anew" in refusal(before)
    assert is_elsewhere(after)
    assert not is_elsewhere(ExactIndex(MODEL))
    await here.close()
