"""A whole gateway in a process of its own that kills itself with SIGKILL at one step of the outbox.

It is forked from a server that has imported everything: what is measured is what a kill leaves, not how Python starts.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, cast

import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.alerts.house import SECRET
from gateway_svc.delivering import Deliverer
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.outbox import Outbox
from gateway_svc.service import Gateway, deliverers_of, open_outbox, wire_parts
from gateway_svc.settings import GatewaySettings
from gateway_svc.targets import Target, Webhook
from gateway_svc.wire import WatchedEvents
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.chassis.logs import configure_logs
from tessera.chassis.settings import Secret

IN_DELIVER = "in deliver"
"""The receiver kills: it has the request, and has not answered."""
STEPS = (
    "before accept",
    "after accept",
    "before deliver",
    IN_DELIVER,
    "after deliver",
    "before delivered",
    "after delivered",
    "before postpone",
    "after postpone",
    "before bury",
    "after bury",
)


def run_gateway(step: str, store_url: str, gallery_address: str, receiver_url: str) -> None:
    """Run until killed, by itself at `step`, or by whoever started it."""
    sys.stdin.close()
    configure_logs("gateway", as_json=True, level="error")
    uvloop.run(_serve(step, store_url, gallery_address, receiver_url))


class _Killing:
    """Stands before an outbox or a deliverer, and kills the process before or after one of its methods."""

    def __init__(self, behind: object, step: str) -> None:
        self._behind = behind
        self._when, _, self._method = step.partition(" ")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever stands behind it has
        method = getattr(self._behind, name)
        if name != self._method or self._when == "in":
            return method

        async def killing(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the method has it
            # A beat of the log writes the cursor alone.
            is_meant = name != "accept" or bool(arguments[2])
            if self._when == "before" and is_meant:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = await method(*arguments, **named)
            if is_meant:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return killing


async def _serve(step: str, store_url: str, gallery_address: str, receiver_url: str) -> None:
    settings = GatewaySettings(
        store_url=store_url,
        gallery_address=gallery_address,
        allowed_networks="127.0.0.0/8",
        lease_s=0.3,
        first_pause_s=0.02,
        longest_pause_s=0.1,
    )
    target = Target("door", Webhook(receiver_url, (Secret(SECRET),)))
    make = deliverers_of(settings)
    async with open_channel(gallery_address) as channel:
        gateway: Gateway = wire_parts(
            settings,
            [target],
            holder=str(os.getpid()),
            source=WatchedEvents(channel),
            clock=SystemClock(),
            metrics=GatewayMetrics(CollectorRegistry()),
            outbox=cast("Outbox", _Killing(open_outbox(settings), step)),
            make_deliverer=lambda target: cast("Deliverer", _Killing(make(target), step)),
        )
        await gateway.worker.run()
