"""What the gateway does with what is owed, towards a real HTTP receiver, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway_svc.memory_outbox import MemoryOutbox
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.networks import Allowed, parse_networks
from gateway_svc.notifications import DeadReason
from gateway_svc.outbox import Fence
from gateway_svc.sending import Backoff, Sender
from gateway_svc.targets import Flood, Late, Target
from gateway_svc.webhook import WebhookDeliverer
from tessera.chassis.clock import ManualClock
from tessera.chassis.tasks import end_tasks
from tests.eventually import eventually
from tests.gateway_world import START, Receiver, alert, owed, running_receiver, webhook_target

INSIDE = Allowed(parse_networks("networks", "127.0.0.0/8"))


@dataclass
class Rig:
    """One sender, its outbox, and its receiver."""

    target: Target
    outbox: MemoryOutbox
    sender: Sender
    clock: ManualClock
    metrics: GatewayMetrics
    fence: Fence
    cursor: int = 0

    async def owe(self, *happenings: Any) -> None:
        """Put something into the outbox."""
        self.cursor += 1
        notifications = [owed(happening, self.target.name) for happening in happenings]
        now = self.clock.now()
        notifications = [replace(one, accepted_at=now) for one in notifications]
        await self.outbox.accept(self.fence, str(self.cursor), notifications, now)
        self.sender.wake()

    async def waiting(self) -> int:
        """How many wait."""
        return (await self.outbox.depth(self.target.name)).waiting

    async def settled(self) -> None:
        """Wait until nothing is owed."""

        async def nothing() -> bool:
            return await self.waiting() == 0

        await eventually(nothing)

    async def nothing_due(self) -> bool:
        """Whether every attempt that is due by now has failed and was put off."""
        return not await self.outbox.due(self.target.name, self.clock.now(), 100)

    async def reasons(self) -> list[DeadReason]:
        """Of the dead letters, the newest first."""
        return [letter.reason for letter in await self.outbox.dead("", 100)]

    def counted(self, outcome: str) -> float:
        """Deliveries by outcome."""
        labels = {"target": self.target.name, "outcome": outcome}
        return self.metrics.registry.get_sample_value("tessera_gateway_deliveries_total", labels) or 0.0


class Latest(random.Random):
    """Takes the end of each range: the longest pause."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


@asynccontextmanager
async def sending(url: str, allowed: Allowed = INSIDE, **fields: Any) -> AsyncIterator[Rig]:
    """A sender that runs until the end of the block."""
    target, clock, outbox = webhook_target(url, **fields), ManualClock(START), MemoryOutbox()
    metrics = GatewayMetrics(CollectorRegistry())
    deliverer = WebhookDeliverer(target.way, allowed, target.timeout_s)
    sender = Sender(
        target, deliverer, outbox, clock=clock, metrics=metrics, backoff=Backoff(1.0, 300.0), chance=Latest()
    )
    fence = await outbox.acquire("test", 1e6)
    assert fence is not None
    running = asyncio.create_task(sender.run(fence))
    try:
        yield Rig(target, outbox, sender, clock, metrics, fence)
    finally:
        await end_tasks(running)
        await deliverer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """One that takes everything."""
    async with running_receiver() as running:
        yield running


def truth(condition: Callable[[], object]) -> Callable[[], Awaitable[bool]]:
    """A condition as `eventually` wants it."""

    async def asked() -> bool:
        return bool(condition())

    return asked


async def test_a_receiver_that_is_away_for_ten_minutes_misses_nothing(receiver: Receiver) -> None:
    """Each notification comes once it answers again, under the key of its first attempt; those that are late say so."""
    receiver.answers.extend(itertools.repeat(503, 1000))
    async with sending(receiver.url, late=Late.DELIVER) as rig:
        await rig.owe(*(alert(f"a{n}") for n in range(5)))
        for _ in range(60):
            rig.clock.advance(10)
            rig.sender.wake()
            await eventually(rig.nothing_due)
        assert await rig.waiting() == 5
        attempts = len(receiver.requests)
        receiver.answers.clear()
        rig.clock.advance(300)
        rig.sender.wake()
        await rig.settled()
        assert {request.key for request in receiver.requests[attempts:]} == {f"a{n}/1/door" for n in range(5)}
        assert all(request.content["late"] for request in receiver.requests[attempts:])
        assert not any(request.content["late"] for request in receiver.requests[:5])
        # 1 s, 2 s, 4 s, ...: fewer than a dozen attempts each in ten minutes, at the longest pauses.
        assert 5 * 5 <= attempts <= 5 * 12
        assert (rig.counted("failed"), rig.counted("late")) == (attempts, 5)


async def test_an_old_event_is_not_delivered(receiver: Receiver) -> None:
    """By default what no longer holds is recorded as expired, before the first attempt and between attempts."""
    receiver.answers.append(503)
    async with sending(receiver.url) as rig:
        await rig.owe(alert("a1", valid_s=0.0))
        await rig.settled()
        assert receiver.requests == []
        await rig.owe(alert("a2", valid_s=30.0))
        await eventually(truth(lambda: rig.counted("failed")))
        rig.clock.advance(31)
        rig.sender.wake()
        await rig.settled()
        assert receiver.keys == ["a2/1/door"]
        assert await rig.reasons() == [DeadReason.EXPIRED] * 2
        assert rig.counted("expired") == 2


async def test_what_a_person_sends_again_is_marked(receiver: Receiver) -> None:
    """It comes under its key, as replayed and late, also where late events are not wanted."""
    async with sending(receiver.url) as rig:
        await rig.owe(alert(valid_s=0.0))
        await rig.settled()
        await rig.outbox.revive(await rig.outbox.dead("door", 10), rig.clock.now())
        rig.sender.wake()
        await rig.settled()
        (request,) = receiver.requests
        assert request.key == "a1/1/door"
        assert (request.content["replayed"], request.content["late"]) == (True, True)
        assert rig.counted("replayed") == 1


@pytest.mark.parametrize("status", [302, 307, 400, 410, 422])
async def test_a_refusal_is_not_tried_again(receiver: Receiver, status: int) -> None:
    """A redirect is one: it is never followed, wherever it points."""
    receiver.answers.append(status)
    receiver.headers["Location"] = "/elsewhere"
    async with sending(receiver.url) as rig:
        await rig.owe(alert())
        await rig.settled()
        assert [request.path for request in receiver.requests] == ["/hook"]
        assert await rig.reasons() == [DeadReason.REFUSED]


@pytest.mark.parametrize("status", [401, 404, 409, 429, 500, 503])
async def test_what_may_pass_is_tried_again(receiver: Receiver, status: int) -> None:
    """A receiver that is wrongly set up, busy or broken gets it when it is not any more: with another nonce."""
    receiver.answers.append(status)
    async with sending(receiver.url) as rig:
        await rig.owe(alert())
        await eventually(truth(lambda: rig.counted("failed")))
        rig.clock.advance(1)
        rig.sender.wake()
        await rig.settled()
        first, second = receiver.requests
        assert first.key == second.key
        assert first.headers["Tessera-Nonce"] != second.headers["Tessera-Nonce"]
        assert first.headers["Tessera-Signature"] != second.headers["Tessera-Signature"]


async def test_a_receiver_is_left_alone_for_as_long_as_it_asks(receiver: Receiver) -> None:
    """Retry-After beats a shorter pause."""
    receiver.answers.append(429)
    receiver.headers["Retry-After"] = "40"
    async with sending(receiver.url) as rig:
        await rig.owe(alert())
        await eventually(truth(lambda: rig.counted("failed")))

        async def postponed() -> bool:
            due = await rig.outbox.next_due("door")
            return due is not None and (due - rig.clock.now()).total_seconds() == 40

        await eventually(postponed)


async def test_what_fails_for_too_long_is_given_up(receiver: Receiver) -> None:
    """Its last error stands in the dead letter."""
    receiver.answers.extend([503] * 9)
    async with sending(receiver.url, give_up_after_s=100.0, late=Late.DELIVER) as rig:
        await rig.owe(alert())
        await eventually(truth(lambda: rig.counted("failed")))
        rig.clock.advance(101)
        rig.sender.wake()
        await rig.settled()
        (letter,) = await rig.outbox.dead("", 10)
        assert (letter.reason, letter.detail) == (DeadReason.GAVE_UP, "answered 503")


async def test_one_incident_comes_in_order(receiver: Receiver) -> None:
    """The second revision waits while the first is tried again; another incident passes both."""
    receiver.answers.append(503)
    async with sending(receiver.url) as rig:
        await rig.owe(alert("a1"))
        await eventually(truth(lambda: rig.counted("failed")))
        await rig.owe(alert("a1", 2), alert("a2"))
        await eventually(truth(lambda: len(receiver.requests) == 2))
        rig.clock.advance(1)
        rig.sender.wake()
        await rig.settled()
        assert receiver.keys == ["a1/1/door", "a2/1/door", "a1/1/door", "a1/2/door"]
        assert {request.content["thread"] for request in receiver.requests} == {"a1", "a2"}


async def test_a_flood_is_held_back_and_its_size_is_told(receiver: Receiver) -> None:
    """Three come; the next one after the pause says how many did not; what is critical is never held back."""
    async with sending(receiver.url, flood=Flood(3, 60.0), at_a_time=1) as rig:
        for n in range(10):
            await rig.owe(alert(f"a{n}", valid_s=600))
        await rig.settled()
        assert len(receiver.requests) == 3
        await rig.owe(alert("worse", severity="CRITICAL", valid_s=600))
        await rig.settled()
        assert (receiver.requests[-1].key, receiver.requests[-1].content["held_back"]) == ("worse/1/door", 7)
        rig.clock.advance(20)
        await rig.owe(alert("b", valid_s=600))
        await rig.settled()
        assert receiver.requests[-1].content["held_back"] == 0
        assert await rig.reasons() == [DeadReason.HELD_BACK] * 7


async def test_when_a_flood_is_over_its_size_is_told_without_another_alert(receiver: Receiver) -> None:
    """By a message of its own, once."""
    async with sending(receiver.url, flood=Flood(1, 60.0)) as rig:
        for n in range(3):
            await rig.owe(alert(f"a{n}"))
        await rig.settled()
        rig.clock.advance(61)
        rig.sender.wake()
        await eventually(truth(lambda: len(receiver.requests) == 2))
        told = receiver.requests[-1].content
        assert (told["kind"], told["held_back"], told["key"]) == ("HELD_BACK", 2, "held-back:0-2/1/door")
        rig.clock.advance(61)

        async def known() -> bool:
            return (await rig.outbox.held_back("door")).untold == 0

        await eventually(known)
        assert len(receiver.requests) == 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/x", "http://localhost:{}/x", "http://[::ffff:127.0.0.1]:{}/x"])
async def test_a_webhook_cannot_be_pointed_inside_by_accident(receiver: Receiver, url: str) -> None:
    """An address that is not public is refused, written as an address or as a name, unless a setting allows it."""
    async with sending(url.format(receiver.port), Allowed(())) as rig:
        await rig.owe(alert())
        await rig.settled()
        assert receiver.requests == []
        (letter,) = await rig.outbox.dead("", 10)
        assert letter.reason is DeadReason.REFUSED
        assert "no public address" in letter.detail


async def test_attempts_under_way_are_finished(receiver: Receiver) -> None:
    """At the end nothing new begins, and what was sent is struck off when its answer comes."""
    receiver.may_answer.clear()
    async with sending(receiver.url, at_a_time=1) as rig:
        await rig.owe(alert("a1"), alert("a2"))
        await receiver.came.wait()
        rig.sender.finish()
        receiver.may_answer.set()

        async def one_is_left() -> bool:
            return await rig.waiting() == 1

        await eventually(one_is_left)
        assert receiver.keys == ["a1/1/door"]


async def test_a_receiver_that_never_answers_is_given_up_on(receiver: Receiver) -> None:
    """An attempt has a limit, and is tried again."""
    receiver.may_answer.clear()
    async with sending(receiver.url, timeout_s=0.05) as rig:
        await rig.owe(alert())
        await eventually(truth(lambda: rig.counted("failed")))
        assert await rig.waiting() == 1


def test_pauses_are_random_within_a_range_that_doubles() -> None:
    """Full jitter: from 0 to 1, 2, 4, ... and never beyond the longest."""
    backoff, chance = Backoff(1.0, 60.0), random.Random(3)
    for attempts, longest_s in ((1, 1.0), (2, 2.0), (5, 16.0), (9, 60.0), (500, 60.0)):
        drawn = [backoff.pause_s(attempts, chance) for _ in range(500)]
        assert 0 <= min(drawn) < 0.1 * longest_s
        assert 0.9 * longest_s < max(drawn) <= longest_s
