"""A primary dies while the gateway writes what is owed: nothing is owed twice, and nothing never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gateway_svc.outbox import Fence, FencedError
from gateway_svc.redis_outbox import RedisOutbox
from tessera.domain.errors import UnavailableError
from tests.congruence.failover_world import Group, cluster, sentinels
from tests.eventually import eventually
from tests.gateway_world import START, alert, owed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EVENTS = 60
BROKEN_OFF_AFTER = 20


@pytest.mark.parametrize("running", [sentinels, cluster])
async def test_a_failover_loses_no_notification(
    running: Callable[[Path], AbstractContextManager[Group]], tmp_path: Path
) -> None:
    """What a dead primary took along it took with the cursor behind it, so that its events are read again."""
    with running(tmp_path) as group:
        outbox = RedisOutbox(group.address)
        following = asyncio.create_task(_follow(outbox))

        async def enough() -> bool:
            return (await outbox.depth("door")).waiting >= BROKEN_OFF_AFTER

        async def taken_over() -> bool:
            return await asyncio.to_thread(group.is_led_by_another)

        await eventually(enough, 90)
        group.doomed.kill()
        await eventually(taken_over, 90)
        failures = await asyncio.wait_for(following, 90)
        due = [one.key for one in await outbox.due("door", START, 2 * EVENTS)]
        await outbox.close()
    assert sorted(due) == sorted(owed(alert(f"a{number}")).key for number in range(1, EVENTS + 1))
    assert failures > 0, "the failover was over before anything was written"


async def _follow(outbox: RedisOutbox) -> int:
    """Take in one event after the other, as the follower does; returns how often the store was away."""
    failures, at = 0, 0
    fence: Fence | None = None
    while at < EVENTS:
        try:
            fence = fence or await outbox.acquire("gateway", 30.0)
            at = int(await outbox.cursor() or 0)
            if fence is not None and at < EVENTS:
                await outbox.accept(fence, str(at + 1), [owed(alert(f"a{at + 1}"))], START)
                at = int(await outbox.cursor() or 0)
        except FencedError:
            fence = None
        except UnavailableError:
            failures += 1
        await asyncio.sleep(0.02)
    return failures
