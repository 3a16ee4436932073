"""Pictures one after the other over HTTP: multipart/x-mixed-replace, as many cameras and restreamers speak it.

The pictures are handed on as the files that they are: nothing is decoded here. Each was captured when its last byte
came: the format has no clock of its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

from camera_ingest.sources.http import Answer
from camera_ingest.sources.source import CapturedFrame, SourceError
from camera_ingest.sources.stream_clock import ClockKind, ClockReport
from tessera.chassis.clock import Clock

_MAX_PICTURE_BYTES = 20 * 1024 * 1024
_MAX_HEAD_BYTES = 16 * 1024
_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_START, _END = b"\xff\xd8", b"\xff\xd9"


class MjpegSource:
    """One opened stream of pictures.

    Args:
        answer: what the server answered, its body unread.
        clock: where capture times come from.
        read_limit_s: no whole picture for so long is a loss.
    """

    def __init__(self, answer: Answer, clock: Clock, read_limit_s: float) -> None:
        self._answer = answer
        self._clock = clock
        self._read_limit_s = read_limit_s

    @property
    def is_live(self) -> bool:
        """It never ends by itself."""
        return True

    @property
    def clock_report(self) -> ClockReport:
        """A picture is as old as its arrival."""
        return ClockReport(ClockKind.ARRIVAL)

    def frames(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        """Yield the pictures.

        Raises:
            SourceError: the stream ended, fell silent, or holds no picture.
        """
        newest_s = self._clock.monotonic_s()
        parts = Parts(self._answer.content_type)
        while not stopped.is_set():
            try:
                data = self._answer.read(65536)
            except TimeoutError:
                raise SourceError(f"no answer for {self._read_limit_s:.1f} s") from None
            except OSError:
                raise SourceError("the connection broke") from None
            if not data:
                raise SourceError("the stream ended")
            now_s = self._clock.monotonic_s()
            for jpeg in parts.feed(data):
                newest_s = now_s
                yield CapturedFrame(self._clock.now(), now_s, _handing(jpeg))
            if now_s - newest_s > self._read_limit_s:
                raise SourceError(f"no whole picture for {now_s - newest_s:.1f} s")

    def close(self) -> None:
        """Drop the connection."""
        self._answer.close()


class Parts:
    """Cuts a stream of bytes into pictures; what is none is left out, and the next boundary begins anew.

    Args:
        content_type: with the boundary; cameras write it with and without its two dashes.
    """

    def __init__(self, content_type: str) -> None:
        match = _BOUNDARY.search(content_type)
        self._boundary = b"--" + (match.group(1).strip().encode().removeprefix(b"--") if match else b"")
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what came; yield each picture that is whole now."""
        self._buffer += data
        while True:
            jpeg = self._next_part()
            if jpeg is None:
                break
            if jpeg.startswith(_START):
                yield jpeg
        if len(self._buffer) > _MAX_PICTURE_BYTES:
            self._buffer.clear()

    def _next_part(self) -> bytes | None:
        """The next part's body; None: it is not whole yet."""
        start = self._buffer.find(self._boundary)
        if start < 0:
            del self._buffer[: max(0, len(self._buffer) - len(self._boundary))]
            return None
        head_end = self._buffer.find(b"\r\n\r\n", start, start + _MAX_HEAD_BYTES)
        if head_end < 0:
            if len(self._buffer) - start > _MAX_HEAD_BYTES:
                del self._buffer[: start + len(self._boundary)]
                return b""
            return None
        body = head_end + 4
        match = _LENGTH.search(bytes(self._buffer[start:head_end]))
        end = self._end_by_length(body, int(match.group(1))) if match else self._end_by_boundary(body)
        if end is None:
            return None
        found = bytes(self._buffer[body:end])
        del self._buffer[:end]
        return found

    def _end_by_length(self, body: int, length: int) -> int | None:
        # A boundary inside says that the length was damaged on its way.
        early = self._end_by_boundary(body)
        if early is not None and early < body + length:
            return early
        return body + length if len(self._buffer) >= body + length else None

    def _end_by_boundary(self, body: int) -> int | None:
        at = self._buffer.find(self._boundary, body)
        if at < 0:
            return None
        picture_end = self._buffer.rfind(_END, body, at)
        return picture_end + 2 if picture_end >= 0 else at


def _handing(jpeg: bytes) -> Callable[[], bytes]:
    return lambda: jpeg
