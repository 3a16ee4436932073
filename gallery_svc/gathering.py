"""Before something is done for many at once: whoever is on the way to it arrives first.

A lone scan or write costs a busy process two to three times as much for each caller as one that several share. Nobody
is made to wait for a timer: the loop turns a few times, which takes an idle one some microseconds, and a busy one as
long as the work takes that brings the others here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized

QUIET_TURNS = 8
"""The steps between two calls that come together and their being here differ by fewer."""
MOST_S = 0.01
"""Whatever the loop does meanwhile."""


async def until_nobody_comes(waiting: Sized, most: int) -> None:
    """Let the loop turn until nobody came for some turns, so many are there, or it took too long.

    Args:
        waiting: who has come; others are added meanwhile.
        most: more have no place in what they wait for.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + MOST_S
    quiet, seen = 0, len(waiting)
    while quiet < QUIET_TURNS and seen < most and loop.time() < until_s:
        await asyncio.sleep(0)
        came, seen = len(waiting) - seen, len(waiting)
        quiet = 0 if came else quiet + 1
