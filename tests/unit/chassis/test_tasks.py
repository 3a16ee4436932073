"""Tasks without loose ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tessera.chassis.tasks import end_tasks, ended, first_end


async def test_the_first_end_ends_the_others() -> None:
    """What the first raised is raised, and nothing goes on behind it."""
    others = [asyncio.create_task(asyncio.Event().wait()) for _ in range(2)]

    async def failing() -> None:
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"):
        await first_end(*others, failing())
    assert all(task.cancelled() for task in others)


async def test_work_in_a_thread_is_awaited_to_its_end_before_a_cancellation_passes() -> None:
    """A lock around it is held for as long as the thread works, however often the caller is cancelled."""
    may_end, began = threading.Event(), asyncio.Event()
    loop, done = asyncio.get_running_loop(), []

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        may_end.wait(10)
        done.append("whole")

    waiting = asyncio.create_task(ended(asyncio.to_thread(work)))
    await began.wait()
    for _ in range(2):
        waiting.cancel()
        await asyncio.wait((waiting,), timeout=0.05)
        assert not waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done == ["whole"]


async def test_ending_tasks_swallows_whatever_they_end_with() -> None:
    """One that failed before does not keep the others from ending."""

    async def failing() -> None:
        raise ValueError("long ago")

    failed, waiting = asyncio.create_task(failing()), asyncio.create_task(asyncio.Event().wait())
    await asyncio.wait((failed,))
    await end_tasks(failed, waiting)
    assert waiting.cancelled()
