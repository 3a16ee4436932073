"""What is told of the store's servers: by real ones, in memory, on disk and over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.door import NodeInfo
from gallery_svc.store_watch import StoreWatch
from tests.eventually import eventually
from tests.gallery_world import World, running_world
from tests.servers import running_server


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with running_server(tmp_path / "store") as server:
        async with running_world(server.url) as running:
            await eventually(running.is_ready)
            yield running


async def test_memory_and_files_of_a_real_server_are_told(world: World) -> None:
    """Its memory is below its limit, and it writes its files; told that its limit is another, the gauge follows."""
    node = await _node_of(world)

    async def is_told() -> bool:
        return world.value("tessera_gallery_store_persists", node=node) == 1.0

    await eventually(is_told)
    used = world.value("tessera_gallery_store_memory_bytes", node=node) or 0.0
    limit = world.value("tessera_gallery_store_memory_limit_bytes", node=node) or 0.0
    assert 100_000 < used < limit
    assert world.value("tessera_gallery_store_replicas", node=node) == 0.0
    assert world.value("tessera_gallery_store_certificate_not_after_timestamp_seconds", node=node) is None

    async with Redis(host=node.split(":")[0], port=int(node.split(":")[1])) as client:
        await client.config_set("maxmemory", "64mb")

    async def follows() -> bool:
        return world.value("tessera_gallery_store_memory_limit_bytes", node=node) == 64 * 2**20

    await eventually(follows)


def test_trouble_of_each_kind_is_told() -> None:
    """A file that cannot be written, a rewrite that failed or no file at all: it does not persist. Who is gone is told
    no longer, and who does not answer is not made up."""
    metrics = GalleryMetrics(CollectorRegistry())
    watch = StoreWatch(None, metrics)
    watch.show(
        [
            NodeInfo("a:1", "primary", appendonly=True, write_failed=True, certificate_ends_s=1.9e9),
            NodeInfo("b:1", "replica", appendonly=True, rewrite_failed=True),
            NodeInfo("c:1", "replica", appendonly=False),
            NodeInfo("d:1", "replica", appendonly=True),
            NodeInfo("e:1", "replica", reachable=False),
        ]
    )
    told = {
        node: metrics.registry.get_sample_value("tessera_gallery_store_persists", {"node": f"{node}:1"})
        for node in "abcde"
    }
    ends = "tessera_gallery_store_certificate_not_after_timestamp_seconds"
    assert told == {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0, "e": None}
    assert metrics.registry.get_sample_value(ends, {"node": "a:1"}) == 1.9e9
    watch.show([])
    assert metrics.registry.get_sample_value("tessera_gallery_store_persists", {"node": "a:1"}) is None


async def _node_of(world: World) -> str:
    async def node() -> str:
        families = world.gallery.metrics.store_memory.collect()
        return next((sample.labels["node"] for family in families for sample in family.samples), "")

    return await eventually(node)
