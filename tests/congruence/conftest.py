"""The stores that the suite runs on."""

from __future__ import annotations

import pytest

from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import Store
from tests.congruence.store_world import collection

EVENTS_KEPT = 20


@pytest.fixture(params=[1, 8])
def shards(request: pytest.FixtureRequest) -> int:
    """Parts of the collection."""
    number: int = request.param
    return number


@pytest.fixture
async def store() -> Store:
    """An empty store, prepared."""
    return MemoryStore(events_kept=EVENTS_KEPT)


@pytest.fixture
async def staffed(store: Store, shards: int) -> Store:
    """A store with one empty collection."""
    await store.create_collection(collection(shards=shards))
    return store
