"""Those who come close together go together, nobody waits for one who does not come, and a busy loop holds nobody."""

from __future__ import annotations

import asyncio
import time

from gallery_svc.gathering import MOST_S, QUIET_TURNS, until_nobody_comes


async def _come(waiting: list[int], turns: int, number: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.append(number)


async def test_callers_who_are_a_few_turns_apart_go_together() -> None:
    """However many they are: each of them is followed by another one soon."""
    waiting = [0]
    coming = [asyncio.create_task(_come(waiting, turn, turn)) for turn in range(1, 5 * QUIET_TURNS, QUIET_TURNS - 2)]
    await until_nobody_comes(waiting, 64)
    assert len(waiting) == 1 + len(coming)


async def test_nobody_waits_for_those_who_come_much_later() -> None:
    """There is no timer."""
    waiting = [0]
    late = asyncio.create_task(_come(waiting, 3 * QUIET_TURNS, 1))
    await until_nobody_comes(waiting, 64)
    assert waiting == [0]
    await late


async def test_a_full_batch_goes_at_once() -> None:
    """Who comes now would not have a place in it."""
    waiting, coming = [0, 1], asyncio.create_task(asyncio.sleep(0))
    await until_nobody_comes(waiting, 2)
    assert not coming.done()
    await coming


async def test_a_loop_that_is_busy_holds_nobody_for_long() -> None:
    """Not even when there is always one more on the way."""
    waiting = [0]

    async def come_for_ever() -> None:
        while True:
            time.sleep(MOST_S / 3)  # noqa: ASYNC251 - a loop that has much to do
            waiting.append(len(waiting))
            await asyncio.sleep(0)

    coming = asyncio.create_task(come_for_ever())
    await until_nobody_comes(waiting, 1_000)
    assert len(waiting) <= 6
    coming.cancel()
