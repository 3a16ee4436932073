"""One camera's feed on a thread of its own: opened, read, and opened again when it is lost.

The thread waits for what the camera's reader process hands over, and passes it to the event loop through one slot,
where the newest wins; it shares nothing else. Whatever blocks, blocks this camera alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Protocol

from camera_ingest.backoff import Backoff
from camera_ingest.freeze import FreezeWatch
from camera_ingest.reading.feed import FedFrame, Feed
from camera_ingest.sampling import Sampler
from camera_ingest.sources.source import Picture, SourceError
from camera_ingest.sources.stream_clock import ClockReport
from tessera.chassis.logs import get_logger

log = get_logger()

_ROOM_POLL_S = 0.002


@dataclass(frozen=True, slots=True, eq=False)
class SampledPicture:
    """What the thread hands over."""

    capture_time: datetime
    captured_s: float
    picture: Picture = field(repr=False)
    is_frozen: bool
    """The source has shown this very picture for long."""
    clock: ClockReport
    """Where its capture time comes from."""
    note: str = ""
    """What should be known of how the source was opened, though it works."""


class CaptureListener(Protocol):
    """Told, on the event loop, how a source does."""

    def on_sampled(self, sampled: SampledPicture, missed: int) -> None:
        """A picture was sampled; `missed` others were, since the last call, that the loop had no time for."""
        ...

    def on_lost(self, detail: str) -> None:
        """The source cannot be opened or was lost; it will be tried again."""
        ...

    def on_ended(self) -> None:
        """The source came to its end; nothing more will come."""
        ...


class Capture:
    """The thread of one source.

    Args:
        name: of the thread.
        make_feed: makes what it reads from, for one attempt.
        rate_hz: the rate to sample at.
        freeze_after_s: the same picture of a live source for so long is a freeze.
        backoff: how long to wait before it is opened again.
        listener: told on the loop that `start` was called on.
        has_room: where no frame may be left out: whether so many that were handed over have all gone on, so that the
            next may come; asked on the thread. None: the newest wins.
    """

    def __init__(
        self,
        *,
        name: str,
        make_feed: Callable[[], Feed],
        rate_hz: float,
        freeze_after_s: float,
        backoff: Backoff,
        listener: CaptureListener,
        has_room: Callable[[int], bool] | None = None,
    ) -> None:
        self._make_feed = make_feed
        self._rate_hz = rate_hz
        self._freeze_after_s = freeze_after_s
        self._backoff = backoff
        self._listener = listener
        self._name = name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture-{name}", daemon=True)
        self._slot = _Slot()
        self._has_room = has_room
        self._handed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Begin; to be called on the event loop that the listener lives on."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and with it its reader. The listener hears no more of it."""
        self._stopped.set()

    async def join(self, limit_s: float) -> bool:
        """Wait for the thread's end; returns False when it has not come within the limit."""
        if self._loop is None:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), limit_s)
        return self._ended.is_set()

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                    self._loop.call_soon_threadsafe(self._ended.set)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                self._watch_once()
            except SourceError as error:
                self._tell(partial(self._listener.on_lost, error.detail))
            except Exception:  # the edge of a thread; the camera is tried again
                log.exception("capture.failed", camera=self._name)
                self._tell(partial(self._listener.on_lost, "internal error; the log has it"))
            else:
                self._tell(self._listener.on_ended)
                return
            self._stopped.wait(self._backoff.next_s())

    def _watch_once(self) -> None:
        feed = self._make_feed()
        sampler, freeze = Sampler(self._rate_hz), FreezeWatch(self._freeze_after_s)
        try:
            for frame in feed.frames(self._stopped):
                if self._stopped.is_set():
                    return
                if sampler.wants(frame.capture_time):
                    self._hand_over(frame, freeze if feed.is_live else None)
        finally:
            feed.close()

    def _hand_over(self, frame: FedFrame, freeze: FreezeWatch | None) -> None:
        self._backoff.reset()
        frozen = freeze is not None and freeze.is_frozen(frame.fingerprint, frame.captured_s)
        sampled = SampledPicture(frame.capture_time, frame.captured_s, frame.picture, frozen, frame.clock, frame.note)
        if self._slot.put(sampled, frame.missed):
            self._tell(self._pass_on)
        self._handed += 1
        while not (self._has_room is None or self._stopped.is_set() or self._has_room(self._handed)):
            self._stopped.wait(_ROOM_POLL_S)

    def _pass_on(self) -> None:
        sampled, missed = self._slot.take()
        if sampled is not None:
            self._listener.on_sampled(sampled, missed)

    def _tell(self, what: Callable[[], None]) -> None:
        def unless_stopped() -> None:
            if not self._stopped.is_set():
                what()

        if self._loop is None or self._stopped.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(unless_stopped)
        except RuntimeError:
            self._stopped.set()  # the loop is closed: the process ends


class _Slot:
    """One picture between two threads; the newest wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sampled: SampledPicture | None = None
        self._missed = 0

    def put(self, sampled: SampledPicture, missed: int = 0) -> bool:
        """Returns whether the slot was empty, so that its reader must be told."""
        with self._lock:
            was_empty = self._sampled is None
            self._missed += missed + (0 if was_empty else 1)
            self._sampled = sampled
            return was_empty

    def take(self) -> tuple[SampledPicture | None, int]:
        with self._lock:
            taken, self._sampled = self._sampled, None
            missed, self._missed = self._missed, 0
            return taken, missed
