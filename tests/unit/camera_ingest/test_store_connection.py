"""The seam to redis-py: what it loses or shows must not reach the cameras."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as StoreGoneError

from camera_ingest.store import StoreConnection
from tessera.domain.errors import UnavailableError


@pytest.fixture
def connection() -> StoreConnection:
    """To a store that nobody asks: what its client does is the test's."""
    return StoreConnection("redis://ada:hunter2@127.0.0.1:1/0")


async def test_a_cancellation_that_the_library_loses_is_not_lost(
    connection: StoreConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until Python 3.12 `asyncio.wait_for` swallows one that comes with the answer: who asks in a loop would never
    end."""
    asking = asyncio.Event()

    async def losing(*_: Any) -> int:
        asking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 1
        return 0

    monkeypatch.setattr(connection._client, "eval", losing)
    task = asyncio.create_task(connection.run("return 1"))
    await asking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", [StoreGoneError, OSError, RuntimeError])
async def test_a_store_that_is_lost_is_away_and_names_no_address(
    connection: StoreConnection, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """The text may hold a URL with a password. uvloop tells of a connection that was just lost by a RuntimeError."""

    async def failing(*_: Any) -> None:
        raise kind("redis://ada:hunter2@127.0.0.1:1/0 is gone")

    monkeypatch.setattr(connection._client, "eval", failing)
    with pytest.raises(UnavailableError, match=f"store is unavailable: {kind.__name__}") as error:
        await connection.run("return 1")
    assert "hunter2" not in str(error.value)
