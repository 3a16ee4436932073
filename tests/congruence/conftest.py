"""The stores that the suite runs on: in memory, on three kinds of server, behind Sentinels, and in a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from tests.congruence.redis_world import TIMEOUT_S
from tests.congruence.store_world import collection
from tests.servers import PrivateServer, binary_of, running_cluster, running_sentinels, running_server

EVENTS_KEPT = 20
ALERTS_KEPT = 30


@dataclass(frozen=True, slots=True)
class Servers:
    """Where a store is, and who may hold something of it."""

    address: str
    primaries: tuple[PrivateServer, ...]

    def empty(self) -> None:
        """Forget everything, the scripts as well."""
        for server in self.primaries:
            with Redis(port=server.port, protocol=2, socket_timeout=5.0) as client:
                client.flushall()
                client.script_flush()


PEACE_S = 60.0
"""Nothing dies here: a primary that a busy machine keeps from answering is not to be replaced."""


@contextlib.contextmanager
def _running(kind: str, folder: Path) -> Iterator[Servers | None]:
    if kind == "memory":
        yield None
    elif kind == "sentinel":
        with running_sentinels(folder, down_after_s=PEACE_S) as group:
            yield Servers(group.address, (group.servers.primary,))
    elif kind == "cluster":
        with running_cluster(folder, down_after_s=PEACE_S) as cluster:
            yield Servers(cluster.address, cluster.primaries)
    else:
        binary = binary_of(kind)
        if binary is None:
            pytest.skip(f"{kind} is not installed: that the store holds on it stays unproved")
        with running_server(folder, binary, "--appendfsync", "everysec") as server:
            yield Servers(server.url, (server,))


@pytest.fixture(
    scope="session",
    params=[
        "memory",
        "valkey",
        "redis7",
        "redis8",
        pytest.param("sentinel", marks=pytest.mark.slow),
        pytest.param("cluster", marks=pytest.mark.slow),
    ],
)
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers | None]:
    """Servers of each kind; None for the store in memory."""
    with _running(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(params=[1, 8])
def shards(request: pytest.FixtureRequest) -> int:
    """Parts of the collection."""
    number: int = request.param
    return number


@pytest.fixture
async def store(servers: Servers | None) -> AsyncIterator[Store]:
    """An empty store, prepared."""
    if servers is None:
        yield MemoryStore(events_kept=EVENTS_KEPT, alerts_kept=ALERTS_KEPT)
        return
    servers.empty()
    door = open_door(servers.address, Durability("everysec"), timeout_s=TIMEOUT_S)
    sealer = Sealer(Keyring.load("ephemeral"))
    redis = RedisStore(door, sealer, Unstamped(), events_kept=EVENTS_KEPT, alerts_kept=ALERTS_KEPT)
    try:
        await redis.prepare()
        yield redis
    finally:
        await redis.close()


@pytest.fixture
async def staffed(store: Store, shards: int) -> Store:
    """A store with one empty collection."""
    await store.create_collection(collection(shards=shards))
    return store
