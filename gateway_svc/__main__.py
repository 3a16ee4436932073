"""gateway_svc as a process. Run with `python -m gateway_svc`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import uuid
from pathlib import Path

from prometheus_client import CollectorRegistry

from gateway_svc.metrics import GatewayMetrics
from gateway_svc.pages import Pages
from gateway_svc.service import Gateway, links_of, wire_parts
from gateway_svc.servicer import SERVICE, NotificationServicer
from gateway_svc.settings import PREFIX, GatewaySettings
from gateway_svc.targets_file import read_targets
from gateway_svc.wire import CameraShots, GalleryNames, WatchedEvents
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.chassis.logs import configure_logs, get_logger
from tessera.chassis.server import Server, run_service, wait_for_stop_signal
from tessera.chassis.settings import load_settings, redacted
from tessera.chassis.tasks import end_tasks
from tessera.chassis.tracing import open_tracing
from tessera.domain.errors import UnavailableError
from tessera.v1 import notifications_pb2_grpc

log = get_logger()

_CHECK_EVERY_S = 1.0


async def serve(settings: GatewaySettings) -> None:
    """Run until a stop signal, then finish the attempts under way.

    Raises:
        InvalidInputError: the settings, or the file of targets, cannot be used.
        Exception: what a part failed with that must not fail; the rest was ended in order.
    """
    targets = read_targets(Path(settings.targets)) if settings.targets else ()
    metrics = GatewayMetrics(CollectorRegistry())
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    async with (
        open_tracing("gateway") as tracing,
        open_channel(settings.gallery_address, tracing) as gallery,
        open_channel(settings.ingest_address, tracing) as ingest,
    ):
        gateway = wire_parts(
            settings,
            targets,
            holder=holder,
            source=WatchedEvents(gallery),
            clock=SystemClock(),
            metrics=metrics,
            names=GalleryNames(gallery),
            tracing=tracing,
        )
        servicer = NotificationServicer(gateway.caretaker, lambda: gateway.worker.is_leading)
        server = Server(
            settings.server,
            metrics,
            [SERVICE],
            lambda at: notifications_pb2_grpc.add_NotificationServiceServicer_to_server(servicer, at),
            tracing,
        )
        await server.start()
        links = links_of(settings)
        pages = Pages(settings.host, settings.http_port, links, CameraShots(ingest), SystemClock()) if links else None
        if pages is not None:
            await pages.start()
            log.info("serving", http_port=pages.port)
        shown = {f"setting_{name}": value for name, value in redacted(settings).items()}
        names = [target.name for target in targets]
        log.info("started", port=server.port, metrics_port=server.metrics_port, targets=names, **shown)
        working = asyncio.create_task(gateway.worker.run())
        readiness = asyncio.create_task(keep_ready(server, gateway))
        stopped = asyncio.create_task(wait_for_stop_signal())
        # The others run for ever: one that ends has failed, and a process without it would only look well.
        done, _ = await asyncio.wait((stopped, readiness, working), return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", signal=stopped.result() if stopped in done else "none: a part failed")
        await end_tasks(stopped, readiness)
        gateway.worker.stop()
        await asyncio.wait((working,), timeout=settings.drain_s)
        await end_tasks(working)
        await server.stop()
        if pages is not None:
            await pages.stop()
        with contextlib.suppress(UnavailableError):
            await gateway.close()
    for task in done:
        task.result()
    log.info("stopped")


async def keep_ready(server: Server, gateway: Gateway) -> None:
    """Ready while the store answers and, on the gateway that works, the gallery's events come."""
    is_away = False
    while True:
        try:
            await gateway.outbox.check()
        except UnavailableError as error:
            if not is_away:
                log.warning("store.away", error=str(error))
            is_away = True
        else:
            is_away = False
        follows = not gateway.worker.is_leading or gateway.worker.is_following
        await server.set_ready(not is_away and follows)
        await asyncio.sleep(_CHECK_EVERY_S)


async def main() -> None:
    """Read the settings and serve."""
    configure_logs("gateway")
    settings = load_settings(GatewaySettings, PREFIX)
    configure_logs("gateway", level=settings.log_level)
    await serve(settings)


if __name__ == "__main__":
    sys.exit(run_service(main, "gateway"))
