"""MQTT targets on a real Mosquitto: events once, states kept, and no reconnect that makes an old match new."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway_svc.delivering import DeliveryError
from gateway_svc.happenings import Happening, Kind
from gateway_svc.memory_outbox import MemoryOutbox
from gateway_svc.messages import Message
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.mqtt import MqttDeliverer
from gateway_svc.notifications import DeadReason
from gateway_svc.sending import Backoff, Sender
from gateway_svc.targets import Mqtt, Target
from tessera.chassis.clock import SystemClock
from tessera.chassis.tasks import end_tasks
from tests.eventually import eventually
from tests.gateway_world import alert, owed
from tests.mosquitto import Broker, Subscriber, mosquitto_binary, running_broker

pytestmark = pytest.mark.skipif(
    mosquitto_binary() is None,
    reason="mosquitto is not installed: that a reconnect delivers no old match as new stays unproved",
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own."""
    with running_broker(tmp_path) as running:
        yield running


@pytest.fixture
async def deliverer(broker: Broker) -> AsyncIterator[MqttDeliverer]:
    """The gateway's way there."""
    made = MqttDeliverer(Mqtt("127.0.0.1", broker.port), "gateway", 10.0)
    yield made
    await made.close()


def message(happening: Happening, **fields: bool) -> Message:
    """One attempt, now."""
    return Message(f"{happening.incident}/1/house", "house", happening, datetime.now(UTC), **fields)


def truth(condition: Callable[[], object]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return bool(condition())

    return asked


def now_alert(name: str = "a1", **fields: Any) -> Happening:
    return alert(name, at=datetime.now(UTC), **fields)


async def test_events_are_never_retained_and_states_never_look_like_events(
    broker: Broker, deliverer: MqttDeliverer
) -> None:
    """Who comes later is told the state alone: without a key, without `valid_until`, in another schema."""
    with Subscriber(broker.port, "early") as early:
        await deliverer.deliver(message(now_alert()))
        await eventually(truth(lambda: early.under("tessera/events/") and early.under("tessera/state/alert/a1")))
        (event,) = early.under("tessera/events/")
        assert (event.topic, event.retained) == ("tessera/events/alert/yard", False)
        told = json.loads(event.text)
        assert (told["event_type"], told["key"], told["schema"]) == ("alert", "a1/1/house", "tessera.notification/1")
        assert datetime.fromisoformat(told["valid_until"]) > datetime.now(UTC)
    with Subscriber(broker.port, "late") as late:
        await eventually(truth(lambda: late.under("tessera/state/") and late.under("homeassistant/")))
        assert late.under("tessera/events/") == []
        (state,) = late.under("tessera/state/")
        kept = json.loads(state.text)
        assert (kept["schema"], kept["state"]) == ("tessera.state/1", "OPEN")
        assert not {"key", "valid_until", "event_type", "summary", "subjects"} & kept.keys()
        await deliverer.deliver(message(now_alert(state="RESOLVED")))
        await eventually(truth(lambda: late.under("tessera/state/")[-1].text == ""))
    with Subscriber(broker.port, "latest") as latest:
        await eventually(truth(lambda: latest.under("homeassistant/")))
        assert latest.under("tessera/state/") == []


async def test_a_subscriber_that_was_away_is_not_told_what_is_over(broker: Broker, deliverer: MqttDeliverer) -> None:
    """Its session kept the events at the broker; the one that still holds comes, the one that is over does not."""
    with Subscriber(broker.port):
        pass
    await deliverer.deliver(message(now_alert("over", valid_s=1.0)))
    await deliverer.deliver(message(now_alert("holds", valid_s=600.0)))
    over_s = datetime.now(UTC).timestamp() + 2.1
    await eventually(truth(lambda: datetime.now(UTC).timestamp() > over_s))
    with Subscriber(broker.port) as back:
        await eventually(truth(lambda: back.under("tessera/events/")))
        await deliverer.deliver(message(now_alert("mark", valid_s=600.0)))
        await eventually(truth(lambda: len(back.under("tessera/events/")) >= 2))
        keys = [json.loads(one.text)["key"] for one in back.under("tessera/events/")]
        assert keys == ["holds/1/house", "mark/1/house"]


async def test_a_reconnect_delivers_no_old_match_as_new(broker: Broker, deliverer: MqttDeliverer) -> None:
    """The broker goes while events are owed: when it is back, what is over by then is not told, and the rest is."""
    target = Target("house", Mqtt("127.0.0.1", broker.port), timeout_s=2.0)
    outbox, metrics = MemoryOutbox(), GatewayMetrics(CollectorRegistry())
    sender = Sender(target, deliverer, outbox, clock=SystemClock(), metrics=metrics, backoff=Backoff(0.05, 0.2))
    fence = await outbox.acquire("test", 1e6)
    assert fence is not None
    with Subscriber(broker.port) as house:
        running = asyncio.create_task(sender.run(fence))
        await outbox.accept(fence, "1", [owed(now_alert("first"), "house")], datetime.now(UTC))
        sender.wake()
        await eventually(truth(lambda: house.under("tessera/events/")))
        broker.stop()
        owed_now = [owed(now_alert("over", valid_s=0.5), "house"), owed(now_alert("holds", valid_s=600), "house")]
        await outbox.accept(fence, "2", owed_now, datetime.now(UTC))
        sender.wake()
        over_s = datetime.now(UTC).timestamp() + 1.0
        await eventually(truth(lambda: datetime.now(UTC).timestamp() > over_s))
        broker.start()

        async def settled() -> bool:
            return (await outbox.depth("house")).waiting == 0

        await eventually(settled)
        keys = lambda: [json.loads(one.text)["key"] for one in house.under("tessera/events/")]  # noqa: E731
        await eventually(truth(lambda: "holds/1/house" in keys()))
        assert set(keys()) == {"first/1/house", "holds/1/house"}
        (letter,) = await outbox.dead("", 10)
        assert (letter.notification.key, letter.reason) == ("over/1/house", DeadReason.EXPIRED)
        # It is over as an event; that the alert is open holds all the same.
        await eventually(truth(lambda: house.under("tessera/state/alert/over")))
        await end_tasks(running)


async def test_what_is_no_news_has_another_type(broker: Broker, deliverer: MqttDeliverer) -> None:
    """An automation that waits for `alert` is started by none of these."""
    with Subscriber(broker.port) as house:
        await deliverer.deliver(message(now_alert("a1"), late=True))
        await deliverer.deliver(message(now_alert("a2"), late=True, replayed=True))
        settled = now_alert("a3")
        await deliverer.deliver(message(replace(settled, facts={**settled.facts, "change": "RESOLVED"})))
        await eventually(truth(lambda: len(house.under("tessera/events/")) == 3))
        types = [json.loads(one.text)["event_type"] for one in house.under("tessera/events/")]
        assert types == ["late", "replayed", "update"]
        assert house.under("tessera/state/alert/a2") == []


async def test_home_assistant_finds_each_camera(broker: Broker, deliverer: MqttDeliverer) -> None:
    """Retained discovery: an event entity for alerts, a sensor for whether it is online; and whether we are there."""
    now = datetime.now(UTC)
    online = Happening(Kind.CAMERA, "c1", 1, now, now, now, "front:1", {"event_kind": "LOST", "state": "LOST"})
    await deliverer.deliver(message(online))
    with Subscriber(broker.port) as house:
        await eventually(truth(lambda: len(house.under("homeassistant/")) == 2 and house.under("tessera/state/")))
        found = {one.topic.split("/")[1]: json.loads(one.text) for one in house.under("homeassistant/")}
        assert found["event"]["event_types"] == ["alert", "update", "late", "replayed"]
        assert found["event"]["state_topic"] == "tessera/events/alert/front:1"
        assert all(":" not in one.topic for one in house.under("homeassistant/"))
        (state,) = house.under("tessera/state/camera/front:1")
        assert json.loads(state.text)["state"] == "LOST"
        assert [one.text for one in house.under("tessera/gateway/status")] == ["online"]
        await deliverer.close()
        await eventually(truth(lambda: house.under("tessera/gateway/status")[-1].text == "offline"))


async def test_a_broker_that_is_away_is_a_failure_that_passes(broker: Broker, deliverer: MqttDeliverer) -> None:
    """The outbox keeps it; the next attempt makes the connection anew."""
    await deliverer.deliver(message(now_alert("a1")))
    broker.stop()
    with pytest.raises(DeliveryError):
        await deliverer.deliver(message(now_alert("a2")))
    broker.start()

    async def delivered() -> bool:
        try:
            await deliverer.deliver(message(now_alert("a2")))
        except DeliveryError:
            return False
        return True

    await eventually(delivered)
