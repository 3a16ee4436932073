"""The gateway's outbox in memory, on each server that users run, behind Sentinels and in a cluster: the same answers,
fenced and in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway_svc.memory_outbox import MemoryOutbox
from gateway_svc.notifications import DeadLetter, DeadReason
from gateway_svc.outbox import Fence, FencedError, HeldBack, Outbox, OutboxLimits
from gateway_svc.redis_outbox import RedisOutbox
from tests.congruence.conftest import Servers
from tests.gateway_world import START, alert, owed

LIMITS = OutboxLimits(max_waiting=4, max_dead=3, remembered_s=3600.0)
LATER = START + timedelta(seconds=10)


@pytest.fixture
async def outbox(servers: Servers | None) -> AsyncIterator[Outbox]:
    """An empty one."""
    if servers is None:
        yield MemoryOutbox(LIMITS)
        return
    servers.empty()
    opened = RedisOutbox(servers.address, LIMITS)
    yield opened
    await opened.close()


async def held(outbox: Outbox, holder: str = "one") -> Fence:
    """The lease."""
    fence = await outbox.acquire(holder, 60.0)
    assert fence is not None
    return fence


async def test_what_is_owed_and_the_cursor_are_there_together(outbox: Outbox) -> None:
    """A gateway that begins anew finds both, and an event that is told again owes nothing twice."""
    fence = await held(outbox)
    assert await outbox.cursor() == ""
    assert await outbox.accept(fence, "7", [owed(alert()), owed(alert(), "mail")], START) == 2
    assert await outbox.accept(fence, "7", [owed(alert())], START) == 0
    assert await outbox.cursor() == "7"
    assert await outbox.due("door", START, 10) == [owed(alert())]
    assert await outbox.targets() == {"door", "mail"}
    assert (await outbox.depth("door")).waiting == 1
    assert (await outbox.depth("door")).oldest == START


async def test_what_was_delivered_is_owed_no_more_and_not_again(outbox: Outbox) -> None:
    """Also when the log is read from its beginning; until the key is forgotten."""
    fence = await held(outbox)
    await outbox.accept(fence, "1", [owed(alert())], START)
    await outbox.delivered(fence, owed(alert()), START)
    assert await outbox.due("door", LATER, 10) == []
    assert (await outbox.depth("door")).waiting == 0
    assert await outbox.next_due("door") is None
    assert await outbox.accept(fence, "1", [owed(alert())], LATER) == 0
    other = owed(alert("a2"))
    long_after = START + timedelta(seconds=LIMITS.remembered_s + 1)
    await outbox.accept(fence, "2", [other], long_after)
    await outbox.delivered(fence, other, long_after)
    assert await outbox.accept(fence, "1", [owed(alert())], long_after) == 1


async def test_one_incident_is_delivered_in_order_and_others_beside_it(outbox: Outbox) -> None:
    """A revision waits for the one before it, however long that is tried; another incident does not."""
    fence = await held(outbox)
    first, second, other = owed(alert(revision=1)), owed(alert(revision=2)), owed(alert("a2"))
    await outbox.accept(fence, "3", [first, second, other], START)
    assert {one.key for one in await outbox.due("door", START, 10)} == {first.key, other.key}
    tried = first.tried("away")
    await outbox.postpone(fence, tried, LATER)
    assert [one.key for one in await outbox.due("door", START, 10)] == [other.key]
    await outbox.delivered(fence, other, START)
    assert await outbox.next_due("door") == LATER
    assert await outbox.due("door", LATER, 10) == [tried]
    await outbox.delivered(fence, tried, LATER)
    assert [one.key for one in await outbox.due("door", LATER, 10)] == [second.key]


async def test_dead_letters_are_listed_and_sent_again_marked(outbox: Outbox) -> None:
    """Under the same key, behind what waits in its incident; a second time there is nothing left to send again."""
    fence = await held(outbox)
    first, second = owed(alert(revision=1)), owed(alert(revision=2))
    await outbox.accept(fence, "2", [first, second], START)
    letter = DeadLetter(first.tried("answered 400"), DeadReason.REFUSED, "answered 400", START)
    await outbox.bury(fence, letter)
    assert [one.key for one in await outbox.due("door", START, 10)] == [second.key]
    assert await outbox.dead("", 10) == [letter]
    assert await outbox.dead("mail", 10) == []
    assert await outbox.revive([letter], LATER) == 1
    assert await outbox.revive([letter], LATER) == 0
    await outbox.delivered(fence, second, LATER)
    (again,) = await outbox.due("door", LATER, 10)
    assert (again.key, again.replayed, again.attempts, again.accepted_at) == (first.key, True, 0, LATER)
    assert await outbox.dead_count() == 0


async def test_what_has_no_room_is_told_as_such(outbox: Outbox) -> None:
    """More than may wait become dead letters (OVERFLOW), of which only the newest are kept."""
    fence = await held(outbox)
    many = [owed(alert(f"a{n}")) for n in range(9)]
    assert await outbox.accept(fence, "9", many, START) == 9
    assert (await outbox.depth("door")).waiting == LIMITS.max_waiting
    letters = await outbox.dead("door", 10)
    assert [letter.reason for letter in letters] == [DeadReason.OVERFLOW] * LIMITS.max_dead
    assert await outbox.dead_count() == LIMITS.max_dead


async def test_what_was_held_back_is_counted_until_it_is_told(outbox: Outbox) -> None:
    """Also by another gateway; the count never forgets one that came while the target was being told."""
    fence = await held(outbox)
    for name in ("a1", "a2"):
        await outbox.accept(fence, "1", [owed(alert(name))], START)
        await outbox.bury(fence, DeadLetter(owed(alert(name)), DeadReason.HELD_BACK, "", START))
    assert await outbox.held_back("door") == HeldBack(2, 0)
    carrier = owed(alert("a3"))
    await outbox.accept(fence, "3", [carrier], START)
    await outbox.delivered(fence, carrier, START, held_told=1)
    assert (await outbox.held_back("door")).untold == 1
    await outbox.tell_held(fence, "door", 2)
    assert (await outbox.held_back("door")).untold == 0
    assert await outbox.held_back("mail") == HeldBack()


async def test_one_gateway_works_at_a_time(outbox: Outbox) -> None:
    """Another gets the lease when it is released, and then nothing is written under the old one."""
    fence = await held(outbox, "one")
    assert await outbox.acquire("two", 60.0) is None
    assert await outbox.acquire("one", 60.0) == fence
    await outbox.accept(fence, "1", [owed(alert())], START)
    await outbox.release("one", fence)
    newer = await held(outbox, "two")
    assert newer > fence
    for write in (
        outbox.accept(fence, "9", [owed(alert("a9"))], START),
        outbox.delivered(fence, owed(alert()), START),
        outbox.postpone(fence, owed(alert()), LATER),
        outbox.bury(fence, DeadLetter(owed(alert()), DeadReason.EXPIRED, "", START)),
        outbox.tell_held(fence, "door", 1),
        outbox.renew("one", fence, 60.0),
    ):
        with pytest.raises(FencedError):
            await write
    await outbox.release("one", fence)
    assert await outbox.acquire("three", 60.0) is None
    assert await outbox.cursor() == "1"
    assert await outbox.due("door", START, 10) == [owed(alert())]


async def test_a_lease_that_ran_out_is_kept_by_its_holder_until_another_takes_it(outbox: Outbox) -> None:
    """A gateway that the store was away from goes on under the same number when nobody has worked meanwhile."""
    fence = await outbox.acquire("one", 0.001)
    assert fence is not None
    await outbox.renew("one", fence, 60.0)
    assert await outbox.acquire("two", 60.0) is None
    await outbox.accept(fence, "1", [], START)


async def test_an_empty_store_answers(outbox: Outbox) -> None:
    """Nothing is due, nothing dead, nothing held back."""
    await outbox.check()
    assert await outbox.due("door", START, 10) == []
    assert await outbox.dead("", 10) == []
    assert (await outbox.depth("door")).oldest is None
    assert await outbox.targets() == frozenset()
