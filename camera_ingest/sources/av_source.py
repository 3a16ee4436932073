"""Files, RTSP, HTTP/MJPEG and V4L2 devices through PyAV, each step within a time limit.

PyAV is used because OpenCV's VideoCapture can hang in `read()` for ever on RTSP. The limits are FFmpeg's own interrupt:
they end a connect, a handshake and a read that does not come back. Capture time is the moment of arrival for streams
and the file's own clock, started when it is opened, for files.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame

from camera_ingest.reading.order import ReadLimits
from camera_ingest.sources.source import MAX_PIXELS, CapturedFrame, Pixels, SourceError
from camera_ingest.sources.url import SourceKind, SourceUrl
from tessera.chassis.clock import Clock
from tessera.domain.errors import InvalidInputError

_DEVICE_OPTIONS = {"framerate": "15", "video_size": "1280x720"}


class AvSource:
    """One opened stream, device or file.

    Args:
        url: what to open.
        loop: files start again at their end.
        clock: where capture times come from.
        limits: how long each step may take.
        environ: where `${NAME}` credentials come from; None: the process's own.
    """

    def __init__(
        self,
        url: SourceUrl,
        loop: bool,
        clock: Clock,
        limits: ReadLimits | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._loop = loop
        self._clock = clock
        self._limits = limits or ReadLimits()
        self._environ = os.environ if environ is None else environ
        self._container: InputContainer | None = None

    @property
    def is_live(self) -> bool:
        """Whether an end of it is a loss."""
        return self._url.is_live

    def open(self) -> None:
        """Connect.

        Raises:
            SourceError: it does not answer in time, refuses, or holds no video.
        """
        started_s = self._clock.monotonic_s()
        try:
            container = av.open(
                self._url.resolved(self._environ),
                format="v4l2" if self._url.kind is SourceKind.V4L2 else None,
                options=self._options(),
                timeout=(self._limits.open_s, self._limits.read_s),
            )
        except InvalidInputError as error:
            raise SourceError(error.allowed) from None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            took_s = self._clock.monotonic_s() - started_s
            raise SourceError(self._told(error, took_s)) from None
        if not container.streams.video:
            container.close()
            raise SourceError("it holds no video")
        # Each camera has its process; threads inside would hold frames back, and cost memory.
        container.streams.video[0].codec_context.thread_count = 1
        self._container = container

    def frames(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        """Yield frames: of a stream as they arrive, of a file in its own time.

        Raises:
            SourceError: the stream was lost; a live one also when it ends.
        """
        while not stopped.is_set():
            is_empty = True
            for frame in self._pass(stopped):
                is_empty = False
                yield frame
            if stopped.is_set():
                return
            if is_empty and not self.is_live:
                raise SourceError("it holds no frame that can be read")  # a loop over nothing would never rest
            if self.is_live:
                raise SourceError("the stream ended")
            if not self._loop:
                return
            self.close()
            self.open()

    def close(self) -> None:
        """Disconnect."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _pass(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        pace = None if self._arrives_in_real_time() else _Pace(self._clock)
        for frame in self._decoded():
            if pace is None:
                yield _captured(frame, self._clock.now(), self._clock.monotonic_s())
                continue
            capture_time, due_s = pace.moment_of(frame)
            if stopped.wait(max(0.0, due_s - self._clock.monotonic_s())):
                return
            yield _captured(frame, capture_time, due_s)

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
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue  # one damaged packet, such as the first ones of a stream that was joined late
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(self._told(error, self._clock.monotonic_s() - started_s)) from None
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    yield frame

    def _arrives_in_real_time(self) -> bool:
        # A recording that is served over HTTP has a length, and would arrive as fast as the network carries it.
        has_length = self._container is not None and self._container.duration is not None
        return self._url.kind is not SourceKind.FILE and not has_length

    def _options(self) -> dict[str, str]:
        limit_us = str(int(self._limits.read_s * 1e6))
        match self._url.kind:
            case SourceKind.RTSP:
                return {"rtsp_transport": "tcp", "timeout": limit_us, "fflags": "nobuffer", "flags": "low_delay"}
            case SourceKind.HTTP:
                return {"timeout": limit_us, "rw_timeout": limit_us, "fflags": "nobuffer", "multiple_requests": "0"}
            case SourceKind.V4L2:
                return dict(_DEVICE_OPTIONS)
            case _:
                # Only local files: a playlist may not fetch from elsewhere.
                return {"protocol_whitelist": "file"}

    def _told(self, error: Exception, took_s: float) -> str:
        # An RTSP peer that says nothing ends as "invalid data" after the limit; the time tells.
        silent = took_s >= 0.9 * min(self._limits.open_s, self._limits.read_s)
        if silent or isinstance(error, av.error.ExitError | av.error.TimeoutError | TimeoutError):
            return f"no answer for {took_s:.1f} s"
        # FFmpeg's own sentence names the URL; its short form does not.
        text = getattr(error, "strerror", None) or type(error).__name__
        return self._url.scrubbed(str(text), self._environ)


class _Pace:
    """A file's own clock, started at its first frame."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first_s: float | None = None
        self._began = clock.now()
        self._began_s = clock.monotonic_s()

    def moment_of(self, frame: VideoFrame) -> tuple[datetime, float]:
        time_s = frame.time or 0.0
        if self._first_s is None:
            self._first_s = time_s
            self._began, self._began_s = self._clock.now(), self._clock.monotonic_s()
        offset_s = max(0.0, time_s - self._first_s)
        return self._began + timedelta(seconds=offset_s), self._began_s + offset_s


def _captured(frame: VideoFrame, capture_time: datetime, monotonic_s: float) -> CapturedFrame:
    def picture() -> Pixels:
        if frame.width * frame.height > MAX_PIXELS:
            raise SourceError(f"frames of {frame.width} x {frame.height} pixels; allowed: {MAX_PIXELS:,} in all")
        plane = frame.reformat(format="bgr24").planes[0]
        return Pixels(frame.width, frame.height, plane.line_size, memoryview(plane))

    return CapturedFrame(capture_time, monotonic_s, picture)
