"""What a capture reads from: the frames that a reader process hands over, as numpy pictures of this process's own.

A reader that says nothing for too long is killed and counts as lost; so does one that dies. Nothing that a stream can
do to FFmpeg reaches this side: what comes over is checked before it is believed.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from camera_ingest.reading.host import ReaderHost, ReaderProcess
from camera_ingest.reading.messages import MORE, ClosedError, Message, MessageReader
from camera_ingest.reading.order import ReadOrder
from camera_ingest.sources.options import KEY_FRAMES_APART_S
from camera_ingest.sources.source import MAX_PIXELS, Picture, SourceError
from camera_ingest.sources.stream_clock import ClockKind, ClockReport
from camera_ingest.sources.url import SourceKind, parse_url
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger

log = get_logger()

_SLICE_S = 0.25
_GRACE_S = 0.5
_DEMO_LIMIT_S = 300.0
"""The demo's photographs may have to be fetched first."""
_MAX_FILE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class FedFrame:
    """A sampled frame, in this process."""

    capture_time: datetime
    """UTC."""
    captured_s: float
    """When it was captured, on the clock of deadlines."""
    picture: Picture = field(repr=False)
    fingerprint: int
    """The same for the same pixels."""
    clock: ClockReport
    """Where its capture time comes from."""
    note: str
    """What should be known of how the source was opened, though it works."""
    missed: int
    """Frames that were sampled since the one before and had to make room for this one."""


class Feed(Protocol):
    """One opened camera, as a capture sees it. Used by a single thread."""

    @property
    def is_live(self) -> bool:
        """Whether it should never end, and never show the same picture for long."""
        ...

    def frames(self, stopped: threading.Event) -> Iterator[FedFrame]:
        """Yield sampled frames until the end or until `stopped` is set.

        Raises:
            SourceError: it was lost.
        """
        ...

    def close(self) -> None:
        """Let go of it; may be called twice."""
        ...


class ReaderFeed:
    """A reader process and what it hands over.

    Args:
        host: starts readers.
        order: what to read.
        clock: for limits.
    """

    def __init__(self, host: ReaderHost, order: ReadOrder, clock: Clock) -> None:
        self._host = host
        self._order = order
        self._clock = clock
        self._reader: ReaderProcess | None = None
        self._view: mmap.mmap | None = None
        self._is_live = False
        self._note = ""
        # Long enough for a reader to tell of its source's silence itself; shorter only finds a reader that hangs.
        apart_s = KEY_FRAMES_APART_S if order.stream.key_frames_only else 0.0
        self._patience_s = order.limits.read_s + 2.0 + apart_s

    @property
    def is_live(self) -> bool:
        """Whether an end of it is a loss."""
        return self._is_live

    @property
    def process_id(self) -> int | None:
        """Of the reader, while there is one."""
        return self._reader.process_id if self._reader else None

    def frames(self, stopped: threading.Event) -> Iterator[FedFrame]:
        """Start the reader and yield what it hands over.

        Raises:
            SourceError: it was lost, or its reader died or stalled.
        """
        self._reader = self._host.start_reader(self._order)
        messages = MessageReader(self._reader.channel)
        limit_s = self._opening_limit_s()
        self._ask_for_more()
        while True:
            message = self._next_message(messages, limit_s, stopped)
            if message is None:
                return
            limit_s = self._patience_s
            match message.get("is"):
                case "opened":
                    self._is_live = bool(message.get("is_live"))
                    self._note = str(message.get("note", ""))[:500]
                    if self._note:
                        log.warning("reader.opened", camera=self._order.camera_id, note=self._note)
                case "frame":
                    yield self._frame_of(message)
                    self._ask_for_more()
                case "ended":
                    return
                case "lost":
                    raise SourceError(str(message.get("detail"))[:500])
                case "failed":
                    log.error("reader.failed", camera=self._order.camera_id, **_shown_failure(message))
                    raise SourceError("internal error; the log has it")

    def close(self) -> None:
        """End the reader: it leaves its camera in good order if it can, and is killed if not."""
        reader, self._reader = self._reader, None
        if self._view is not None:
            self._view.close()
            self._view = None
        if reader is not None:
            self._host.end_reader(reader, _GRACE_S)

    def _opening_limit_s(self) -> float:
        if parse_url(self._order.url).kind is SourceKind.DEMO:
            return _DEMO_LIMIT_S
        attempts = 2 if self._order.stream.sub_stream_url else 1
        # To connect, to ask and to be answered, and to learn what the stream holds, each within its limit.
        return attempts * 3.0 * self._order.limits.open_s + self._patience_s

    def _next_message(self, messages: MessageReader, limit_s: float, stopped: threading.Event) -> Message | None:
        until_s = self._clock.monotonic_s() + limit_s
        while not stopped.is_set():
            try:
                message = messages.next_message(_SLICE_S)
            except ClosedError:
                raise SourceError(self._how_it_died()) from None
            if message is not None:
                return message
            if self._clock.monotonic_s() > until_s:
                self._kill()
                raise SourceError(f"its reader said nothing for {limit_s:.0f} s and was killed")
        return None

    def _how_it_died(self) -> str:
        reader, self._reader = self._reader, None
        how = self._host.end_reader(reader, _GRACE_S) if reader is not None else ""
        log.warning("reader.died", camera=self._order.camera_id, signal=how)
        return f"its reader died ({how})" if how else "its reader died"

    def _kill(self) -> None:
        if self._reader is not None:
            log.warning("reader.killed", camera=self._order.camera_id, process_id=self._reader.process_id)
            self._host.kill_reader(self._reader)

    def _ask_for_more(self) -> None:
        if self._reader is not None:
            try:
                self._reader.channel.sendall(MORE)
            except OSError:
                return  # it is gone, and the next message will not come

    def _frame_of(self, message: Message) -> FedFrame:
        try:
            return FedFrame(
                capture_time=datetime.fromisoformat(message["captured_at"]),
                captured_s=min(float(message["captured_s"]), self._clock.monotonic_s()),
                picture=self._picture_of(message),
                fingerprint=int(message["print"]),
                clock=_clock_of(message["clock"]),
                note=self._note,
                missed=max(0, int(message["missed"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"its reader spoke nonsense ({type(error).__name__})") from None

    def _picture_of(self, message: Message) -> Picture:
        width_px, height_px, stride = (int(message[key]) for key in ("width_px", "height_px", "stride_bytes"))
        count = int(message["bytes"])
        if width_px == 0:
            if not 0 <= count <= _MAX_FILE_BYTES:
                raise ValueError(count)
            return bytes(self._shared(count)[:count])
        if min(width_px, height_px) < 1 or width_px * height_px > MAX_PIXELS or stride < 3 * width_px:
            raise ValueError(stride)
        if count < stride * (height_px - 1) + 3 * width_px:
            raise ValueError(count)
        rows = np.frombuffer(self._shared(count), np.uint8, stride * (height_px - 1) + 3 * width_px)
        seen = np.lib.stride_tricks.as_strided(rows, (height_px, width_px, 3), (stride, 3, 1), writeable=False)
        picture = seen.copy()
        del rows, seen  # a view that lives on would keep the memory from being let go
        return picture

    def _shared(self, count: int) -> mmap.mmap | bytes:
        if count == 0:
            return b""
        if self._reader is None:
            raise ValueError(count)
        if self._view is None or len(self._view) < count:
            if self._view is not None:
                self._view.close()
            size = os.fstat(self._reader.memory).st_size
            if size < count:
                raise ValueError(count)
            self._view = mmap.mmap(self._reader.memory, size, prot=mmap.PROT_READ)
        return self._view


def _clock_of(said: Mapping[str, Any]) -> ClockReport:
    offset_s = said["sender_offset_s"]
    return ClockReport(
        kind=ClockKind(said["kind"]),
        drift_ppm=float(said["drift_ppm"]),
        delay_s=float(said["delay_s"]),
        sender_offset_s=None if offset_s is None else float(offset_s),
        host_jumps=int(said["host_jumps"]),
    )


def _shown_failure(message: Message) -> dict[str, str]:
    return {"error": str(message.get("error"))[:100], "trace": str(message.get("trace"))[:8000]}
