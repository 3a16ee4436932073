"""How the gateway follows the event log, and what it shows of what it owes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from gateway_svc.happenings import Kind
from gateway_svc.memory_outbox import MemoryOutbox
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.outbox import Fence
from gateway_svc.service import Gateway, wire_parts
from gateway_svc.settings import GatewaySettings
from gateway_svc.targets import Only, Target
from tessera.chassis.clock import ManualClock
from tessera.chassis.tasks import end_tasks
from tests.eventually import eventually
from tests.gateway_world import START, EventLogByHand, Receiver, alert, owed, running_receiver, webhook_target


@dataclass
class Rig:
    """A gateway that runs, and what is around it."""

    gateway: Gateway
    outbox: MemoryOutbox
    metrics: GatewayMetrics
    clock: ManualClock

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"tessera_gateway_{name}", labels)


@asynccontextmanager
async def running(
    log: EventLogByHand, targets: Sequence[Target], outbox: MemoryOutbox | None = None
) -> AsyncIterator[Rig]:
    outbox, metrics, clock = outbox or MemoryOutbox(), GatewayMetrics(CollectorRegistry()), ManualClock(START)
    settings = GatewaySettings(store_url="memory", allowed_networks="127.0.0.0/8")
    gateway = wire_parts(settings, targets, holder="it", source=log, clock=clock, metrics=metrics, outbox=outbox)
    task = asyncio.create_task(gateway.worker.run())
    try:
        yield Rig(gateway, outbox, metrics, clock)
    finally:
        await end_tasks(task)
        await gateway.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """One that takes everything."""
    async with running_receiver() as made:
        yield made


async def test_what_waits_and_what_is_dead_is_shown(receiver: Receiver) -> None:
    """Depth and age by target, dead letters, and whether this gateway works."""
    receiver.answers.extend([400] + [503] * 1000)
    log = EventLogByHand()
    async with running(log, [webhook_target(receiver.url)]) as rig:

        async def follows() -> bool:
            return rig.value("following") == 1

        await eventually(follows)
        log.tell(alert("refused"))

        async def one_is_dead() -> bool:
            return rig.value("dead_letters") == 1

        await eventually(one_is_dead)
        log.tell(alert("waits", at=START - timedelta(seconds=30)))

        async def one_waits() -> bool:
            return rig.value("outbox_depth", target="door") == 1

        await eventually(one_waits)
        assert rig.value("outbox_oldest_seconds", target="door") == 30.0
        assert rig.value("leading") == 1
        assert rig.value("accepted_total", target="door") == 2
        assert rig.value("deliveries_total", target="door", outcome="refused") == 1


async def test_events_that_owe_nothing_are_not_written_one_by_one(receiver: Receiver) -> None:
    """The place in the log follows at the next event that owes something, and after a hundred that do not."""
    log, target = EventLogByHand(), webhook_target(receiver.url, only=Only(cameras=frozenset({"gate"})))
    async with running(log, [target]) as rig:

        async def cursor() -> str:
            return await rig.outbox.cursor()

        await eventually(cursor)
        for number in range(150):
            log.tell(alert(f"a{number}"))

        async def all_were_read() -> bool:
            return rig.value("events_total", kind="ALERT") == 150

        await eventually(all_were_read)
        assert await rig.outbox.cursor() == "100"
        log.tell(replace(alert("here"), camera_id="gate"))

        async def came() -> bool:
            return receiver.keys == ["here/1/door"]

        await eventually(came)
        assert await rig.outbox.cursor() == "151"


async def test_without_targets_alerts_alone_are_followed() -> None:
    """So that a target that comes later is told from then on, and not of every alert there ever was."""
    log = EventLogByHand()
    async with running(log, []) as rig:

        async def follows() -> bool:
            return rig.value("following") == 1

        await eventually(follows)
        assert log.kinds == [{Kind.ALERT}]


async def test_what_waits_for_a_target_that_was_taken_out_is_told_as_dead(receiver: Receiver) -> None:
    """It would wait for ever."""
    outbox = MemoryOutbox()
    fence = await outbox.acquire("it", 1e6)
    assert fence is not None
    await outbox.accept(Fence(fence), "0", [owed(alert(), "gone")], START)
    async with running(EventLogByHand(), [webhook_target(receiver.url)], outbox):

        async def is_dead() -> bool:
            return [letter.reason for letter in await outbox.dead("gone", 10)] == ["NO_TARGET"]

        await eventually(is_dead)
