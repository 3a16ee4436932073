"""Threads that ask the services for what the view shows: events as they come, cameras once a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tessera.chassis.clock import Clock
from tessera.client import Tessera
from tessera.client.answers import Camera, CameraStatus, Event
from tessera.client.errors import CursorTrimmed, TesseraCallError
from tessera.client.events import FROM_NOW, EventWatch

_PAUSE_S = 0.5
_CAMERAS_EVERY_S = 1.0


class EventFollower:
    """Hands every event to `take` until it is closed; a gallery that is away is waited for.

    Args:
        tessera: the connection.
        take: called for each event, from this follower's thread.
    """

    def __init__(self, tessera: Tessera, take: Callable[[Event], None]) -> None:
        self._tessera = tessera
        self._take = take
        self._closed = threading.Event()
        self._watch: EventWatch | None = None
        self._thread = threading.Thread(target=self._follow, name="events", daemon=True)

    def start(self) -> None:
        """Begin to follow, from now on."""
        self._watch = self._tessera.watch()
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closed.set()
        if self._watch is not None:
            self._watch.close()

    def _follow(self) -> None:
        cursor = FROM_NOW
        while not self._closed.is_set() and self._watch is not None:
            try:
                for event in self._watch:
                    self._take(event)
            except CursorTrimmed:
                cursor = FROM_NOW
            except TesseraCallError:
                cursor = self._watch.cursor
            if not self._closed.wait(_PAUSE_S):
                self._watch = self._tessera.watch(after_cursor=cursor)


@dataclass(frozen=True, slots=True)
class CameraPace:
    """A camera and how fast its frames came lately."""

    camera: Camera
    sampled_hz: float
    encoded_hz: float


class CameraFollower:
    """Asks for the cameras once a second until it is closed.

    Args:
        tessera: the connection.
        clock: for frames a second.
    """

    def __init__(self, tessera: Tessera, clock: Clock) -> None:
        self._tessera = tessera
        self._clock = clock
        self._closed = threading.Event()
        self._paces: tuple[CameraPace, ...] = ()
        self._before: dict[str, tuple[float, CameraStatus]] = {}
        self._thread = threading.Thread(target=self._follow, name="cameras", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closed.set()

    def paces(self) -> tuple[CameraPace, ...]:
        """The cameras as they were a second ago at most; while the ingest is away, as they were before."""
        return self._paces

    def _follow(self) -> None:
        while not self._closed.wait(_CAMERAS_EVERY_S):
            try:
                cameras = list(self._tessera.cameras())
            except TesseraCallError:
                continue
            self._paces = tuple(self._pace(camera) for camera in cameras)

    def _pace(self, camera: Camera) -> CameraPace:
        status, now_s = camera.status, self._clock.monotonic_s()
        if status is None:
            return CameraPace(camera, 0.0, 0.0)
        before_s, before = self._before.get(camera.camera_id, (now_s, status))
        self._before[camera.camera_id] = (now_s, status)
        passed_s = now_s - before_s
        # Fewer frames than before: the worker was started again and counts anew.
        if passed_s <= 0 or status.frames_sampled < before.frames_sampled:
            return CameraPace(camera, 0.0, 0.0)
        sampled = status.frames_sampled - before.frames_sampled
        encoded = status.frames_encoded - before.frames_encoded
        return CameraPace(camera, sampled / passed_s, encoded / passed_s)
