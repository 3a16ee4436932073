"""What most tests of the gallery over gRPC stand on: a real server for each file, and a gallery over each store.

A file whose gallery needs people, settings or thresholds of its own has a `world` of its own, over the same `store`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.eventually import eventually
from tests.gallery_world import World, emptied, running_world
from tests.valkey import PrivateServer, running_server


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: PrivateServer) -> str:
    """The address of each store, with nothing in it."""
    return await emptied(valkey) if request.param == "valkey" else "memory"


@pytest.fixture
async def world(store: str) -> AsyncIterator[World]:
    """A gallery that is ready, over each store."""
    async with running_world(store) as running:
        await eventually(running.is_ready)
        yield running
