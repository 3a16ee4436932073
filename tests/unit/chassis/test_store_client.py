"""The seam to redis-py: what it loses or shows must not reach a service."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as StoreGoneError

from tessera.chassis.store_client import StoreClient
from tessera.domain.errors import UnavailableError

NOWHERE = "redis://127.0.0.1:1"


async def test_a_cancellation_that_the_library_loses_is_not_lost() -> None:
    """Until Python 3.12 `asyncio.wait_for` swallows one that comes with the answer: a sender would never end, and no
    gateway would follow on one that lost its lease."""
    asking = asyncio.Event()

    async def losing() -> int:
        asking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 1
        return 0

    task = asyncio.create_task(StoreClient(NOWHERE, 5.0).answer(losing()))
    await asking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", [StoreGoneError, OSError, RuntimeError])
async def test_a_store_that_is_lost_is_away_and_names_no_address(kind: type[Exception]) -> None:
    """The text may hold a URL with a password. uvloop tells of a connection that was just lost by a RuntimeError."""

    async def failing() -> None:
        raise kind("redis://ada:hunter2@store:6379 is gone")

    with pytest.raises(UnavailableError, match=f"store is unavailable: {kind.__name__}") as error:
        await StoreClient(NOWHERE, 5.0).answer(failing())
    assert "hunter2" not in str(error.value)
