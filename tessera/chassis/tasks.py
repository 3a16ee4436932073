"""Tasks without loose ends: wait for whichever ends first, and leave none behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first_end(*works: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> None:
    """Wait until one of several ends; the others are cancelled, and have ended when this returns.

    Raises:
        Exception: what the one that ended raised.
    """
    tasks = [work if isinstance(work, asyncio.Task) else asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end_tasks(*tasks)


async def ended(work: Coroutine[Any, Any, T]) -> T:
    """Await work that cannot be left half-way, such as a thread's: a cancellation is passed on once it has ended.

    Raises:
        Exception: what the work raised, unless the caller was cancelled meanwhile.
    """
    task = asyncio.create_task(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        task.exception()  # seen here, so that nobody warns of it
        raise cancellation
    return task.result()


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen here, so that nobody warns of it
