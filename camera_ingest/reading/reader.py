"""One reader: opens one source, samples it, and hands the newest sampled picture to its parent when that has room.

It is forked for one attempt and ends with it: a stream that is lost, a file that is over, a parent that is gone. It
knows no service: neither grpc nor redis nor metrics are loaded here, and numpy only by sources that draw.
"""

from __future__ import annotations

import math
import mmap
import os
import select
import socket
import threading
import traceback
import zlib
from dataclasses import asdict
from datetime import datetime

from camera_ingest.reading.messages import MORE, ClosedError, send_message
from camera_ingest.reading.order import ReadOrder
from camera_ingest.sampling import Sampler
from camera_ingest.sources.opening import open_source
from camera_ingest.sources.source import CapturedFrame, Pixels, SourceError
from camera_ingest.sources.stream_clock import ClockKind, ClockReport
from tessera.chassis.clock import Clock, SystemClock

BEAT_S = 1.0
_LAST_FRAME_WAIT_S = 5.0


def read(order: ReadOrder, channel: socket.socket, memory: int) -> None:
    """Read one source to its end, its loss, or the end of interest.

    Args:
        order: what to read.
        channel: to the parent.
        memory: file descriptor of the memory for pixels.
    """
    clock = SystemClock()
    handover = Handover(channel, memory, clock)
    try:
        _read_through(order, handover, clock)
    except SourceError as error:
        handover.say_at_the_end({"is": "lost", "detail": error.detail})
    except ClosedError:
        pass
    except Exception as error:  # noqa: BLE001 - the edge of a process; the parent logs it
        # Without the error's own words, which may name a URL.
        trace = "".join(traceback.format_tb(error.__traceback__))[-8000:]
        handover.say_at_the_end({"is": "failed", "error": type(error).__name__, "trace": trace})
    else:
        handover.say_at_the_end({"is": "ended"})


def _read_through(order: ReadOrder, handover: Handover, clock: Clock) -> None:
    source, note = open_source(order, clock)
    try:
        handover.say({"is": "opened", "is_live": source.is_live, "note": note[:500]})
        sampler, stopped = Sampler(order.rate_hz), _Waiting(handover)
        for frame in source.frames(stopped):
            if sampler.wants(frame.capture_time):
                handover.hold(frame, source.clock_report)
            handover.beat()
            if order.stream.as_fast_as_possible:
                handover.finish(math.inf)
        handover.finish()
    finally:
        source.close()


class Handover:
    """Gives frames to the parent, one for each that it asks for.

    Args:
        channel: to the parent.
        memory: where pixels go.
        clock: paces the signs of life.
    """

    def __init__(self, channel: socket.socket, memory: int, clock: Clock) -> None:
        self._channel = channel
        self._memory = _Memory(memory)
        self._clock = clock
        self._held: CapturedFrame | None = None
        self._report = ClockReport(ClockKind.ARRIVAL)
        self._missed = 0
        self._room = 0
        self._spoke_s = clock.monotonic_s()

    def say(self, message: dict[str, object]) -> None:
        """Send one message.

        Raises:
            ClosedError: the parent is gone.
        """
        send_message(self._channel, message)
        self._spoke_s = self._clock.monotonic_s()

    def say_at_the_end(self, message: dict[str, object]) -> None:
        """Send the last message, if there is still somebody to read it."""
        try:
            self.say(message)
        except ClosedError:
            return

    def hold(self, frame: CapturedFrame, report: ClockReport) -> None:
        """A frame was sampled; it replaces the one that the parent had no room for."""
        self._missed += self._held is not None
        self._held, self._report = frame, report

    def beat(self) -> None:
        """Hand over what is held if there is room, and give a sign of life once a second.

        Raises:
            ClosedError: the parent is gone.
            SourceError: the picture cannot be made.
        """
        self._look_for_room(0.0)
        if self._held is not None and self._room > 0:
            self._give(self._held)
        elif self._clock.monotonic_s() - self._spoke_s >= BEAT_S:
            self.say({"is": "alive"})

    def finish(self, limit_s: float = _LAST_FRAME_WAIT_S) -> None:
        """Wait until what is held has found room: of the last frame, and of each one that may not be left out."""
        until_s = self._clock.monotonic_s() + limit_s
        while self._held is not None and self._clock.monotonic_s() < until_s:
            self._look_for_room(0.1)
            self.beat()

    def _look_for_room(self, wait_s: float) -> None:
        if select.select([self._channel], [], [], wait_s)[0]:
            asked = self._channel.recv(64)
            if not asked:
                raise ClosedError
            self._room += asked.count(MORE)

    def _give(self, frame: CapturedFrame) -> None:
        self._held = None
        picture = frame.picture()
        shape = {"width_px": 0, "height_px": 0, "stride_bytes": 0}
        data: bytes | memoryview
        if isinstance(picture, Pixels):
            shape = {"width_px": picture.width_px, "height_px": picture.height_px, "stride_bytes": picture.stride_bytes}
            data = picture.rows
        else:
            data = picture
        self._memory.write(data)
        self._room -= 1
        missed, self._missed = self._missed, 0
        self.say(
            {
                "is": "frame",
                "captured_at": _text(frame.capture_time),
                "captured_s": frame.monotonic_s,
                "missed": missed,
                "bytes": len(data),
                "print": zlib.crc32(data),
                "clock": asdict(self._report),
                **shape,
            }
        )


class _Memory:
    """Memory that the parent maps as well; it only ever grows."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._map: mmap.mmap | None = None

    def write(self, data: bytes | memoryview) -> None:
        if self._map is None or len(self._map) < len(data):
            if self._map is not None:
                self._map.close()
            size = -(-len(data) // mmap.PAGESIZE) * mmap.PAGESIZE
            if os.fstat(self._file).st_size < size:
                os.ftruncate(self._file, size)
            self._map = mmap.mmap(self._file, os.fstat(self._file).st_size)
        self._map[: len(data)] = data


class _Waiting(threading.Event):
    """An event that gives signs of life while a source waits on it, such as for a frame's time in a file."""

    def __init__(self, handover: Handover) -> None:
        super().__init__()
        self._handover = handover

    def wait(self, timeout: float | None = None) -> bool:
        left_s = timeout or 0.0
        while left_s > 0 and not self.is_set():
            slice_s = min(left_s, BEAT_S / 4)
            super().wait(slice_s)
            left_s -= slice_s
            self._handover.beat()
        return self.is_set()


def _text(moment: datetime) -> str:
    return moment.isoformat()
