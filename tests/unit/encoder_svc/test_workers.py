"""Threads beside the networks: each class its own, errors arrive, cancelled work is not begun."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from encoder_svc.scheduling.work import WorkClass
from encoder_svc.workers import Workers
from tessera.domain.errors import UnavailableError

INTERACTIVE, STREAM = WorkClass.INTERACTIVE, WorkClass.STREAM


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[Workers]:
    """One thread for each class."""
    made = Workers(1)
    yield made
    made.close()


async def test_a_verify_call_does_not_wait_behind_frames(workers: Workers) -> None:
    """All threads of cameras are busy, and its own is not."""
    may_go = threading.Event()
    frames = [asyncio.create_task(workers.run(STREAM, may_go.wait, 10.0)) for _ in range(3)]
    try:
        assert await asyncio.wait_for(workers.run(INTERACTIVE, sum, (1, 2)), 10) == 3
        assert not any(frame.done() for frame in frames)
    finally:
        may_go.set()
    assert await asyncio.gather(*frames) == [True] * 3


async def test_what_the_work_raises_reaches_its_caller(workers: Workers) -> None:
    """And the thread goes on."""
    with pytest.raises(ZeroDivisionError):
        await workers.run(STREAM, divmod, 1, 0)
    assert await workers.run(STREAM, divmod, 3, 2) == (1, 1)


async def test_work_that_is_wanted_no_longer_is_not_begun(workers: Workers) -> None:
    """While it waits for a thread."""
    may_go, done = threading.Event(), []
    busy = asyncio.create_task(workers.run(STREAM, may_go.wait, 10.0))
    gone = asyncio.create_task(workers.run(STREAM, done.append, "gone"))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    may_go.set()
    await busy
    await workers.run(STREAM, done.append, "after")
    assert done == ["after"]


async def test_after_the_end_nothing_is_taken() -> None:
    """The caller hears that the encoder is unavailable, and not of a defect."""
    workers = Workers(1)
    workers.close()
    with pytest.raises(UnavailableError):
        await workers.run(STREAM, sum, (1, 2))
