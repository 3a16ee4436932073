"""The child's side of a `worker.Worker`: orders as lines on stdin, answers as lines on stdout, one at a time."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.encoder.worker import READY

Handle = Callable[[dict[str, Any], asyncio.Event], Awaitable[dict[str, Any]]]
"""Does an order and gives the answer; comes to an end soon after the event is set."""


async def follow_orders(handle: Handle) -> None:
    """Do what comes, until the input ends."""
    _say(READY)
    doing: asyncio.Task[None] | None = None
    stop = asyncio.Event()
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if line == "stop":
            stop.set()
            continue
        if doing is not None:
            await doing
        stop = asyncio.Event()
        doing = asyncio.create_task(_do(handle, json.loads(line), stop))
    if doing is not None:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


async def _do(handle: Handle, order: dict[str, Any], stop: asyncio.Event) -> None:
    _say(await handle(order, stop))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
