"""`python -m gallery_svc`: runs the gallery until SIGTERM."""

from __future__ import annotations

import asyncio
import sys

from gallery_svc.service import running_gallery
from gallery_svc.settings import PREFIX, GallerySettings
from gallery_svc.thresholds import shipped_thresholds
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.chassis.encoder_folders import encoder_folders
from tessera.chassis.logs import configure_logs, get_logger
from tessera.chassis.server import run_service, wait_for_stop_signal
from tessera.chassis.settings import load_settings, redacted
from tessera.chassis.tasks import end_tasks
from tessera.chassis.tracing import open_tracing
from tessera.client.encoder import EncoderClient


async def main() -> None:
    """Run until a signal, or until the store turns out to be one that may not be used.

    Raises:
        InvalidInputError: a setting, the keys or the store cannot be used; the error says what to do.
    """
    settings = load_settings(GallerySettings, PREFIX)
    configure_logs("gallery", level=settings.log_level)
    get_logger().info("start", **redacted(settings))
    async with open_tracing("gallery") as tracing, open_channel(settings.encoder, tracing) as channel:
        thresholds = shipped_thresholds(encoder_folders())
        running = running_gallery(settings, EncoderClient(channel), thresholds, SystemClock(), tracing)
        async with running as gallery:
            get_logger().info("listening", port=gallery.server.port, metrics_port=gallery.server.metrics_port)
            stopped = asyncio.create_task(wait_for_stop_signal())
            done, _ = await asyncio.wait((stopped, gallery.following), return_when=asyncio.FIRST_COMPLETED)
            if stopped in done:
                get_logger().info("stop", signal=stopped.result())
            await end_tasks(stopped)
            if gallery.following in done:
                gallery.following.result()


if __name__ == "__main__":
    configure_logs("gallery")
    sys.exit(run_service(main, "gallery"))
