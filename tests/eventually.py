"""Waiting for a condition, with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 40.0
"""For a machine on which others work as well; what comes true is not waited for."""
_PACE_S = 0.02


async def eventually(condition: Callable[[], Awaitable[T]], limit_s: float = LIMIT_S) -> T:
    """Ask until the answer is true.

    Raises:
        TimeoutError: it was never true within the limit.
    """
    async with asyncio.timeout(limit_s):
        while True:
            answer = await condition()
            if answer:
                return answer
            await asyncio.sleep(_PACE_S)
