"""The gateway whole: its parts joined by hand. `__main__`, the tests and the benchmarks run it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gateway_svc.alertmanager import AlertmanagerDeliverer
from gateway_svc.caretaking import Caretaker
from gateway_svc.delivering import Deliverer
from gateway_svc.following import EventSource, Follower
from gateway_svc.mail_and_chat import AppriseDeliverer
from gateway_svc.memory_outbox import MemoryOutbox
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.mqtt import MqttDeliverer
from gateway_svc.naming import Names, RememberedNames
from gateway_svc.networks import Allowed, parse_networks
from gateway_svc.outbox import Outbox
from gateway_svc.redis_outbox import RedisOutbox
from gateway_svc.sending import Backoff, Sender
from gateway_svc.settings import GatewaySettings
from gateway_svc.shots import SignedLinks
from gateway_svc.targets import Alertmanager, Mqtt, Target, Webhook
from gateway_svc.webhook import WebhookDeliverer
from gateway_svc.worker import Worker
from tessera.chassis.clock import Clock
from tessera.chassis.settings import MEMORY
from tessera.chassis.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts that live as long as the process."""

    outbox: Outbox
    deliverers: dict[str, Deliverer]
    worker: Worker
    caretaker: Caretaker

    async def close(self) -> None:
        """Let go of every connection."""
        for deliverer in self.deliverers.values():
            await deliverer.close()
        await self.outbox.close()


def wire_parts(
    settings: GatewaySettings,
    targets: Sequence[Target],
    *,
    holder: str,
    source: EventSource,
    clock: Clock,
    metrics: GatewayMetrics,
    names: Names | None = None,
    outbox: Outbox | None = None,
    make_deliverer: Callable[[Target], Deliverer] | None = None,
    tracing: Tracing | None = None,
) -> Gateway:
    """Join the parts; nothing runs yet.

    Args:
        settings: of the process.
        targets: who is told.
        holder: names this process; no other has or had the same.
        source: the event log.
        clock: for deadlines and times.
        metrics: where everything counts.
        names: where subjects' names are looked up; None: they are told by their ids.
        outbox: what is owed; the one that the settings name by default.
        make_deliverer: a target's way; by its type by default.
        tracing: makes a span for each attempt to deliver; none by default.
    """
    outbox = open_outbox(settings) if outbox is None else outbox
    make = make_deliverer or deliverers_of(settings)
    backoff = Backoff(settings.first_pause_s, settings.longest_pause_s)
    deliverers = {target.name: make(target) for target in targets}
    links = links_of(settings)
    remembered = RememberedNames(names, clock) if names is not None else None
    senders = [
        Sender(
            one,
            deliverers[one.name],
            outbox,
            clock=clock,
            metrics=metrics,
            backoff=backoff,
            links=links,
            names=remembered,
            tracing=tracing,
        )
        for one in targets
    ]

    def wake(names: Collection[str]) -> None:
        worker.wake(names)

    follower = Follower(source, outbox, targets=targets, clock=clock, metrics=metrics, on_owed=wake)
    worker = Worker(
        holder, settings.lease_s, outbox=outbox, follower=follower, senders=senders, clock=clock, metrics=metrics
    )
    return Gateway(outbox, deliverers, worker, Caretaker(targets, deliverers, outbox, clock))


def open_outbox(settings: GatewaySettings) -> Outbox:
    """The outbox that a store URL names; `memory` keeps nothing."""
    if settings.store_url == MEMORY:
        return MemoryOutbox(settings.limits)
    return RedisOutbox(settings.store_url, settings.limits)


def links_of(settings: GatewaySettings) -> SignedLinks | None:
    """What makes links to best shots; None: the settings tell of no address that they could lead to."""
    if not settings.public_url:
        return None
    return SignedLinks(settings.public_url, settings.link_key, settings.link_lives_s)


def deliverers_of(settings: GatewaySettings) -> Callable[[Target], Deliverer]:
    """What makes a target's way out of its type."""
    allowed = Allowed(parse_networks("allowed_networks", settings.allowed_networks))

    def make(target: Target) -> Deliverer:
        way = target.way
        if isinstance(way, Webhook):
            return WebhookDeliverer(way, allowed, target.timeout_s)
        if isinstance(way, Mqtt):
            # Of this process alone: a gateway that was frozen and comes back must not be cut off, nor cut another off.
            return MqttDeliverer(way, f"tessera-{target.name}-{uuid.uuid4().hex[:8]}", target.timeout_s)
        if isinstance(way, Alertmanager):
            return AlertmanagerDeliverer(way, target.timeout_s)
        return AppriseDeliverer(way)

    return make
