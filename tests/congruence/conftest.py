"""The stores that the suite runs on: memory, the embedded Valkey, and the system's Redis where it is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis import RedisStore
from tests.valkey import PrivateServer, redis_binary, running_server

EVENTS_KEPT = 20


@pytest.fixture(scope="session", params=["memory", "valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer | None]:
    """A server of each kind; None for the store in memory."""
    if request.param == "memory":
        yield None
        return
    binary: Path | None = None
    if request.param == "redis":
        binary = redis_binary()
        if binary is None:
            pytest.skip("redis-server is not installed: that the store holds on Debian's Redis 7 stays unproved")
    with running_server(tmp_path_factory.mktemp(request.param), binary) as running:
        yield running


@pytest.fixture
async def store(server: PrivateServer | None) -> AsyncIterator[Store]:
    """An empty store, prepared."""
    if server is None:
        yield MemoryStore(events_kept=EVENTS_KEPT)
        return
    redis = RedisStore(server.url, events_kept=EVENTS_KEPT)
    async with Redis.from_url(server.url) as client:
        await client.flushall()
    await redis.prepare()
    yield redis
    await redis.close()
