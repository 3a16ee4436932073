"""Streams, devices and files through PyAV, each step within a time limit.

PyAV is used because OpenCV's VideoCapture can hang in `read()` for ever on RTSP. The limits are FFmpeg's own interrupt:
they end a connect, a handshake and a read that does not come back; what they do not reach, the reader's parent kills.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from camera_ingest.sources.file_time import LONGEST_LATE_S, FileTime, Playout
from camera_ingest.sources.source import MAX_PIXELS, CapturedFrame, Pixels, ReadLimits, SourceError
from camera_ingest.sources.stream_clock import ClockKind, ClockReport, StreamClock
from tessera.chassis.clock import Clock

_BEHIND_S = 1.0
_CAUGHT_UP_S = 0.3
_IDLE_SHARE = 0.05
_PRODUCED_AT = struct.Struct("=q")


class Timing(StrEnum):
    """How an input's frames lie in time."""

    ARRIVAL = "ARRIVAL"
    """Captured when they arrive."""
    STREAM = "STREAM"
    """By the time stamps of a live stream."""
    PLAYOUT = "PLAYOUT"
    """They come in heaps and are played one after the other, as a live playlist is."""
    FILE = "FILE"
    """A recording, in its own time."""
    FAST = "FAST"
    """A recording, as fast as somebody takes its frames."""


class Readable(Protocol):
    """What PyAV reads like a file."""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class AvInput:
    """What FFmpeg opens."""

    file: str | Readable = field(repr=False)
    timing: Timing
    is_live: bool
    """Whether an end of it is a loss."""
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    close: Callable[[], None] = lambda: None
    """To be called once FFmpeg has closed it."""
    refused: Callable[[], str] = lambda: ""
    """Why it was ended on our side, if it was."""
    wait_with: Callable[[Callable[[float], bool]], None] = lambda _: None
    """Told how to wait once frames are read, so that it gives signs of life."""
    captured_s: Callable[[], float | None] = lambda: None
    """When its first frame was captured, in UTC seconds, if that is known."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How frames are made from packets."""

    key_frames_only: bool = False
    hardware: bool = False


class AvSource:
    """One opened stream, device or file.

    Args:
        make_input: prepares what is opened, each time that it is.
        loop: files start again at their end.
        clock: this machine's.
        limits: how long each step may take.
        decoding: how frames are made.
        scrubbed: takes credentials out of FFmpeg's words.
    """

    def __init__(
        self,
        make_input: Callable[[], AvInput],
        *,
        loop: bool,
        clock: Clock,
        limits: ReadLimits,
        decoding: Decoding,
        scrubbed: Callable[[str], str],
    ) -> None:
        self._make_input = make_input
        self._loop = loop
        self._clock = clock
        self._limits = limits
        self._decoding = decoding
        self._scrubbed = scrubbed
        self._input: AvInput | None = None
        self._container: InputContainer | None = None
        self._stamps = StreamClock(clock)
        self._playout: Playout | None = None
        self._fast = FileTime(clock)
        self._waited_s = self._spent_s = 0.0
        self._is_behind = False
        self.note = ""
        """What should be known of how it was opened, though it works."""

    @property
    def is_live(self) -> bool:
        """Whether an end of it is a loss."""
        return self._input is not None and self._input.is_live

    @property
    def clock_report(self) -> ClockReport:
        """How its clock does."""
        match self._timing():
            case Timing.STREAM:
                return self._stamps.report()
            case Timing.FILE | Timing.FAST:
                return ClockReport(ClockKind.FILE)
            case Timing.PLAYOUT if self._playout is not None and self._playout.is_told:
                return ClockReport(ClockKind.SENDER)
            case _:
                return ClockReport(ClockKind.ARRIVAL)

    def open(self) -> None:
        """Connect.

        Raises:
            SourceError: it does not answer in time, refuses, or holds no video.
        """
        self._input = made = self._make_input()
        started_s = self._clock.monotonic_s()
        try:
            container = self._opened(made)
        except SourceError:
            made.close()
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            made.close()
            raise SourceError(self._told(error, self._clock.monotonic_s() - started_s)) from None
        self._container = container
        if not container.streams.video:
            self.close()
            raise SourceError("it holds no video")
        codec = container.streams.video[0].codec_context
        codec.thread_count = 1  # each camera has its process; threads inside hold frames back, and cost memory
        if self._decoding.key_frames_only:
            codec.skip_frame = "NONKEY"

    def frames(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        """Yield frames: of a stream as they arrive, of a file in its own time.

        Raises:
            SourceError: the stream was lost; a live one also when it ends.
        """
        while not stopped.is_set():
            if self._input is not None:
                self._input.wait_with(stopped.wait)
            is_empty = True
            for frame in self._pass(stopped):
                is_empty = False
                yield frame
            if stopped.is_set():
                return
            if self.is_live:
                raise SourceError((self._input.refused() if self._input else "") or "the stream ended")
            if is_empty:
                raise SourceError("it holds no frame that can be read")  # a loop over nothing would never rest
            if not self._loop:
                return
            self.close()
            self.open()

    def close(self) -> None:
        """Disconnect."""
        container, self._container = self._container, None
        if container is not None:
            container.close()
        made, self._input = self._input, None
        if made is not None:
            made.close()

    # ---- opening

    def _opened(self, made: AvInput) -> InputContainer:
        limits = (self._limits.open_s, self._limits.read_s)
        device = _decoding_device() if self._decoding.hardware else None
        if self._decoding.hardware and device is None:
            self.note = "decoded in software: no device for it was found"
        accelerated = HWAccel(device_type=device, allow_software_fallback=True) if device is not None else None
        return av.open(made.file, "r", format=made.format, options=made.options, timeout=limits, hwaccel=accelerated)

    def _timing(self) -> Timing:
        timing = self._input.timing if self._input is not None else Timing.ARRIVAL
        # A recording that is served over HTTP has a length, and would arrive as fast as the network carries it.
        if timing is Timing.STREAM and self._container is not None and self._container.duration is not None:
            return Timing.FILE
        return timing

    # ---- frames in time

    def _pass(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        match self._timing():
            case Timing.STREAM:
                for frame in self._decoded():
                    stamp_s: float | None = frame.time
                    captured, captured_s = self._stamps.moment(stamp_s)
                    yield CapturedFrame(captured, captured_s, _picture_of(frame))
            case Timing.ARRIVAL:
                for frame in self._decoded():
                    yield CapturedFrame(self._clock.now(), self._clock.monotonic_s(), _picture_of(frame))
            case Timing.PLAYOUT:
                first_s = self._input.captured_s() if self._input is not None else None
                self._playout = Playout(self._clock, first_s)
                yield from self._in_time(self._playout, stopped)
            case Timing.FILE:
                yield from self._in_time(FileTime(self._clock, LONGEST_LATE_S), stopped)
            case Timing.FAST:
                self._fast.begin_anew()
                for frame in self._decoded():
                    yield CapturedFrame(self._fast.due(frame.time)[0], self._clock.monotonic_s(), _picture_of(frame))

    def _in_time(self, time: FileTime | Playout, stopped: threading.Event) -> Iterator[CapturedFrame]:
        for frame in self._decoded():
            captured, due_s = time.due(frame.time)
            if stopped.wait(max(0.0, due_s - self._clock.monotonic_s())):
                return
            yield CapturedFrame(captured, due_s, _picture_of(frame))

    # ---- packets

    def _decoded(self) -> Iterator[VideoFrame]:
        container = self._container
        if container is None:
            raise SourceError("it is not open")
        packets = container.demux(container.streams.video[0])
        while True:
            started_s = self._clock.monotonic_s()
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if self._is_left_out(packet, self._clock.monotonic_s() - started_s):
                    continue
                frames = packet.decode()
                self._spent_s += self._clock.monotonic_s() - started_s
            except av.error.InvalidDataError:
                continue  # one damaged packet, such as the first ones of a stream that was joined late
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(self._told(error, self._clock.monotonic_s() - started_s)) from None
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    yield frame

    def _is_left_out(self, packet: Packet[VideoStream], waited_s: float) -> bool:
        """Whether a packet of a live stream is passed over, so that a decoder which is too slow does not fall behind.

        A decoder falls behind when packets are old and none was waited for. Then only key frames are decoded until the
        newest packets are new again; without that the lag would grow in the buffers on the way, for ever.
        """
        if self._timing() is not Timing.STREAM or packet.pts is None or packet.time_base is None:
            return False
        self._stamps.observe(float(packet.pts * packet.time_base), _produced_at(packet))
        self._waited_s = 0.9 * self._waited_s + waited_s
        self._spent_s *= 0.9
        is_busy = self._waited_s < _IDLE_SHARE * (self._spent_s + 1e-6)
        if not self._is_behind:
            self._is_behind = is_busy and self._stamps.delay_s > _BEHIND_S
        elif packet.is_keyframe:
            self._is_behind = self._stamps.delay_s > _CAUGHT_UP_S
        return self._is_behind and not packet.is_keyframe

    def _told(self, error: Exception, took_s: float) -> str:
        refused = self._input.refused() if self._input is not None else ""
        if refused:
            return refused
        # An RTSP peer that says nothing ends as "invalid data" after the limit; the time tells.
        silent = took_s >= 0.9 * min(self._limits.open_s, self._limits.read_s)
        if silent or isinstance(error, av.error.ExitError | av.error.TimeoutError | TimeoutError):
            return f"no answer for {took_s:.1f} s"
        # FFmpeg's own sentence names the URL; its short form does not.
        return self._scrubbed(str(getattr(error, "strerror", None) or type(error).__name__))


def _decoding_device() -> str | None:
    """The first kind of device that can be had for decoding."""
    for device in hwdevices_available():
        try:
            HWAccel(device_type=device).create(av.Codec("h264", "r"))
        except (av.error.FFmpegError, OSError, RuntimeError, ValueError, NotImplementedError):
            continue
        return device
    return None


def _produced_at(packet: Packet[VideoStream]) -> float | None:
    """The sender's wall clock, in UTC seconds, where RTCP sender reports tell it."""
    if not packet.has_sidedata("prft"):
        return None
    data = bytes(packet.get_sidedata("prft"))
    return _PRODUCED_AT.unpack_from(data)[0] / 1e6 if len(data) >= _PRODUCED_AT.size else None


def _picture_of(frame: VideoFrame) -> Callable[[], Pixels]:
    def picture() -> Pixels:
        if frame.width * frame.height > MAX_PIXELS:
            raise SourceError(f"frames of {frame.width} x {frame.height} pixels; allowed: {MAX_PIXELS:,} in all")
        plane = frame.reformat(format="bgr24").planes[0]
        return Pixels(frame.width, frame.height, plane.line_size, memoryview(plane))

    return picture
