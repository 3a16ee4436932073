"""What the gateway counts. Labels name targets and reasons, never people or cameras."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tessera.chassis.catalogue import counter, gauge, histogram
from tessera.chassis.metrics import LATENCY_BUCKETS_S, ServiceMetrics


class GatewayMetrics(ServiceMetrics):
    """The metrics of gateway_svc.

    Args:
        registry: where they are declared.
    """

    leading = gauge(
        "tessera_gateway_leading",
        "1 while this gateway holds the lease and sends.",
        "0 on all gateways for longer than the lease: look at the store; on all but one it is as it should be.",
    )
    following = gauge(
        "tessera_gateway_following",
        "1 while the stream of events from the gallery is open.",
        "0 on the leading gateway: look at the gallery.",
    )
    events = counter(
        "tessera_gateway_events_total",
        "Events taken in, by kind.",
        "It stands while tessera_gallery_events_total grows: see following, and the gateway's log.",
        labels=("kind",),
    )
    gaps = counter(
        "tessera_gateway_gaps_total",
        "Times that events after the cursor were no longer kept: some were never notified.",
        "The gateway was away for longer than the gallery keeps events; keep more of them, or find out why it was "
        "away.",
    )
    accepted = counter(
        "tessera_gateway_accepted_total",
        "Notifications written into the outbox, by target.",
        "None for a target that should have had one: look at the target's filter and at the alerts of the gallery.",
        labels=("target",),
    )
    deliveries = counter(
        "tessera_gateway_deliveries_total",
        "By target and outcome: delivered, late, replayed; failed (an attempt: it will be tried again); and ends that "
        "a person can undo: expired, gave_up, refused, held_back, no_target.",
        "Many failed: look at the receiver. refused: at the receiver's log, its secret, and its clock.",
        labels=("target", "outcome"),
    )
    delivery_s = histogram(
        "tessera_gateway_delivery_seconds",
        "From an event's recording to the target's answer, of what was delivered as news.",
        "Long while attempts fail: look at the receiver; long without failures: at the gateway's CPU and the store.",
        labels=("target",),
        buckets=LATENCY_BUCKETS_S,
    )
    outbox_depth = gauge(
        "tessera_gateway_outbox_depth",
        "Notifications that wait, by target.",
        "Grows while the receiver is away.",
        labels=("target",),
    )
    outbox_oldest_s = gauge(
        "tessera_gateway_outbox_oldest_seconds",
        "Age of the oldest that waits, by target; 0: nothing waits.",
        "Beyond minutes: look at the receiver.",
        labels=("target",),
    )
    held_back = gauge(
        "tessera_gateway_held_back",
        "Held back by flood control and not yet told to the target.",
        "Often above 0: a rule fires too often.",
        labels=("target",),
    )
    dead_letters = gauge(
        "tessera_gateway_dead_letters",
        "Notifications that are tried no more, until a person looks at `tessera notifications dead`.",
        "Above 0: look at each, mend the receiver, and send it again or let it go.",
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "gateway")
