"""Tells the world what happened to cameras: published in order, each under its own id, with bounded attempts.

An event that cannot be told within its attempts is dropped and counted: the camera's status still says what is so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from camera_ingest.backoff import Backoff
from camera_ingest.camera import CameraEvent
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.logs import get_logger
from tessera.domain.errors import TesseraError, UnavailableError

log = get_logger()

MAX_WAITING = 256
MAX_ATTEMPTS = 10

Publish = Callable[[CameraEvent], Awaitable[None]]
"""Publishes one event; raises `UnavailableError` where another attempt may help, another `TesseraError` where not."""


class Announcer:
    """The camera events of this process on their way out. Used from one event loop.

    Args:
        publish: how.
        metrics: where it counts.
        backoff: between two attempts.
    """

    def __init__(self, publish: Publish, metrics: IngestMetrics, backoff: Backoff) -> None:
        self._publish = publish
        self._metrics = metrics
        self._backoff = backoff
        self._waiting: deque[CameraEvent] = deque()
        self._filled = asyncio.Event()
        self._draining = False

    def announce(self, event: CameraEvent) -> None:
        """Take an event. Past 256 waiting the oldest is dropped."""
        self._waiting.append(event)
        if len(self._waiting) > MAX_WAITING:
            self._count(self._waiting.popleft(), "DROPPED")
        self._filled.set()

    async def run(self) -> None:
        """Publish until `drain` was called and nothing is left, or for ever."""
        while self._waiting or not self._draining:
            if not self._waiting:
                self._filled.clear()
                await self._filled.wait()
                continue
            event = self._waiting.popleft()
            self._count(event, "PUBLISHED" if await self._tell(event) else "DROPPED")

    def drain(self) -> None:
        """Let `run` return once everything that was announced is told or dropped."""
        self._draining = True
        self._filled.set()

    async def _tell(self, event: CameraEvent) -> bool:
        self._backoff.reset()
        for _ in range(MAX_ATTEMPTS):
            try:
                await self._publish(event)
            except UnavailableError:
                await asyncio.sleep(self._backoff.next_s())
            except TesseraError as error:
                log.warning("camera_event.refused", camera=event.camera_id, kind=event.told_as, error=str(error))
                return False
            else:
                return True
        log.warning("camera_event.dropped", camera=event.camera_id, kind=event.told_as)
        return False

    def _count(self, event: CameraEvent, result: str) -> None:
        self._metrics.camera_events.labels(event.told_as.value, result).inc()
