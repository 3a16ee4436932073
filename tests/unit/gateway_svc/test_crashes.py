"""A gateway that ends at each step of the outbox, and another that comes after it on the same store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway_svc.memory_outbox import MemoryOutbox
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.service import Gateway, wire_parts
from gateway_svc.settings import GatewaySettings
from tessera.chassis.clock import ManualClock
from tessera.chassis.tasks import end_tasks
from tests.eventually import eventually
from tests.gateway_world import START, EventLogByHand, Receiver, alert, running_receiver, webhook_target

STEPS = ("before accept", "after accept", "before deliver", "after deliver", "before delivered", "after delivered")


class Crash(BaseException):
    """Nobody catches it: as good as kill -9, for what lives in the process."""


class Breaking:
    """Stands before an outbox or a deliverer, and ends everything at one step, once."""

    def __init__(self, behind: Any, step: str) -> None:
        self._behind = behind
        self._when, self._method = step.split(" ")
        self.has_crashed = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._behind, name)
        if name != self._method:
            return method

        async def broken(*arguments: Any, **named: Any) -> Any:
            if self._when == "before":
                self._crash()
            answer = await method(*arguments, **named)
            if not (name == "accept" and not arguments[2]):  # a beat writes the cursor alone
                self._crash()
            return answer

        return broken

    def _crash(self) -> None:
        if not self.has_crashed:
            self.has_crashed = True
            raise Crash


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """One that takes everything."""
    async with running_receiver() as running:
        yield running


@asynccontextmanager
async def gateway(log: EventLogByHand, outbox: Any, url: str, step: str = "") -> AsyncIterator[asyncio.Task[None]]:
    """A gateway that runs until the end of the block, or until it crashes."""
    settings = GatewaySettings(store_url="memory", lease_s=0.3, allowed_networks="127.0.0.0/8")
    target, metrics, clock = webhook_target(url), GatewayMetrics(CollectorRegistry()), ManualClock(START)
    breaking = Breaking(outbox, step) if step.endswith(("accept", "delivered")) else outbox

    def wired(**others: Any) -> Gateway:
        return wire_parts(
            settings,
            [target],
            holder=step or "next",
            source=log,
            clock=clock,
            metrics=metrics,
            outbox=breaking,
            **others,
        )

    parts = wired()
    if step.endswith("deliver"):
        deliverer: Any = Breaking(parts.deliverers["door"], step)
        parts = wired(make_deliverer=lambda _: deliverer)
    running = asyncio.create_task(parts.worker.run())
    try:
        yield running
    finally:
        await end_tasks(running)
        for one in parts.deliverers.values():
            await one.close()


@pytest.mark.parametrize("step", STEPS)
async def test_a_gateway_that_ends_at_any_step_loses_nothing(receiver: Receiver, step: str) -> None:
    """The next one delivers what is owed; what comes twice comes under the same key."""
    log, outbox = EventLogByHand(), MemoryOutbox()
    async with gateway(log, outbox, receiver.url):
        log.tell(alert("first"))

        async def has_cursor() -> bool:
            return await outbox.cursor() != ""

        await eventually(has_cursor)
    async with gateway(log, outbox, receiver.url, step) as running:
        log.tell(alert("a"))
        with pytest.raises(Crash):
            await running
    log.tell(alert("b"))
    async with gateway(log, outbox, receiver.url):

        async def all_delivered() -> bool:
            done = {"a/1/door", "b/1/door"} <= set(receiver.keys)
            return done and (await outbox.depth("door")).waiting == 0

        await eventually(all_delivered)
    expected_twice = step in {"after deliver", "before delivered"}
    assert receiver.keys.count("a/1/door") == (2 if expected_twice else 1)
    assert receiver.keys.count("b/1/door") == 1
